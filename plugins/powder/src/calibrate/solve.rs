//! One step of the geometry towards the measured ring positions, and how sure it is.

use super::coarse::solve;
use super::param::{Five, Param, Square};
use super::sector::Position;

/// Positions within this many standard deviations count fully.
const FULL: f64 = 4.0;
/// Positions beyond this many do not count.
const NONE: f64 = 6.0;

/// The result of a step.
#[derive(Debug, Clone)]
pub struct Solved {
    /// The improved parameters.
    pub param: Param,
    /// Their covariance.
    pub covariance: Square,
    /// Length of the step in standard deviations.
    pub moved: f64,
    /// Root mean square of what remains at the positions that count, in pixels.
    pub rms: f64,
    /// Sum of squares over degrees of freedom, with the noise of counts alone.
    pub chi2_dof: f64,
    /// Deviation added to each position's so that they explain each other, in pixels.
    pub systematic: f64,
    /// Which positions count.
    pub used: Vec<bool>,
}

/// Move the parameters to where the measured positions lie on their lines.
///
/// If the positions scatter more than counting allows (uneven modules, grains), a common deviation is added in
/// quadrature to all, as large as makes them consistent; the covariance then includes it.
pub fn improve(positions: &[Position], param: &Param) -> Option<Solved> {
    let frame = param.frame();
    let slopes: Vec<Five> = positions.iter().map(|p| frame.tth(p.at).1 / p.per_pixel).collect();
    let mut weights: Vec<f64> = positions.iter().map(|_| 1.0).collect();
    let mut systematic = 0.0;
    let mut step = Five::zeros();
    let mut normal = Square::zeros();
    let mut left: Vec<f64> = positions.iter().map(|p| p.shift).collect();
    for turn in 0..8 {
        // The first turns look for the bulk: there the deviations' median says what is far.
        if turn > 0 {
            let scale = if turn < 4 { median_ratio(positions, &left, systematic).max(1.0) } else { 1.0 };
            for ((w, p), r) in weights.iter_mut().zip(positions).zip(&left) {
                let t = r.abs() / (scale * (p.variance + systematic * systematic).sqrt());
                *w = ((NONE - t) / (NONE - FULL)).clamp(0.0, 1.0);
            }
        }
        if weights.iter().filter(|w| **w > 0.0).count() < 12 {
            return None;
        }
        if turn > 0 {
            systematic = excess(positions, &left, &weights);
        }
        normal = Square::zeros();
        let mut right = Five::zeros();
        for ((p, slope), w) in positions.iter().zip(&slopes).zip(&weights) {
            let w = w / (p.variance + systematic * systematic);
            normal += slope * slope.transpose() * w;
            right -= slope * (w * p.shift);
        }
        step = solve(&normal, &right)?;
        for ((r, p), slope) in left.iter_mut().zip(positions).zip(&slopes) {
            *r = p.shift + slope.dot(&step);
        }
    }
    let covariance = invert(&normal)?;
    let moved = step.dot(&(normal * step)).sqrt();
    let used: Vec<bool> = weights.iter().map(|w| *w > 0.0).collect();
    let total: f64 = weights.iter().sum();
    let square: f64 = left.iter().zip(&weights).map(|(r, w)| w * r * r).sum();
    let chi2: f64 = left.iter().zip(&weights).zip(positions).map(|((r, w), p)| w * r * r / p.variance).sum();
    Some(Solved {
        param: Param(param.0 + step),
        covariance,
        moved,
        rms: (square / total).sqrt(),
        chi2_dof: chi2 / (total - 5.0),
        systematic,
        used,
    })
}

fn invert(normal: &Square) -> Option<Square> {
    let mut out = Square::zeros();
    for k in 0..5 {
        let mut unit = Five::zeros();
        unit[k] = 1.0;
        out.set_column(k, &solve(normal, &unit)?);
    }
    Some((out + out.transpose()) * 0.5)
}

fn median_ratio(positions: &[Position], left: &[f64], systematic: f64) -> f64 {
    let ratio = |(p, r): (&Position, &f64)| r.abs() / (p.variance + systematic * systematic).sqrt();
    let mut all: Vec<f64> = positions.iter().zip(left).map(ratio).collect();
    let middle = all.len() / 2;
    *all.select_nth_unstable_by(middle, f64::total_cmp).1 / 0.6745
}

// The common deviation that brings the sum of squares to its degrees of freedom; 0 unless it is three sigma above.
fn excess(positions: &[Position], left: &[f64], weights: &[f64]) -> f64 {
    let dof = weights.iter().sum::<f64>() - 5.0;
    let chi2 = |s: f64| -> f64 {
        positions.iter().zip(left).zip(weights).map(|((p, r), w)| w * r * r / (p.variance + s * s)).sum()
    };
    if chi2(0.0) <= dof + 3.0 * (2.0 * dof).sqrt() {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1e-3);
    while chi2(high) > dof && high < 1e3 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if chi2(middle) > dof { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use isard_geometry::Pose;

    use super::*;

    // Positions on rings of a known geometry, displaced by a known pattern of unit mean square.
    fn positions(noise: f64) -> (Vec<Position>, Param) {
        let truth = Pose::from_centre(0.2, [0.05, 0.04], 0.02, -0.03);
        let start = Param::from_pose(&Pose::from_centre(0.200_02, [0.050_01, 0.039_99], 0.0202, -0.0299));
        let mut out = Vec::new();
        for (line, angle) in [0.05f64, 0.08, 0.12, 0.16].into_iter().enumerate() {
            for k in 0..40 {
                let (s, c) = (f64::from(k) * 0.157).sin_cos();
                let r = 0.2 * angle.tan();
                let at = [0.05 + r * s, 0.04 + r * c];
                let true_tth = truth.lab(at[0], at[1]).tth();
                let per_pixel = 1e-4 / 0.2;
                let wave = std::f64::consts::SQRT_2 * f64::from(k * k + 7 * line as i32).sin();
                let shift = (start.frame().tth(at).0 - true_tth) / per_pixel + noise * wave;
                out.push(Position { line, at, shift, variance: 1e-4, per_pixel });
            }
        }
        (out, start)
    }

    #[test]
    fn exact_positions_lead_to_the_truth_in_one_step() {
        // The start is 2e-5 m off, which leaves second-order terms of 1e-8.
        let (positions, start) = positions(0.0);
        let got = improve(&positions, &start).unwrap();
        let pose = got.param.pose();
        assert!((pose.dist - 0.2).abs() < 1e-7 && (pose.rot1 - 0.02).abs() < 1e-6, "{pose:?}");
        assert_eq!((got.systematic, got.used.iter().all(|u| *u)), (0.0, true));
    }

    #[test]
    fn scatter_beyond_counting_widens_the_answer_and_strays_do_not_count() {
        let (mut positions, start) = positions(0.1);
        positions[7].shift += 30.0;
        positions[90].shift -= 5.0;
        let got = improve(&positions, &start).unwrap();
        // Ten times the deviation of counts: chi-squared a hundred, and sqrt(0.1^2 - 0.01^2) added.
        assert!((got.systematic - 0.0995).abs() < 0.015, "{}", got.systematic);
        assert!((got.chi2_dof / 100.0 - 1.0).abs() < 0.3, "{}", got.chi2_dof);
        let strays: Vec<_> = (0..160).filter(|&i| !got.used[i]).collect();
        assert_eq!(strays, [7, 90]);
        let sigma = got.covariance[(0, 0)].sqrt();
        assert!((got.param.0[0] - 0.2).abs() < 4.0 * sigma);
    }

    #[test]
    fn too_few_positions_are_no_geometry() {
        let (positions, start) = positions(0.0);
        assert!(improve(&positions[..11], &start).is_none());
    }
}
