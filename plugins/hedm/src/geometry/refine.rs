//! The geometry under which voxels of known orientation are explained best.

use std::collections::HashMap;
use std::sync::Mutex;

use isard_core::error::{Error, Result};
use isard_orientation::Quat;

use crate::bits::Volume;
use crate::fit::{Bar, Base, Climb, Field, Par, Peak, Scratch};
use crate::geometry::seek::{Place, controlled_search, nelder_mead};
use crate::model::{Detector, Projector, Voxel};

/// Steps of the walk of an orientation under a new geometry, degrees.
const WALK: [f64; 5] = [0.2, 0.1, 0.05, 0.025, 0.0125];
/// How far lit pixels are spread, in pixels, for the value that the wide searches look at: a shift that leaves the lit
/// pixels alone is a step on the way there.
const SPREAD: [u32; 3] = [2, 5, 10];
/// What a frame weighs against a pixel where orientations follow: a spot is in its frame or not, while a shift by a pixel
/// leaves most of a grain lit.
const FRAME: f64 = 20.0;
/// Orientations nearer than this are of one kind, degrees, and how many kinds are offered to every point.
const KIND: f64 = 1.0;
const KINDS: usize = 12;
/// How often the middle of the plateau is looked for, and the share of the confidence that it may cost.
const CENTRED: usize = 2;
pub(super) const COST: f64 = 2e-3;
/// The turn that derivatives are taken with, radians, and the same for the geometry, as a share of its box.
const TURN: f64 = 1e-4;
pub(super) const SHARE: f64 = 1e-3;

/// How far the geometry may be from where it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Tilts, degrees.
    pub tilt: f64,
    /// The first distance, micrometres.
    pub distance: f64,
    /// Differences of neighbouring distances, micrometres.
    pub difference: f64,
    /// Beam positions in Y and Z, pixels.
    pub beam: [f64; 2],
}

/// How the geometry is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refinement {
    /// How far it may be from where it starts.
    pub tolerance: Tolerance,
    /// Rounds of simplex and random searches.
    pub rounds: usize,
    /// Evaluations of each search at most.
    pub evaluations: usize,
    /// Points of a population for each parameter; 0 leaves random searches out.
    pub population: usize,
}

/// A voxel with its orientation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The voxel.
    pub voxel: Voxel,
    /// Its orientation.
    pub orientation: Quat,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Refined {
    /// The experiment with the detector where it was found to stand.
    pub projector: Projector,
    /// The points with their orientations under it.
    pub points: Vec<Point>,
    /// The mean confidence of the points before and after.
    pub confidence: [f64; 2],
    /// How far each may be off until spots shift by half a pixel in the root mean square, all else following.
    ///
    /// Tilts in degrees, the first distance and the differences in micrometres, the beam in Y and then in Z in pixels.
    pub doubt: Vec<f64>,
}

/// Refines the detector of a projector so that points are explained as well as can be.
///
/// Orientations follow the geometry: for each trial they are turned as the least squares of their spots' shifts have it,
/// so that detector and grains are not moved against each other one at a time; after each search they are refined for
/// themselves.
pub fn refine(
    projector: &Projector,
    volume: &Volume,
    points: &[Point],
    with: &Refinement,
    par: &Par,
    random: &mut dyn FnMut() -> f64,
) -> Result<Refined> {
    let n = 3 + 3 * projector.detector.distances();
    let wide = SPREAD.iter().map(|reach| volume.spread(*reach)).collect::<Result<Vec<Volume>>>()?;
    let search = Search { start: projector, volume, wide: &wide, tolerance: with.tolerance, par, n };
    let before = search.mean(projector, points)?;
    let mut best = (vec![0.0; n], points.to_vec(), search.smooth(projector, points)?);
    // The spread pixels lead near; those that are lit alone say where.
    for (smooth, rounds) in [(true, with.rounds), (false, with.rounds)] {
        let value = |projector: &Projector, points: &[Point]| match smooth {
            true => search.smooth(projector, points),
            false => search.mean(projector, points),
        };
        best.2 = value(&search.projector(&best.0), &best.1)?;
        for round in 0..rounds {
            let reached = best.2;
            // Wide steps first; later rounds look around what was found.
            let step = if smooth { 0.5 } else { 0.1 } * 0.5f64.powi(round as i32);
            let plan = match smooth {
                true => &[(0, 1.0), (50, 0.0), (0, 0.5), (10, 0.0), (0, 0.25)][..],
                false => &[(0, 1.0), (0, 0.5)][..],
            };
            for (size, share) in plan {
                let population = size * with.population * (n + 2) / 50;
                if *size > 0 && population == 0 {
                    continue;
                }
                let follow = search.follow(&best.0, &best.1)?;
                let mut cost = |at: &[f64]| -> Result<f64> {
                    let moved = search.projector(at);
                    Ok(1.0 - value(&moved, &search.turned(&best.0, at, &best.1, &follow))?)
                };
                let start: Place = (best.0.clone(), 1.0 - best.2);
                let (at, _) = match size {
                    0 => nelder_mead(&mut cost, start, share * step, with.evaluations)?,
                    _ => controlled_search(&mut cost, start, population, with.evaluations, random)?,
                };
                let moved = search.projector(&at);
                let turned = search.turned(&best.0, &at, &best.1, &follow);
                // Orientations that were walked by the lit pixels alone are taken where that does not cost.
                for points in [search.walk(&moved, &turned)?, turned] {
                    let reached = value(&moved, &points)?;
                    if reached > best.2 {
                        best = (at.clone(), points, reached);
                    }
                }
            }
            if best.2 - reached < 1e-7 {
                break;
            }
        }
    }
    best.2 = search.mean(&search.projector(&best.0), &best.1)?;
    // The searches end somewhere on the plateau.
    for _ in 0..CENTRED {
        let (at, points) = search.centre(&best.0, &best.1)?;
        let moved = search.projector(&at);
        let walked = search.walk(&moved, &points)?;
        let reached = search.mean(&moved, &walked)?;
        if reached < (1.0 - COST) * best.2 {
            break;
        }
        best = (at, walked, reached);
    }
    let count = projector.detector.distances();
    let unit = |j: usize| match j {
        0..3 => with.tolerance.tilt,
        3 => with.tolerance.distance,
        _ if j < 3 + count => with.tolerance.difference,
        _ => with.tolerance.beam[(j - 3 - count) / count],
    };
    let doubt = search.doubt(&best.0, &best.1)?;
    let doubt = doubt.iter().enumerate().map(|(j, d)| d * unit(j)).collect();
    let found = search.projector(&best.0);
    Ok(Refined { projector: found, points: best.1, confidence: [before, best.2], doubt })
}

/// The shift of a spot by frames and pixels, by reflection and side.
pub(super) type Spots = HashMap<(usize, bool), Vec<f64>>;

pub(super) struct Search<'a> {
    pub(super) start: &'a Projector,
    volume: &'a Volume,
    /// The volume with its lit pixels spread.
    wide: &'a [Volume],
    tolerance: Tolerance,
    par: &'a Par<'a>,
    /// How many parameters the geometry has.
    pub(super) n: usize,
}

impl Search<'_> {
    /// The experiment for parameters from -1 to 1: tilts, first distance, differences, beam in Y and in Z.
    pub(super) fn projector(&self, at: &[f64]) -> Projector {
        let (old, t) = (&self.start.detector, &self.tolerance);
        let count = old.distances();
        let tilt = [0, 1, 2].map(|k| old.tilt[k] + at[k] * t.tilt);
        let mut lsd = old.lsd.clone();
        let mut shift = 0.0;
        for (l, lsd) in lsd.iter_mut().enumerate() {
            shift += at[3 + l] * if l == 0 { t.distance } else { t.difference };
            *lsd += shift;
        }
        let centre: Vec<[f64; 2]> = (0..count)
            .map(|l| [0, 1].map(|k| old.centre[l][k] + at[3 + count * (1 + k) + l] * t.beam[k]))
            .collect();
        let detector = Detector::new(&lsd, &centre, tilt, old.pixel, old.size).with_rays(old.exact);
        let predictor = self.start.predictor.at_distance(lsd[0]);
        Projector { predictor, detector, ..self.start.clone() }
    }

    /// The mean confidence of points.
    pub(super) fn mean(&self, projector: &Projector, points: &[Point]) -> Result<f64> {
        self.over(&[self.volume], projector, points)
    }

    /// The mean of the confidences with lit pixels as they are and spread.
    fn smooth(&self, projector: &Projector, points: &[Point]) -> Result<f64> {
        let all: Vec<&Volume> = std::iter::once(self.volume).chain(self.wide).collect();
        self.over(&all, projector, points)
    }

    fn over(&self, volumes: &[&Volume], projector: &Projector, points: &[Point]) -> Result<f64> {
        let sum = self.each(points, |scratch, point| {
            let base = Base::new(projector, point.orientation);
            let mut sum = 0.0;
            for volume in volumes {
                let field = Field::new(projector, volume);
                let view = scratch.view(&field, &base, &point.voxel, false);
                sum += view.score(&field, [0.0; 3], Bar::NONE).map_or(0.0, |s| s.confidence());
            }
            Ok(sum)
        })?;
        Ok(sum.iter().sum::<f64>() / (points.len() * volumes.len()).max(1) as f64)
    }

    /// The points with orientations that explain more: near those they have, or those that several others have.
    ///
    /// Under a wrong geometry some points took orientations that mean nothing.
    fn walk(&self, projector: &Projector, points: &[Point]) -> Result<Vec<Point>> {
        let mut kinds: Vec<(Quat, usize)> = vec![];
        for p in points {
            match kinds.iter_mut().find(|k| k.0.angle_to(&p.orientation) < KIND.to_radians()) {
                Some(kind) => kind.1 += 1,
                None => kinds.push((p.orientation, 1)),
            }
        }
        kinds.sort_by_key(|k| std::cmp::Reverse(k.1));
        kinds.retain(|k| k.1 > 1);
        kinds.truncate(KINDS);
        let climb = Climb::new(0.5);
        self.each(points, |scratch, point| {
            let field = Field::new(projector, self.volume);
            let mut best: Option<Peak> = None;
            for from in std::iter::once(point.orientation).chain(kinds.iter().map(|k| k.0)) {
                let peak = climb.walk(&field, scratch, &point.voxel, from, &WALK);
                let held = best.map_or(0.0, |b| b.score.confidence());
                best = peak.filter(|p| p.score.confidence() > held).or(best);
            }
            let Some(peak) = best else { return Ok(*point) };
            let peak = climb.centre(&field, scratch, &point.voxel, peak);
            Ok(Point { orientation: peak.orientation, ..*point })
        })
    }

    /// How orientations turn with each parameter, by least squares over their spots.
    pub(super) fn follow(&self, at: &[f64], points: &[Point]) -> Result<Vec<Vec<[f64; 3]>>> {
        let here = self.projector(at);
        let moved: Vec<Projector> = (0..self.n)
            .map(|j| {
                let mut at = at.to_vec();
                at[j] += SHARE;
                self.projector(&at)
            })
            .collect();
        self.each(points, |_, point| {
            let q = point.orientation;
            let base = spots(&here, &q);
            let turns = [0, 1, 2].map(|k| {
                let mut v = [0.0; 3];
                v[k] = TURN;
                slopes(&base, &spots(&here, &Quat::from_rotation_vector(v).times(&q)), TURN)
            });
            let mut normal = [[0.0; 3]; 3];
            for (i, j) in (0..9).map(|k| (k / 3, k % 3)) {
                normal[i][j] = product(&turns[i], &turns[j]);
            }
            Ok(moved
                .iter()
                .map(|projector| {
                    let shift = slopes(&base, &spots(projector, &q), SHARE);
                    let right = [0, 1, 2].map(|i| -product(&turns[i], &shift));
                    solve(normal, right)
                })
                .collect())
        })
    }

    /// Points turned as they follow the geometry from one place to another.
    pub(super) fn turned(
        &self,
        from: &[f64],
        to: &[f64],
        points: &[Point],
        follow: &[Vec<[f64; 3]>],
    ) -> Vec<Point> {
        let one = |(point, follow): (&Point, &Vec<[f64; 3]>)| {
            let turn = [0, 1, 2].map(|k| (0..self.n).map(|j| follow[j][k] * (to[j] - from[j])).sum::<f64>());
            Point { orientation: Quat::from_rotation_vector(turn).times(&point.orientation), ..*point }
        };
        points.iter().zip(follow).map(one).collect()
    }

    /// What `work` gives for each point, in order.
    pub(super) fn each<T: Send>(
        &self,
        points: &[Point],
        work: impl Fn(&mut Scratch, &Point) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let pieces: Vec<&[Point]> = points.chunks(8).collect();
        let out: Vec<Mutex<Vec<T>>> = pieces.iter().map(|_| Mutex::new(vec![])).collect();
        (self.par)(pieces.len(), &|k| {
            let mut scratch = Scratch::default();
            let done = pieces[k].iter().map(|p| work(&mut scratch, p)).collect::<Result<Vec<T>>>()?;
            *out[k].lock().map_err(|_| twice())? = done;
            Ok(())
        })?;
        let mut all = vec![];
        for part in out {
            all.extend(part.into_inner().map_err(|_| twice())?);
        }
        Ok(all)
    }
}

/// Where the spots of an orientation fall: the frame, and the pixels of each distance.
pub(super) fn spots(projector: &Projector, q: &Quat) -> Spots {
    let (scan, detector) = (projector.predictor.scan(), &projector.detector);
    let mut out = Spots::new();
    for spot in projector.predictor.spots(&q.matrix()) {
        let omega = scan.tilted(spot.y, spot.z, spot.omega, detector.lsd[0], projector.wavelength);
        let Some(frame) = scan.place(omega) else { continue };
        let first = detector.project(spot.y, spot.z);
        let mut row = vec![FRAME * frame];
        (0..detector.distances()).for_each(|l| row.extend(detector.at_distance(first, l)));
        out.insert((spot.reflection, spot.y > 0.0), row);
    }
    out
}

/// How spots shift from one prediction to another, per unit.
pub(super) fn slopes(from: &Spots, to: &Spots, step: f64) -> Spots {
    let both = from.iter().filter_map(|(key, a)| to.get(key).map(|b| (*key, a, b)));
    both.filter(|(_, a, b)| (a[0] - b[0]).abs() < FRAME)
        .map(|(key, a, b)| (key, a.iter().zip(b).map(|(a, b)| (b - a) / step).collect()))
        .collect()
}

/// The sum of products over the spots of both; in the order of keys, so that it is the same each time.
pub(super) fn product(a: &Spots, b: &Spots) -> f64 {
    let mut keys: Vec<_> = a.keys().filter(|k| b.contains_key(*k)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|k| a[k].iter().zip(&b[k]).map(|(x, y)| x * y).sum::<f64>()).sum()
}

/// The solution of three linear equations; zero where they do not say.
fn solve(m: [[f64; 3]; 3], right: [f64; 3]) -> [f64; 3] {
    let det = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = det(m);
    let scale = m[0][0] * m[1][1] * m[2][2];
    if whole.is_nan() || whole.abs() <= 1e-9 * scale.abs() {
        return [0.0; 3];
    }
    [0, 1, 2].map(|k| {
        let mut with = m;
        (0..3).for_each(|row| with[row][k] = right[row]);
        det(with) / whole
    })
}

fn twice() -> Error {
    Error::internal("a point was worked on by two threads")
}
