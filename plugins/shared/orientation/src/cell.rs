//! The unit cell and its reciprocal basis.

use crate::error::OrientationError;
use crate::quat::Matrix;

/// A unit cell: edges in angstrom, angles in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The edges a, b, c in angstrom.
    pub edges: [f64; 3],
    /// The angles alpha, beta, gamma in degrees.
    pub angles: [f64; 3],
}

impl Cell {
    /// The cell of six constants.
    pub fn new(constants: [f64; 6]) -> Result<Cell, OrientationError> {
        let [a, b, c, alpha, beta, gamma] = constants;
        let cell = Cell { edges: [a, b, c], angles: [alpha, beta, gamma] };
        let edges = cell.edges.iter().all(|x| x.is_finite() && *x > 0.0);
        let angles = cell.angles.iter().all(|x| *x > 0.0 && *x < 180.0);
        if !(edges && angles && cell.squared() > 1e-6) {
            return Err(OrientationError::NoCell { found: constants });
        }
        Ok(cell)
    }

    /// The six constants.
    pub fn constants(&self) -> [f64; 6] {
        let ([a, b, c], [alpha, beta, gamma]) = (self.edges, self.angles);
        [a, b, c, alpha, beta, gamma]
    }

    /// The squared volume of the cell with unit edges.
    fn squared(&self) -> f64 {
        let [ca, cb, cg] = self.angles.map(|x| x.to_radians().cos());
        1.0 - ca * ca - cb * cb - cg * cg + 2.0 * ca * cb * cg
    }

    /// The volume in cubic angstrom.
    pub fn volume(&self) -> f64 {
        let [a, b, c] = self.edges;
        a * b * c * self.squared().sqrt()
    }

    /// The matrix that takes (h, k, l) to the reciprocal vector in 1/angstrom: a* along x, c along z, no 2 pi.
    pub fn reciprocal(&self) -> Matrix {
        let [a, b, c] = self.edges;
        let [alpha, beta, gamma] = self.angles.map(f64::to_radians);
        let cos_beta = (gamma.cos() * alpha.cos() - beta.cos()) / (gamma.sin() * alpha.sin());
        let cos_gamma = (alpha.cos() * beta.cos() - gamma.cos()) / (alpha.sin() * beta.sin());
        let sin_beta = (1.0 - cos_beta * cos_beta).sqrt();
        let sin_gamma = (1.0 - cos_gamma * cos_gamma).sqrt();
        let volume = a * b * c * alpha.sin() * sin_beta * gamma.sin();
        let (x, y, z) =
            (b * c * alpha.sin() / volume, c * a * beta.sin() / volume, a * b * gamma.sin() / volume);
        [
            [x, y * cos_gamma, z * cos_beta],
            [0.0, y * sin_gamma, -z * sin_beta * alpha.cos()],
            [0.0, 0.0, z * sin_beta * alpha.sin()],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quat::apply;

    #[test]
    fn spacings_are_those_of_the_textbook() {
        let length =
            |cell: &Cell, hkl| apply(&cell.reciprocal(), hkl).iter().map(|x| x * x).sum::<f64>().sqrt();
        let hexagonal = Cell::new([2.95, 2.95, 4.68, 90.0, 90.0, 120.0]).unwrap();
        // 1/d^2 = 4/3 (h2 + hk + k2)/a2 + l2/c2
        let wanted = (4.0 / 3.0 * 7.0 / (2.95f64 * 2.95) + 9.0 / (4.68f64 * 4.68)).sqrt();
        assert!((length(&hexagonal, [1.0, 2.0, 3.0]) - wanted).abs() < 1e-12);
        // Monoclinic: 1/d^2 = (h2/a2 + k2 sin2 b/b2 + l2/c2 - 2 h l cos b/(a c)) / sin2 b
        let cell = Cell::new([5.0, 6.0, 7.0, 90.0, 105.0, 90.0]).unwrap();
        let (s, c) = 105f64.to_radians().sin_cos();
        let wanted = ((1.0 / 25.0 + 4.0 * s * s / 36.0 + 9.0 / 49.0 - 6.0 * c / 35.0) / (s * s)).sqrt();
        assert!((length(&cell, [1.0, 2.0, 3.0]) - wanted).abs() < 1e-12);
        assert!((cell.volume() - 210.0 * s).abs() < 1e-9);
    }

    #[test]
    fn impossible_cells_are_refused() {
        assert!(Cell::new([4.0, 4.0, 0.0, 90.0, 90.0, 90.0]).is_err());
        assert!(Cell::new([4.0, 4.0, 4.0, 40.0, 40.0, 120.0]).is_err());
        assert!(Cell::new([4.0, 4.0, f64::NAN, 90.0, 90.0, 90.0]).is_err());
    }
}
