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
    /// Whether rays of points beside the axis are met where they begin, not as if they came from the axis.
    pub exact: bool,
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
        Detector { lsd: lsd.to_vec(), centre: centre.to_vec(), tilt, pixel, size, exact: false, turn, origin }
    }

    /// The same detector, with rays that begin where their points are if `exact`.
    pub fn with_rays(self, exact: bool) -> Detector {
        Detector { exact, ..self }
    }

    /// How many distances there are.
    pub fn distances(&self) -> usize {
        self.lsd.len()
    }

    /// The pixel at the first distance of a point on the ideal plane, as real numbers.
    #[inline(always)]
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

    /// The pixels by which a spot at the ideal point moves when its point of the sample moves by so much on the ideal plane.
    ///
    /// A plane that meets the spot's ray meets a parallel one at a place that is linear in the shift and the same at every
    /// distance. To first order in the tilt and the spot's angle that is the derivative of [`Detector::project`].
    pub fn shear(&self, y: f64, z: f64) -> [[f64; 2]; 2] {
        if !self.exact {
            return self.derivative(y, z);
        }
        let t = &self.turn;
        let ray = apply(t, [self.lsd[0], y, z]);
        [1, 2].map(|row| [1, 2].map(|by| (t[row][by] - ray[row] * t[0][by] / ray[0]) / self.pixel))
    }

    /// The pixels from a spot's centre to the spot of a point beside the axis, given as its displaced ideal point.
    pub fn displaced(&self, ideal: [f64; 2], to: [f64; 2]) -> [f64; 2] {
        self.displaced_from(self.project(ideal[0], ideal[1]), ideal, to)
    }

    /// As [`Detector::displaced`], where the pixel of the spot's centre is known.
    #[inline(always)]
    pub fn displaced_from(&self, centre: [f64; 2], ideal: [f64; 2], to: [f64; 2]) -> [f64; 2] {
        let [y, z] = ideal;
        if self.exact {
            let by = [to[0] - y, to[1] - z];
            return self.shear(y, z).map(|s| s[0] * by[0] + s[1] * by[1]);
        }
        let pixel = self.project(to[0], to[1]);
        [pixel[0] - centre[0], pixel[1] - centre[1]]
    }

    /// The pixel of a distance for a pixel of the first one: offsets from the beam scale with the distance.
    #[inline(always)]
    pub fn at_distance(&self, pixel: [f64; 2], l: usize) -> [f64; 2] {
        let scale = self.lsd[l] / self.lsd[0];
        let (first, here) = (self.centre[0], self.centre[l]);
        [(pixel[0] - first[0]) * scale + here[0], (pixel[1] - first[1]) * scale + here[1]]
    }

    /// Whether a pixel lies on the detector.
    #[inline(always)]
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

    #[test]
    fn exact_rays_meet_the_tilted_plane_at_every_distance() {
        let centre = [[100.0, 20.0], [103.0, 24.0], [99.0, 21.0]];
        let (lsd, tilt, pixel) = ([5000.0, 6500.0, 9000.0], [1.1f64, -2.0, 3.0], 4.0);
        let rough = Detector::new(&lsd, &centre, tilt, pixel, [4096; 2]);
        let exact = rough.clone().with_rays(true);
        // The detector's own axes in the laboratory: the rows of the turn, made here by turning unit vectors backwards.
        let back = |v: [f64; 3]| {
            let turn = |v: [f64; 3], a: usize, b: usize, angle: f64| {
                let (s, c) = (-angle).to_radians().sin_cos();
                let mut out = v;
                (out[a], out[b]) = (c * v[a] - s * v[b], s * v[a] + c * v[b]);
                out
            };
            turn(turn(turn(v, 0, 1, tilt[2]), 2, 0, tilt[1]), 1, 2, tilt[0])
        };
        let [normal, across, up] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(back);
        let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|k| a[k] * b[k]).sum::<f64>();
        let mut apart = 0.0f64;
        for (ideal, point) in [
            ([900.0, 700.0], [80.0, -60.0, 5.0]),
            ([-600.0, 300.0], [-400.0, 350.0, 0.0]),
            ([10.0, 800.0], [300.0, 300.0, -20.0]),
        ] {
            let t = 1.0 - point[0] / lsd[0];
            let to = [point[1] + ideal[0] * t, point[2] + ideal[1] * t];
            let shift = exact.displaced(ideal, to);
            let first = exact.project(ideal[0], ideal[1]);
            for l in 0..3 {
                // Where the ray from the point meets the plane, in the plane's own axes.
                let ray = [lsd[0], ideal[0], ideal[1]];
                let away = [lsd[l] - point[0], -point[1], -point[2]];
                let far = dot(normal, away) / dot(normal, ray);
                let hit = std::array::from_fn(|k| far * ray[k] - away[k]);
                let wanted = [across, up].map(|axis| dot(axis, hit) / pixel);
                let base = exact.at_distance(first, l);
                for k in 0..2 {
                    let found = base[k] + shift[k] - centre[l][k];
                    assert!((found - wanted[k]).abs() < 1e-9, "distance {l}: {found} {wanted:?}");
                }
            }
            let plain = rough.displaced(ideal, to);
            apart = apart.max((0..2).map(|k| (plain[k] - shift[k]).abs()).fold(0.0, f64::max));
        }
        // Half a millimetre from the axis and two degrees of tilt: the first order is off by more than half a pixel.
        assert!((0.5..5.0).contains(&apart), "{apart}");
    }
}
