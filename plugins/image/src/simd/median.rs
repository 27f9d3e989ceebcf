//! The median of a rectangle around each pixel of a row.

use super::Level;
use crate::pixel::Pixel;

/// A pixel of which the lower and the higher of two can be told in one instruction.
pub(crate) trait Middle: Copy {
    /// The lower of two; either where one is no number.
    fn low(self, other: Self) -> Self;
    /// The higher of two; either where one is no number.
    fn high(self, other: Self) -> Self;
    /// Medians of three by three of two rows at once; tells whether there is a way to do it.
    fn two(_: Level, _: &Rows<Self>, _: [&mut [Self]; 2]) -> bool {
        false
    }
}

/// Four rows, of which the second and third are filtered, and the two that come after them.
pub(crate) struct Rows<'a, T> {
    /// The rows, all as long as the outputs.
    pub(crate) four: [&'a [T]; 4],
    /// Rows that will be wanted next.
    pub(crate) ahead: [&'a [T]; 2],
}

macro_rules! middle {
    ($($t:ty),*) => {$(
        impl Middle for $t {
            #[inline(always)]
            fn low(self, other: Self) -> Self {
                if self < other { self } else { other }
            }
            #[inline(always)]
            fn high(self, other: Self) -> Self {
                if self > other { self } else { other }
            }
        }
    )*};
}
middle!(u8, u32, u64, i8, i32, i64, f32, f64);
// Words have vectors of their own elsewhere.
#[cfg(not(target_arch = "x86_64"))]
middle!(u16, i16);

/// Pixels that are worked on at once where the rectangle has any size.
const LANES: usize = 32;

/// Buffers of one thread; made once, used for every row.
pub(crate) struct Scratch<K> {
    /// Lowest, middle and highest of three rows, with one pixel more at either end.
    sorted: [Vec<K>; 3],
    /// Rows with their ends repeated.
    wide: Vec<Vec<K>>,
    /// The values that may still be the median.
    held: Vec<[K; LANES]>,
}

impl<K> Default for Scratch<K> {
    fn default() -> Self {
        Scratch { sorted: [vec![], vec![], vec![]], wide: vec![], held: vec![] }
    }
}

/// The medians of rectangles of some rows and `columns` columns; the ends of rows are repeated.
///
/// Rows and columns are odd numbers, and all rows are as long as the output.
pub(crate) fn median_row<K: Middle>(
    level: Level,
    rows: &[&[K]],
    columns: usize,
    out: &mut [K],
    scratch: &mut Scratch<K>,
) {
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { row_avx512(rows, columns, out, scratch) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { row_avx2(rows, columns, out, scratch) },
        _ => row(rows, columns, out, scratch),
    }
}

/// Whether a pixel of a row is no number; the whole row is looked at, which is quicker than to stop at the first.
pub(crate) fn any_missing<T: Pixel>(level: Level, row: &[T]) -> bool {
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { any_missing_avx512(row) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { any_missing_avx2(row) },
        _ => any_missing_plain(row),
    }
}

#[inline(always)]
fn any_missing_plain<T: Pixel>(row: &[T]) -> bool {
    row.iter().fold(false, |any, v| any | v.missing())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn any_missing_avx512<T: Pixel>(row: &[T]) -> bool {
    any_missing_plain(row)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn any_missing_avx2<T: Pixel>(row: &[T]) -> bool {
    any_missing_plain(row)
}

// The compiler makes vectors of `row`, as wide as it is told here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn row_avx512<K: Middle>(r: &[&[K]], columns: usize, out: &mut [K], scratch: &mut Scratch<K>) {
    row(r, columns, out, scratch);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn row_avx2<K: Middle>(r: &[&[K]], columns: usize, out: &mut [K], scratch: &mut Scratch<K>) {
    row(r, columns, out, scratch);
}

#[inline(always)]
fn row<K: Middle>(rows: &[&[K]], columns: usize, out: &mut [K], scratch: &mut Scratch<K>) {
    match (rows, columns) {
        ([a, b, c], 3) => three(a, b, c, out, &mut scratch.sorted),
        _ => any(rows, columns, out, scratch),
    }
}

/// Three by three: columns are sorted once and serve three pixels.
#[inline(always)]
fn three<K: Middle>(a: &[K], b: &[K], c: &[K], out: &mut [K], sorted: &mut [Vec<K>; 3]) {
    let n = out.len();
    let (a, b, c) = (&a[..n], &b[..n], &c[..n]);
    if n == 0 {
        return;
    }
    let [low, middle, high] = sorted;
    for buffer in [&mut *low, &mut *middle, &mut *high] {
        buffer.resize(n + 2, a[0]);
    }
    {
        let (low, middle, high) = (&mut low[1..=n], &mut middle[1..=n], &mut high[1..=n]);
        for x in 0..n {
            let (p, q) = (a[x].low(b[x]), a[x].high(b[x]));
            let m = q.low(c[x]);
            high[x] = q.high(c[x]);
            low[x] = p.low(m);
            middle[x] = p.high(m);
        }
    }
    for buffer in [&mut *low, &mut *middle, &mut *high] {
        (buffer[0], buffer[n + 1]) = (buffer[1], buffer[n]);
    }
    let (l0, l1, l2) = (&low[..n], &low[1..n + 1], &low[2..n + 2]);
    let (m0, m1, m2) = (&middle[..n], &middle[1..n + 1], &middle[2..n + 2]);
    let (h0, h1, h2) = (&high[..n], &high[1..n + 1], &high[2..n + 2]);
    for x in 0..n {
        let low = l0[x].high(l1[x]).high(l2[x]);
        let middle = of_three(m0[x], m1[x], m2[x]);
        let high = h0[x].low(h1[x]).low(h2[x]);
        out[x] = of_three(low, middle, high);
    }
}

#[inline(always)]
fn of_three<K: Middle>(a: K, b: K, c: K) -> K {
    a.low(b).high(a.high(b).low(c))
}

/// Any rectangle: values that cannot be the median are forgotten, the lowest and the highest of those held.
#[inline(always)]
fn any<K: Middle>(rows: &[&[K]], columns: usize, out: &mut [K], scratch: &mut Scratch<K>) {
    let (n, half) = (out.len(), columns / 2);
    if n == 0 {
        return;
    }
    scratch.wide.resize_with(rows.len(), Vec::new);
    for (wide, row) in scratch.wide.iter_mut().zip(rows) {
        wide.clear();
        wide.resize(half, row[0]);
        wide.extend_from_slice(&row[..n]);
        // So many more that a whole vector can be read from anywhere.
        wide.resize(n + 2 * half + LANES, row[n - 1]);
    }
    let all = rows.len() * columns;
    let most = all / 2 + 2;
    let held = &mut scratch.held;
    for start in (0..n).step_by(LANES) {
        let sample = |k: usize| -> &[K] { &scratch.wide[k / columns][start + k % columns..][..LANES] };
        let take = |k: usize| -> [K; LANES] {
            let from = sample(k);
            std::array::from_fn(|lane| from[lane])
        };
        held.clear();
        held.extend((0..most.min(all)).map(take));
        let mut next = held.len();
        while held.len() > 1 {
            // The lowest to the front, the highest to the back, and both away.
            let last = held.len() - 1;
            for k in 1..=last {
                exchange(held, 0, k);
            }
            for k in 1..last {
                exchange(held, k, last);
            }
            held.truncate(last);
            if next < all {
                held[0] = take(next);
                next += 1;
            } else {
                held.swap_remove(0);
            }
        }
        let block = out.len().min(start + LANES) - start;
        out[start..start + block].copy_from_slice(&held[0][..block]);
    }
}

/// Puts the lower values at `a` and the higher ones at `b`.
#[inline(always)]
fn exchange<K: Middle>(held: &mut [[K; LANES]], a: usize, b: usize) {
    let (mut low, mut high) = (held[a], held[b]);
    for (low, high) in low.iter_mut().zip(&mut high) {
        (*low, *high) = ((*low).low(*high), (*low).high(*high));
    }
    (held[a], held[b]) = (low, high);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::Dice;

    fn check<K: Middle + PartialOrd + std::fmt::Debug>(mut value: impl FnMut() -> K) {
        let mut dice = Dice(3);
        for (height, columns) in [(3, 3), (1, 3), (3, 1), (5, 5), (1, 1), (7, 3), (5, 1)] {
            for n in [1, 2, 31, 32, 33, 100 + dice.below(60) as usize] {
                let rows: Vec<Vec<K>> = (0..height).map(|_| (0..n).map(|_| value()).collect()).collect();
                let rows: Vec<&[K]> = rows.iter().map(Vec::as_slice).collect();
                let wanted: Vec<K> = (0..n as i64)
                    .map(|x| {
                        let half = columns as i64 / 2;
                        let near = (x - half..=x + half).map(|c| c.clamp(0, n as i64 - 1) as usize);
                        let mut all: Vec<K> = near.flat_map(|c| rows.iter().map(move |r| r[c])).collect();
                        all.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap());
                        all[all.len() / 2]
                    })
                    .collect();
                for level in [Level::Plain, Level::Avx2, Level::Avx512] {
                    if level <= Level::best() {
                        let mut out = vec![value(); n];
                        median_row(level, &rows, columns, &mut out, &mut Scratch::default());
                        assert_eq!(out, wanted, "{level:?}, {height} x {columns} of {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_level_sees_what_is_no_number() {
        for n in [1, 15, 64, 65, 200] {
            for at in [None, Some(0), Some(n / 2), Some(n - 1)] {
                let row: Vec<f32> = (0..n).map(|k| if Some(k) == at { f32::NAN } else { k as f32 }).collect();
                for level in [Level::Plain, Level::Avx2, Level::Avx512] {
                    assert!(level > Level::best() || any_missing(level, &row) == at.is_some());
                }
            }
        }
    }

    #[test]
    fn every_level_gives_the_middle_of_the_sorted_rectangle() {
        let mut dice = Dice(9);
        check(|| dice.below(65536) as u16);
        check(|| dice.below(7) as i16 - 3);
        check(|| dice.below(1 << 31) as i32 - (1 << 30));
        check(|| dice.below(9));
        check(|| dice.below(1000) as f32 - 500.5);
    }
}
