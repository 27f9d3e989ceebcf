//! Closed loop: a known microstructure, noisy frames, reduction, fit, and back to the known orientations.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "not every test file uses all of it")]

#[path = "draw.rs"]
mod draw;

use std::f64::consts::TAU;

use isard_hedm::bits::{Painter, Scorer, Volume};
use isard_hedm::fit::{LayerFit, Limits};
use isard_hedm::model::{
    Detector, Grid, Layout, Predictor, Projector, Rules, Scan, Voxel, Window, reflections,
};
use isard_hedm::reduce::{Cleaner, Settings, Worker, median_of_frames};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};

use draw::Draw;

/// Whole half turns, and a half turn of which some is missing.
pub const WHOLE: &[[f64; 2]] = &[[-90.0, 90.0]];
pub const TWO: &[[f64; 2]] = &[[-90.0, -10.0], [15.0, 90.0]];

/// The edge of voxels, micrometres.
const EDGE: f64 = 10.0;
/// The radius of the sample.
const RADIUS: f64 = 40.0;

/// A crystal and a scan.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub cell: [f64; 6],
    pub group: i64,
    pub distances: Vec<f64>,
    pub beam: Vec<[f64; 2]>,
    pub size: [usize; 2],
    pub step: f64,
    pub windows: Vec<[f64; 2]>,
    pub wedge: f64,
    pub tilt: [f64; 3],
    /// What makes the sample and the camera.
    pub seed: u64,
}

/// How much of a map came back.
#[derive(Debug)]
pub struct Recovery {
    /// Voxels more than one cell from a border between grains.
    pub inner: usize,
    /// Those of them within a quarter of a degree.
    pub good: usize,
    /// Those of the others whose true orientation explains more than the one that was found.
    pub missed: usize,
    /// A line for each of the others.
    pub told: Vec<String>,
}

impl Recovery {
    /// The share that came back.
    pub fn share(&self) -> f64 {
        self.good as f64 / self.inner as f64
    }
}

impl Case {
    /// Two distances of a detector that is not square, half a turn, nothing tilted.
    pub fn plain(name: &str, group: i64, cell: [f64; 6]) -> Case {
        let size = [300, 200];
        Case {
            name: name.to_owned(),
            cell,
            group,
            distances: vec![3000.0, 4000.0],
            beam: vec![[size[0] as f64 / 2.0 + 3.3, 6.2]; 2],
            size,
            step: 0.5,
            windows: WHOLE.to_vec(),
            wedge: 0.0,
            tilt: [0.0; 3],
            seed: 0,
        }
    }

    /// The same crystal in a scan that a seed draws.
    pub fn drawn(&self, seed: u64) -> Case {
        // Each crystal has numbers of its own.
        let mut draw = Draw(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (self.group as u64) << 20);
        let count = 1 + draw.below(3);
        let mut distances = vec![draw.between(2800.0, 3400.0)];
        while distances.len() < count {
            distances.push(distances[distances.len() - 1] + draw.between(400.0, 900.0));
        }
        let size = [260 + draw.below(80), 180 + draw.below(60)];
        let middle = size[0] as f64 / 2.0;
        let beam = distances.iter().map(|_| [middle + draw.about(4.0), 6.0 + draw.about(2.0)]).collect();
        let cut = draw.about(40.0);
        let gap = draw.between(2.0, 12.0);
        let windows = match draw.below(2) {
            0 => WHOLE.to_vec(),
            _ => vec![[-90.0, cut - gap], [cut + gap, 90.0]],
        };
        Case {
            distances,
            beam,
            size,
            step: [0.5, -0.5, 0.25, -0.25][draw.below(4)],
            windows,
            wedge: [0.0, draw.about(0.3)][draw.below(2)],
            tilt: [0; 3].map(|_| draw.about(0.5)),
            seed,
            ..self.clone()
        }
    }

    /// What differs between drawn scans, in a line.
    pub fn features(&self) -> String {
        format!(
            "{} distances, {} x {} pixels, step {}, {} windows, wedge {:.2}, tilts {:.2?}",
            self.distances.len(),
            self.size[0],
            self.size[1],
            self.step,
            self.windows.len(),
            self.wedge,
            self.tilt
        )
    }
}

/// A crystal of every Laue class, each with something of its own about the scan.
pub fn classes() -> Vec<Case> {
    let case = Case::plain;
    // Cells of kyanite, gypsum, olivine, scheelite, rutile, dolomite, corundum, apatite, titanium, pyrite, gold.
    vec![
        Case { wedge: 0.1, ..case("-1", 2, [7.126, 7.852, 5.572, 89.99, 101.11, 106.03]) },
        Case { tilt: [0.3, -0.2, 0.1], ..case("2/m", 15, [6.284, 15.2, 6.52, 90.0, 127.4, 90.0]) },
        Case { windows: TWO.to_vec(), wedge: 0.1, ..case("mmm", 62, [4.76, 10.2, 5.98, 90.0, 90.0, 90.0]) },
        Case { step: -0.5, ..case("4/m", 88, [5.243, 5.243, 11.376, 90.0, 90.0, 90.0]) },
        Case {
            size: [260, 240],
            beam: vec![[133.3, 6.2]],
            ..case("4/mmm", 136, [4.594, 4.594, 2.959, 90.0, 90.0, 90.0])
        },
        Case {
            distances: vec![3000.0, 3500.0, 4000.0],
            ..case("-3", 148, [4.808, 4.808, 16.01, 90.0, 90.0, 120.0])
        },
        Case { tilt: [0.0, 0.4, -0.4], ..case("-3m", 167, [4.759, 4.759, 12.99, 90.0, 90.0, 120.0]) },
        Case { wedge: -0.1, ..case("6/m", 176, [9.42, 9.42, 6.88, 90.0, 90.0, 120.0]) },
        Case {
            step: -0.5,
            windows: TWO.to_vec(),
            ..case("6/mmm", 194, [2.95, 2.95, 4.68, 90.0, 90.0, 120.0])
        },
        Case { tilt: [0.2, 0.2, 0.2], ..case("m-3", 205, [5.416, 5.416, 5.416, 90.0, 90.0, 90.0]) },
        case("m-3m", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0]),
        Case {
            distances: vec![3500.0],
            ..case("m-3m, one distance", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0])
        },
    ]
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
    let beam: Vec<[f64; 2]> =
        case.distances.iter().enumerate().map(|(l, _)| case.beam[l.min(case.beam.len() - 1)]).collect();
    let detector = Detector::new(&case.distances, &beam, case.tilt, 5.0, case.size);
    let predictor = Predictor::new(list, scan, case.distances[0]);
    let symmetry = Symmetry::of(&group, &cell).unwrap();
    (Projector { predictor, detector, wavelength: 0.18, rules: Rules::Right }, symmetry)
}

/// The lit pixels of noisy frames that show these pixels.
fn reduced(painter: &mut Painter, projector: &Projector, draw: &mut Draw) -> Volume {
    let [columns, rows] = projector.detector.size;
    let (distances, count) = (projector.detector.distances(), projector.predictor.scan().frames);
    let mut volume = Volume::new(distances, count, projector.detector.size);
    for l in 0..distances {
        let mut shot = |f: usize| -> Vec<u16> {
            // Noise of standard deviation 5.5 over a background of 100, as sums of three even numbers.
            let mut noise = || {
                let bits = draw.bits();
                85 + [0, 16, 32].map(|k| ((((bits >> k) & 0xffff) * 11) >> 16) as u16).iter().sum::<u16>()
            };
            let mut image: Vec<u16> = (0..rows * columns).map(|_| noise()).collect();
            for [y, z] in painter.pixels(l, f) {
                let at = (rows - 1 - *z as usize) * columns + columns - 1 - *y as usize;
                image[at] += 100 + draw.below(200) as u16;
            }
            // Zingers.
            (0..3).for_each(|_| image[draw.below(rows * columns)] = 2000);
            image
        };
        let first: Vec<Vec<u16>> = (0..60).map(&mut shot).collect();
        let some: Vec<&[u16]> = first.iter().map(Vec::as_slice).collect();
        let mut background = vec![0; rows * columns];
        median_of_frames(&some, &mut background);
        let settings = Settings { blanket: 40, radius: 0, edges: vec![], min_pixels: 2, matched: None };
        let (cleaner, mut worker) = (Cleaner::new(settings, &background, columns), Worker::default());
        for f in 0..count {
            let later;
            let frame = match first.get(f) {
                Some(frame) => frame,
                None => {
                    later = shot(f);
                    &later
                }
            };
            let lit = cleaner.lit(frame, &mut worker);
            let pixels: Vec<[u32; 2]> =
                lit.into_iter().map(|(r, c, _)| [columns as u32 - 1 - c, rows as u32 - 1 - r]).collect();
            volume.fill(l, f, &pixels).unwrap();
        }
    }
    volume
}

/// Grains: where each grows from, and its orientation.
fn grains(seed: u64, draw: &mut Draw) -> Vec<([f64; 2], Quat)> {
    if seed == 0 {
        let centres = [[-20.0, -15.0], [22.0, -10.0], [0.0, 25.0]];
        let angles = [[0.4, 0.7, 1.1], [2.3, 1.2, 0.2], [4.0, 0.4, 5.0]];
        return centres.into_iter().zip(angles.map(Quat::from_euler)).collect();
    }
    let mut out: Vec<([f64; 2], Quat)> = vec![];
    let count = 2 + draw.below(3);
    while out.len() < count {
        let (r, a) = (0.8 * RADIUS * draw.unit().sqrt(), TAU * draw.unit());
        let at = [r * a.cos(), r * a.sin()];
        // Grains of less than a few cells have no inner voxel.
        if out.iter().all(|(o, _)| (o[0] - at[0]).hypot(o[1] - at[1]) > 25.0) {
            out.push((at, draw.rotation()));
        }
    }
    out
}

/// How much of a known microstructure comes back from noisy frames of it.
pub fn recovered(case: &Case) -> Recovery {
    let (projector, symmetry) = projector(case);
    let voxels = Grid { radius: RADIUS, size: EDGE, edge: EDGE, layout: Layout::Tiling }.voxels();
    let mut draw = Draw(17 + case.seed);
    let grains = grains(case.seed, &mut draw);
    let away = |v: &Voxel, k: usize| (v.x - grains[k].0[0]).hypot(v.y - grains[k].0[1]);
    let of = |v: &Voxel| (0..grains.len()).min_by(|a, b| away(v, *a).total_cmp(&away(v, *b))).unwrap();
    // How far a voxel is from the nearest border.
    let gap = |v: &Voxel| {
        let own = of(v);
        let one = |k: usize| {
            let apart = (grains[k].0[0] - grains[own].0[0]).hypot(grains[k].0[1] - grains[own].0[1]);
            (away(v, k).powi(2) - away(v, own).powi(2)) / (2.0 * apart)
        };
        (0..grains.len()).filter(|k| *k != own).map(one).fold(f64::INFINITY, f64::min)
    };
    let mut painter = Painter::new(&projector);
    voxels.iter().for_each(|v| painter.add(&projector, v, &grains[of(v)].1));
    let volume = reduced(&mut painter, &projector, &mut draw);
    let turn = [0.004, -0.003, 0.004].map(|x| if case.seed == 0 { x } else { draw.about(0.004) });
    let mut seeds: Vec<Quat> =
        grains.iter().map(|(_, q)| Quat::from_rotation_vector(turn).times(q)).collect();
    // Grains that are not there.
    seeds.extend((0..3).map(|_| draw.rotation()));
    let fit = LayerFit::new(&projector, &volume, &symmetry, Limits::default());
    let found = fit.fit(&voxels, &seeds, &|n, work| (0..n).try_for_each(work)).unwrap();
    let mut scorer = Scorer::default();
    let mut out = Recovery { inner: 0, good: 0, missed: 0, told: vec![] };
    for (v, f) in voxels.iter().zip(&found).filter(|(v, _)| gap(v) > EDGE) {
        let truth = grains[of(v)].1;
        let angle = f.best().map_or(180.0, |m| symmetry.misorientation(&m.orientation, &truth).to_degrees());
        out.inner += 1;
        if angle < 0.25 {
            out.good += 1;
            continue;
        }
        let score = scorer.score(&projector, &volume, v, &truth.matrix());
        out.missed += usize::from(score.confidence() > f.confidence() + 1e-9);
        out.told.push(format!(
            "{angle:7.2} degrees: {:.3} found, {:.3} of {} pixels at the truth, {:.1} from a border, grain {}",
            f.confidence(),
            score.confidence(),
            score.total,
            gap(v),
            of(v)
        ));
    }
    assert!(out.inner > 20, "{}: {} voxels", case.name, out.inner);
    out
}
