//! Closed loop: a known microstructure, noisy frames, reduction, fit, and back to the known orientations.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use isard_hedm::bits::{Painter, Volume};
use isard_hedm::fit::{LayerFit, Limits};
use isard_hedm::model::{
    Detector, Grid, Layout, Predictor, Projector, Rules, Scan, Voxel, Window, reflections,
};
use isard_hedm::reduce::{Cleaner, Settings, Worker, median_of_frames};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};

/// A crystal and a scan.
pub struct Case {
    pub name: &'static str,
    pub cell: [f64; 6],
    pub group: i64,
    pub distances: &'static [f64],
    pub size: [usize; 2],
    pub step: f64,
    pub windows: &'static [[f64; 2]],
    pub wedge: f64,
    pub tilt: [f64; 3],
}

fn projector(case: &Case) -> (Projector, Symmetry) {
    let cell = Cell::new(case.cell).unwrap();
    let group = SpaceGroup::of(case.group, &cell).unwrap();
    let list = reflections(&cell, &group, 0.18, case.distances[0], 700.0, None).unwrap();
    let area = [-600.0, 600.0, 40.0, 800.0];
    let frames = (180.0 / case.step.abs()).round() as usize;
    let scan = Scan {
        start: if case.step > 0.0 { -90.0 } else { 90.0 },
        step: case.step,
        frames,
        windows: case.windows.iter().map(|omega| Window { omega: *omega, area }).collect(),
        exclude_pole: 6.0,
        wedge: case.wedge,
        rules: Rules::Right,
    };
    let beam: Vec<[f64; 2]> = case.distances.iter().map(|_| [case.size[0] as f64 / 2.0 + 3.3, 6.2]).collect();
    let detector = Detector::new(case.distances, &beam, case.tilt, 5.0, case.size);
    let predictor = Predictor::new(list, scan, case.distances[0]);
    let symmetry = Symmetry::of(&group, &cell).unwrap();
    (Projector { predictor, detector, wavelength: 0.18, rules: Rules::Right }, symmetry)
}

/// The lit pixels of noisy frames that show these pixels.
fn reduced(painter: &mut Painter, projector: &Projector, state: &mut u32) -> Volume {
    let [columns, rows] = projector.detector.size;
    let (distances, count) = (projector.detector.distances(), projector.predictor.scan().frames);
    let mut random = |n: u32| {
        *state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (*state >> 8) % n
    };
    let mut volume = Volume::new(distances, count, projector.detector.size);
    for l in 0..distances {
        let frames: Vec<Vec<u16>> = (0..count)
            .map(|f| {
                // Noise of standard deviation 6 over a background of 100, as sums of three even numbers.
                let mut image: Vec<u16> =
                    (0..rows * columns).map(|_| (85 + random(11) + random(11) + random(11)) as u16).collect();
                for [y, z] in painter.pixels(l, f) {
                    let at = (rows - 1 - *z as usize) * columns + columns - 1 - *y as usize;
                    image[at] += 100 + random(200) as u16;
                }
                // Zingers.
                (0..3).for_each(|_| image[random((rows * columns) as u32) as usize] = 2000);
                image
            })
            .collect();
        let some: Vec<&[u16]> = frames.iter().take(60).map(Vec::as_slice).collect();
        let mut background = vec![0; rows * columns];
        median_of_frames(&some, &mut background);
        let settings = Settings { blanket: 40, radius: 0, edges: vec![], min_pixels: 2, matched: None };
        let (cleaner, mut worker) = (Cleaner::new(settings, &background, columns), Worker::default());
        for (f, frame) in frames.iter().enumerate() {
            let lit = cleaner.lit(frame, &mut worker);
            let pixels: Vec<[u32; 2]> =
                lit.into_iter().map(|(r, c, _)| [columns as u32 - 1 - c, rows as u32 - 1 - r]).collect();
            volume.fill(l, f, &pixels).unwrap();
        }
    }
    volume
}

/// The share of voxels inside grains that come back within a quarter of a degree.
pub fn recovered(case: &Case) -> f64 {
    let (projector, symmetry) = projector(case);
    let voxels = Grid { radius: 40.0, size: 10.0, edge: 10.0, layout: Layout::Tiling }.voxels();
    let centres = [[-20.0, -15.0], [22.0, -10.0], [0.0, 25.0]];
    let grains = [[0.4, 0.7, 1.1], [2.3, 1.2, 0.2], [4.0, 0.4, 5.0]].map(Quat::from_euler);
    let away = |v: &Voxel, k: usize| (v.x - centres[k][0]).hypot(v.y - centres[k][1]);
    let of = |v: &Voxel| (0..3).min_by(|a, b| away(v, *a).total_cmp(&away(v, *b))).unwrap();
    let mut painter = Painter::new(&projector);
    voxels.iter().for_each(|v| painter.add(&projector, v, &grains[of(v)]));
    let volume = reduced(&mut painter, &projector, &mut 17);
    let seeds: Vec<Quat> =
        grains.iter().map(|q| Quat::from_rotation_vector([0.004, -0.003, 0.004]).times(q)).collect();
    let fit = LayerFit::new(&projector, &volume, &symmetry, Limits::default());
    let found = fit.fit(&voxels, &seeds, &|n, work| (0..n).try_for_each(work)).unwrap();
    let (mut good, mut all) = (0, 0);
    for (v, f) in voxels.iter().zip(&found) {
        let own = of(v);
        // Voxels more than one cell from a border between grains.
        let gap =
            (0..3).filter(|k| *k != own).map(|k| away(v, k) - away(v, own)).fold(f64::INFINITY, f64::min);
        if gap < 20.0 {
            continue;
        }
        all += 1;
        let angle = f.best().map_or(f64::INFINITY, |m| symmetry.misorientation(&m.orientation, &grains[own]));
        good += usize::from(angle.to_degrees() < 0.25);
    }
    assert!(all > 20, "{}: {all} voxels", case.name);
    f64::from(good as u32) / f64::from(all as u32)
}
