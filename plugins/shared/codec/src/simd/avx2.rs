//! Thirty-two bytes at a time.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_si256,
};

use super::scalar;

/// Bytes to planes; both slices have one length, a multiple of 8.
#[target_feature(enable = "avx2")]
pub(super) fn planes(bytes: &[u8], out: &mut [u8]) {
    let row = bytes.len() / 8;
    assert!(out.len() == bytes.len(), "rows as long as the bytes");
    let (groups, _) = bytes.as_chunks::<32>();
    for (i, group) in groups.iter().enumerate() {
        // SAFETY: the group has the 32 bytes that are read.
        let mut v = unsafe { _mm256_loadu_si256(group.as_ptr().cast()) };
        for b in (0..8).rev() {
            let bits = _mm256_movemask_epi8(v);
            // SAFETY: 32 whole bytes of input stand for four bytes of each of the eight rows of `out`.
            unsafe { out.as_mut_ptr().add(b * row + 4 * i).cast::<i32>().write_unaligned(bits) };
            v = _mm256_add_epi8(v, v);
        }
    }
    scalar::planes(bytes, out, groups.len() * 4);
}

/// Words of two bytes to planes; both slices have one length, a multiple of 16.
#[target_feature(enable = "avx2")]
pub(super) fn words(words: &[u8], out: &mut [u8]) {
    let row = words.len() / 16;
    assert!(out.len() == words.len(), "rows as long as the words");
    let own = _mm256_set1_epi16(0xff);
    // The halves of both vectors come interleaved.
    let joined = |a, b| -> __m256i { _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(a, b)) };
    let (groups, _) = words.as_chunks::<64>();
    for (i, group) in groups.iter().enumerate() {
        // SAFETY: the group has the twice 32 bytes that are read.
        let (a, b) = unsafe {
            (_mm256_loadu_si256(group.as_ptr().cast()), _mm256_loadu_si256(group[32..].as_ptr().cast()))
        };
        let low = joined(_mm256_and_si256(a, own), _mm256_and_si256(b, own));
        let high = joined(_mm256_srli_epi16::<8>(a), _mm256_srli_epi16::<8>(b));
        for (first, mut v) in [(0, low), (8, high)] {
            for b in (0..8).rev() {
                let bits = _mm256_movemask_epi8(v);
                // SAFETY: 32 whole words of input stand for four bytes of each of the sixteen rows of `out`.
                unsafe {
                    out.as_mut_ptr().add((first + b) * row + 4 * i).cast::<i32>().write_unaligned(bits)
                };
                v = _mm256_add_epi8(v, v);
            }
        }
    }
    scalar::words(words, out, groups.len() * 4);
}

/// Planes to bytes; both slices have one length, a multiple of 8.
#[target_feature(enable = "avx2")]
pub(super) fn bytes(planes: &[u8], out: &mut [u8]) {
    let row = planes.len() / 8;
    assert!(out.len() == planes.len(), "rows as long as the bytes");
    // Byte j of a vector looks at bit j % 8 of byte j / 8 of the four bytes of a row.
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let (groups, _) = out.as_chunks_mut::<32>();
    let done = groups.len() * 4;
    for (i, group) in groups.iter_mut().enumerate() {
        let mut v: __m256i = _mm256_setzero_si256();
        for b in 0..8 {
            // SAFETY: 32 whole bytes of output stand for four bytes of each of the eight rows of `planes`.
            let four = unsafe { planes.as_ptr().add(b * row + 4 * i).cast::<i32>().read_unaligned() };
            let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(four), spread);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, own), own);
            v = _mm256_or_si256(v, _mm256_and_si256(set, _mm256_set1_epi8((1_u8 << b) as i8)));
        }
        // SAFETY: the group has the 32 bytes that are written.
        unsafe { _mm256_storeu_si256(group.as_mut_ptr().cast(), v) };
    }
    scalar::bytes(planes, out, done);
}

/// Sorts bytes into planes: the scalar kernel, compiled for this machine.
#[target_feature(enable = "avx2")]
pub(super) fn shuffle(src: &[u8], size: usize, out: &mut [u8]) {
    scalar::shuffle(src, size, out);
}
