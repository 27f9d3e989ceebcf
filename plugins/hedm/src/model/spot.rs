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

/// A spot with what its derivatives are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub spot: Spot,
    /// The scattering vector in the sample.
    pub g: [f64; 3],
    /// Cosine and sine of the rotation.
    pub turn: [f64; 2],
    /// The component across the beam after the rotation.
    pub across: f64,
    /// Minus the component along the beam.
    pub along: f64,
    /// Micrometres on the detector for a unit of the scattering vector.
    pub scale: f64,
}

/// Predicts the spots of orientations.
#[derive(Clone, Debug)]
pub struct Predictor {
    reflections: Vec<Reflection>,
    scan: Scan,
    /// For each reflection minus its component along the beam, and micrometres on the detector for a unit of the rest.
    constants: Vec<[f64; 2]>,
    /// The largest share of a scattering vector that may point up: the cosine of the excluded angle.
    pole: f64,
    /// A box that holds those of all windows.
    reach: [f64; 4],
}

impl Predictor {
    /// A predictor of these reflections in a scan; `lsd` is the first distance in micrometres.
    pub fn new(reflections: Vec<Reflection>, scan: Scan, lsd: f64) -> Predictor {
        let constants = reflections.iter().map(|r| {
            let length = r.g.iter().map(|x| x * x).sum::<f64>().sqrt();
            let along = length * r.theta.sin();
            [along, lsd * (2.0 * r.theta).tan() / (length * length - along * along).sqrt()]
        });
        let mut reach = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
        for w in &scan.windows {
            for (k, (r, a)) in reach.iter_mut().zip(w.area).enumerate() {
                *r = if k % 2 == 0 { r.min(a) } else { r.max(a) };
            }
        }
        let pole = scan.exclude_pole.to_radians().cos();
        Predictor { constants: constants.collect(), reflections, scan, pole, reach }
    }

    /// The reflections that are looked for.
    pub fn reflections(&self) -> &[Reflection] {
        &self.reflections
    }

    /// The scan.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The spots of an orientation matrix, in the order of the reflections.
    pub fn spots(&self, orientation: &Matrix) -> Vec<Spot> {
        let mut out = vec![];
        self.spots_into(orientation, &mut out);
        out
    }

    /// The spots of an orientation matrix, into a buffer that is emptied first.
    pub fn spots_into(&self, orientation: &Matrix, out: &mut Vec<Spot>) {
        out.clear();
        self.hits(orientation, |hit| out.push(hit.spot));
    }

    /// Tells of every spot of an orientation matrix.
    pub(crate) fn hits(&self, orientation: &Matrix, mut told: impl FnMut(Hit)) {
        self.hits_until(orientation, |hit| {
            told(hit);
            true
        });
    }

    /// Tells of spots until it is told to stop; whether it came to the end.
    pub(crate) fn hits_until(&self, orientation: &Matrix, mut told: impl FnMut(Hit) -> bool) -> bool {
        let [a, b, c] = orientation;
        let norm = |r: &[f64; 3]| r.iter().map(|x| x * x).sum::<f64>();
        // Matrices of printed quaternions stretch their vectors a little, and so do the files made of them.
        let stretched = [a, b, c].iter().any(|r| (norm(r) - 1.0).abs() > 1e-10);
        for (index, (r, [along, scale])) in self.reflections.iter().zip(&self.constants).enumerate() {
            let g = apply(orientation, r.g);
            let [gx, gy, gz] = g;
            let stretch = if stretched { (norm(&g) / norm(&r.g)).sqrt() } else { 1.0 };
            let (along, scale) = (along * stretch, scale / stretch);
            let z = scale * gz;
            let square = gx * gx + gy * gy;
            let rest = square - along * along;
            if rest < 0.0 || !(self.reach[2] < z && z < self.reach[3]) {
                continue;
            }
            let root = rest.sqrt();
            if gz.abs() > self.pole * (rest + gz * gz).sqrt() {
                continue;
            }
            // The rotation that puts the vector on the sphere of Ewald, either side of the beam.
            let turn =
                |across: f64| [(across * gy - along * gx) / square, (along * gy + across * gx) / square];
            let mut sides = [(root, turn(root)), (-root, turn(-root))];
            if sides[1].1[0] > sides[0].1[0] {
                sides.swap(0, 1);
            }
            for (across, turn) in sides {
                let y = scale * across;
                if !(self.reach[0] < y && y < self.reach[1]) {
                    continue;
                }
                let omega = wrap(turn[1].atan2(turn[0]).to_degrees());
                let spot = Spot { y, z, omega, reflection: index };
                if self.wanted(&spot) && !told(Hit { spot, g, turn, across, along, scale }) {
                    return false;
                }
            }
        }
        true
    }

    fn wanted(&self, spot: &Spot) -> bool {
        self.scan.windows.iter().any(|w| {
            let [y0, y1, z0, z1] = w.area;
            y0 < spot.y && spot.y < y1 && z0 < spot.z && spot.z < z1 && self.scan.inside(w, spot.omega)
        })
    }
}
