//! The reflections that a crystal can give.

use std::f64::consts::TAU;

use isard_orientation::{Cell, OrientationError, SpaceGroup, apply};

/// How far two spacings of one ring may be apart, in angstrom.
const RING: f64 = 1e-4;
/// Amplitudes of a smaller share of the largest are nothing.
const EXTINCT: f64 = 1e-2;

/// A reflection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reflection {
    /// The indices.
    pub hkl: [i32; 3],
    /// The spacing in angstrom.
    pub d: f64,
    /// The ring it lies on, from 1.
    pub ring: u32,
    /// The reciprocal vector in the crystal, 1/angstrom.
    pub g: [f64; 3],
    /// The Bragg angle in radians.
    pub theta: f64,
    /// The radius of the ring at the reference distance, in micrometres.
    pub radius: f64,
}

/// All reflections of a cell out to a ring radius at a distance, sorted into rings.
///
/// `reach` limits the indices; none takes them as far as the spacings ask for.
pub fn reflections(
    cell: &Cell,
    group: &SpaceGroup,
    wavelength: f64,
    lsd: f64,
    max_radius: f64,
    reach: Option<i32>,
) -> Result<Vec<Reflection>, OrientationError> {
    // A cell without the symmetry of the group would have wrong absences.
    isard_orientation::Symmetry::of(group, cell)?;
    let finest = wavelength / (2.0 * (0.5 * (max_radius / lsd).atan()).sin());
    let basis = cell.reciprocal();
    let most = cell.edges.map(|edge| reach.unwrap_or((edge / finest).ceil() as i32));
    let mut found = vec![];
    for h in -most[0]..=most[0] {
        for k in -most[1]..=most[1] {
            for l in -most[2]..=most[2] {
                let g = apply(&basis, [h, k, l].map(f64::from));
                let length = g.iter().map(|x| x * x).sum::<f64>().sqrt();
                if [h, k, l] == [0; 3] || 1.0 / length < finest || group.absent([h, k, l]) {
                    continue;
                }
                let d = 1.0 / length;
                let theta = (wavelength / (2.0 * d)).asin();
                let radius = lsd * (2.0 * theta).tan();
                found.push(Reflection { hkl: [h, k, l], d, ring: 0, g, theta, radius });
            }
        }
    }
    // A stable sort keeps indices in order within a ring.
    found.sort_by(|a, b| b.d.total_cmp(&a.d));
    let (mut ring, mut first) = (0, f64::INFINITY);
    for r in &mut found {
        if first - r.d > RING {
            (ring, first) = (ring + 1, r.d);
        }
        r.ring = ring;
    }
    // Rounding must not order the members of a ring.
    found.sort_by_key(|r| (r.ring, r.hkl));
    Ok(found)
}

/// Keeps the rings that are named, in the order they are named; all of them if none is.
pub fn keep_rings(all: Vec<Reflection>, rings: &[u32]) -> Vec<Reflection> {
    if rings.is_empty() {
        return all;
    }
    rings
        .iter()
        .flat_map(|ring| all.iter().filter(|r| r.ring == *ring).copied().collect::<Vec<_>>())
        .collect()
}

/// Leaves out the reflections to which the waves of atoms add up to nothing; without atoms none.
///
/// Atoms are x, y and z in fractions of the cell's edges, and a weight; those that centring repeats may be left out.
pub fn without_extinct(mut all: Vec<Reflection>, atoms: &[[f64; 4]]) -> Vec<Reflection> {
    let most: f64 = atoms.iter().map(|a| a[3]).sum();
    let amplitude = |hkl: [i32; 3]| {
        let (mut real, mut imaginary) = (0.0, 0.0);
        for [x, y, z, weight] in atoms {
            let [h, k, l] = hkl.map(f64::from);
            let (sin, cos) = (TAU * (h * x + k * y + l * z)).sin_cos();
            (real, imaginary) = (real + weight * cos, imaginary + weight * sin);
        }
        f64::hypot(real, imaginary)
    };
    if !atoms.is_empty() {
        // Positions such as 1/3 are written with a few digits.
        all.retain(|r| amplitude(r.hkl) > EXTINCT * most);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gold_has_the_rings_of_the_specification() {
        let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
        let group = SpaceGroup::new(225).unwrap();
        let all = reflections(&cell, &group, 0.172979, 10290.72, 2800.0, None).unwrap();
        assert_eq!(all.len(), 258);
        // Multiplicity and spacing of each ring, from the specification of the format.
        let wanted = [
            (8, 2.355589),
            (6, 2.04),
            (12, 1.442498),
            (24, 1.230166),
            (8, 1.177795),
            (6, 1.02),
            (24, 0.936016),
            (24, 0.912316),
            (24, 0.832827),
            (32, 0.785196),
            (12, 0.721249),
            (48, 0.689646),
            (30, 0.68),
        ];
        for (ring, (count, d)) in (1u32..).zip(wanted) {
            let members: Vec<&Reflection> = all.iter().filter(|r| r.ring == ring).collect();
            assert_eq!(members.len(), count, "ring {ring}");
            assert!(members.iter().all(|r| (r.d - d).abs() < 1e-6), "ring {ring}");
        }
        let near = reflections(&cell, &group, 0.172979, 10290.72, 2800.0, Some(10)).unwrap();
        assert_eq!(near, all);
        assert_eq!(keep_rings(all, &[3, 1]).iter().map(|r| r.ring).collect::<Vec<_>>()[11..13], [3, 1]);
    }

    #[test]
    fn special_positions_extinguish_reflections() {
        // International Tables A: on 8a of Fd-3m h + k + l = 2n + 1 or 4n; on 2c of P6_3/mmc l = 2n or h - k = 3n +- 1.
        let list = |cell: [f64; 6], group, atoms: &[[f64; 4]]| {
            let cell = Cell::new(cell).unwrap();
            let group = SpaceGroup::new(group).unwrap();
            let all = reflections(&cell, &group, 0.2, 5000.0, 2000.0, None).unwrap();
            let kept = without_extinct(all.clone(), atoms);
            (all, kept)
        };
        let diamond = [[0.0, 0.0, 0.0, 14.0], [0.25, 0.25, 0.25, 14.0]];
        let (all, kept) = list([5.431, 5.431, 5.431, 90.0, 90.0, 90.0], 227, &diamond);
        let wanted = all.iter().filter(|r| {
            let sum: i32 = r.hkl.iter().sum();
            sum % 2 != 0 || sum % 4 == 0
        });
        assert!(kept.iter().eq(wanted) && kept.len() < all.len());
        assert!(all.iter().any(|r| r.hkl == [2, 2, 2]) && !kept.iter().any(|r| r.hkl == [2, 2, 2]));
        let titanium = [[0.3333, 0.6667, 0.25, 22.0], [0.6667, 0.3333, 0.75, 22.0]];
        let (all, kept) = list([2.95, 2.95, 4.68, 90.0, 90.0, 120.0], 194, &titanium);
        let allowed = |r: &&Reflection| r.hkl[2] % 2 == 0 || (r.hkl[0] - r.hkl[1]) % 3 != 0;
        assert!(kept.iter().eq(all.iter().filter(allowed)) && kept.len() < all.len());
        assert_eq!(without_extinct(all.clone(), &[]), all);
    }

    #[test]
    fn large_cells_lose_no_reflections() {
        let cell = Cell::new([30.0, 30.0, 30.0, 90.0, 90.0, 90.0]).unwrap();
        let group = SpaceGroup::new(195).unwrap();
        let all = reflections(&cell, &group, 0.2, 1000.0, 100.0, None).unwrap();
        // Lattice points in a sphere of radius 15.03: 4/3 pi r^3 within a percent.
        let radius = 30.0 * 2.0 * (0.5 * 0.1f64.atan()).sin() / 0.2;
        let wanted = 4.0 / 3.0 * std::f64::consts::PI * radius.powi(3);
        assert!((all.len() as f64 / wanted - 1.0).abs() < 0.02, "{} of {wanted}", all.len());
    }
}
