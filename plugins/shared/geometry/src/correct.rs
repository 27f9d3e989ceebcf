//! Corrections of intensity that follow from the geometry alone.

use crate::pose::Pose;

/// Relative solid angle of a small pixel at a point of the detector, 1 at the PONI.
///
/// It is the cube of the cosine of the incidence angle and does not depend on the rotations.
pub fn solid_angle(pose: &Pose, d: [f64; 2]) -> f64 {
    let a = d[0] - pose.poni1;
    let b = d[1] - pose.poni2;
    let cos = pose.dist / (pose.dist * pose.dist + a * a + b * b).sqrt();
    cos * cos * cos
}

/// Polarisation factor at scattering angle `tth` and azimuth `chi`.
///
/// `factor` is 1 for a beam polarised along the horizontal (x), -1 for the vertical, 0 for none;
/// `offset` turns the axis, in radians.
pub fn polarisation(tth: f64, chi: f64, factor: f64, offset: f64) -> f64 {
    let cos2 = tth.cos().powi(2);
    0.5 * (1.0 + cos2 - factor * (2.0 * (chi + offset)).cos() * (1.0 - cos2))
}
