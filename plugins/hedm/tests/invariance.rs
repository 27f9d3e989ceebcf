//! What must change nothing: the frame of the sample, equal orientations, the order of seeds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/random.rs"]
#[allow(dead_code, reason = "scans are not made noisy here")]
mod random;

use isard_hedm::bits::{Painter, Volume};
use isard_hedm::fit::{LayerFit, Limits};
use isard_hedm::model::{Predictor, Projector, Voxel, Window};
use isard_orientation::Quat;
use random::Case;

fn painted(projector: &Projector, voxels: impl Iterator<Item = (Voxel, Quat)>) -> Volume {
    let mut painter = Painter::new(projector);
    voxels.for_each(|(v, q)| painter.add(projector, &v, &q));
    painter.volume().unwrap()
}

/// How many lit pixels two volumes share, and how many either has.
fn shared(a: &Volume, b: &Volume) -> (usize, usize) {
    let (mut both, mut either) = (0, 0);
    for (l, f) in (0..a.distances()).flat_map(|l| (0..a.frames()).map(move |f| (l, f))) {
        let (p, q) = (a.pixels(l, f), b.pixels(l, f));
        let same = p.iter().filter(|x| q.binary_search(x).is_ok()).count();
        both += same;
        either += p.len() + q.len() - same;
    }
    (both, either)
}

#[test]
fn a_turned_sample_and_a_turned_start_give_the_same_bits() {
    // Voxels of one pixel turn by any angle; triangles of many by a third of a turn.
    for (case, degrees) in [(Case::orthorhombic(3), 37.3), (Case::hexagonal(3), 120.0)] {
        let projector = &case.projector;
        let turn = Quat::from_rotation_vector([0.0, 0.0, f64::to_radians(degrees)]);
        let (sin, cos) = f64::to_radians(degrees).sin_cos();
        let mut scan = projector.predictor.scan().clone();
        scan.start -= degrees;
        for w in &mut scan.windows {
            *w = Window { omega: w.omega.map(|o| o - degrees), ..*w };
        }
        let predictor =
            Predictor::new(projector.predictor.reflections().to_vec(), scan, projector.detector.lsd[0]);
        let turned = Projector { predictor, ..projector.clone() };
        let plain = painted(projector, case.truth.iter().map(|(v, _, q)| (*v, *q)));
        let moved = case.truth.iter().map(|(v, _, q)| {
            let (x, y) = (v.x * cos - v.y * sin, v.x * sin + v.y * cos);
            (Voxel { x, y, ..*v }, turn.times(q))
        });
        let (both, either) = shared(&plain, &painted(&turned, moved));
        // A spot on the border of a frame or a pixel may be rounded to the other side.
        assert!(both > 10_000 && either - both <= either / 1000, "{both} of {either}");
    }
}

#[test]
fn equal_orientations_give_the_same_bits() {
    let case = Case::hexagonal(4);
    let plain = painted(&case.projector, case.truth.iter().map(|(v, _, q)| (*v, *q)));
    let all = case.symmetry.operators();
    let equal = case.truth.iter().enumerate().map(|(k, (v, _, q))| (*v, q.times(&all[k % all.len()])));
    let (both, either) = shared(&plain, &painted(&case.projector, equal));
    assert!(all.len() == 12 && both > 10_000 && either - both <= either / 1000, "{both} of {either}");
}

#[test]
fn the_order_of_seeds_changes_nothing_but_their_numbers() {
    let case = Case::hexagonal(5);
    let volume = painted(&case.projector, case.truth.iter().map(|(v, _, q)| (*v, *q)));
    let voxels: Vec<Voxel> = case.truth.iter().map(|t| t.0).collect();
    let fit = LayerFit::new(&case.projector, &volume, &case.symmetry, Limits::default());
    let map = |seeds: &[Quat]| fit.fit(&voxels, seeds, &|n, work| (0..n).try_for_each(work)).unwrap();
    let (plain, n) = (map(&case.seeds), case.seeds.len() as u32);
    let backwards: Vec<Quat> = case.seeds.iter().rev().copied().collect();
    for (a, b) in plain.iter().zip(map(&backwards)) {
        let of = |f: &isard_hedm::fit::Found| f.best().map(|m| (m.orientation.0, m.score.lit, m.score.total));
        assert_eq!(of(a), of(&b));
        assert_eq!(a.best().map(|m| m.seed), b.best().map(|m| n - 1 - m.seed));
    }
}
