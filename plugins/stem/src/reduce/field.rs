//! Vector fields over a scan: orientation, regression, derivatives, integration, and the guess of a rotation.

use std::f64::consts::PI;

use num_complex::Complex64;

use crate::reduce::fft::{fft2, signed};

/// A field of vectors `(y, x)` over a scan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// Lines and points.
    pub scan: [usize; 2],
    /// Components along y.
    pub y: Vec<f64>,
    /// Components along x.
    pub x: Vec<f64>,
}

/// A 2 x 2 matrix for vectors `(y, x)`.
pub(crate) type Matrix = [[f64; 2]; 2];

fn times(a: Matrix, b: Matrix) -> Matrix {
    let at = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
    [[at(0, 0), at(0, 1)], [at(1, 0), at(1, 1)]]
}

/// The matrix of an orientation: y flipped, then y and x swapped, then turned clockwise on screen.
pub(crate) fn orientation(rotation: f64, flip: bool, transpose: bool) -> Matrix {
    let (sin, cos) = rotation.to_radians().sin_cos();
    let mut matrix = [[1.0, 0.0], [0.0, 1.0]];
    if flip {
        matrix = [[-1.0, 0.0], [0.0, 1.0]];
    }
    if transpose {
        matrix = times([[0.0, 1.0], [1.0, 0.0]], matrix);
    }
    times([[cos, sin], [-sin, cos]], matrix)
}

impl Field {
    /// The field under a matrix.
    pub fn turned(&self, m: Matrix) -> Field {
        let both = || self.y.iter().zip(&self.x);
        Field {
            scan: self.scan,
            y: both().map(|(y, x)| m[0][0] * y + m[0][1] * x).collect(),
            x: both().map(|(y, x)| m[1][0] * y + m[1][1] * x).collect(),
        }
    }

    /// Subtracts `c[0] + c[1] y + c[2] x`, whose columns are the components.
    pub fn subtract(&mut self, c: &[[f64; 2]; 3]) {
        let columns = self.scan[1];
        for (i, (fy, fx)) in self.y.iter_mut().zip(&mut self.x).enumerate() {
            let (y, x) = ((i / columns) as f64, (i % columns) as f64);
            *fy -= c[0][0] + c[1][0] * y + c[2][0] * x;
            *fx -= c[0][1] + c[1][1] * y + c[2][1] * x;
        }
    }

    /// The mean over valid points.
    pub fn mean(&self, valid: &[bool]) -> [f64; 2] {
        let n = valid.iter().filter(|v| **v).count().max(1) as f64;
        let sum = |f: &[f64]| f.iter().zip(valid).filter(|(_, v)| **v).map(|(f, _)| f).sum::<f64>();
        [sum(&self.y) / n, sum(&self.x) / n]
    }

    /// The plane of least squares through valid points: constant, slope along y, slope along x.
    ///
    /// A slope that the points do not tell, as those of a single line, is 0.
    pub fn plane(&self, valid: &[bool]) -> [[f64; 2]; 3] {
        let columns = self.scan[1];
        let points = || valid.iter().enumerate().filter(|(_, v)| **v).map(|(i, _)| i);
        let n = points().count().max(1) as f64;
        let place = |i: usize| ((i / columns) as f64, (i % columns) as f64);
        let (sy, sx) = points().map(place).fold((0.0, 0.0), |(a, b), (y, x)| (a + y, b + x));
        // About the middle of the points: the normal equations are then of full precision.
        let (my, mx) = (sy / n, sx / n);
        let (mut yy, mut xx, mut yx) = (0.0, 0.0, 0.0);
        let mut right = [[0.0; 2]; 2];
        for i in points() {
            let (y, x) = place(i);
            let (y, x) = (y - my, x - mx);
            yy += y * y;
            xx += x * x;
            yx += y * x;
            for (k, f) in [self.y[i], self.x[i]].into_iter().enumerate() {
                right[0][k] += y * f;
                right[1][k] += x * f;
            }
        }
        let mean = self.mean(valid);
        let det = yy * xx - yx * yx;
        let mut out = [[0.0; 2]; 3];
        for k in 0..2 {
            let (a, b) = match det > 1e-9 * yy * xx {
                true => {
                    ((xx * right[0][k] - yx * right[1][k]) / det, (yy * right[1][k] - yx * right[0][k]) / det)
                }
                false if yy > xx => (right[0][k] / yy, 0.0),
                false if xx > 0.0 => (0.0, right[1][k] / xx),
                false => (0.0, 0.0),
            };
            out[1][k] = a;
            out[2][k] = b;
            out[0][k] = mean[k] - a * my - b * mx;
        }
        out
    }

    /// `dFy/dy + dFx/dx`, for steps of a scan.
    pub fn divergence(&self, step: [f64; 2]) -> Vec<f64> {
        let (a, b) = (slope(&self.y, self.scan, 0), slope(&self.x, self.scan, 1));
        a.iter().zip(&b).map(|(a, b)| a / step[0] + b / step[1]).collect()
    }

    /// `dFy/dx - dFx/dy`, for steps of a scan.
    pub fn curl(&self, step: [f64; 2]) -> Vec<f64> {
        let (a, b) = (slope(&self.y, self.scan, 1), slope(&self.x, self.scan, 0));
        a.iter().zip(&b).map(|(a, b)| a / step[1] - b / step[0]).collect()
    }

    /// Mirrored about its lower and right edges, so that its integral is periodic.
    pub fn mirrored(&self) -> Field {
        let [rows, columns] = self.scan;
        let (mut y, mut x) = (vec![], vec![]);
        for row in 0..2 * rows {
            for column in 0..2 * columns {
                let (r, down) = if row < rows { (row, 1.0) } else { (2 * rows - 1 - row, -1.0) };
                let (c, right) =
                    if column < columns { (column, 1.0) } else { (2 * columns - 1 - column, -1.0) };
                y.push(down * self.y[r * columns + c]);
                x.push(right * self.x[r * columns + c]);
            }
        }
        Field { scan: [2 * rows, 2 * columns], y, x }
    }

    /// The periodic potential whose gradient is nearest to the field, without its mean.
    pub fn integral(&self, step: [f64; 2]) -> Vec<f64> {
        let [rows, columns] = self.scan;
        let mean = self.mean(&vec![true; self.y.len()]);
        let transform = |f: &[f64], mean: f64| {
            let mut data: Vec<Complex64> = f.iter().map(|f| Complex64::new(f - mean, 0.0)).collect();
            fft2(&mut data, self.scan, false);
            data
        };
        let (mut fy, fx) = (transform(&self.y, mean[0]), transform(&self.x, mean[1]));
        let frequencies =
            |n: usize, step: f64| -> Vec<f64> { (0..n).map(|k| signed(k, n) / (n as f64 * step)).collect() };
        let (down, right) = (frequencies(rows, step[0]), frequencies(columns, step[1]));
        let lines = fy.chunks_exact_mut(columns).zip(fx.chunks_exact(columns));
        for ((fy, fx), ky) in lines.zip(&down) {
            for ((fy, fx), kx) in fy.iter_mut().zip(fx).zip(&right) {
                let square = ky * ky + kx * kx;
                let slope = *fy * ky + *fx * kx;
                // Over 2 pi i k^2.
                let whole = 2.0 * PI * square;
                *fy = match square > 0.0 {
                    true => Complex64::new(slope.im / whole, -slope.re / whole),
                    false => Complex64::default(),
                };
            }
        }
        fft2(&mut fy, self.scan, true);
        fy.iter().map(|c| c.re / self.y.len() as f64).collect()
    }

    /// The rotation in degrees and the flip of y under which the curl is smallest.
    ///
    /// Both curl and divergence are linear in sine and cosine of the rotation, so the minimum has a closed form. Of the two
    /// rotations half a turn apart that one is taken whose divergence has its heavier tail below 0, as atoms have.
    pub fn guess(&self) -> (f64, bool) {
        let [rows, columns] = self.scan;
        let mut best: Option<(f64, f64, bool)> = None;
        for flip in [false, true] {
            let field = self.turned(orientation(0.0, flip, false));
            let (curl, divergence) = (field.curl([1.0; 2]), field.divergence([1.0; 2]));
            let [mut a, mut b, mut c] = [0.0; 3];
            // The last line and the last point of each line have no neighbour on one side.
            let lines = curl.chunks_exact(columns).zip(divergence.chunks_exact(columns));
            for (curl, divergence) in lines.take(rows - 1) {
                for (curl, divergence) in curl.iter().zip(divergence).take(columns - 1) {
                    a += curl * curl;
                    b += divergence * divergence;
                    c += curl * divergence;
                }
            }
            let least = (a + b) / 2.0 - ((a - b) / 2.0).hypot(c);
            let angle = (c.atan2((a - b) / 2.0) + PI) / 2.0;
            if best.is_none_or(|(known, ..)| least < known) {
                best = Some((least, angle, flip));
            }
        }
        let (_, angle, flip) = best.unwrap_or_default();
        let degrees = angle.to_degrees();
        let divergence = self.turned(orientation(degrees, flip, false)).divergence([1.0; 2]);
        let mean = divergence.iter().sum::<f64>() / divergence.len().max(1) as f64;
        let skew: f64 = divergence.iter().map(|d| (d - mean).powi(3)).sum();
        let half = if skew > 0.0 { 180.0 } else { 0.0 };
        ((degrees + half).rem_euclid(360.0), flip)
    }
}

/// Central differences inside, one-sided ones at the border; along y for axis 0, along x for axis 1.
fn slope(f: &[f64], [rows, columns]: [usize; 2], axis: usize) -> Vec<f64> {
    let mut out = vec![0.0; f.len()];
    // The neighbours before and behind the `k`th of `n`, and the distance between them.
    let between = |k: usize, n: usize| {
        let (before, behind) = (k.saturating_sub(1), (k + 1).min(n - 1));
        (before, behind, (behind - before) as f64)
    };
    for (y, line) in out.chunks_exact_mut(columns).enumerate() {
        if axis == 0 && rows > 1 {
            let (above, below, distance) = between(y, rows);
            let of = |y: usize| &f[y * columns..(y + 1) * columns];
            for ((to, a), b) in line.iter_mut().zip(of(above)).zip(of(below)) {
                *to = (b - a) / distance;
            }
        } else if axis == 1 && columns > 1 {
            let own = &f[y * columns..(y + 1) * columns];
            for (to, around) in line[1..].iter_mut().zip(own.windows(3)) {
                *to = (around[2] - around[0]) / 2.0;
            }
            for x in [0, columns - 1] {
                let (before, behind, distance) = between(x, columns);
                line[x] = (own[behind] - own[before]) / distance;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of a picture of two atoms, which draw the beam to them.
    fn atoms() -> Field {
        let scan = [24, 20];
        let (mut y, mut x) = (vec![], vec![]);
        for i in 0..scan[0] * scan[1] {
            let place = [(i / scan[1]) as f64, (i % scan[1]) as f64];
            let mut f = [0.0; 2];
            for (atom, height) in [([7.0, 6.0], 1.0), ([16.0, 13.0], 1.4)] {
                let d = [place[0] - atom[0], place[1] - atom[1]];
                let g = height * (-(d[0] * d[0] + d[1] * d[1]) / 8.0f64).exp() / 4.0;
                // The field points to the atom.
                f[0] -= g * d[0];
                f[1] -= g * d[1];
            }
            y.push(f[0]);
            x.push(f[1]);
        }
        Field { scan, y, x }
    }

    #[test]
    fn a_transpose_is_a_flip_and_a_quarter_turn() {
        let (a, b) = (orientation(0.0, false, true), orientation(90.0, true, false));
        assert!(a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-15));
        assert_eq!(a, [[0.0, 1.0], [1.0, 0.0]]);
    }

    #[test]
    fn a_known_rotation_and_flip_is_guessed() {
        for flip in [false, true] {
            for rotation in [0.0, 30.0, 77.0, 200.0, 300.0] {
                // What is measured is what the orientation leads back from.
                let m = orientation(rotation, flip, false);
                let det = m[0][0] * m[1][1] - m[0][1] * m[1][0];
                let back = [[m[1][1] / det, -m[0][1] / det], [-m[1][0] / det, m[0][0] / det]];
                let (found, flipped) = atoms().turned(back).guess();
                let off = (found - rotation + 180.0).rem_euclid(360.0) - 180.0;
                assert!(flipped == flip && off.abs() < 1.0, "{found} {flipped} for {rotation} {flip}");
            }
        }
    }

    #[test]
    fn a_plane_is_found_and_the_integral_has_the_field_as_gradient() {
        let scan = [5, 7];
        let y: Vec<f64> = (0..35).map(|i| 1.0 + 0.5 * f64::from(i / 7) - 0.25 * f64::from(i % 7)).collect();
        let field = Field { scan, x: y.iter().map(|v| 2.0 * v).collect(), y };
        let mut valid = vec![true; 35];
        valid[3] = false;
        let c = field.plane(&valid);
        let wanted = [[1.0, 2.0], [0.5, 1.0], [-0.25, -0.5]];
        assert!(c.iter().flatten().zip(wanted.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-12));
        // A wave that fits in the scan comes back: phi = cos(2 pi y / 5), step 0.5.
        let k = 2.0 * PI / 5.0;
        let y = (0..35).map(|i| -k / 0.5 * (k * f64::from(i / 7)).sin()).collect();
        let wave = Field { scan, y, x: vec![0.0; 35] };
        let phi = wave.integral([0.5, 0.5]);
        assert!(phi.iter().enumerate().all(|(i, p)| (p - (k * (i / 7) as f64).cos()).abs() < 1e-12));
    }
}
