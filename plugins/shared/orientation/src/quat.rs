//! Rotations as unit quaternions, matrices, Euler angles and rotation vectors.

use std::f64::consts::{PI, TAU};

/// A 3 x 3 matrix, row by row.
pub type Matrix = [[f64; 3]; 3];

/// The product of two matrices.
pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// A matrix applied to a column vector.
#[inline]
pub fn apply(m: &Matrix, v: [f64; 3]) -> [f64; 3] {
    let along = |r: &[f64; 3]| r[0] * v[0] + r[1] * v[1] + r[2] * v[2];
    [along(&m[0]), along(&m[1]), along(&m[2])]
}

/// The transpose of a matrix.
pub fn transpose(m: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| m[j][i]))
}

/// A rotation as a unit quaternion (w, x, y, z), active, with w >= 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quat(pub [f64; 4]);

impl Quat {
    /// No rotation.
    pub const IDENTITY: Quat = Quat([1.0, 0.0, 0.0, 0.0]);

    /// The rotation of a quaternion of any length; none for one that is zero or not finite.
    pub fn new(q: [f64; 4]) -> Option<Quat> {
        let norm = q.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !norm.is_finite() || norm < 1e-12 {
            return None;
        }
        let sign = if q[0] < 0.0 { -1.0 } else { 1.0 };
        Some(Quat(q.map(|x| x * sign / norm)))
    }

    /// The rotation of a matrix near a rotation matrix, by Shepperd's choice of the largest element.
    pub fn from_matrix(m: &Matrix) -> Quat {
        let trace = m[0][0] + m[1][1] + m[2][2];
        let four = [
            1.0 + trace,
            1.0 + 2.0 * m[0][0] - trace,
            1.0 + 2.0 * m[1][1] - trace,
            1.0 + 2.0 * m[2][2] - trace,
        ];
        let largest = (0..4).fold(0, |best, k| if four[k] > four[best] { k } else { best });
        let t = four[largest];
        let q = match largest {
            0 => [t, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]],
            1 => [m[2][1] - m[1][2], t, m[1][0] + m[0][1], m[0][2] + m[2][0]],
            2 => [m[0][2] - m[2][0], m[1][0] + m[0][1], t, m[2][1] + m[1][2]],
            _ => [m[1][0] - m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2], t],
        };
        Quat::new(q).unwrap_or(Quat::IDENTITY)
    }

    /// The rotation matrix.
    pub fn matrix(&self) -> Matrix {
        let [w, x, y, z] = self.0;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    }

    /// The rotation `Rz(phi1) Rx(Phi) Rz(phi2)` of Bunge's angles in radians.
    pub fn from_euler(euler: [f64; 3]) -> Quat {
        let [a, b, c] = euler.map(|x| 0.5 * x);
        let (plus, minus) = (a + c, a - c);
        let q = [b.cos() * plus.cos(), b.sin() * minus.cos(), b.sin() * minus.sin(), b.cos() * plus.sin()];
        Quat::new(q).unwrap_or(Quat::IDENTITY)
    }

    /// Bunge's angles in radians: phi1 and phi2 in [0, 2 pi), Phi in [0, pi].
    pub fn euler(&self) -> [f64; 3] {
        let m = self.matrix();
        let middle = m[2][2].clamp(-1.0, 1.0).acos();
        let wrap = |x: f64| {
            let x = x.rem_euclid(TAU);
            if x >= TAU { 0.0 } else { x }
        };
        // Near the poles only the sum or the difference of the outer angles is known.
        if m[2][0].hypot(m[2][1]) < 1e-9 {
            let last = if middle < 1.0 { m[1][0].atan2(m[0][0]) } else { (-m[1][0]).atan2(m[0][0]) };
            return [0.0, if middle < 1.0 { 0.0 } else { PI }, wrap(last)];
        }
        [wrap(m[0][2].atan2(-m[1][2])), middle, wrap(m[2][0].atan2(m[2][1]))]
    }

    /// The rotation about a vector by its length in radians.
    pub fn from_rotation_vector(v: [f64; 3]) -> Quat {
        let angle = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        // The series keeps full precision where the sine over the angle would not.
        let scale = if angle < 1e-4 { 0.5 - angle * angle / 48.0 } else { (0.5 * angle).sin() / angle };
        Quat::new([(0.5 * angle).cos(), v[0] * scale, v[1] * scale, v[2] * scale]).unwrap_or(Quat::IDENTITY)
    }

    /// The vector it turns about, as long as the angle in radians.
    pub fn rotation_vector(&self) -> [f64; 3] {
        let [w, x, y, z] = self.0;
        let sine = (x * x + y * y + z * z).sqrt();
        let scale = if sine < 1e-9 { 2.0 } else { 2.0 * sine.atan2(w) / sine };
        [x * scale, y * scale, z * scale]
    }

    /// This rotation after another.
    #[must_use]
    pub fn times(&self, other: &Quat) -> Quat {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        let q = [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ];
        Quat::new(q).unwrap_or(Quat::IDENTITY)
    }

    /// The rotation back.
    #[must_use]
    pub fn inverse(&self) -> Quat {
        let [w, x, y, z] = self.0;
        Quat([w, -x, -y, -z])
    }

    /// The angle of the rotation that leads to another, in radians.
    pub fn angle_to(&self, other: &Quat) -> f64 {
        let [w, x, y, z] = self.inverse().times(other).0;
        2.0 * (x * x + y * y + z * z).sqrt().atan2(w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: &Matrix, b: &Matrix) -> bool {
        a.iter().flatten().zip(b.iter().flatten()).all(|(x, y)| (x - y).abs() < 1e-12)
    }

    #[test]
    fn euler_angles_are_three_turns() {
        let turn = |axis: usize, angle: f64| {
            let (s, c) = angle.sin_cos();
            match axis {
                0 => [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]],
                _ => [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]],
            }
        };
        for e in [[0.3, 0.7, 5.9], [4.0, 3.0, 0.1], [1.0, 0.0, 2.0], [2.0, PI, 0.5], [-0.2, -0.4, 7.0]] {
            let wanted = product(&product(&turn(2, e[0]), &turn(0, e[1])), &turn(2, e[2]));
            let q = Quat::from_euler(e);
            assert!(near(&q.matrix(), &wanted), "{e:?}");
            assert!(near(&Quat::from_euler(q.euler()).matrix(), &wanted), "{e:?} and back: {:?}", q.euler());
            assert!(Quat::from_matrix(&wanted).angle_to(&q) < 1e-12);
        }
    }

    #[test]
    fn rotation_vectors_add_along_one_axis() {
        let v = |a: f64| Quat::from_rotation_vector([0.6 * a, 0.0, 0.8 * a]);
        assert!(v(0.3).times(&v(0.4)).angle_to(&v(0.7)) < 1e-15);
        for a in [1e-9, 1e-5, 0.5, 3.0] {
            let back = v(a).rotation_vector();
            assert!((back[0] - 0.6 * a).abs() < 1e-12 && (back[2] - 0.8 * a).abs() < 1e-12, "{a}: {back:?}");
        }
        // Half a turn: the trace is -1 and the largest element is not w.
        for m in [[[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]], v(3.1).matrix()] {
            assert!(near(&Quat::from_matrix(&m).matrix(), &m));
        }
    }
}
