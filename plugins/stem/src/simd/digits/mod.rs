//! Frames of bytes times masks in whole numbers: weights are digits of eight bits, sums are exact.

mod tile;

use self::tile::{GROUP, Plane, Work};
use super::Level;

/// The largest weight in units of the last of three digits: each is at most 127.
const LARGEST: f64 = (127 * 65536 + 127 * 256 + 127) as f64;
/// The largest weight of two digits.
const TWO: f64 = (127 * 256 + 127) as f64;
/// What single precision loses, about, of a sum.
const LOST: f64 = 1e-6;
/// Of how many sums one may be farther off than that: the logarithm of twice a million.
const ODDS: f64 = 14.5;

/// Masks as rows of digits.
///
/// A mask that is no whole number of anything is cut to two digits first, up or down by chance, so that what is left of
/// its weights has nothing to do with any frame. By Bernstein's inequality that is below `LOST` of the sums of most
/// frames. The others meet a third digit, too.
#[derive(Clone, Debug)]
pub(crate) struct Digits {
    pixels: usize,
    /// What every frame meets.
    coarse: Plane,
    /// Third digits of masks that were cut.
    fine: Plane,
    masks: Vec<Mask>,
}

/// Both planes at work; the second when the first frame meets it.
struct Works<'a> {
    coarse: Work<'a>,
    fine: Option<Work<'a>>,
}

/// What is known of a mask.
#[derive(Clone, Copy, Debug)]
struct Mask {
    /// What is added to the sum for each electron.
    offset: f64,
    /// By how much its weights may be off after two digits; 0 is a mask that is exact.
    two: f64,
    /// By how much they may be off after three.
    three: f64,
}

impl Digits {
    /// No mask, for frames of so many pixels.
    pub(crate) fn new(pixels: usize) -> Digits {
        let (coarse, fine) = (Plane::new(pixels), Plane::new(pixels));
        Digits { pixels, coarse, fine, masks: vec![] }
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
        let heavy = || mask.iter().sum::<f64>() * 8.0 >= largest * mask.len() as f64;
        if mask.iter().all(|w| (w / unit).fract() == 0.0) {
            self.whole(mask.iter().map(|w| (w / unit) as i32).collect(), unit);
            self.masks.push(Mask { offset: 0.0, two: 0.0, three: 0.0 });
            return true;
        }
        if rounding && mask.iter().all(|w| *w >= 0.0) && heavy() {
            self.cut(mask, largest);
            return true;
        }
        false
    }

    /// Rows of a mask of whole numbers.
    fn whole(&mut self, mut left: Vec<i32>, unit: f64) {
        for place in 0..3 {
            // Digits from -128 to 127, and what is left divides by 256.
            let digits: Vec<i8> = left.iter().map(|v| *v as i8).collect();
            left.iter_mut().zip(&digits).for_each(|(v, d)| *v = (*v - i32::from(*d)) / 256);
            self.coarse.push(&digits, (self.masks.len(), unit * 256f64.powi(place)));
        }
    }

    /// Rows of a mask that is cut to two digits, and a third of what that leaves.
    fn cut(&mut self, mask: &[f64], largest: f64) {
        let least = mask.iter().fold(largest, |m, w| m.min(*w));
        let offset = (least + largest) / 2.0;
        // Equal weights are nothing but the offset.
        let unit = ((largest - least) / 2.0 / TWO).max(largest * f64::EPSILON);
        let most = TWO as i32;
        let (mut two, mut third) = (vec![0i32; mask.len()], vec![0i8; mask.len()]);
        let mut chance = 1u64;
        for ((w, two), third) in mask.iter().zip(&mut two).zip(&mut third) {
            chance = chance.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let up = (chance >> 11) as f64 / (1u64 << 53) as f64;
            let exact = (w - offset) / unit;
            // Down to a whole number, without a call: this is done for every pixel of every mask.
            let toward_zero = (exact + up) as i32;
            let down = toward_zero - i32::from(f64::from(toward_zero) > exact + up);
            *two = down.clamp(-most, most);
            let rest = (exact - f64::from(*two)) * 127.0;
            *third = (rest + 0.5f64.copysign(rest)) as i8;
        }
        self.fine.push(&third, (self.masks.len(), unit / 127.0));
        self.whole(two, unit);
        self.masks.push(Mask { offset, two: unit, three: unit / 254.0 });
    }

    /// For each frame the products with all masks; says which of them, frame and mask, want more than 24 bits.
    pub(crate) fn products(&self, level: Level, frames: &[u8], out: &mut [f64]) -> Vec<(usize, usize)> {
        out.fill(0.0);
        if self.masks.is_empty() || self.pixels == 0 {
            return vec![];
        }
        let masks = self.masks.len();
        let all: Vec<&[u8]> = frames.chunks_exact(self.pixels).collect();
        let mut doubtful = vec![];
        let mut works = Works { coarse: Work::new(level, &self.coarse), fine: None };
        // Frames that meet a third digit are still in a near cache.
        for (group, (frames, out)) in all.chunks(GROUP).zip(out.chunks_mut(GROUP * masks)).enumerate() {
            let own = self.group(level, &mut works, frames, out);
            doubtful.extend(own.into_iter().map(|(frame, mask)| (group * GROUP + frame, mask)));
        }
        doubtful
    }

    fn group<'a>(
        &'a self,
        level: Level,
        works: &mut Works<'a>,
        frames: &[&[u8]],
        out: &mut [f64],
    ) -> Vec<(usize, usize)> {
        let (rows, masks) = (self.coarse.rows(), self.masks.len());
        let cut = self.masks.iter().any(|mask| mask.two > 0.0);
        let mut electrons = [0u64; GROUP];
        // Counting reads the frames in the order in which they lie and does little else, which is as fast as the memory can
        // be; they are in a near cache when they are multiplied. Measured, fetching ahead while multiplying is slower.
        let sums = works.coarse.sums(frames, |parts| {
            for (electrons, part) in electrons.iter_mut().zip(parts) {
                *electrons += u64::from(tile::sum(level, part));
            }
        });
        for (n, out) in out.chunks_exact_mut(masks).enumerate() {
            self.coarse.add(&sums[n * rows..(n + 1) * rows], out);
            for (mask, out) in self.masks.iter().zip(out) {
                *out += mask.offset * electrons[n] as f64;
            }
        }
        if !cut {
            return vec![];
        }
        let unsure = |n: &usize| {
            let sums = &out[n * masks..(n + 1) * masks];
            let count = electrons[*n] as f64;
            let even = count / self.pixels as f64;
            // At most, at least, and last as they are.
            let sure = self.sure(sums, 255.0 * count, 255.0)
                || (self.sure(sums, count.max(even * count), even.max(1.0)) && {
                    let (squares, largest) = tile::squares(level, frames[*n]);
                    self.sure(sums, squares, largest)
                });
            !sure
        };
        let finer: Vec<usize> = (0..frames.len()).filter(unsure).collect();
        if finer.is_empty() {
            return vec![];
        }
        let fine = works.fine.get_or_insert_with(|| Work::new(level, &self.fine));
        self.finer(fine, frames, &finer, &electrons, out)
    }

    /// Whether two digits are enough for all sums of a frame, which has such a sum of squares and such a largest pixel.
    fn sure(&self, sums: &[f64], squares: f64, largest: f64) -> bool {
        self.masks.iter().zip(sums).all(|(mask, sum)| {
            let (unit, off) = (mask.two, LOST * sum);
            unit == 0.0 || off * off >= 2.0 * ODDS * unit * (unit * squares / 4.0 + largest * off / 3.0)
        })
    }

    /// Adds third digits to the sums of some frames of a group.
    fn finer(
        &self,
        work: &mut Work,
        all: &[&[u8]],
        numbers: &[usize],
        electrons: &[u64],
        out: &mut [f64],
    ) -> Vec<(usize, usize)> {
        let frames: Vec<&[u8]> = numbers.iter().map(|n| all[*n]).collect();
        let (sums, rows) = (work.sums(&frames, |_| ()), self.fine.rows());
        let mut doubtful = vec![];
        for (i, n) in numbers.iter().enumerate() {
            let out = &mut out[n * self.masks.len()..(n + 1) * self.masks.len()];
            self.fine.add(&sums[i * rows..(i + 1) * rows], out);
            for (m, (mask, sum)) in self.masks.iter().zip(out).enumerate() {
                // Single precision loses as much.
                if mask.three > 0.0 && mask.three * electrons[*n] as f64 > LOST * *sum {
                    doubtful.push((*n, m));
                }
            }
        }
        doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::tile::{LANES, SEGMENT};
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
        for (n, pixels) in [(1, 1), (3, 63), (17, 64), (21, 1000), (5, 16384), (2, 2 * SEGMENT * LANES + 70)]
        {
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
    fn blocks_of_every_size_are_exact() {
        let mut next = dice(5);
        let pixels = 130;
        for (masks, n) in (1..=11).flat_map(|masks| [1, 2, 3, 8, 9, 10, 19].map(|n| (masks, n))) {
            let weights: Vec<Vec<f64>> =
                (0..masks).map(|_| (0..pixels).map(|_| (next() % 255) as f64 - 127.0).collect()).collect();
            let frames: Vec<u8> = (0..n * pixels).map(|_| next() as u8).collect();
            let mut digits = Digits::new(pixels);
            assert!(weights.iter().all(|m| digits.push(m, false)));
            let mut wanted = vec![0.0; n * masks];
            digits.products(Level::Plain, &frames, &mut wanted);
            for level in Level::all() {
                let mut out = vec![0.0; n * masks];
                digits.products(level, &frames, &mut out);
                assert_eq!(out, wanted, "{level:?}, {n} frames, {masks} masks");
            }
        }
    }

    #[test]
    fn sums_and_squares_are_the_same_at_every_level() {
        let mut next = dice(7);
        for (len, most) in [0, 1, 64, 65, 1000, SEGMENT * LANES, SEGMENT * LANES + 3]
            .into_iter()
            .flat_map(|l| [1, 127, 255].map(|m| (l, m)))
        {
            let frame: Vec<u8> = (0..len).map(|_| (next() % (most + 1)) as u8).collect();
            let wanted: f64 = frame.iter().map(|x| f64::from(*x).powi(2)).sum();
            let largest = frame.iter().copied().max().unwrap_or(0);
            let sum: u32 = frame.iter().map(|x| u32::from(*x)).sum();
            for level in Level::all() {
                assert_eq!(tile::sum(level, &frame), sum, "{level:?}, {len} pixels up to {most}");
                let found = tile::squares(level, &frame);
                assert_eq!(found, (wanted, f64::from(largest)), "{level:?}, {len} pixels up to {most}");
            }
        }
    }

    #[test]
    fn sums_beyond_32_bits_do_not_wrap() {
        let pixels = (1 << 20) + 70;
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

    #[test]
    fn a_third_digit_is_taken_where_two_say_too_little() {
        let mut next = dice(8);
        let pixels = 128 * 128;
        let place = |i: usize| [(i / 128) as f64 - 60.0, (i % 128) as f64 - 66.0];
        // Weights by chance, equal ones over two areas, slopes, and equal ones all over.
        let masks: [Vec<f64>; 4] = [
            (0..pixels).map(|_| next() as f64 / 2f64.powi(31)).collect(),
            (0..pixels).map(|i| if place(i)[0].hypot(place(i)[1]) < 58.0 { 0.7 } else { 0.1 }).collect(),
            (0..pixels).map(|i| (place(i)[0] + 60.3) / 7.0).collect(),
            vec![0.1; pixels],
        ];
        let mut digits = Digits::new(pixels);
        assert!(masks.iter().all(|m| digits.push(m, true)));
        // A full frame, a disk, stripes, few electrons, one electron, and none.
        let frames: Vec<u8> = [0, 1, 2, 3, 4, 5]
            .into_iter()
            .flat_map(|kind| (0..pixels).map(move |i| (kind, i)))
            .map(|(kind, i)| match kind {
                0 => next() as u8,
                1 => u8::from(place(i)[0].hypot(place(i)[1]) < 58.0) * 200,
                2 => (i % 2) as u8 * 255,
                3 => u8::from(next().is_multiple_of(300)),
                4 => u8::from(i == 70),
                _ => 0,
            })
            .collect();
        for level in Level::all() {
            let mut out = vec![0.0; 6 * 4];
            let doubtful = digits.products(level, &frames, &mut out);
            for (n, (frame, out)) in frames.chunks(pixels).zip(out.chunks(4)).enumerate() {
                for (m, (mask, found)) in masks.iter().zip(out).enumerate() {
                    let wanted: f64 = frame.iter().zip(mask).map(|(x, w)| f64::from(*x) * w).sum();
                    let near = (found - wanted).abs() <= 1e-6 * wanted;
                    assert!(near || doubtful.contains(&(n, m)), "{level:?} {n} {m}: {found} for {wanted}");
                }
            }
            let enough = |n: usize| {
                let (squares, largest) = tile::squares(level, &frames[n * pixels..(n + 1) * pixels]);
                digits.sure(&out[n * 4..(n + 1) * 4], squares, largest)
            };
            assert_eq!([0, 1, 2, 3, 4, 5].map(enough), [true, true, true, false, false, true]);
        }
    }
}
