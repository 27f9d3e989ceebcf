//! Projection engines: difference map, relaxed averaged alternating reflections, alternating projections.

use std::sync::{Mutex, PoisonError};

use isard_core::Result;

use super::Told;
use super::fourier::{Terms, fourier};
use super::own::Own;
use super::settings::{Bound, Method, Settings};
use super::smooth;
use super::support::{Support, move_exits, move_probes, off_centre, recentre};
use crate::model::{Block, Corner, Model, exit_wave};
use crate::num::{Complex, Par, Real, each, side_by_side};
use crate::overlap::{Lit, Met, Sums, onto_object, onto_probe, strips};
use crate::simd;

type C<T> = Complex<T>;

/// Lanes that frames are parted into, each with sums of its own: two threads can add up waves as they come.
const LANES: usize = 2;
/// With fewer frames than this in a lane there is one only.
const LANE: usize = 16;

/// A projection engine and its exit waves.
pub struct Projection<T> {
    settings: Settings,
    support: Support,
    /// One for each frame; all products of a frame one behind the other.
    pub(super) exit: Vec<Vec<C<T>>>,
    /// The probe after its last update, if there was one.
    pub(super) before: Option<Vec<Vec<C<T>>>>,
    /// Iterations done.
    pub(super) iteration: u64,
    /// Sums over the object, one for each lane, kept from one iteration to the next.
    lanes: Vec<Sums<T>>,
    /// What probes of single frames have in common, if each has its own.
    pub(super) own: Option<Own>,
}

impl<T: Real> Projection<T> {
    /// An engine without exit waves.
    pub fn new(settings: &Settings, n: usize) -> Projection<T> {
        let support =
            Support::new(n, Some(settings.probe_support.unwrap_or(0.7)), settings.probe_fourier_support);
        let settings = settings.clone();
        let own = Own::new(&settings);
        Projection { settings, support, exit: vec![], before: None, iteration: 0, lanes: vec![], own }
    }

    /// Makes exit waves for frames that have none; `fresh` says which.
    pub fn added(&mut self, model: &Model<T>, fresh: &[bool]) {
        let mut old = std::mem::take(&mut self.exit).into_iter();
        for (frame, fresh) in fresh.iter().enumerate() {
            let kept = if *fresh { None } else { old.next() };
            self.exit.push(kept.unwrap_or_else(|| products(model, frame)));
        }
    }

    /// The power bound of a model.
    pub fn bound(&self, model: &Model<T>) -> f64 {
        match self.settings.fourier_power_bound {
            Some(Bound::At(bound)) => bound,
            Some(Bound::Named(_)) => 0.25,
            None => {
                let relax = self.settings.fourier_relax_factor.unwrap_or(0.05);
                0.25 * relax * relax * model.powers().bound
            }
        }
    }

    fn terms(&self, model: &Model<T>, photons: bool) -> Terms<T> {
        let (a, b, c) = match self.settings.name {
            Method::RAAR => {
                let beta = self.settings.beta.unwrap_or(0.75);
                (1.0 - 2.0 * beta, beta, 2.0)
            }
            _ => {
                let alpha = self.settings.alpha.unwrap_or(1.0);
                (-alpha, 1.0, 1.0 + alpha)
            }
        };
        Terms {
            c: T::of(c),
            outside: [b, a, -(a + b)].map(T::of),
            within: T::of(a + b * c),
            bound: self.bound(model),
            photons,
        }
    }

    /// One iteration; gives the errors and how many frames were within the bound.
    pub fn iterate(&mut self, model: &mut Model<T>, par: Par, photons: bool) -> Result<Told> {
        let s = &self.settings;
        let terms = self.terms(model, photons);
        let probe_too = self.iteration >= s.probe_update_start.unwrap_or(2);
        let object_first = s.update_object_first.unwrap_or(true) || !probe_too;
        let corners: Vec<Corner> = (0..model.frames.len()).map(|k| model.corner(k)).collect();
        // Waves are added up as they come where all of them meet one probe, row by row of the camera.
        let ready = object_first && model.own.is_none() && model.camera.is_none();
        let told = self.project(model, par, &corners, &terms, ready)?;
        self.overlap(model, par, &corners, [object_first, ready], probe_too)?;
        self.centre(model);
        self.iteration += 1;
        Ok(told)
    }

    /// Moves the exit waves of all frames, and adds them up over the object if `object_too`.
    ///
    /// A lane's waves are added in the order of its frames, whatever the threads: as a wave comes where all before it are
    /// added already, else when those beside it are done.
    fn project(
        &mut self,
        model: &Model<T>,
        par: Par,
        corners: &[Corner],
        terms: &Terms<T>,
        object_too: bool,
    ) -> Result<Told> {
        let (count, columns) = (corners.len(), model.object.columns);
        let lit = Lit::of(&model.probe.modes);
        let lanes = if count < LANES * LANE { 1 } else { LANES };
        let length = count.div_ceil(lanes).max(1);
        self.lanes.resize_with(lanes, Sums::default);
        for sums in &mut self.lanes {
            sums.clear(model.object.modes.len(), if object_too { model.object.rows * columns } else { 0 });
        }
        let mut results = vec![[0.0; 4]; count];
        let together = side_by_side();
        for first in (0..length).step_by(together) {
            let turns: Vec<Mutex<(usize, &mut Sums<T>)>> = self
                .lanes
                .iter_mut()
                .enumerate()
                .map(|(lane, sums)| Mutex::new((lane * length + first, sums)))
                .collect();
            let end = |lane: usize| (lane * length + (first + together).min(length)).min(count);
            let waves = self.exit.chunks_mut(length).zip(results.chunks_mut(length)).enumerate();
            let work: Vec<_> = waves
                .flat_map(|(lane, (exit, results))| {
                    let all = exit.iter_mut().zip(results).enumerate().skip(first).take(together);
                    all.map(move |(k, (exit, told))| (lane, lane * length + k, exit, told))
                })
                .collect();
            each(par, work, |_, (lane, frame, exit, told)| {
                let turn = turns[*lane].try_lock().ok();
                let mut turn = turn.filter(|turn| object_too && turn.0 == *frame);
                let onto = turn.as_mut().map(|turn| &mut *turn.1);
                **told = fourier(model, *frame, corners[*frame], exit, terms, onto, &lit);
                if let Some(turn) = &mut turn {
                    turn.0 += 1;
                }
                Ok(())
            })?;
            if !object_too {
                continue;
            }
            for (lane, turn) in turns.into_iter().enumerate() {
                let (from, sums) = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
                let rest = from..end(lane).max(from);
                if rest.is_empty() {
                    continue;
                }
                let (here, waves, norm) = (&corners[rest.clone()], &self.exit[rest], Some(&mut sums.norm));
                let probe = Met { modes: &model.probe.modes, lit: &lit, first: 0 };
                onto_object(par, probe, columns, here, waves, &mut sums.waves, norm)?;
            }
        }
        let mut told = Told::default();
        for [fourier, photons, exit, within] in results {
            told.add([fourier, photons, exit]);
            told.within += within as usize;
        }
        Ok(told)
    }

    /// Updates object and probe from the exit waves; `ready` says that those are added up over the object.
    fn overlap(
        &mut self,
        model: &mut Model<T>,
        par: Par,
        corners: &[Corner],
        [object_first, mut ready]: [bool; 2],
        probe_too: bool,
    ) -> Result<()> {
        let rounds = self.settings.overlap_max_iterations.unwrap_or(10).max(1);
        for round in 0..rounds {
            if round > 0 || object_first {
                for block in model.blocks() {
                    if !std::mem::take(&mut ready) {
                        self.object_sums(model, par, corners, &block)?;
                    }
                    self.update_object(model, par, &block)?;
                }
            }
            if !probe_too {
                return Ok(());
            }
            let change = self.update_probe(model, par, corners)?;
            if change < self.settings.overlap_converge_factor.unwrap_or(0.05) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn object_sums(&mut self, model: &Model<T>, par: Par, corners: &[Corner], block: &Block) -> Result<()> {
        self.lanes.truncate(1);
        let sums = &mut self.lanes[0];
        sums.clear(block.objects.len(), model.object.rows * model.object.columns);
        let (lit, columns) = (Lit::of(&model.probe.modes), model.object.columns);
        for (layer, frames) in model.shares() {
            let modes = &model.probe.modes[layer + block.probes.start..layer + block.probes.end];
            let probe = Met { modes, lit: &lit, first: block.first };
            let (here, waves, norm) = (&corners[frames.clone()], &self.exit[frames], Some(&mut sums.norm));
            onto_object(par, probe, columns, here, waves, &mut sums.waves, norm)?;
        }
        Ok(())
    }

    fn update_object(&mut self, model: &mut Model<T>, par: Par, block: &Block) -> Result<()> {
        let s = &self.settings;
        let inertia = T::of(s.object_inertia.unwrap_or(1e-4) * model.powers().mean);
        let columns = model.object.columns;
        let modes = &mut model.object.modes[block.objects.clone()];
        if let Some(sigma) = s.obj_smooth_std {
            modes.iter_mut().for_each(|mode| *mode = smooth::gaussian(mode, columns, sigma));
        }
        let Some((sums, others)) = self.lanes.split_first_mut() else { return Ok(()) };
        let images = strips(modes, columns);
        let (waves, norm) =
            (strips(&mut sums.waves, columns), strips(std::slice::from_mut(&mut sums.norm), columns));
        let work: Vec<_> = images.into_iter().zip(waves).zip(norm).collect();
        let mut top = vec![0; work.len()];
        for k in 1..work.len() {
            top[k] = top[k - 1] + work[k - 1].1[0].len();
        }
        each(par, work, |k, ((images, waves), norm)| {
            let norm = &mut norm[0];
            let here = top[k]..top[k] + norm.len();
            for other in others.iter() {
                simd::add(norm, &other.norm[here.clone()]);
            }
            for (mode, (image, sum)) in images.iter_mut().zip(waves).enumerate() {
                for other in others.iter() {
                    simd::add_waves(sum, &other.waves[mode][here.clone()]);
                }
                // Where neither light nor inertia is, nothing is known.
                simd::settle(image, sum, norm, inertia);
                if let Some(limits) = s.clip_object {
                    clip(image, limits.map(T::of));
                }
            }
            Ok(())
        })
    }

    /// Updates the probe; gives how much it changed.
    fn update_probe(&mut self, model: &mut Model<T>, par: Par, corners: &[Corner]) -> Result<f64> {
        let inertia = self.settings.probe_inertia.unwrap_or(1e-9);
        let (pixels, columns, seen) =
            (model.n() * model.n(), model.object.columns, self.support.seen(model.n()));
        let mut probe = model.probe.clone();
        let blocks = model.blocks();
        for (layer, frames) in model.shares() {
            let mut all: Vec<Sums<T>> = vec![];
            for block in &blocks {
                let mut sums = Sums::new(block.probes.len(), pixels);
                let modes = &model.object.modes[block.objects.clone()];
                let object = Met { modes, lit: &seen, first: block.first };
                let (here, exit) = (&corners[frames.clone()], &self.exit[frames.clone()]);
                let norm = Some(&mut sums.norm);
                onto_probe(par, object, columns, here, exit, &mut sums.waves, norm)?;
                all.push(sums);
            }
            one_norm(model, &mut all);
            for (block, sums) in blocks.iter().zip(&all) {
                let inertia = T::of(inertia * (frames.len() * block.objects.len()) as f64);
                let modes = &mut probe.modes[layer + block.probes.start..layer + block.probes.end];
                for (mode, sum) in modes.iter_mut().zip(&sums.waves) {
                    simd::settle(mode, sum, &sums.norm, inertia);
                }
            }
        }
        model.tie(&mut probe);
        self.support.apply(model, &mut probe);
        if let Some(own) = &self.own {
            own.reduce(model, &mut probe, par, self.iteration)?;
        }
        let size = probe.norm2();
        let moved = match &self.before {
            None => size,
            Some(before) => {
                let all = probe.modes.iter().flatten().zip(before.iter().flatten());
                all.map(|(a, b)| (a.re - b.re).wide().powi(2) + (a.im - b.im).wide().powi(2)).sum()
            }
        };
        self.before = Some(probe.modes.clone());
        model.probe = probe;
        Ok(if size > 0.0 { (moved / size).sqrt() } else { 0.0 })
    }

    fn centre(&mut self, model: &mut Model<T>) {
        let Some(tolerance) = self.settings.probe_center_tol else { return };
        let Some(shift) = off_centre(model, tolerance) else { return };
        recentre(model, shift);
        move_exits(model, &mut self.exit, shift);
        if let Some(before) = &mut self.before {
            move_probes(model, before, shift);
        }
    }
}

/// One light for the probes of all energies, where they are one: that of each counts as much as its light.
fn one_norm<T: Real>(model: &Model<T>, all: &mut [Sums<T>]) {
    let Some(camera) = model.camera.as_ref().filter(|c| c.tied() && all.len() > 1) else { return };
    let mut mean = vec![T::zero(); all[0].norm.len()];
    for (energy, sums) in all.iter().enumerate() {
        let share = T::of(camera.share(energy));
        mean.iter_mut().zip(&sums.norm).for_each(|(m, x)| *m += share * *x);
    }
    all.iter_mut().for_each(|sums| sums.norm.copy_from_slice(&mean));
}

/// Keeps the transmission of an object between limits.
fn clip<T: Real>(image: &mut [C<T>], [low, high]: [T; 2]) {
    for z in image {
        let a = z.norm();
        if a > high {
            *z = z.scale(high / a);
        } else if a < low {
            *z = if a > T::zero() { z.scale(low / a) } else { C::new(low, T::zero()) };
        }
    }
}

/// The products of a frame.
pub(super) fn products<T: Real>(model: &Model<T>, frame: usize) -> Vec<C<T>> {
    let (n, corner) = (model.n(), model.corner(frame));
    let mut out = vec![C::default(); model.pod_count() * n * n];
    for (pod, out) in model.pods(frame).zip(out.chunks_exact_mut(n * n)) {
        let (probe, object) = (&model.probe.modes[pod.probe], &model.object.modes[pod.object]);
        exit_wave(out, probe, object, model.object.columns, corner);
    }
    out
}
