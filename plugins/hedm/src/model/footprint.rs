//! The pixels that one voxel lights in one spot.

use crate::model::{Detector, Predictor, Rules, Spot, Voxel};

/// Pixels nearer than this to an edge of the triangle count, as a squared distance.
const NEAR: f64 = 0.9801;

/// The pixels of one voxel in one spot: bases for the distances, and offsets from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footprint {
    /// The frame.
    pub frame: usize,
    /// The pixel of the spot's centre at each distance.
    pub bases: Vec<[i32; 2]>,
    /// Offsets of the lit pixels, the same at every distance.
    pub offsets: Vec<[i32; 2]>,
    /// Whether all corners lie on the detector at the first distance.
    pub inside: bool,
}

/// Projects voxels into spots.
#[derive(Clone, Debug)]
pub struct Projector {
    /// Predicts the spots.
    pub predictor: Predictor,
    /// The detector.
    pub detector: Detector,
    /// The wavelength in angstrom.
    pub wavelength: f64,
    /// Whose rules hold.
    pub rules: Rules,
}

impl Projector {
    /// The pixels of a voxel in a spot; false if the spot lies outside of the scan.
    pub fn footprint(&self, spot: &Spot, voxel: &Voxel, out: &mut Footprint) -> bool {
        let (detector, scan) = (&self.detector, self.predictor.scan());
        let omega = scan.tilted(spot.y, spot.z, spot.omega, detector.lsd[0], self.wavelength);
        if scan.wedge != 0.0 && !scan.in_range(omega) {
            return false;
        }
        let Some(frame) = scan.frame(omega) else { return false };
        out.frame = frame;
        let centre = detector.project(spot.y, spot.z);
        let (sin, cos) = omega.to_radians().sin_cos();
        let [lean, upright] = self.predictor.axis();
        out.inside = true;
        let corners = voxel.corners().map(|[a, b]| {
            let (xa, ya) = (a * cos - b * sin, a * sin + b * cos);
            let t = 1.0 - upright * xa / detector.lsd[0];
            let to = [ya + spot.y * t, lean * xa + spot.z * t];
            let shift = detector.displaced([spot.y, spot.z], to);
            let inside = |k: usize| (0.0..=detector.size[k] as f64).contains(&(centre[k] + shift[k]));
            out.inside &= inside(0) && inside(1);
            shift
        });
        out.offsets.clear();
        if voxel.edge > detector.pixel {
            raster(corners, self.rules, &mut out.offsets);
        } else {
            out.offsets
                .push([0, 1].map(|k| ((corners[0][k] + corners[1][k] + corners[2][k]) / 3.0).round() as i32));
        }
        out.bases.clear();
        out.bases.extend(
            (0..detector.distances()).map(|l| detector.at_distance(centre, l).map(|x| x.floor() as i32)),
        );
        true
    }
}

/// The pixels of a triangle whose corners are rounded to whole pixels, first coordinate fastest.
pub fn raster(corners: [[f64; 2]; 3], rules: Rules, out: &mut Vec<[i32; 2]>) {
    let c = corners.map(|c| c.map(|x| x.round() as i32));
    let edge =
        |a: [i32; 2], b: [i32; 2], p: [i32; 2]| (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
    let bounds = |k: usize| {
        let [a, b, d] = c.map(|c| c[k]);
        a.min(b).min(d)..=a.max(b).max(d)
    };
    let sides = [(c[1], c[2]), (c[2], c[0]), (c[0], c[1])];
    for second in bounds(1) {
        for first in bounds(0) {
            let p = [first, second];
            let signs = sides.map(|(a, b)| edge(a, b, p));
            let positive = signs.iter().all(|s| *s >= 0);
            // The existing program sees one winding only and leaves the others hollow.
            let negative = rules == Rules::Right && signs.iter().all(|s| *s <= 0);
            let near = || {
                sides.iter().zip(signs).any(|((a, b), s)| {
                    let length = (b[0] - a[0]).pow(2) + (b[1] - a[1]).pow(2);
                    length > 0 && f64::from(s) * f64::from(s) / f64::from(length) < NEAR
                })
            };
            if positive || negative || near() {
                out.push(p);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A triangle like a voxel of an edge, as it is seen on the detector.
    fn triangle(edge: f64, up: bool) -> [[f64; 2]; 3] {
        let s = if up { 1.0 } else { -1.0 };
        let root = 3f64.sqrt();
        [
            [0.0, s * edge / root],
            [-0.5 * edge, -s * edge / (2.0 * root)],
            [0.5 * edge, -s * edge / (2.0 * root)],
        ]
    }

    #[test]
    fn both_windings_are_filled_by_the_right_rules() {
        for edge in [5.0, 10.0, 20.0] {
            let count = |up, rules| {
                let mut out = vec![];
                raster(triangle(edge, up), rules, &mut out);
                out.len()
            };
            assert_eq!(count(true, Rules::Right), count(false, Rules::Right), "{edge}");
            assert_eq!(count(true, Rules::Right), count(true, Rules::Midas).max(count(false, Rules::Midas)));
            assert!(count(true, Rules::Midas) != count(false, Rules::Midas), "{edge}");
        }
    }

    #[test]
    fn a_point_is_no_pixel_and_a_line_is_one_wide() {
        let mut out = vec![];
        raster([[0.2, 0.1], [0.4, -0.3], [0.0, 0.0]], Rules::Right, &mut out);
        assert_eq!(out, [[0, 0]]);
        out.clear();
        raster([[0.0, 0.0], [3.0, 0.0], [1.0, 0.0]], Rules::Right, &mut out);
        assert_eq!(out, [[0, 0], [1, 0], [2, 0], [3, 0]]);
    }
}
