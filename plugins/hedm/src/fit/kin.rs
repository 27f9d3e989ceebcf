//! What neighbours have to say about a voxel.

use std::sync::Mutex;

use isard_core::error::Result;
use isard_orientation::Quat;

use crate::fit::base::Base;
use crate::fit::climb::Scratch;
use crate::fit::layer::{Found, LayerFit, Match, PIECE, Par, poisoned};
use crate::fit::patch::neighbours;
use crate::fit::view::Bar;
use crate::model::Voxel;

/// Steps of the refinement that starts from a neighbour, degrees.
pub(super) const NEIGHBOUR: [f64; 4] = [0.1, 0.05, 0.025, 0.0125];

impl LayerFit<'_> {
    /// What was found after neighbours had their say, if they are asked.
    pub(super) fn settled(&self, voxels: &[Voxel], mut found: Vec<Found>, par: &Par) -> Result<Vec<Found>> {
        if self.limits.neighbours {
            let near = neighbours(voxels, 2.05);
            let mut stirred = vec![true; voxels.len()];
            for _ in 0..2 {
                let new = self.ask(voxels, &near, &stirred, &found, par)?;
                let same = |a: &Found, b: &Found| {
                    let of = |f: &Found| f.best().map(|m| (m.orientation.0, m.score));
                    of(a) == of(b)
                };
                let changed: Vec<bool> = found.iter().zip(&new).map(|(a, b)| !same(a, b)).collect();
                // A voxel among voxels that stayed would be told the same again.
                stirred = (0..voxels.len())
                    .map(|v| changed[v] || near[v].iter().any(|n| changed[*n as usize]))
                    .collect();
                found = new;
            }
            if self.limits.borders {
                found = self.bordered(voxels, &near, found, par)?;
            }
        }
        Ok(found)
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
    fn ask(
        &self,
        voxels: &[Voxel],
        near: &[Vec<u32>],
        stirred: &[bool],
        before: &[Found],
        par: &Par,
    ) -> Result<Vec<Found>> {
        let out: Vec<Mutex<Option<Found>>> = voxels.iter().map(|_| Mutex::default()).collect();
        par(voxels.len().div_ceil(PIECE), &|piece| {
            let mut scratch = Scratch::default();
            for v in piece * PIECE..voxels.len().min(piece * PIECE + PIECE) {
                let mut found = before[v].clone();
                if !stirred[v] {
                    *out[v].lock().map_err(|_| poisoned())? = Some(found);
                    continue;
                }
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
