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
    /// Minus the component along x after the rotation, before the axis leans.
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
    /// Sine and cosine of the angle by which the rotation axis leans, where that is modelled exactly.
    axis: [f64; 2],
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
        Predictor { constants: constants.collect(), reflections, scan, pole, reach, axis: [0.0, 1.0] }
    }

    /// The same about an axis that leans by so many degrees in the plane of the beam.
    ///
    /// A vector of the sample is turned about z by the rotation, then about y by minus the angle. The scan's `wedge`,
    /// which shifts rotations to first order, must be 0.
    pub fn leaning(self, degrees: f64) -> Predictor {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Predictor { axis: [sin, cos], ..self }
    }

    /// The same for another first distance in micrometres.
    pub fn at_distance(&self, lsd: f64) -> Predictor {
        let new = Predictor::new(self.reflections.clone(), self.scan.clone(), lsd);
        Predictor { axis: self.axis, ..new }
    }

    /// Sine and cosine of the angle by which the rotation axis leans, where that is modelled exactly.
    pub(crate) fn axis(&self) -> [f64; 2] {
        self.axis
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
    #[inline(always)]
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
            // After the rotation the axis leans: what is along the beam then fixes what must be along x before.
            let [lean, upright] = self.axis;
            let up = (gz - lean * along) / upright;
            let along = (along - lean * gz) / upright;
            let z = scale * up;
            let square = gx * gx + gy * gy;
            let rest = square - along * along;
            if rest < 0.0 || !(self.reach[2] < z && z < self.reach[3]) {
                continue;
            }
            let root = rest.sqrt();
            if up.abs() > self.pole * (rest + up * up).sqrt() {
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

    #[inline(always)]
    fn wanted(&self, spot: &Spot) -> bool {
        self.scan.windows.iter().any(|w| {
            let [y0, y1, z0, z1] = w.area;
            y0 < spot.y && spot.y < y1 && z0 < spot.z && spot.z < z1 && self.scan.inside(w, spot.omega)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Rules, Window, reflections};
    use isard_orientation::{Cell, Quat, SpaceGroup, product};

    fn predictor(wedge: f64) -> Predictor {
        let cell = Cell::new([4.76, 10.2, 5.98, 90.0, 90.0, 90.0]).expect("a cell");
        let group = SpaceGroup::new(62).expect("a group");
        let list = reflections(&cell, &group, 0.18, 5000.0, 900.0, None).expect("a crystal");
        let windows = vec![Window { omega: [-90.0, 90.0], area: [-900.0, 900.0, 30.0, 900.0] }];
        let scan = Scan {
            start: -90.0,
            step: 0.25,
            frames: 720,
            windows,
            exclude_pole: 6.0,
            wedge,
            rules: Rules::Right,
        };
        Predictor::new(list, scan, 5000.0)
    }

    #[test]
    fn spots_about_a_leaning_axis_diffract() {
        let o = Quat::from_euler([0.3, 1.1, 2.0]).matrix();
        for degrees in [0.15, -1.0, 5.0] {
            let predictor = predictor(0.0).leaning(degrees);
            let spots = predictor.spots(&o);
            assert!(spots.len() > 20, "{} spots", spots.len());
            let (ls, lc) = f64::to_radians(-degrees).sin_cos();
            for spot in spots {
                let r = predictor.reflections()[spot.reflection];
                let (s, c) = spot.omega.to_radians().sin_cos();
                let turn = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]];
                let lean = [[lc, 0.0, ls], [0.0, 1.0, 0.0], [-ls, 0.0, lc]];
                let k = apply(&product(&product(&lean, &turn), &o), r.g);
                let length = r.g.iter().map(|x| x * x).sum::<f64>().sqrt();
                // The definition: Bragg's condition in the laboratory, and the ray's place on the plane.
                assert!((k[0] + length * r.theta.sin()).abs() < 1e-12 * length, "{degrees}: {k:?}");
                let radius = 5000.0 * (2.0 * r.theta).tan() / k[1].hypot(k[2]);
                let place = [radius * k[1], radius * k[2]];
                assert!((place[0] - spot.y).abs() < 1e-8 && (place[1] - spot.z).abs() < 1e-8, "{place:?}");
            }
        }
    }

    #[test]
    fn a_small_lean_is_the_wedge_to_first_order() {
        let o = Quat::from_euler([0.3, 1.1, 2.0]).matrix();
        let first = predictor(0.05);
        let (plain, exact) = (first.spots(&o), predictor(0.0).leaning(0.05).spots(&o));
        let mut met = 0;
        for a in &plain {
            let near = |b: &&Spot| b.reflection == a.reflection && (a.y - b.y).abs() < 5.0;
            let Some(b) = exact.iter().find(near) else { continue };
            met += 1;
            let moved = first.scan().tilted(a.y, a.z, a.omega, 5000.0, 0.18);
            // The first order takes twice the Bragg angle where the angle was meant, which is of the order of its cube.
            assert!((moved - b.omega).abs() < 0.01, "{moved} {}", b.omega);
            assert!((a.y - b.y).abs() < 0.8 && (a.z - b.z).abs() < 0.4, "{a:?} {b:?}");
        }
        assert!(met > 20, "{met} of {}", plain.len());
    }
}
