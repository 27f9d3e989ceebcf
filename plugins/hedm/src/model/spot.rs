//! The spots of an orientation.

use isard_orientation::{Matrix, apply};

use crate::model::{Reflection, Scan, wrap};

/// A predicted spot of a grain on the axis, on the ideal detector plane at the first distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Y in micrometres.
    pub y: f64,
    /// Z in micrometres.
    pub z: f64,
    /// The rotation in degrees, in (-180, 180], before the tilt of the axis.
    pub omega: f64,
    /// The reflection it comes from, as its place in the list.
    pub reflection: usize,
}

/// Predicts the spots of orientations.
#[derive(Clone, Debug)]
pub struct Predictor {
    /// The reflections that are looked for.
    pub reflections: Vec<Reflection>,
    /// The scan.
    pub scan: Scan,
    /// The first distance in micrometres.
    pub lsd: f64,
}

impl Predictor {
    /// The spots of an orientation matrix, in the order of the reflections.
    pub fn spots(&self, orientation: &Matrix) -> Vec<Spot> {
        let mut out = vec![];
        self.spots_into(orientation, &mut out);
        out
    }

    /// The spots of an orientation matrix, into a buffer that is emptied first.
    pub fn spots_into(&self, orientation: &Matrix, out: &mut Vec<Spot>) {
        out.clear();
        for (index, r) in self.reflections.iter().enumerate() {
            let [gx, gy, gz] = apply(orientation, r.g);
            let length = (gx * gx + gy * gy + gz * gz).sqrt();
            let v = length * r.theta.sin();
            let rho = gx.hypot(gy);
            if v > rho {
                continue;
            }
            let around = (-v / rho).acos();
            let offset = gy.atan2(gx);
            let mut turns = [around - offset, -around - offset];
            if turns[1].cos() > turns[0].cos() {
                turns.swap(0, 1);
            }
            let radius = self.lsd * (2.0 * r.theta).tan();
            for turn in turns {
                let (sin, cos) = turn.sin_cos();
                let across = gx * sin + gy * cos;
                let norm = across.hypot(gz);
                let eta = (gz / norm).clamp(-1.0, 1.0).acos().to_degrees();
                let spot =
                    Spot { y: radius * across / norm, z: radius * gz / norm, omega: wrap(turn.to_degrees()), reflection: index };
                if eta >= self.scan.exclude_pole && 180.0 - eta >= self.scan.exclude_pole && self.wanted(&spot) {
                    out.push(spot);
                }
            }
        }
    }

    fn wanted(&self, spot: &Spot) -> bool {
        self.scan.windows.iter().any(|w| {
            let [y0, y1, z0, z1] = w.area;
            self.scan.inside(w, spot.omega) && y0 < spot.y && spot.y < y1 && z0 < spot.z && spot.z < z1
        })
    }
}
