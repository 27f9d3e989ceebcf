//! All voxels of a layer: screening, refinement, and what neighbours have to say.

use std::sync::Mutex;

use isard_core::error::{Error, Result};
use isard_orientation::{Quat, Symmetry};

use crate::bits::{Score, Volume};
use crate::fit::base::Base;
use crate::fit::climb::{Climb, Peak, Scratch};
use crate::fit::view::{Bar, Field};
use crate::model::{Projector, Voxel};

/// Voxels of one piece of work.
const PIECE: usize = 16;
/// Seeds whose spots are kept at once.
const SEEDS: usize = 2048;
/// Steps of the refinement that starts from a neighbour, degrees.
const NEIGHBOUR: [f64; 4] = [0.1, 0.05, 0.025, 0.0125];

/// Runs `work(0) .. work(n-1)` in any order, perhaps at once.
pub type Par<'a> = dyn Fn(usize, &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> + 'a;

/// What the fit of a layer looks for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How far a voxel may be from its seed, degrees.
    pub tolerance: f64,
    /// Seeds of a lower confidence are not refined.
    pub accept: f64,
    /// Solutions that are kept for each voxel.
    pub solutions: usize,
    /// Solutions nearer than this to a better one are not kept, degrees.
    pub apart: f64,
    /// Whether neighbours propose their orientations.
    pub neighbours: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { tolerance: 2.0, accept: 0.04, solutions: 1, apart: 1.0, neighbours: true }
    }
}

/// One orientation that was found for a voxel.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    /// The orientation.
    pub orientation: Quat,
    /// How much of its prediction is lit.
    pub score: Score,
    /// The seed it comes from.
    pub seed: u32,
}

/// What was found for a voxel.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The orientations, the best first; none where no seed was accepted.
    pub matches: Vec<Match>,
    /// Seeds that were refined.
    pub candidates: u32,
}

impl Found {
    /// The best orientation.
    pub fn best(&self) -> Option<&Match> {
        self.matches.first()
    }

    /// The confidence of the best orientation; 0 without one.
    pub fn confidence(&self) -> f64 {
        self.best().map_or(0.0, |m| m.score.confidence())
    }
}

/// Fits the voxels of a layer.
pub struct LayerFit<'a> {
    pub(super) field: Field<'a>,
    pub(super) symmetry: &'a Symmetry,
    pub(super) limits: Limits,
    climb: Climb,
}

impl<'a> LayerFit<'a> {
    /// A fit of voxels to a volume.
    pub fn new(
        projector: &'a Projector,
        volume: &'a Volume,
        symmetry: &'a Symmetry,
        limits: Limits,
    ) -> LayerFit<'a> {
        let climb = Climb::new(limits.tolerance);
        LayerFit { field: Field::new(projector, volume), symmetry, limits, climb }
    }

    /// Seeds with their confidence at each voxel, for those that reach the accepted one; the best first.
    pub fn screen(&self, voxels: &[Voxel], seeds: &[Quat], par: &Par) -> Result<Vec<Vec<(f32, u32)>>> {
        let out: Vec<Mutex<Vec<(f32, u32)>>> = voxels.iter().map(|_| Mutex::default()).collect();
        for (part, some) in seeds.chunks(SEEDS).enumerate() {
            let bases = self.bases(some, par)?;
            par(voxels.len().div_ceil(PIECE), &|piece| {
                let mut scratch = Scratch::default();
                for v in piece * PIECE..voxels.len().min(piece * PIECE + PIECE) {
                    let mut kept = out[v].lock().map_err(|_| poisoned())?;
                    for (k, base) in bases.iter().enumerate() {
                        let view = scratch.view(&self.field, base, &voxels[v], false);
                        let score = view.score(&self.field, [0.0; 3], Bar::above(self.limits.accept));
                        let confidence = score.map_or(0.0, |s| s.confidence());
                        if confidence > 0.0 && confidence >= self.limits.accept {
                            kept.push((confidence as f32, (part * SEEDS + k) as u32));
                        }
                    }
                }
                Ok(())
            })?;
        }
        let mut lists = vec![];
        for list in out {
            let mut list = list.into_inner().map_err(|_| poisoned())?;
            list.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            lists.push(list);
        }
        Ok(lists)
    }

    /// The spots of seeds.
    fn bases(&self, seeds: &[Quat], par: &Par) -> Result<Vec<Base>> {
        let out: Vec<Mutex<Option<Base>>> = seeds.iter().map(|_| Mutex::default()).collect();
        par(seeds.len(), &|k| {
            *out[k].lock().map_err(|_| poisoned())? = Some(Base::new(self.field.projector, seeds[k]));
            Ok(())
        })?;
        out.into_iter().map(|b| b.into_inner().ok().flatten().ok_or_else(poisoned)).collect()
    }

    /// Fits every voxel from the seeds.
    pub fn fit(&self, voxels: &[Voxel], seeds: &[Quat], par: &Par) -> Result<Vec<Found>> {
        let found = self.alone(voxels, seeds, par)?;
        self.settled(voxels, found, par)
    }

    /// What was found after neighbours had their say, if they are asked.
    pub(super) fn settled(&self, voxels: &[Voxel], mut found: Vec<Found>, par: &Par) -> Result<Vec<Found>> {
        if self.limits.neighbours {
            let near = neighbours(voxels, 2.05);
            for _ in 0..2 {
                found = self.ask(voxels, &near, found, par)?;
            }
        }
        Ok(found)
    }

    /// Fits every voxel from the seeds, each for itself.
    pub(super) fn alone(&self, voxels: &[Voxel], seeds: &[Quat], par: &Par) -> Result<Vec<Found>> {
        let lists = self.screen(voxels, seeds, par)?;
        // Seeds that many voxels share are predicted once; in long lists each is rare.
        let shared = if seeds.len() <= SEEDS { self.bases(seeds, par)? } else { vec![] };
        let out: Vec<Mutex<Found>> = voxels.iter().map(|_| Mutex::default()).collect();
        par(voxels.len().div_ceil(PIECE), &|piece| {
            let mut scratch = Scratch::default();
            for v in piece * PIECE..voxels.len().min(piece * PIECE + PIECE) {
                let mut found = Found { candidates: lists[v].len() as u32, ..Found::default() };
                for (_, seed) in &lists[v] {
                    let own;
                    let base = match shared.get(*seed as usize) {
                        Some(base) => base,
                        None => {
                            own = Base::new(self.field.projector, seeds[*seed as usize]);
                            &own
                        }
                    };
                    let best = found.confidence();
                    if let Some(peak) = self.climb.refine(&self.field, &mut scratch, &voxels[v], base, best) {
                        self.keep(&mut found, peak, *seed);
                    }
                    if self.limits.solutions == 1 && found.confidence() > 1.0 - 1e-4 {
                        break;
                    }
                }
                self.settle(&mut scratch, &voxels[v], &mut found);
                *out[v].lock().map_err(|_| poisoned())? = found;
            }
            Ok(())
        })?;
        out.into_iter().map(|f| f.into_inner().map_err(|_| poisoned())).collect()
    }

    /// Centres the best solutions on their plateaus and sorts them by their exact confidences.
    fn settle(&self, scratch: &mut Scratch, voxel: &Voxel, found: &mut Found) {
        for m in found.matches.iter_mut().take(self.limits.solutions.max(1)) {
            let peak = Peak { orientation: m.orientation, score: m.score };
            let peak = self.climb.centre(&self.field, scratch, voxel, peak);
            (m.orientation, m.score) = (peak.orientation, peak.score);
        }
        found.matches.retain(|m| m.score.lit > 0);
        found.matches.sort_by(|a, b| b.score.confidence().total_cmp(&a.score.confidence()));
    }

    /// Takes a solution in if it is among the best; one near a better one is not.
    fn keep(&self, found: &mut Found, peak: Peak, seed: u32) {
        let confidence = peak.score.confidence();
        let near = |m: &Match| {
            self.symmetry.misorientation(&m.orientation, &peak.orientation) < self.limits.apart.to_radians()
        };
        if found.matches.iter().any(|m| near(m) && m.score.confidence() >= confidence) {
            return;
        }
        found.matches.retain(|m| !near(m));
        let at = found.matches.partition_point(|m| m.score.confidence() >= confidence);
        found.matches.insert(at, Match { orientation: peak.orientation, score: peak.score, seed });
        // One more than asked for: the runner-up says how sure the best is.
        found.matches.truncate(self.limits.solutions.max(1) + 1);
    }

    /// Tries the orientations of neighbours of the same grain as starts of a short walk.
    fn share<'n>(
        &self,
        scratch: &mut Scratch,
        voxel: &Voxel,
        found: &mut Found,
        near: impl Iterator<Item = &'n Found>,
    ) {
        let Some(own) = found.best().copied() else { return };
        let held = own.score.confidence();
        if held >= 1.0 {
            return;
        }
        let base = Base::new(self.field.projector, own.orientation);
        let view = scratch.view(&self.field, &base, voxel, true);
        let (mut start, mut reached) = (None, 0.9 * held);
        for other in near.filter_map(Found::best) {
            let q = self.symmetry.nearest(&other.orientation, &own.orientation);
            let turn = q.times(&own.orientation.inverse()).rotation_vector();
            let angle = turn.iter().map(|x| x * x).sum::<f64>().sqrt().to_degrees();
            if !(0.03..1.0).contains(&angle) {
                continue;
            }
            if let Some(s) = view.score(&self.field, turn, Bar::above(reached))
                && s.confidence() > reached
            {
                (start, reached) = (Some(q), s.confidence());
            }
        }
        let Some(start) = start else { return };
        let Some(peak) = self.climb.walk(&self.field, scratch, voxel, start, &NEIGHBOUR) else { return };
        if peak.score.confidence() < held {
            return;
        }
        let peak = self.climb.centre(&self.field, scratch, voxel, peak);
        if peak.score.confidence() > held
            && let Some(best) = found.matches.first_mut()
        {
            (best.orientation, best.score) = (peak.orientation, peak.score);
        }
    }

    /// Tries the orientations of neighbours that differ and explain more there.
    fn ask(&self, voxels: &[Voxel], near: &[Vec<u32>], before: Vec<Found>, par: &Par) -> Result<Vec<Found>> {
        let out: Vec<Mutex<Option<Found>>> = voxels.iter().map(|_| Mutex::default()).collect();
        par(voxels.len().div_ceil(PIECE), &|piece| {
            let mut scratch = Scratch::default();
            for v in piece * PIECE..voxels.len().min(piece * PIECE + PIECE) {
                let mut found = before[v].clone();
                self.share(
                    &mut scratch,
                    &voxels[v],
                    &mut found,
                    near[v].iter().map(|n| &before[*n as usize]),
                );
                let mut tried: Vec<Quat> = found.matches.iter().map(|m| m.orientation).collect();
                let mut asked = vec![];
                for n in &near[v] {
                    let Some(m) = before[*n as usize].best() else { continue };
                    if m.score.confidence() < self.limits.accept
                        || m.score.confidence() < 0.5 * found.confidence()
                    {
                        continue;
                    }
                    let differs =
                        |q: &Quat| self.symmetry.misorientation(q, &m.orientation) > 0.3f64.to_radians();
                    if tried.iter().all(differs) {
                        tried.push(m.orientation);
                        asked.push(*m);
                    }
                }
                for m in asked {
                    let base = Base::new(self.field.projector, m.orientation);
                    let held = found.confidence();
                    let view = scratch.view(&self.field, &base, &voxels[v], false);
                    // The neighbour's orientation must explain a good part as it stands.
                    let start = view.score(&self.field, [0.0; 3], Bar::above(0.5 * held));
                    if start.is_none_or(|s| s.confidence() < 0.5 * held) {
                        continue;
                    }
                    let peak =
                        self.climb.walk(&self.field, &mut scratch, &voxels[v], m.orientation, &NEIGHBOUR);
                    let Some(peak) = peak.filter(|p| p.score.confidence() >= held - 1e-9) else { continue };
                    let peak = self.climb.centre(&self.field, &mut scratch, &voxels[v], peak);
                    let confidence = peak.score.confidence();
                    // Between equals the one with more neighbours of its kind holds.
                    let kin = |q: &Quat| {
                        let alike = |n: &&u32| {
                            let other = before[**n as usize].best();
                            other.is_some_and(|o| self.symmetry.misorientation(q, &o.orientation) < 0.02)
                        };
                        near[v].iter().filter(alike).count()
                    };
                    let equal = (confidence - held).abs() < 1e-9;
                    let more = || found.best().is_none_or(|b| kin(&peak.orientation) > kin(&b.orientation));
                    if confidence > held + 1e-9 || equal && more() {
                        found.matches.insert(
                            0,
                            Match { orientation: peak.orientation, score: peak.score, seed: m.seed },
                        );
                        found.matches.truncate(self.limits.solutions.max(1) + 1);
                    }
                }
                *out[v].lock().map_err(|_| poisoned())? = Some(found);
            }
            Ok(())
        })?;
        out.into_iter().map(|f| f.into_inner().ok().flatten().ok_or_else(poisoned)).collect()
    }
}

/// The neighbours of each voxel: those within so many pitches.
pub(crate) fn neighbours(voxels: &[Voxel], pitches: f64) -> Vec<Vec<u32>> {
    let nearest = |a: &Voxel, skip: usize| {
        let others = voxels.iter().enumerate().filter(|(k, _)| *k != skip);
        others.map(|(_, b)| (a.x - b.x).hypot(a.y - b.y)).fold(f64::INFINITY, f64::min)
    };
    // The pitch from some voxels: all of them would take the square of their number.
    let step = voxels.len().div_ceil(16).max(1);
    let pitch =
        voxels.iter().enumerate().step_by(step).map(|(k, v)| nearest(v, k)).fold(f64::INFINITY, f64::min);
    if !pitch.is_finite() || pitch <= 0.0 {
        return vec![vec![]; voxels.len()];
    }
    let reach = pitches * pitch;
    let bin = |v: &Voxel| ((v.x / reach).floor() as i64, (v.y / reach).floor() as i64);
    let mut bins: std::collections::HashMap<(i64, i64), Vec<u32>> = std::collections::HashMap::new();
    for (k, v) in voxels.iter().enumerate() {
        bins.entry(bin(v)).or_default().push(k as u32);
    }
    let around = |v: &Voxel, own: usize| {
        let (bx, by) = bin(v);
        let mut out: Vec<u32> = vec![];
        for (dx, dy) in (0..9).map(|k| (k % 3 - 1, k / 3 - 1)) {
            let some = bins.get(&(bx + dx, by + dy)).map_or(&[][..], Vec::as_slice);
            out.extend(some.iter().filter(|k| {
                let other = &voxels[**k as usize];
                **k as usize != own && (v.x - other.x).hypot(v.y - other.y) <= reach
            }));
        }
        out.sort_unstable();
        out
    };
    voxels.iter().enumerate().map(|(k, v)| around(v, k)).collect()
}

fn poisoned() -> Error {
    Error::internal("a voxel was fitted by two threads")
}
