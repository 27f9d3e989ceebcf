//! One geometry from rings at several distances: the detector moves along the beam, everything else stays.

use isard_geometry::Pose;
use nalgebra::{SMatrix, SVector};

use super::param::{Five, Param};

/// Numbers that are fitted: distance at reading 0, beam's place, tilts, drifts of that place, logarithm of the wavelength.
const N: usize = 8;
/// Turns at most; it needs four.
const TURNS: usize = 30;
/// Positions beyond this many standard deviations count less, and beyond the second not at all.
const FADE: [f64; 2] = [4.0, 6.0];

type Vector = SVector<f64, N>;
type Matrix = SMatrix<f64, N, N>;

/// Where a ring was seen: a point on the detector and the line it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Where on the detector, in metres.
    pub at: [f64; 2],
    /// What the scattering angle there is beyond that of the point, in radians.
    pub beyond: f64,
    /// Scattering angle of the line at the wavelength that was believed, in radians.
    pub angle: f64,
    /// Radians of two-theta per pixel.
    pub per_pixel: f64,
    /// Variance of the place, in square pixels.
    pub variance: f64,
}

/// All that was seen at one reading of the detector's stage.
#[derive(Debug, Clone)]
pub struct View {
    /// The reading in metres, growing away from the sample.
    pub reading: f64,
    /// The geometry found from it alone.
    pub pose: Pose,
    /// The rings.
    pub seen: Vec<Seen>,
}

/// A detector that moves along the beam.
#[derive(Debug, Clone, PartialEq)]
pub struct Joint {
    numbers: [f64; N],
    covariance: [[f64; N]; N],
    /// Root mean square of what remains, in pixels.
    pub rms: f64,
    /// Sum of squares over degrees of freedom.
    pub chi2_dof: f64,
    /// Ring positions that count.
    pub positions: usize,
}

impl Joint {
    /// Fits all views together, with the wavelength or without; none if they do not determine it.
    ///
    /// The scatter of the views about one geometry widens the uncertainties where it is larger than that within each.
    pub fn fit(views: &[View], wavelength: bool) -> Option<Joint> {
        let mut p = start(views);
        let mut last = None;
        for turn in 0..TURNS {
            let (normal, right, sums) = equations(views, &p, wavelength, turn > 1);
            let step = solve(&normal, &right)?;
            p += step;
            last = Some(sums);
            let moved = step.dot(&(normal * step)).abs().sqrt();
            if turn > 2 && moved < 1e-6 {
                break;
            }
        }
        let (normal, _, _) = equations(views, &p, wavelength, true);
        let Sums { weight, square, chi2, used } = last?;
        let free = if wavelength { N } else { N - 1 };
        let chi2_dof = chi2 / (weight - free as f64);
        if weight <= free as f64 || !p.iter().all(|v| v.is_finite()) {
            return None;
        }
        let widen = chi2_dof.max(1.0);
        let mut covariance = [[0.0; N]; N];
        for (k, line) in covariance.iter_mut().enumerate().take(free) {
            let mut unit = Vector::zeros();
            unit[k] = 1.0;
            let column = solve(&normal, &unit)?;
            line.iter_mut().zip(column.iter()).for_each(|(c, v)| *c = v * widen);
        }
        Some(Joint {
            numbers: p.into(),
            covariance,
            rms: (square / weight).sqrt(),
            chi2_dof,
            positions: used,
        })
    }

    /// Distance along the beam at reading 0, in metres.
    pub fn distance(&self) -> f64 {
        self.numbers[0]
    }

    /// Where the direct beam hits at reading 0, in metres.
    pub fn centre(&self) -> [f64; 2] {
        [self.numbers[1], self.numbers[2]]
    }

    /// Both tilts in radians.
    pub fn tilts(&self) -> [f64; 2] {
        [self.numbers[3], self.numbers[4]]
    }

    /// How far the beam's place moves along the rows and columns for each metre of the reading.
    pub fn drift(&self) -> [f64; 2] {
        [self.numbers[5], self.numbers[6]]
    }

    /// The wavelength over the one that was believed.
    pub fn stretch(&self) -> f64 {
        self.numbers[7].exp()
    }

    /// Standard deviations: of distance, centre (two), tilts (two), drifts (two) and stretch.
    pub fn sigma(&self) -> [f64; N] {
        std::array::from_fn(|k| self.covariance[k][k].max(0.0).sqrt())
    }

    /// The geometry at a reading in metres.
    pub fn pose(&self, reading: f64) -> Pose {
        param(&Vector::from(self.numbers), reading).pose()
    }
}

/// The geometry at a reading.
fn param(p: &Vector, reading: f64) -> Param {
    let along = (p[0] + reading) * p[3].cos() * p[4].cos();
    Param(Five::new(along, p[1] + p[5] * reading, p[2] + p[6] * reading, p[3], p[4]))
}

/// The mean of what each view says alone.
fn start(views: &[View]) -> Vector {
    let mut p = Vector::zeros();
    for view in views {
        let Pose { dist, rot1, rot2, .. } = view.pose;
        let [c1, c2] = view.pose.centre();
        let alone = [dist / (rot1.cos() * rot2.cos()) - view.reading, c1, c2, rot1, rot2];
        alone.iter().enumerate().for_each(|(k, v)| p[k] += v / views.len() as f64);
    }
    p
}

/// What is left after a turn.
struct Sums {
    weight: f64,
    square: f64,
    chi2: f64,
    used: usize,
}

/// Normal equations of a step.
fn equations(views: &[View], p: &Vector, wavelength: bool, robust: bool) -> (Matrix, Vector, Sums) {
    let (mut normal, mut right) = (Matrix::zeros(), Vector::zeros());
    let mut sums = Sums { weight: 0.0, square: 0.0, chi2: 0.0, used: 0 };
    let ((s1, c1), (s2, c2)) = (p[3].sin_cos(), p[4].sin_cos());
    for view in views {
        let frame = param(p, view.reading).frame();
        let along = p[0] + view.reading;
        for seen in &view.seen {
            let (tth, slope) = frame.tth(seen.at);
            let angle = 2.0 * ((0.5 * seen.angle).sin() * p[7].exp()).clamp(-1.0, 1.0).asin();
            let miss = (tth + seen.beyond - angle) / seen.per_pixel;
            let off = miss.abs() / seen.variance.sqrt();
            let fade = ((FADE[1] - off) / (FADE[1] - FADE[0])).clamp(0.0, 1.0);
            let fade = if robust { fade } else { 1.0 };
            if fade == 0.0 {
                continue;
            }
            let g = Vector::from([
                slope[0] * c1 * c2,
                slope[1],
                slope[2],
                slope[3] - slope[0] * along * s1 * c2,
                slope[4] - slope[0] * along * c1 * s2,
                slope[1] * view.reading,
                slope[2] * view.reading,
                if wavelength { -2.0 * (0.5 * angle).tan() } else { 0.0 },
            ]) / seen.per_pixel;
            let w = fade / seen.variance;
            normal += g * g.transpose() * w;
            right -= g * (w * miss);
            sums.weight += fade;
            sums.square += fade * miss * miss;
            sums.chi2 += w * miss * miss;
            sums.used += 1;
        }
    }
    if !wavelength {
        normal[(N - 1, N - 1)] = 1.0;
    }
    (normal, right, sums)
}

/// Solves a symmetric system after its diagonal was scaled to one; none if it is as good as singular.
fn solve(normal: &Matrix, right: &Vector) -> Option<Vector> {
    let scale = normal.diagonal().map(|v| if v > 0.0 { v.sqrt().recip() } else { 1.0 });
    let scaled = Matrix::from_diagonal(&scale) * normal * Matrix::from_diagonal(&scale);
    let factor = scaled.cholesky()?;
    // Readings that hardly differ leave distance and wavelength as one number.
    if factor.l_dirty().diagonal().iter().any(|d| *d < 1e-7) {
        return None;
    }
    Some(scale.component_mul(&factor.solve(&scale.component_mul(right))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [f64; 4] = [0.06, 0.09, 0.13, 0.17];

    /// Points of rings of a known geometry, seen with a wavelength that is off by a factor.
    fn views(truth: [f64; 7], stretch: f64, readings: &[f64]) -> Vec<View> {
        let p = Vector::from([truth[0], truth[1], truth[2], truth[3], truth[4], truth[5], truth[6], 0.0]);
        let view = |reading: &f64| {
            let frame = param(&p, *reading).frame();
            let seen = (0..160).map(|k| {
                let (s, c) = (f64::from(k) * 0.157).sin_cos();
                let line = LINES[k as usize % 4];
                let r = (truth[0] + reading) * line.tan();
                let at = [truth[1] + r * s, truth[2] + r * c];
                // The line's angle as it is believed to be, and how far the point is from where it truly is.
                let believed = 2.0 * ((0.5 * line).sin() / stretch).asin();
                let beyond = line - frame.tth(at).0;
                Seen { at, beyond, angle: believed, per_pixel: 1e-4 / truth[0], variance: 1e-4 }
            });
            let near = Pose::from_centre(truth[0] * 1.002 + reading, [truth[1], truth[2]], 0.0, 0.0);
            View { reading: *reading, pose: near, seen: seen.collect() }
        };
        readings.iter().map(view).collect()
    }

    // The truth is what the points were made of.
    #[test]
    fn readings_tell_distance_from_wavelength() {
        let truth = [0.2, 0.05, 0.04, 0.02, -0.03, 1e-3, -2e-3];
        let views = views(truth, 1.003, &[0.0, 0.05, 0.1]);
        let found = Joint::fit(&views, true).unwrap();
        assert!((found.stretch() - 1.003).abs() < 1e-9, "{found:?}");
        for (k, (found, truth)) in found.numbers.iter().zip(truth).enumerate() {
            assert!((found - truth).abs() < 1e-9, "{k}: {found} for {truth}");
        }
        assert!(found.rms < 1e-6 && found.positions == 480);
        let pose = found.pose(0.05);
        let [c1, _] = pose.centre();
        assert!((c1 - 0.05 - 5e-5).abs() < 1e-9 && (pose.rot2 + 0.03).abs() < 1e-9);
        // Believed in, a wrong wavelength leaves rings off their lines.
        assert!(Joint::fit(&views, false).unwrap().rms > 0.01);
    }

    #[test]
    fn one_reading_does_not_tell_them() {
        let truth = [0.2, 0.05, 0.04, 0.02, -0.03, 0.0, 0.0];
        assert!(Joint::fit(&views(truth, 1.0, &[0.1]), true).is_none());
        assert!(Joint::fit(&[], true).is_none());
    }
}
