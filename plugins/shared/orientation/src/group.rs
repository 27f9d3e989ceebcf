//! Space groups: their operators and the reflections they forbid.

use crate::cell::Cell;
use crate::error::OrientationError;
use crate::hall::{Operator, operators};

/// A space group in its standard setting; monoclinic ones follow the axis of the cell.
#[derive(Clone, Debug)]
pub struct SpaceGroup {
    number: u8,
    operators: Vec<Operator>,
}

impl SpaceGroup {
    /// The space group of a number from 1 to 230.
    pub fn new(number: i64) -> Result<SpaceGroup, OrientationError> {
        let group = u8::try_from(number).ok().and_then(|n| Some((n, operators(n)?)));
        let (number, operators) = group.ok_or(OrientationError::NoGroup { found: number })?;
        Ok(SpaceGroup { number, operators })
    }

    /// The space group as it stands in a cell: a monoclinic axis lies on the edge that is normal to the others.
    pub fn of(number: i64, cell: &Cell) -> Result<SpaceGroup, OrientationError> {
        let mut group = SpaceGroup::new(number)?;
        let right = cell.angles.map(|x| (x - 90.0).abs() < 1e-3);
        let turn = match (group.number, right) {
            (3..=15, [true, true, false]) => 1,
            (3..=15, [false, true, true]) => 2,
            _ => 0,
        };
        for operator in &mut group.operators {
            // Axis b becomes c with one cyclic step, a with two.
            let from = |i: usize| (i + 3 - turn) % 3;
            let Operator { rotation, shift } = *operator;
            operator.rotation = std::array::from_fn(|i| std::array::from_fn(|j| rotation[from(i)][from(j)]));
            operator.shift = std::array::from_fn(|i| shift[from(i)]);
        }
        Ok(group)
    }

    /// The number.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Whether the general conditions of the group forbid a reflection.
    ///
    /// It is absent if an operator leaves it unchanged while its translation shifts the phase.
    pub fn absent(&self, hkl: [i32; 3]) -> bool {
        self.operators.iter().any(|op| {
            let same = (0..3).all(|j| (0..3).map(|i| hkl[i] * op.rotation[i][j]).sum::<i32>() == hkl[j]);
            same && (0..3).map(|i| hkl[i] * op.shift[i]).sum::<i32>().rem_euclid(12) != 0
        })
    }

    /// The rotation parts of the proper operators of the Laue class, on fractional coordinates.
    pub(crate) fn rotations(&self) -> Vec<[[i32; 3]; 3]> {
        let mut all: Vec<[[i32; 3]; 3]> = vec![];
        for op in &self.operators {
            let r = op.rotation;
            let det = r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1])
                - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
                + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
            let proper = r.map(|row| row.map(|x| x * det));
            if !all.contains(&proper) {
                all.push(proper);
            }
        }
        all
    }

    /// What the group asks of the cell, in words.
    pub(crate) fn wants(&self) -> &'static str {
        match self.number {
            1 | 2 => "any cell",
            3..=15 => "two angles of 90 degrees",
            16..=74 => "three angles of 90 degrees",
            75..=142 => "a = b and three angles of 90 degrees",
            143..=194 => "a = b, alpha = beta = 90 and gamma = 120 degrees",
            _ => "a = b = c and three angles of 90 degrees",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many indices within 4 are absent, and a running sum over which, from gemmi 0.7 (`GroupOps`).
    #[rustfmt::skip]
    const GEMMI: [(u32, u32); 230] = [
        (0, 0), (0, 0), (0, 0), (4, 40358), (360, 13026), (0, 0), (36, 32513), (360, 13026), (380, 34000),
        (0, 0), (4, 40358), (360, 13026), (36, 32513), (40, 47094), (380, 34000), (0, 0), (4, 42027),
        (8, 25934), (12, 4645), (364, 43352), (360, 13026), (540, 55724), (364, 2793), (364, 2793), (0, 0),
        (36, 32513), (68, 56479), (36, 28936), (72, 63809), (72, 2446), (40, 26808), (72, 50829),
        (76, 55485), (76, 14789), (360, 13026), (380, 34000), (396, 4619), (360, 61122), (376, 21383),
        (380, 31155), (396, 36093), (540, 55724), (562, 33495), (364, 2793), (396, 64115), (380, 57477),
        (0, 0), (108, 34993), (68, 56479), (104, 55065), (36, 28147), (108, 25951), (72, 56297),
        (104, 60377), (72, 50829), (108, 64285), (72, 37726), (76, 14789), (40, 47896), (108, 62834),
        (108, 7790), (76, 56864), (380, 34000), (396, 37955), (360, 13026), (396, 4619), (376, 49551),
        (412, 57819), (540, 55724), (570, 6290), (364, 2793), (396, 64115), (412, 34439), (380, 50991),
        (0, 0), (6, 36514), (4, 42027), (6, 36514), (364, 2793), (366, 4450), (0, 0), (364, 2793), (0, 0),
        (4, 42027), (40, 47896), (44, 37712), (364, 2793), (382, 33062), (0, 0), (8, 25934), (6, 36514),
        (14, 33063), (4, 42027), (12, 4645), (6, 36514), (14, 33063), (364, 2793), (366, 4450), (0, 0),
        (72, 50829), (68, 56479), (76, 14789), (132, 61113), (140, 5034), (68, 50938), (140, 18170),
        (364, 2793), (396, 64115), (406, 6694), (438, 38955), (0, 0), (68, 50938), (8, 25934), (76, 19914),
        (0, 0), (68, 56479), (72, 50829), (76, 14789), (364, 2793), (396, 64115), (364, 2793), (406, 6694),
        (0, 0), (132, 61113), (104, 55065), (172, 53412), (72, 50829), (140, 5034), (40, 47896),
        (172, 56246), (68, 50938), (68, 56479), (172, 14110), (108, 34993), (140, 18170), (76, 14789),
        (108, 43449), (108, 64285), (364, 2793), (396, 64115), (414, 57024), (446, 12271), (0, 0),
        (6, 40041), (6, 40041), (486, 45958), (0, 0), (486, 45958), (0, 0), (0, 0), (6, 40041), (6, 40041),
        (6, 40041), (6, 40041), (486, 45958), (0, 0), (0, 0), (100, 52083), (68, 37277), (486, 45958),
        (518, 27022), (0, 0), (68, 37277), (0, 0), (100, 52083), (486, 45958), (518, 27022), (0, 0),
        (8, 33463), (8, 33463), (6, 40041), (6, 40041), (4, 42027), (0, 0), (0, 0), (4, 42027), (0, 0),
        (8, 33463), (8, 33463), (6, 40041), (6, 40041), (4, 42027), (0, 0), (164, 19879), (100, 52083),
        (68, 37277), (0, 0), (100, 52083), (0, 0), (68, 37277), (0, 0), (164, 19879), (100, 52083),
        (68, 37277), (0, 0), (540, 55724), (364, 2793), (12, 4645), (364, 2793), (0, 0), (108, 34993),
        (540, 55724), (570, 6290), (364, 2793), (108, 7790), (412, 34439), (0, 0), (12, 4645),
        (540, 55724), (546, 40139), (364, 2793), (18, 6099), (18, 6099), (370, 40949), (0, 0),
        (540, 55724), (364, 2793), (172, 24497), (604, 21014), (474, 10424), (0, 0), (268, 9903),
        (172, 24497), (108, 34993), (540, 55724), (604, 21014), (570, 6290), (634, 17821), (364, 2793),
        (498, 57631),
    ];

    #[test]
    fn absences_are_those_that_gemmi_finds() {
        for (number, wanted) in (1..).zip(GEMMI) {
            let group = SpaceGroup::new(number).unwrap();
            let (mut count, mut sum) = (0, 0u32);
            for n in 0..729 {
                let hkl = [n / 81 - 4, n / 9 % 9 - 4, n % 9 - 4];
                if group.absent(hkl) {
                    count += 1;
                    sum = (sum * 31 + n as u32) % 65521;
                }
            }
            assert_eq!((count, sum), wanted, "space group {number}");
        }
    }

    #[test]
    fn a_monoclinic_axis_follows_the_cell() {
        // P 21/c has (0 k 0) with k odd and (h 0 l) with l odd absent; with c as its axis P 21/a: (0 0 l), (h k 0).
        let cell = Cell::new([5.0, 6.0, 7.0, 90.0, 90.0, 105.0]).unwrap();
        let group = SpaceGroup::of(14, &cell).unwrap();
        assert!(group.absent([0, 0, 1]) && group.absent([1, 2, 0]) && !group.absent([2, 1, 0]));
        assert!(!group.absent([0, 1, 1]));
        assert!(SpaceGroup::new(0).is_err() && SpaceGroup::new(231).is_err());
    }
}
