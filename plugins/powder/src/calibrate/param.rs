//! The five numbers that are fitted, and two-theta with its derivatives by them.

use isard_geometry::Pose;
use nalgebra::{SMatrix, SVector};

/// Five parameters or their derivatives.
pub type Five = SVector<f64, 5>;
/// A covariance or normal matrix of five parameters.
pub type Square = SMatrix<f64, 5, 5>;

/// Distance, where the direct beam hits (rows, columns; metres), rot1 and rot2.
///
/// The direct beam is well determined by rings whatever the tilt, the point of normal incidence is not:
/// in these parameters the normal matrix stays well conditioned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param(pub Five);

impl Param {
    /// From a pose, whose `rot3` does not matter to rings.
    pub fn from_pose(pose: &Pose) -> Self {
        let [c1, c2] = pose.centre();
        Self(Five::new(pose.dist, c1, c2, pose.rot1, pose.rot2))
    }

    /// The pose, with `rot3` at zero.
    pub fn pose(&self) -> Pose {
        let p = &self.0;
        Pose::from_centre(p[0], [p[1], p[2]], p[3], p[4])
    }

    /// What does not depend on the pixel, computed once.
    pub fn frame(&self) -> Frame {
        let (s1, c1) = self.0[3].sin_cos();
        let (s2, c2) = self.0[4].sin_cos();
        Frame { pose: self.pose(), s1, c1, s2, c2, beam: [s2, -c2 * s1, c1 * c2] }
    }

    /// Derivatives of distance, poni1, poni2, rot1 and rot2 by these parameters.
    pub fn to_poni(self) -> Square {
        let Frame { s1, c1, s2, c2, pose, .. } = self.frame();
        let (t1, t2) = (s1 / c1, s2 / c2);
        let mut j = Square::identity();
        j[(1, 0)] = -t2 / c1;
        j[(1, 3)] = -pose.dist * t2 * s1 / (c1 * c1);
        j[(1, 4)] = -pose.dist / (c2 * c2 * c1);
        j[(2, 0)] = t1;
        j[(2, 3)] = pose.dist / (c1 * c1);
        j
    }
}

/// A parameter set with its sines, cosines and beam direction in the detector's axes.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// The pose.
    pub pose: Pose,
    s1: f64,
    c1: f64,
    s2: f64,
    c2: f64,
    beam: [f64; 3],
}

impl Frame {
    /// Two-theta of a point on the detector and its derivatives by the parameters.
    pub fn tth(&self, d: [f64; 2]) -> (f64, Five) {
        let Self { pose, s1, c1, s2, c2, beam: u } = self;
        let v = [d[0] - pose.poni1, d[1] - pose.poni2, pose.dist];
        let len = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
        let r = v.map(|x| x / len);
        let cos = r[0] * u[0] + r[1] * u[1] + r[2] * u[2];
        let cross = [r[1] * u[2] - r[2] * u[1], r[2] * u[0] - r[0] * u[2], r[0] * u[1] - r[1] * u[0]];
        let sin = (cross[0] * cross[0] + cross[1] * cross[1] + cross[2] * cross[2]).sqrt().max(1e-12);
        // cos(2theta) = r . u, so a change dv of the pixel turns it by (cos r - u) . dv / (|v| sin),
        // and a change du of the beam by -r . du / sin.
        let by_v = [0, 1, 2].map(|k| (cos * r[k] - u[k]) / (len * sin));
        let (t1, t2) = (s1 / c1, s2 / c2);
        let by_dist = by_v[0] * t2 / c1 - by_v[1] * t1 + by_v[2];
        let du1 = [0.0, -c2 * c1, -s1 * c2];
        let du2 = [*c2, s2 * s1, -c1 * s2];
        let turn = |du: [f64; 3]| -(r[0] * du[0] + r[1] * du[1] + r[2] * du[2]) / sin;
        let by_rot1 = by_v[0] * pose.dist * t2 * s1 / (c1 * c1) - by_v[1] * pose.dist / (c1 * c1) + turn(du1);
        let by_rot2 = by_v[0] * pose.dist / (c2 * c2 * c1) + turn(du2);
        (sin.atan2(cos), Five::new(by_dist, -by_v[0], -by_v[1], by_rot1, by_rot2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [f64; 5] = [0.2, 0.06, 0.03, 0.1, -0.2];

    // Two-theta is the geometry crate's, which is checked against another program; derivatives are its differences.
    #[test]
    fn derivatives_are_those_of_two_theta() {
        let param = Param(Five::from(START));
        for d in [[0.01, 0.02], [0.09, 0.05], [0.05, -0.08]] {
            let (tth, slope) = param.frame().tth(d);
            assert!((tth - param.pose().lab(d[0], d[1]).tth()).abs() < 1e-14);
            for k in 0..5 {
                let at = |h: f64| {
                    let mut p = param;
                    p.0[k] += h;
                    p.pose().lab(d[0], d[1]).tth()
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!(
                    (slope[k] - difference).abs() < 1e-7 * (1.0 + difference.abs()),
                    "{k}: {} {difference}",
                    slope[k]
                );
            }
        }
    }

    #[test]
    fn poni_derivatives_are_those_of_the_pose() {
        let param = Param(Five::from(START));
        let j = param.to_poni();
        for k in 0..5 {
            let at = |h: f64| {
                let mut p = param;
                p.0[k] += h;
                let q = p.pose();
                [q.dist, q.poni1, q.poni2, q.rot1, q.rot2]
            };
            let (up, down) = (at(1e-6), at(-1e-6));
            for i in 0..5 {
                assert!((j[(i, k)] - (up[i] - down[i]) / 2e-6).abs() < 1e-8, "{i} {k}");
            }
        }
    }
}
