//! Closed loop: a detector that stands elsewhere than it was said to is found by the grains it saw.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Instant;

use isard_hedm::bits::{Painter, Scorer};
use isard_hedm::fit::{LayerFit, Limits};
use isard_hedm::geometry::{Point, Refinement, Tolerance, refine};
use isard_hedm::model::{
    Detector, Grid, Layout, Predictor, Projector, Rules, Scan, Voxel, Window, reflections,
};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};
use rayon::prelude::*;

fn projector(lsd: [f64; 2], beam: [[f64; 2]; 2], tilt: [f64; 3]) -> Projector {
    let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
    let list = reflections(&cell, &SpaceGroup::new(225).unwrap(), 0.172979, 5000.0, 1500.0, None).unwrap();
    let scan = Scan {
        start: 90.0,
        step: -0.25,
        frames: 720,
        windows: vec![Window { omega: [-90.0, 90.0], area: [-1300.0, 1300.0, 60.0, 1500.0] }],
        exclude_pole: 6.0,
        wedge: 0.0,
        rules: Rules::Right,
    };
    let detector = Detector::new(&lsd, &beam, tilt, 3.0, [1000, 700]);
    let predictor = Predictor::new(list, scan, lsd[0]);
    Projector { predictor, detector, wavelength: 0.172979, rules: Rules::Right }
}

#[test]
fn a_detector_that_was_moved_is_found_again() {
    let (lsd, beam, tilt) = ([5000.0, 6500.0], [[500.3, 9.2], [498.6, 11.7]], [0.25, -0.3, 0.2]);
    let truth = projector(lsd, beam, tilt);
    let voxels = Grid { radius: 60.0, size: 8.0, edge: 8.0, layout: Layout::Tiling }.voxels();
    let centres = [[-30.0, -25.0], [32.0, -15.0], [-5.0, 35.0], [40.0, 40.0], [-45.0, 30.0]];
    let angles = [[0.4, 0.7, 1.1], [2.3, 1.2, 0.2], [4.0, 0.4, 5.0], [1.0, 2.0, 3.0], [5.5, 1.5, 0.8]];
    let grains = angles.map(Quat::from_euler);
    let away = |v: &Voxel, k: usize| (v.x - centres[k][0]).hypot(v.y - centres[k][1]);
    let of = |v: &Voxel| (0..5).min_by(|a, b| away(v, *a).total_cmp(&away(v, *b))).unwrap();
    let mut painter = Painter::new(&truth);
    voxels.iter().for_each(|v| painter.add(&truth, v, &grains[of(v)]));
    let volume = painter.volume().unwrap();

    let start = projector([5015.0, 6509.0], [[501.4, 8.0], [497.4, 12.6]], [0.0; 3]);
    let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
    let symmetry = Symmetry::of(&SpaceGroup::new(225).unwrap(), &cell).unwrap();
    let par = |n: usize, work: &(dyn Fn(usize) -> isard_core::Result<()> + Sync)| {
        (0..n).into_par_iter().try_for_each(work)
    };
    let seeds: Vec<Quat> =
        grains.iter().map(|q| Quat::from_rotation_vector([0.003, -0.003, 0.002]).times(q)).collect();
    let fit = LayerFit::new(&start, &volume, &symmetry, Limits::default());
    let found = fit.fit(&voxels, &seeds, &par).unwrap();
    let points: Vec<Point> = voxels
        .iter()
        .zip(&found)
        .step_by(11)
        .filter_map(|(v, f)| f.best().map(|m| Point { voxel: *v, orientation: m.orientation }))
        .collect();
    let with = Refinement {
        tolerance: Tolerance { tilt: 1.0, distance: 50.0, difference: 15.0, beam: [3.0, 3.0] },
        rounds: 2,
        evaluations: 400,
        population: 10,
    };
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let begun = Instant::now();
    let refined = refine(&start, &volume, &points, &with, &par, &mut random).unwrap();
    let d = &refined.projector.detector;
    println!(
        "{} points, {:.1} s: confidence {:.4} to {:.4}; distances {:.1?}, beam {:.2?}, tilt {:.3?}",
        points.len(),
        begun.elapsed().as_secs_f64(),
        refined.confidence[0],
        refined.confidence[1],
        d.lsd,
        d.centre,
        d.tilt
    );
    println!("half a pixel is {:.3?}", refined.doubt);
    // What the confidence says about one tilt, orientations and all else as they are.
    let mut scorer = Scorer::default();
    for off in [-0.4, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.4] {
        let moved = projector(
            [d.lsd[0], d.lsd[1]],
            [d.centre[0], d.centre[1]],
            [d.tilt[0], tilt[1] + off, d.tilt[2]],
        );
        let sum: f64 = refined
            .points
            .iter()
            .map(|p| scorer.score(&moved, &volume, &p.voxel, &p.orientation.matrix()).confidence())
            .sum();
        println!("ty {off:+.2} degrees from the truth: confidence {:.4}", sum / refined.points.len() as f64);
    }
    assert!(refined.confidence[1] > refined.confidence[0] + 0.05 && refined.confidence[1] > 0.9);
    // A pixel is 3 um; at 1000 um from the beam it is 15 um of distance and 0.17 degrees of the tilt about the beam.
    assert!((0..2).all(|l| (d.lsd[l] - lsd[l]).abs() < 6.0), "{:?}", d.lsd);
    assert!((0..4).all(|k| (d.centre[k / 2][k % 2] - beam[k / 2][k % 2]).abs() < 0.5), "{:?}", d.centre);
    // Half a pixel of spots is 0.7 to 0.9 degrees of the other tilts, yet both flanks of the plateau tell them.
    assert!((0..3).all(|k| (d.tilt[k] - tilt[k]).abs() < 0.05), "{:?}", d.tilt);
    assert!(refined.doubt[1] > 0.3 && refined.doubt[1] < 3.0, "{:?}", refined.doubt);
    // What counts in the end: the spots of the grains fall where they were, within a pixel.
    let (mut sum, mut count) = (0.0, 0.0);
    for q in &grains {
        for (a, b) in
            truth.predictor.spots(&q.matrix()).iter().zip(refined.projector.predictor.spots(&q.matrix()))
        {
            let [p, r] = [(&truth, a), (&refined.projector, &b)].map(|(p, s)| p.detector.project(s.y, s.z));
            sum += (p[0] - r[0]).powi(2) + (p[1] - r[1]).powi(2);
            count += 1.0;
        }
    }
    let rms = (sum / count).sqrt();
    println!("spots fall {rms:.2} pixels from where they were");
    assert!(rms < 0.2, "{rms}");
}
