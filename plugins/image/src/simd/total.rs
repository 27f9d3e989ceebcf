//! Sums of frames of small integers, pixel by pixel.

use super::Level;

/// Pixels that are worked on at once: their sums stay in the nearest cache, and frames are read a page at a time.
const STRIP: usize = 2048;
/// Frames that are added to each sum at once, which is then loaded and stored for all of them.
const GROUP: usize = 4;

/// A pixel of at most 16 bits.
pub(crate) trait Short: Copy {
    /// What sums of some frames are held in.
    type Sum: Copy + Default + Into<i64>;
    /// Frames after which a sum may be full.
    const FRAMES: usize;
    /// The sum and four pixels.
    fn plus(sum: Self::Sum, x: [Self; GROUP]) -> Self::Sum;
    /// The sum and one pixel.
    fn plus_one(sum: Self::Sum, x: Self) -> Self::Sum;
}

macro_rules! short {
    ($($t:ty, $sum:ty, $frames:expr;)*) => {$(
        impl Short for $t {
            type Sum = $sum;
            const FRAMES: usize = $frames;

            // Within so many frames no sum can wrap; saying so keeps checks out of the loop.
            #[inline(always)]
            fn plus(sum: $sum, x: [$t; GROUP]) -> $sum {
                let [a, b, c, d] = x.map(<$sum>::from);
                sum.wrapping_add(a.wrapping_add(b)).wrapping_add(c.wrapping_add(d))
            }

            #[inline(always)]
            fn plus_one(sum: $sum, x: $t) -> $sum {
                sum.wrapping_add(x.into())
            }
        }
    )*};
}
// 256 times 255 is below 2^16, 65536 times 65535 below 2^32.
short! {
    u8, u16, 256;
    u16, u32, 65536;
}

/// Adds frames of as many pixels as there are sums.
pub(crate) fn totals<T: Short>(level: Level, frames: &[T], sums: &mut [i64]) {
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(frames, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(frames, sums) },
        _ => all(frames, sums),
    }
}

// The compiler makes vectors of `all`, as wide as it is told here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512<T: Short>(frames: &[T], sums: &mut [i64]) {
    all(frames, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Short>(frames: &[T], sums: &mut [i64]) {
    all(frames, sums);
}

#[inline(always)]
fn all<T: Short>(frames: &[T], sums: &mut [i64]) {
    let pixels = sums.len();
    if pixels == 0 {
        return;
    }
    for block in frames.chunks(T::FRAMES * pixels) {
        let count = block.len() / pixels;
        for (strip, sums) in sums.chunks_mut(STRIP).enumerate() {
            let width = sums.len();
            let mut own = [T::Sum::default(); STRIP];
            let own = &mut own[..width];
            let piece = |frame: usize| &block[frame * pixels + strip * STRIP..][..width];
            let mut frame = 0;
            while frame + GROUP <= count {
                let [a, b, c, d] = [piece(frame), piece(frame + 1), piece(frame + 2), piece(frame + 3)];
                for i in 0..width {
                    own[i] = T::plus(own[i], [a[i], b[i], c[i], d[i]]);
                }
                frame += GROUP;
            }
            for frame in frame..count {
                own.iter_mut().zip(piece(frame)).for_each(|(s, x)| *s = T::plus_one(*s, *x));
            }
            sums.iter_mut().zip(own.iter()).for_each(|(s, x)| *s = s.wrapping_add((*x).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::Dice;

    fn check<T: Short + Into<i64>>(value: impl Fn(u64) -> T) {
        let mut dice = Dice(3);
        for (n, pixels) in [(1, 1), (3, 63), (8, 64), (17, 300), (9, 128), (5, 5000), (700, 3)] {
            let frames: Vec<T> = (0..n * pixels).map(|_| value(dice.below(1 << 16))).collect();
            let mut wanted = vec![5i64; pixels];
            for frame in frames.chunks(pixels) {
                wanted.iter_mut().zip(frame).for_each(|(w, x)| *w += (*x).into());
            }
            for level in [Level::Plain, Level::Avx2, Level::Avx512] {
                if level <= Level::best() {
                    let mut sums = vec![5i64; pixels];
                    totals(level, &frames, &mut sums);
                    assert_eq!(sums, wanted, "{level:?}, {n} frames of {pixels}");
                }
            }
        }
    }

    #[test]
    fn every_level_gives_the_plain_sums() {
        check(|x| x as u16);
        check(|_| u16::MAX);
        check(|x| x as u8);
        check(|_| u8::MAX);
    }
}
