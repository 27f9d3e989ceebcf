//! Sum and first moments of whole frames of small integers, exact.

use super::Level;

/// Columns that are worked on at once.
const STRIP: usize = 64;
/// Rows after which sums of 32 bits may be full: 256 * 257 / 2 * 65535 is below 2^32.
const ROWS: usize = 256;

/// A pixel whose moments fit in 32 bits for a while.
pub(crate) trait Small: Copy {
    /// Its value.
    fn value(self) -> u32;
}

impl Small for u8 {
    fn value(self) -> u32 {
        self.into()
    }
}

impl Small for u16 {
    fn value(self) -> u32 {
        self.into()
    }
}

/// The sum of a frame, and the sums of its pixels times row and times column.
pub(crate) fn moments<T: Small>(level: Level, frame: &[T], columns: usize) -> [u64; 3] {
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(frame, columns) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(frame, columns) },
        _ => all(frame, columns),
    }
}

// The compiler makes vectors of `all`, as wide as it is told here.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512<T: Small>(frame: &[T], columns: usize) -> [u64; 3] {
    all(frame, columns)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Small>(frame: &[T], columns: usize) -> [u64; 3] {
    all(frame, columns)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Small>(value: impl Fn(u64) -> T) {
        let mut seed = 5u64;
        for (rows, columns) in [(1, 1), (32, 24), (7, 64), (300, 65), (513, 200)] {
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
        check(|x| x as u8);
    }
}
