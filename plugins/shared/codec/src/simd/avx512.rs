//! Sixty-four bytes at a time.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi8, _mm512_castsi256_si512, _mm512_cvtepi16_epi8, _mm512_inserti64x4,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_movepi8_mask, _mm512_set1_epi8, _mm512_setzero_si512,
    _mm512_srli_epi16, _mm512_storeu_si512,
};

use super::scalar;

/// Bytes to planes; both slices have one length, a multiple of 8.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn planes(bytes: &[u8], out: &mut [u8]) {
    let row = bytes.len() / 8;
    assert!(out.len() == bytes.len(), "rows as long as the bytes");
    let (groups, _) = bytes.as_chunks::<64>();
    for (i, group) in groups.iter().enumerate() {
        // SAFETY: the group has the 64 bytes that are read.
        let mut v = unsafe { _mm512_loadu_si512(group.as_ptr().cast()) };
        for b in (0..8).rev() {
            // SAFETY: 64 whole bytes of input stand for eight bytes of each of the eight rows of `out`.
            unsafe {
                out.as_mut_ptr().add(b * row + 8 * i).cast::<u64>().write_unaligned(_mm512_movepi8_mask(v))
            };
            v = _mm512_add_epi8(v, v);
        }
    }
    scalar::planes(bytes, out, groups.len() * 8);
}

/// Words of two bytes to planes; both slices have one length, a multiple of 16.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn words(words: &[u8], out: &mut [u8]) {
    let row = words.len() / 16;
    assert!(out.len() == words.len(), "rows as long as the words");
    let low = |a, b| -> __m512i {
        let a = _mm512_castsi256_si512(_mm512_cvtepi16_epi8(a));
        _mm512_inserti64x4::<1>(a, _mm512_cvtepi16_epi8(b))
    };
    let (groups, _) = words.as_chunks::<128>();
    for (i, group) in groups.iter().enumerate() {
        // SAFETY: the group has the twice 64 bytes that are read.
        let (a, b) = unsafe {
            (_mm512_loadu_si512(group.as_ptr().cast()), _mm512_loadu_si512(group[64..].as_ptr().cast()))
        };
        let high = low(_mm512_srli_epi16::<8>(a), _mm512_srli_epi16::<8>(b));
        for (first, mut v) in [(0, low(a, b)), (8, high)] {
            for b in (0..8).rev() {
                let bits = _mm512_movepi8_mask(v);
                // SAFETY: 64 whole words of input stand for eight bytes of each of the sixteen rows of `out`.
                unsafe {
                    out.as_mut_ptr().add((first + b) * row + 8 * i).cast::<u64>().write_unaligned(bits)
                };
                v = _mm512_add_epi8(v, v);
            }
        }
    }
    scalar::words(words, out, groups.len() * 8);
}

/// Planes to bytes; both slices have one length, a multiple of 8.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn bytes(planes: &[u8], out: &mut [u8]) {
    let row = planes.len() / 8;
    assert!(out.len() == planes.len(), "rows as long as the bytes");
    let (groups, _) = out.as_chunks_mut::<64>();
    let done = groups.len() * 8;
    for (i, group) in groups.iter_mut().enumerate() {
        let mut v = _mm512_setzero_si512();
        for b in 0..8 {
            // SAFETY: 64 whole bytes of output stand for eight bytes of each of the eight rows of `planes`.
            let eight = unsafe { planes.as_ptr().add(b * row + 8 * i).cast::<u64>().read_unaligned() };
            let bit = _mm512_set1_epi8((1_u8 << b) as i8);
            v = _mm512_mask_add_epi8(v, eight, v, bit);
        }
        // SAFETY: the group has the 64 bytes that are written.
        unsafe { _mm512_storeu_si512(group.as_mut_ptr().cast(), v) };
    }
    scalar::bytes(planes, out, done);
}

/// Sorts bytes into planes: the scalar kernel, compiled for this machine.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn shuffle(src: &[u8], size: usize, out: &mut [u8]) {
    scalar::shuffle(src, size, out);
}
