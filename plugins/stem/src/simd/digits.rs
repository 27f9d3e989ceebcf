//! Frames of bytes times masks in whole numbers: weights are digits of eight bits, sums are exact.

use super::Level;

/// Pixels of a register, and of a step.
const LANES: usize = 64;
/// Frames that are worked on at once.
const GROUP: usize = 16;
/// Steps of a tile: the digits of a block of masks and the pixels of some frames fill half the nearest cache.
const TILE: usize = 32;
/// Steps after which sums of 32 bits may be full: each takes four products of 255 and 128.
const FLUSH: usize = 16384;
/// The largest weight in units of the last of three digits: each is at most 127.
const LARGEST: f64 = (127 * 65536 + 127 * 256 + 127) as f64;

/// Pixels of a step.
type Pixels = [u8; LANES];

/// Digits of a step, where a register can be filled at once.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Step([i8; LANES]);

/// Sums of one register.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Sums([i32; LANES / 4]);

/// Masks as rows of digits: weights are `factor * digit`, summed over the rows of a mask.
#[derive(Clone, Debug)]
pub(crate) struct Digits {
    pixels: usize,
    /// Steps of a row.
    steps: usize,
    values: Vec<Step>,
    /// Of each row its mask and its factor; none for the row of ones, which is the last.
    rows: Vec<Option<(usize, f64)>>,
    /// Of each mask by how much its weights may have been rounded.
    rounded: Vec<f64>,
}

impl Digits {
    /// No mask, for frames of so many pixels.
    pub(crate) fn new(pixels: usize) -> Digits {
        Digits { pixels, steps: pixels.div_ceil(LANES), values: vec![], rows: vec![], rounded: vec![] }
    }

    /// How many masks there are.
    pub(crate) fn masks(&self) -> usize {
        self.rounded.len()
    }

    /// Takes a mask whose weights are few digits, or with `rounding` one that loses nothing by 23 bits of its largest.
    ///
    /// Rounded masks must be heavy all over and have no weight below 0: what is lost is weighed against the sum, and
    /// masks whose sums are often small against their largest weight would be multiplied twice.
    pub(crate) fn push(&mut self, mask: &[f64], rounding: bool) -> bool {
        let largest = mask.iter().fold(0f64, |m, w| m.max(w.abs()));
        if !mask.iter().all(|w| w.is_finite()) || largest > 1e30 || (largest > 0.0 && largest < 1e-30) {
            return false;
        }
        let mut unit = if largest > 0.0 { (largest / LARGEST).log2().ceil().exp2() } else { 1.0 };
        if largest / unit > LARGEST {
            unit *= 2.0;
        }
        let exact = mask.iter().all(|w| (w / unit).fract() == 0.0);
        let heavy = || mask.iter().sum::<f64>() * 8.0 >= largest * mask.len() as f64;
        let fits = exact || (rounding && mask.iter().all(|w| *w >= 0.0) && heavy());
        if !fits {
            return false;
        }
        if self.rows.last() == Some(&None) {
            self.rows.pop();
            self.values.truncate(self.rows.len() * self.steps);
        }
        let mut left: Vec<i32> = mask.iter().map(|w| (w / unit).round() as i32).collect();
        for place in 0..3 {
            // Digits from -128 to 127, and what is left divides by 256.
            let digits: Vec<i8> = left.iter().map(|v| *v as i8).collect();
            left.iter_mut().zip(&digits).for_each(|(v, d)| *v = (*v - i32::from(*d)) / 256);
            if digits.iter().any(|d| *d != 0) {
                self.row(&digits, Some((self.rounded.len(), unit * 256f64.powi(place))));
            }
        }
        self.rounded.push(if exact { 0.0 } else { unit / 2.0 });
        if self.rounded.iter().any(|r| *r > 0.0) {
            self.row(&vec![1; self.pixels], None);
        }
        true
    }

    fn row(&mut self, digits: &[i8], row: Option<(usize, f64)>) {
        let mut values = vec![Step([0; LANES]); self.steps];
        for (step, digits) in values.iter_mut().zip(digits.chunks(LANES)) {
            step.0[..digits.len()].copy_from_slice(digits);
        }
        self.values.extend(values);
        self.rows.push(row);
    }

    /// For each frame the products with all masks; says which of them, frame and mask, want more than 24 bits.
    pub(crate) fn products(&self, level: Level, frames: &[u8], out: &mut [f64]) -> Vec<(usize, usize)> {
        let masks = self.masks();
        if masks == 0 {
            return vec![];
        }
        let mut sums = vec![0i64; out.len() / masks * self.rows.len()];
        match level {
            // SAFETY: the level says that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => unsafe { vnni(self, frames, &mut sums) },
            _ => all(self, frames, &mut sums, plain),
        }
        let mut doubtful = vec![];
        out.fill(0.0);
        if self.rows.is_empty() {
            return doubtful;
        }
        for (frame, (out, sums)) in
            out.chunks_exact_mut(masks).zip(sums.chunks_exact(self.rows.len())).enumerate()
        {
            for (row, sum) in self.rows.iter().zip(sums) {
                if let Some((mask, factor)) = row {
                    out[*mask] += factor * *sum as f64;
                }
            }
            let all = sums[sums.len() - 1] as f64;
            for (mask, rounded) in self.rounded.iter().enumerate().filter(|(_, r)| **r > 0.0) {
                // Single precision loses as much.
                if rounded * all > 1e-6 * out[mask] {
                    doubtful.push((frame, mask));
                }
            }
        }
        doubtful
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vnni(digits: &Digits, frames: &[u8], out: &mut [i64]) {
    all(digits, frames, out, |tile, rows, sums| x86::tile(tile, rows, sums));
}

/// The pixels of a tile of some frames.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// Of each frame.
    frames: [&'a [Pixels]; GROUP],
    /// What comes next of each frame, which may be fetched ahead.
    ahead: [&'a [Pixels]; GROUP],
    /// How many frames there are.
    count: usize,
}

/// Goes over tiles of pixels, and flushes sums before they are full; `multiply` adds to sums of frames and rows.
#[inline(always)]
fn all(digits: &Digits, frames: &[u8], out: &mut [i64], multiply: impl Fn(&Tile, &[&[Step]], &mut [Sums])) {
    let (pixels, n) = (digits.pixels, digits.rows.len());
    if n == 0 {
        return;
    }
    let whole = pixels / LANES;
    let mut sums = vec![Sums([0; LANES / 4]); GROUP * n];
    let mut rows: Vec<&[Step]> = Vec::with_capacity(n);
    let piece = |frame: usize, from: usize, to: usize| -> &[Pixels] {
        let own = frames.get(frame * pixels + from * LANES..frame * pixels + to * LANES);
        own.unwrap_or(&[]).as_chunks::<LANES>().0
    };
    for (number, out) in out.chunks_mut(GROUP * n).enumerate() {
        let (first, count) = (number * GROUP, out.len() / n);
        let mut at = 0;
        while at < digits.steps {
            let flush = digits.steps.min(at + FLUSH);
            sums.fill(Sums([0; LANES / 4]));
            while at < flush {
                let mut tile = Tile { frames: [&[]; GROUP], ahead: [&[]; GROUP], count };
                let mut last = [[0u8; LANES]; GROUP];
                let end = if at < whole { whole.min(flush).min(at + TILE) } else { flush };
                // Behind the last tile of these frames comes the first one of the next frames.
                let next = if end < whole { (0, end) } else { (GROUP, 0) };
                for (i, last) in last.iter_mut().enumerate().take(count) {
                    tile.ahead[i] = piece(first + i + next.0, next.1, whole.min(next.1 + TILE));
                    if at < whole {
                        tile.frames[i] = piece(first + i, at, end);
                    } else {
                        let rest = &frames[(first + i) * pixels + whole * LANES..(first + i + 1) * pixels];
                        last[..rest.len()].copy_from_slice(rest);
                    }
                }
                if at >= whole {
                    tile.frames.iter_mut().zip(&last).for_each(|(x, last)| *x = std::slice::from_ref(last));
                }
                rows.clear();
                rows.extend(digits.values.chunks_exact(digits.steps).map(|r| &r[at..end]));
                multiply(&tile, &rows, &mut sums);
                at = end;
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                *out += sums.0.iter().map(|s| i64::from(*s)).sum::<i64>();
            }
        }
    }
}

fn plain(tile: &Tile, rows: &[&[Step]], sums: &mut [Sums]) {
    for (x, sums) in tile.frames[..tile.count].iter().zip(sums.chunks_mut(rows.len())) {
        for (row, sum) in rows.iter().zip(sums) {
            for (x, digits) in x.iter().zip(row.iter()) {
                let products = x.iter().zip(&digits.0).map(|(x, d)| i32::from(*x) * i32::from(*d));
                for (i, product) in products.enumerate() {
                    sum.0[i / 4] += product;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Pixels, Step, Sums, Tile};

    /// Frames and rows whose sums are in registers at once: 24 sums, 4 frames and a row of 32.
    const FRAMES: usize = 4;
    const ROWS: usize = 6;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn tile(tile: &Tile, rows: &[&[Step]], sums: &mut [Sums]) {
        let (x, stride) = (&tile.frames[..tile.count], rows.len());
        // The next pixels come from memory while these are worked on, some with each block of rows.
        let blocks = rows.len().div_ceil(ROWS) * x.len().div_ceil(FRAMES);
        let steps = tile.ahead[0].len();
        let (mut at, mut done) = (0, 0);
        while at < rows.len() {
            let n = match rows.len() - at {
                ROWS.. => ROWS,
                3.. => 3,
                _ => 1,
            };
            let own = &rows[at..at + n];
            let mut frame = 0;
            while frame < x.len() {
                let many = if x.len() - frame >= FRAMES { FRAMES } else { 1 };
                let share = (done * steps / blocks).min(steps)..((done + 1) * steps / blocks).min(steps);
                for ahead in &tile.ahead[..x.len()] {
                    fetch(ahead, share.clone());
                }
                done += 1;
                let (x, sums) = (&x[frame..frame + many], &mut sums[frame * stride + at..]);
                match (many, n) {
                    (FRAMES, ROWS) => block::<FRAMES, ROWS>(x, own, sums, stride),
                    (FRAMES, 3) => block::<FRAMES, 3>(x, own, sums, stride),
                    (FRAMES, _) => block::<FRAMES, 1>(x, own, sums, stride),
                    (_, ROWS) => block::<1, ROWS>(x, own, sums, stride),
                    (_, 3) => block::<1, 3>(x, own, sums, stride),
                    _ => block::<1, 1>(x, own, sums, stride),
                }
                frame += many;
            }
            at += n;
        }
    }

    /// Fetches some steps of what comes next; one that is not there does no harm.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn fetch(ahead: &[Pixels], steps: std::ops::Range<usize>) {
        for step in steps {
            _mm_prefetch::<_MM_HINT_T0>(ahead.as_ptr().wrapping_add(step).cast());
        }
    }

    /// `F` frames times `R` rows, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn block<const F: usize, const R: usize>(
        x: &[&[Pixels]],
        rows: &[&[Step]],
        sums: &mut [Sums],
        stride: usize,
    ) {
        let x: [&[Pixels]; F] = std::array::from_fn(|f| x[f]);
        let rows: [&[Step]; R] = std::array::from_fn(|r| rows[r]);
        let steps = x.iter().map(|x| x.len()).chain(rows.iter().map(|r| r.len())).min();
        let mut own: [[__m512i; R]; F] =
            std::array::from_fn(|f| std::array::from_fn(|r| load(&sums[f * stride + r].0)));
        for step in 0..steps.unwrap_or(0) {
            // SAFETY: each frame and each row has at least `steps` registers.
            let x: [__m512i; F] = std::array::from_fn(|f| load(unsafe { x[f].get_unchecked(step) }));
            for r in 0..R {
                // SAFETY: as above.
                let digits = load(unsafe { &rows[r].get_unchecked(step).0 });
                for f in 0..F {
                    own[f][r] = _mm512_dpbusd_epi32(own[f][r], x[f], digits);
                }
            }
        }
        for (f, own) in own.iter().enumerate() {
            for (r, own) in own.iter().enumerate() {
                // SAFETY: sixteen numbers of 32 bits fill a register.
                unsafe { _mm512_storeu_si512(sums[f * stride + r].0.as_mut_ptr().cast(), *own) };
            }
        }
    }

    /// A register of 64 bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn load<T, const N: usize>(from: &[T; N]) -> __m512i {
        const { assert!(size_of::<[T; N]>() == 64) };
        // SAFETY: that many bytes are there, as is seen above.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(seed: u64) -> impl FnMut() -> u64 {
        let mut seed = seed;
        move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        }
    }

    #[test]
    fn every_level_is_exact_for_weights_of_few_digits() {
        let mut next = dice(4);
        for (n, pixels) in [(1, 1), (3, 63), (17, 64), (21, 1000), (5, 16384)] {
            let frames: Vec<u8> = (0..n * pixels).map(|_| next() as u8).collect();
            // One digit, two digits, halves, numbers below 0, and the largest that three digits hold.
            let weight: [&mut dyn FnMut(u64) -> f64; 6] = [
                &mut |x| (x % 2) as f64,
                &mut |x| (x % 255) as f64 - 127.0,
                &mut |x| (x % 30000) as f64,
                &mut |x| (x % 7) as f64 / 2.0 - 1.5,
                &mut |x| (x % 16_000_000) as f64 - 8_000_000.0,
                &mut |_| 0.0,
            ];
            let masks: Vec<Vec<f64>> =
                weight.into_iter().map(|w| (0..pixels).map(|_| w(next())).collect()).collect();
            let mut digits = Digits::new(pixels);
            assert!(masks.iter().all(|m| digits.push(m, false)));
            let wanted: Vec<f64> = frames
                .chunks(pixels)
                .flat_map(|f| masks.iter().map(|m| f.iter().zip(m).map(|(x, w)| f64::from(*x) * w).sum()))
                .collect();
            for level in Level::all() {
                let mut out = vec![3.0; n * masks.len()];
                assert!(digits.products(level, &frames, &mut out).is_empty());
                assert_eq!(out, wanted, "{level:?}, {n} frames of {pixels}");
            }
        }
    }

    #[test]
    fn sums_beyond_32_bits_do_not_wrap() {
        let pixels = FLUSH * LANES + 70;
        let mut digits = Digits::new(pixels);
        assert!(digits.push(&vec![127.0; pixels], false));
        for level in Level::all() {
            let mut out = [0.0];
            digits.products(level, &vec![255; pixels], &mut out);
            assert_eq!(out[0], (pixels * 255 * 127) as f64, "{level:?}");
        }
    }

    #[test]
    fn rounded_weights_are_near_or_said_to_be_doubtful() {
        let mut next = dice(6);
        let pixels = 900;
        let mask: Vec<f64> = (0..pixels).map(|i| if i == 7 { 1e-6 } else { next() as f64 / 3e8 }).collect();
        let mut digits = Digits::new(pixels);
        assert!(!digits.push(&mask, false));
        assert!(digits.push(&mask, true));
        // A weight of few digits behind it, and masks that are light, below 0, or no numbers.
        assert!(digits.push(&vec![3.0; pixels], true));
        let mut light = vec![0.0; pixels];
        light[3] = 0.1;
        assert!(!digits.push(&light, true));
        assert!(!digits.push(&vec![-0.1; pixels], true));
        assert!(!digits.push(&vec![f64::NAN; pixels], true));
        let mut frames: Vec<u8> = (0..3 * pixels).map(|_| next() as u8).collect();
        // The last frame has one electron, where the weight is far below what 23 bits of the largest one can tell.
        frames[2 * pixels..].fill(0);
        frames[2 * pixels + 7] = 1;
        for level in Level::all() {
            let mut out = vec![0.0; 6];
            assert_eq!(digits.products(level, &frames, &mut out), [(2, 0)], "{level:?}");
            for (frame, out) in frames.chunks(pixels).zip(out.chunks(2)).take(2) {
                let wanted: f64 = frame.iter().zip(&mask).map(|(x, w)| f64::from(*x) * w).sum();
                assert!((out[0] - wanted).abs() <= 1e-6 * wanted, "{level:?}: {} for {wanted}", out[0]);
            }
            assert_eq!(out[5], 3.0);
        }
    }
}
