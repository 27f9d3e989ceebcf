//! Random scans of two kinds: hexagonal with three distances, and orthorhombic with a wedge and two windows; noisy frames
//! of them, their map, and how it compares with the truth.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "draw.rs"]
mod draw;

use std::f64::consts::TAU;

use isard_hedm::bits::{Painter, Scorer, Volume};
use isard_hedm::fit::{Found, LayerFit, Limits};
use isard_hedm::model::{
    Detector, Grid, Layout, Predictor, Projector, Rules, Scan, Voxel, Window, reflections,
};
use isard_hedm::reduce::{Cleaner, Settings, Worker, median_of_frames};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};

use draw::Draw;

/// A sample in a scan.
pub struct Case {
    pub projector: Projector,
    pub symmetry: Symmetry,
    /// Voxels with their grain and orientation.
    pub truth: Vec<(Voxel, usize, Quat)>,
    /// Points that grains grow from.
    pub centres: Vec<[f64; 2]>,
    pub radius: f64,
    pub seeds: Vec<Quat>,
    /// Orientations at the points, and how they bend over a micrometre.
    grains: Vec<Quat>,
    bend: f64,
    draw: Draw,
}

/// What the two kinds differ in.
struct Kind {
    cell: [f64; 6],
    group: i64,
    lsd: &'static [f64],
    windows: &'static [[f64; 6]],
    wedge: f64,
    step: f64,
    /// Radius, lattice and edge of voxels.
    sample: [f64; 3],
}

impl Case {
    /// Hexagonal, three distances, voxels of some twenty pixels.
    pub fn hexagonal(seed: u64) -> Case {
        let kind = Kind {
            cell: [2.95, 2.95, 4.68, 90.0, 90.0, 120.0],
            group: 194,
            lsd: &[5000.0, 6000.0, 7000.0],
            windows: &[[-90.0, 90.0, -680.0, 680.0, 40.0, 900.0]],
            wedge: 0.0,
            step: -0.25,
            sample: [110.0, 20.0, 20.0],
        };
        kind.case(seed)
    }

    /// Orthorhombic, a tilted axis, two windows, voxels of one pixel.
    pub fn orthorhombic(seed: u64) -> Case {
        let kind = Kind {
            cell: [4.76, 10.2, 5.98, 90.0, 90.0, 90.0],
            group: 62,
            lsd: &[5000.0, 6500.0],
            windows: &[[-90.0, -15.0, -700.0, 700.0, 40.0, 900.0], [10.0, 90.0, -650.0, 650.0, 60.0, 900.0]],
            wedge: 0.15,
            step: 0.25,
            sample: [70.0, 6.5, 3.0],
        };
        kind.case(seed)
    }

    /// The orientation of a grain at a voxel.
    fn bent(&self, grain: usize, v: &Voxel) -> Quat {
        let ([x, y], q) = (self.centres[grain], self.grains[grain]);
        let turn = [self.bend * (v.x - x), self.bend * (v.y - y), self.bend * (v.x - v.y)];
        Quat::from_rotation_vector(turn).times(&q)
    }

    /// The lit pixels without a camera in between.
    pub fn bare(&self) -> Volume {
        let mut painter = Painter::new(&self.projector);
        self.truth.iter().for_each(|(v, _, q)| painter.add(&self.projector, v, q));
        painter.volume().unwrap()
    }

    /// The distance of a voxel from the nearest border between grains.
    pub fn gap(&self, voxel: &Voxel) -> f64 {
        let mut away: Vec<([f64; 2], f64)> =
            self.centres.iter().map(|c| (*c, (voxel.x - c[0]).hypot(voxel.y - c[1]))).collect();
        away.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (own, first) = away[0];
        let gap = |(c, d): &([f64; 2], f64)| {
            let apart = (c[0] - own[0]).hypot(c[1] - own[1]);
            (d * d - first * first) / (2.0 * apart)
        };
        away[1..].iter().map(gap).fold(f64::INFINITY, f64::min)
    }

    /// The lit pixels of noisy frames.
    pub fn volume(&mut self, settings: &Settings) -> Volume {
        let projector = self.projector.clone();
        let [columns, rows] = projector.detector.size;
        let (distances, count) = (projector.detector.distances(), projector.predictor.scan().frames);
        let mut painter = Painter::new(&projector);
        self.truth.iter().for_each(|(v, _, q)| painter.add(&projector, v, q));
        let draw = &mut self.draw;
        let noise: Vec<f64> = (0..1 << 16).map(|_| draw.normal()).collect();
        let floor: Vec<f64> = (0..rows * columns)
            .map(|k| {
                100.0
                    * (1.0
                        + 0.3 * ((k % columns) as f64 / columns as f64 - 0.5)
                        + 0.1 * (k / columns) as f64 / rows as f64)
            })
            .collect();
        let hot: Vec<usize> =
            (0..rows * columns / 10_000).map(|_| draw.bits() as usize % (rows * columns)).collect();
        let side = (-2.0f64).exp();
        let mut volume = Volume::new(distances, count, projector.detector.size);
        for l in 0..distances {
            let mut shot = |f: usize| -> Vec<u16> {
                let mut image = floor.clone();
                for [y, z] in painter.pixels(l, f) {
                    let (row, column) = (rows as i64 - 1 - i64::from(*z), columns as i64 - 1 - i64::from(*y));
                    let counts = (100.0 + 200.0 * draw.unit()) / (1.0 + 2.0 * side).powi(2);
                    for (dr, dc) in (0..9).map(|k| (k / 3 - 1, k % 3 - 1)) {
                        let (r, c) = (row + dr, column + dc);
                        if (0..rows as i64).contains(&r) && (0..columns as i64).contains(&c) {
                            image[r as usize * columns + c as usize] +=
                                counts * side.powi((dr.abs() + dc.abs()) as i32);
                        }
                    }
                }
                (0..3).for_each(|_| image[draw.bits() as usize % (rows * columns)] += 1000.0);
                hot.iter().for_each(|at| image[*at] += 2000.0);
                let from = draw.bits() as usize;
                image
                    .iter()
                    .enumerate()
                    .map(|(k, m)| {
                        (m + m.sqrt() * noise[(from + k + k / columns * 977) & 0xffff]).round() as u16
                    })
                    .collect()
            };
            let first: Vec<Vec<u16>> = (0..60).map(&mut shot).collect();
            let some: Vec<&[u16]> = first.iter().map(Vec::as_slice).collect();
            let mut background = vec![0; rows * columns];
            median_of_frames(&some, &mut background);
            let (cleaner, mut worker) =
                (Cleaner::new(settings.clone(), &background, columns), Worker::default());
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

    /// The map of a volume.
    pub fn map(&self, volume: &Volume) -> Vec<Found> {
        self.map_within(volume, Limits::default())
    }

    /// The map of a volume within other limits.
    pub fn map_within(&self, volume: &Volume, limits: Limits) -> Vec<Found> {
        let voxels: Vec<Voxel> = self.truth.iter().map(|t| t.0).collect();
        let fit = LayerFit::new(&self.projector, volume, &self.symmetry, limits);
        fit.fit(&voxels, &self.seeds, &|n, work| (0..n).try_for_each(work)).unwrap()
    }

    /// How a map compares with the truth.
    pub fn quality(&self, volume: &Volume, found: &[Found]) -> Quality {
        let mut scorer = Scorer::default();
        let (mut angles, mut sum) = (vec![], 0.0);
        let mut out = Quality::default();
        for ((v, grain, q), f) in self.truth.iter().zip(found) {
            let angle =
                f.best().map_or(180.0, |m| self.symmetry.misorientation(&m.orientation, q).to_degrees());
            angles.push(angle);
            sum += f.confidence();
            let inner = self.gap(v) > 1.0 / 3f64.sqrt() * v.edge.max(6.5);
            out.inner += usize::from(inner);
            if angle < 0.25 {
                continue;
            }
            out.inner_wrong += usize::from(inner);
            let truth = scorer.score(&self.projector, volume, v, &q.matrix());
            out.missed += usize::from(truth.confidence() > f.confidence() + 1e-9);
            // What the grain that was found would explain there with the orientation that it has.
            let other = f.best().map_or(0.0, |m| {
                let near = |k: &usize| self.symmetry.misorientation(&self.grains[*k], &m.orientation);
                let k = (0..self.grains.len()).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
                let q = self.bent(k, v);
                scorer.score(&self.projector, volume, v, &q.matrix()).confidence()
            });
            out.told.push(format!(
                "{angle:7.2} degrees: {:.3} found ({other:.3} as that grain lies there), {:.3} ({}) at the truth, {:.1} from a border, {:.1} from the rim, grain {grain}",
                f.confidence(),
                truth.confidence(),
                truth.total,
                self.gap(v),
                self.radius - v.x.hypot(v.y),
            ));
        }
        angles.sort_by(f64::total_cmp);
        out.voxels = angles.len();
        out.median = angles[out.voxels / 2];
        out.poor = out.told.len();
        out.wrong = angles.iter().filter(|a| **a > 5.0).count();
        out.confidence = sum / out.voxels as f64;
        out
    }
}

/// How a map compares with the truth.
#[derive(Debug, Default)]
pub struct Quality {
    pub voxels: usize,
    pub confidence: f64,
    pub median: f64,
    /// Voxels that are a quarter of a degree off or more, and those that are five.
    pub poor: usize,
    pub wrong: usize,
    /// Of the poor ones those whose truth has the higher confidence.
    pub missed: usize,
    /// Voxels away from borders, and how many of them are poor.
    pub inner: usize,
    pub inner_wrong: usize,
    /// A line for each poor one.
    pub told: Vec<String>,
}

impl Kind {
    fn case(&self, seed: u64) -> Case {
        let mut draw = Draw(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let cell = Cell::new(self.cell).unwrap();
        let group = SpaceGroup::of(self.group, &cell).unwrap();
        let list = reflections(&cell, &group, 0.18, self.lsd[0], 800.0, None).unwrap();
        let scan = Scan {
            start: if self.step > 0.0 { -90.0 } else { 90.0 },
            step: self.step,
            frames: 720,
            windows: self
                .windows
                .iter()
                .map(|w| Window { omega: [w[0], w[1]], area: [w[2], w[3], w[4], w[5]] })
                .collect(),
            exclude_pole: 6.0,
            wedge: self.wedge + if self.wedge > 0.0 { draw.about(0.1) } else { 0.0 },
            rules: Rules::Right,
        };
        let beam: Vec<[f64; 2]> =
            self.lsd.iter().map(|_| [240.0 + draw.about(3.0), 6.0 + draw.about(2.0)]).collect();
        let tilt = [0; 3].map(|_| draw.about(0.5));
        let detector = Detector::new(self.lsd, &beam, tilt, 4.0, [480, 320]);
        let predictor = Predictor::new(list, scan, self.lsd[0]);
        let [radius, size, edge] = self.sample;
        let count = 4 + (3.0 * draw.unit()) as usize;
        let grains: Vec<([f64; 2], Quat)> = (0..count)
            .map(|_| {
                let (r, a) = (0.9 * radius * draw.unit().sqrt(), TAU * draw.unit());
                ([r * a.cos(), r * a.sin()], draw.rotation())
            })
            .collect();
        let bend = draw.about(0.15).to_radians() / 100.0;
        let voxels = Grid { radius, size, edge, layout: Layout::Tiling }.voxels();
        let away = |v: &Voxel, k: usize| (v.x - grains[k].0[0]).hypot(v.y - grains[k].0[1]);
        let truth = voxels.into_iter().filter(|v| v.x.hypot(v.y) <= 0.9 * radius).map(|v| {
            let own = (0..count).min_by(|a, b| away(&v, *a).total_cmp(&away(&v, *b))).unwrap();
            let ([x, y], q) = grains[own];
            let bent = [bend * (v.x - x), bend * (v.y - y), bend * (v.x - v.y)];
            (v, own, Quat::from_rotation_vector(bent).times(&q))
        });
        let truth = truth.collect();
        let near = Quat::from_rotation_vector([draw.about(0.004), draw.about(0.004), draw.about(0.004)]);
        let mut seeds: Vec<Quat> = grains.iter().map(|g| near.times(&g.1)).collect();
        // Grains that are not there.
        seeds.extend((0..4).map(|_| draw.rotation()));
        Case {
            projector: Projector { predictor, detector, wavelength: 0.18, rules: Rules::Right },
            symmetry: Symmetry::of(&group, &cell).unwrap(),
            truth,
            centres: grains.iter().map(|g| g.0).collect(),
            radius: 0.9 * radius,
            grains: grains.iter().map(|g| g.1).collect(),
            bend,
            seeds,
            draw,
        }
    }
}
