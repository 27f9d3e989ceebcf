//! Refinement of positions.

use isard_core::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::settings::{Metric, Refinement, Search};
use crate::model::{Corner, Model};
use crate::num::{Par, Real, each};
use crate::simd;

/// Pixels that positions are tried within, where no amplitude is given.
const REACH: f64 = 3.0;

/// Refinement of positions, in pixels of the object.
#[derive(Clone, Debug)]
pub struct Positions {
    how: Refinement,
    start: u64,
    stop: u64,
    amplitude: f64,
    limit: f64,
    seed: u64,
}

impl Positions {
    /// Refinement over so many iterations of an engine.
    pub fn new(how: &Refinement, numiter: u64, resolution: f64, seed: u64) -> Positions {
        let amplitude = how.amplitude.map_or(REACH, |a| a / resolution);
        Positions {
            start: how.start.unwrap_or(numiter / 3),
            stop: how.stop.unwrap_or(numiter),
            amplitude,
            limit: how.max_shift.map_or(2.0 * amplitude, |m| m / resolution),
            how: how.clone(),
            seed,
        }
    }

    /// How many pixels the object has to reach further.
    pub fn margin(&self) -> usize {
        self.limit.ceil() as usize + 1
    }

    /// How far positions are moved in this iteration; none if they are not.
    pub fn reach(&self, iteration: u64) -> Option<f64> {
        if iteration < self.start
            || iteration >= self.stop
            || !iteration.is_multiple_of(self.how.interval.max(1))
        {
            return None;
        }
        let left = (self.stop - iteration) as f64 / (self.stop - self.start) as f64;
        let reach = if self.how.amplitude_decay { self.amplitude * left } else { self.amplitude };
        (reach >= 1.0).then_some(reach)
    }

    /// Whether positions will ever move: an amplitude below a pixel moves nothing.
    pub fn idle(&self) -> bool {
        self.amplitude < 1.0
    }

    /// The best place for a frame among those tried.
    pub fn place<T: Real>(&self, model: &Model<T>, frame: usize, iteration: u64, reach: f64) -> [f64; 2] {
        let now = &model.frames[frame];
        let allowed = |at: [f64; 2]| {
            let off = [at[0] - now.measured[0], at[1] - now.measured[1]];
            off[0].hypot(off[1]) <= self.limit && model.inside(at)
        };
        let mut best = (self.error(model, frame, now.at), now.at);
        let mut try_one = |shift: [f64; 2]| {
            let at = [now.at[0] + shift[0], now.at[1] + shift[1]];
            // A shift that stays within the pixel changes nothing.
            if allowed(at) && model.window(at) != model.window(best.1) {
                let error = self.error(model, frame, at);
                if error < best.0 {
                    best = (error, at);
                }
            }
        };
        match self.how.method {
            Search::Annealing => {
                let mut seed = [0u8; 32];
                seed[..8].copy_from_slice(&self.seed.to_le_bytes());
                seed[8..16].copy_from_slice(&iteration.to_le_bytes());
                seed[16..24].copy_from_slice(&now.index.to_le_bytes());
                let mut rng = ChaCha8Rng::from_seed(seed);
                for i in 0..self.how.nshifts {
                    let mut length = || 1.0 + (reach - 1.0) * rng.random::<f64>();
                    let (a, b) = (length(), length());
                    let sign = |odd: bool| if odd { -1.0 } else { 1.0 };
                    try_one([sign(i % 2 == 1) * a, sign(i / 2 % 2 == 1) * b]);
                }
            }
            Search::GridSearch => {
                let most = reach.floor() as i64;
                for y in -most..=most {
                    for x in -most..=most {
                        try_one([y as f64, x as f64]);
                    }
                }
            }
        }
        best.1
    }

    fn error<T: Real>(&self, model: &Model<T>, frame: usize, at: [f64; 2]) -> f64 {
        let [y, x] = model.window(at);
        let corner = Corner { y: y as usize, x: x as usize };
        let measured = &model.frames[frame];
        model.room(1, 1, |room| {
            model.expect(frame, corner, room);
            let power = &mut room.reals[0];
            match self.how.metric {
                Metric::Fourier => {
                    simd::amplitude_error(power, &measured.amplitude) / measured.good.max(1) as f64
                }
                Metric::Photon => simd::photon_error(power, &measured.amplitude),
            }
        })
    }

    /// Moves all frames to better places.
    pub fn all<T: Real>(&self, model: &mut Model<T>, par: Par, iteration: u64) -> Result<()> {
        let Some(reach) = self.reach(iteration) else { return Ok(()) };
        let mut places: Vec<[f64; 2]> = model.frames.iter().map(|f| f.at).collect();
        let shown = &*model;
        each(par, places.iter_mut().collect(), |k, place| {
            **place = self.place(shown, k, iteration, reach);
            Ok(())
        })?;
        model.frames.iter_mut().zip(places).for_each(|(f, at)| f.at = at);
        Ok(())
    }
}
