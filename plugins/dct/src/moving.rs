//! The moving median along the frames: which frames a window takes, and frames less their median.

use std::sync::Mutex;

use isard_core::prelude::*;

use crate::simd::{self, Job, Level, NONE, Out, Step};

/// Pixels that one piece of work takes through all steps.
const BLOCK: usize = 1 << 15;

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
pub(crate) trait Sample: Element {
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
            for (first, steps) in &chains {
                T::run(level, &Job { first, steps, frames: &self.frames }, &mut piece);
            }
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
mod tests {
    use super::*;
    use isard_core::Pool;

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 33) % n as u64) as usize
        }
    }

    fn alone(n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
        (0..n).try_for_each(work)
    }

    /// Frames to write to as the pool gives them: vectors go past the cache where frames begin at whole lines.
    fn pooled(dtype: Dtype, n: usize, pixels: usize) -> Vec<ArrayMut> {
        (0..n).map(|_| Pool::unpooled().take(dtype, &[pixels]).unwrap()).collect()
    }

    fn slices<O: Element>(frames: &mut [ArrayMut]) -> Vec<&mut [O]> {
        frames.iter_mut().map(|f| f.as_slice_mut().unwrap()).collect()
    }

    /// The median of a sorted window, in double precision.
    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        if n == 0 { f64::NAN } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
    }

    #[test]
    fn windows_at_the_ends_by_hand() {
        let window = |edge, length, stride| Window { length, stride, edge };
        let around = |edge, k| window(edge, 5, 1).around(k, 7);
        assert_eq!(around(Edge::Wrap, 0), [5, 6, 0, 1, 2]);
        assert_eq!(around(Edge::Shift, 0), [0, 1, 2, 3, 4]);
        assert_eq!(around(Edge::Shift, 6), [2, 3, 4, 5, 6]);
        assert_eq!(around(Edge::Reflect, 0), [1, 0, 0, 1, 2]);
        assert_eq!(around(Edge::Reflect, 6), [4, 5, 6, 6, 5]);
        assert_eq!(around(Edge::Nearest, 1), [0, 0, 1, 2, 3]);
        // A window longer than the scan takes all of it.
        assert_eq!(window(Edge::Shift, 9, 1).around(2, 4), [0, 1, 2, 3]);
        // With a stride the window keeps to the frames it can reach.
        assert_eq!(window(Edge::Shift, 3, 3).around(1, 10), [1, 4, 7]);
        assert_eq!(window(Edge::Shift, 3, 3).around(9, 10), [3, 6, 9]);
        assert_eq!(window(Edge::Wrap, 3, 3).around(1, 10), [8, 1, 4]);
    }

    fn random(dice: &mut Dice) -> (Window, usize, Vec<bool>) {
        let frames = 1 + dice.below(40);
        let mut length = [1, 3, 5, 11, 21, 51][dice.below(6)];
        let edge = [Edge::Wrap, Edge::Shift, Edge::Reflect, Edge::Nearest][dice.below(4)];
        let stride = 1 + dice.below(3);
        while edge == Edge::Wrap && length > frames {
            length -= 2;
        }
        let often = 1 + dice.below(9);
        let missing = (0..frames).map(|_| often > 5 && dice.below(often) == 0).collect();
        (Window { length, stride, edge }, frames, missing)
    }

    fn wanted(window: Window, missing: &[bool]) -> Vec<(usize, Vec<Option<usize>>)> {
        // Frames are kept without holes: place of each that is there.
        let place = |f: usize| (!missing[f]).then(|| missing[..f].iter().filter(|m| !**m).count());
        let around = |k: usize| window.around(k, missing.len()).into_iter().map(place).collect();
        (0..missing.len()).filter_map(|k| Some((place(k)?, around(k)))).collect()
    }

    #[test]
    fn words_are_less_the_middle_of_the_sorted_window() {
        let mut dice = Dice(5);
        for case in 0..200 {
            let (window, _, missing) = random(&mut dice);
            let pixels = [1, 7, 40, 33_000][if case % 50 == 0 { 3 } else { case % 3 }];
            // Counts of all sizes, small ones, and small ones with a few that are too large for the quick way.
            let mut value = || match (case / 3) % 3 {
                0 => dice.below(65536) as u16,
                2 if dice.below(900) == 0 => 40_000 + dice.below(25_536) as u16,
                _ => 300 + dice.below(9) as u16,
            };
            let wanted = wanted(window, &missing);
            let frames: Vec<Vec<u16>> =
                wanted.iter().map(|_| (0..pixels).map(|_| value()).collect()).collect();
            let batch = Batch { frames: frames.iter().map(Vec::as_slice).collect(), wanted };
            for level in Level::all() {
                let n = frames.len();
                let (mut floats, mut medians) = (vec![vec![0f32; pixels]; n], vec![vec![0f32; pixels]; n]);
                let mut words = pooled(Dtype::I16, n, pixels);
                let out = Into {
                    floats: floats.iter_mut().map(Vec::as_mut_slice).collect(),
                    words: vec![],
                    medians: Some(medians.iter_mut().map(Vec::as_mut_slice).collect()),
                };
                batch.run(level, out, alone).unwrap();
                let out = Into { floats: vec![], words: slices(&mut words), medians: None };
                let Told { over, full } = batch.run(level, out, alone).unwrap();
                let words: Vec<&[i16]> = words.iter().map(|w| w.as_slice().unwrap()).collect();
                for (k, (own, samples)) in batch.wanted.iter().enumerate() {
                    let mut fits = true;
                    let most = frames[*own].iter().filter(|v| **v == u16::MAX).count();
                    assert_eq!(full[k] as usize, most);
                    for p in (0..pixels).step_by(if pixels > 1000 { 97 } else { 1 }) {
                        let middle =
                            median(samples.iter().flatten().map(|f| f64::from(frames[*f][p])).collect());
                        let difference = f64::from(frames[*own][p]) - middle;
                        assert_eq!(f64::from(floats[k][p]), difference, "{level:?} {window:?} frame {k}");
                        assert_eq!(f64::from(medians[k][p]), middle);
                        let whole = difference as i16;
                        fits &= f64::from(whole) == difference;
                        assert!(over[k] || words[k][p] == whole);
                    }
                    assert!(fits || over[k], "{level:?}: frame {k} does not fit, and nobody said so");
                    let even = samples.iter().flatten().count() % 2 == 0;
                    assert!(pixels > 1000 || even || fits != over[k], "{level:?}: frame {k} fits");
                }
            }
        }
    }

    #[test]
    fn floats_leave_out_what_is_no_number() {
        let mut dice = Dice(6);
        for case in 0..200 {
            let (window, _, missing) = random(&mut dice);
            let pixels = [1, 7, 50][case % 3];
            let odd = case % 2 == 0;
            let mut value = || match dice.below(if odd { 4 } else { 1000 }) {
                0 if odd => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][dice.below(3)],
                _ => (dice.below(2000) as f32 - 1000.0) * 0.37,
            };
            let wanted = wanted(window, &missing);
            let frames: Vec<Vec<f32>> =
                wanted.iter().map(|_| (0..pixels).map(|_| value()).collect()).collect();
            let batch = Batch { frames: frames.iter().map(Vec::as_slice).collect(), wanted };
            let mut first: Option<Vec<Vec<u32>>> = None;
            for level in Level::all() {
                let n = frames.len();
                let (mut floats, mut medians) = (vec![vec![0f32; pixels]; n], vec![vec![0f32; pixels]; n]);
                let out = Into {
                    floats: floats.iter_mut().map(Vec::as_mut_slice).collect(),
                    words: vec![],
                    medians: Some(medians.iter_mut().map(Vec::as_mut_slice).collect()),
                };
                batch.run(level, out, alone).unwrap();
                for (k, (own, samples)) in batch.wanted.iter().enumerate() {
                    for p in 0..pixels {
                        let there = samples.iter().flatten().map(|f| frames[*f][p]);
                        let mut values: Vec<f32> = there.filter(|v| v.is_finite()).collect();
                        values.sort_by(f32::total_cmp);
                        let (m, own) = (values.len(), frames[*own][p]);
                        let middle = match m {
                            0 => f32::NAN,
                            _ => (values[(m - 1) / 2] + values[m / 2]) / 2.0,
                        };
                        let difference = if own.is_finite() { own - middle } else { f32::NAN };
                        assert!(medians[k][p] == middle || (medians[k][p].is_nan() && middle.is_nan()));
                        let found = floats[k][p];
                        assert!(found == difference || (found.is_nan() && difference.is_nan()));
                    }
                }
                // Without medians, past the cache.
                let mut again = pooled(Dtype::F32, n, pixels);
                let out = Into { floats: slices(&mut again), words: vec![], medians: None };
                batch.run(level, out, alone).unwrap();
                let bits_of = |f: &[f32]| f.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let bits: Vec<Vec<u32>> = floats.iter().map(|f| bits_of(f)).collect();
                for (again, bits) in again.iter().zip(&bits) {
                    assert_eq!(&bits_of(again.as_slice().unwrap()), bits, "{level:?}");
                }
                assert_eq!(first.get_or_insert(bits.clone()), &bits, "{level:?}");
            }
        }
    }
}
