//! Maximum likelihood by nonlinear conjugate gradients.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use isard_core::Result;

use super::Told;
use super::descent::{ray, residual};
use super::line;
use super::noise::Terms;
use super::own::Own;
use super::prior;
use super::settings::{Line, Settings};
use super::smooth;
use super::support::{Support, off_centre, recentre};
use crate::model::{Corner, Layers, Model};
use crate::num::{Complex, Par, Real, each, side_by_side};
use crate::overlap::{Lit, Met, light_object, light_probe, onto_object, onto_probe};
use crate::simd;

type C<T> = Complex<T>;

/// How much of the probe's scale is remembered.
const MEMORY: f64 = 0.9;

/// The engine and its conjugate directions.
pub struct Likelihood<T> {
    settings: Settings,
    support: Support,
    pub(super) memory: Option<Memory<T>>,
    /// The probe's scale, once there was one.
    pub(super) scale: Option<f64>,
    /// The smoothing of the object's gradient now.
    pub(super) sigma: f64,
    /// Brightness of each frame, if they float.
    pub(super) floats: Vec<f64>,
    /// Iterations done.
    pub(super) iteration: u64,
    /// What probes of single frames have in common, if each has its own.
    pub(super) own: Option<Own>,
}

/// Gradients and directions of the iteration before, times the step.
#[derive(Clone)]
pub(super) struct Memory<T> {
    pub object_gradient: Layers<T>,
    pub probe_gradient: Layers<T>,
    pub object_step: Layers<T>,
    pub probe_step: Layers<T>,
    pub length: f64,
}

/// Gradients of the likelihood.
struct Gradient<T> {
    object: Layers<T>,
    probe: Layers<T>,
}

impl<T: Real> Likelihood<T> {
    /// An engine without memory.
    pub fn new(settings: &Settings, n: usize) -> Likelihood<T> {
        let support =
            Support::new(n, Some(settings.probe_support.unwrap_or(0.7)), settings.probe_fourier_support);
        let sigma = settings.smooth_gradient.unwrap_or(0.0);
        let (settings, own) = (settings.clone(), Own::new(settings));
        Likelihood { settings, support, memory: None, scale: None, sigma, floats: vec![], iteration: 0, own }
    }

    /// Forgets directions: frames came, or the object grew.
    pub fn added(&mut self) {
        self.memory = None;
    }

    fn terms(&self) -> Terms {
        Terms {
            noise: self.settings.ml_type.unwrap_or_default(),
            renorm: self.settings.intensity_renormalization.unwrap_or(1.0),
            floats: self.settings.floating_intensities.unwrap_or(false),
        }
    }

    /// One iteration; gives the errors.
    pub fn iterate(&mut self, model: &mut Model<T>, par: Par) -> Result<Told> {
        let s = self.settings.clone();
        let corners: Vec<Corner> = (0..model.frames.len()).map(|k| model.corner(k)).collect();
        let probe_too = self.iteration >= s.probe_update_start.unwrap_or(2);
        let rho = prior::weight(model, &s);
        let mut told = Told::default();
        let mut g = self.gradient(model, par, &corners, probe_too, &mut told)?;
        prior::gradient(&model.object, rho, &mut g.object);
        if probe_too {
            model.tie(&mut g.probe);
            self.support.apply(model, &mut g.probe);
        }
        self.sigma *= 1.0 - s.smooth_gradient_decay.unwrap_or(0.0);
        let lit = match s.wavefield_precond.unwrap_or(false) {
            true => Some(self.wavefield(model, par, &corners)?),
            false => None,
        };
        self.precondition(&mut g, &lit, probe_too);
        let (norm_o, norm_p) = (g.object.norm2(), g.probe.norm2());
        // A probe that belongs to one frame alone is seen so many times less than one of all.
        let alike = if model.own.is_some() { corners.len() as f64 } else { 1.0 };
        let wanted = s.scale_probe_object.unwrap_or(1.0) * alike;
        // What a probe of one frame gains and what the object does are of sizes that have nothing to do with each other.
        let scale = match s.scale_precond.unwrap_or(model.own.is_some()) {
            true => {
                let now = if norm_p > 1e-5 { wanted * norm_o / norm_p } else { wanted };
                self.scale.map_or(now, |old| old.powf(MEMORY) * now.powf(1.0 - MEMORY))
            }
            false => wanted,
        };
        self.scale = Some(scale);
        let beta = self.memory.as_ref().map_or(0.0, |m| {
            let over = scale * m.probe_gradient.norm2() + m.object_gradient.norm2();
            let up =
                scale * (norm_p - g.probe.dot(&m.probe_gradient)) + norm_o - g.object.dot(&m.object_gradient);
            if over > 0.0 { (up / over).max(0.0) } else { 0.0 }
        });
        times(&mut g.probe, T::of(scale));
        let mut down = Gradient { object: g.object.clone(), probe: g.probe.clone() };
        self.precondition(&mut down, &lit, probe_too);
        if let Some(own) = self.own.as_ref().filter(|_| probe_too && model.own.is_some()) {
            // Only what frames have in common is left of a step in the end: the search is for its length.
            own.reduce(model, &mut down.probe, par, self.iteration)?;
        }
        let (mut step_o, mut step_p) = match self.memory.take() {
            Some(m) if beta > 0.0 && m.length != 0.0 => {
                let k = T::of(beta / m.length);
                let (mut o, mut p) = (m.object_step, m.probe_step);
                times(&mut o, k);
                times(&mut p, k);
                (o, p)
            }
            _ => (model.object.zeros(), model.probe.zeros()),
        };
        minus(&mut step_o, &down.object);
        minus(&mut step_p, &down.probe);
        let length = self.search(model, par, &corners, rho, [&step_o, &step_p], probe_too)?;
        times(&mut step_o, T::of(length));
        times(&mut step_p, T::of(length));
        plus(&mut model.object, &step_o);
        plus(&mut model.probe, &step_p);
        self.memory = Some(Memory {
            object_gradient: g.object,
            probe_gradient: g.probe,
            object_step: step_o,
            probe_step: step_p,
            length,
        });
        if let Some(own) = self.own.as_ref().filter(|_| probe_too && model.own.is_some()) {
            let mut probe = model.probe.clone();
            own.reduce(model, &mut probe, par, self.iteration)?;
            model.probe = probe;
        }
        if let Some(shift) = s.probe_center_tol.and_then(|t| off_centre(model, t)) {
            recentre(model, shift);
            self.memory = None;
        }
        self.iteration += 1;
        Ok(told)
    }

    fn gradient(
        &mut self,
        model: &Model<T>,
        par: Par,
        corners: &[Corner],
        probe_too: bool,
        told: &mut Told,
    ) -> Result<Gradient<T>> {
        let (n, columns) = (model.n(), model.object.columns);
        let (count, blocks) = (model.pod_count(), model.blocks());
        let terms = self.terms();
        let mut g = Gradient { object: model.object.zeros(), probe: model.probe.zeros() };
        // Residuals are added up while they are at hand.
        let many = side_by_side();
        let (lit, seen) = (Lit::of(&model.probe.modes), self.support.seen(n));
        let mut waves: Vec<Vec<C<T>>> = vec![vec![C::default(); count * n * n]; many.min(corners.len())];
        self.floats.resize(corners.len(), 1.0);
        for first in (0..corners.len()).step_by(many) {
            let here = &corners[first..(first + many).min(corners.len())];
            let results = Mutex::new(vec![(0.0, 1.0); here.len()]);
            each(par, waves[..here.len()].iter_mut().collect(), |i, out| {
                let told = residual(model, first + i, here[i], out, &terms);
                results.lock().unwrap_or_else(PoisonError::into_inner)[i] = told;
                Ok(())
            })?;
            for (i, (error, float)) in
                results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().enumerate()
            {
                told.add([0.0, error / model.pixels() as f64, 0.0]);
                self.floats[first + i] = float;
            }
            let shares = match model.own {
                Some(lights) => (0..here.len()).map(|i| ((first + i) * lights, i..i + 1)).collect(),
                None => vec![(0, 0..here.len())],
            };
            for (layer, frames) in shares {
                let (here, waves) = (&here[frames.clone()], &waves[frames]);
                for block in &blocks {
                    let probes = layer + block.probes.start..layer + block.probes.end;
                    let (modes, first) = (&model.probe.modes[probes.clone()], block.first);
                    let probe = Met { modes, lit: &lit, first };
                    let images = &mut g.object.modes[block.objects.clone()];
                    onto_object(par, probe, columns, here, waves, images, None)?;
                    if probe_too {
                        let modes = &model.object.modes[block.objects.clone()];
                        let object = Met { modes, lit: &seen, first };
                        onto_probe(par, object, columns, here, waves, &mut g.probe.modes[probes], None)?;
                    }
                }
            }
        }
        Ok(g)
    }

    /// How strongly each object and probe pixel is lit: what their gradients are divided by.
    ///
    /// One image for layers that are lit alike, which lie together.
    fn wavefield(&self, model: &Model<T>, par: Par, corners: &[Corner]) -> Result<[Vec<Vec<T>>; 2]> {
        let (n, columns) = (model.n(), model.object.columns);
        let (blocks, shares) = (model.blocks(), model.shares());
        let part = |layers: &Layers<T>, of: Range<usize>| {
            let mut out = vec![T::zero(); layers.rows * layers.columns];
            layers.modes[of].iter().for_each(|m| simd::intensity_add(&mut out, m, T::one()));
            out
        };
        let mut objects = vec![];
        for block in &blocks {
            let mut object = vec![T::zero(); model.object.rows * columns];
            for (layer, frames) in &shares {
                let light = part(&model.probe, layer + block.probes.start..layer + block.probes.end);
                light_object(par, &light, columns, &corners[frames.clone()], &mut object)?;
            }
            objects.push(object);
        }
        let mut probes = vec![];
        for (_, frames) in &shares {
            for block in &blocks {
                let mut probe = vec![T::zero(); n * n];
                let shown = part(&model.object, block.objects.clone());
                light_probe(par, &shown, columns, &corners[frames.clone()], &mut probe)?;
                probes.push(probe);
            }
        }
        let root = |images: Vec<Vec<T>>, delta: Option<f64>| {
            let delta = T::of(delta.unwrap_or(0.1));
            let one = |image: Vec<T>| image.into_iter().map(|x| T::one() / (x + delta).sqrt()).collect();
            images.into_iter().map(one).collect::<Vec<Vec<T>>>()
        };
        let s = &self.settings;
        Ok([root(objects, s.wavefield_delta_object), root(probes, s.wavefield_delta_probe)])
    }

    fn precondition(&self, g: &mut Gradient<T>, lit: &Option<[Vec<Vec<T>>; 2]>, probe_too: bool) {
        if self.sigma > 0.0 {
            let columns = g.object.columns;
            g.object.modes.iter_mut().for_each(|m| *m = smooth::gaussian(m, columns, self.sigma));
        }
        if let Some([object, probe]) = lit {
            let scale = |layers: &mut Layers<T>, by: &[Vec<T>]| {
                let each = layers.modes.len() / by.len();
                layers.modes.iter_mut().enumerate().for_each(|(k, m)| simd::scale_by(m, &by[k / each]));
            };
            scale(&mut g.object, object);
            if probe_too {
                scale(&mut g.probe, probe);
            }
        }
    }

    /// The length of the step along directions.
    fn search(
        &self,
        model: &Model<T>,
        par: Par,
        corners: &[Corner],
        rho: f64,
        [step_o, step_p]: [&Layers<T>; 2],
        probe_too: bool,
    ) -> Result<f64> {
        let terms = self.terms();
        let all = self.settings.poly_line_coeffs == Some(Line::All);
        let sums = Mutex::new(vec![[0.0f64; 9]; corners.len()]);
        par(corners.len(), &|k| {
            let found = ray(model, k, corners[k], [step_o, step_p], probe_too, &terms, self.floats[k], all);
            sums.lock().unwrap_or_else(PoisonError::into_inner)[k] = found;
            Ok(())
        })?;
        let mut b = [0.0; 9];
        for one in sums.into_inner().unwrap_or_else(PoisonError::into_inner) {
            b.iter_mut().zip(one).for_each(|(b, x)| *b += x);
        }
        let [c1, c2] = prior::ray(&model.object, step_o, rho);
        b[1] += c1;
        b[2] += c2;
        b.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
        if all {
            return Ok(line::lowest(&b));
        }
        Ok(if b[2] != 0.0 { -0.5 * b[1] / b[2] } else { 0.0 })
    }
}

fn times<T: Real>(layers: &mut Layers<T>, k: T) {
    layers.modes.iter_mut().flatten().for_each(|z| *z = C::new(z.re * k, z.im * k));
}

fn minus<T: Real>(layers: &mut Layers<T>, other: &Layers<T>) {
    let all = layers.modes.iter_mut().flatten().zip(other.modes.iter().flatten());
    all.for_each(|(a, b)| *a = *a - *b);
}

fn plus<T: Real>(layers: &mut Layers<T>, other: &Layers<T>) {
    let all = layers.modes.iter_mut().flatten().zip(other.modes.iter().flatten());
    all.for_each(|(a, b)| *a = *a + *b);
}
