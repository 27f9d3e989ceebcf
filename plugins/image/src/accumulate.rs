//! What the reductions over frames share: which pixels count, how many did, and how parts are kept.

use isard_core::prelude::*;

use crate::frames::{Size, mask_bytes};
use crate::pixel::{Band, Pixel};

/// The input of a reduction over frames.
#[derive(Ports)]
pub struct FramesIn {
    /// Images.
    #[port(dtype = "number", axes = "y x")]
    pub(crate) image: Array,
    /// Bad pixels: 0 is good, anything else bad.
    #[port(fixed, dtype = "number", axes = "y x")]
    pub(crate) mask: Option<Array>,
}

/// Frames seen so far: what they are, and how often each pixel was good.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    of: Option<(Dtype, usize, usize)>,
    frames: u64,
    /// Frames all of whose pixels were good: counted once, which costs no memory that has to be gone through.
    whole: u32,
    /// How often each pixel was good in the others; empty without any.
    count: Vec<u32>,
}

impl Seen {
    /// Takes note of a chunk; its frames must be like those before.
    pub(crate) fn admit(&mut self, image: &Array) -> Result<Size> {
        let size = Size::of(image)?;
        let found = (image.dtype(), size.rows, size.columns);
        let wanted = *self.of.get_or_insert(found);
        if found != wanted {
            let (dtype, rows, columns) = wanted;
            return Err(Error::data(format!(
                "found frames of {} [{}, {}], those before are {dtype} [{rows}, {columns}]",
                found.0, found.1, found.2
            )));
        }
        self.grow(size.n as u64)?;
        Ok(size)
    }

    fn grow(&mut self, by: u64) -> Result<()> {
        self.frames += by;
        // Exact sums of 32-bit values and of 16-bit squares rely on this limit.
        if self.frames < 1 << 31 {
            return Ok(());
        }
        Err(Error::new(
            Blame::Resources,
            format!("{} frames, at most 2147483647 go into one sum", self.frames),
        ))
    }

    /// Takes note of the frames of a later part; says how the sums are to be merged.
    pub(crate) fn merge(&mut self, later: &Seen) -> Result<Merge> {
        match (self.of, later.of) {
            (_, None) => return Ok(Merge::Keep),
            (None, _) => return Ok(Merge::Take),
            (Some(a), Some(b)) if a != b => {
                return Err(Error::data(format!("frames of {b:?} follow frames of {a:?}")));
            }
            _ => (),
        }
        self.grow(later.frames)?;
        Ok(Merge::Add)
    }

    /// Adds the counts of later frames, pixel by pixel.
    pub(crate) fn add_counts(&mut self, later: &Seen) {
        self.whole += later.whole;
        if !later.count.is_empty() {
            self.count_mut().iter_mut().zip(&later.count).for_each(|(a, b)| *a += b);
        }
    }

    /// Takes note of frames all of whose pixels are good.
    pub(crate) fn add_whole(&mut self, frames: usize) {
        self.whole += frames as u32;
    }

    /// How often each pixel was good in frames that are gone through pixel by pixel.
    pub(crate) fn count_mut(&mut self) -> &mut [u32] {
        self.count.resize(self.pixels(), 0);
        &mut self.count
    }

    /// Pixels of a frame.
    pub(crate) fn pixels(&self) -> usize {
        self.of.map_or(0, |(_, rows, columns)| rows * columns)
    }

    /// How often each pixel was good.
    pub(crate) fn counted(&self) -> Vec<u32> {
        match self.count.is_empty() {
            true => vec![self.whole; self.pixels()],
            false => self.count.iter().map(|n| n + self.whole).collect(),
        }
    }

    /// What the frames are: dtype, rows, columns; none before the first.
    pub(crate) fn of(&self) -> Option<(Dtype, usize, usize)> {
        self.of
    }

    /// What the frames were, or an error when there were none.
    pub(crate) fn need(&self, what: &str) -> Result<(Dtype, usize, usize)> {
        self.of.ok_or_else(|| {
            Error::data(format!("no frame came, so there is no {what}"))
                .help("look in the ledger for where they went")
        })
    }

    /// The counts as an image.
    pub(crate) fn counts(&self, rows: usize, columns: usize) -> Result<Array> {
        Array::of(&[rows, columns], &self.counted())
    }

    /// The entries to be kept.
    pub(crate) fn save(&self) -> Dict {
        let Some((dtype, rows, columns)) = self.of else { return Dict::new() };
        Dict::new()
            .with("dtype", dtype.name())
            .with("rows", rows as i64)
            .with("columns", columns as i64)
            .with("frames", self.frames as i64)
            .with("count", Array::from_slice(&self.counted()))
    }

    /// What was kept.
    pub(crate) fn load(state: &Dict) -> Result<Seen> {
        if state.is_empty() {
            return Ok(Seen::default());
        }
        let whole = |key: &str| match state.need(key)? {
            Value::Int(i) => Ok(*i as usize),
            other => Err(Error::data(format!("`{key}` is {}, wanted an integer", other.describe()))),
        };
        let name = state.need("dtype")?.text().unwrap_or_default();
        let dtype = Dtype::named(name).ok_or_else(|| Error::data(format!("no dtype `{name}`")))?;
        let (rows, columns) = (whole("rows")?, whole("columns")?);
        let count = kept(state, "count", rows.saturating_mul(columns))?;
        Ok(Seen { of: Some((dtype, rows, columns)), frames: whole("frames")? as u64, whole: 0, count })
    }
}

/// What a merge has to do with what is summed.
pub(crate) enum Merge {
    /// Nothing: the later part is empty.
    Keep,
    /// Take the later part: the earlier one is empty.
    Take,
    /// Add them, counts too.
    Add,
}

/// A kept array of so many elements.
pub(crate) fn kept<T: Element>(state: &Dict, key: &str, len: usize) -> Result<Vec<T>> {
    match state.need(key)? {
        Value::Array(a) if a.len() == len => Ok(a.as_slice::<T>()?.to_vec()),
        other => Err(Error::data(format!("kept `{key}` is {}, wanted {len} elements", other.describe()))),
    }
}

/// 128-bit sums as an array: low and high halves by turns.
pub(crate) fn halves(sums: &[i128]) -> Array {
    let words: Vec<u64> = sums.iter().flat_map(|s| [*s as u64, (*s >> 64) as u64]).collect();
    Array::from_slice(&words)
}

/// The 128-bit sums of an array of halves.
pub(crate) fn joined(state: &Dict, key: &str, len: usize) -> Result<Vec<i128>> {
    let words = kept::<u64>(state, key, 2 * len)?;
    Ok(words.chunks_exact(2).map(|w| i128::from(w[0]) | (i128::from(w[1] as i64) << 64)).collect())
}

/// Which pixels of a chunk count.
pub(crate) struct Good<'a, T> {
    band: Band<T>,
    mask: Option<std::borrow::Cow<'a, [u8]>>,
    /// Every one does: nothing has to be asked pixel by pixel.
    all: bool,
}

impl<'a, T: Pixel> Good<'a, T> {
    /// Good pixels lie within the bounds and are not masked; a NaN is never good.
    pub(crate) fn new(
        size: Size,
        below: Option<f64>,
        above: Option<f64>,
        mask: Option<&'a Array>,
    ) -> Result<Self> {
        let mask = mask.map(|m| size.same("mask", m).and_then(|()| mask_bytes(m))).transpose()?;
        let all = mask.is_none() && below.is_none() && above.is_none() && T::DTYPE.is_integer();
        Ok(Good { band: Band::new(below, above), mask, all })
    }

    /// Puts every good pixel of every frame into its accumulator and counts it.
    ///
    /// A tile of accumulators stays in the cache for all frames of the chunk.
    pub(crate) fn each<A: Copy>(
        &self,
        size: Size,
        from: &[T],
        sums: &mut [A],
        count: &mut [u32],
        step: impl Fn(A, T) -> A + Copy,
    ) {
        const TILE: usize = 2048;
        let none = [0u8; TILE];
        let tiles = sums.chunks_mut(TILE).zip(count.chunks_mut(TILE)).enumerate();
        for (tile, (sums, count)) in tiles {
            let start = tile * TILE;
            let mask = self.mask.as_ref().map_or(&none[..sums.len()], |m| &m[start..start + sums.len()]);
            for frame in 0..size.n {
                let first = frame * size.pixels() + start;
                let from = &from[first..first + sums.len()];
                if self.all {
                    sums.iter_mut().zip(from).for_each(|(s, x)| *s = step(*s, *x));
                    continue;
                }
                for (((s, n), x), m) in sums.iter_mut().zip(count.iter_mut()).zip(from).zip(mask) {
                    let good = self.band.has(*x) & (*m == 0);
                    let next = step(*s, *x);
                    *s = if good { next } else { *s };
                    *n += u32::from(good);
                }
            }
            if self.all {
                count.iter_mut().for_each(|n| *n += size.n as u32);
            }
        }
    }
}
