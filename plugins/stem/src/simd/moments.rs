//! Sum and first moments of whole frames of small integers, exact.

use super::Level;

/// Columns that are worked on at once.
const STRIP: usize = 64;
/// Rows after which sums of 32 bits may be full: 256 * 257 / 2 * 65535 is below 2^32.
const ROWS: usize = 256;

/// A pixel whose moments fit in 32 bits for a while.
pub(crate) trait Small: Copy {
    /// What is taken from each pixel so that registers of signed numbers hold it.
    const LESS: i64;
    /// Registers after which sums may be full.
    const STEPS: usize;

    /// Its value.
    fn value(self) -> u32;

    /// The loop over registers of 512 bits.
    ///
    /// # Safety
    /// The processor has AVX-512 with words and bytes.
    #[cfg(target_arch = "x86_64")]
    unsafe fn wide(rows: &[Self], columns: usize) -> Lanes;

    /// The loop over registers of 256 bits.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn half(rows: &[Self], columns: usize) -> Lanes;
}

/// Sums over some rows of a frame, taken register by register, of pixels less a constant.
///
/// All but the last are sums over places in a register, so a step costs a few additions and nothing is multiplied by
/// its row.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Lanes {
    /// Of the pixels.
    sum: i64,
    /// Of what the sum was after each register.
    steps: i64,
    /// Of what the sum was after each row.
    rows: i64,
    /// Of pixels times place in their register, counted from its middle.
    places: i64,
}

impl Small for u8 {
    const LESS: i64 = 0;
    // Four products of a byte and a place below 33: 65536 of them fill 31 bits.
    const STEPS: usize = 32768;

    fn value(self) -> u32 {
        self.into()
    }

    #[cfg(target_arch = "x86_64")]
    unsafe fn wide(rows: &[u8], columns: usize) -> Lanes {
        // SAFETY: the caller vouches for the processor.
        unsafe { x86::bytes512(rows, columns) }
    }

    #[cfg(target_arch = "x86_64")]
    unsafe fn half(rows: &[u8], columns: usize) -> Lanes {
        // SAFETY: as above.
        unsafe { x86::bytes256(rows, columns) }
    }
}

impl Small for u16 {
    // Products are those of signed words.
    const LESS: i64 = 32768;
    // The sum of sums: 255 * 256 / 2 * 65536 is below 2^31.
    const STEPS: usize = 255;

    fn value(self) -> u32 {
        self.into()
    }

    #[cfg(target_arch = "x86_64")]
    unsafe fn wide(rows: &[u16], columns: usize) -> Lanes {
        // SAFETY: the caller vouches for the processor.
        unsafe { x86::words512(rows, columns) }
    }

    #[cfg(target_arch = "x86_64")]
    unsafe fn half(rows: &[u16], columns: usize) -> Lanes {
        // SAFETY: as above.
        unsafe { x86::words256(rows, columns) }
    }
}

/// The sum of a frame, and the sums of its pixels times row and times column.
pub(crate) fn moments<T: Small>(level: Level, frame: &[T], columns: usize) -> [u64; 3] {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx2 {
        let bytes = if level == Level::Avx2 { 32 } else { 64 };
        let lanes = bytes / size_of::<T>();
        let across = columns.div_ceil(lanes);
        if across <= T::STEPS {
            return blocks(frame, columns, lanes, |rows| match level {
                // SAFETY: the level says that the processor has these instructions.
                Level::Avx2 => unsafe { T::half(rows, columns) },
                // SAFETY: as above.
                _ => unsafe { T::wide(rows, columns) },
            });
        }
    }
    let _ = level;
    all(frame, columns)
}

/// Puts the sums of blocks of rows together, each of so many rows that no sum is full.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn blocks<T: Small>(frame: &[T], columns: usize, lanes: usize, sums: impl Fn(&[T]) -> Lanes) -> [u64; 3] {
    let across = columns.div_ceil(lanes);
    let most = T::STEPS / across;
    let (mut out, mut top) = ([0i64; 3], 0);
    for rows in frame.chunks(most * columns) {
        let height = (rows.len() / columns) as i64;
        let (width, across, lanes) = (columns as i64, across as i64, lanes as i64);
        let found = sums(rows);
        // A pixel is in every sum from its own step, or row, to the last one.
        let step = height * across * found.sum - found.steps;
        let row = height * found.sum - found.rows;
        let column = lanes * (step - across * row) + found.places + lanes / 2 * found.sum;
        let sum = found.sum + T::LESS * height * width;
        out[0] += sum;
        out[1] += top * sum + row + T::LESS * width * (height * (height - 1) / 2);
        out[2] += column + T::LESS * height * (width * (width - 1) / 2);
        top += height;
    }
    out.map(|x| x as u64)
}

#[inline(always)]
fn all<T: Small>(frame: &[T], columns: usize) -> [u64; 3] {
    let mut out = [0u64; 3];
    for (block, rows) in frame.chunks(ROWS * columns).enumerate() {
        let (top, height) = ((block * ROWS) as u64, (rows.len() / columns) as u64);
        let mut left = 0;
        while left < columns {
            let width = STRIP.min(columns - left);
            let (mut sums, mut tops) = ([0u32; STRIP], [0u32; STRIP]);
            if width == STRIP {
                for row in rows.chunks_exact(columns) {
                    let row: &[T; STRIP] = row[left..].first_chunk().expect("a whole strip is left");
                    for i in 0..STRIP {
                        // The sum of sums counts each row as often as rows follow it, itself included. Neither can
                        // wrap within a block; saying so keeps checks out of the loop.
                        sums[i] = sums[i].wrapping_add(row[i].value());
                        tops[i] = tops[i].wrapping_add(sums[i]);
                    }
                }
            } else {
                for row in rows.chunks_exact(columns) {
                    let row = &row[left..left + width];
                    for (i, x) in row.iter().enumerate() {
                        sums[i] = sums[i].wrapping_add(x.value());
                        tops[i] = tops[i].wrapping_add(sums[i]);
                    }
                }
            }
            for i in 0..width {
                let (sum, tops) = (u64::from(sums[i]), u64::from(tops[i]));
                out[0] += sum;
                out[1] += (top + height) * sum - tops;
                out[2] += (left + i) as u64 * sum;
            }
            left += width;
        }
    }
    out
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    /// Places in a register, counted from its middle.
    const WORDS: [i16; 32] = places(32);
    const BYTES: [i8; 64] = {
        let (mut out, wide, mut i) = ([0; 64], places::<64>(64), 0);
        while i < 64 {
            out[i] = wide[i] as i8;
            i += 1;
        }
        out
    };

    const fn places<const N: usize>(lanes: usize) -> [i16; N] {
        let (mut out, mut i) = ([0; N], 0);
        while i < N {
            out[i] = i as i16 - lanes as i16 / 2;
            i += 1;
        }
        out
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn words512(rows: &[u16], columns: usize) -> Lanes {
        let (bias, ones) = (_mm512_set1_epi16(i16::MIN), _mm512_set1_epi16(1));
        // SAFETY: there are 32 places.
        let places = unsafe { _mm512_loadu_si512(WORDS.as_ptr().cast()) };
        let zero = _mm512_setzero_si512();
        let (mut sum, mut steps, mut ends, mut near) = (zero, zero, zero, zero);
        for row in rows.chunks_exact(columns) {
            let (whole, rest) = row.as_chunks::<32>();
            let mut add = |x: __m512i| {
                let x = _mm512_xor_si512(x, bias);
                sum = _mm512_add_epi32(sum, _mm512_madd_epi16(x, ones));
                steps = _mm512_add_epi32(steps, sum);
                near = _mm512_add_epi32(near, _mm512_madd_epi16(x, places));
            };
            for x in whole {
                // SAFETY: there are 32 pixels.
                add(unsafe { _mm512_loadu_si512(x.as_ptr().cast()) });
            }
            if !rest.is_empty() {
                // What the bias makes zero stands where no pixel is.
                // SAFETY: lanes beyond the row are masked out, and masked lanes are not touched.
                add(unsafe { _mm512_mask_loadu_epi16(bias, (1u32 << rest.len()) - 1, rest.as_ptr().cast()) });
            }
            ends = _mm512_add_epi32(ends, sum);
        }
        let [sum, steps, rows, places] = [sum, steps, ends, near].map(|x| across512(x));
        Lanes { sum, steps, rows, places }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn bytes512(rows: &[u8], columns: usize) -> Lanes {
        let ones = _mm512_set1_epi16(1);
        // SAFETY: there are 64 places.
        let places = unsafe { _mm512_loadu_si512(BYTES.as_ptr().cast()) };
        let zero = _mm512_setzero_si512();
        let (mut sum, mut steps, mut ends, mut near) = (zero, zero, zero, zero);
        for row in rows.chunks_exact(columns) {
            let (whole, rest) = row.as_chunks::<64>();
            let mut add = |x: __m512i| {
                sum = _mm512_add_epi64(sum, _mm512_sad_epu8(x, zero));
                steps = _mm512_add_epi64(steps, sum);
                // Two products of a byte and a place never fill a word.
                near = _mm512_add_epi32(near, _mm512_madd_epi16(_mm512_maddubs_epi16(x, places), ones));
            };
            for x in whole {
                // SAFETY: there are 64 pixels.
                add(unsafe { _mm512_loadu_si512(x.as_ptr().cast()) });
            }
            if !rest.is_empty() {
                // SAFETY: lanes beyond the row are masked out, and masked lanes are not touched.
                add(unsafe { _mm512_maskz_loadu_epi8((1u64 << rest.len()) - 1, rest.as_ptr().cast()) });
            }
            ends = _mm512_add_epi64(ends, sum);
        }
        let [sum, steps, rows] = [sum, steps, ends].map(|x| _mm512_reduce_add_epi64(x));
        Lanes { sum, steps, rows, places: across512(near) }
    }

    /// The sum of sixteen lanes of 32 bits.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn across512(sum: __m512i) -> i64 {
        let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(sum));
        let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(sum));
        _mm512_reduce_add_epi64(_mm512_add_epi64(low, high))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn words256(rows: &[u16], columns: usize) -> Lanes {
        let (bias, ones) = (_mm256_set1_epi16(i16::MIN), _mm256_set1_epi16(1));
        // SAFETY: there are 16 places around the middle one.
        let places = unsafe { _mm256_loadu_si256(WORDS[8..].as_ptr().cast()) };
        let zero = _mm256_setzero_si256();
        let (mut sum, mut steps, mut ends, mut near) = (zero, zero, zero, zero);
        for row in rows.chunks_exact(columns) {
            let (whole, rest) = row.as_chunks::<16>();
            let mut add = |x: &[u16; 16]| {
                // SAFETY: there are 16 pixels.
                let x = _mm256_xor_si256(unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }, bias);
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, ones));
                steps = _mm256_add_epi32(steps, sum);
                near = _mm256_add_epi32(near, _mm256_madd_epi16(x, places));
            };
            for x in whole {
                add(x);
            }
            if !rest.is_empty() {
                // What the bias makes zero stands where no pixel is.
                let mut last = [1 << 15; 16];
                last[..rest.len()].copy_from_slice(rest);
                add(&last);
            }
            ends = _mm256_add_epi32(ends, sum);
        }
        let [sum, steps, rows, places] = [sum, steps, ends, near].map(|x| across256(x));
        Lanes { sum, steps, rows, places }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn bytes256(rows: &[u8], columns: usize) -> Lanes {
        let ones = _mm256_set1_epi16(1);
        // SAFETY: there are 32 places around the middle one.
        let places = unsafe { _mm256_loadu_si256(BYTES[16..].as_ptr().cast()) };
        let zero = _mm256_setzero_si256();
        let (mut sum, mut steps, mut ends, mut near) = (zero, zero, zero, zero);
        for row in rows.chunks_exact(columns) {
            let (whole, rest) = row.as_chunks::<32>();
            let mut add = |x: &[u8; 32]| {
                // SAFETY: there are 32 pixels.
                let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
                sum = _mm256_add_epi64(sum, _mm256_sad_epu8(x, zero));
                steps = _mm256_add_epi64(steps, sum);
                near = _mm256_add_epi32(near, _mm256_madd_epi16(_mm256_maddubs_epi16(x, places), ones));
            };
            for x in whole {
                add(x);
            }
            if !rest.is_empty() {
                let mut last = [0; 32];
                last[..rest.len()].copy_from_slice(rest);
                add(&last);
            }
            ends = _mm256_add_epi64(ends, sum);
        }
        let [sum, steps, rows] = [sum, steps, ends].map(|x| {
            let mut lanes = [0i64; 4];
            // SAFETY: there is room for four numbers.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), x) };
            lanes.iter().sum()
        });
        Lanes { sum, steps, rows, places: across256(near) }
    }

    /// The sum of eight lanes of 32 bits.
    #[target_feature(enable = "avx2")]
    fn across256(sum: __m256i) -> i64 {
        let mut lanes = [0i32; 8];
        // SAFETY: there is room for eight numbers.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
        lanes.iter().map(|x| i64::from(*x)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Small>(value: impl Fn(u64) -> T) {
        let mut seed = 5u64;
        for (rows, columns) in [(1, 1), (32, 24), (7, 64), (300, 65), (513, 200), (3, 4080), (2, 9000)] {
            let frame: Vec<T> = (0..rows * columns)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    value(seed >> 33)
                })
                .collect();
            let mut wanted = [0u64; 3];
            for (i, x) in frame.iter().enumerate() {
                let x = u64::from(x.value());
                wanted[0] += x;
                wanted[1] += (i / columns) as u64 * x;
                wanted[2] += (i % columns) as u64 * x;
            }
            for level in Level::all() {
                assert_eq!(moments(level, &frame, columns), wanted, "{level:?}, {rows} x {columns}");
            }
        }
    }

    #[test]
    fn every_level_gives_the_plain_sums() {
        check(|x| x as u16);
        check(|_| u16::MAX);
        check(|_| 0u16);
        check(|x| x as u8);
        check(|_| u8::MAX);
    }
}
