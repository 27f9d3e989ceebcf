//! Sums of frames of small integers, pixel by pixel.

use super::Level;

/// Pixels that are worked on at once.
const STRIP: usize = 64;
/// Frames that are added before their sums are widened: each sum is read and written once for all of them.
const GROUP: usize = 8;

/// A pixel of at most 16 bits.
pub(crate) trait Short: Copy {
    /// Its value.
    fn value(self) -> u32;
}

impl Short for u8 {
    fn value(self) -> u32 {
        self.into()
    }
}

impl Short for u16 {
    fn value(self) -> u32 {
        self.into()
    }
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
    for group in frames.chunks(GROUP * pixels) {
        let n = group.len() / pixels;
        let (strips, rest) = sums.as_chunks_mut::<STRIP>();
        for (strip, sums) in strips.iter_mut().enumerate() {
            let mut own = [0u32; STRIP];
            for frame in 0..n {
                let at = frame * pixels + strip * STRIP;
                let from: &[T; STRIP] = group[at..].first_chunk().expect("a whole strip is left");
                for i in 0..STRIP {
                    // Eight values of 16 bits never fill 32.
                    own[i] = own[i].wrapping_add(from[i].value());
                }
            }
            for i in 0..STRIP {
                sums[i] = sums[i].wrapping_add(i64::from(own[i]));
            }
        }
        let left = strips.len() * STRIP;
        for frame in group.chunks_exact(pixels) {
            rest.iter_mut().zip(&frame[left..]).for_each(|(s, x)| *s += i64::from(x.value()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::Dice;

    fn check<T: Short>(value: impl Fn(u64) -> T) {
        let mut dice = Dice(3);
        for (n, pixels) in [(1, 1), (3, 63), (8, 64), (17, 300), (9, 128)] {
            let frames: Vec<T> = (0..n * pixels).map(|_| value(dice.below(1 << 16))).collect();
            let mut wanted = vec![5i64; pixels];
            for frame in frames.chunks(pixels) {
                wanted.iter_mut().zip(frame).for_each(|(w, x)| *w += i64::from(x.value()));
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
    }
}
