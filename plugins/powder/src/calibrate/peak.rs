//! A Gaussian on a straight background, fitted to pixels with the noise of counts.

use nalgebra::{SMatrix, SVector};

/// Most turns of the fit; it needs about six.
const TURNS: usize = 16;
/// A pixel farther from the fit than this many robust standard deviations is left out.
const OUTLIER: f64 = 6.0;

/// One pixel, or one bin of a profile.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Distance from the ring in two-theta, in pixels.
    pub u: f64,
    /// Mean counts.
    pub y: f64,
    /// Variance of `y` is the expected value over this.
    pub weight: f64,
    /// Known factor on the expectation (solid angle, polarisation).
    pub gain: f64,
    /// Where on the detector, in metres.
    pub at: [f64; 2],
}

/// Whether the Gaussian's width is fitted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The width is known.
    Fixed,
    /// The width is fitted.
    Free,
}

/// A fitted peak.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Height of the Gaussian.
    pub height: f64,
    /// Its variance.
    pub height_variance: f64,
    /// Place of the Gaussian, in pixels.
    pub shift: f64,
    /// Its variance.
    pub shift_variance: f64,
    /// Standard deviation of the Gaussian, in pixels.
    pub sigma: f64,
}

type Vector = SVector<f64, 5>;
type Matrix = SMatrix<f64, 5, 5>;

/// Fit height, place, background, slope and perhaps width; nothing if the data do not determine them.
///
/// Weights come from the fitted expectation, not from the data: data of few counts would bias it.
pub fn fit(samples: &[Sample], sigma: f64, shape: Shape) -> Option<Peak> {
    // Height, shift, logarithm of sigma, background, slope.
    let mean = samples.iter().map(|s| s.y).sum::<f64>() / samples.len() as f64;
    let mut p = Vector::new(0.0, 0.0, sigma.ln(), mean, 0.0);
    let mut limit = f64::INFINITY;
    for turn in 0..TURNS {
        // The first turn finds height and background alone: without a height no place is defined.
        let frozen = [false, turn == 0, turn < 2 || shape == Shape::Fixed, false, false];
        let (normal, right) = equations(samples, &p, mean, limit, frozen);
        let curvature = normal.diagonal();
        let step = normal.cholesky()?.solve(&right);
        p += step;
        if turn > 0 {
            p[1] = p[1].clamp(p[1] - step[1] - 0.5 * sigma, p[1] - step[1] + 0.5 * sigma);
            p[2] = p[2].clamp(p[2] - step[2] - 0.3, p[2] - step[2] + 0.3);
        }
        if !p.iter().all(|v| v.is_finite()) || p[1].abs() > 100.0 || p[2].abs() > 5.0 {
            return None;
        }
        if turn == 2 && shape == Shape::Fixed {
            limit = OUTLIER * spread(samples, &p, mean).max(1.0);
        }
        // A ten thousandth of a standard deviation: what is left must not show in the geometry.
        if turn > 3 && step[1] * step[1] * curvature[1] < 1e-8 && step[2] * step[2] * curvature[2] < 1e-8 {
            break;
        }
    }
    let frozen = [false, false, shape == Shape::Fixed, false, false];
    let covariance = equations(samples, &p, mean, limit, frozen).0.try_inverse()?;
    let peak = Peak {
        height: p[0],
        height_variance: covariance[(0, 0)],
        shift: p[1],
        shift_variance: covariance[(1, 1)],
        sigma: p[2].exp(),
    };
    (peak.shift_variance > 0.0 && peak.height_variance > 0.0).then_some(peak)
}

fn expectation(s: &Sample, p: &Vector) -> (f64, Vector) {
    let inverse = (-p[2]).exp();
    let t = (s.u - p[1]) * inverse;
    let g = (-0.5 * t * t).exp();
    let slope = Vector::new(g, p[0] * g * t * inverse, p[0] * g * t * t, 1.0, s.u) * s.gain;
    (s.gain * (p[0] * g + p[3] + p[4] * s.u), slope)
}

// A floor for the expected counts: a fit on its way may predict none.
fn variance(s: &Sample, value: f64, mean: f64) -> f64 {
    value.max(0.02 * mean).max(1e-3 / s.weight) / s.weight
}

fn equations(samples: &[Sample], p: &Vector, mean: f64, limit: f64, frozen: [bool; 5]) -> (Matrix, Vector) {
    let (mut normal, mut right) = (Matrix::zeros(), Vector::zeros());
    for s in samples {
        let (value, mut slope) = expectation(s, p);
        for k in 0..5 {
            if frozen[k] {
                slope[k] = 0.0;
            }
        }
        let (miss, v) = (s.y - value, variance(s, value, mean));
        // Fading out, not cut off: the turns of the fit must not jump.
        let fade = ((1.25 - miss.abs() / (limit * v.sqrt())) * 4.0).clamp(0.0, 1.0);
        if fade == 0.0 {
            continue;
        }
        let w = fade / v;
        // Only the lower half is summed: this is the innermost loop of a calibration.
        for k in 0..5 {
            let by = w * slope[k];
            right[k] += by * miss;
            for j in k..5 {
                normal[(j, k)] += by * slope[j];
            }
        }
    }
    for k in 0..5 {
        if frozen[k] {
            normal[(k, k)] = 1.0;
        }
        for j in 0..k {
            normal[(j, k)] = normal[(k, j)];
        }
    }
    (normal, right)
}

// Robust standard deviation of the pixels about the fit, in units of the counts' noise.
fn spread(samples: &[Sample], p: &Vector, mean: f64) -> f64 {
    let mut off: Vec<f64> = samples
        .iter()
        .map(|s| {
            let value = expectation(s, p).0;
            (s.y - value).abs() / variance(s, value, mean).sqrt()
        })
        .collect();
    let middle = off.len() / 2;
    // The median of the absolute value of a normal variable is 0.6745 of its standard deviation.
    *off.select_nth_unstable_by(middle, f64::total_cmp).1 / 0.6745
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Field, frame_rng};

    // Over many draws the errors of the place divided by its stated deviation must have unit variance.
    #[test]
    fn the_place_of_a_noisy_peak_is_stated_honestly() {
        let (sigma, truth) = (1.3, 0.37);
        let u = |k: usize| -6.0 + 0.08 * k as f64;
        let means: Vec<f32> = (0..150)
            .map(|k| (5.0 + 0.3 * u(k) + 40.0 * (-0.5 * ((u(k) - truth) / sigma).powi(2)).exp()) as f32)
            .collect();
        let field = Field::new(&means);
        for shape in [Shape::Fixed, Shape::Free] {
            let mut square = 0.0;
            for seed in 0..400 {
                let mut counts = vec![0u32; means.len()];
                field.draw(&mut frame_rng(seed, 0), &mut counts);
                let sample = |(k, &n): (usize, &u32)| Sample {
                    u: u(k),
                    y: f64::from(n),
                    weight: 1.0,
                    gain: 1.0,
                    at: [0.0; 2],
                };
                let samples: Vec<Sample> = counts.iter().enumerate().map(sample).collect();
                let got = fit(&samples, sigma, shape).unwrap();
                square += (got.shift - truth).powi(2) / got.shift_variance;
            }
            let rms = (square / 400.0).sqrt();
            assert!((0.88..1.12).contains(&rms), "{shape:?}: {rms}");
        }
    }
}
