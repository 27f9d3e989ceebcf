//! Projection engines: difference map, relaxed averaged alternating reflections, alternating projections.

use isard_core::Result;

use super::Told;
use super::settings::{Bound, Method, Settings};
use super::smooth;
use super::support::{Support, off_centre, recentre};
use crate::model::{Corner, Frame, Model, Room, exit_wave};
use crate::num::{Complex, Par, Real, each, side_by_side};
use crate::overlap::{Sums, onto_object, onto_probe};
use crate::simd;

type C<T> = Complex<T>;

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
        let columns = model.object.columns;
        let mut sums = Sums::new(model.object.modes.len(), model.object.rows * columns);
        let mut told = Told::default();
        // Exit waves are added up while they are at hand.
        let many = side_by_side();
        for (k, batch) in self.exit.chunks_mut(many).enumerate() {
            let first = k * many;
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
                let norm = Some(&mut sums.norm);
                onto_object(par, &model.probe.modes, columns, here, batch, &mut sums.waves, norm)?;
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
        sums: Sums<T>,
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
                self.update_object(model, ready);
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

    fn object_sums(&self, model: &Model<T>, par: Par, corners: &[Corner]) -> Result<Sums<T>> {
        let mut sums = Sums::new(model.object.modes.len(), model.object.rows * model.object.columns);
        let (probe, columns) = (&model.probe.modes, model.object.columns);
        onto_object(par, probe, columns, corners, &self.exit, &mut sums.waves, Some(&mut sums.norm))?;
        Ok(sums)
    }

    fn update_object(&self, model: &mut Model<T>, sums: Sums<T>) {
        let s = &self.settings;
        let inertia = T::of(s.object_inertia.unwrap_or(1e-4) * model.powers().mean);
        let columns = model.object.columns;
        for (mode, sum) in model.object.modes.iter_mut().zip(sums.waves) {
            let held;
            let held = match s.obj_smooth_std {
                Some(sigma) => {
                    held = smooth::gaussian(mode, columns, sigma);
                    &held
                }
                None => &*mode,
            };
            let mut next: Vec<C<T>> = Vec::with_capacity(sum.len());
            for ((held, sum), norm) in held.iter().zip(&sum).zip(&sums.norm) {
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
    }

    /// Updates the probe; gives how much it changed.
    fn update_probe(&mut self, model: &mut Model<T>, par: Par, corners: &[Corner]) -> Result<f64> {
        let (frames, modes) = (model.frames.len(), model.object.modes.len());
        let inertia = T::of(self.settings.probe_inertia.unwrap_or(1e-9) * (frames * modes) as f64);
        let mut sums = Sums::new(model.probe.modes.len(), model.n() * model.n());
        let (object, columns) = (&model.object.modes, model.object.columns);
        onto_probe(par, object, columns, corners, &self.exit, &mut sums.waves, Some(&mut sums.norm))?;
        let mut probe = model.probe.clone();
        for (mode, sum) in probe.modes.iter_mut().zip(&sums.waves) {
            for ((z, sum), norm) in mode.iter_mut().zip(sum).zip(&sums.norm) {
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
    let (part, square) = (|k: usize| k * n * n..(k + 1) * n * n, scale * scale);
    let from = corner.y * columns + corner.x;
    model.room(pods, 1, |room| {
        let Room { fft, waves, reals } = room;
        let power = &mut reals[0];
        let mut photons = 0.0;
        if terms.photons {
            for (k, (p, o)) in model.pods().enumerate() {
                let (probe, object) = (&model.probe.modes[p], &model.object.modes[o][from..]);
                let fill = |first: usize, rows: &mut [C<T>]| {
                    let at = first * n..first * n + rows.len();
                    simd::window_product(rows, &probe[at], &object[first * columns..], columns, n);
                };
                let done = |first: usize, rows: &mut [C<T>]| {
                    let power = &mut power[first * n..first * n + rows.len()];
                    match k {
                        0 => simd::intensity(power, rows, square),
                        _ => simd::intensity_add(power, rows, square),
                    }
                };
                propagator.forward_through(&mut waves[0], fft, fill, done);
            }
            photons = simd::photon_error(power, amplitude) / (n * n) as f64;
        }
        let mut error = 0.0;
        for (k, (p, o)) in model.pods().enumerate() {
            let (probe, object) = (&model.probe.modes[p], &model.object.modes[o][from..]);
            let psi = &exit[part(k)];
            let fill = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let object = &object[first * columns..];
                // Exit waves and amplitudes come from far away: the next rows are on their way while these are transformed.
                let next = at.end..(at.end + rows.len()).min(n * n);
                simd::ahead(&psi[next.clone()]);
                simd::ahead(&amplitude[next]);
                simd::window_mixed(rows, &psi[at.clone()], &probe[at], object, columns, n, terms.c);
            };
            let done = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let (power, amplitude) = (&mut power[at.clone()], &amplitude[at]);
                match k {
                    0 if pods == 1 => error += simd::power_error(power, rows, amplitude, square),
                    0 => simd::intensity(power, rows, square),
                    _ => simd::intensity_add(power, rows, square),
                }
            };
            propagator.forward_with(&mut waves[k], fft, fill, done);
        }
        if pods > 1 {
            error = simd::amplitude_error(power, amplitude);
        }
        let error = error / (*good).max(1) as f64;
        let outside = error > terms.bound;
        let slack = T::of((terms.bound / error).sqrt());
        let weights = match outside {
            true => terms.outside,
            false => [T::zero(), terms.within, -terms.within],
        };
        if outside && pods > 1 {
            simd::factor(power, amplitude, slack, square);
        }
        let mut moved = 0.0;
        for (k, (p, o)) in model.pods().enumerate() {
            let (probe, object) = (&model.probe.modes[p], &model.object.modes[o][from..]);
            let psi = &mut exit[part(k)];
            let mut done = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let object = &object[first * columns..];
                let (psi, probe) = (&mut psi[at.clone()], &probe[at]);
                moved += simd::window_relax(psi, rows, probe, object, columns, n, weights);
            };
            if !outside {
                done(0, &mut waves[k]);
                continue;
            }
            let fill = |first: usize, wave: &[C<T>], rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                match pods {
                    1 => simd::factor_scale(rows, wave, &power[at.clone()], &amplitude[at], slack, square),
                    _ => simd::scaled(rows, wave, &power[at]),
                }
            };
            propagator.backward_through(&mut waves[k], fft, fill, done);
        }
        [error, photons, moved / (n * n) as f64, f64::from(u8::from(!outside))]
    })
}
