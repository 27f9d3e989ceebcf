//! Three by three of 16-bit words: two rows of medians at once, neighbours in registers.
//!
//! The middle two of four rows are sorted once for both medians, sorted columns serve three pixels without being
//! written, and rows that come next are asked for in time: a row of 2048 words is a page, where the processor's own
//! prefetching ends. 2048 x 2048 words take a third less time than row by row through buffers.

use std::arch::x86_64::*;

use super::{Level, Middle, Rows};

/// Neighbouring words of a row.
///
/// # Safety
/// The methods may only be called where the instructions of the implementation are enabled.
trait Lanes: Copy {
    /// One pixel.
    type Word: Copy;
    /// Pixels in a vector.
    const N: usize;

    /// Reads `N` pixels.
    unsafe fn load(from: *const Self::Word) -> Self;
    /// Writes `N` pixels.
    unsafe fn store(self, to: *mut Self::Word);
    /// The same pixel everywhere.
    unsafe fn splat(word: Self::Word) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// The left neighbours, the first of them from the vector before.
    unsafe fn left(self, before: Self) -> Self;
    /// The right neighbours, the last of them from the vector after.
    unsafe fn right(self, after: Self) -> Self;
}

/// 32 words.
#[derive(Clone, Copy)]
struct Wide<T>(__m512i, std::marker::PhantomData<T>);

/// 16 words.
#[derive(Clone, Copy)]
struct Half<T>(__m256i, std::marker::PhantomData<T>);

/// The places from one on.
const fn places(from: i16) -> [i16; 32] {
    let mut all = [0; 32];
    let mut k = 0;
    while k < 32 {
        all[k] = from + k as i16;
        k += 1;
    }
    all
}
/// The last of one vector and all but the last of the next.
static LEFT: [i16; 32] = places(31);
/// All but the first of one vector and the first of the next.
static RIGHT: [i16; 32] = places(1);

macro_rules! wide {
    ($word:ty, $min:ident, $max:ident) => {
        impl Lanes for Wide<$word> {
            type Word = $word;
            const N: usize = 32;

            #[inline(always)]
            unsafe fn load(from: *const $word) -> Self {
                // SAFETY: the caller gives 32 words to read.
                Wide(unsafe { _mm512_loadu_si512(from.cast()) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $word) {
                // SAFETY: the caller gives room for 32 words.
                unsafe { _mm512_storeu_si512(to.cast(), self.0) }
            }
            #[inline(always)]
            unsafe fn splat(word: $word) -> Self {
                // SAFETY: the caller's promise.
                Wide(unsafe { _mm512_set1_epi16(word as i16) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                // SAFETY: the caller's promise.
                Wide(unsafe { $min(self.0, other.0) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // SAFETY: the caller's promise.
                Wide(unsafe { $max(self.0, other.0) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn left(self, before: Self) -> Self {
                // SAFETY: the caller's promise; the table is as long as a vector.
                let places = unsafe { _mm512_loadu_si512(LEFT.as_ptr().cast()) };
                // SAFETY: the caller's promise.
                Wide(unsafe { _mm512_permutex2var_epi16(before.0, places, self.0) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn right(self, after: Self) -> Self {
                // SAFETY: the caller's promise; the table is as long as a vector.
                let places = unsafe { _mm512_loadu_si512(RIGHT.as_ptr().cast()) };
                // SAFETY: the caller's promise.
                Wide(unsafe { _mm512_permutex2var_epi16(self.0, places, after.0) }, std::marker::PhantomData)
            }
        }
    };
}
wide!(u16, _mm512_min_epu16, _mm512_max_epu16);
wide!(i16, _mm512_min_epi16, _mm512_max_epi16);

macro_rules! half {
    ($word:ty, $min:ident, $max:ident) => {
        impl Lanes for Half<$word> {
            type Word = $word;
            const N: usize = 16;

            #[inline(always)]
            unsafe fn load(from: *const $word) -> Self {
                // SAFETY: the caller gives 16 words to read.
                Half(unsafe { _mm256_loadu_si256(from.cast()) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $word) {
                // SAFETY: the caller gives room for 16 words.
                unsafe { _mm256_storeu_si256(to.cast(), self.0) }
            }
            #[inline(always)]
            unsafe fn splat(word: $word) -> Self {
                // SAFETY: the caller's promise.
                Half(unsafe { _mm256_set1_epi16(word as i16) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                // SAFETY: the caller's promise.
                Half(unsafe { $min(self.0, other.0) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // SAFETY: the caller's promise.
                Half(unsafe { $max(self.0, other.0) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn left(self, before: Self) -> Self {
                // SAFETY: the caller's promise.
                let middle = unsafe { _mm256_permute2x128_si256::<0x21>(before.0, self.0) };
                // SAFETY: the caller's promise.
                Half(unsafe { _mm256_alignr_epi8::<14>(self.0, middle) }, std::marker::PhantomData)
            }
            #[inline(always)]
            unsafe fn right(self, after: Self) -> Self {
                // SAFETY: the caller's promise.
                let middle = unsafe { _mm256_permute2x128_si256::<0x21>(self.0, after.0) };
                // SAFETY: the caller's promise.
                Half(unsafe { _mm256_alignr_epi8::<2>(middle, self.0) }, std::marker::PhantomData)
            }
        }
    };
}
half!(u16, _mm256_min_epu16, _mm256_max_epu16);
half!(i16, _mm256_min_epi16, _mm256_max_epi16);

macro_rules! words {
    ($word:ty, $two512:ident, $two256:ident) => {
        // SAFETY: the caller knows that the processor has these instructions.
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn $two512(rows: &Rows<$word>, out: [&mut [$word]; 2]) {
            // SAFETY: the instructions are enabled here.
            unsafe { two::<Wide<$word>>(rows, out) }
        }
        // SAFETY: the caller knows that the processor has these instructions.
        #[target_feature(enable = "avx2")]
        unsafe fn $two256(rows: &Rows<$word>, out: [&mut [$word]; 2]) {
            // SAFETY: the instructions are enabled here.
            unsafe { two::<Half<$word>>(rows, out) }
        }
        impl Middle for $word {
            #[inline(always)]
            fn low(self, other: Self) -> Self {
                self.min(other)
            }
            #[inline(always)]
            fn high(self, other: Self) -> Self {
                self.max(other)
            }
            fn two(level: Level, rows: &Rows<$word>, out: [&mut [$word]; 2]) -> bool {
                match level {
                    // SAFETY: the level says that the processor has these instructions.
                    Level::Avx512 => unsafe { $two512(rows, out) },
                    // SAFETY: as above.
                    Level::Avx2 => unsafe { $two256(rows, out) },
                    Level::Plain => return false,
                }
                true
            }
        }
    };
}
words!(u16, unsigned_avx512, unsigned_avx2);
words!(i16, signed_avx512, signed_avx2);

/// The columns of one vector, sorted: lowest, middle and highest of the three rows of either median.
type Sorted<L> = [[L; 3]; 2];

// No closures here and below: they do not have the instructions of the function they stand in, and a vector that is
// handed to one goes through memory unless the compiler happens to put it in place.

/// The columns of four vectors, one below the other.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn sorted<L: Lanes>(a: L, b: L, c: L, d: L) -> Sorted<L> {
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = (b.min(c), b.max(c));
        [with(low, high, a), with(low, high, d)]
    }
}

/// Two that are sorted, and one more.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn with<L: Lanes>(low: L, high: L, one: L) -> [L; 3] {
    // SAFETY: the caller's promise.
    unsafe {
        let rest = low.max(one);
        [low.min(one), rest.min(high), rest.max(high)]
    }
}

/// The columns from a place of four rows on.
///
/// # Safety
/// As of [`Lanes`], and a vector can be read there from each row.
#[inline(always)]
unsafe fn column<L: Lanes>(rows: [*const L::Word; 4], at: usize) -> Sorted<L> {
    let [a, b, c, d] = rows;
    // SAFETY: the caller's promise.
    unsafe { sorted(L::load(a.add(at)), L::load(b.add(at)), L::load(c.add(at)), L::load(d.add(at))) }
}

/// One column again and again.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn edge<L: Lanes>(rows: &[&[L::Word]; 4], at: usize) -> Sorted<L> {
    let [a, b, c, d] = rows;
    // SAFETY: the caller's promise.
    unsafe { sorted(L::splat(a[at]), L::splat(b[at]), L::splat(c[at]), L::splat(d[at])) }
}

/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn middle<L: Lanes>(a: L, b: L, c: L) -> L {
    // SAFETY: the caller's promise.
    unsafe { a.min(b).max(a.max(b).min(c)) }
}

/// The medians of one vector of columns, from those before and after it.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn medians<L: Lanes>(before: &[L; 3], own: &[L; 3], after: &[L; 3]) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let [low, mid, high] = *own;
        let low = low.left(before[0]).max(low.right(after[0])).max(low);
        let mid = middle(mid.left(before[1]), mid.right(after[1]), mid);
        let high = high.left(before[2]).min(high.right(after[2])).min(high);
        middle(low, mid, high)
    }
}

/// The most pixels in a vector.
const MOST: usize = 32;
/// Pixels in a line of the cache.
const LINE: usize = 32;

/// Both rows of medians; the ends of rows are repeated.
///
/// # Safety
/// As of [`Lanes`].
#[inline(always)]
unsafe fn two<L: Lanes>(rows: &Rows<L::Word>, out: [&mut [L::Word]; 2]) {
    let n = rows.four.iter().map(|r| r.len()).chain(out.iter().map(|o| o.len())).min().unwrap_or(0);
    if n == 0 {
        return;
    }
    let (whole, rest) = (n / L::N, n % L::N);
    // What is left of each row, its last pixel repeated.
    let mut tails = rows.four.map(|row| [row[n - 1]; MOST]);
    tails.iter_mut().zip(rows.four).for_each(|(tail, row)| tail[..rest].copy_from_slice(&row[n - rest..n]));
    let tail = tails.each_ref().map(|tail| tail.as_ptr());
    let four = rows.four.map(<[L::Word]>::as_ptr);
    let ahead = rows.ahead.map(<[L::Word]>::as_ptr);
    let [first, second] = out;
    // SAFETY: vectors before `whole` lie within the rows and the outputs, a tail is as long as the longest vector, and
    // what is asked for ahead is not read; the instructions are there by the caller's promise.
    unsafe {
        let mut before = edge::<L>(&rows.four, 0);
        let mut own = if whole > 0 { column::<L>(four, 0) } else { column::<L>(tail, 0) };
        for k in 0..whole {
            let at = k * L::N;
            if at.is_multiple_of(LINE) {
                _mm_prefetch::<_MM_HINT_T0>(ahead[0].wrapping_add(at).cast());
                _mm_prefetch::<_MM_HINT_T0>(ahead[1].wrapping_add(at).cast());
            }
            let after = match k + 1 < whole {
                true => column::<L>(four, at + L::N),
                false if rest > 0 => column::<L>(tail, 0),
                false => edge::<L>(&rows.four, n - 1),
            };
            medians(&before[0], &own[0], &after[0]).store(first.as_mut_ptr().add(at));
            medians(&before[1], &own[1], &after[1]).store(second.as_mut_ptr().add(at));
            (before, own) = (own, after);
        }
        if rest > 0 {
            let after = edge::<L>(&rows.four, n - 1);
            medians(&before[0], &own[0], &after[0]).store(tails[0].as_mut_ptr());
            medians(&before[1], &own[1], &after[1]).store(tails[1].as_mut_ptr());
            first[n - rest..n].copy_from_slice(&tails[0][..rest]);
            second[n - rest..n].copy_from_slice(&tails[1][..rest]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Scratch, median_row};
    use crate::tester::Dice;

    /// Two rows at once against one row and another, at every level.
    fn check<T: Middle + PartialEq + std::fmt::Debug>(mut value: impl FnMut() -> T) {
        for n in [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 128, 200, 2048] {
            let rows: Vec<Vec<T>> = (0..4).map(|_| (0..n).map(|_| value()).collect()).collect();
            let four: [&[T]; 4] = std::array::from_fn(|k| &rows[k][..]);
            let wanted = [0, 1].map(|k| {
                let mut out = vec![value(); n];
                median_row(Level::Plain, &four[k..k + 3], 3, &mut out, &mut Scratch::default());
                out
            });
            for level in [Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= Level::best()) {
                let mut found = [vec![value(); n], vec![value(); n]];
                let [first, second] = &mut found;
                // Rows that come next are asked for, never read: they may be shorter.
                let rows = Rows { four, ahead: [four[3], &[]] };
                assert!(T::two(level, &rows, [&mut first[..], &mut second[..]]));
                assert_eq!(found, wanted, "{level:?}, {n} columns");
            }
        }
    }

    #[test]
    fn two_rows_at_once_are_those_of_one_by_one() {
        let mut dice = Dice(5);
        check(|| dice.below(65536) as u16);
        check(|| dice.below(5) as u16 * 16383);
        check(|| (dice.below(65536) as i32 - 32768) as i16);
        check(|| dice.below(3) as i16 - 1);
    }
}
