//! Conversion from and to FIT2D's description of a tilted detector.

use crate::pose::Pose;

/// A geometry as FIT2D writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit2d {
    /// Distance from the sample to the detector along the beam, in millimetres.
    pub direct_dist: f64,
    /// Column where the direct beam hits, in pixels from the first pixel's outer edge.
    pub centre_x: f64,
    /// Row where the direct beam hits, in pixels from the first pixel's outer edge.
    pub centre_y: f64,
    /// Angle between the beam and the detector's normal, in degrees.
    pub tilt: f64,
    /// Direction of the tilt in the detector plane, in degrees.
    pub tilt_plan_rotation: f64,
}

impl Fit2d {
    /// Describe a pose on a detector with pixels of this height and width in metres.
    pub fn from_pose(pose: &Pose, pixel: [f64; 2]) -> Self {
        let (s1, c1) = pose.rot1.sin_cos();
        let (s2, c2) = pose.rot2.sin_cos();
        // The sine keeps its precision for small tilts, where the cosine has lost it.
        let sin_tilt = (s2 * s2 + (c2 * s1) * (c2 * s1)).sqrt();
        let cos_tilt = c1 * c2;
        let tilt = sin_tilt.atan2(cos_tilt);
        let rotation = if sin_tilt > 0.0 { s2.atan2(-c2 * s1) } else { 0.0 };
        let [d1, d2] = pose.centre();
        Self {
            direct_dist: 1e3 * pose.dist / cos_tilt,
            centre_x: d2 / pixel[1],
            centre_y: d1 / pixel[0],
            tilt: tilt.to_degrees(),
            tilt_plan_rotation: rotation.to_degrees(),
        }
    }

    /// The pose described, with `rot3` left at zero.
    pub fn to_pose(&self, pixel: [f64; 2]) -> Pose {
        let (sin_tilt, cos_tilt) = self.tilt.to_radians().sin_cos();
        let (sin_plan, cos_plan) = self.tilt_plan_rotation.to_radians().sin_cos();
        let direct = self.direct_dist * 1e-3;
        let rot2 = (sin_tilt * sin_plan).asin();
        let rot1 = (-sin_tilt * cos_plan).atan2(cos_tilt);
        Pose {
            dist: direct * cos_tilt,
            poni1: self.centre_y * pixel[0] - direct * sin_tilt * sin_plan,
            poni2: self.centre_x * pixel[1] - direct * sin_tilt * cos_plan,
            rot1,
            rot2,
            rot3: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // pyFAI 2026.9.0, Geometry.getFit2D() for this geometry.
    #[test]
    fn a_tilted_pose_reads_as_fit2d_says() {
        let pose = Pose { dist: 0.06, poni1: 5e-4, poni2: 9e-4, rot1: 0.05, rot2: 0.1, rot3: 0.2 };
        let got = Fit2d::from_pose(&pose, [1e-4, 1e-4]);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(got.direct_dist, 60.376_710_270_073_48);
        close(got.centre_x, -21.025_025_025_323_274);
        close(got.centre_y, 65.276_132_721_570_75);
        close(got.tilt, 6.403_725_466_362_358);
        close(got.tilt_plan_rotation, 116.479_025_103_087_31);
        let back = got.to_pose([1e-4, 1e-4]);
        close(back.dist, 0.06);
        close(back.poni1, 5e-4);
        close(back.poni2, 9e-4);
        close(back.rot1, 0.05);
        close(back.rot2, 0.1);
    }

    #[test]
    fn no_tilt_is_not_a_special_case() {
        let pose = Pose::straight(0.3, 0.01, 0.02);
        let got = Fit2d::from_pose(&pose, [1e-4, 2e-4]);
        assert!((got.tilt, got.tilt_plan_rotation) == (0.0, 0.0));
        assert!((got.centre_y - 100.0).abs() < 1e-10 && (got.centre_x - 100.0).abs() < 1e-10);
        assert!((got.to_pose([1e-4, 2e-4]).poni2 - 0.02).abs() < 1e-15);
    }
}
