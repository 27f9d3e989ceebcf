//! Medians: over frames at each pixel, and over the neighbours of each pixel.

use super::{Level, level};

/// Pixels that are worked on together.
const LANES: usize = 32;

/// The lower median of frames at each pixel; `frames` are of equal length, at most 65535 of them.
pub fn median_of_frames(frames: &[&[u16]], out: &mut [u16]) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the kernel needs.
        Level::Widest => unsafe { frames_widest(frames, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2.
        Level::Wide => unsafe { frames_wide(frames, out) },
        _ => frames_plain(frames, out),
    }
}

/// # Safety
/// The processor must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn frames_widest(frames: &[&[u16]], out: &mut [u16]) {
    frames_plain(frames, out);
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn frames_wide(frames: &[&[u16]], out: &mut [u16]) {
    frames_plain(frames, out);
}

#[inline(always)]
fn frames_plain(frames: &[&[u16]], out: &mut [u16]) {
    let rank = (frames.len().saturating_sub(1) / 2) as u16;
    for (at, chunk) in out.chunks_mut(LANES).enumerate() {
        let from = at * LANES;
        // Bit by bit: the median is the largest number with at most `rank` values below it.
        let mut found = [0u16; LANES];
        for bit in (0..16).rev() {
            let mut trial = found;
            trial.iter_mut().for_each(|t| *t |= 1 << bit);
            let mut below = [0u16; LANES];
            for frame in frames {
                let values = &frame[from..from + chunk.len()];
                if let Ok(values) = <&[u16; LANES]>::try_from(values) {
                    for i in 0..LANES {
                        below[i] += u16::from(values[i] < trial[i]);
                    }
                } else {
                    for i in 0..values.len() {
                        below[i] += u16::from(values[i] < trial[i]);
                    }
                }
            }
            for i in 0..LANES {
                found[i] = if below[i] <= rank { trial[i] } else { found[i] };
            }
        }
        chunk.copy_from_slice(&found[..chunk.len()]);
    }
}

/// A row of pixels above a floor: what is above it, and nothing below.
pub(crate) fn subtract(row: &[u16], floor: &[u16], out: &mut [u16]) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the kernel needs.
        Level::Widest => unsafe { subtract_widest(row, floor, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2.
        Level::Wide => unsafe { subtract_wide(row, floor, out) },
        _ => subtract_plain(row, floor, out),
    }
}

/// # Safety
/// The processor must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn subtract_widest(row: &[u16], floor: &[u16], out: &mut [u16]) {
    subtract_plain(row, floor, out);
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn subtract_wide(row: &[u16], floor: &[u16], out: &mut [u16]) {
    subtract_plain(row, floor, out);
}

#[inline(always)]
fn subtract_plain(row: &[u16], floor: &[u16], out: &mut [u16]) {
    for ((o, r), f) in out.iter_mut().zip(row).zip(floor) {
        *o = r.saturating_sub(*f);
    }
}

/// The medians of 3 x 3 pixels in the inner columns of a row, from the rows above, here and below.
///
/// `sorted` is room for three rows.
pub(crate) fn median_3x3(rows: [&[u16]; 3], sorted: &mut [Vec<u16>; 3], out: &mut [u16]) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the kernel needs.
        Level::Widest => unsafe { around_widest(rows, sorted, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2.
        Level::Wide => unsafe { around_wide(rows, sorted, out) },
        _ => around_plain(rows, sorted, out),
    }
}

/// # Safety
/// The processor must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn around_widest(rows: [&[u16]; 3], sorted: &mut [Vec<u16>; 3], out: &mut [u16]) {
    around_plain(rows, sorted, out);
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn around_wide(rows: [&[u16]; 3], sorted: &mut [Vec<u16>; 3], out: &mut [u16]) {
    around_plain(rows, sorted, out);
}

#[inline(always)]
fn around_plain(rows: [&[u16]; 3], sorted: &mut [Vec<u16>; 3], out: &mut [u16]) {
    let n = out.len();
    let [a, b, c] = rows.map(|r| &r[..n]);
    let [low, middle, high] = sorted;
    let (low, middle, high) = (&mut low[..n], &mut middle[..n], &mut high[..n]);
    for i in 0..n {
        let (x, y) = (a[i].min(b[i]), a[i].max(b[i]));
        let (y, z) = (y.min(c[i]), y.max(c[i]));
        low[i] = x.min(y);
        middle[i] = x.max(y);
        high[i] = z;
    }
    // The median of nine is the median of: the largest of the low ones, the middle of the middle ones, the smallest of
    // the high ones (Paeth, Graphics Gems 1990).
    let third = |x: u16, y: u16, z: u16| x.min(y).max(x.max(y).min(z));
    for i in 1..n.saturating_sub(1) {
        let l = low[i - 1].max(low[i]).max(low[i + 1]);
        let m = third(middle[i - 1], middle[i], middle[i + 1]);
        let h = high[i - 1].min(high[i]).min(high[i + 1]);
        out[i] = third(l, m, h);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(n: usize, most: u32) -> impl FnMut() -> Vec<u16> {
        let mut state = 11u32;
        move || {
            let mut one = || {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                ((state >> 8) % most) as u16
            };
            (0..n).map(|_| one()).collect()
        }
    }

    #[test]
    fn medians_of_frames_are_those_of_sorting() {
        for (count, most) in [(1, 65536), (2, 9), (7, 300), (60, 65536)] {
            let mut draw = random(101, most);
            let frames: Vec<Vec<u16>> = (0..count).map(|_| draw()).collect();
            let frames: Vec<&[u16]> = frames.iter().map(Vec::as_slice).collect();
            let (mut found, mut plain) = (vec![0; 101], vec![0; 101]);
            median_of_frames(&frames, &mut found);
            frames_plain(&frames, &mut plain);
            assert_eq!(found, plain);
            for i in 0..101 {
                let mut values: Vec<u16> = frames.iter().map(|f| f[i]).collect();
                values.sort_unstable();
                assert_eq!(found[i], values[(count - 1) / 2]);
            }
        }
    }

    #[test]
    fn medians_of_neighbours_are_those_of_sorting() {
        let mut draw = random(77, 20);
        for _ in 0..20 {
            let rows = [draw(), draw(), draw()];
            let rows = [&rows[0][..], &rows[1][..], &rows[2][..]];
            let mut room = [vec![0; 77], vec![0; 77], vec![0; 77]];
            let (mut found, mut plain) = (vec![0; 77], vec![0; 77]);
            median_3x3(rows, &mut room, &mut found);
            around_plain(rows, &mut room, &mut plain);
            assert_eq!(found, plain);
            for i in 1..76 {
                let mut nine: Vec<u16> = rows.iter().flat_map(|r| r[i - 1..i + 2].iter().copied()).collect();
                nine.sort_unstable();
                assert_eq!(found[i], nine[4]);
            }
            let (mut a, mut b) = (vec![0; 77], vec![0; 77]);
            subtract(rows[0], rows[1], &mut a);
            subtract_plain(rows[0], rows[1], &mut b);
            assert!(
                a == b
                    && (0..77)
                        .all(|i| i32::from(a[i]) == (i32::from(rows[0][i]) - i32::from(rows[1][i])).max(0))
            );
        }
    }
}
