//! Projection engines: difference map, relaxed averaged alternating reflections, alternating projections.

use isard_core::Result;

use super::Told;
use super::settings::{Bound, Method, Settings};
use super::smooth;
use super::support::{Support, off_centre, recentre};
use crate::model::{Corner, Model, exit_wave, from_windows, into_windows, rows};
use crate::num::{Complex, Par, Real, each};
use crate::simd;

type C<T> = Complex<T>;

/// Frames whose exit waves are added up while they are at hand.
const BATCH: usize = 8;

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
}

/// What the Fourier update needs to know.
struct Terms<T> {
    /// What the exit wave is mixed with its product by.
    c: T,
    /// The weights of a step out of the projection, the product and the wave.
    outside: [T; 3],
    /// The same for frames within the bound.
    within: T,
    bound: f64,
    photons: bool,
}

impl<T: Real> Projection<T> {
    /// An engine without exit waves.
    pub fn new(settings: &Settings, n: usize) -> Projection<T> {
        let support =
            Support::new(n, Some(settings.probe_support.unwrap_or(0.7)), settings.probe_fourier_support);
        Projection { settings: settings.clone(), support, exit: vec![], before: None, iteration: 0 }
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
        let (n, columns) = (model.n(), model.object.columns);
        let mut sums = model.object.zeros().modes;
        let mut told = Told::default();
        let pods: Vec<(usize, usize)> = model.pods().collect();
        for (k, batch) in self.exit.chunks_mut(BATCH).enumerate() {
            let first = k * BATCH;
            let here = &corners[first..first + batch.len()];
            let work: Vec<(&mut Vec<C<T>>, [f64; 4])> = batch.iter_mut().map(|b| (b, [0.0; 4])).collect();
            let results = std::sync::Mutex::new(vec![[0.0; 4]; here.len()]);
            each(par, work, |i, (exit, out)| {
                *out = fourier(model, first + i, here[i], exit, &terms);
                let mut all = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                all[i] = *out;
                Ok(())
            })?;
            let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            for [fourier, photons, exit, within] in results {
                told.add([fourier, photons, exit]);
                told.within += within as usize;
            }
            if object_first {
                into_windows(par, &mut sums, columns, n, here, |mode, row, item, r, _| {
                    for (index, (p, _)) in pods.iter().enumerate().filter(|(_, (_, o))| *o == mode) {
                        let from = index * n * n + r;
                        simd::add_conj(row, &model.probe.modes[*p][r..r + n], &batch[item][from..from + n]);
                    }
                })?;
            }
        }
        self.overlap(model, par, &corners, sums, object_first, probe_too)?;
        self.centre(model);
        self.iteration += 1;
        Ok(told)
    }

    /// Updates object and probe from the exit waves.
    fn overlap(
        &mut self,
        model: &mut Model<T>,
        par: Par,
        corners: &[Corner],
        sums: Vec<Vec<C<T>>>,
        object_first: bool,
        probe_too: bool,
    ) -> Result<()> {
        let mut sums = object_first.then_some(sums);
        let rounds = self.settings.overlap_max_iterations.unwrap_or(10).max(1);
        for round in 0..rounds {
            if round > 0 || object_first {
                let ready = match sums.take() {
                    Some(sums) => sums,
                    None => self.object_sums(model, par, corners)?,
                };
                self.update_object(model, par, corners, ready)?;
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

    fn object_sums(&self, model: &Model<T>, par: Par, corners: &[Corner]) -> Result<Vec<Vec<C<T>>>> {
        let n = model.n();
        let mut sums = model.object.zeros().modes;
        let pods: Vec<(usize, usize)> = model.pods().collect();
        into_windows(par, &mut sums, model.object.columns, n, corners, |mode, row, item, r, _| {
            for (index, (p, _)) in pods.iter().enumerate().filter(|(_, (_, o))| *o == mode) {
                let from = index * n * n + r;
                simd::add_conj(row, &model.probe.modes[*p][r..r + n], &self.exit[item][from..from + n]);
            }
        })?;
        Ok(sums)
    }

    fn update_object(
        &self,
        model: &mut Model<T>,
        par: Par,
        corners: &[Corner],
        sums: Vec<Vec<C<T>>>,
    ) -> Result<()> {
        let s = &self.settings;
        let inertia = T::of(s.object_inertia.unwrap_or(1e-4) * model.powers().mean);
        let (n, columns) = (model.n(), model.object.columns);
        let light = model.probe.intensity();
        let mut norm = [vec![T::zero(); model.object.rows * columns]];
        into_windows(par, &mut norm, columns, n, corners, |_, row, _, r, _| {
            simd::add(row, &light[r..r + n])
        })?;
        for (mode, sum) in model.object.modes.iter_mut().zip(sums) {
            let held;
            let held = match s.obj_smooth_std {
                Some(sigma) => {
                    held = smooth::gaussian(mode, columns, sigma);
                    &held
                }
                None => &*mode,
            };
            let mut next: Vec<C<T>> = Vec::with_capacity(sum.len());
            for ((held, sum), norm) in held.iter().zip(&sum).zip(&norm[0]) {
                let over = T::one() / (inertia + *norm);
                let z = C::new((inertia * held.re + sum.re) * over, (inertia * held.im + sum.im) * over);
                // Where neither light nor inertia is, nothing is known.
                next.push(if over.is_finite() { z } else { *held });
            }
            if let Some([low, high]) = s.clip_object {
                let (low, high) = (T::of(low), T::of(high));
                for z in &mut next {
                    let a = z.norm();
                    if a > high {
                        *z = z.scale(high / a);
                    } else if a < low {
                        *z = if a > T::zero() { z.scale(low / a) } else { C::new(low, T::zero()) };
                    }
                }
            }
            *mode = next;
        }
        Ok(())
    }

    /// Updates the probe; gives how much it changed.
    fn update_probe(&mut self, model: &mut Model<T>, par: Par, corners: &[Corner]) -> Result<f64> {
        let (n, columns) = (model.n(), model.object.columns);
        let (frames, modes) = (model.frames.len(), model.object.modes.len());
        let inertia = T::of(self.settings.probe_inertia.unwrap_or(1e-9) * (frames * modes) as f64);
        let pods: Vec<(usize, usize)> = model.pods().collect();
        let mut sums = model.probe.zeros().modes;
        from_windows(par, &mut sums, columns, n, corners, |mode, row, item, r, there| {
            for (index, (_, o)) in pods.iter().enumerate().filter(|(_, (p, _))| *p == mode) {
                let from = index * n * n + r;
                let object = &model.object.modes[*o][there..there + n];
                simd::add_conj(row, object, &self.exit[item][from..from + n]);
            }
        })?;
        let shown = model.object.intensity();
        let mut norm = [vec![T::zero(); n * n]];
        from_windows(par, &mut norm, columns, n, corners, |_, row, _, _, there| {
            simd::add(row, &shown[there..there + n])
        })?;
        let mut probe = model.probe.clone();
        for (mode, sum) in probe.modes.iter_mut().zip(&sums) {
            for ((z, sum), norm) in mode.iter_mut().zip(sum).zip(&norm[0]) {
                let over = T::one() / (inertia + *norm);
                let next = C::new((inertia * z.re + sum.re) * over, (inertia * z.im + sum.im) * over);
                *z = if over.is_finite() { next } else { *z };
            }
        }
        self.support.apply(model, &mut probe);
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
        let n = model.n();
        for exit in self.exit.iter_mut().flat_map(|e| e.chunks_exact_mut(n * n)) {
            exit.copy_from_slice(&super::support::moved(exit, n, shift, C::default()));
        }
        if let Some(before) = &mut self.before {
            before.iter_mut().for_each(|m| *m = super::support::moved(m, n, shift, C::default()));
        }
    }
}

/// The products of a frame.
pub(super) fn products<T: Real>(model: &Model<T>, frame: usize) -> Vec<C<T>> {
    let (n, corner) = (model.n(), model.corner(frame));
    let mut out = vec![C::default(); model.pod_count() * n * n];
    for ((p, o), out) in model.pods().zip(out.chunks_exact_mut(n * n)) {
        exit_wave(out, &model.probe.modes[p], &model.object.modes[o], model.object.columns, corner);
    }
    out
}

/// Moves the exit waves of a frame; gives three errors and whether it was within the bound.
fn fourier<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    exit: &mut [C<T>],
    terms: &Terms<T>,
) -> [f64; 4] {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let (pods, scale) = (model.pod_count(), propagator.scale());
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let part = |k: usize| k * n * n..(k + 1) * n * n;
    model.room(pods, 1, |room| {
        let (waves, model_power) = (&mut room.waves, &mut room.reals[0]);
        let mut photons = 0.0;
        if terms.photons {
            for (k, (p, o)) in model.pods().enumerate() {
                exit_wave(&mut waves[0], &model.probe.modes[p], &model.object.modes[o], columns, corner);
                propagator.forward(&mut waves[0], &mut room.fft);
                match k {
                    0 => simd::intensity(model_power, &waves[0], scale * scale),
                    _ => simd::intensity_add(model_power, &waves[0], scale * scale),
                }
            }
            photons = simd::photon_error(model_power, amplitude) / (n * n) as f64;
        }
        for (k, (p, o)) in model.pods().enumerate() {
            let (probe, object, psi) = (&model.probe.modes[p], &model.object.modes[o], &exit[part(k)]);
            for (here, there) in rows(n, corner, columns) {
                let out = &mut waves[k][here.clone()];
                simd::mixed(out, &psi[here.clone()], &probe[here], &object[there], terms.c);
            }
            propagator.forward(&mut waves[k], &mut room.fft);
            match k {
                0 => simd::intensity(model_power, &waves[k], scale * scale),
                _ => simd::intensity_add(model_power, &waves[k], scale * scale),
            }
        }
        let error = simd::amplitude_error(model_power, amplitude) / (*good).max(1) as f64;
        let outside = error > terms.bound;
        let weights = match outside {
            true => terms.outside,
            false => [T::zero(), terms.within, -terms.within],
        };
        if outside {
            simd::factor(model_power, amplitude, T::of((terms.bound / error).sqrt()), scale * scale);
        }
        let mut moved = 0.0;
        for (k, (p, o)) in model.pods().enumerate() {
            if outside {
                simd::scale_by(&mut waves[k], model_power);
                propagator.backward(&mut waves[k], &mut room.fft);
            }
            let (probe, object, psi) = (&model.probe.modes[p], &model.object.modes[o], &mut exit[part(k)]);
            for (here, there) in rows(n, corner, columns) {
                let f = &waves[k][here.clone()];
                moved += simd::relax(&mut psi[here.clone()], f, &probe[here], &object[there], weights);
            }
        }
        [error, photons, moved / (n * n) as f64, f64::from(u8::from(!outside))]
    })
}

use crate::model::Frame;
