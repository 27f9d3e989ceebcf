//! A matrix laid out for frames that stream past: groups of eight pixels of a tile that share their middle bin.
//!
//! The shares of a pixel sum to one, so that of its middle bin need not be kept: a pixel is its place in the tile and the
//! shares of the bins below and above. Pixels of a run go to the same bins, whose sums stay in registers until it ends.

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

/// Bins below and above the middle one, by class.
pub(super) const CLASSES: [(usize, usize); WIDEST + 2] =
    [(0, 0), (0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)];

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

/// A frame, what it is divided by and, where errors come from one, its image of variances.
#[derive(Clone, Copy)]
pub struct Frame<'a, T> {
    /// The pixels.
    pub pixels: &'a [T],
    /// The variance of each.
    pub variance: Option<&'a [f32]>,
    /// What all pixels are divided by: a monitor, an exposure time.
    pub factor: f64,
}

/// A part of the frame.
pub(super) struct Tile {
    pub(super) pixels: Range<usize>,
    pub(super) classes: Vec<Class>,
}

/// Pixels of a tile with as many bins below and above the middle one.
pub(super) struct Class {
    pub(super) below: usize,
    pub(super) above: usize,
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
    /// Its bins below and above that.
    pub(super) sides: [u16; 2],
    /// Where its first share stands; the next is a group further.
    pub(super) share: u32,
}

/// The middle of a pixel's bins, the one whose share is not kept, and its class; none if it has too many bins.
///
/// Bins that a pixel covers from end to end have a large share; what is left of one is what rounding leaves of a small one.
/// Of two bins the lower one is the middle unless its share is small, so that one share is kept for most of them.
fn middle(shares: &[f32]) -> Option<(usize, usize)> {
    match shares {
        [_] => return Some((0, 0)),
        [low, _] if *low >= 0.25 => return Some((0, 1)),
        _ => (),
    }
    let largest = shares.iter().enumerate().fold(0, |l, (k, s)| if *s > shares[l] { k } else { l });
    let centre = shares.len() / 2;
    let middle = if shares.len() > 2 && shares[centre] > 0.1 * shares[largest] { centre } else { largest };
    let half = middle.max(shares.len() - 1 - middle);
    (half <= WIDEST).then_some((middle, half + 1))
}

/// What a bin has when every pixel is valid.
#[derive(Clone, Copy, Default)]
struct Bin {
    norm: f64,
    norm2: f64,
    count: f64,
    dark: f64,
    entries: u32,
}

/// Adds a pixel to what the bins of whole frames have.
#[inline(always)]
fn weigh(sums: &mut [Bin], [norm, dark]: [f64; 2], bins: &[u32], shares: &[f32], centre: usize) {
    let mut enter = |k: u32, c: f64| {
        let bin = &mut sums[k as usize];
        bin.norm += c * norm;
        bin.norm2 += (c * norm) * (c * norm);
        bin.count += c;
        bin.dark += c * dark;
        bin.entries += u32::from(c != 0.0);
    };
    let mut rest = 1.0;
    for (j, (bin, share)) in bins.iter().zip(shares).enumerate() {
        if j != centre {
            rest -= f64::from(*share);
            enter(*bin, f64::from(*share));
        }
    }
    enter(bins[centre], rest);
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
        let mut sums = vec![Bin::default(); matrix.bins];
        // The class and middle bin of each pixel of a tile, and how many there are of each.
        let mut places: Vec<(u16, u32)> = vec![];
        let mut counts = vec![0u32; matrix.bins * CLASSES.len()];
        for start in (0..pixels).step_by(TILE) {
            let tile = start..pixels.min(start + TILE);
            places.clear();
            for pixel in tile.clone() {
                let (bins, shares) = matrix.of(pixel);
                if bins.is_empty() || fixed.norm[pixel] == 0.0 {
                    continue;
                }
                if *shares == [1.0] {
                    // The usual pixel without splitting, which needs none of what follows.
                    let norm = f64::from(fixed.norm[pixel]);
                    let bin = &mut sums[bins[0] as usize];
                    bin.norm += norm;
                    bin.norm2 += norm * norm;
                    bin.count += 1.0;
                    bin.dark += fixed.dark.as_ref().map_or(0.0, |dark| f64::from(dark[pixel]));
                    bin.entries += 1;
                    counts[bins[0] as usize] += 1;
                    places.push(((pixel - start) as u16, bins[0]));
                    continue;
                }
                let (centre, class) = middle(shares)?;
                let straight = bins.iter().enumerate().all(|(k, bin)| *bin == bins[0] + k as u32);
                let sum: f64 = shares.iter().map(|s| f64::from(*s)).sum();
                if !straight || (sum - 1.0).abs() > WHOLE {
                    return None;
                }
                let key = class * matrix.bins + bins[centre] as usize;
                counts[key] += 1;
                places.push(((pixel - start) as u16, key as u32));
                let dark = fixed.dark.as_ref().map_or(0.0, |dark| f64::from(dark[pixel]));
                weigh(&mut sums, [f64::from(fixed.norm[pixel]), dark], bins, shares, centre);
            }
            packed.put(matrix, tile, &places, &mut counts);
        }
        for (k, bin) in sums.iter().enumerate() {
            (packed.whole.norm[k], packed.whole.norm2[k]) = (bin.norm, bin.norm2);
            (packed.whole.count[k], packed.entries[k]) = (bin.count, bin.entries);
            if let Some(dark) = &mut packed.dark {
                dark[k] = bin.dark;
            }
        }
        // Where most groups are not full, as of maps, the plain way is faster and takes less.
        let counted: usize = packed.runs.iter().map(|r| r.count as usize).sum();
        (packed.index.len() <= 2 * counted + LANES * CLASSES.len() * matrix.bins.min(pixels))
            .then_some(packed)
    }

    /// Adds a tile; `counts` are zeros again behind it.
    fn put(&mut self, matrix: &Matrix, tile: Range<usize>, places: &[(u16, u32)], counts: &mut [u32]) {
        let mut classes = vec![];
        let mut bases = [(0, 0); CLASSES.len()];
        let (mut index, mut share) = (self.index.len(), self.share.len());
        for (number, counts) in counts.chunks_exact_mut(self.bins.max(1)).enumerate() {
            let (below, above) = CLASSES[number];
            let class = Class { below, above, runs: self.runs.len()..self.runs.len(), index, share };
            for (bin, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
                self.runs.push(Run { bin: bin as u32, count: *count });
                // From here on it says where the next pixel of the run goes.
                let first = index as u32;
                index += (*count as usize).next_multiple_of(LANES);
                *count = first;
            }
            share = class.share + (below + above) * (index - class.index);
            bases[number] = (class.index, class.share);
            if self.runs.len() > class.runs.start {
                classes.push(Class { runs: class.runs.start..self.runs.len(), ..class });
            }
        }
        self.index.resize(index, 0);
        self.share.resize(share, 0.0);
        for (place, key) in places {
            let class = *key as usize / self.bins;
            let (below, above) = CLASSES[class];
            let at = counts[*key as usize] as usize;
            counts[*key as usize] += 1;
            self.index[at] = *place;
            if class == 0 {
                continue;
            }
            let bin = *key as usize % self.bins;
            let (bins, shares) = matrix.of(tile.start + usize::from(*place));
            let (first, base) = bases[class];
            let (group, lane) = ((at - first) / LANES, (at - first) % LANES);
            let base = base + group * (below + above) * LANES + lane;
            for (share, other) in shares.iter().zip(bins) {
                let row = match (*other as usize).cmp(&bin) {
                    std::cmp::Ordering::Less => bin - *other as usize - 1,
                    std::cmp::Ordering::Equal => continue,
                    std::cmp::Ordering::Greater => below + *other as usize - bin - 1,
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
            let (pixel, bin) = (one.pixel as usize, one.bin as usize);
            let [below, above] = one.sides.map(usize::from);
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
            for row in 0..below + above {
                let c = f64::from(self.share[one.share as usize + row * LANES]);
                if c != 0.0 {
                    rest -= c;
                    drop(if row < below { bin - 1 - row } else { bin + 1 + row - below }, c);
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
