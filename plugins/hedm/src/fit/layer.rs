//! All voxels of a layer: screening, refinement, and what neighbours have to say.

use std::collections::HashMap;
use std::sync::Mutex;

use isard_core::error::{Error, Result};
use isard_orientation::{Quat, Symmetry};

use crate::bits::{Score, Volume};
use crate::fit::base::Base;
use crate::fit::climb::{Climb, Peak, Scratch};
use crate::fit::patch::patches;
use crate::fit::screen::Screen;
use crate::fit::view::{Bar, Field};
use crate::model::{Projector, Voxel};

/// Voxels of one piece of work.
pub(super) const PIECE: usize = 16;
/// Voxels within so many pixels share the coarse search: their spots fall on the same pixels or those beside.
const PATCH: f64 = 2.5;
/// Patches of one piece of work.
const PATCHES: usize = 4;
/// A voxel of less than this share of the confidence of the one that led searches for itself.
const ALIKE: f64 = 0.7;
/// Standard deviations above the lit share that are no longer chance.
const CHANCE: f64 = 3.5;
/// Seeds whose spots are kept at once.
const SEEDS: usize = 2048;
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
    /// Whether a voxel at a border goes to the grain that leaves more traces there; asked after neighbours alone.
    pub borders: bool,
    /// Whether seeds that are no better than chance are not refined either.
    pub above_chance: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            tolerance: 2.0,
            accept: 0.04,
            solutions: 1,
            apart: 1.0,
            neighbours: true,
            borders: false,
            above_chance: false,
        }
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

/// Promising turns about seeds, by the number of the seed.
type Turns = HashMap<u32, Vec<[f64; 3]>>;

/// Fits the voxels of a layer.
pub struct LayerFit<'a> {
    pub(super) field: Field<'a>,
    pub(super) symmetry: &'a Symmetry,
    pub(super) limits: Limits,
    pub(super) climb: Climb,
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
        let volume = self.field.volume;
        let lit = match self.limits.above_chance {
            true => {
                let known = |l: &usize| (0..volume.frames()).any(|f| volume.known(*l, f));
                (0..volume.distances()).filter(known).map(|l| volume.share(l)).product::<f64>()
            }
            false => 0.0,
        };
        // What so many pixels that are lit by chance hardly reach.
        let chance = |spots: usize| lit + CHANCE * (lit * (1.0 - lit) / spots.max(1) as f64).sqrt();
        for (part, some) in seeds.chunks(SEEDS).enumerate() {
            let bases = self.bases(some, par)?;
            // Voxels of one pixel see an orientation by what is kept with it.
            let screens: Vec<Screen> = match self.field.whole {
                true => bases.iter().map(|base| Screen::new(&self.field, base)).collect(),
                false => vec![],
            };
            par(voxels.len().div_ceil(PIECE), &|piece| {
                let mut scratch = Scratch::default();
                let range = piece * PIECE..voxels.len().min(piece * PIECE + PIECE);
                let mut kept = vec![vec![]; range.len()];
                for (k, base) in bases.iter().enumerate() {
                    let accept = self.limits.accept.max(chance(base.spots()));
                    for (voxel, kept) in voxels[range.clone()].iter().zip(&mut kept) {
                        let narrow = voxel.edge <= self.field.projector.detector.pixel;
                        let score = match screens.get(k).filter(|_| narrow) {
                            Some(screen) => screen.score(&self.field, base, voxel, accept),
                            None => {
                                let view = scratch.view(&self.field, base, voxel, false);
                                view.score(&self.field, [0.0; 3], Bar::above(accept))
                            }
                        };
                        let confidence = score.map_or(0.0, |s| s.confidence());
                        if confidence > 0.0 && confidence >= accept {
                            kept.push((confidence as f32, (part * SEEDS + k) as u32));
                        }
                    }
                }
                for (v, kept) in range.zip(kept) {
                    out[v].lock().map_err(|_| poisoned())?.extend(kept);
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

    /// Fits every voxel from the seeds, each for itself.
    pub(super) fn alone(&self, voxels: &[Voxel], seeds: &[Quat], par: &Par) -> Result<Vec<Found>> {
        let lists = self.screen(voxels, seeds, par)?;
        // Seeds that many voxels share are predicted once; in long lists each is rare.
        let shared = if seeds.len() <= SEEDS { self.bases(seeds, par)? } else { vec![] };
        let out: Vec<Mutex<Found>> = voxels.iter().map(|_| Mutex::default()).collect();
        let patches = patches(voxels, PATCH * self.field.projector.detector.pixel);
        par(patches.len().div_ceil(PATCHES), &|piece| {
            let mut scratch = Scratch::default();
            for patch in &patches[piece * PATCHES..patches.len().min(piece * PATCHES + PATCHES)] {
                let (mut turns, mut led) = (Turns::new(), 0.0);
                for (k, v) in patch.iter().map(|v| *v as usize).enumerate() {
                    let mut try_voxel = |turns: &mut Turns, follow: bool| {
                        self.climbed(&mut scratch, &voxels[v], &lists[v], seeds, &shared, turns, follow)
                    };
                    let mut found = try_voxel(&mut turns, k > 0);
                    if k > 0 && found.confidence() < ALIKE * led {
                        // It is not like the one that led: it looks for itself.
                        found = try_voxel(&mut Turns::new(), false);
                    }
                    if k == 0 {
                        led = found.confidence();
                    }
                    *out[v].lock().map_err(|_| poisoned())? = found;
                }
            }
            Ok(())
        })?;
        out.into_iter().map(|f| f.into_inner().map_err(|_| poisoned())).collect()
    }

    /// What a voxel's list of seeds leads to.
    ///
    /// Without `follow` the promising turns about each seed are put into `turns`; with it they are taken from there.
    #[expect(clippy::too_many_arguments, reason = "they are what one voxel of a patch has to do with")]
    fn climbed(
        &self,
        scratch: &mut Scratch,
        voxel: &Voxel,
        list: &[(f32, u32)],
        seeds: &[Quat],
        shared: &[Base],
        turns: &mut Turns,
        follow: bool,
    ) -> Found {
        let mut found = Found { candidates: list.len() as u32, ..Found::default() };
        for (_, seed) in list {
            let own;
            let base = match shared.get(*seed as usize) {
                Some(base) => base,
                None => {
                    own = Base::new(self.field.projector, seeds[*seed as usize]);
                    &own
                }
            };
            let (field, best) = (&self.field, found.confidence());
            let known = turns.get(seed).filter(|_| follow);
            let peak = match known {
                Some(turns) => self.climb.refine_near(field, scratch, voxel, base, best, turns),
                None => {
                    let tops = self.climb.coarse(field, scratch, voxel, base, best);
                    let mut kept: Vec<[f64; 3]> = tops.iter().map(|t| t.1).collect();
                    let peak = self.climb.refine_from(field, scratch, voxel, base, best, tops);
                    if let Some(peak) = &peak {
                        kept.push(peak.orientation.times(&base.orientation.inverse()).rotation_vector());
                    }
                    turns.insert(*seed, kept);
                    peak
                }
            };
            if let Some(peak) = peak {
                self.keep(&mut found, peak, *seed);
            }
            if self.limits.solutions == 1 && found.confidence() > 1.0 - 1e-4 {
                break;
            }
        }
        self.settle(scratch, voxel, &mut found);
        found
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
}

pub(super) fn poisoned() -> Error {
    Error::internal("a voxel was fitted by two threads")
}
