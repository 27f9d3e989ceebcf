//! Frames less their dark, frames times a factor, and both at once.
//!
//! The compiler makes vectors of these loops, as wide as it is told.

use super::Level;
use crate::pixel::Pixel;

/// Writes a frame less its dark, what is not finite as NaN; gives how many pixels have the value `most`.
pub(crate) fn less<T: Pixel>(level: Level, frame: &[T], dark: &[f32], most: f32, out: &mut [f32]) -> u32 {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that the processor has these instructions.
        Level::Avx512 => unsafe { x86::less_avx512(frame, dark, most, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::less_avx2(frame, dark, most, out) },
        _ => less_plain(frame, dark, most, out),
    }
}

/// Writes a frame less its dark and times a factor, as [`less`] and [`times`] one after the other would.
pub(crate) fn even<T: Pixel>(
    level: Level,
    frame: &[T],
    dark: &[f32],
    by: f32,
    most: f32,
    out: &mut [f32],
) -> u32 {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that the processor has these instructions.
        Level::Avx512 => unsafe { x86::even_avx512(frame, dark, by, most, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::even_avx2(frame, dark, by, most, out) },
        _ => even_plain(frame, dark, by, most, out),
    }
}

/// Writes a frame times a factor.
pub(crate) fn times(level: Level, frame: &[f32], by: f32, out: &mut [f32]) {
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level says that the processor has these instructions.
        Level::Avx512 => unsafe { x86::times_avx512(frame, by, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { x86::times_avx2(frame, by, out) },
        _ => times_plain(frame, by, out),
    }
}

#[inline(always)]
fn less_plain<T: Pixel>(frame: &[T], dark: &[f32], most: f32, out: &mut [f32]) -> u32 {
    let mut full = 0;
    for ((out, v), dark) in out.iter_mut().zip(frame).zip(dark) {
        let v = v.as_f32();
        full += u32::from(v == most);
        *out = if T::WHOLE || v.abs() < f32::INFINITY { v - dark } else { f32::NAN };
    }
    full
}

#[inline(always)]
fn even_plain<T: Pixel>(frame: &[T], dark: &[f32], by: f32, most: f32, out: &mut [f32]) -> u32 {
    let mut full = 0;
    let mut one = |out: &mut [f32], frame: &[T], dark: &[f32]| {
        for ((out, v), dark) in out.iter_mut().zip(frame).zip(dark) {
            let v = v.as_f32();
            full += u32::from(v == most);
            *out = if T::WHOLE || v.abs() < f32::INFINITY { (v - dark) * by } else { f32::NAN };
        }
    };
    let n = out.len().min(frame.len()).min(dark.len());
    let (whole, frame) = (n / LINES * LINES, &frame[..n]);
    let blocks = out[..whole].chunks_exact_mut(LINES).zip(frame.chunks_exact(LINES));
    for ((out, frame), dark) in blocks.zip(dark.chunks_exact(LINES)) {
        fetch(frame);
        one(out, frame, dark);
    }
    one(&mut out[whole..n], &frame[whole..], &dark[whole..n]);
    full
}

/// Pixels that are worked on between one look ahead and the next.
const LINES: usize = 64;
/// Pixels of a frame that are brought to one intensity at a time, where those of many frames stand side by side.
pub(crate) const EVEN: usize = 2048;

/// Asks for what is as far ahead as the same place of the next piece: the processor follows pieces of many frames badly.
#[inline(always)]
fn fetch<T>(block: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..std::mem::size_of_val(block)).step_by(64) {
        let at = block.as_ptr().cast::<i8>().wrapping_add(EVEN * size_of::<T>() + line);
        // SAFETY: asking for memory that is not there does nothing.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = block;
}

#[inline(always)]
fn times_plain(frame: &[f32], by: f32, out: &mut [f32]) {
    out.iter_mut().zip(frame).for_each(|(out, v)| *out = v * by);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Pixel, even_plain, less_plain, times_plain};

    /// # Safety
    /// On a processor with these instructions; so for all below.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn less_avx512<T: Pixel>(f: &[T], dark: &[f32], most: f32, out: &mut [f32]) -> u32 {
        less_plain(f, dark, most, out)
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn less_avx2<T: Pixel>(f: &[T], dark: &[f32], most: f32, out: &mut [f32]) -> u32 {
        less_plain(f, dark, most, out)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn even_avx512<T: Pixel>(
        f: &[T],
        dark: &[f32],
        by: f32,
        most: f32,
        out: &mut [f32],
    ) -> u32 {
        even_plain(f, dark, by, most, out)
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn even_avx2<T: Pixel>(
        f: &[T],
        dark: &[f32],
        by: f32,
        most: f32,
        out: &mut [f32],
    ) -> u32 {
        even_plain(f, dark, by, most, out)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn times_avx512(frame: &[f32], by: f32, out: &mut [f32]) {
        times_plain(frame, by, out);
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn times_avx2(frame: &[f32], by: f32, out: &mut [f32]) {
        times_plain(frame, by, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_gives_the_numbers_of_the_plain_one() {
        for n in [0usize, 1, 15, 16, 33, 200] {
            let words: Vec<u16> =
                (0..n).map(|k| if k % 7 == 0 { u16::MAX } else { (k * 331) as u16 }).collect();
            let floats: Vec<f32> = (0..n)
                .map(|k| match k % 9 {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    _ => k as f32 * 1.7 - 90.0,
                })
                .collect();
            let dark: Vec<f32> = (0..n).map(|k| 90.0 + k as f32 / 3.0).collect();
            for level in Level::all() {
                let (mut found, mut wanted) = (vec![0f32; n], vec![0f32; n]);
                let full = less(level, &words, &dark, 65535.0, &mut found);
                assert_eq!(full, less_plain(&words, &dark, 65535.0, &mut wanted));
                assert_eq!(full as usize, n.div_ceil(7));
                assert_eq!(found, wanted, "{level:?}");
                less(level, &floats, &dark, f32::NAN, &mut found);
                assert!(found.iter().zip(&floats).all(|(f, v)| f.is_nan() != v.is_finite()));
                // Both at once are one after the other, to the bit.
                let mut both = vec![0f32; n];
                assert_eq!(even(level, &words, &dark, 0.7, 65535.0, &mut both), full);
                less(level, &words, &dark, 65535.0, &mut wanted);
                times(level, &wanted, 0.7, &mut found);
                assert_eq!(found, both, "{level:?}");
                even(level, &floats, &dark, 0.7, f32::NAN, &mut both);
                assert!(both.iter().zip(&floats).all(|(f, v)| f.is_nan() != v.is_finite()));
                times(level, &dark, 1.25, &mut found);
                times_plain(&dark, 1.25, &mut wanted);
                assert_eq!(found, wanted, "{level:?}");
            }
        }
    }
}
