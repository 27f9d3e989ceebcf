//! Orientations that cover all of space evenly.

use crate::quat::Quat;
use crate::symmetry::Symmetry;

/// The positive root of x^4 = x + 4, which turns one of the two spirals.
const PSI: f64 = 1.533_751_168_755_204_3;

/// Orientations about `spacing` radians apart, one of each set that symmetry makes equal.
///
/// They number about 8 pi^2 / (spacing^3 rotations), and are the same each time.
///
/// Source: M. Alexa, Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3), CVPR 2022.
pub fn covering(symmetry: &Symmetry, spacing: f64) -> Vec<Quat> {
    let all = 8.0 * std::f64::consts::PI.powi(2) / spacing.powi(3);
    let n = all.ceil().max(1.0) as u64;
    let turn = std::f64::consts::TAU;
    let one = |k: u64| {
        let s = k as f64 + 0.5;
        let t = s / n as f64;
        let (a, b) = (turn * (s / 2f64.sqrt()).fract(), turn * (s / PSI).fract());
        Quat([t.sqrt() * a.sin(), t.sqrt() * a.cos(), (1.0 - t).sqrt() * b.sin(), (1.0 - t).sqrt() * b.cos()])
    };
    let kept = |q: &Quat| {
        // An orientation is kept if none that symmetry makes equal to it is turned less.
        symmetry.operators().iter().all(|s| {
            let ([a, b, c, d], [w, x, y, z]) = (q.0, s.0);
            (a * w - b * x - c * y - d * z).abs() <= a.abs() + 1e-12
        })
    };
    (0..n).map(one).filter(kept).collect()
}

/// How far the orientation that is worst off is from the nearest of a list, in radians, found among `tries`.
pub fn widest_gap(symmetry: &Symmetry, list: &[Quat], tries: usize) -> f64 {
    // A covering that has nothing to do with the list's.
    let near = (8.0 * std::f64::consts::PI.powi(2) / tries.max(1) as f64).cbrt();
    let probes = covering(&Symmetry::none(), near * 0.997);
    let nearest = |probe: &Quat| {
        let equal: Vec<Quat> = symmetry.operators().iter().map(|s| probe.times(s)).collect();
        let dot = |a: &Quat, b: &Quat| a.0.iter().zip(b.0).map(|(x, y)| x * y).sum::<f64>().abs();
        let best = list.iter().flat_map(|q| equal.iter().map(move |e| dot(q, e))).fold(0.0, f64::max);
        2.0 * best.min(1.0).acos()
    };
    probes.iter().take(tries).map(nearest).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, SpaceGroup};

    fn symmetry(group: i64, cell: [f64; 6]) -> Symmetry {
        let cell = Cell::new(cell).unwrap();
        Symmetry::of(&SpaceGroup::of(group, &cell).unwrap(), &cell).unwrap()
    }

    #[test]
    fn the_spiral_turns_by_the_root() {
        assert!((PSI.powi(4) - PSI - 4.0).abs() < 1e-12);
    }

    #[test]
    fn space_is_covered_whatever_the_symmetry() {
        let cases = [
            (1, [5.0, 6.0, 7.0, 80.0, 95.0, 100.0], 1.0),
            (15, [6.284, 15.2, 6.52, 90.0, 127.4, 90.0], 2.0),
            (194, [2.95, 2.95, 4.68, 90.0, 90.0, 120.0], 12.0),
            (225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0], 24.0),
        ];
        for (group, cell, rotations) in cases {
            let symmetry = symmetry(group, cell);
            let spacing = 12f64.to_radians();
            let list = covering(&symmetry, spacing);
            // The volume of the space of rotations is 8 pi^2 in units of the angle cubed.
            let wanted = 8.0 * std::f64::consts::PI.powi(2) / spacing.powi(3) / rotations;
            assert!((list.len() as f64 / wanted - 1.0).abs() < 0.1, "{group}: {} of {wanted}", list.len());
            assert!(list.iter().all(|q| symmetry.reduced(q).angle_to(q) < 1e-6));
            let gap = widest_gap(&symmetry, &list, 500);
            // The best covering known has its widest gap at 0.7 of the spacing.
            assert!(gap > 0.3 * spacing && gap < 1.2 * spacing, "{group}: {}", gap.to_degrees());
        }
    }
}
