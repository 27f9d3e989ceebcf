//! The search without seeds: lit pixels give directions of reflections, and turns about those give trials.

use std::f64::consts::TAU;
use std::sync::Mutex;

use isard_core::error::{Error, Result};
use isard_orientation::{Matrix, Quat, apply, product, transpose};

use crate::fit::base::Base;
use crate::fit::climb::{Climb, Scratch};
use crate::fit::layer::{Found, LayerFit, Par};
use crate::fit::patch::neighbours;
use crate::fit::tops::Tops;
use crate::model::Voxel;
use crate::simd::counting;

/// What the search without seeds tries.
#[derive(Clone, Copy, Debug)]
pub struct SearchLimits {
    /// Voxels of a lower confidence are searched; what is found must come near it.
    pub below: f64,
    /// The step of trial turns about a direction, degrees.
    pub step: f64,
    /// Trials that are refined for each voxel.
    pub keep: usize,
    /// Directions of a voxel that are tried at most.
    pub directions: usize,
}

impl Default for SearchLimits {
    fn default() -> Self {
        SearchLimits { below: 0.5, step: 0.3, keep: 8, directions: 160 }
    }
}

/// Voxels that are searched between two fits with what was found.
const ROUND: usize = 16;
/// Rings whose pixels give directions: those of the smallest radius.
const RINGS: usize = 3;
/// How far a trial may be refined, degrees.
const NEAR: f64 = 0.7;
/// How far off its ring a pixel may be, in pixels.
const OFF: f64 = 1.3;

/// A lit pixel of the first distance on one of the inner rings.
struct Lit {
    /// The point on the ideal plane, micrometres.
    ideal: [f64; 2],
    /// Cosine and sine of the rotation in the middle of its frame.
    turn: [f64; 2],
}

/// A ring that gives directions.
struct Ring {
    radius: f64,
    theta: f64,
    /// One reflection for each set of equivalent ones.
    of: Vec<[f64; 3]>,
}

/// A search on its way, between two of its rounds.
pub struct Search {
    rings: Vec<Ring>,
    lit: Vec<Lit>,
    near: Vec<Vec<u32>>,
    climb: Climb,
    found: Vec<Found>,
    /// The seeds, and orientations that were found.
    seeds: Vec<Quat>,
    /// Voxels that need no search any more.
    done: Vec<bool>,
    order: Vec<usize>,
    next: usize,
}

impl LayerFit<'_> {
    /// Fits every voxel from seeds, and searches those that seeds do not explain.
    ///
    /// Voxels are searched in an order that spreads over the layer; what one finds seeds all others before the next are
    /// searched. Beside a voxel for which nothing was found none is searched.
    pub fn search(
        &self,
        voxels: &[Voxel],
        seeds: &[Quat],
        search: &SearchLimits,
        par: &Par,
    ) -> Result<Vec<Found>> {
        let mut state = self.search_begin(voxels, seeds, par)?;
        while self.search_on(voxels, &mut state, search, par)? {}
        self.search_end(voxels, state, par)
    }

    /// Begins a search: fits every voxel from the seeds.
    pub fn search_begin(&self, voxels: &[Voxel], seeds: &[Quat], par: &Par) -> Result<Search> {
        let found = match seeds.is_empty() {
            true => vec![Found::default(); voxels.len()],
            false => self.fit(voxels, seeds, par)?,
        };
        let rings = self.rings();
        Ok(Search {
            lit: self.lit(&rings, voxels),
            rings,
            near: neighbours(voxels, 1.1),
            climb: Climb::new(NEAR),
            found,
            seeds: seeds.to_vec(),
            done: vec![false; voxels.len()],
            order: spread(voxels.len()),
            next: 0,
        })
    }

    /// Searches the next voxels and lets what is found seed all others; false when there are none left.
    pub fn search_on(
        &self,
        voxels: &[Voxel],
        state: &mut Search,
        search: &SearchLimits,
        par: &Par,
    ) -> Result<bool> {
        let mut open: Vec<usize> = vec![];
        while open.is_empty() && state.next < state.order.len() {
            let to = (state.next + ROUND).min(state.order.len());
            let some = state.order[state.next..to].iter().copied();
            open = some.filter(|v| state.found[*v].confidence() < search.below && !state.done[*v]).collect();
            state.next = to;
        }
        if open.is_empty() {
            return Ok(false);
        }
        let best: Vec<Mutex<Option<Quat>>> = open.iter().map(|_| Mutex::default()).collect();
        par(open.len(), &|k| {
            let q = self.try_voxel(&voxels[open[k]], &state.rings, &state.lit, &state.climb, search);
            *best[k].lock().map_err(|_| twice())? = q;
            Ok(())
        })?;
        let mut fresh: Vec<Quat> = vec![];
        for (v, q) in open.iter().zip(best) {
            state.done[*v] = true;
            let Some(q) = q.into_inner().map_err(|_| twice())? else {
                for n in &state.near[*v] {
                    state.done[*n as usize] = true;
                }
                continue;
            };
            let known = |s: &Quat| self.symmetry.misorientation(s, &q) < 0.3f64.to_radians();
            if !fresh.iter().any(known) {
                fresh.push(q);
            }
        }
        if fresh.is_empty() {
            return Ok(true);
        }
        let rest: Vec<usize> = (0..voxels.len()).filter(|v| state.found[*v].confidence() < 0.95).collect();
        let some: Vec<Voxel> = rest.iter().map(|v| voxels[*v]).collect();
        let first = state.seeds.len() as u32;
        for (v, mut new) in rest.into_iter().zip(self.alone(&some, &fresh, par)?) {
            new.matches.iter_mut().for_each(|m| m.seed += first);
            let old = &state.found[v];
            if new.confidence() > old.confidence() {
                new.candidates += old.candidates;
                new.matches.extend(old.matches.first().copied());
                new.matches.truncate(self.limits.solutions.max(1) + 1);
                state.found[v] = new;
            }
        }
        state.seeds.extend(fresh);
        Ok(true)
    }

    /// What a search has found, after neighbours had their say.
    pub fn search_end(&self, voxels: &[Voxel], state: Search, par: &Par) -> Result<Vec<Found>> {
        self.settled(voxels, state.found, par)
    }

    /// The inner rings with their sets of equivalent reflections.
    fn rings(&self) -> Vec<Ring> {
        let predictor = &self.field.projector.predictor;
        let lsd = self.field.projector.detector.lsd[0];
        let mut out: Vec<(u32, Ring)> = vec![];
        for r in predictor.reflections() {
            let alike = |g: &[f64; 3]| {
                self.symmetry.operators().iter().any(|s| {
                    let t = apply(&s.matrix(), r.g);
                    let apart = |sign: f64| (0..3).map(|k| (t[k] - sign * g[k]).abs()).fold(0.0, f64::max);
                    apart(1.0).min(apart(-1.0)) < 1e-6
                })
            };
            match out.iter_mut().find(|(ring, _)| *ring == r.ring) {
                Some((_, ring)) if !ring.of.iter().any(alike) => ring.of.push(r.g),
                Some(_) => (),
                None => {
                    let radius = lsd * (2.0 * r.theta).tan();
                    out.push((r.ring, Ring { radius, theta: r.theta, of: vec![r.g] }));
                }
            }
        }
        let mut rings: Vec<Ring> = out.into_iter().map(|(_, ring)| ring).collect();
        rings.sort_by(|a, b| a.radius.total_cmp(&b.radius));
        rings.truncate(RINGS);
        rings
    }

    /// The lit pixels of the first distance that a voxel could see on one of the rings.
    fn lit(&self, rings: &[Ring], voxels: &[Voxel]) -> Vec<Lit> {
        let (projector, volume) = (self.field.projector, self.field.volume);
        let (detector, scan) = (&projector.detector, projector.predictor.scan());
        let wide = voxels.iter().map(|v| v.x.hypot(v.y)).fold(0.0, f64::max) + 4.0 * detector.pixel;
        let mut out = vec![];
        for frame in 0..volume.frames() {
            for [y, z] in volume.pixels(0, frame) {
                let wanted = [f64::from(y) + 0.5, f64::from(z) + 0.5];
                let mut ideal = [0, 1].map(|k| (wanted[k] - detector.centre[0][k]) * detector.pixel);
                // Tilts are small: two steps of Newton leave nothing.
                for _ in 0..3 {
                    let at = detector.project(ideal[0], ideal[1]);
                    let [[a, b], [c, d]] = detector.derivative(ideal[0], ideal[1]);
                    let (e, f, det) = (wanted[0] - at[0], wanted[1] - at[1], a * d - b * c);
                    ideal = [ideal[0] + (d * e - b * f) / det, ideal[1] + (a * f - c * e) / det];
                }
                let radius = ideal[0].hypot(ideal[1]);
                if rings.iter().all(|r| (r.radius - radius).abs() > wide) {
                    continue;
                }
                let middle = scan.start + (frame as f64 + 0.5) * scan.step;
                // The tilt of the axis moved the spot to this frame.
                let moved = scan.tilted(ideal[0], ideal[1], 0.0, detector.lsd[0], projector.wavelength);
                let (sin, cos) = (middle - moved).to_radians().sin_cos();
                out.push(Lit { ideal, turn: [cos, sin] });
            }
        }
        out
    }

    /// The best orientation at a voxel among turns about the directions that lit pixels give; none that is good enough.
    fn try_voxel(
        &self,
        voxel: &Voxel,
        rings: &[Ring],
        lit: &[Lit],
        climb: &Climb,
        search: &SearchLimits,
    ) -> Option<Quat> {
        let projector = self.field.projector;
        let lsd = projector.detector.lsd[0];
        let off = OFF * projector.detector.pixel;
        let [lean, upright] = projector.predictor.axis();
        let mut directions = vec![];
        for p in lit {
            let [cos, sin] = p.turn;
            let (xa, ya) = (voxel.x * cos - voxel.y * sin, voxel.x * sin + voxel.y * cos);
            let t = 1.0 - upright * xa / lsd;
            let (y, z) = ((p.ideal[0] - ya) / t, (p.ideal[1] - lean * xa) / t);
            let radius = y.hypot(z);
            for ring in rings.iter().filter(|r| (r.radius - radius).abs() < off) {
                let (sin_t, cos_t) = ring.theta.sin_cos();
                let lab = [-sin_t, cos_t * y / radius, cos_t * z / radius];
                let lab = [upright * lab[0] + lean * lab[2], lab[1], upright * lab[2] - lean * lab[0]];
                let sample = [lab[0] * cos + lab[1] * sin, lab[1] * cos - lab[0] * sin, lab[2]];
                directions.extend(ring.of.iter().map(|g| (*g, sample)));
            }
        }
        let order = spread(directions.len());
        let mut tops = Tops::new(search.keep, 0.12);
        for k in order.into_iter().take(search.directions) {
            let (g, direction) = directions[k];
            let g = unit(g);
            let onto = onto(g, direction);
            let fold = self
                .symmetry
                .operators()
                .iter()
                .filter(|q| dot(apply(&q.matrix(), g), g) > 1.0 - 1e-9)
                .count();
            let full = TAU / fold.max(1) as f64;
            let steps = (full.to_degrees() / search.step).ceil() as usize;
            for k in 0..steps {
                let angle = full * k as f64 / steps as f64;
                let turn = Quat::from_rotation_vector(direction.map(|x| x * angle));
                let matrix = product(&turn.matrix(), &onto);
                let Some(confidence) = self.quick(voxel, &matrix, tops.lowest()) else { continue };
                let q = Quat::from_matrix(&matrix);
                tops.put_apart(confidence, q, |other| self.symmetry.misorientation(other, &q) < 0.02);
            }
        }
        let (mut scratch, mut best) = (Scratch::default(), None);
        let mut held = 0.8 * search.below;
        for (_, q) in tops.list {
            let base = Base::new(projector, q);
            if let Some(peak) = climb.refine(&self.field, &mut scratch, voxel, &base, 0.0)
                && peak.score.confidence() > held
            {
                (held, best) = (peak.score.confidence(), Some(peak.orientation));
            }
        }
        best
    }

    /// The lit share of the pixels at a voxel's centre, given up as soon as it looks poor.
    fn quick(&self, voxel: &Voxel, orientation: &Matrix, above: f64) -> Option<f64> {
        counting(
            #[inline(always)]
            || self.quick_here(voxel, orientation, above),
        )
    }

    #[inline(always)]
    fn quick_here(&self, voxel: &Voxel, orientation: &Matrix, above: f64) -> Option<f64> {
        let (projector, volume) = (self.field.projector, self.field.volume);
        let (detector, scan) = (&projector.detector, projector.predictor.scan());
        let lsd = detector.lsd[0];
        let [lean, upright] = projector.predictor.axis();
        let (mut lit, mut total) = (0u32, 0u32);
        let whole = projector.predictor.hits_until(
            orientation,
            #[inline(always)]
            |hit| {
                let spot = &hit.spot;
                let omega = scan.tilted(spot.y, spot.z, spot.omega, lsd, projector.wavelength);
                let Some(frame) = scan.frame(omega) else { return true };
                let [cos, sin] = hit.turn;
                let (xa, ya) = (voxel.x * cos - voxel.y * sin, voxel.x * sin + voxel.y * cos);
                let t = 1.0 - upright * xa / lsd;
                let centre = detector.project(spot.y, spot.z);
                let to = [ya + spot.y * t, lean * xa + spot.z * t];
                let [y, z] = detector.displaced_from(centre, [spot.y, spot.z], to);
                let shift = [(y + 0.5).floor() as i32, (z + 0.5).floor() as i32];
                let mut all = true;
                for l in 0..detector.distances() {
                    let base = detector.at_distance(centre, l);
                    let at = [base[0].floor() as i32 + shift[0], base[1].floor() as i32 + shift[1]];
                    if !detector.holds(at[0], at[1]) {
                        return true;
                    }
                    all = all
                        && (!volume.known(l, frame)
                            || volume.is_lit(l, frame, at[0] as usize, at[1] as usize));
                }
                total += 1;
                lit += u32::from(all);
                // The inner rings come first, and bear the largest errors of a trial.
                let wanted = match total {
                    4 => 1.0,
                    8 => 2.0,
                    16 => 4.0,
                    32 => 40.0 * above,
                    _ => 0.0,
                };
                f64::from(lit) >= wanted
            },
        );
        let confidence = f64::from(lit) / f64::from(total.max(1));
        (whole && total > 0 && confidence > above).then_some(confidence)
    }
}

/// Numbers below `n` in an order in which any first part is spread over all.
fn spread(n: usize) -> Vec<usize> {
    let mut step = ((n as f64 * 0.618_034) as usize).max(1);
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    while gcd(step, n) > 1 {
        step += 1;
    }
    (0..n).map(|k| k * step % n).collect()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|k| a[k] * b[k]).sum()
}

fn unit(v: [f64; 3]) -> [f64; 3] {
    let norm = dot(v, v).sqrt();
    v.map(|x| x / norm)
}

/// A rotation that takes one unit vector to another.
fn onto(a: [f64; 3], b: [f64; 3]) -> Matrix {
    // Frames that have the vectors as their first axes.
    let frame = |v: [f64; 3]| {
        let k = (0..3).fold(0, |k, i| if v[i].abs() < v[k].abs() { i } else { k });
        let mut e = [0.0; 3];
        e[k] = 1.0;
        let u = unit(cross(v, e));
        [v, u, cross(v, u)]
    };
    product(&transpose(&frame(b)), &frame(a))
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn twice() -> Error {
    Error::internal("a voxel was searched twice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_turned_onto_another() {
        for (a, b) in [([1.0, 0.0, 0.0], [0.0, 0.6, 0.8]), ([0.6, 0.0, -0.8], [-0.6, 0.0, 0.8])] {
            let m = onto(a, b);
            let c = apply(&m, a);
            assert!((0..3).all(|k| (c[k] - b[k]).abs() < 1e-12), "{c:?}");
            let q = Quat::from_matrix(&m).matrix();
            assert!(
                m.iter().flatten().zip(q.iter().flatten()).all(|(x, y)| (x - y).abs() < 1e-12),
                "no rotation"
            );
        }
    }

    #[test]
    fn spread_numbers_are_all_there() {
        for n in [0, 1, 2, 16, 97, 1000] {
            let mut all = spread(n);
            all.sort_unstable();
            assert!(all.into_iter().eq(0..n));
        }
    }
}
