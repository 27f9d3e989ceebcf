//! A matrix laid out for frames that stream past: groups of eight pixels of a tile that share their middle bin.
//!
//! The shares of a pixel sum to one, so that of its middle bin need not be kept: a pixel is its place in the tile and the
//! shares of the bins on either side. Pixels of a run go to the same bins, whose sums stay in registers until it ends.

use std::ops::Range;

use crate::matrix::Matrix;
use crate::pixel::Pixel;
use crate::prepare::{ErrorModel, Fixed};
use crate::simd::kernel;
use crate::sums::Sums;

/// Pixels in a group.
pub(super) const LANES: usize = 8;

/// Frames that go through a tile of the matrix before the next tile: it is read from memory once for all of them.
pub(super) const TOGETHER: usize = 8;

/// Pixels of a tile: their places fit 16 bits, and they stay in the cache while their runs are gone through.
const TILE: usize = 1 << 16;

/// Bins on either side of the middle one at most; matrices with wider pixels are summed one by one elsewhere.
pub(super) const WIDEST: usize = 6;

/// How far the shares of a pixel may be from one: they are rounded to single precision.
const WHOLE: f64 = 2e-6;

/// A matrix in groups of eight pixels, each with a middle bin and as many bins on either side.
pub struct Packed {
    /// Bins of the result.
    pub(super) bins: usize,
    /// Place in the tile of each pixel.
    pub(super) index: Vec<u16>,
    /// Shares, of the bins below the middle one from there, then of those above, eight pixels each.
    pub(super) share: Vec<f32>,
    /// Pixels of one middle bin, one after the other.
    pub(super) runs: Vec<Run>,
    /// Parts of the frame.
    pub(super) tiles: Vec<Tile>,
    /// What the sums are when every pixel is valid.
    whole: Sums,
    /// How many entries each bin has.
    entries: Vec<u32>,
    /// The sum of the dark in each bin.
    dark: Option<Vec<f64>>,
    pixels: usize,
}

/// A frame and, where errors come from one, its image of variances.
#[derive(Clone, Copy)]
pub struct Frame<'a, T> {
    /// The pixels.
    pub pixels: &'a [T],
    /// The variance of each.
    pub variance: Option<&'a [f32]>,
}

/// A part of the frame.
pub(super) struct Tile {
    pub(super) pixels: Range<usize>,
    pub(super) classes: Vec<Class>,
}

/// Pixels of a tile with as many bins on either side of the middle one.
pub(super) struct Class {
    pub(super) half: usize,
    pub(super) runs: Range<usize>,
    /// Where their places begin.
    pub(super) index: usize,
    /// Where their shares begin.
    pub(super) share: usize,
}

/// Pixels of one middle bin.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) bin: u32,
    pub(super) count: u32,
}

/// One pixel that counts nowhere in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) pixel: u32,
    /// Its middle bin.
    pub(super) bin: u32,
    /// Its bins on either side.
    pub(super) half: u32,
    /// Where its first share stands; the next is a group further.
    pub(super) share: u32,
}

/// The middle of a pixel's bins, the one whose share is not kept, and how many bins are on either side at most.
///
/// Bins that a pixel covers from end to end have a large share; what is left of one is what rounding leaves of a small one.
fn middle(shares: &[f32]) -> (usize, usize) {
    let largest = shares.iter().enumerate().fold(0, |l, (k, s)| if *s > shares[l] { k } else { l });
    let centre = shares.len() / 2;
    let middle = if shares.len() > 2 && shares[centre] > 0.1 * shares[largest] { centre } else { largest };
    (middle, middle.max(shares.len() - 1 - middle))
}

impl Packed {
    /// Lays a matrix out, without the pixels that count nowhere; none if its form does not suit.
    pub fn new(matrix: &Matrix, fixed: &Fixed) -> Option<Packed> {
        let pixels = matrix.pixels();
        if matrix.bins > usize::from(u16::MAX) {
            return None;
        }
        let mut packed = Packed {
            bins: matrix.bins,
            index: Vec::with_capacity(pixels + pixels / 8),
            share: Vec::with_capacity(matrix.len()),
            runs: vec![],
            tiles: vec![],
            whole: Sums::zeros(matrix.bins, false),
            entries: vec![0; matrix.bins],
            dark: fixed.dark.as_ref().map(|_| vec![0.0; matrix.bins]),
            pixels,
        };
        // The class and middle bin of each pixel of a tile, and how many there are of each.
        let mut places: Vec<(u16, u32)> = vec![];
        let mut counts = vec![0u32; matrix.bins * (WIDEST + 1)];
        for start in (0..pixels).step_by(TILE) {
            let tile = start..pixels.min(start + TILE);
            places.clear();
            for pixel in tile.clone() {
                let (bins, shares) = matrix.of(pixel);
                if bins.is_empty() || fixed.norm[pixel] == 0.0 {
                    continue;
                }
                let (centre, half) = middle(shares);
                let straight = bins.iter().enumerate().all(|(k, bin)| *bin == bins[0] + k as u32);
                let sum: f64 = shares.iter().map(|s| f64::from(*s)).sum();
                if half > WIDEST || !straight || (sum - 1.0).abs() > WHOLE {
                    return None;
                }
                let key = half * matrix.bins + bins[centre] as usize;
                counts[key] += 1;
                places.push(((pixel - start) as u16, key as u32));
                packed.weigh(fixed, pixel, bins, shares, centre);
            }
            packed.put(matrix, tile, &places, &mut counts);
        }
        // Where most groups are not full, as of maps, the plain way is faster and takes less.
        let counted: usize = packed.runs.iter().map(|r| r.count as usize).sum();
        (packed.index.len() <= 2 * counted + LANES * (WIDEST + 1) * matrix.bins.min(pixels)).then_some(packed)
    }

    /// Adds a pixel to what the sums of whole frames are.
    fn weigh(&mut self, fixed: &Fixed, pixel: usize, bins: &[u32], shares: &[f32], centre: usize) {
        let norm = f64::from(fixed.norm[pixel]);
        let mut rest = 1.0;
        for (j, (bin, share)) in bins.iter().zip(shares).enumerate() {
            if j != centre {
                rest -= f64::from(*share);
                self.enter(fixed, *bin as usize, f64::from(*share), norm, pixel);
            }
        }
        self.enter(fixed, bins[centre] as usize, rest, norm, pixel);
    }

    fn enter(&mut self, fixed: &Fixed, k: usize, c: f64, norm: f64, pixel: usize) {
        self.whole.norm[k] += c * norm;
        self.whole.norm2[k] += (c * norm) * (c * norm);
        self.whole.count[k] += c;
        self.entries[k] += u32::from(c != 0.0);
        if let (Some(sums), Some(dark)) = (&mut self.dark, &fixed.dark) {
            sums[k] += c * f64::from(dark[pixel]);
        }
    }

    /// Adds a tile; `counts` are zeros again behind it.
    fn put(&mut self, matrix: &Matrix, tile: Range<usize>, places: &[(u16, u32)], counts: &mut [u32]) {
        let mut classes = vec![];
        let mut bases = [(0, 0); WIDEST + 1];
        let (mut index, mut share) = (self.index.len(), self.share.len());
        for (half, counts) in counts.chunks_exact_mut(self.bins.max(1)).enumerate() {
            let class = Class { half, runs: self.runs.len()..self.runs.len(), index, share };
            for (bin, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
                self.runs.push(Run { bin: bin as u32, count: *count });
                // From here on it says where the next pixel of the run goes.
                let first = index as u32;
                index += (*count as usize).next_multiple_of(LANES);
                *count = first;
            }
            share = class.share + 2 * half * (index - class.index);
            bases[half] = (class.index, class.share);
            if self.runs.len() > class.runs.start {
                classes.push(Class { runs: class.runs.start..self.runs.len(), ..class });
            }
        }
        self.index.resize(index, 0);
        self.share.resize(share, 0.0);
        for (place, key) in places {
            let (half, bin) = (*key as usize / self.bins, *key as usize % self.bins);
            let at = counts[*key as usize] as usize;
            counts[*key as usize] += 1;
            self.index[at] = *place;
            let (bins, shares) = matrix.of(tile.start + usize::from(*place));
            let (first, base) = bases[half];
            let (group, lane) = ((at - first) / LANES, (at - first) % LANES);
            let base = base + group * 2 * half * LANES + lane;
            for (share, other) in shares.iter().zip(bins) {
                let row = match (*other as usize).cmp(&bin) {
                    std::cmp::Ordering::Less => bin - *other as usize - 1,
                    std::cmp::Ordering::Equal => continue,
                    std::cmp::Ordering::Greater => half + *other as usize - bin - 1,
                };
                self.share[base + row * LANES] = *share;
            }
        }
        for (_, key) in places {
            counts[*key as usize] = 0;
        }
        // Lanes behind the end of a run read a pixel of the run, and nothing of it counts.
        for class in &classes {
            let mut at = class.index;
            for run in &self.runs[class.runs.clone()] {
                let count = run.count as usize;
                let (end, first) = (at + count.next_multiple_of(LANES), self.index[at]);
                self.index[at + count..end].fill(first);
                at = end;
            }
        }
        self.tiles.push(Tile { pixels: tile, classes });
    }

    /// The sums of frames, with errors from counts, from images of variances, or none.
    pub fn sums<T: Pixel>(&self, fixed: &Fixed, frames: &[Frame<T>], model: ErrorModel) -> Vec<Sums> {
        let spread = model != ErrorModel::None;
        let mut all = Vec::with_capacity(frames.len());
        for frames in frames.chunks(TOGETHER) {
            let fits = |n: usize| n == self.pixels;
            let whole =
                frames.iter().all(|f| fits(f.pixels.len()) && f.variance.is_none_or(|v| fits(v.len())));
            assert!(whole, "frames were checked against the detector's shape");
            for (signal, variance, lost) in kernel::scatter(self, fixed.dummy, frames, spread) {
                let mut sums = Sums { signal, variance, ..self.whole.clone() };
                if let Some(dark) = &self.dark {
                    sums.signal.iter_mut().zip(dark).for_each(|(s, d)| *s -= d);
                }
                self.without(fixed, &lost, &mut sums);
                all.push(sums);
            }
        }
        all
    }

    /// Takes lost pixels out of the sums that all pixels would have.
    fn without(&self, fixed: &Fixed, lost: &[Lost], sums: &mut Sums) {
        if lost.is_empty() {
            return;
        }
        let mut entries = self.entries.clone();
        for one in lost {
            let (pixel, bin, half) = (one.pixel as usize, one.bin as usize, one.half as usize);
            let norm = f64::from(fixed.norm[pixel]);
            let dark = fixed.dark.as_ref().map_or(0.0, |dark| f64::from(dark[pixel]));
            let mut rest = 1.0;
            let mut drop = |k: usize, c: f64| {
                sums.norm[k] -= c * norm;
                sums.norm2[k] -= (c * norm) * (c * norm);
                sums.count[k] -= c;
                sums.signal[k] += c * dark;
                entries[k] -= 1;
            };
            for row in 0..2 * half {
                let c = f64::from(self.share[one.share as usize + row * LANES]);
                if c != 0.0 {
                    rest -= c;
                    drop(if row < half { bin - 1 - row } else { bin + 1 + row - half }, c);
                }
            }
            if rest != 0.0 {
                drop(bin, rest);
            }
        }
        // What is left of a bin without entries is rounding: it holds nothing.
        for k in (0..self.bins).filter(|k| entries[*k] == 0) {
            for sum in [&mut sums.signal, &mut sums.norm, &mut sums.norm2, &mut sums.count] {
                sum[k] = 0.0;
            }
            if let Some(variance) = sums.variance.get_mut(k) {
                *variance = 0.0;
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        2 * self.index.len() + 4 * self.share.len() + 8 * self.runs.len()
    }
}
