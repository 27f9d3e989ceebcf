//! Where the detector stands: distance, point of normal incidence and three rotations.

/// A detector's place in the laboratory, in the PONI convention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Distance from the sample to the detector plane along its normal, in metres.
    pub dist: f64,
    /// Point of normal incidence along the rows' direction, in metres.
    pub poni1: f64,
    /// Point of normal incidence along the columns' direction, in metres.
    pub poni2: f64,
    /// Rotation about the vertical axis, in radians, left-handed.
    pub rot1: f64,
    /// Rotation about the horizontal axis, in radians, left-handed.
    pub rot2: f64,
    /// Rotation about the beam, in radians, right-handed.
    pub rot3: f64,
}

/// A point in the laboratory, in metres: x to the ring's centre, y up, z along the beam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lab {
    /// Horizontal coordinate.
    pub x: f64,
    /// Vertical coordinate.
    pub y: f64,
    /// Coordinate along the beam.
    pub z: f64,
}

impl Lab {
    /// Angle between the beam and the direction to this point.
    pub fn tth(&self) -> f64 {
        self.x.hypot(self.y).atan2(self.z)
    }

    /// Azimuth of this point, in (-pi, pi].
    pub fn chi(&self) -> f64 {
        self.y.atan2(self.x)
    }
}

impl Pose {
    /// A detector perpendicular to the beam, which hits it at (`poni1`, `poni2`).
    pub fn straight(dist: f64, poni1: f64, poni2: f64) -> Self {
        Self { dist, poni1, poni2, rot1: 0.0, rot2: 0.0, rot3: 0.0 }
    }

    /// The pose whose direct beam hits the detector at `centre`, in metres.
    pub fn from_centre(dist: f64, centre: [f64; 2], rot1: f64, rot2: f64) -> Self {
        let poni1 = centre[0] - dist * rot2.tan() / rot1.cos();
        let poni2 = centre[1] + dist * rot1.tan();
        Self { dist, poni1, poni2, rot1, rot2, rot3: 0.0 }
    }

    /// Where the direct beam hits the detector plane, in metres.
    pub fn centre(&self) -> [f64; 2] {
        let [r1, r2] = [self.rot1, self.rot2];
        [self.poni1 + self.dist * r2.tan() / r1.cos(), self.poni2 - self.dist * r1.tan()]
    }

    /// Matrix that takes detector offsets (d1 - poni1, d2 - poni2, dist) to laboratory (y, x, z).
    pub fn rotation(&self) -> [[f64; 3]; 3] {
        let (s1, c1) = self.rot1.sin_cos();
        let (s2, c2) = self.rot2.sin_cos();
        let (s3, c3) = self.rot3.sin_cos();
        [
            [c2 * c3, c3 * s1 * s2 - c1 * s3, -(c1 * c3 * s2 + s1 * s3)],
            [c2 * s3, c1 * c3 + s1 * s2 * s3, -(c1 * s2 * s3 - c3 * s1)],
            [s2, -c2 * s1, c1 * c2],
        ]
    }

    /// Laboratory position of a point on the detector, given in metres.
    pub fn lab(&self, d1: f64, d2: f64) -> Lab {
        self.lab_with(&self.rotation(), d1, d2)
    }

    /// As [`Pose::lab`], with the rotation matrix computed once by the caller.
    pub fn lab_with(&self, m: &[[f64; 3]; 3], d1: f64, d2: f64) -> Lab {
        let v = [d1 - self.poni1, d2 - self.poni2, self.dist];
        let row = |k: usize| m[k][0] * v[0] + m[k][1] * v[1] + m[k][2] * v[2];
        Lab { y: row(0), x: row(1), z: row(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_is_where_two_theta_vanishes() {
        let pose = Pose { dist: 0.2, poni1: 0.06, poni2: 0.03, rot1: 0.1, rot2: -0.2, rot3: 0.3 };
        let [d1, d2] = pose.centre();
        assert!(pose.lab(d1, d2).tth() < 1e-12);
        let back = Pose::from_centre(0.2, [d1, d2], 0.1, -0.2);
        assert!((back.poni1 - 0.06).abs() < 1e-15 && (back.poni2 - 0.03).abs() < 1e-15);
    }

    // Without rotations the tangent of two-theta is the offset over the distance.
    #[test]
    fn a_straight_detector_needs_only_a_tangent() {
        let lab = Pose::straight(0.5, 0.1, 0.1).lab(0.1 + 0.03, 0.1 + 0.04);
        assert!((lab.tth() - (0.05f64 / 0.5).atan()).abs() < 1e-15);
        assert!((lab.chi() - 0.03f64.atan2(0.04)).abs() < 1e-15);
    }
}
