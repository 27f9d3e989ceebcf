//! Rows become columns, four by four waves in registers.

use super::plain;
use crate::num::{Complex, Real};

/// Writes rows `first ..` of `n` elements as columns of `out`, whose rows begin `stride` elements apart.
pub fn transpose_rows<T: Real>(
    rows: &[Complex<T>],
    first: usize,
    out: &mut [Complex<T>],
    [n, stride]: [usize; 2],
) {
    #[cfg(target_arch = "x86_64")]
    {
        let count = rows.len() / n;
        let fits = n.is_multiple_of(4) && count.is_multiple_of(4) && first + count <= n && n <= stride;
        let whole = rows.len() == count * n && out.len() >= (n - 1) * stride + n;
        if size_of::<Complex<T>>() == 8 && fits && whole && super::level() != super::Level::Plain {
            // SAFETY: the processor has the instructions, a wave has 8 bytes as the function takes them, and the checks
            // above say that all rows and columns it touches lie in the slices.
            unsafe { turned(rows.as_ptr().cast(), count, first, out.as_mut_ptr().cast(), [n, stride]) };
            return;
        }
    }
    plain::transpose_rows(rows, first, out, [n, stride]);
}

/// `count` rows of `n` elements of 8 bytes become columns from `first` on of `out`.
///
/// # Safety
///
/// The processor has AVX2; `rows` holds `count * n` elements and `out` at least `(n - 1) * stride + n`; `n` and `count`
/// are multiples of 4, `first + count <= n`, and `n <= stride`. Alignment does not matter.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn turned(rows: *const f64, count: usize, first: usize, out: *mut f64, [n, stride]: [usize; 2]) {
    use std::arch::x86_64::{
        _mm256_loadu_pd, _mm256_permute2f128_pd, _mm256_storeu_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd,
    };
    for j in (0..n).step_by(4) {
        for i in (0..count).step_by(4) {
            // SAFETY: `i + 3 < count` and `j + 3 < n`, so four elements from (i + k, j) on are among the rows, and four
            // from (j + k, first + i) on are in `out`.
            unsafe {
                let row = |k: usize| _mm256_loadu_pd(rows.add((i + k) * n + j));
                let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                let (ab, cd) = (_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, d));
                let (ba, dc) = (_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, d));
                let at = |k: usize| out.add((j + k) * stride + first + i);
                _mm256_storeu_pd(at(0), _mm256_permute2f128_pd::<0x20>(ab, cd));
                _mm256_storeu_pd(at(1), _mm256_permute2f128_pd::<0x20>(ba, dc));
                _mm256_storeu_pd(at(2), _mm256_permute2f128_pd::<0x31>(ab, cd));
                _mm256_storeu_pd(at(3), _mm256_permute2f128_pd::<0x31>(ba, dc));
            }
        }
    }
}
