//! Engines: how probe and object come out of the frames.

mod defaults;
mod descent;
mod fourier;
mod likelihood;
mod line;
mod noise;
pub(crate) mod own;
mod positions;
mod prior;
mod projection;
mod settings;
pub(crate) mod smooth;
mod stochastic;
mod support;

use isard_core::Result;

use crate::model::{Layers, Model};
use crate::num::{Complex, Par, Real};

pub use positions::Positions;
pub use settings::{Bound, Line, Method, Metric, Noise, Refinement, Rule, Search, Settings};

use likelihood::Likelihood;
use projection::Projection;
use stochastic::Stochastic;

/// The errors of an iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    sums: [f64; 3],
    frames: usize,
    /// Frames within the power bound.
    pub within: usize,
}

impl Told {
    fn add(&mut self, errors: [f64; 3]) {
        self.sums.iter_mut().zip(errors).for_each(|(s, e)| *s += e);
        self.frames += 1;
    }

    /// Errors in amplitude and in counts, and the squared step of the exit waves: means over frames.
    pub fn errors(&self) -> [f64; 3] {
        self.sums.map(|s| s / self.frames.max(1) as f64)
    }

    /// Whether all frames were within the power bound.
    pub fn frozen(&self) -> bool {
        self.frames > 0 && self.within == self.frames
    }
}

/// What an engine remembers from one iteration to the next.
#[derive(Clone, Default)]
pub struct Kept<T> {
    /// Iterations done.
    pub iteration: u64,
    /// Exit waves, frame by frame.
    pub exit: Vec<Vec<Complex<T>>>,
    /// The probe after its last update.
    pub before: Option<Vec<Vec<Complex<T>>>>,
    /// Gradients of object and probe, steps of object and probe, and the length of the last step.
    pub memory: Option<([Layers<T>; 4], f64)>,
    /// The scale of the probe's steps.
    pub scale: Option<f64>,
    /// The smoothing of the object's gradient.
    pub sigma: f64,
    /// The brightness of each frame.
    pub floats: Vec<f64>,
}

/// An engine at work.
pub struct Engine<T> {
    kind: Kind<T>,
    positions: Option<Positions>,
}

enum Kind<T> {
    Projection(Projection<T>),
    Stochastic(Stochastic<T>),
    Likelihood(Likelihood<T>),
}

impl<T: Real> Engine<T> {
    /// An engine for frames of `n` by `n` pixels, with the object's resolution in metres.
    pub fn new(settings: &Settings, n: usize, resolution: f64, seed: u64) -> Engine<T> {
        let kind = match settings.name {
            Method::DM | Method::RAAR => Kind::Projection(Projection::new(settings, n)),
            Method::EPIE | Method::SDR => Kind::Stochastic(Stochastic::new(settings, seed)),
            Method::ML => Kind::Likelihood(Likelihood::new(settings, n)),
        };
        let positions = settings
            .position_refinement
            .as_ref()
            .map(|how| Positions::new(how, settings.numiter, resolution, seed));
        Engine { kind, positions }
    }

    /// Takes frames in the order of their numbers and tells steps of exit waves as other programs do, to compare.
    pub fn comparable(self) -> Self {
        match self.kind {
            Kind::Stochastic(engine) => {
                Engine { kind: Kind::Stochastic(engine.comparable()), positions: self.positions }
            }
            _ => self,
        }
    }

    /// Makes the steps of frames, by number, so many times as long; nothing makes them whole.
    ///
    /// For engines that take frames one by one. What projections and gradients hold of frames is not to be weighed: they
    /// begin when all frames are in.
    pub fn weigh(&mut self, weights: Vec<f64>) {
        if let Kind::Stochastic(engine) = &mut self.kind {
            engine.weights = weights;
        }
    }

    /// Iterations done.
    pub fn iteration(&self) -> u64 {
        match &self.kind {
            Kind::Projection(e) => e.iteration,
            Kind::Stochastic(e) => e.iteration,
            Kind::Likelihood(e) => e.iteration,
        }
    }

    /// Hears of frames that were added: `fresh` says for each frame of the model whether it is new.
    pub fn added(&mut self, model: &mut Model<T>, fresh: &[bool]) -> Result<()> {
        if let Some(positions) = &self.positions {
            model.reform(positions.margin())?;
        }
        let own = match &self.kind {
            Kind::Projection(e) => e.own.is_some(),
            Kind::Likelihood(e) => e.own.is_some(),
            Kind::Stochastic(e) => e.own.is_some(),
        };
        match own {
            true => own::part(model),
            false => own::join(model),
        }
        match &mut self.kind {
            Kind::Projection(e) => e.added(model, fresh),
            Kind::Stochastic(e) => e.added(model, fresh),
            Kind::Likelihood(e) => e.added(),
        }
        Ok(())
    }

    /// One iteration. Projection engines work out the error in counts only if `photons` asks for it: it costs a third.
    pub fn iterate(&mut self, model: &mut Model<T>, par: Par, photons: bool) -> Result<Told> {
        let iteration = self.iteration();
        let positions = self.positions.as_ref();
        let told = match &mut self.kind {
            Kind::Projection(e) => e.iterate(model, par, photons)?,
            Kind::Likelihood(e) => e.iterate(model, par)?,
            Kind::Stochastic(e) => {
                let reach = positions.and_then(|p| p.reach(iteration));
                return e.iterate(model, par, |model, frame| {
                    if let (Some(positions), Some(reach)) = (positions, reach) {
                        model.frames[frame].at = positions.place(model, frame, iteration, reach);
                    }
                    Ok(())
                });
            }
        };
        if let Some(positions) = positions {
            positions.all(model, par, iteration)?;
        }
        Ok(told)
    }

    /// Exit waves, frame by frame, of an engine that has them.
    pub fn exit(&self) -> &[Vec<Complex<T>>] {
        match &self.kind {
            Kind::Projection(e) => &e.exit,
            Kind::Stochastic(e) => &e.exit,
            Kind::Likelihood(_) => &[],
        }
    }

    /// What the next iteration depends on beside the exit waves.
    pub fn keep(&self) -> Kept<T> {
        let none = Kept { iteration: self.iteration(), exit: vec![], ..Kept::default() };
        match &self.kind {
            Kind::Projection(e) => Kept { before: e.before.clone(), ..none },
            Kind::Stochastic(_) => none,
            Kind::Likelihood(e) => Kept {
                memory: e
                    .memory
                    .clone()
                    .map(|m| ([m.object_gradient, m.probe_gradient, m.object_step, m.probe_step], m.length)),
                scale: e.scale,
                sigma: e.sigma,
                floats: e.floats.clone(),
                ..none
            },
        }
    }

    /// Takes back what was kept.
    pub fn take_back(&mut self, kept: Kept<T>) {
        match &mut self.kind {
            Kind::Projection(e) => {
                (e.exit, e.before, e.iteration) = (kept.exit, kept.before, kept.iteration);
            }
            Kind::Stochastic(e) => (e.exit, e.iteration) = (kept.exit, kept.iteration),
            Kind::Likelihood(e) => {
                e.memory = kept.memory.map(
                    |([object_gradient, probe_gradient, object_step, probe_step], length)| {
                        likelihood::Memory {
                            object_gradient,
                            probe_gradient,
                            object_step,
                            probe_step,
                            length,
                        }
                    },
                );
                (e.scale, e.sigma, e.floats, e.iteration) =
                    (kept.scale, kept.sigma, kept.floats, kept.iteration);
            }
        }
    }
}

/// A small scan in double precision, and a probe to begin with.
#[cfg(test)]
fn example() -> Model<f64> {
    stochastic::example(crate::geometry::Propagation::Farfield)
}
