//! The proper rotations of a Laue class, and what they make equal.

use crate::cell::Cell;
use crate::error::OrientationError;
use crate::group::SpaceGroup;
use crate::quat::{Matrix, Quat, apply, product, transpose};

/// How far a symmetry operator may be from a rotation in a cell that has it.
const ORTHOGONAL: f64 = 2e-3;

/// The proper rotations of a Laue class, in the Cartesian frame of the crystal.
#[derive(Clone, Debug)]
pub struct Symmetry {
    operators: Vec<Quat>,
}

impl Symmetry {
    /// The rotations of a space group in a cell; an error if the cell lacks them.
    pub fn of(group: &SpaceGroup, cell: &Cell) -> Result<Symmetry, OrientationError> {
        let (direct, inverse) = direct(cell);
        let mut operators = vec![];
        for r in group.rotations() {
            let m = product(&product(&direct, &r.map(|row| row.map(f64::from))), &inverse);
            let square = product(&transpose(&m), &m);
            let off = (0..9).map(|k| (square[k / 3][k % 3] - f64::from(u8::from(k / 3 == k % 3))).abs());
            if off.fold(0.0, f64::max) > ORTHOGONAL {
                return Err(OrientationError::Mismatch {
                    group: group.number(),
                    cell: cell.constants(),
                    wanted: group.wants(),
                });
            }
            operators.push(Quat::from_matrix(&m));
        }
        Ok(Symmetry { operators })
    }

    /// No symmetry but the identity.
    pub fn none() -> Symmetry {
        Symmetry { operators: vec![Quat::IDENTITY] }
    }

    /// The rotations, the identity first.
    pub fn operators(&self) -> &[Quat] {
        &self.operators
    }

    /// The smallest angle between two orientations, in radians.
    pub fn misorientation(&self, a: &Quat, b: &Quat) -> f64 {
        a.angle_to(&self.nearest(b, a))
    }

    /// The equivalent of an orientation that is nearest to another.
    pub fn nearest(&self, q: &Quat, to: &Quat) -> Quat {
        let dot = |p: &Quat| p.0.iter().zip(to.0).map(|(a, b)| a * b).sum::<f64>().abs();
        let mut best = *q;
        for s in &self.operators {
            let p = q.times(s);
            if dot(&p) > dot(&best) {
                best = p;
            }
        }
        best
    }

    /// The equivalent of an orientation with the smallest angle.
    pub fn reduced(&self, q: &Quat) -> Quat {
        self.nearest(q, &Quat::IDENTITY)
    }

    /// The mean of orientations that lie near each other; none of none.
    pub fn mean(&self, all: &[Quat]) -> Option<Quat> {
        let first = *all.first()?;
        let mut mean = first;
        // The mean of rotation vectors about the last mean: two rounds leave nothing of the choice of the first.
        for _ in 0..3 {
            let mut sum = [0.0; 3];
            for q in all {
                let v = self.nearest(q, &mean).times(&mean.inverse()).rotation_vector();
                (0..3).for_each(|k| sum[k] += v[k]);
            }
            mean = Quat::from_rotation_vector(sum.map(|x| x / all.len() as f64)).times(&mean);
        }
        Some(mean)
    }

    /// The equivalent directions of one, with their opposites.
    pub(crate) fn directions(&self, v: [f64; 3]) -> impl Iterator<Item = [f64; 3]> + '_ {
        self.operators.iter().flat_map(move |s| {
            let u = apply(&s.matrix(), v);
            [u, u.map(|x| -x)]
        })
    }
}

/// The edges of the cell as columns, dual to the reciprocal basis, and the inverse.
fn direct(cell: &Cell) -> (Matrix, Matrix) {
    let b = cell.reciprocal();
    // The reciprocal basis is upper triangular.
    let inverse = [
        [
            1.0 / b[0][0],
            -b[0][1] / (b[0][0] * b[1][1]),
            (b[0][1] * b[1][2] - b[0][2] * b[1][1]) / (b[0][0] * b[1][1] * b[2][2]),
        ],
        [0.0, 1.0 / b[1][1], -b[1][2] / (b[1][1] * b[2][2])],
        [0.0, 0.0, 1.0 / b[2][2]],
    ];
    (transpose(&inverse), transpose(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetry(group: i64, cell: [f64; 6]) -> Result<Symmetry, OrientationError> {
        let cell = Cell::new(cell).unwrap();
        Symmetry::of(&SpaceGroup::of(group, &cell)?, &cell)
    }

    const CUBIC: [f64; 6] = [4.0, 4.0, 4.0, 90.0, 90.0, 90.0];
    const HEXAGONAL: [f64; 6] = [3.0, 3.0, 5.0, 90.0, 90.0, 120.0];

    #[test]
    fn every_class_has_its_number_of_rotations() {
        // International Tables A, table 10.1.2.4.
        let cases: [(i64, [f64; 6], usize); 12] = [
            (2, [4.0, 5.0, 6.0, 80.0, 95.0, 100.0], 1),
            (14, [4.0, 5.0, 6.0, 90.0, 95.0, 90.0], 2),
            (14, [4.0, 5.0, 6.0, 90.0, 90.0, 95.0], 2),
            (62, [4.0, 5.0, 6.0, 90.0, 90.0, 90.0], 4),
            (88, [4.0, 4.0, 6.0, 90.0, 90.0, 90.0], 4),
            (136, [4.0, 4.0, 6.0, 90.0, 90.0, 90.0], 8),
            (148, HEXAGONAL, 3),
            (164, HEXAGONAL, 6),
            (176, HEXAGONAL, 6),
            (194, HEXAGONAL, 12),
            (205, CUBIC, 12),
            (225, CUBIC, 24),
        ];
        for (group, cell, count) in cases {
            assert_eq!(symmetry(group, cell).unwrap().operators().len(), count, "{group}");
        }
    }

    #[test]
    fn trigonal_axes_depend_on_the_group() {
        // A half turn about x is one of -3 1 m (162) with a* along x, and none of -3 m 1 (164).
        let half = Quat([0.0, 1.0, 0.0, 0.0]);
        let holds =
            |group| symmetry(group, HEXAGONAL).unwrap().operators().iter().any(|s| s.angle_to(&half) < 1e-9);
        assert!(holds(162) && !holds(164) && holds(194));
    }

    #[test]
    fn a_cell_without_the_symmetry_is_refused() {
        let error = symmetry(225, [4.0, 4.1, 4.0, 90.0, 90.0, 90.0]).unwrap_err().to_string();
        assert!(error.contains("225") && error.contains("a = b = c"), "{error}");
        assert!(symmetry(194, CUBIC).is_err() && symmetry(62, HEXAGONAL).is_err());
    }

    #[test]
    fn equivalent_orientations_are_not_apart() {
        let s = symmetry(225, CUBIC).unwrap();
        let q = Quat::from_euler([0.3, 0.7, 1.1]);
        for (k, op) in s.operators().iter().enumerate() {
            assert!(s.misorientation(&q, &q.times(op)) < 1e-9, "{k}");
            let off = Quat::from_rotation_vector([0.0, 0.02, 0.0]);
            assert!((s.misorientation(&off.times(&q), &q.times(op)) - 0.02).abs() < 1e-9);
        }
        // No two cubic orientations are further apart than 62.8 degrees (Mackenzie 1958).
        let worst = (0..2000).map(|k| {
            let e = [k as f64 * 2.399, (k as f64 * 0.618).rem_euclid(1.0) * 3.1, k as f64 * 1.324];
            s.misorientation(&q, &Quat::from_euler(e)).to_degrees()
        });
        let worst = worst.fold(0.0, f64::max);
        assert!((55.0..62.81).contains(&worst), "{worst}");
    }

    #[test]
    fn a_mean_lies_between_equivalents() {
        let s = symmetry(225, CUBIC).unwrap();
        let q = Quat::from_euler([0.3, 0.7, 1.1]);
        let turned =
            |a: f64, k: usize| Quat::from_rotation_vector([a, 0.0, 0.0]).times(&q).times(&s.operators()[k]);
        let mean = s.mean(&[turned(0.01, 3), turned(-0.01, 17), turned(0.03, 8)]).unwrap();
        assert!(s.misorientation(&mean, &turned(0.01, 0)) < 1e-9);
    }
}
