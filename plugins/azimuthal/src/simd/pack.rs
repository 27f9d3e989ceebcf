//! A matrix laid out for frames that stream past: blocks of eight pixels, sorted by how many bins they touch.

use std::ops::Range;

use crate::matrix::Matrix;
use crate::pixel::Pixel;
use crate::prepare::{ErrorModel, Fixed};
use crate::simd::kernel;
use crate::sums::Sums;

/// Pixels in a block.
pub(super) const LANES: usize = 8;

/// Copies of every bin: neighbours in a row rarely wait for one another's sums.
pub(super) const COPIES: usize = 8;

/// Frames that go through a tile of the matrix before the next tile: it is read from memory once for all of them.
pub(super) const TOGETHER: usize = 8;

/// Blocks whose order may change, so that those of one width come together: few enough to stay in the cache.
const TILE: usize = 2048;

/// Blocks that touch more bins than this are summed one by one elsewhere.
const WIDEST: usize = 12;

/// A matrix in blocks of eight pixels, each with the same number of consecutive bins.
pub struct Packed {
    /// Bins of the result.
    pub(super) bins: usize,
    /// First pixel of each block.
    pub(super) at: Vec<u32>,
    /// First bin of each pixel of each block.
    pub(super) first: Vec<u16>,
    /// Shares, bin after bin, eight pixels each.
    pub(super) share: Vec<f32>,
    /// Blocks of one width, and where their shares begin.
    pub(super) runs: Vec<Run>,
    /// The runs of each tile.
    pub(super) tiles: Vec<Range<usize>>,
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

/// Consecutive blocks of one width.
pub(super) struct Run {
    pub(super) blocks: Range<usize>,
    pub(super) width: usize,
    pub(super) share: usize,
}

/// One pixel that counts nowhere in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) block: u32,
    pub(super) lane: u8,
    pub(super) width: u8,
    pub(super) share: u32,
}

impl Packed {
    /// Lays a matrix out, without the pixels that count nowhere; none if its form does not suit.
    pub fn new(matrix: &Matrix, fixed: &Fixed) -> Option<Packed> {
        let pixels = matrix.pixels();
        let wide = |pixel: usize| matrix.of(pixel).0.len() > WIDEST;
        if matrix.bins > usize::from(u16::MAX) || pixels < LANES || (0..pixels).any(wide) {
            return None;
        }
        let mut packed = Packed {
            bins: matrix.bins,
            at: vec![],
            first: vec![],
            share: Vec::with_capacity(matrix.len() * 5 / 4),
            runs: vec![],
            tiles: vec![],
            whole: Sums::zeros(matrix.bins, false),
            entries: vec![0; matrix.bins],
            dark: fixed.dark.as_ref().map(|_| vec![0.0; matrix.bins]),
            pixels,
        };
        let blocks = pixels.div_ceil(LANES);
        let mut sorted: Vec<Vec<u32>> = vec![vec![]; WIDEST + 1];
        // In rows: strips of columns kept the bins closer together, and were half as fast, since frames are read in rows.
        for tile in (0..blocks).step_by(TILE) {
            for block in tile..(tile + TILE).min(blocks) {
                let width = (block * LANES..pixels.min(block * LANES + LANES))
                    .filter(|p| fixed.norm[*p] != 0.0)
                    .map(|p| matrix.of(p).0.len())
                    .max();
                sorted[width.unwrap_or(0)].push(block as u32);
            }
            sorted[0].clear();
            let begin = packed.runs.len();
            for (width, blocks) in sorted.iter_mut().enumerate().filter(|(_, blocks)| !blocks.is_empty()) {
                let from = packed.at.len();
                let share = packed.share.len();
                for block in blocks.drain(..) {
                    if !packed.put(matrix, fixed, block as usize, width) {
                        return None;
                    }
                }
                packed.runs.push(Run { blocks: from..packed.at.len(), width, share });
            }
            packed.tiles.push(begin..packed.runs.len());
        }
        Some(packed)
    }

    /// Adds a block; false if the bins of a pixel do not follow one another.
    fn put(&mut self, matrix: &Matrix, fixed: &Fixed, block: usize, width: usize) -> bool {
        let from = block * LANES;
        // The last block begins so that it ends with the frame; pixels of the one before have no shares in it.
        let at = from.min(self.pixels - LANES);
        let base = self.share.len();
        self.at.push(at as u32);
        self.share.resize(base + width * LANES, 0.0);
        for lane in 0..LANES {
            let pixel = at + lane;
            let (bins, shares) = matrix.of(pixel);
            if pixel < from || fixed.norm[pixel] == 0.0 || bins.is_empty() {
                self.first.push(0);
                continue;
            }
            self.first.push(bins[0] as u16);
            let norm = f64::from(fixed.norm[pixel]);
            for (j, (bin, share)) in bins.iter().zip(shares).enumerate() {
                if *bin != bins[0] + j as u32 {
                    return false;
                }
                let (k, c) = (*bin as usize, f64::from(*share));
                self.share[base + j * LANES + lane] = *share;
                self.whole.norm[k] += c * norm;
                self.whole.norm2[k] += (c * norm) * (c * norm);
                self.whole.count[k] += c;
                self.entries[k] += 1;
                if let (Some(sums), Some(dark)) = (&mut self.dark, &fixed.dark) {
                    sums[k] += c * f64::from(dark[pixel]);
                }
            }
        }
        true
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
            let block = one.block as usize;
            let pixel = self.at[block] as usize + usize::from(one.lane);
            let norm = f64::from(fixed.norm[pixel]);
            let first = usize::from(self.first[block * LANES + usize::from(one.lane)]);
            for j in 0..usize::from(one.width) {
                let c = f64::from(self.share[one.share as usize + j * LANES + usize::from(one.lane)]);
                if c == 0.0 {
                    continue;
                }
                let k = first + j;
                sums.norm[k] -= c * norm;
                sums.norm2[k] -= (c * norm) * (c * norm);
                sums.count[k] -= c;
                entries[k] -= 1;
                if let Some(dark) = &fixed.dark {
                    sums.signal[k] += c * f64::from(dark[pixel]);
                }
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
        4 * self.at.len() + 2 * self.first.len() + 4 * self.share.len()
    }
}
