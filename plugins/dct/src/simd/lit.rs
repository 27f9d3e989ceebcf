//! Which pixels of a row are at or above a floor, 64 to a word.

use super::Level;

/// Sets a bit for every pixel that a test lets through: the scalar twin of the others.
pub(crate) fn lit_plain<T: Copy>(line: &[T], words: &mut [u64], test: impl Fn(T) -> bool) {
    for (pixels, word) in line.chunks(64).zip(words.iter_mut()) {
        *word = pixels.iter().enumerate().fold(0, |word, (bit, v)| word | u64::from(test(*v)) << bit);
    }
}

macro_rules! kernel {
    ($name:ident, $t:ty, $at:ident, $avx512:ident, $avx2:ident, $plain:expr) => {
        /// Sets the bit of every finite pixel at or above the floor.
        pub(crate) fn $name(line: &[$t], floor: $t, words: &mut [u64]) {
            $at(Level::best(), line, floor, words);
        }

        fn $at(level: Level, line: &[$t], floor: $t, words: &mut [u64]) {
            assert!(words.len() >= line.len().div_ceil(64), "a word for every 64 pixels");
            let whole = line.len() / 64 * 64;
            let (blocks, rest) = line.split_at(whole);
            #[cfg(target_arch = "x86_64")]
            match level {
                // SAFETY: the level says that the processor has these instructions.
                Level::Avx512 => unsafe { x86::$avx512(blocks, floor, words) },
                // SAFETY: as above.
                Level::Avx2 => unsafe { x86::$avx2(blocks, floor, words) },
                Level::Plain => lit_plain(blocks, words, |v| $plain(v, floor)),
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = level;
                lit_plain(blocks, words, |v| $plain(v, floor));
            }
            lit_plain(rest, &mut words[whole / 64..], |v| $plain(v, floor));
        }
    };
}
kernel!(lit_u16, u16, lit_u16_at, u16_avx512, u16_avx2, |v, floor| v >= floor);
kernel!(lit_i16, i16, lit_i16_at, i16_avx512, i16_avx2, |v, floor| v >= floor);
kernel!(lit_f32, f32, lit_f32_at, f32_avx512, f32_avx2, |v: f32, floor: f32| v >= floor && v < f32::INFINITY);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    macro_rules! words_of_512 {
        ($name:ident, $t:ty, $splat:ident, $compare:ident) => {
            #[target_feature(enable = "avx512f,avx512bw")]
            pub(super) unsafe fn $name(line: &[$t], floor: $t, words: &mut [u64]) {
                let floor = $splat(floor as i16);
                for (pixels, word) in line.chunks_exact(64).zip(words) {
                    // SAFETY: the block holds 64 elements of two bytes.
                    let (a, b) = unsafe {
                        let at = pixels.as_ptr().cast::<i32>();
                        (_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(16).cast()))
                    };
                    *word = u64::from($compare(a, floor)) | u64::from($compare(b, floor)) << 32;
                }
            }
        };
    }
    words_of_512!(u16_avx512, u16, _mm512_set1_epi16, _mm512_cmpge_epu16_mask);
    words_of_512!(i16_avx512, i16, _mm512_set1_epi16, _mm512_cmpge_epi16_mask);

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn f32_avx512(line: &[f32], floor: f32, words: &mut [u64]) {
        let (floor, end) = (_mm512_set1_ps(floor), _mm512_set1_ps(f32::INFINITY));
        for (pixels, word) in line.chunks_exact(64).zip(words) {
            *word = 0;
            for k in 0..4 {
                // SAFETY: the block holds 64 elements, four times 16.
                let v = unsafe { _mm512_loadu_ps(pixels.as_ptr().add(16 * k)) };
                let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(v, floor);
                let mask = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(mask, v, end);
                *word |= u64::from(mask) << (16 * k);
            }
        }
    }

    macro_rules! words_of_256 {
        ($name:ident, $t:ty, $max:ident) => {
            #[target_feature(enable = "avx2")]
            pub(super) unsafe fn $name(line: &[$t], floor: $t, words: &mut [u64]) {
                let floor = _mm256_set1_epi16(floor as i16);
                for (pixels, word) in line.chunks_exact(64).zip(words) {
                    *word = 0;
                    for k in 0..2 {
                        // SAFETY: the block holds 64 elements of two bytes, twice 32.
                        let (a, b) = unsafe {
                            let at = pixels.as_ptr().add(32 * k).cast::<__m256i>();
                            (_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)))
                        };
                        // A value is not below the floor when it is the larger of both.
                        let a = _mm256_cmpeq_epi16($max(a, floor), a);
                        let b = _mm256_cmpeq_epi16($max(b, floor), b);
                        // Packing works in halves of 128 bits; the permutation puts the quarters in order.
                        let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(a, b));
                        *word |= u64::from(_mm256_movemask_epi8(both) as u32) << (32 * k);
                    }
                }
            }
        };
    }
    words_of_256!(u16_avx2, u16, _mm256_max_epu16);
    words_of_256!(i16_avx2, i16, _mm256_max_epi16);

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn f32_avx2(line: &[f32], floor: f32, words: &mut [u64]) {
        let (floor, end) = (_mm256_set1_ps(floor), _mm256_set1_ps(f32::INFINITY));
        for (pixels, word) in line.chunks_exact(64).zip(words) {
            *word = 0;
            for k in 0..8 {
                // SAFETY: the block holds 64 elements, eight times 8.
                let v = unsafe { _mm256_loadu_ps(pixels.as_ptr().add(8 * k)) };
                let above = _mm256_cmp_ps::<_CMP_GE_OQ>(v, floor);
                let mask = _mm256_and_ps(above, _mm256_cmp_ps::<_CMP_LT_OQ>(v, end));
                *word |= u64::from(_mm256_movemask_ps(mask) as u32 as u8) << (8 * k);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_gives_the_bits_of_the_plain_one() {
        let mut seed = 3u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as u32
        };
        for n in [0, 1, 63, 64, 65, 200, 257] {
            let u: Vec<u16> = (0..n).map(|_| next() as u16).collect();
            let i: Vec<i16> = (0..n).map(|_| next() as i16).collect();
            let f: Vec<f32> = (0..n)
                .map(|_| match next() % 9 {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    2 => 100.0,
                    k => next() as f32 % 200.0 - k as f32,
                })
                .collect();
            for level in Level::all() {
                let (mut found, mut wanted) = (vec![0; 5], vec![0; 5]);
                for floor in [0u16, 1, 32768, 40000, 65535] {
                    lit_u16_at(level, &u, floor, &mut found);
                    lit_plain(&u, &mut wanted, |v| v >= floor);
                    assert_eq!(found, wanted, "{level:?}");
                }
                for floor in [i16::MIN, -5, 0, 77, i16::MAX] {
                    lit_i16_at(level, &i, floor, &mut found);
                    lit_plain(&i, &mut wanted, |v| v >= floor);
                    assert_eq!(found, wanted, "{level:?}");
                }
                for floor in [f32::NEG_INFINITY, 0.0, 100.0, 1e9] {
                    lit_f32_at(level, &f, floor, &mut found);
                    lit_plain(&f, &mut wanted, |v| v >= floor && v < f32::INFINITY);
                    assert_eq!(found, wanted, "{level:?}");
                }
            }
        }
    }
}
