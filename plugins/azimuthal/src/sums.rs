//! Sums over the pixels of each bin, and what follows from them.

use crate::matrix::Matrix;
use crate::pixel::Pixel;
use crate::prepare::{ErrorModel, Fixed};

/// The sums of each bin in double precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Signal.
    pub signal: Vec<f64>,
    /// Variance; empty without an error model.
    pub variance: Vec<f64>,
    /// Normalisation.
    pub norm: Vec<f64>,
    /// Squares of the normalisation.
    pub norm2: Vec<f64>,
    /// Pixels.
    pub count: Vec<f64>,
}

/// What is reported of each bin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Result1 {
    /// Mean intensity.
    pub intensity: Vec<f32>,
    /// Standard error of the mean.
    pub sem: Vec<f32>,
    /// Standard deviation of a pixel.
    pub std: Vec<f32>,
    /// The sums.
    pub sums: Sums,
}

impl Sums {
    /// Zeros.
    pub(crate) fn zeros(bins: usize, variance: bool) -> Sums {
        let zeros = || vec![0.0; bins];
        Sums {
            signal: zeros(),
            variance: if variance { zeros() } else { vec![] },
            norm: zeros(),
            norm2: zeros(),
            count: zeros(),
        }
    }

    /// Divides by a factor that all pixels share: a monitor, an exposure time.
    ///
    /// Where pixels were divided by their own before, the signal is divided; else the normalisation grows.
    pub(crate) fn scale(&mut self, factor: f64, unweighted: bool) {
        if unweighted {
            self.signal.iter_mut().for_each(|s| *s /= factor);
            self.variance.iter_mut().for_each(|v| *v /= factor * factor);
        } else if factor != 1.0 {
            self.norm.iter_mut().for_each(|n| *n *= factor);
            self.norm2.iter_mut().for_each(|n| *n *= factor * factor);
        }
    }

    /// Whether a bin holds anything.
    ///
    /// Outlines around the beam may take more from a cell than they give: one with less than no pixel is empty too.
    pub fn holds(&self, bin: usize) -> bool {
        self.norm2[bin] > 0.0 && self.count[bin] > 0.0
    }

    /// Means and errors; bins without pixels get `empty`.
    pub fn finish(self, empty: f32) -> Result1 {
        let n = self.signal.len();
        let each = |value: &dyn Fn(usize) -> f64| -> Vec<f32> {
            (0..n).map(|k| if self.holds(k) { value(k) as f32 } else { empty }).collect()
        };
        let intensity = each(&|k| self.signal[k] / self.norm[k]);
        let (sem, std) = if self.variance.is_empty() {
            (vec![], vec![])
        } else {
            (
                each(&|k| self.variance[k].sqrt() / self.norm[k]),
                each(&|k| (self.variance[k] / self.norm2[k]).sqrt()),
            )
        };
        Result1 { intensity, sem, std, sums: self }
    }
}

/// Sums over all pixels in their order: the plain way, which every error model has.
pub fn plain<T: Pixel>(
    matrix: &Matrix,
    fixed: &Fixed,
    frame: &[T],
    variance: Option<&[f32]>,
    model: ErrorModel,
) -> Sums {
    let mut sums = Sums::zeros(matrix.bins, model != ErrorModel::None);
    for pixel in 0..matrix.pixels() {
        let (bins, shares) = matrix.of(pixel);
        if bins.is_empty() {
            continue;
        }
        let value = frame[pixel].value();
        if !fixed.valid(pixel, value) {
            continue;
        }
        let spread = match (model, variance) {
            (ErrorModel::Variance, Some(variance)) => variance[pixel],
            (ErrorModel::Poisson, _) => fixed.counted(pixel, value),
            _ => 0.0,
        };
        let [signal, norm, spread] = fixed.weigh(pixel, value, spread);
        for (bin, share) in bins.iter().zip(shares) {
            let (k, c) = (*bin as usize, f64::from(*share));
            if model == ErrorModel::Azimuthal {
                update(&mut sums, k, c, signal, norm);
            } else {
                if !sums.variance.is_empty() {
                    sums.variance[k] += c * c * spread;
                }
                sums.signal[k] += c * signal;
                sums.norm[k] += c * norm;
                sums.norm2[k] += (c * norm) * (c * norm);
            }
            sums.count[k] += c;
        }
    }
    if model == ErrorModel::Scatter {
        scatter(matrix, fixed, frame, &mut sums);
    }
    sums
}

/// Takes one more pixel into a bin's mean and its scatter.
#[inline(always)]
pub(crate) fn update(sums: &mut Sums, k: usize, c: f64, signal: f64, norm: f64) {
    let w = c * norm;
    let (s_old, w_old) = (sums.signal[k], sums.norm[k]);
    sums.signal[k] += c * signal;
    sums.norm[k] += w;
    sums.norm2[k] += w * w;
    if w_old > 0.0 {
        let x = signal / norm;
        sums.variance[k] += w * w * (s_old / w_old - x) * (sums.signal[k] / sums.norm[k] - x);
    }
}

/// The scatter about the final means.
fn scatter<T: Pixel>(matrix: &Matrix, fixed: &Fixed, frame: &[T], sums: &mut Sums) {
    for (pixel, raw) in frame.iter().enumerate() {
        let (bins, shares) = matrix.of(pixel);
        let value = raw.value();
        if bins.is_empty() || !fixed.valid(pixel, value) {
            continue;
        }
        let [signal, norm, _] = fixed.weigh(pixel, value, 0.0);
        let x = signal / norm;
        for (bin, share) in bins.iter().zip(shares) {
            let (k, w) = (*bin as usize, f64::from(*share) * norm);
            let off = x - sums.signal[k] / sums.norm[k];
            sums.variance[k] += w * w * off * off;
        }
    }
}
