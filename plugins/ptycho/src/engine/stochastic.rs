//! Stochastic engines: one frame after the other, each in an order of its own.

use std::sync::Mutex;

use isard_core::Result;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Told;
use super::own::Own;
use super::projection::products;
use super::settings::{Method, Settings};
use crate::model::{Corner, Frame, Layers, Model, Pod, Room, rows};
use crate::num::{Complex, Par, Real, Shelf, each};
use crate::overlap::{Lit, Met, Sums, onto_probe, step_object};
use crate::simd;

type C<T> = Complex<T>;

/// ePIE or SDR.
pub struct Stochastic<T> {
    settings: Settings,
    /// What mixes projections and products, and the steps.
    steps: Steps,
    /// One for each frame, where the engine needs them.
    pub(super) exit: Vec<Vec<C<T>>>,
    /// Iterations done.
    pub(super) iteration: u64,
    seed: u64,
    /// How many times as long the steps of frames are; nothing where all are whole.
    pub(super) weights: Vec<f64>,
    /// What a batch works in, kept from one to the next.
    waves: Vec<Vec<C<T>>>,
    shelf: Shelf<Sums<T>>,
    /// What probes of single frames have in common, if each has its own.
    pub(super) own: Option<Own>,
    /// Frames in order of their numbers, and steps of exit waves told as other programs do, to compare with them.
    reference: bool,
}

#[derive(Clone, Copy)]
struct Steps {
    abc: [f64; 3],
    /// What part of the norm is that of the pixel, for object and probe.
    local: [f64; 2],
    /// The length of the steps.
    length: [f64; 2],
    global: bool,
}

impl<T: Real> Stochastic<T> {
    /// An engine that shuffles frames by a seed.
    pub fn new(settings: &Settings, seed: u64) -> Stochastic<T> {
        let s = settings;
        let steps = match s.name {
            Method::SDR => {
                let (sigma, tau) = (s.sigma.unwrap_or(1.0), s.tau.unwrap_or(1.0));
                let local = [s.beta_object.unwrap_or(0.9), s.beta_probe.unwrap_or(0.1)];
                let abc = [1.0 - tau * (1.0 + sigma), tau, 1.0 + sigma];
                Steps { abc, local, length: local, global: false }
            }
            _ => Steps {
                abc: [0.0, 1.0, 1.0],
                local: [0.0; 2],
                length: [s.beta.unwrap_or(1.0), s.alpha.unwrap_or(1.0)],
                global: s.object_norm_is_global.unwrap_or(false),
            },
        };
        Stochastic {
            settings: s.clone(),
            steps,
            exit: vec![],
            iteration: 0,
            seed,
            weights: vec![],
            waves: vec![],
            shelf: Shelf::default(),
            own: Own::new(settings),
            reference: false,
        }
    }

    /// Takes frames in the order of their numbers and tells steps of exit waves as other programs do.
    pub fn comparable(mut self) -> Self {
        self.reference = true;
        self
    }

    /// How many times as long the steps of a frame are.
    fn weight(&self, frame: usize) -> f64 {
        self.weights.get(frame).copied().unwrap_or(1.0)
    }

    fn keeps_exit(&self) -> bool {
        self.steps.abc != [0.0, 1.0, 1.0]
    }

    /// Makes exit waves for frames that have none, if the engine needs them.
    pub fn added(&mut self, model: &Model<T>, fresh: &[bool]) {
        if !self.keeps_exit() {
            if self.reference {
                // All frames share one wave there, which begins as the last one's.
                self.exit = vec![products(model, fresh.len() - 1)];
            }
            return;
        }
        let mut old = std::mem::take(&mut self.exit).into_iter();
        for (frame, fresh) in fresh.iter().enumerate() {
            let kept = if *fresh { None } else { old.next() };
            self.exit.push(kept.unwrap_or_else(|| products(model, frame)));
        }
    }

    /// The order of frames in this iteration: it depends on the seed and the iteration alone.
    fn order(&self, frames: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..frames).collect();
        if !self.reference {
            let mut seed = [0u8; 32];
            seed[..8].copy_from_slice(&self.seed.to_le_bytes());
            seed[8..16].copy_from_slice(&self.iteration.to_le_bytes());
            order.shuffle(&mut ChaCha8Rng::from_seed(seed));
        }
        order
    }

    /// One iteration; `before` is asked for each frame first and may move it.
    pub fn iterate(
        &mut self,
        model: &mut Model<T>,
        par: Par,
        mut before: impl FnMut(&mut Model<T>, usize) -> Result<()>,
    ) -> Result<Told> {
        let probe_too = self.iteration >= self.settings.probe_update_start.unwrap_or(0);
        let order = self.order(model.frames.len());
        let mut told = Told::default();
        let mut most = None;
        for batch in order.chunks(self.settings.batch.unwrap_or(1).max(1)) {
            for frame in batch {
                before(model, *frame)?;
            }
            match batch {
                [one] if self.plain(model) => told.add(self.fused(model, *one, probe_too, &mut most)),
                [one] => told.add(self.one(model, *one, probe_too)),
                many => self.many(model, par, many, probe_too, &mut told)?,
            }
        }
        if let (Some(own), true) = (&self.own, probe_too) {
            let mut probe = model.probe.clone();
            own.reduce(model, &mut probe, par, self.iteration)?;
            model.probe = probe;
        }
        self.iteration += 1;
        if let Some(shift) = self.settings.probe_center_tol.and_then(|t| super::support::off_centre(model, t))
        {
            super::support::recentre(model, shift);
            super::support::move_exits(model, &mut self.exit, shift);
        }
        Ok(told)
    }

    /// Whether all steps are fractions of the largest light of one mode: then they can be taken as waves come back.
    fn plain(&self, model: &Model<T>) -> bool {
        let simple = model.camera.is_none() && model.pod_count() == 1;
        simple && self.exit.is_empty() && self.steps.local == [0.0; 2] && !self.steps.global
    }

    /// Takes the steps of one frame in two passes; `most` is the largest light of the probe, if it is known.
    fn fused(
        &mut self,
        model: &mut Model<T>,
        frame: usize,
        probe_too: bool,
        most: &mut Option<f64>,
    ) -> [f64; 3] {
        let (n, columns, corner) = (model.n(), model.object.columns, model.corner(frame));
        let (weight, mut room) = (self.weight(frame), model.take_room(1, 0));
        let Model { propagator, frames, probe, object, own, .. } = &mut *model;
        // What is known of another frame's probe says nothing of one's own.
        let (layer, known) = if own.is_some() { (frame, None) } else { (0, *most) };
        let (probe, object) = (&mut probe.modes[layer], &mut object.modes[0]);
        let Frame { amplitude, good, .. } = &frames[frame];
        let Room { fft, waves, .. } = &mut room;
        let wave = &mut waves[0];
        let corner = corner.y * columns + corner.x;
        let square = propagator.scale() * propagator.scale();
        let over = |length: f64, most: f64| T::of(if most > 0.0 { length / most } else { 0.0 });
        let light = known.unwrap_or_else(|| simd::largest_abs2(probe).wide());
        let mut errors = [0.0; 2];
        let fill = |first: usize, rows: &mut [C<T>]| {
            let at = first * n..first * n + rows.len();
            simd::window_product(rows, &probe[at], &object[corner + first * columns..], columns, n);
        };
        propagator.depart(fft, fill);
        propagator.turn(fft, |first, rows| {
            let at = first * n..first * n + rows.len();
            simd::ahead(&amplitude[at.end..(at.end + rows.len()).min(n * n)]);
            let [fourier, counted] = simd::measured_counts(rows, &amplitude[at], square);
            errors = [errors[0] + fourier, errors[1] + counted];
        });
        let (mut moved, mut shown, k) = (0.0, 0.0f64, over(weight * self.steps.length[0], light));
        let done = |first: usize, rows: &mut [C<T>]| {
            let at = first * n..first * n + rows.len();
            let window = &mut object[corner + first * columns..];
            let [left, top] = simd::window_step(rows, &probe[at], window, columns, n, k);
            (moved, shown) = (moved + left, shown.max(top));
        };
        propagator.arrive_in(wave, fft, done);
        *most = Some(light);
        if probe_too {
            let k = over(weight * self.steps.length[1], shown);
            *most = Some(simd::window_probe_step(probe, &object[corner..], wave, columns, n, k));
        }
        let pixels = (n * n) as f64;
        let told = [errors[0] / (*good).max(1) as f64, errors[1] / pixels, moved / pixels];
        model.shelf.put(room);
        told
    }

    /// Takes the steps of one frame.
    fn one(&mut self, model: &mut Model<T>, frame: usize, probe_too: bool) -> [f64; 3] {
        let (n, columns, corner) = (model.n(), model.object.columns, model.corner(frame));
        let pods: Vec<Pod> = model.pods(frame).collect();
        let (steps, layer) = (self.steps, model.own.map_or(0, |lights| frame * lights));
        let length = steps.length.map(|length| self.weight(frame) * length);
        let place = if self.keeps_exit() { frame } else { 0 };
        let exit = self.exit.get_mut(place);
        let mut room = model.take_room(pods.len(), 2);
        let told = project(model, frame, corner, exit, steps.abc, &mut room);
        let Room { waves, reals, .. } = &mut room;
        reals.iter_mut().for_each(|real| real.resize(n * n, T::zero()));
        let (blocks, [light, shown]) = (model.blocks(), reals.first_chunk_mut().expect("two were asked for"));
        for block in &blocks {
            let [base, share] = [1.0 - steps.local[0], steps.local[0]];
            light.fill(T::zero());
            let probes = &model.probe.modes[layer + block.probes.start..layer + block.probes.end];
            probes.iter().for_each(|m| simd::intensity_add(light, m, T::one()));
            let most = simd::largest(light);
            let weights = [length[0], base * most.wide(), share].map(T::of);
            for mode in block.objects.clone() {
                let object = &mut model.object.modes[mode];
                for (pod, wave) in pods.iter().zip(waves.iter()).filter(|(pod, _)| pod.object == mode) {
                    for (here, there) in rows(n, corner, columns) {
                        let probe = &model.probe.modes[pod.probe][here.clone()];
                        step(&mut object[there], probe, &wave[here.clone()], &light[here], weights);
                    }
                }
            }
        }
        for block in blocks.iter().filter(|_| probe_too) {
            for (here, there) in rows(n, corner, columns) {
                for (k, mode) in model.object.modes[block.objects.clone()].iter().enumerate() {
                    let row = &mode[there.clone()];
                    match k {
                        0 => simd::intensity(&mut shown[here.clone()], row, T::one()),
                        _ => simd::intensity_add(&mut shown[here.clone()], row, T::one()),
                    }
                }
            }
            let most = if steps.global { global(model) } else { simd::largest(shown).wide() };
            let [base, share] = [1.0 - steps.local[1], steps.local[1]];
            let weights = [length[1], base * most, share].map(T::of);
            for mode in layer + block.probes.start..layer + block.probes.end {
                let probe = &mut model.probe.modes[mode];
                for (pod, wave) in pods.iter().zip(waves.iter()).filter(|(pod, _)| pod.probe == mode) {
                    for (here, there) in rows(n, corner, columns) {
                        let (object, wave) = (&model.object.modes[pod.object][there], &wave[here.clone()]);
                        step(&mut probe[here.clone()], object, wave, &shown[here], weights);
                    }
                }
            }
        }
        tie(model, layer);
        model.shelf.put(room);
        told
    }

    /// Takes the steps of several frames together: all from the same probe and object.
    fn many(
        &mut self,
        model: &mut Model<T>,
        par: Par,
        batch: &[usize],
        probe_too: bool,
        told: &mut Told,
    ) -> Result<()> {
        let (n, columns) = (model.n(), model.object.columns);
        let (pods, simple) = (model.pod_count(), model.camera.is_none() && model.pod_count() == 1);
        let corners: Vec<Corner> = batch.iter().map(|k| model.corner(*k)).collect();
        let mut exits: Vec<Vec<C<T>>> =
            batch.iter().map(|k| self.exit.get_mut(*k).map(std::mem::take).unwrap_or_default()).collect();
        let mut kept = std::mem::take(&mut self.waves);
        kept.resize_with(kept.len().max(batch.len()), Vec::new);
        let waves = &mut kept[..batch.len()];
        waves.iter_mut().for_each(|w| w.resize(pods * n * n, C::default()));
        let results = Mutex::new(vec![[0.0; 3]; batch.len()]);
        let steps = self.steps;
        let work: Vec<_> = exits.iter_mut().zip(waves.iter_mut()).collect();
        each(par, work, |i, (exit, out)| {
            let told = if exit.is_empty() && simple {
                difference(model, batch[i], corners[i], out)
            } else {
                let exit = (!exit.is_empty()).then_some(&mut **exit);
                model.room(pods, 1, |room| {
                    let told = project(model, batch[i], corners[i], exit, steps.abc, room);
                    for (out, wave) in out.chunks_exact_mut(n * n).zip(&room.waves) {
                        out.copy_from_slice(wave);
                    }
                    told
                })
            };
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[i] = told;
            Ok(())
        })?;
        for (wave, k) in waves.iter_mut().zip(batch).filter(|(_, k)| self.weight(**k) != 1.0) {
            let weight = T::of(self.weight(*k));
            wave.iter_mut().for_each(|z| *z = z.scale(weight));
        }
        let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.into_iter().for_each(|r| told.add(r));
        for (k, exit) in batch.iter().zip(exits).filter(|(_, e)| !e.is_empty()) {
            self.exit[*k] = exit;
        }
        let blocks = model.blocks();
        for block in &blocks {
            let modes = &model.probe.modes[block.probes.clone()];
            let mut light = vec![T::zero(); n * n];
            modes.iter().for_each(|m| simd::intensity_add(&mut light, m, T::one()));
            let most = simd::largest(&light);
            let [length, local] = [steps.length[0], steps.local[0]];
            // Where windows overlap their light adds up: steps are divided by what is larger, that or the most of one.
            let floor = T::of((1.0 - local) * most.wide());
            let lit = Lit::of(modes);
            let probe = Met { modes, lit: &lit, first: block.first };
            let object = &mut model.object.modes[block.objects.clone()];
            step_object(par, probe, columns, &corners, waves, object, &self.shelf, |mode, sum, norm| {
                simd::add_over(mode, sum, norm, [floor, T::of(length)]);
            })?;
        }
        for block in blocks.iter().filter(|_| probe_too) {
            let mut sums = self.shelf.take().unwrap_or_default();
            sums.clear(block.probes.len(), n * n);
            let whole = Lit::whole(n);
            let modes = &model.object.modes[block.objects.clone()];
            let object = Met { modes, lit: &whole, first: block.first };
            onto_probe(par, object, columns, &corners, waves, &mut sums.waves, Some(&mut sums.norm))?;
            let most = simd::largest(&sums.norm);
            let floor = T::of((1.0 - steps.local[1]) * most.wide());
            for (mode, sum) in model.probe.modes[block.probes.clone()].iter_mut().zip(&sums.waves) {
                simd::add_over(mode, sum, &sums.norm, [floor, T::of(steps.length[1])]);
            }
            self.shelf.put(sums);
        }
        tie(model, 0);
        self.waves = kept;
        Ok(())
    }
}

/// Projects a frame of one mode; leaves what its exit wave differs from the product.
fn difference<T: Real>(model: &Model<T>, frame: usize, corner: Corner, out: &mut [C<T>]) -> [f64; 3] {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let square = propagator.scale() * propagator.scale();
    let (probe, object) = (&model.probe.modes[0], &model.object.modes[0][corner.y * columns + corner.x..]);
    let (mut errors, mut moved) = ([0.0; 2], 0.0);
    model.room(0, 0, |room| {
        let fill = |first: usize, rows: &mut [C<T>]| {
            let at = first * n..first * n + rows.len();
            simd::window_product(rows, &probe[at], &object[first * columns..], columns, n);
        };
        propagator.depart(&mut room.fft, fill);
        propagator.turn(&mut room.fft, |first, rows| {
            let at = first * n..first * n + rows.len();
            simd::ahead(&amplitude[at.end..(at.end + rows.len()).min(n * n)]);
            let [fourier, counted] = simd::measured_counts(rows, &amplitude[at], square);
            errors = [errors[0] + fourier, errors[1] + counted];
        });
        let done = |first: usize, rows: &mut [C<T>]| {
            let at = first * n..first * n + rows.len();
            moved += simd::window_minus(rows, &probe[at], &object[first * columns..], columns, n);
        };
        propagator.arrive_in(out, &mut room.fft, done);
    });
    let pixels = (n * n) as f64;
    [errors[0] / (*good).max(1) as f64, errors[1] / pixels, moved / pixels]
}

/// The most of the whole object.
fn global<T: Real>(model: &Model<T>) -> f64 {
    match model.object.modes.as_slice() {
        [one] => simd::largest_abs2(one).wide(),
        _ => simd::largest(&model.object.intensity()).wide(),
    }
}

/// Makes a frame's probes of all energies one again, from a layer on, where they are to be one.
fn tie<T: Real>(model: &mut Model<T>, first: usize) {
    let each = model.lights();
    let Some(camera) = &model.camera else { return };
    let here = &mut model.probe.modes[first..first + each];
    let modes = here.iter_mut().map(std::mem::take).collect();
    let mut probe = Layers { modes, rows: model.probe.rows, columns: model.probe.columns };
    camera.tie(&mut probe, each);
    here.iter_mut().zip(probe.modes).for_each(|(to, mode)| *to = mode);
}

/// Adds `k conj(other) wave / (base + share norm)`; nothing where that has no meaning.
fn step<T: Real>(row: &mut [C<T>], other: &[C<T>], wave: &[C<T>], norm: &[T], [k, base, share]: [T; 3]) {
    if share != T::zero() {
        simd::add_conj_over(row, other, wave, norm, [k, base, share]);
    } else if base > T::zero() {
        simd::add_conj_scaled(row, other, wave, k / base);
    }
}

/// Projects a frame; leaves in the room what its exit waves differ from the products.
fn project<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    mut exit: Option<&mut Vec<C<T>>>,
    [a, b, c]: [f64; 3],
    room: &mut Room<T>,
) -> [f64; 3] {
    let (n, columns) = (model.n(), model.object.columns);
    let pixels = n * n;
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let part = |k: usize| k * pixels..(k + 1) * pixels;
    let at = |pod: Pod| (&model.probe.modes[pod.probe], &model.object.modes[pod.object]);
    let mut photons = 0.0;
    if exit.is_some() {
        model.expect(frame, corner, room);
        photons = simd::photon_error(&room.reals[0], amplitude);
    }
    let Room { fft, dark, waves, reals } = room;
    let power = &mut reals[0];
    power.clear();
    power.resize(model.pixels(), T::zero());
    for (k, pod) in model.pods(frame).enumerate() {
        let wave = &mut waves[k];
        match &exit {
            None => model.exit(pod, corner, wave),
            Some(exit) => {
                let (psi, (probe, object)) = (&exit[part(k)], at(pod));
                wave.resize(pixels, C::default());
                for (here, there) in rows(n, corner, columns) {
                    let out = &mut wave[here.clone()];
                    simd::mixed(out, &psi[here.clone()], &probe[here], &object[there], T::of(c));
                }
            }
        }
        model.forward(pod, wave, fft, dark);
        model.add_power(pod, wave, power);
    }
    let fourier = if exit.is_some() {
        simd::amplitude_error(power, amplitude)
    } else {
        let [fourier, counted] = simd::both_errors(power, amplitude);
        photons = counted;
        fourier
    };
    simd::factor(power, amplitude, T::zero(), model.square());
    let mut moved = 0.0;
    for (k, pod) in model.pods(frame).enumerate() {
        let ((probe, object), wave) = (at(pod), &mut waves[k]);
        model.scale_by(pod, wave, power, T::one());
        model.backward(pod, wave, fft, dark);
        if let Some(exit) = &mut exit {
            let psi = &mut exit[part(k)];
            let weights = [b, a, -(a + b)].map(T::of);
            for (here, there) in rows(n, corner, columns) {
                let f = &wave[here.clone()];
                moved += simd::relax(&mut psi[here.clone()], f, &probe[here], &object[there], weights);
            }
            wave.copy_from_slice(psi);
        }
        for (here, there) in rows(n, corner, columns) {
            let left = simd::minus_product(&mut wave[here.clone()], &probe[here], &object[there]);
            if exit.is_none() {
                moved += left;
            }
        }
    }
    [fourier / (*good).max(1) as f64, photons / model.pixels() as f64, moved / pixels as f64]
}

#[cfg(test)]
#[path = "stochastic_tests.rs"]
mod tests;
#[cfg(test)]
pub(super) use tests::model as example;
