//! A reconstruction from its first frame to its last iteration.

use std::collections::BTreeSet;

use isard_core::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::camera::{Camera, Coherence, finer};
use crate::engine::{Engine, Method, Positions, Settings, Told};
use crate::geometry::Geometry;
use crate::illumination::{Illumination, Light};
use crate::model::{Frame, Model};
use crate::num::{Complex, Par, narrow};
use crate::propagate::Propagator;
use crate::start::{GivenObject, Start, mean_wave, stxm};

/// The part of an engine's iterations that work done while frames arrived can stand for.
const CREDIT: f64 = 0.5;
/// What such an iteration is worth when all frames were there, and how fast that falls with those that were not.
const WORTH: (f64, i32) = (0.5, 4);
/// Iterations that early work must be worth to be kept.
const KEPT: f64 = 4.0;

/// What frames weigh while others arrive: half as much after each so many of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ageing(pub f64);

impl Ageing {
    /// What a frame weighs after so many others came.
    pub fn weight(self, others: u64) -> f64 {
        (-(others as f64) / self.0).exp2()
    }

    /// What so many frames weigh together.
    pub fn sum(self, frames: usize) -> f64 {
        let lost = |others: f64| (-others / self.0 * std::f64::consts::LN_2).exp_m1();
        lost(frames as f64) / lost(1.0)
    }
}

/// What a reconstruction is told.
#[derive(Clone, Debug)]
pub struct Task {
    /// The engines, one after the other.
    pub engines: Vec<Settings>,
    /// The probe to begin with, unless one is given.
    pub illumination: Illumination,
    /// The energies of the light.
    pub coherence: Coherence,
    /// How many times finer waves are on the detector than the camera.
    pub resample: usize,
    /// Modes of the object.
    pub object_modes: usize,
    /// What unseen object pixels hold.
    pub fill: Complex<f64>,
    /// What the object is to begin with, unless one is given.
    pub start: Start,
    /// Frames before anything begins.
    pub min_frames: usize,
    /// How frames lose weight while others arrive, if they do.
    pub ageing: Option<Ageing>,
    /// Iterations from one error in counts to the next, for engines where it costs.
    pub photons_every: u64,
    /// The seed.
    pub seed: u64,
}

/// The errors of one iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Which iteration of all.
    pub iteration: u64,
    /// Which engine; none while frames arrived.
    pub engine: Option<usize>,
    /// Errors in amplitude and counts, and the step of exit waves; not a number where not worked out.
    pub errors: [f64; 3],
    /// How many frames there were.
    pub frames: usize,
}

/// A reconstruction at work.
pub struct Session {
    /// What it was told.
    pub task: Task,
    /// The experiment, with the window of the object that a frame sees and the pixels of waves on the detector.
    pub geometry: Geometry,
    /// What it works on.
    pub model: Model<f32>,
    /// The probe that was given.
    pub given: Option<Vec<Vec<Complex<f64>>>>,
    /// The object that was given.
    pub given_object: Option<GivenObject>,
    pub(crate) waiting: Vec<Frame<f32>>,
    pub(crate) begun: bool,
    pub(crate) complete: bool,
    /// The engine at work: its place in the sequence, none while frames arrive.
    pub(crate) stage: Option<usize>,
    pub(crate) engine: Option<Engine<f32>>,
    /// Iterations while frames arrived since the last ones came.
    pub(crate) idle: u64,
    /// Iterations of each engine that early work stands for.
    pub(crate) credit: f64,
    /// Errors, iteration by iteration.
    pub records: Vec<Record>,
    /// Iterations in which every frame was within the power bound.
    pub frozen: u64,
}

impl Session {
    /// A reconstruction without frames.
    pub fn new(task: Task, geometry: Geometry) -> Result<Session> {
        geometry.check()?;
        if let Some(fault) = task.coherence.faults().into_iter().next() {
            return Err(Error::recipe(fault));
        }
        let propagator = Propagator::new(&geometry);
        let camera = Camera::new(&geometry, &task.coherence, task.resample.max(1));
        let geometry = finer(&geometry, task.resample.max(1));
        for engine in &task.engines {
            let Some(how) = &engine.position_refinement else { continue };
            if Positions::new(how, engine.numiter, geometry.resolution(), task.seed).idle() {
                let (found, least) = (how.amplitude.unwrap_or(0.0), geometry.resolution());
                return Err(Error::recipe(format!(
                    "{:?}: positions are to be refined by {found} m at most, less than a pixel of {least} m",
                    engine.name
                ))
                .help("set a larger `amplitude`, or leave it out: it is three pixels then"));
            }
        }
        let model = Model::new(propagator, vec![], task.object_modes, narrow(task.fill)).with_camera(camera);
        Ok(Session {
            task,
            geometry,
            model,
            given: None,
            given_object: None,
            waiting: vec![],
            begun: false,
            complete: false,
            stage: None,
            engine: None,
            idle: 0,
            credit: 0.0,
            records: vec![],
            frozen: 0,
        })
    }

    /// Takes a frame; it is worked on from the next iteration on.
    ///
    /// Gives whether it has pixels that count: a frame without any is left out.
    pub fn take(&mut self, mut frame: Frame<f32>) -> bool {
        let good = self.model.mask(&mut frame);
        frame.came = self.frames() as u64;
        if good {
            self.waiting.push(frame);
        }
        good
    }

    /// How many frames there are.
    pub fn frames(&self) -> usize {
        self.model.frames.len() + self.waiting.len()
    }

    /// Hears that no more frames come: the engines begin, one after the other.
    pub fn all_in(&mut self) {
        self.complete = true;
    }

    /// Whether another iteration would help.
    pub fn more(&self) -> bool {
        match self.complete {
            true => self.frames() > 0 && self.stage.is_none_or(|k| k < self.task.engines.len()),
            false => {
                let first = self.task.engines.first().map_or(1, |e| e.numiter);
                self.frames() >= self.task.min_frames.max(1)
                    && (self.idle < first || !self.waiting.is_empty())
            }
        }
    }

    /// Whether all iterations are done that were asked for.
    pub fn done(&self) -> bool {
        self.complete && self.frames() > 0 && !self.more()
    }

    /// One iteration with all frames that are there.
    pub fn step(&mut self, par: Par) -> Result<()> {
        if !self.more() {
            return Ok(());
        }
        self.gather()?;
        if self.complete && self.stage.is_none() {
            // With few frames object and probe are still far off: only what saw most of them counts.
            let all = self.model.frames.len().max(1) as f64;
            let early = self.records.iter().filter(|r| r.engine.is_none());
            // What followed the latest frames stands for as many as these weigh.
            let seen = |r: &Record| self.task.ageing.map_or(r.frames as f64, |a| a.sum(r.frames));
            self.credit = WORTH.0 * early.map(|r| (seen(r) / all).powi(WORTH.1)).sum::<f64>();
            if self.credit > 0.0 && self.credit < KEPT {
                // A few iterations with part of the frames leave a probe that is worse than the one to begin with.
                let fill = self.model.fill;
                self.model.object.modes.iter_mut().for_each(|m| m.fill(fill));
                self.begin()?;
                self.credit = 0.0;
            }
            self.stage = Some(0);
            self.engine = None;
        }
        if self.engine.is_none() {
            self.engine = Some(self.fresh()?);
        }
        let (index, total) = (self.stage, self.records.len() as u64 + 1);
        let weights = self.weights();
        let engine = self.engine.as_mut().ok_or_else(|| Error::internal("no engine after it was made"))?;
        let photons = total.is_multiple_of(self.task.photons_every.max(1));
        engine.weigh(weights);
        let told = engine.iterate(&mut self.model, par, photons)?;
        let settings = index.map(|k| &self.task.engines[k]);
        let errors = errors(&told, settings.map(|s| s.name), photons);
        if !self.model.probe.norm2().is_finite() || !self.model.object.norm2().is_finite() {
            return Err(Error::data(format!("iteration {total} came to values that are no numbers"))
                .help("check the counts and the weights, or begin with another probe"));
        }
        if self.model.probe.norm2() == 0.0 {
            return Err(Error::data(format!("the probe is zero after iteration {total}"))
                .help("check that frames hold counts where their weight is not 0"));
        }
        self.records.push(Record {
            iteration: total,
            engine: index,
            errors,
            frames: self.model.frames.len(),
        });
        self.frozen += u64::from(told.frozen());
        let done = engine.iteration();
        match index {
            None => self.idle += 1,
            Some(k) if done >= self.wanted(k) => {
                self.credit -= (self.task.engines[k].numiter - self.wanted(k)) as f64;
                self.engine = None;
                self.stage = Some(k + 1);
            }
            Some(_) => (),
        }
        Ok(())
    }

    /// Iterations of an engine: what was done while frames arrived stands for some of them.
    fn wanted(&self, k: usize) -> u64 {
        let all = self.task.engines[k].numiter;
        let spared = self.credit.max(0.0).min(CREDIT * all as f64) as u64;
        (all - spared).max(1)
    }

    /// What frames weigh now, by number; nothing where all weigh the same.
    fn weights(&self) -> Vec<f64> {
        let (None, Some(ageing)) = (self.stage, self.task.ageing) else { return vec![] };
        let frames = &self.model.frames;
        let newest = frames.iter().map(|f| f.came).max().unwrap_or(0);
        frames.iter().map(|f| ageing.weight(newest - f.came)).collect()
    }

    fn fresh(&mut self) -> Result<Engine<f32>> {
        let mut engine = self.bare_engine();
        let all = vec![true; self.model.frames.len()];
        engine.added(&mut self.model, &all)?;
        Ok(engine)
    }

    /// The engine of this stage before it has seen a frame.
    pub(crate) fn bare_engine(&self) -> Engine<f32> {
        // While frames arrive a projection engine settles in a bad probe: what overlaps is too little to hold it.
        let early = Settings::new(Method::EPIE, u64::MAX);
        let settings = self.stage.map_or(&early, |k| &self.task.engines[k]);
        let mut seed = self.task.seed;
        seed = seed.wrapping_add(self.stage.map_or(0, |k| k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Engine::new(settings, self.geometry.n, self.geometry.resolution(), seed)
    }

    /// Adds waiting frames to the model.
    fn gather(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let news: BTreeSet<u64> = waiting.iter().map(|f| f.index).collect();
        self.model.add(waiting)?;
        if !self.begun {
            self.begin()?;
        }
        self.idle = 0;
        if let Some(engine) = &mut self.engine {
            let fresh: Vec<bool> = self.model.frames.iter().map(|f| news.contains(&f.index)).collect();
            engine.added(&mut self.model, &fresh)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let brightest = self.model.powers().most;
        if brightest <= 0.0 {
            return Err(Error::data("no frame holds any count").help("check the data and the weights"));
        }
        let probe = match &self.given {
            Some(given) => given.clone(),
            None => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.task.seed);
                let light = &self.task.illumination;
                let by = (light.model == Light::Stxm).then(|| mean_wave(&self.model, &self.geometry));
                light.lit(&self.geometry, by.as_deref(), brightest, &mut rng)
            }
        };
        let norm: f64 = probe.iter().flatten().map(|z| z.norm_sqr()).sum();
        if !(norm > 0.0 && norm.is_finite()) {
            return Err(Error::data(format!(
                "the probe to begin with has the power {norm}, wanted more than 0"
            ))
            .help("check the aperture's size, or the probe that was given"));
        }
        self.model.probe.modes = self.model.dressed(&probe, self.task.illumination.modes.max(1));
        match (&self.given_object, self.task.start) {
            (Some(given), _) => given.place(&mut self.model),
            (None, Start::Stxm) => stxm(&mut self.model, &self.geometry),
            (None, Start::Flat) => (),
        }
        let given = self.given_object.as_ref().map_or(1, |g| g.modes.len());
        // Several modes of the object must differ, or they stay equal.
        let objects = self.model.blocks()[0].objects.clone();
        let modes = &mut self.model.object.modes;
        for (k, mode) in modes[objects.clone()].iter_mut().enumerate().skip(given) {
            let fade = 0.1 / k as f32;
            mode.iter_mut().enumerate().for_each(|(i, z)| *z *= fade * (1.0 + (i % (k + 1)) as f32));
        }
        // Objects of further energies begin as that of the first.
        for k in objects.end.max(given)..modes.len() {
            modes[k] = modes[k % objects.end].clone();
        }
        self.begun = true;
        Ok(())
    }
}

fn errors(told: &Told, method: Option<Method>, photons: bool) -> [f64; 3] {
    let [fourier, counts, exit] = told.errors();
    match method {
        Some(Method::DM | Method::RAAR) if !photons => [fourier, f64::NAN, exit],
        Some(Method::ML) => [f64::NAN, counts, f64::NAN],
        _ => [fourier, counts, exit],
    }
}

#[cfg(test)]
mod tests {
    use super::Ageing;

    #[test]
    fn frames_get_stale_by_halves() {
        let four = Ageing(4.0);
        assert_eq!([0, 4, 8, 12].map(|k| four.weight(k)), [1.0, 0.5, 0.25, 0.125]);
        // 1, and 1/2, and 1/4; and what never gets stale.
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        [0.0, 1.0, 1.5, 1.75].into_iter().enumerate().for_each(|(k, sum)| close(Ageing(1.0).sum(k), sum));
        close(Ageing(1e18).sum(64), 64.0);
    }
}
