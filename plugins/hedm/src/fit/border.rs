//! Which of two grains a voxel at their border belongs to.

use std::sync::Mutex;

use isard_core::error::Result;

use crate::bits::Scorer;
use crate::fit::climb::{POOR, Peak, Scratch};
use crate::fit::kin::NEIGHBOUR;
use crate::fit::layer::{Found, LayerFit, Match, PIECE, Par, poisoned};
use crate::model::Voxel;

/// Orientations further apart belong to different grains, degrees.
const DIFFERS: f64 = 0.3;
/// How often voxels at borders are asked; one that changed may change those beside it.
const ROUNDS: usize = 3;

/// By how much the other grain must be ahead: on exact bits a voxel of the gold example was lost at a third of it.
const MARGIN: f64 = 0.01;

/// A map whose voxels at borders are weighed.
struct Weighed<'m> {
    voxels: &'m [Voxel],
    near: &'m [Vec<u32>],
    found: Vec<Found>,
    /// How much of each voxel's prediction there are traces of, where somebody asked.
    traces: Vec<Option<f64>>,
}

impl LayerFit<'_> {
    /// Gives voxels at borders to the grain that leaves more traces there, as its voxels beside go.
    ///
    /// A median of 3 x 3 pixels takes the ends off thin spots and rounds their corners, so that the lit share of a voxel at a
    /// border may be larger for the grain on the other side. Two things tell still: pixels beside lit ones, and that grains
    /// with thin spots are dimmer everywhere, so each is measured by what it is at its neighbours of the same grain.
    /// Voxels that explain all their pixels stay: where no filter took anything off, this changes nothing.
    pub(super) fn bordered(
        &self,
        voxels: &[Voxel],
        near: &[Vec<u32>],
        found: Vec<Found>,
        par: &Par,
    ) -> Result<Vec<Found>> {
        let mut map = Weighed { voxels, near, found, traces: vec![None; voxels.len()] };
        let mut asked: Vec<usize> = (0..voxels.len()).collect();
        for _ in 0..ROUNDS {
            asked.retain(|v| self.at_border(&map, *v));
            let mut wanted: Vec<usize> = asked
                .iter()
                .flat_map(|v| near[*v].iter().map(|n| *n as usize))
                .chain(asked.clone())
                .collect();
            wanted.sort_unstable();
            wanted.dedup();
            wanted.retain(|v| map.traces[*v].is_none());
            let new = each(&wanted, par, |_, scorer, v| {
                let q = map.found[v].best()?.orientation;
                Some(scorer.traces(self.field.projector, self.field.volume, &voxels[v], &q.matrix()).1)
            })?;
            for (v, traces) in wanted.iter().zip(new) {
                map.traces[*v] = traces;
            }
            let new = each(&asked, par, |scratch, scorer, v| self.weigh(&map, scratch, scorer, v))?;
            let mut stirred = vec![];
            for (v, new) in asked.iter().zip(new) {
                if let Some(new) = new {
                    (map.found[*v], map.traces[*v]) = (new, None);
                    stirred.extend(near[*v].iter().map(|n| *n as usize));
                }
            }
            // A voxel among voxels that stayed would be told the same again.
            stirred.sort_unstable();
            stirred.dedup();
            asked = stirred;
        }
        Ok(map.found)
    }

    /// Whether a voxel that does not explain all its pixels has a neighbour of another grain.
    fn at_border(&self, map: &Weighed, v: usize) -> bool {
        // Where nothing explains much, as beside the sample, no border is known.
        let Some(own) = map.sound(v).filter(|m| m.score.confidence() < 1.0) else { return false };
        map.near[v].iter().filter_map(|n| map.sound(*n as usize)).any(|m| self.differ(m, own))
    }

    /// What a voxel becomes if the grain of a neighbour leaves more traces there.
    fn weigh(&self, map: &Weighed, scratch: &mut Scratch, scorer: &mut Scorer, v: usize) -> Option<Found> {
        let own = map.sound(v)?;
        // What a grain leaves at the neighbours that it has here; without one it must leave all.
        let usual = |of: &Match| {
            let kin = |n: &&u32| map.sound(**n as usize).is_some_and(|m| !self.differ(m, of));
            let all: Vec<f64> =
                map.near[v].iter().filter(kin).filter_map(|n| map.traces[*n as usize]).collect();
            if all.is_empty() { 1.0 } else { all.iter().sum::<f64>() / all.len() as f64 }
        };
        let mut rivals: Vec<&Match> = vec![];
        let mut others: Vec<&Match> = map.near[v].iter().filter_map(|n| map.sound(*n as usize)).collect();
        others.sort_by(|a, b| b.score.confidence().total_cmp(&a.score.confidence()));
        for m in others {
            if self.differ(m, own) && rivals.iter().all(|r| self.differ(m, r)) {
                rivals.push(m);
            }
        }
        let (projector, volume, voxel) = (self.field.projector, self.field.volume, &map.voxels[v]);
        let mut best = map.traces[v]? / usual(own) + MARGIN;
        let mut chosen = None;
        for m in rivals {
            let (score, traces) = scorer.traces(projector, volume, voxel, &m.orientation.matrix());
            if traces / usual(m) > best {
                (best, chosen) = (traces / usual(m), Some(Match { score, ..*m }));
            }
        }
        let chosen = chosen?;
        // The neighbour's orientation is that of its own place.
        let from = Peak { orientation: chosen.orientation, score: chosen.score };
        let peak = self
            .climb
            .walk(&self.field, scratch, voxel, from.orientation, &NEIGHBOUR)
            .map(|peak| self.climb.centre(&self.field, scratch, voxel, peak))
            .filter(|peak| peak.score.confidence() >= from.score.confidence())
            .unwrap_or(from);
        let new = Match { orientation: peak.orientation, score: peak.score, seed: chosen.seed };
        let mut out = map.found[v].clone();
        out.matches.retain(|m| self.differ(m, &new));
        out.matches.insert(0, new);
        out.matches.truncate(self.limits.solutions.max(1) + 1);
        Some(out)
    }

    fn differ(&self, a: &Match, b: &Match) -> bool {
        self.symmetry.misorientation(&a.orientation, &b.orientation) > DIFFERS.to_radians()
    }
}

impl Weighed<'_> {
    /// The orientation of a voxel, if it explains something.
    fn sound(&self, v: usize) -> Option<&Match> {
        self.found[v].best().filter(|m| m.score.confidence() >= POOR)
    }
}

/// What some voxels give, in their order.
fn each<T: Send>(
    some: &[usize],
    par: &Par,
    of: impl Fn(&mut Scratch, &mut Scorer, usize) -> Option<T> + Sync,
) -> Result<Vec<Option<T>>> {
    let out: Vec<Mutex<Option<T>>> = some.iter().map(|_| Mutex::new(None)).collect();
    par(some.len().div_ceil(PIECE), &|piece| {
        let (mut scratch, mut scorer) = (Scratch::default(), Scorer::default());
        for k in piece * PIECE..some.len().min(piece * PIECE + PIECE) {
            *out[k].lock().map_err(|_| poisoned())? = of(&mut scratch, &mut scorer, some[k]);
        }
        Ok(())
    })?;
    out.into_iter().map(|o| o.into_inner().map_err(|_| poisoned())).collect()
}
