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
        let (p, t) = (self.origin, &self.turn);
        let at = apply(t, [0.0, y, z]);
        let ray = [at[0] - p[0], at[1] - p[1], at[2] - p[2]];
        let scale = -p[0] / (ray[0] * self.pixel);
        [1, 2].map(|row| [1, 2].map(|by| scale * (t[row][by] - ray[row] * t[0][by] / ray[0])))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_gives_the_worked_numbers() {
        // From the specification of the gold example: three spots, their pixels at both distances.
        let centre = [[985.415831, 17.510494], [985.161497, 24.511210]];
        let d = Detector::new(
            &[8289.154576, 10290.724494],
            &centre,
            [0.536238, 0.557035, 0.474936],
            1.48,
            [2048; 2],
        );
        let cases = [
            ([516.726012, 324.060428], [1332.546841, 239.739208], [1416.0, 300.0]),
            ([-516.726012, 324.060428], [634.544361, 233.038840], [549.0, 292.0]),
            ([-144.316800, 592.615891], [884.243107, 416.686893], [859.0, 520.0]),
        ];
        for ([y, z], first, second) in cases {
            let pixel = d.project(y, z);
            assert!((pixel[0] - first[0]).abs() < 1e-5 && (pixel[1] - first[1]).abs() < 1e-5, "{pixel:?}");
            assert_eq!(d.at_distance(pixel, 1).map(f64::floor), second);
            let slope = d.derivative(y, z);
            for (k, step) in [[1.0, 0.0], [0.0, 1.0]].into_iter().enumerate() {
                let moved = d.project(y + step[0], z + step[1]);
                assert!((0..2).all(|i| (moved[i] - pixel[i] - slope[i][k]).abs() < 1e-5), "{slope:?}");
            }
        }
    }
}
