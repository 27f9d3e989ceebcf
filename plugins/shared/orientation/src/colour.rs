//! Colours of directions in the crystal: the key of inverse pole figures.

use std::f64::consts::{PI, TAU};

use crate::quat::{Quat, apply};
use crate::symmetry::Symmetry;

/// The colour of a sample direction as seen from the crystal; equivalent orientations have equal colours.
///
/// Red is the pole (001), green and blue the other corners of the standard triangle; for cubic crystals 101 and 111.
pub fn inverse_pole_colour(symmetry: &Symmetry, q: &Quat, direction: [f64; 3]) -> [u8; 3] {
    let v = apply(&q.inverse().matrix(), direction);
    let count = symmetry.operators().len();
    let parts = if count == 12 && !has_six(symmetry) || count == 24 {
        let mut x = v.map(f64::abs);
        x.sort_by(f64::total_cmp);
        let [low, middle, high] = x;
        [high - middle, (middle - low) * 2f64.sqrt(), low * 3f64.sqrt()]
    } else {
        // The equivalent in the upper half with the smallest azimuth; the axis of the sector is z.
        let azimuth = |u: &[f64; 3]| u[1].atan2(u[0]).rem_euclid(TAU);
        let upper = symmetry.directions(v).filter(|u| u[2] >= -1e-12);
        let best = upper.min_by(|a, b| azimuth(a).total_cmp(&azimuth(b))).unwrap_or(v);
        let width = match count {
            1 => TAU,
            n => TAU / n as f64,
        };
        let share = (azimuth(&best) / width).clamp(0.0, 1.0);
        let polar = best[2].clamp(0.0, 1.0).acos() / (0.5 * PI);
        [1.0 - polar, polar * (1.0 - share), polar * share]
    };
    let most = parts.iter().copied().fold(1e-12, f64::max);
    // The square root spreads the colours around the corners.
    parts.map(|p| (255.0 * (p / most).max(0.0).sqrt()).round() as u8)
}

fn has_six(symmetry: &Symmetry) -> bool {
    symmetry.operators().iter().any(|s| (2.0 * s.0[0].abs().acos() - PI / 3.0).abs() < 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::group::SpaceGroup;

    #[test]
    fn corners_have_pure_colours_and_equivalents_one() {
        let cell = Cell::new([4.0, 4.0, 4.0, 90.0, 90.0, 90.0]).unwrap();
        let s = Symmetry::of(&SpaceGroup::new(225).unwrap(), &cell).unwrap();
        let of = |d: [f64; 3]| inverse_pole_colour(&s, &Quat::IDENTITY, d);
        let (two, three) = (0.5f64.sqrt(), (1.0f64 / 3.0).sqrt());
        assert_eq!(of([0.0, 1.0, 0.0]), [255, 0, 0]);
        assert_eq!(of([two, 0.0, -two]), [0, 255, 0]);
        assert_eq!(of([three; 3])[2], 255);
        let cell = Cell::new([3.0, 3.0, 5.0, 90.0, 90.0, 120.0]).unwrap();
        for group in [148, 164, 194] {
            let s = Symmetry::of(&SpaceGroup::new(group).unwrap(), &cell).unwrap();
            let q = Quat::from_euler([0.3, 0.7, 1.1]);
            let wanted = inverse_pole_colour(&s, &q, [0.0, 0.0, 1.0]);
            for op in s.operators() {
                assert_eq!(inverse_pole_colour(&s, &q.times(op), [0.0, 0.0, 1.0]), wanted, "{group}");
            }
        }
    }
}
