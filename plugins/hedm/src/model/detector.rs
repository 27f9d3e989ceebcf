//! The detector at its distances: from an ideal point to a pixel.

use isard_orientation::{Matrix, apply, product};

/// A detector that is moved along the beam, with one set of tilts for all distances.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    /// Distances from the rotation axis in micrometres, the reference first.
    pub lsd: Vec<f64>,
    /// The pixel (Y, Z) that the direct beam hits at each distance.
    pub centre: Vec<[f64; 2]>,
    /// Tilts about x, y and z in degrees.
    pub tilt: [f64; 3],
    /// The edge of a pixel in micrometres.
    pub pixel: f64,
    /// Pixels along Y and Z.
    pub size: [usize; 2],
    turn: Matrix,
    origin: [f64; 3],
}

impl Detector {
    /// A detector; `lsd` and `centre` must be of equal length, one or more.
    pub fn new(lsd: &[f64], centre: &[[f64; 2]], tilt: [f64; 3], pixel: f64, size: [usize; 2]) -> Detector {
        let [(sx, cx), (sy, cy), (sz, cz)] = tilt.map(|t| t.to_radians().sin_cos());
        let rz = [[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]];
        let ry = [[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]];
        let rx = [[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]];
        let turn = product(&product(&rz, &ry), &rx);
        let origin = apply(&turn, [-lsd[0], 0.0, 0.0]);
        Detector { lsd: lsd.to_vec(), centre: centre.to_vec(), tilt, pixel, size, turn, origin }
    }

    /// How many distances there are.
    pub fn distances(&self) -> usize {
        self.lsd.len()
    }

    /// The pixel at the first distance of a point on the ideal plane, as real numbers.
    pub fn project(&self, y: f64, z: f64) -> [f64; 2] {
        let p = self.origin;
        let at = apply(&self.turn, [0.0, y, z]);
        let ray = [at[0] - p[0], at[1] - p[1], at[2] - p[2]];
        let yd = p[1] - ray[1] * p[0] / ray[0];
        let zd = p[2] - ray[2] * p[0] / ray[0];
        [yd / self.pixel + self.centre[0][0], zd / self.pixel + self.centre[0][1]]
    }

    /// How the pixel moves with the ideal point: the derivative of [`Detector::project`], per micrometre.
    pub fn derivative(&self, y: f64, z: f64) -> [[f64; 2]; 2] {
        let step = 1.0;
        let side = |dy: f64, dz: f64| {
            let (a, b) = (self.project(y + dy, z + dz), self.project(y - dy, z - dz));
            [(a[0] - b[0]) / (2.0 * step), (a[1] - b[1]) / (2.0 * step)]
        };
        let (by_y, by_z) = (side(step, 0.0), side(0.0, step));
        [[by_y[0], by_z[0]], [by_y[1], by_z[1]]]
    }

    /// The pixel of a distance for a pixel of the first one: offsets from the beam scale with the distance.
    pub fn at_distance(&self, pixel: [f64; 2], l: usize) -> [f64; 2] {
        let scale = self.lsd[l] / self.lsd[0];
        let (first, here) = (self.centre[0], self.centre[l]);
        [(pixel[0] - first[0]) * scale + here[0], (pixel[1] - first[1]) * scale + here[1]]
    }

    /// Whether a pixel lies on the detector.
    pub fn holds(&self, y: i32, z: i32) -> bool {
        y >= 0 && z >= 0 && (y as usize) < self.size[0] && (z as usize) < self.size[1]
    }
}
