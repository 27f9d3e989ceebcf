//! The moving median along the frames: which frames a window takes, and frames less their median.

use std::cell::Cell;
use std::sync::Mutex;

use isard_core::prelude::*;

use crate::pixel::Pixel;
use crate::simd::{self, EVEN, Job, Level, NONE, Out, Step};

/// Pixels that one piece of work takes through all steps.
const BLOCK: usize = 1 << 15;
/// Floats in a line of the cache.
const ALIGNED: usize = 16;

thread_local! {
    /// Frames that are brought to one intensity, of one piece: too large to be asked of the system each time.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(vec![]) };
}

/// What windows take at the ends of the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// Frames from the other end: right for a full turn.
    Wrap,
    /// The window moves inwards and keeps its length.
    #[default]
    Shift,
    /// Frames mirrored at the end, the first and last taken twice.
    Reflect,
    /// The first or the last frame again.
    Nearest,
}

/// The frames of a window: how many, how far apart, and what happens at the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many frames, an odd number.
    pub length: usize,
    /// From one to the next.
    pub stride: usize,
    /// What it takes at the ends.
    pub edge: Edge,
}

impl Window {
    /// How far it reaches to either side, in frames.
    pub fn reach(&self) -> usize {
        (self.length / 2) * self.stride
    }

    /// The frames of the window around one; `frames` is the length of the scan.
    pub fn around(&self, frame: usize, frames: usize) -> Vec<usize> {
        let (n, h, s) = (frames as i64, (self.length / 2) as i64, self.stride as i64);
        let k = frame as i64;
        if self.edge == Edge::Shift {
            // As many of its samples as the scan has at this stride, moved inwards as little as can be.
            let least = k.rem_euclid(s);
            let most = least + (n - 1 - least) / s * s;
            let first = (k - h * s).min(most - 2 * h * s).max(least);
            return (0..=2 * h).map(|j| first + j * s).filter(|f| *f <= most).map(|f| f as usize).collect();
        }
        let place = |j: i64| match self.edge {
            Edge::Wrap => j.rem_euclid(n),
            Edge::Nearest => j.clamp(0, n - 1),
            // A scan shorter than the reach is mirrored at both ends, again and again.
            _ => {
                let j = j.rem_euclid(2 * n);
                if j < n { j } else { 2 * n - 1 - j }
            }
        };
        (-h..=h).map(|j| place(k + j * s) as usize).collect()
    }
}

/// Pixels that a moving median is taken of.
pub(crate) trait Sample: Pixel {
    /// The value of a pixel that is full; what floats never have.
    const FULL: f32;
    /// Fills one piece of every output frame.
    fn run(level: Level, job: &Job<Self>, piece: &mut Piece);
}

/// One piece of every output frame.
pub(crate) struct Piece<'a> {
    range: std::ops::Range<usize>,
    floats: Vec<&'a mut [f32]>,
    words: Vec<&'a mut [i16]>,
    over: Vec<bool>,
    full: Vec<u32>,
    medians: Option<Vec<&'a mut [f32]>>,
}

impl Sample for u16 {
    const FULL: f32 = 65535.0;
    fn run(level: Level, job: &Job<u16>, piece: &mut Piece) {
        let out = match piece.words.is_empty() {
            true => Out::Floats(&mut piece.floats),
            false => Out::Words(&mut piece.words, &mut piece.over),
        };
        let (medians, full) = (piece.medians.as_deref_mut(), Some(piece.full.as_mut_slice()));
        simd::words(level, job, piece.range.clone(), out, medians, full);
    }
}

impl Sample for f32 {
    const FULL: f32 = f32::NAN;
    fn run(level: Level, job: &Job<f32>, piece: &mut Piece) {
        let (out, medians) = (&mut piece.floats, piece.medians.as_deref_mut());
        simd::floats(level, job, piece.range.clone(), out, medians);
    }
}

/// Frames to be taken less the medians of their windows.
pub(crate) struct Batch<'a, T> {
    /// The frames that there are; none is missing.
    pub(crate) frames: Vec<&'a [T]>,
    /// Frame by frame of the output: which frame it is, and the frames of its window, none where one is missing.
    pub(crate) wanted: Vec<(usize, Vec<Option<usize>>)>,
}

/// What raw frames lose and are multiplied by before their median is taken.
///
/// Windows then keep raw counts, half as large as floats, and nothing is written in between.
pub(crate) struct Even<'a> {
    /// The dark of each pixel; no number where the pixel is invalid.
    pub(crate) dark: &'a [f32],
    /// The factor of each frame of the batch.
    pub(crate) factors: Vec<f32>,
}

/// Output frames to be filled.
pub(crate) struct Into<'a> {
    /// Differences as floats; may be empty when words are given.
    pub(crate) floats: Vec<&'a mut [f32]>,
    /// Differences as words, for 16-bit pixels.
    pub(crate) words: Vec<&'a mut [i16]>,
    /// The medians, when they are wanted.
    pub(crate) medians: Option<Vec<&'a mut [f32]>>,
}

/// What is known of the output frames once they are filled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whether words were too small for a difference.
    pub(crate) over: Vec<bool>,
    /// How many pixels of the frame had the largest value of 16 bits.
    pub(crate) full: Vec<u32>,
}

impl<T: Sample> Batch<'_, T> {
    /// Fills the output frames.
    ///
    /// `par(n, work)` runs `work(0) .. work(n-1)` in any order.
    pub(crate) fn run(
        &self,
        level: Level,
        out: Into,
        par: impl Fn(usize, &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()>,
    ) -> Result<Told> {
        self.pieces(out, par, |chains, piece| {
            for (first, steps) in chains {
                T::run(level, &Job { first, steps, frames: &self.frames }, piece);
            }
        })
    }

    /// The same of frames that are brought to one dark and intensity on the way.
    pub(crate) fn run_even(
        &self,
        level: Level,
        even: &Even,
        out: Into,
        par: impl Fn(usize, &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()>,
    ) -> Result<Told> {
        self.pieces(out, par, |chains, piece| {
            let mut scratch = SCRATCH.take();
            scratch.resize(self.frames.len() * EVEN + ALIGNED, 0.0);
            // Whole lines of the cache, so that no vector lies across two of them.
            let at = scratch.as_ptr().align_offset(ALIGNED * size_of::<f32>()).min(ALIGNED);
            let made = &mut scratch[at..];
            let range = piece.range.clone();
            for from in range.clone().step_by(EVEN) {
                let here = from..range.end.min(from + EVEN);
                let full: Vec<u32> = (made.chunks_exact_mut(EVEN).zip(&self.frames).zip(&even.factors))
                    .map(|((to, frame), by)| {
                        let to = &mut to[..here.len()];
                        simd::even(level, &frame[here.clone()], &even.dark[here.clone()], *by, T::FULL, to)
                    })
                    .collect();
                let frames: Vec<&[f32]> =
                    made.chunks_exact(EVEN).take(self.frames.len()).map(|f| &f[..here.len()]).collect();
                let part = here.start - range.start..here.end - range.start;
                let mut small = Piece {
                    range: 0..here.len(),
                    floats: piece.floats.iter_mut().map(|f| &mut f[part.clone()]).collect(),
                    words: vec![],
                    over: vec![],
                    full: vec![],
                    medians: piece
                        .medians
                        .as_mut()
                        .map(|all| all.iter_mut().map(|m| &mut m[part.clone()]).collect()),
                };
                for (first, steps) in chains {
                    f32::run(level, &Job { first, steps, frames: &frames }, &mut small);
                }
                for (sum, (own, _)) in piece.full.iter_mut().zip(&self.wanted) {
                    *sum += full[*own];
                }
            }
            SCRATCH.set(scratch);
        })
    }

    /// Cuts the output into pieces and has each filled.
    fn pieces(
        &self,
        out: Into,
        par: impl Fn(usize, &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()>,
        fill: impl Fn(&[Chain], &mut Piece) + Sync,
    ) -> Result<Told> {
        let chains = self.chains();
        let pixels = self.frames.first().map_or(0, |f| f.len());
        let outputs = self.wanted.len();
        let mut floats = cut(out.floats);
        let mut words = cut(out.words);
        let mut medians = out.medians.map(cut);
        let pieces: Vec<Mutex<Piece>> = (0..pixels.div_ceil(BLOCK))
            .map(|k| {
                Mutex::new(Piece {
                    range: k * BLOCK..((k + 1) * BLOCK).min(pixels),
                    floats: floats.next().unwrap_or_default(),
                    words: words.next().unwrap_or_default(),
                    over: vec![false; outputs],
                    full: vec![0; outputs],
                    medians: medians.as_mut().and_then(Iterator::next),
                })
            })
            .collect();
        par(pieces.len(), &|k| {
            let mut piece = pieces[k].lock().map_err(|_| Error::internal("a block failed before"))?;
            fill(&chains, &mut piece);
            Ok(())
        })?;
        let mut told = Told { over: vec![false; outputs], full: vec![0; outputs] };
        for piece in &pieces {
            let piece = piece.lock().map_err(|_| Error::internal("a block failed before"))?;
            told.over.iter_mut().zip(&piece.over).for_each(|(all, one)| *all |= one);
            told.full.iter_mut().zip(&piece.full).for_each(|(all, one)| *all += one);
        }
        Ok(told)
    }

    /// The outputs in chains whose windows differ by one frame from one to the next.
    fn chains(&self) -> Vec<Chain> {
        let slot = |frame: &Option<usize>| frame.map_or(NONE, |f| f as u32);
        let mut left: Vec<usize> = (0..self.wanted.len()).collect();
        let mut chains = vec![];
        while !left.is_empty() {
            let mut steps = vec![];
            let mut first = vec![];
            let mut sorted: Vec<u32> = vec![];
            left.retain(|to| {
                let (own, window) = &self.wanted[*to];
                let mut now: Vec<u32> = window.iter().map(slot).collect();
                let samples = now.iter().filter(|f| **f != NONE).count() as u32;
                let here = [*own as u32, samples, *to as u32];
                now.sort_unstable();
                let moves = match steps.is_empty() {
                    true => {
                        first = now.clone();
                        Some((false, [NONE, NONE]))
                    }
                    false => differ(&sorted, &now),
                };
                let Some((moves, [old, new])) = moves else { return true };
                let [own, samples, to] = here;
                steps.push(Step { moves, old, new, own, samples, to });
                sorted = now;
                false
            });
            chains.push((first, steps));
        }
        chains
    }
}

/// The first window of a chain, and its steps.
type Chain = (Vec<u32>, Vec<Step>);

/// What leaves one sorted window and comes into the next; none when more than one frame differs.
fn differ(a: &[u32], b: &[u32]) -> Option<(bool, [u32; 2])> {
    if a.len() != b.len() {
        return None;
    }
    let (mut gone, mut come) = (vec![], vec![]);
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) if x == y => (i, j) = (i + 1, j + 1),
            (Some(x), y) if y.is_none_or(|y| x < y) => {
                gone.push(*x);
                i += 1;
            }
            (_, Some(y)) => {
                come.push(*y);
                j += 1;
            }
            (_, None) => break,
        }
        if gone.len() > 1 || come.len() > 1 {
            return None;
        }
    }
    match (gone[..].first(), come[..].first()) {
        (Some(old), Some(new)) => Some((true, [*old, *new])),
        _ => Some((false, [NONE, NONE])),
    }
}

/// Cuts every frame into blocks and gives them block by block.
fn cut<O>(frames: Vec<&mut [O]>) -> impl Iterator<Item = Vec<&mut [O]>> {
    let mut parts: Vec<_> = frames.into_iter().map(|f| f.chunks_mut(BLOCK)).collect();
    std::iter::from_fn(move || {
        let block: Vec<&mut [O]> = parts.iter_mut().filter_map(Iterator::next).collect();
        (!block.is_empty()).then_some(block)
    })
}

#[cfg(test)]
mod tests;
