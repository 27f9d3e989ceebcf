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
    fn wide(_: &[Self], _: &[Bits], _: &mut [i64]) -> bool
    where
        Self: Sized,
    {
        false
    }
}

/// For each mask the sum of the pixels it lets through.
pub(crate) fn masked_sums<T: Whole>(level: Level, frame: &[T], masks: &[Bits], out: &mut [i64]) {
    if level >= Level::Avx512 && T::wide(frame, masks, out) {
        return;
    }
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(frame, masks, out) },
        _ => runs(frame, masks, out),
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

impl Whole for u16 {
    fn value(self) -> i64 {
        self.into()
    }
    #[cfg(target_arch = "x86_64")]
    fn wide(frame: &[u16], masks: &[Bits], out: &mut [i64]) -> bool {
        for (masks, out) in masks.chunks(4).zip(out.chunks_mut(4)) {
            // SAFETY: this is called at the level that says the processor has these instructions.
            unsafe {
                match masks {
                    [a, b, c, d] => x86::words([a, b, c, d], frame, out),
                    [a, b, c] => x86::words([a, b, c], frame, out),
                    [a, b] => x86::words([a, b], frame, out),
                    [a] => x86::words([a], frame, out),
                    _ => {}
                }
            }
        }
        true
    }
}

impl Whole for u8 {
    fn value(self) -> i64 {
        self.into()
    }
    #[cfg(target_arch = "x86_64")]
    fn wide(frame: &[u8], masks: &[Bits], out: &mut [i64]) -> bool {
        for (masks, out) in masks.chunks(4).zip(out.chunks_mut(4)) {
            // SAFETY: this is called at the level that says the processor has these instructions.
            unsafe {
                match masks {
                    [a, b, c, d] => x86::bytes([a, b, c, d], frame, out),
                    [a, b, c] => x86::bytes([a, b, c], frame, out),
                    [a, b] => x86::bytes([a, b], frame, out),
                    [a] => x86::bytes([a], frame, out),
                    _ => {}
                }
            }
        }
        true
    }
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

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn words<const M: usize>(masks: [&Bits; M], frame: &[u16], out: &mut [i64]) {
        let (first, end) = range(&masks);
        let bits: [&[u64]; M] = std::array::from_fn(|m| &masks[m].words[..end]);
        let (whole, _) = frame.as_chunks::<64>();
        out.fill(0);
        let mut begin = first;
        while begin < end {
            let to = end.min(begin + BLOCK);
            let mut sums = [_mm512_setzero_si512(); M];
            for word in begin..to.min(whole.len()) {
                // SAFETY: so many words are whole, and each mask has words up to the last one that any needs.
                let (x, open) = unsafe { (whole.get_unchecked(word), bits.map(|b| *b.get_unchecked(word))) };
                // SAFETY: there are 64 pixels.
                let (low, high) = unsafe {
                    (_mm512_loadu_si512(x.as_ptr().cast()), _mm512_loadu_si512(x.as_ptr().add(32).cast()))
                };
                add_words(&mut sums, open, low, high);
            }
            if to > whole.len() {
                let (at, there) = (frame.as_ptr().wrapping_add(whole.len() * 64), tail(frame.len()));
                // SAFETY: lanes beyond the frame are masked out, and masked lanes are not touched.
                let (low, high) = unsafe {
                    (
                        _mm512_maskz_loadu_epi16(there as u32, at.cast()),
                        _mm512_maskz_loadu_epi16((there >> 32) as u32, at.wrapping_add(32).cast()),
                    )
                };
                add_words(&mut sums, bits.map(|b| b[whole.len()]), low, high);
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out += across(sum));
            begin = to;
        }
        out.iter_mut().zip(&masks).for_each(|(out, mask)| *out += 32768 * mask.pixels as i64);
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
    pub(super) fn bytes<const M: usize>(masks: [&Bits; M], frame: &[u8], out: &mut [i64]) {
        let (first, end) = range(&masks);
        let zero = _mm512_setzero_si512();
        let bits: [&[u64]; M] = std::array::from_fn(|m| &masks[m].words[..end]);
        let (whole, _) = frame.as_chunks::<64>();
        let mut sums = [zero; M];
        for word in first..end.min(whole.len()) {
            // SAFETY: so many words are whole, and each mask has words up to the last one that any needs.
            let (x, open) = unsafe { (whole.get_unchecked(word), bits.map(|b| *b.get_unchecked(word))) };
            // SAFETY: there are 64 pixels.
            add_bytes(&mut sums, open, unsafe { _mm512_loadu_si512(x.as_ptr().cast()) });
        }
        if end > whole.len() {
            let at = frame.as_ptr().wrapping_add(whole.len() * 64);
            // SAFETY: lanes beyond the frame are masked out, and masked lanes are not touched.
            let x = unsafe { _mm512_maskz_loadu_epi8(tail(frame.len()), at.cast()) };
            add_bytes(&mut sums, bits.map(|b| b[whole.len()]), x);
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_epi64(sum);
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
        for pixels in [1usize, 63, 64, 65, 768, 1000, 600_000] {
            let frame: Vec<T> = (0..pixels).map(|_| value(next())).collect();
            let open: Vec<Vec<bool>> =
                (0..6).map(|m| (0..pixels).map(|_| next() % 7 < m).collect()).collect();
            let masks: Vec<Bits> = open.iter().map(|o| Bits::new(o)).collect();
            let wanted: Vec<i64> = open
                .iter()
                .map(|o| frame.iter().zip(o).filter(|(_, o)| **o).map(|(x, _)| x.value()).sum())
                .collect();
            for level in Level::all() {
                let mut out = vec![7i64; 6];
                masked_sums(level, &frame, &masks, &mut out);
                assert_eq!(out, wanted, "{level:?}, {pixels} pixels");
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
