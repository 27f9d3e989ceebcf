//! Bit planes of bytes: kernels chosen at run time, each with the scalar one as its twin.
//!
//! `n` bytes, a multiple of 8, are turned into 8 rows of `n / 8` bytes: bit `i % 8` of byte `i / 8` in row `b` is
//! bit `b` of byte `i`.

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Turns bytes into planes of bits; both have the same length, a multiple of 8.
pub(crate) fn planes(bytes: &[u8], out: &mut [u8]) {
    assert!(bytes.len() == out.len() && bytes.len().is_multiple_of(8), "planes of whole groups of 8 bytes");
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the feature is there, and the lengths were checked above.
            return unsafe { avx512::planes(bytes, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { avx2::planes(bytes, out) };
        }
    }
    scalar::planes(bytes, out, 0);
}

/// Turns words of two bytes into planes of bits, those of the low bytes first; both slices have the same length.
pub(crate) fn words(words: &[u8], out: &mut [u8]) {
    let whole = words.len().is_multiple_of(16);
    assert!(words.len() == out.len() && whole, "planes of whole groups of 8 words");
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the feature is there, and the lengths were checked above.
            return unsafe { avx512::words(words, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { avx2::words(words, out) };
        }
    }
    scalar::words(words, out, 0);
}

/// Turns planes of bits into bytes again.
pub(crate) fn bytes(planes: &[u8], out: &mut [u8]) {
    assert!(planes.len() == out.len() && out.len().is_multiple_of(8), "planes of whole groups of 8 bytes");
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the feature is there, and the lengths were checked above.
            return unsafe { avx512::bytes(planes, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { avx2::bytes(planes, out) };
        }
    }
    scalar::bytes(planes, out, 0);
}

/// Sorts the bytes of whole elements of `size` bytes into planes; both slices have the same length.
pub(crate) fn shuffle(src: &[u8], size: usize, out: &mut [u8]) {
    assert!(src.len() == out.len() && src.len().is_multiple_of(size), "planes of whole elements");
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the feature is there, and nothing else is asked for.
            return unsafe { avx512::shuffle(src, size, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { avx2::shuffle(src, size, out) };
        }
    }
    scalar::shuffle(src, size, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, bit by bit.
    fn defined(bytes: &[u8]) -> Vec<u8> {
        let row = bytes.len() / 8;
        let mut out = vec![0; bytes.len()];
        for (i, byte) in bytes.iter().enumerate() {
            for b in 0..8 {
                out[b * row + i / 8] |= (byte >> b & 1) << (i % 8);
            }
        }
        out
    }

    fn some(n: usize) -> Vec<u8> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
    }

    const LENGTHS: [usize; 12] = [0, 8, 16, 24, 32, 40, 64, 72, 120, 128, 4096, 8184];

    #[test]
    fn scalar_kernels_follow_the_definition() {
        for n in LENGTHS {
            let (src, mut there, mut back) = (some(n), vec![0; n], vec![0; n]);
            scalar::planes(&src, &mut there, 0);
            assert_eq!(there, defined(&src), "{n}");
            scalar::bytes(&there, &mut back, 0);
            assert_eq!(back, src, "{n}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn vector_kernels_agree_with_their_twin() {
        for n in LENGTHS {
            let src = some(n);
            let wanted = defined(&src);
            let (mut there, mut back) = (vec![0; n], vec![0; n]);
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the feature is there, and all lengths are equal multiples of 8.
                unsafe {
                    avx2::planes(&src, &mut there);
                    avx2::bytes(&wanted, &mut back);
                }
                assert!(there == wanted && back == src, "avx2, {n}");
            }
            if is_x86_feature_detected!("avx512bw") {
                (there, back) = (vec![0; n], vec![0; n]);
                // SAFETY: as above.
                unsafe {
                    avx512::planes(&src, &mut there);
                    avx512::bytes(&wanted, &mut back);
                }
                assert!(there == wanted && back == src, "avx512, {n}");
            }
        }
    }

    #[test]
    fn planes_of_words_agree_for_all_machines() {
        for n in LENGTHS {
            let src = some(2 * n);
            // By definition: the planes of the low bytes, then those of the high ones.
            let half = |k: usize| defined(&src.iter().copied().skip(k).step_by(2).collect::<Vec<_>>());
            let wanted = [half(0), half(1)].concat();
            let mut out = vec![0; 2 * n];
            scalar::words(&src, &mut out, 0);
            assert_eq!(out, wanted, "{n}");
            out.fill(0);
            words(&src, &mut out);
            assert_eq!(out, wanted, "{n}");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                out.fill(0);
                // SAFETY: the feature is there, and the lengths are equal multiples of 16.
                unsafe { avx2::words(&src, &mut out) };
                assert_eq!(out, wanted, "avx2, {n}");
            }
        }
    }

    #[test]
    fn the_chosen_kernels_go_there_and_back() {
        for n in LENGTHS {
            let (src, mut there, mut back) = (some(n), vec![0; n], vec![0; n]);
            planes(&src, &mut there);
            assert_eq!(there, defined(&src), "{n}");
            bytes(&there, &mut back);
            assert_eq!(back, src, "{n}");
        }
    }

    #[test]
    fn byte_planes_agree_for_all_machines() {
        for size in [1, 2, 3, 4, 8, 16] {
            for n in [1, 7, 64, 65, 200] {
                let src = some(n * size);
                let mut wanted = vec![0; n * size];
                for (i, byte) in src.iter().enumerate() {
                    wanted[i % size * n + i / size] = *byte;
                }
                let mut out = [(); 4].map(|()| vec![0; n * size]);
                scalar::shuffle(&src, size, &mut out[0]);
                shuffle(&src, size, &mut out[1]);
                out[2].clone_from(&wanted);
                out[3].clone_from(&wanted);
                #[cfg(target_arch = "x86_64")]
                {
                    if is_x86_feature_detected!("avx2") {
                        out[2].fill(0);
                        // SAFETY: the feature is there.
                        unsafe { avx2::shuffle(&src, size, &mut out[2]) };
                    }
                    if is_x86_feature_detected!("avx512bw") {
                        out[3].fill(0);
                        // SAFETY: the feature is there.
                        unsafe { avx512::shuffle(&src, size, &mut out[3]) };
                    }
                }
                assert!(out.iter().all(|o| *o == wanted), "{size} {n}");
            }
        }
    }
}
