//! Sums of the pixels that masks of ones and zeros let through, exact for integers.

use super::Level;

/// A mask of one bit a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    /// 64 pixels to a word, the first in the lowest bit; beyond the last pixel there are zeros.
    words: Vec<u64>,
    /// The runs of pixels that are let through.
    runs: Vec<(u32, u32)>,
    /// How many pixels are let through.
    pixels: u64,
    /// The words that let any pixel through.
    first: usize,
    end: usize,
}

impl Bits {
    /// A mask of truth values.
    pub(crate) fn new(open: &[bool]) -> Bits {
        let mut words = vec![0u64; open.len().div_ceil(64)];
        let mut runs: Vec<(u32, u32)> = vec![];
        for (i, _) in open.iter().enumerate().filter(|(_, open)| **open) {
            words[i / 64] |= 1 << (i % 64);
            match runs.last_mut() {
                Some(run) if run.1 == i as u32 => run.1 += 1,
                _ => runs.push((i as u32, i as u32 + 1)),
            }
        }
        let first = words.iter().position(|w| *w != 0).unwrap_or(0);
        let end = words.iter().rposition(|w| *w != 0).map_or(first, |i| i + 1);
        let pixels = runs.iter().map(|(a, b)| u64::from(b - a)).sum();
        Bits { words, runs, pixels, first, end }
    }
}

/// A pixel that is summed exactly.
pub(crate) trait Whole: Copy {
    /// Its value.
    fn value(self) -> i64;
    /// The sums at the widest level; false where there is no such loop for this type.
    fn wide(_: &[Self], _: usize, _: &[Bits], _: &mut [i64]) -> bool
    where
        Self: Sized,
    {
        false
    }
}

/// For each frame of so many pixels the sums that each mask lets through.
pub(crate) fn masked_sums<T: Whole>(level: Level, all: &[T], pixels: usize, masks: &[Bits], out: &mut [i64]) {
    if masks.is_empty() || pixels == 0 || (level >= Level::Avx512 && T::wide(all, pixels, masks, out)) {
        return;
    }
    for (frame, out) in all.chunks_exact(pixels).zip(out.chunks_exact_mut(masks.len())) {
        match level {
            // SAFETY: the level says that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2(frame, masks, out) },
            _ => runs(frame, masks, out),
        }
    }
}

// The compiler makes vectors of `runs`, as wide as it is told here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Whole>(frame: &[T], masks: &[Bits], out: &mut [i64]) {
    runs(frame, masks, out);
}

#[inline(always)]
fn runs<T: Whole>(frame: &[T], masks: &[Bits], out: &mut [i64]) {
    for (mask, out) in masks.iter().zip(out) {
        let runs = mask.runs.iter().map(|(a, b)| {
            frame[*a as usize..*b as usize].iter().fold(0i64, |sum, x| sum.wrapping_add(x.value()))
        });
        *out = runs.fold(0, i64::wrapping_add);
    }
}

macro_rules! whole {
    ($($t:ty)*) => {$(
        impl Whole for $t {
            fn value(self) -> i64 {
                self as i64
            }
        }
    )*};
}
whole!(i8 i16 i32 i64 u32 u64);

/// Frames that are summed side by side: as many streams come from memory at twice the rate of one.
#[cfg(target_arch = "x86_64")]
const FRAMES: usize = 8;

macro_rules! wide {
    ($($t:ty, $kernel:ident;)*) => {$(
        impl Whole for $t {
            fn value(self) -> i64 {
                self.into()
            }
            #[cfg(target_arch = "x86_64")]
            fn wide(all: &[$t], pixels: usize, masks: &[Bits], out: &mut [i64]) -> bool {
                let n = masks.len();
                for (frames, out) in all.chunks(FRAMES * pixels).zip(out.chunks_mut(FRAMES * n)) {
                    // Sums of two masks and eight frames are in registers.
                    for (at, masks) in (0..n).step_by(2).zip(masks.chunks(2)) {
                        // SAFETY: this is called at the level that says the processor has these instructions.
                        unsafe {
                            match (masks, frames.len() == FRAMES * pixels) {
                                ([a, b], true) => {
                                    x86::$kernel::<2, FRAMES>([a, b], frames, pixels, &mut out[at..], n);
                                }
                                ([a], true) => {
                                    x86::$kernel::<1, FRAMES>([a], frames, pixels, &mut out[at..], n);
                                }
                                _ => {
                                    let each = frames.chunks(pixels).zip(out.chunks_mut(n));
                                    for (frame, out) in each {
                                        let out = &mut out[at..];
                                        match masks {
                                            [a, b] => x86::$kernel::<2, 1>([a, b], frame, pixels, out, n),
                                            [a] => x86::$kernel::<1, 1>([a], frame, pixels, out, n),
                                            _ => {}
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                true
            }
        }
    )*};
}
wide! {
    u16, words;
    u8, bytes;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Bits;

    /// Words of 64 pixels after which lanes of 32 bits may be full.
    const BLOCK: usize = 8192;

    /// The words that any of the masks needs.
    fn range<const M: usize>(masks: &[&Bits; M]) -> (usize, usize) {
        let end = masks.iter().map(|m| m.end).max().unwrap_or(0);
        let first = masks.iter().filter(|m| m.end > m.first).map(|m| m.first).min().unwrap_or(end);
        (first, end)
    }

    /// The bits of the pixels behind the last whole word.
    fn tail(pixels: usize) -> u64 {
        (1u64 << (pixels % 64)) - 1
    }

    /// Frames of so many pixels, one after the other.
    fn split<T, const F: usize>(frames: &[T], pixels: usize) -> [&[T]; F] {
        std::array::from_fn(|f| &frames[f * pixels..(f + 1) * pixels])
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn words<const M: usize, const F: usize>(
        masks: [&Bits; M],
        frames: &[u16],
        pixels: usize,
        out: &mut [i64],
        stride: usize,
    ) {
        let (first, end) = range(&masks);
        let bits: [&[u64]; M] = std::array::from_fn(|m| &masks[m].words[..end]);
        let frames: [&[u16]; F] = split(frames, pixels);
        let (whole, count) = (frames.map(|frame| frame.as_chunks::<64>().0), pixels / 64);
        let mut totals = [[0i64; M]; F];
        let mut begin = first;
        while begin < end {
            let to = end.min(begin + BLOCK);
            let mut sums = [[_mm512_setzero_si512(); M]; F];
            for word in begin..to.min(count) {
                // SAFETY: each mask has words up to the last one that any needs.
                let open = bits.map(|b| unsafe { *b.get_unchecked(word) });
                for (whole, sums) in whole.iter().zip(&mut sums) {
                    // SAFETY: so many words are whole in each frame, and they have 64 pixels.
                    let (low, high) = unsafe {
                        let x = whole.get_unchecked(word).as_ptr();
                        (_mm512_loadu_si512(x.cast()), _mm512_loadu_si512(x.add(32).cast()))
                    };
                    add_words(sums, open, low, high);
                }
            }
            if to > count {
                for (frame, sums) in frames.iter().zip(&mut sums) {
                    let (at, there) = (frame.as_ptr().wrapping_add(count * 64), tail(pixels));
                    // SAFETY: lanes beyond the frame are masked out, and masked lanes are not touched.
                    let (low, high) = unsafe {
                        (
                            _mm512_maskz_loadu_epi16(there as u32, at.cast()),
                            _mm512_maskz_loadu_epi16((there >> 32) as u32, at.wrapping_add(32).cast()),
                        )
                    };
                    add_words(sums, bits.map(|b| b[count]), low, high);
                }
            }
            for (totals, sums) in totals.iter_mut().zip(sums) {
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += across(sum));
            }
            begin = to;
        }
        for (f, totals) in totals.iter().enumerate() {
            for (m, total) in totals.iter().enumerate() {
                out[f * stride + m] = total + 32768 * masks[m].pixels as i64;
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn add_words<const M: usize>(sums: &mut [__m512i; M], open: [u64; M], low: __m512i, high: __m512i) {
        // The multiplication is one of signed words, so half the range is taken off where the mask is open.
        let (bias, ones) = (_mm512_set1_epi16(i16::MIN), _mm512_set1_epi16(1));
        for (sum, open) in sums.iter_mut().zip(open) {
            let low = _mm512_maskz_add_epi16(open as u32, low, bias);
            let high = _mm512_maskz_add_epi16((open >> 32) as u32, high, bias);
            let (low, high) = (_mm512_madd_epi16(low, ones), _mm512_madd_epi16(high, ones));
            *sum = _mm512_add_epi32(*sum, _mm512_add_epi32(low, high));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn across(sum: __m512i) -> i64 {
        let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum));
        let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(sum));
        _mm512_reduce_add_epi64(_mm512_add_epi64(low, high))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn bytes<const M: usize, const F: usize>(
        masks: [&Bits; M],
        frames: &[u8],
        pixels: usize,
        out: &mut [i64],
        stride: usize,
    ) {
        let (first, end) = range(&masks);
        let bits: [&[u64]; M] = std::array::from_fn(|m| &masks[m].words[..end]);
        let frames: [&[u8]; F] = split(frames, pixels);
        let (whole, count) = (frames.map(|frame| frame.as_chunks::<64>().0), pixels / 64);
        let mut sums = [[_mm512_setzero_si512(); M]; F];
        for word in first..end.min(count) {
            // SAFETY: each mask has words up to the last one that any needs.
            let open = bits.map(|b| unsafe { *b.get_unchecked(word) });
            for (whole, sums) in whole.iter().zip(&mut sums) {
                // SAFETY: so many words are whole in each frame, and they have 64 pixels.
                let x = unsafe { _mm512_loadu_si512(whole.get_unchecked(word).as_ptr().cast()) };
                add_bytes(sums, open, x);
            }
        }
        if end > count {
            for (frame, sums) in frames.iter().zip(&mut sums) {
                let at = frame.as_ptr().wrapping_add(count * 64);
                // SAFETY: lanes beyond the frame are masked out, and masked lanes are not touched.
                let x = unsafe { _mm512_maskz_loadu_epi8(tail(pixels), at.cast()) };
                add_bytes(sums, bits.map(|b| b[count]), x);
            }
        }
        for (f, sums) in sums.iter().enumerate() {
            for (m, sum) in sums.iter().enumerate() {
                out[f * stride + m] = _mm512_reduce_add_epi64(*sum);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn add_bytes<const M: usize>(sums: &mut [__m512i; M], open: [u64; M], x: __m512i) {
        for (sum, open) in sums.iter_mut().zip(open) {
            let open = _mm512_maskz_mov_epi8(open, x);
            *sum = _mm512_add_epi64(*sum, _mm512_sad_epu8(open, _mm512_setzero_si512()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Whole>(value: impl Fn(u64) -> T) {
        let mut seed = 3u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        // Groups of frames that are summed side by side, and some that are left.
        for (n, pixels) in [(9, 1usize), (3, 63), (8, 64), (19, 65), (1, 768), (10, 1000), (1, 600_000)] {
            let frames: Vec<T> = (0..n * pixels).map(|_| value(next())).collect();
            let open: Vec<Vec<bool>> =
                (0..7).map(|m| (0..pixels).map(|_| next() % 7 < m).collect()).collect();
            let masks: Vec<Bits> = open.iter().map(|o| Bits::new(o)).collect();
            let sum = |frame: &[T], o: &[bool]| -> i64 {
                frame.iter().zip(o).filter(|(_, o)| **o).map(|(x, _)| x.value()).sum()
            };
            let wanted: Vec<i64> =
                frames.chunks(pixels).flat_map(|f| open.iter().map(move |o| sum(f, o))).collect();
            for level in Level::all() {
                let mut out = vec![7i64; n * 7];
                masked_sums(level, &frames, pixels, &masks, &mut out);
                assert_eq!(out, wanted, "{level:?}, {n} frames of {pixels} pixels");
            }
            assert_eq!(masks[3].pixels, open[3].iter().filter(|o| **o).count() as u64);
        }
    }

    #[test]
    fn every_level_sums_exactly() {
        check(|x| x as u16);
        check(|_| u16::MAX);
        check(|x| x as u8);
        check(|x| x as i16);
        check(|x| x as u32);
    }
}
