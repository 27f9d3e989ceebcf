//! Curves that spots do not disturb: sigma clipping, medians and means between quantiles.

use crate::matrix::ByBin;
use crate::pixel::Pixel;
use crate::prepare::{ErrorModel, Fixed};
use crate::simd::Frame;
use crate::sums::{Sums, update};

/// How pixels far from the mean of their bin are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipping {
    /// Standard deviations from the mean; 0 for Chauvenet's criterion alone.
    pub threshold: f64,
    /// Rounds at most.
    pub rounds: usize,
    /// The scatter decides what is dropped, counts say how large the errors are.
    pub hybrid: bool,
}

/// One pixel of a bin.
#[derive(Clone, Copy)]
struct Member {
    pixel: u32,
    share: f64,
    signal: f64,
    norm: f64,
    variance: f64,
}

impl Member {
    fn value(&self) -> f64 {
        self.signal / self.norm
    }
}

/// The pixels of each bin in turn, those that are valid.
struct Members<'a, T> {
    matrix: &'a ByBin,
    fixed: &'a Fixed,
    frame: &'a [T],
    variance: Option<&'a [f32]>,
}

impl<T: Pixel> Members<'_, T> {
    fn of(&self, bin: usize, members: &mut Vec<Member>) {
        members.clear();
        let (pixels, shares) = self.matrix.of(bin);
        for (at, share) in pixels.iter().zip(shares) {
            let pixel = *at as usize;
            let value = self.frame[pixel].value();
            if !self.fixed.valid(pixel, value) {
                continue;
            }
            let spread = self.variance.map_or_else(|| self.fixed.counted(pixel, value), |v| v[pixel]);
            let [signal, norm, variance] = self.fixed.weigh(pixel, value, spread);
            members.push(Member { pixel: *at, share: f64::from(*share), signal, norm, variance });
        }
    }
}

/// Adds up the members of a bin.
fn add(sums: &mut Sums, bin: usize, members: &[Member], scatter: bool) {
    for sum in [&mut sums.signal, &mut sums.norm, &mut sums.norm2, &mut sums.count, &mut sums.variance] {
        sum[bin] = 0.0;
    }
    for m in members {
        if scatter {
            update(sums, bin, m.share, m.signal, m.norm);
        } else {
            let w = m.share * m.norm;
            sums.signal[bin] += m.share * m.signal;
            sums.norm[bin] += w;
            sums.norm2[bin] += w * w;
            sums.variance[bin] += m.share * m.share * m.variance;
        }
        sums.count[bin] += m.share;
    }
}

/// Sums after pixels far from the mean of their bin were dropped, for good, bin by bin.
///
/// A pixel that was dropped from a bin is in no later one either, as in the reference; earlier ones keep their share.
pub fn clipped<T: Pixel>(
    matrix: &ByBin,
    fixed: &Fixed,
    frame: &[T],
    variance: Option<&[f32]>,
    model: ErrorModel,
    clipping: &Clipping,
) -> Sums {
    let bins = matrix.start.len() - 1;
    let mut sums = Sums::zeros(bins, true);
    let source = Members { matrix, fixed, frame, variance };
    let scatter = model == ErrorModel::Azimuthal || clipping.hybrid;
    let mut members = vec![];
    let mut dropped = vec![false; frame.len()];
    for bin in 0..bins {
        source.of(bin, &mut members);
        members.retain(|m| !dropped[m.pixel as usize]);
        add(&mut sums, bin, &members, scatter);
        for _ in 0..clipping.rounds {
            if sums.norm2[bin] <= 0.0 {
                break;
            }
            let mean = sums.signal[bin] / sums.norm[bin];
            let std = (sums.variance[bin] / sums.norm2[bin]).sqrt();
            let chauvenet = (2.0 * (sums.count[bin].max(3.0) / std::f64::consts::TAU.sqrt()).ln()).sqrt();
            let cut = clipping.threshold.max(chauvenet) * std;
            let before = members.len();
            members.retain(|m| {
                let kept = (m.value() - mean).abs() <= cut;
                dropped[m.pixel as usize] |= !kept;
                kept
            });
            if members.len() == before {
                break;
            }
            add(&mut sums, bin, &members, scatter);
        }
        if clipping.hybrid {
            add(&mut sums, bin, &members, false);
        }
    }
    sums
}

/// Sums over the pixels between two quantiles of their bin, in fractions of its weight; the median where both are 0.5.
pub fn between<T: Pixel>(
    matrix: &ByBin,
    fixed: &Fixed,
    frame: &Frame<T>,
    scatter: bool,
    [low, high]: [f64; 2],
) -> Sums {
    let bins = matrix.start.len() - 1;
    let mut sums = Sums::zeros(bins, true);
    let source = Members { matrix, fixed, frame: frame.pixels, variance: frame.variance };
    // The reference divides pixels one by one; here sums are divided later, and only the order of pixels is decided so.
    let factor = if fixed.unweighted { 1.0 } else { frame.factor.abs() as f32 };
    let norm = |m: &Member| m.norm as f32 * factor;
    let value = |m: &Member| m.signal as f32 / norm(m);
    let mut members = vec![];
    let mut kept = vec![];
    for bin in 0..bins {
        source.of(bin, &mut members);
        // In single precision, and pixels that are equal there in their order, as the reference has them.
        members.sort_by(|a, b| value(a).total_cmp(&value(b)));
        // Where quantiles fall on the edge of a pixel the rounding of the reference decides: weights and their sums are in
        // single precision, what is carried on is not.
        let weight = |m: &Member| f64::from(m.share as f32 * norm(m));
        let total: f64 = members.iter().map(weight).sum();
        let (low, high) = ((low * total) as f32, (high * total) as f32);
        kept.clear();
        let (mut sum, mut after) = (0.0, 0.0);
        for m in &members {
            let before = after;
            sum += weight(m);
            after = sum as f32;
            if (low <= before && after <= high) || (low >= before && high <= after) {
                kept.push(*m);
            }
        }
        add(&mut sums, bin, &kept, scatter);
        sums.count[bin] = kept.len() as f64;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Matrix;

    fn one_bin(n: usize) -> (ByBin, Fixed) {
        let mut matrix = Matrix::new(1, n);
        for _ in 0..n {
            matrix.put(0, 1.0);
            matrix.close();
        }
        (matrix.by_bin(), Fixed { norm: vec![1.0; n], ..Fixed::default() })
    }

    // By hand: the median of 1 2 3 4 100 is 3; the pixels wholly between 20 and 80 % are 2 3 4.
    #[test]
    fn quantiles_by_hand() {
        let (matrix, fixed) = one_bin(5);
        let frame = [4u16, 100, 1, 3, 2];
        let take = |q| {
            let frame = Frame { pixels: &frame[..], variance: None, factor: 1.0 };
            let sums = between(&matrix, &fixed, &frame, false, q);
            (sums.signal[0], sums.count[0])
        };
        assert_eq!(take([0.5, 0.5]), (3.0, 1.0));
        assert_eq!(take([0.2, 0.8]), (9.0, 3.0));
        assert_eq!(take([0.0, 1.0]), (110.0, 5.0));
    }

    // By hand: pixel 7 stands out of the first bin and is missing from the second, pixel 13 out of the second and is kept in
    // the first.
    #[test]
    fn a_pixel_that_was_dropped_is_in_no_later_bin() {
        let mut matrix = Matrix::new(2, 24);
        for pixel in 0..24 {
            match pixel {
                7 | 13 => (0..2).for_each(|bin| matrix.put(bin, 0.5)),
                _ => matrix.put(pixel / 12, 1.0),
            }
            matrix.close();
        }
        let fixed = Fixed { norm: vec![1.0; 24], ..Fixed::default() };
        let mut frame = [10i32; 24];
        (12..24).for_each(|pixel| frame[pixel] = 1000);
        (frame[7], frame[13]) = (1000, 10);
        let clipping = Clipping { threshold: 3.0, rounds: 5, hybrid: false };
        let sums = clipped(&matrix.by_bin(), &fixed, &frame, None, ErrorModel::Azimuthal, &clipping);
        assert_eq!((sums.count[0], sums.count[1]), (11.5, 11.0));
        assert_eq!((sums.signal[0], sums.signal[1]), (115.0, 11_000.0));
    }

    // By hand: eleven times 10 and one 1000: the first round drops it, the second finds no more.
    #[test]
    fn an_outlier_is_dropped_for_good() {
        let (matrix, fixed) = one_bin(12);
        let mut frame = [10i32; 12];
        frame[7] = 1000;
        let clipping = Clipping { threshold: 3.0, rounds: 5, hybrid: false };
        let sums = clipped(&matrix, &fixed, &frame, None, ErrorModel::Azimuthal, &clipping);
        assert_eq!((sums.signal[0], sums.count[0], sums.variance[0]), (110.0, 11.0, 0.0));
        let none = Clipping { rounds: 0, ..clipping };
        assert_eq!(clipped(&matrix, &fixed, &frame, None, ErrorModel::Poisson, &none).count[0], 12.0);
    }
}
