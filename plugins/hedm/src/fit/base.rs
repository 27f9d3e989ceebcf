//! The spots of one orientation with their derivatives: all that does not depend on the voxel.

use isard_orientation::Quat;

use crate::model::Projector;
use crate::simd::{MOST, Stand};

/// One spot of an orientation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Frame coordinate, and its slope for a turn about x, y and z in radians.
    pub frame: [f64; 4],
    /// Pixel at the first distance, Y and Z, with slopes.
    pub centre: [[f64; 4]; 2],
    /// The ideal point in micrometres.
    pub ideal: [f64; 2],
    /// Cosine and sine of the rotation.
    pub turn: [f64; 2],
    /// The slope of the rotation in radians.
    pub swing: [f64; 3],
    /// The slopes of the ideal point.
    pub drift: [[f64; 3]; 2],
    /// Pixels that a point of the sample moves the spot by, for a micrometre on the ideal plane.
    pub slope: [[f64; 2]; 2],
    /// Sine and cosine of the angle by which the axis leans.
    pub axis: [f64; 2],
}

impl Site {
    /// Where a point of the layer falls, in pixels from the spot's centre.
    pub fn shift(&self, x: f64, y: f64, lsd: f64) -> [f64; 2] {
        let [cos, sin] = self.turn;
        let (xa, ya) = (x * cos - y * sin, x * sin + y * cos);
        let [lean, upright] = self.axis;
        let xl = upright * xa / lsd;
        self.pixels([ya - self.ideal[0] * xl, lean * xa - self.ideal[1] * xl])
    }

    /// As [`Site::shift`], with the slopes for a turn about x, y and z.
    pub fn shifts(&self, x: f64, y: f64, lsd: f64) -> [[f64; 2]; 4] {
        let [cos, sin] = self.turn;
        let (xa, ya) = (x * cos - y * sin, x * sin + y * cos);
        let [lean, upright] = self.axis;
        let (xl, yl) = (upright * xa / lsd, upright * ya / lsd);
        let swung = self.pixels([xa + self.ideal[0] * yl, self.ideal[1] * yl - lean * ya]);
        let along = |k: usize| {
            let drift = self.pixels([-self.drift[0][k] * xl, -self.drift[1][k] * xl]);
            [0, 1].map(|d| swung[d] * self.swing[k] + drift[d])
        };
        [self.pixels([ya - self.ideal[0] * xl, lean * xa - self.ideal[1] * xl]), along(0), along(1), along(2)]
    }

    fn pixels(&self, moved: [f64; 2]) -> [f64; 2] {
        let s = &self.slope;
        [s[0][0] * moved[0] + s[0][1] * moved[1], s[1][0] * moved[0] + s[1][1] * moved[1]]
    }
}

/// The spots of an orientation to first order in a turn of the crystal.
#[derive(Clone, Debug)]
pub struct Base {
    /// The orientation.
    pub orientation: Quat,
    pub(crate) sites: Vec<Site>,
}

impl Base {
    /// The spots of an orientation, mixed so that any first part stands for all.
    pub fn new(projector: &Projector, orientation: Quat) -> Base {
        let mut sites = Vec::with_capacity(128);
        let (scan, detector) = (projector.predictor.scan(), &projector.detector);
        let [lean, upright] = projector.predictor.axis();
        projector.predictor.hits(&orientation.matrix(), |hit| {
            let spot = hit.spot;
            let (mut omega, mut turn) = (spot.omega, hit.turn);
            if scan.wedge != 0.0 {
                omega = scan.tilted(spot.y, spot.z, omega, detector.lsd[0], projector.wavelength);
                if !scan.in_range(omega) {
                    return;
                }
                let (sin, cos) = omega.to_radians().sin_cos();
                turn = [cos, sin];
            }
            let Some(frame) = scan.place(omega) else { return };
            let [gx, gy, gz] = hit.g;
            let [cos, sin] = hit.turn;
            // The change of the scattering vector for a small turn about each axis.
            let change = [[0.0, -gz, gy], [gz, 0.0, -gx], [-gy, gx, 0.0]];
            let swing = change.map(|d| (d[0] * cos - d[1] * sin - d[2] * lean / upright) / hit.across);
            let ideal: [[f64; 3]; 2] = [
                std::array::from_fn(|k| {
                    hit.scale * (change[k][0] * sin + change[k][1] * cos - hit.along * swing[k])
                }),
                std::array::from_fn(|k| hit.scale * change[k][2] / upright),
            ];
            let slope = detector.derivative(spot.y, spot.z);
            let pixel = detector.project(spot.y, spot.z);
            let mut turned = swing;
            if scan.wedge != 0.0 {
                // The tilt of the axis adds a turn that depends on the place.
                let step = 0.5;
                let delta = |y: f64, z: f64| {
                    let at = scan.tilted(y, z, spot.omega, detector.lsd[0], projector.wavelength) - omega;
                    crate::model::wrap(at).to_radians() / step
                };
                let by = [delta(spot.y + step, spot.z), delta(spot.y, spot.z + step)];
                turned = std::array::from_fn(|k| swing[k] + by[0] * ideal[0][k] + by[1] * ideal[1][k]);
            }
            let frames = turned.map(|s| s.to_degrees() / scan.step);
            let along = |k: usize| {
                let d = [0, 1, 2].map(|a| slope[k][0] * ideal[0][a] + slope[k][1] * ideal[1][a]);
                [pixel[k], d[0], d[1], d[2]]
            };
            sites.push(Site {
                frame: [frame, frames[0], frames[1], frames[2]],
                centre: [along(0), along(1)],
                ideal: [spot.y, spot.z],
                turn,
                swing: turned,
                drift: ideal,
                slope: detector.shear(spot.y, spot.z),
                axis: [lean, upright],
            });
        });
        Base { orientation, sites: mixed(sites) }
    }

    /// How many spots there are.
    pub fn spots(&self) -> usize {
        self.sites.len()
    }

    /// The frames that its spots lie in.
    pub fn frames(&self) -> impl Iterator<Item = usize> + '_ {
        self.sites.iter().map(|s| s.frame[0].floor() as usize)
    }
}

/// The elements in an order in which any first part is spread over all.
fn mixed<T: Copy>(all: Vec<T>) -> Vec<T> {
    let n = all.len();
    let mut step = ((n as f64 * 0.618_034) as usize).max(1);
    while gcd(step, n) != 1 {
        step += 1;
    }
    (0..n).map(|k| all[k * step % n]).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How the pixels of the first distance become those of the others.
pub(crate) fn stand(projector: &Projector, strides: [usize; 2]) -> Stand {
    let (detector, scan) = (&projector.detector, projector.predictor.scan());
    let turn = 360.0 / scan.step.abs();
    let period = if (turn - turn.round()).abs() < 1e-6 { turn.round() as i32 } else { 0 };
    let mut out = Stand { count: detector.distances().min(MOST), ..Stand::default() };
    out.size = detector.size.map(|n| n as i32);
    out.frames = [scan.frames as i32, period];
    out.stride = strides.map(|n| n as i32);
    out.first = detector.centre[0].map(|x| x as f32);
    for l in 0..out.count {
        out.scale[l] = (detector.lsd[l] / detector.lsd[0]) as f32;
        out.beam[l] = detector.centre[l].map(|x| x as f32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detector, Predictor, Rules, Scan, Window, reflections};
    use isard_orientation::{Cell, SpaceGroup};

    #[test]
    fn slopes_are_those_of_a_small_turn() {
        for (wedge, lean) in [(0.0, 0.0), (0.4, 0.0), (0.0, 3.0)] {
            let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
            let list =
                reflections(&cell, &SpaceGroup::new(225).unwrap(), 0.17, 8000.0, 2500.0, None).unwrap();
            let scan = Scan {
                start: 180.0,
                step: -0.25,
                frames: 1440,
                windows: vec![Window { omega: [-180.0, 180.0], area: [-2000.0, 2000.0, 100.0, 2500.0] }],
                exclude_pole: 6.0,
                wedge,
                rules: Rules::Right,
            };
            let detector =
                Detector::new(&[8000.0, 10000.0], &[[1000.0, 20.0]; 2], [0.5, -0.3, 0.4], 1.5, [2048; 2]);
            let predictor = Predictor::new(list, scan, 8000.0).leaning(lean);
            let projector = Projector { predictor, detector, wavelength: 0.17, rules: Rules::Right };
            let at = Quat::from_euler([0.3, 0.7, 1.1]);
            let base = Base::new(&projector, at);
            assert!(base.spots() > 60);
            for axis in 0..3 {
                let (mut turn, step) = ([0.0; 3], 1e-5);
                turn[axis] = step;
                let moved = Base::new(&projector, Quat::from_rotation_vector(turn).times(&at));
                let mut met = 0;
                for s in &base.sites {
                    let near = |t: &&Site| {
                        (0..2).all(|k| (t.centre[k][0] - s.centre[k][0]).abs() < 0.2)
                            && (t.frame[0] - s.frame[0]).abs() < 0.1
                    };
                    let Some(t) = moved.sites.iter().find(near) else { continue };
                    met += 1;
                    for (a, b) in [(t.frame, s.frame), (t.centre[0], s.centre[0]), (t.centre[1], s.centre[1])]
                    {
                        let slope = (a[0] - b[0]) / step;
                        assert!((slope - b[1 + axis]).abs() < 5e-3 * slope.abs().max(200.0), "{slope} {b:?}");
                    }
                    let (a, b) = (t.shift(20.0, -10.0, 8000.0), s.shift(20.0, -10.0, 8000.0));
                    let slope = s.shifts(20.0, -10.0, 8000.0)[1 + axis];
                    assert!(
                        (0..2).all(|k| ((a[k] - b[k]) / step - slope[k]).abs() < 0.3),
                        "{a:?} {b:?} {slope:?}"
                    );
                }
                assert!(met > 60);
            }
        }
    }
}
