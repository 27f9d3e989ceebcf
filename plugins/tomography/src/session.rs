//! A reconstruction at work: slice after slice, iteration after iteration.

use std::borrow::Cow;

use isard_core::prelude::*;

use crate::project::{Bank, Geometry, Window, fbp};
use crate::scan::{Sinogram, State};
use crate::solve::{Held, Method, Progress, Slice};

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// How slices are made.
    pub method: Method,
    /// The window of FBP.
    pub window: Window,
    /// Iterations at most.
    pub iterations: usize,
    /// Whether rays are held back to find the number of iterations.
    pub held: bool,
    /// Whether SIRT keeps values at or above zero.
    pub positive: bool,
}

/// Iterations from one growth of the data to the next, while frames arrive.
const LIVE: usize = 20;

/// A reconstruction at work.
pub struct Session {
    task: Task,
    /// The beam.
    pub geometry: Geometry,
    /// What is reconstructed.
    pub sinogram: Sinogram,
    /// Patterns that it rests on.
    pub patterns: usize,
    slices: Vec<Slice>,
    maps: Vec<Bank>,
    progress: Progress,
    /// Iterations since the last beginning.
    pub done: usize,
    /// The misfit of the rays before each iteration.
    pub curve: Vec<f64>,
    /// The misfit of the held rays after each iteration.
    pub held_curve: Vec<f64>,
    /// Projections that FBP left out.
    pub left_out: usize,
    /// Values below zero that were taken as zero.
    pub negative: u64,
}

impl Session {
    /// Begins; `before` are slices to start from while frames arrive.
    pub fn new(
        cx: &Cx,
        task: Task,
        geometry: Geometry,
        sinogram: Sinogram,
        before: Vec<Option<Bank>>,
        all: bool,
    ) -> Result<Session> {
        let mut slices = vec![];
        if task.method != Method::Fbp {
            let mut before = before.into_iter();
            for z in 0..sinogram.z.len() {
                let rays = rays(&sinogram, z);
                let there = sinogram.states(z).iter().map(|s| *s != State::Missing).collect();
                let mut slice = Slice::new(cx, geometry.clone(), task.method, task.positive, rays, there)?;
                slice.restart(before.next().flatten());
                slices.push(slice);
            }
        }
        let progress = match (all, task.held) {
            (false, _) => Progress::Live,
            (true, true) => Progress::Probing(Held::default()),
            (true, false) => Progress::Final(task.iterations),
        };
        let negative = slices.iter().map(|s| s.negative).sum();
        Ok(Session {
            task,
            geometry,
            sinogram,
            patterns: 0,
            slices,
            maps: vec![],
            progress,
            done: 0,
            curve: vec![],
            held_curve: vec![],
            left_out: 0,
            negative,
        })
    }

    /// One step; says whether there is more to do.
    pub fn step(&mut self, cx: &Cx) -> Result<bool> {
        if self.task.method == Method::Fbp {
            self.filtered(cx)?;
            return Ok(false);
        }
        let holding = matches!(self.progress, Progress::Probing(_));
        let most = match &self.progress {
            Progress::Live => LIVE,
            Progress::Probing(_) => usize::MAX,
            Progress::Final(most) => *most,
        };
        if self.done >= most {
            return Ok(false);
        }
        let mut errors = [0.0; 2];
        for slice in &mut self.slices {
            let found = slice.step(cx, holding)?;
            errors.iter_mut().zip(found).for_each(|(sum, e)| *sum += e);
        }
        let errors = errors.map(|e| (e / self.slices.len() as f64).sqrt());
        self.done += 1;
        if let Progress::Probing(held) = &mut self.progress {
            // An iteration tells the error of the one before it.
            if self.done > 1 {
                held.errors.push(errors[1]);
                self.held_curve.push(errors[1]);
            }
            if held.is_over() || held.errors.len() >= self.task.iterations {
                let best = held.best().unwrap_or(1);
                self.progress = Progress::Final(best);
                (self.done, self.curve) = (0, vec![]);
                self.slices.iter_mut().for_each(|slice| slice.restart(None));
                return Ok(true);
            }
            return Ok(true);
        }
        self.curve.push(errors[0]);
        Ok(self.done < most)
    }

    fn filtered(&mut self, cx: &Cx) -> Result<()> {
        let n = self.geometry.rays;
        let (mut maps, mut left_out) = (vec![], 0);
        for z in 0..self.sinogram.z.len() {
            let states = self.sinogram.states(z);
            let whole: Vec<bool> =
                states.chunks_exact(n).map(|line| line.iter().all(|s| *s != State::Missing)).collect();
            let missing = states.iter().filter(|s| **s == State::Missing).count();
            let kept = whole.iter().filter(|w| **w).count();
            left_out += whole.len() - kept;
            let mut slice = Bank::new(self.sinogram.bins, self.geometry.pixels());
            if kept > 0 {
                let mut rays = rays(&self.sinogram, z);
                fbp(cx, &self.geometry, self.task.window, &whole, &mut rays, &mut slice)?;
            } else if !matches!(self.progress, Progress::Live) && 2 * missing < states.len() {
                let text = format!(
                    "slice {z}: none of {} projections is whole, and FBP takes whole ones alone",
                    whole.len()
                );
                return Err(Error::data(text)
                    .help("set `repair.missing` to \"inpaint\", or `method` to \"sirt\" or \"mlem\""));
            }
            maps.push((slice, kept));
        }
        self.left_out = left_out;
        // While frames arrive, or when they were stopped early, there may be nothing to show.
        let some = maps.iter().any(|(_, kept)| *kept > 0);
        self.maps = if some { maps.into_iter().map(|(slice, _)| slice).collect() } else { vec![] };
        Ok(())
    }

    /// Whether there is anything to show.
    pub fn is_shown(&self) -> bool {
        !self.maps.is_empty() || (!self.slices.is_empty() && self.done > 0)
    }

    /// Rows and columns of a map.
    pub fn size(&self) -> usize {
        self.geometry.size / self.geometry.fine
    }

    /// The maps of the slices, one after the other.
    pub fn banks(&self) -> impl Iterator<Item = Cow<'_, Bank>> {
        let (size, fine) = (self.size(), self.geometry.fine);
        let coarse = self.slices.iter().map(move |slice| match fine {
            1 => Cow::Borrowed(&slice.volume),
            _ => Cow::Owned(slice.volume.means(size, fine)),
        });
        self.maps.iter().map(Cow::Borrowed).chain(coarse)
    }

    /// Copies of the slices, to begin another reconstruction with.
    pub fn volumes(&self) -> Vec<Option<Bank>> {
        self.slices.iter().map(|s| Some(s.volume.clone())).collect()
    }

    /// The last misfit; 0 where there is none.
    pub fn misfit(&self) -> f64 {
        self.curve.last().copied().unwrap_or(0.0)
    }
}

fn rays(sinogram: &Sinogram, z: usize) -> Bank {
    Bank::rays(sinogram.slice(z), sinogram.omega.len(), sinogram.x.len(), sinogram.bins)
}
