//! Refinement of one orientation at one voxel: a lattice of small turns, then steps that halve.

use isard_orientation::Quat;

use crate::bits::{Score, Scorer};
use crate::fit::base::Base;
use crate::fit::shape::Shapes;
use crate::fit::tops::Tops;
use crate::fit::view::{Bar, Field, View};
use crate::model::Voxel;

/// The cubic constant of the body-centred lattice of coarse turns, degrees: no turn is further than 0.25 from one.
const COARSE: f64 = 0.45;
/// Lattice points that are refined.
const KEEP: usize = 3;
/// Steps of the refinement in degrees.
const STEPS: [f64; 4] = [0.12, 0.06, 0.03, 0.015];
/// Moves at each step at most.
const MOVES: usize = 6;
/// A turn this far from where derivatives were taken asks for new ones, degrees.
const STRAY: f64 = 0.5;
/// A lattice point of this confidence ends the search of those further out.
const ENOUGH: f64 = 0.4;
/// The constant of the fine lattice around a peak, and how far it reaches, degrees.
///
/// A voxel whose orientation differs a little from that of its grain has a narrow peak beside a broad one.
const FINE: f64 = 0.11;
const REACH: f64 = 0.4;
/// The share of the peak's confidence that a point of the fine lattice must have to be climbed,
const CLIMBED: f64 = 0.85;
/// and how many are climbed.
const CLIMBS: usize = 4;

/// The share of the best confidence so far that must be reached before each step.
const HOPE: [f64; 4] = [0.0, 0.55, 0.7, 0.8];

/// Below this confidence orientations are not centred.
pub(super) const POOR: f64 = 0.25;

/// An orientation with what it explains.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// The orientation.
    pub orientation: Quat,
    /// How much of its prediction is lit.
    pub score: Score,
}

/// Refines orientations within a tolerance.
#[derive(Clone, Debug)]
pub struct Climb {
    /// Turns in radians, the smallest first.
    lattice: Vec<[f64; 3]>,
    /// The same around a peak.
    fine: Vec<[f64; 3]>,
}

/// Buffers of one worker.
#[derive(Default)]
pub(crate) struct Scratch {
    pub shapes: Shapes,
    pub view: Option<View>,
    pub scorer: Scorer,
}

impl Scratch {
    /// The view of a voxel and an orientation, in the buffers of the last one.
    pub fn view(&mut self, field: &Field, base: &Base, voxel: &Voxel, slopes: bool) -> &mut View {
        match &mut self.view {
            Some(view) => view.aim(field.projector, base, voxel, &mut self.shapes, slopes),
            None => self.view = Some(View::new(field, base, voxel, &mut self.shapes)),
        }
        self.view.as_mut().expect("a view was made")
    }
}

impl Climb {
    /// Refinement within a tolerance in degrees.
    pub fn new(tolerance: f64) -> Climb {
        Climb { lattice: lattice(COARSE, tolerance), fine: lattice(FINE, REACH.min(tolerance)) }
    }

    /// The best orientation near a seed; none if nothing promising is near.
    ///
    /// `best` is the confidence of the voxel so far: what cannot come near it is given up early.
    pub(crate) fn refine(
        &self,
        field: &Field,
        scratch: &mut Scratch,
        voxel: &Voxel,
        seed: &Base,
        best: f64,
    ) -> Option<Peak> {
        let tops = self.coarse(field, scratch, voxel, seed, best);
        self.refine_from(field, scratch, voxel, seed, best, tops)
    }

    /// As [`Climb::refine`], from turns about the seed that were promising at a voxel close by.
    pub(crate) fn refine_near(
        &self,
        field: &Field,
        scratch: &mut Scratch,
        voxel: &Voxel,
        seed: &Base,
        best: f64,
        turns: &[[f64; 3]],
    ) -> Option<Peak> {
        let view = scratch.view(field, seed, voxel, true);
        let mut tops: Vec<(f64, [f64; 3])> = turns
            .iter()
            .filter_map(|turn| Some((view.middle(field, *turn, Bar::NONE)?.confidence(), *turn)))
            .filter(|t| t.0 > 0.15 * best)
            .collect();
        tops.sort_by(|a, b| b.0.total_cmp(&a.0));
        // What led a voxel close by to something good leads here at once.
        tops.truncate(if tops.first().is_some_and(|t| t.0 > ENOUGH) { 1 } else { KEEP });
        self.refine_from(field, scratch, voxel, seed, best, tops)
    }

    /// The most promising turns of the coarse lattice about a seed, with their confidence at the voxel's centre.
    pub(crate) fn coarse(
        &self,
        field: &Field,
        scratch: &mut Scratch,
        voxel: &Voxel,
        seed: &Base,
        best: f64,
    ) -> Vec<(f64, [f64; 3])> {
        let view = scratch.view(field, seed, voxel, true);
        let floor = 0.15 * best;
        let mut tops = Tops::new(KEEP, floor);
        let gate = if best > 0.0 { (32.0 * floor).ceil() as u32 } else { 2 }.max(2);
        let mut end = f64::INFINITY;
        for turn in &self.lattice {
            if length(*turn) > end {
                break;
            }
            let lowest = tops.lowest();
            let bar =
                Bar { above: lowest.max(1e-6) as f32, gate: if length(*turn) == 0.0 { 0 } else { gate } };
            let Some(score) = view.middle(field, *turn, bar) else { continue };
            let confidence = score.confidence();
            if confidence <= lowest {
                continue;
            }
            tops.put(confidence, *turn);
            if confidence > ENOUGH && end.is_infinite() {
                end = length(*turn) + (0.75 * COARSE).to_radians();
            }
        }
        tops.list
    }

    /// The best orientation that climbing from turns about a seed leads to.
    pub(crate) fn refine_from(
        &self,
        field: &Field,
        scratch: &mut Scratch,
        voxel: &Voxel,
        seed: &Base,
        best: f64,
        tops: Vec<(f64, [f64; 3])>,
    ) -> Option<Peak> {
        let view = scratch.view(field, seed, voxel, true);
        // All that are kept take a first step, still by the slopes at the seed; the best of them goes on by its own.
        let mut first: Option<(f64, [f64; 3])> = None;
        let alone = tops.len() == 1;
        for (confidence, turn) in tops {
            if alone && confidence > ENOUGH {
                first = Some((confidence, turn));
                break;
            }
            let held = first.map_or(0.0, |f| f.0);
            if confidence < 0.25 * held || held > ENOUGH {
                break;
            }
            let (mut at, mut reached) = (turn, confidence);
            for d in directions() {
                let to = [0, 1, 2].map(|k| turn[k] + d[k] * STEPS[0].to_radians());
                if let Some(s) = view.middle(field, to, Bar::above(reached))
                    && s.confidence() > reached
                {
                    (at, reached) = (to, s.confidence());
                }
            }
            if reached > held {
                first = Some((reached, at));
            }
        }
        let (reached, turn) = first?;
        let from = Quat::from_rotation_vector(turn).times(&seed.orientation);
        let steps = if reached < 0.4 * best { &STEPS[..1] } else { &STEPS[..] };
        let peak = self.walk_above(field, scratch, voxel, from, steps, best)?;
        if peak.score.confidence() < 0.85 * best || peak.score.confidence() < ENOUGH {
            return Some(peak);
        }
        Some(self.roam(field, scratch, voxel, peak))
    }

    /// Walks uphill from an orientation in steps that become smaller.
    pub(crate) fn walk(
        &self,
        field: &Field,
        scratch: &mut Scratch,
        voxel: &Voxel,
        from: Quat,
        steps: &[f64],
    ) -> Option<Peak> {
        self.walk_above(field, scratch, voxel, from, steps, 0.0)
    }

    /// As [`Climb::walk`], but takes no finer steps where the confidence is out of reach.
    fn walk_above(
        &self,
        field: &Field,
        scratch: &mut Scratch,
        voxel: &Voxel,
        from: Quat,
        steps: &[f64],
        wanted: f64,
    ) -> Option<Peak> {
        let mut base = Base::new(field.projector, from);
        scratch.view(field, &base, voxel, true);
        let mut view = scratch.view.take()?;
        let mut at = [0.0; 3];
        let mut score = view.score(field, at, Bar::NONE);
        for (k, step) in steps.iter().enumerate() {
            // Each finer step finds less.
            if score.map_or(0.0, |s| s.confidence()) < HOPE[k.min(HOPE.len() - 1)] * wanted {
                break;
            }
            for _ in 0..MOVES {
                let held = score.map_or(0.0, |s| s.confidence());
                let mut better: Option<([f64; 3], Score)> = None;
                for d in directions() {
                    let to = [0, 1, 2].map(|k| at[k] + d[k] * step.to_radians());
                    let bar = better.map_or(held, |b| b.1.confidence());
                    if let Some(s) = view.score(field, to, Bar::above(bar))
                        && s.confidence() > bar
                    {
                        better = Some((to, s));
                    }
                }
                let Some((to, s)) = better else { break };
                (at, score) = (to, Some(s));
                if length(at) > STRAY.to_radians() {
                    base =
                        Base::new(field.projector, Quat::from_rotation_vector(at).times(&base.orientation));
                    view.aim(field.projector, &base, voxel, &mut scratch.shapes, true);
                    at = [0.0; 3];
                    score = view.score(field, at, Bar::NONE);
                }
            }
        }
        scratch.view = Some(view);
        let orientation = Quat::from_rotation_vector(at).times(&base.orientation);
        score.map(|score| Peak { orientation, score })
    }

    /// Looks around a peak for a higher one.
    pub(crate) fn roam(&self, field: &Field, scratch: &mut Scratch, voxel: &Voxel, peak: Peak) -> Peak {
        let held = peak.score.confidence();
        if held >= 1.0 {
            return peak;
        }
        let base = Base::new(field.projector, peak.orientation);
        let view = scratch.view(field, &base, voxel, true);
        let mut tops = Tops::new(CLIMBS, CLIMBED * held);
        for turn in &self.fine {
            let lowest = tops.lowest();
            let Some(score) = view.score(field, *turn, Bar::above(lowest)) else { continue };
            let confidence = score.confidence();
            // Of neighbours on the lattice the best is climbed; around the peak itself nothing new is found.
            if confidence > lowest && length(*turn) >= FINE.to_radians() {
                tops.put_apart(confidence, *turn, |other| apart(*other, *turn) < (1.1 * FINE).to_radians());
            }
        }
        let mut best = peak;
        for (_, turn) in tops.list {
            let from = Quat::from_rotation_vector(turn).times(&peak.orientation);
            if let Some(next) = self.walk(field, scratch, voxel, from, &STEPS[1..])
                && next.score.confidence() > best.score.confidence()
            {
                best = next;
            }
        }
        best
    }

    /// Moves to the middle of the plateau that a peak lies on; the score becomes the exact one.
    pub(crate) fn centre(&self, field: &Field, scratch: &mut Scratch, voxel: &Voxel, peak: Peak) -> Peak {
        let base = Base::new(field.projector, peak.orientation);
        scratch.view(field, &base, voxel, true);
        let Some(mut view) = scratch.view.take() else { return peak };
        let (mut at, mut held) =
            ([0.0f64; 3], view.score(field, [0.0; 3], Bar::NONE).map_or(0.0, |s| s.confidence()));
        // Poor orientations lie on many small plateaus, whose middles mean nothing.
        let rounds = if held < POOR { 0 } else { 3 };
        for _ in 0..rounds {
            let mut sum = [0.0; 3];
            let mut climbed = false;
            for d in &directions()[6..] {
                // As far as the plateau goes in this direction, within a tenth.
                let (mut far, mut step) = (0.0f64, 0.004f64);
                while step > 0.0015 && far < 0.2 {
                    let to = [0, 1, 2].map(|k| at[k] + d[k] * (far + step).to_radians());
                    match view.score(field, to, Bar::above(held)) {
                        Some(s) if s.confidence() > held + 1e-9 => {
                            (at, held, climbed) = (to, s.confidence(), true);
                            break;
                        }
                        Some(s) if s.confidence() >= held - 1e-9 => {
                            far += step;
                            step *= 1.7;
                        }
                        _ => step *= 0.4,
                    }
                }
                if climbed {
                    break;
                }
                (0..3).for_each(|k| sum[k] += far * d[k]);
            }
            if climbed {
                continue;
            }
            let to = [0, 1, 2].map(|k| at[k] + (sum[k] * 3.0 / 8.0).to_radians());
            if view.score(field, to, Bar::above(held)).is_some_and(|s| s.confidence() >= held - 1e-9) {
                at = to;
            } else {
                break;
            }
        }
        scratch.view = Some(view);
        let mut exact = |orientation: Quat| {
            let score = scratch.scorer.score(field.projector, field.volume, voxel, &orientation.matrix());
            Peak { orientation, score }
        };
        let moved = exact(Quat::from_rotation_vector(at).times(&base.orientation));
        let stayed = exact(peak.orientation);
        if moved.score.confidence() >= stayed.score.confidence() { moved } else { stayed }
    }
}

/// The fourteen nearest neighbours of a body-centred lattice, as unit vectors.
fn directions() -> [[f64; 3]; 14] {
    let c = 1.0 / 3f64.sqrt();
    let mut out = [[0.0; 3]; 14];
    for k in 0..3 {
        out[2 * k][k] = 1.0;
        out[2 * k + 1][k] = -1.0;
    }
    for k in 0..8 {
        out[6 + k] = [0, 1, 2].map(|b| if k >> b & 1 == 0 { c } else { -c });
    }
    out
}

/// The points of a body-centred lattice within a distance, in radians, the nearest first.
fn lattice(constant: f64, reach: f64) -> Vec<[f64; 3]> {
    let n = (reach / constant).ceil() as i32 + 1;
    let side = 2 * n + 1;
    let mut out = vec![];
    for k in 0..2 * side.pow(3) {
        let (half, k) = (f64::from(k % 2) * 0.5, k / 2);
        let p = [k % side - n, k / side % side - n, k / side / side - n]
            .map(|i| (f64::from(i) + half) * constant);
        if length(p) <= reach {
            out.push(p.map(f64::to_radians));
        }
    }
    out.sort_by(|a, b| length(*a).total_cmp(&length(*b)));
    out
}

fn apart(a: [f64; 3], b: [f64; 3]) -> f64 {
    length([0, 1, 2].map(|k| a[k] - b[k]))
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lattice_leaves_no_turn_far_away() {
        let climb = Climb::new(2.0);
        assert_eq!(length(climb.lattice[0]), 0.0);
        let mut state = 3u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64 * 3.4 - 1.7
        };
        for _ in 0..500 {
            let p = [random(), random(), random()];
            if length(p) > 1.7 {
                continue;
            }
            let near = climb.lattice.iter().map(|q| length([0, 1, 2].map(|k| q[k].to_degrees() - p[k])));
            assert!(near.fold(9.0, f64::min) < 0.2517, "{p:?}");
        }
    }
}
