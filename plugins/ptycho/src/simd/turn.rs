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
            let (from, to) = (rows.as_ptr().cast(), out.as_mut_ptr().cast::<f64>());
            // SAFETY: the processor has the instructions, a wave has 8 bytes as the function takes them, and the checks
            // above say that all rows and columns it touches lie in the slices.
            unsafe { turned([count, n], from, n, to.add(first), stride) };
            return;
        }
    }
    plain::transpose_rows(rows, first, out, [n, stride]);
}

/// Writes columns `first ..` of `wide`, `n` rows that begin `stride` elements apart, as rows.
pub fn transpose_columns<T: Real>(
    wide: &[Complex<T>],
    first: usize,
    rows: &mut [Complex<T>],
    [n, stride]: [usize; 2],
) {
    #[cfg(target_arch = "x86_64")]
    {
        let count = rows.len() / n;
        let fits = n.is_multiple_of(4) && count.is_multiple_of(4) && first + count <= n && n <= stride;
        let whole = rows.len() == count * n && wide.len() >= (n - 1) * stride + n;
        if size_of::<Complex<T>>() == 8 && fits && whole && super::level() != super::Level::Plain {
            let (from, to) = (wide.as_ptr().cast::<f64>(), rows.as_mut_ptr().cast());
            // SAFETY: as above.
            unsafe { turned([n, count], from.add(first), stride, to, n) };
            return;
        }
    }
    plain::transpose_columns(wide, first, rows, [n, stride]);
}

/// Rows of elements of 8 bytes, `from_stride` apart, become columns of `to`, whose rows are `to_stride` apart.
///
/// # Safety
///
/// The processor has AVX2; `height` and `width` are multiples of 4, and all elements of `height` rows of `width` lie behind
/// `from`, and those of `width` rows of `height` behind `to`. Alignment does not matter.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn turned(
    [height, width]: [usize; 2],
    from: *const f64,
    from_stride: usize,
    to: *mut f64,
    to_stride: usize,
) {
    use std::arch::x86_64::{
        _mm256_loadu_pd, _mm256_permute2f128_pd, _mm256_storeu_pd, _mm256_unpackhi_pd, _mm256_unpacklo_pd,
    };
    let block = |i: usize, j: usize| {
        // SAFETY: `i + 3 < height` and `j + 3 < width`: four elements from (i + k, j) on are among the rows, and four from
        // (j + k, i) on among those that are written.
        unsafe {
            let row = |k: usize| _mm256_loadu_pd(from.add((i + k) * from_stride + j));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (ab, cd) = (_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, d));
            let (ba, dc) = (_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, d));
            let at = |k: usize| to.add((j + k) * to_stride + i);
            _mm256_storeu_pd(at(0), _mm256_permute2f128_pd::<0x20>(ab, cd));
            _mm256_storeu_pd(at(1), _mm256_permute2f128_pd::<0x20>(ba, dc));
            _mm256_storeu_pd(at(2), _mm256_permute2f128_pd::<0x31>(ab, cd));
            _mm256_storeu_pd(at(3), _mm256_permute2f128_pd::<0x31>(ba, dc));
        }
    };
    // Along the shorter side first: lines of the cache are read, or written, as a whole.
    if height <= width {
        for j in (0..width).step_by(4) {
            for i in (0..height).step_by(4) {
                block(i, j);
            }
        }
    } else {
        for i in (0..height).step_by(4) {
            for j in (0..width).step_by(4) {
                block(i, j);
            }
        }
    }
}
