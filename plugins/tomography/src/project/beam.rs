//! The projector and its transpose, pixel by pixel, for all channels at once.

use std::ops::Range;
use std::sync::Mutex;

use isard_core::prelude::*;

use super::bank::{Aligned, PAD};
use crate::simd::{self, Entry, Line, Plot, SIDE, Slope, TURNS};

/// Rows and columns of a tile of pixels that are summed: whole plots, which stay in the second cache with their rays.
const TILE: usize = 4 * SIDE;
/// Rows and columns of a tile that rays go through.
const CROSSED: usize = 32;
/// Angles whose rays go through a tile before the next one.
const SHEAF: usize = 16;
/// Empty pixels before and behind each row and column of such a tile.
const EDGE: [usize; 2] = [1, 2];
/// Groups of channels that share the entries of a tile: so many are best projected together.
pub const GROUPS: usize = 4;

/// A parallel beam through a square slice.
///
/// The middle of the slice lies on the axis of rotation. Pixel (v, u) falls on ray
/// `((u - m) cos(omega) + (v - m) sin(omega)) / fine + centre`, with `m` the middle of the slice; rays are a step of the
/// translation apart, and so are every `fine` pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// The angle of each projection, in radians.
    pub angles: Vec<f64>,
    /// Rays of a projection.
    pub rays: usize,
    /// The ray that goes through the axis of rotation.
    pub centre: f64,
    /// Rows and columns of the slice.
    pub size: usize,
    /// Pixels along a step of the translation: 1, or more for [`Lens::Joseph`].
    pub fine: usize,
}

/// How a pixel spreads over the two rays next to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lens {
    /// By distance: linear interpolation on the projection.
    Linear,
    /// As the line of a ray, interpolated across it, weighs the pixel: Joseph's projector.
    Joseph,
}

/// What each projection or each ray counts.
pub enum Weights<'a> {
    /// All alike.
    One,
    /// One number for each angle.
    Angles(&'a [f64]),
}

impl Geometry {
    /// Places of a bank of its projections.
    pub fn places(&self) -> usize {
        self.angles.len() * self.stride()
    }

    /// Pixels of the slice.
    pub fn pixels(&self) -> usize {
        self.size * self.size
    }

    /// From a ray of one projection to the same of the next.
    pub fn stride(&self) -> usize {
        self.rays + 2 * PAD
    }

    /// Cosine and sine of each angle.
    fn turns(&self) -> Vec<[f64; 2]> {
        let turn = |a: &f64| [a.cos(), a.sin()];
        self.angles.iter().map(turn).collect()
    }

    /// Where the middle of the slice is.
    fn middle(&self) -> f64 {
        0.5 * (self.size as f64 - 1.0)
    }

    /// Finds the rays of some angles, at most [`TURNS`], that the pixels of a plot lie between.
    fn lay(
        &self,
        lens: Lens,
        weights: &Weights,
        turns: &[[f64; 2]],
        angles: Range<usize>,
        [row, column]: [usize; 2],
        plot: &mut Plot,
    ) {
        let (v, u, fine) = (row as f64 - self.middle(), column as f64 - self.middle(), self.fine as f64);
        // Angles that are not there are read on the first ray, which is empty.
        let mut slopes = [Slope::default(); TURNS];
        for (slope, a) in slopes.iter_mut().zip(angles) {
            let [c, s] = turns[a].map(|part| part / fine);
            *slope = Slope {
                from: u * c + v * s + self.centre + PAD as f64,
                across: c,
                down: s,
                last: (self.rays + PAD) as f64,
                base: (a * self.stride()) as u32,
                narrow: if lens == Lens::Linear { 1.0 } else { 1.0 / c.abs().max(s.abs()) },
                weight: match weights {
                    // A ray goes through so much less of a smaller pixel, and meets so many fewer of them.
                    Weights::One => 1.0 / (fine * fine),
                    Weights::Angles(w) => w[a] / (fine * fine),
                },
            };
        }
        simd::lay(simd::level(), &slopes, plot);
    }

    /// The entries of the rays of one projection that meet a tile: its pixels, ray after ray, by Joseph's weights.
    ///
    /// A ray goes along rows or columns, whichever it crosses at the steeper angle, and lies between two pixels of each.
    fn crossings(&self, [c, s]: [f64; 2], block: &Block, of: &mut Crossings) {
        let (middle, level) = (self.middle(), simd::level());
        let (v, u) = (block.row as f64 - middle, block.column as f64 - middle);
        let (height, width) = ((block.rows - 1) as f64, (block.columns - 1) as f64);
        let fine = self.fine as f64;
        let corners = [0.0, width * c, height * s, width * c + height * s]
            .map(|d| (u * c + v * s + d) / fine + self.centre);
        let low = corners.iter().copied().fold(f64::INFINITY, f64::min).floor().max(0.0);
        let high =
            corners.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil().min(self.rays as f64 - 1.0);
        of.entries.clear();
        of.ends.clear();
        of.ends.push(0);
        of.first = (low as usize).min(self.rays);
        let pitch = block.columns + EDGE[0] + EDGE[1];
        let by_rows = c.abs() >= s.abs();
        let (steps, across) = if by_rows { (block.rows, block.columns) } else { (block.columns, block.rows) };
        let ([advance, stride], steep) = if by_rows { ([pitch, 1], c) } else { ([1, pitch], s) };
        of.next = stride;
        let mut ray = low;
        while ray <= high {
            let off = (ray - self.centre) * fine;
            let from = if by_rows { (off - v * s) / c - u } else { (off - u * c) / s - v };
            let step = if by_rows { -s / c } else { -c / s };
            // Steps between which the ray has a pixel of the tile on either side.
            let (begin, end) = (-1.0 - from, across as f64 - from);
            let [from_step, to_step] = if step.abs() < 1e-9 {
                if begin < 0.0 && end > 0.0 { [0.0, steps as f64] } else { [0.0, 0.0] }
            } else {
                let (p, q) = (begin / step, end / step);
                [p.min(q).floor(), p.max(q).ceil() + 1.0].map(|k| k.clamp(0.0, steps as f64))
            };
            let (first, last) = (from_step as usize, to_step as usize);
            let line = Line {
                from: from + step * from_step + EDGE[0] as f64,
                step,
                last: (across + EDGE[0]) as f64,
                base: (first * advance + EDGE[0] * advance) as u32,
                advance: advance as u32,
                stride: stride as u32,
                weight: 1.0 / (steep.abs() * fine),
            };
            let begin = of.entries.len();
            of.entries.resize(begin + last.saturating_sub(first), Entry::default());
            simd::fill(level, line, &mut of.entries[begin..]);
            of.ends.push(of.entries.len() as u32);
            ray += 1.0;
        }
    }
}

/// The rays of one projection through a tile.
#[derive(Default)]
struct Crossings {
    entries: Vec<Entry>,
    /// Where the entries of each ray end, after a 0.
    ends: Vec<u32>,
    /// The first ray.
    first: usize,
    /// From one pixel of an entry to the other.
    next: usize,
}

/// A tile that rays go through.
struct Block {
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
}

fn blocks(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..n.div_ceil(size)).map(move |k| (k * size, size.min(n - k * size)))
}

/// Adds up, for each pixel, what the rays through it hold: with Joseph's lens the transpose of [`forward`].
///
/// `from` are projections and `to` a slice of as many groups of `width` channels.
pub fn backproject(
    cx: &Cx,
    geometry: &Geometry,
    lens: Lens,
    weights: &Weights,
    width: usize,
    from: &[f32],
    to: &mut [f32],
) -> Result<()> {
    match width {
        8 => back::<8>(cx, geometry, lens, weights, from, to),
        _ => back::<32>(cx, geometry, lens, weights, from, to),
    }
}

fn back<const L: usize>(
    cx: &Cx,
    geometry: &Geometry,
    lens: Lens,
    weights: &Weights,
    from: &[f32],
    to: &mut [f32],
) -> Result<()> {
    let n = geometry.size;
    let (rays, (to, _)) = (from.as_chunks::<L>().0, to.as_chunks_mut::<L>());
    let turns = geometry.turns();
    // A job is a row of tiles of some groups; each group's part of it lies in one piece.
    let bands: Vec<Vec<Mutex<&mut [[f32; L]]>>> = to
        .chunks_mut(geometry.pixels())
        .map(|slice| slice.chunks_mut(n * TILE).map(Mutex::new).collect())
        .collect();
    let (groups, rows) = (bands.len(), n.div_ceil(TILE));
    cx.par(rows * groups.div_ceil(GROUPS), |job| {
        let (some, band) = (job / rows, job % rows);
        let groups = some * GROUPS..((some + 1) * GROUPS).min(groups);
        let (row, rows) = (band * TILE, TILE.min(n - band * TILE));
        let mut slices = vec![];
        for g in groups.clone() {
            slices.push(bands[g][band].lock().map_err(|_| Error::internal("a band has two owners"))?);
        }
        let mut plot = Plot::new();
        let mut sums = Aligned::zeros(GROUPS * TILE * TILE * L);
        let sums = sums.as_chunks_mut::<L>().0;
        for (column, columns) in blocks(n, TILE) {
            sums.fill([0.0; L]);
            for (first, angles) in blocks(geometry.angles.len(), TURNS) {
                for (y, height) in blocks(rows, SIDE) {
                    for (x, width) in blocks(columns, SIDE) {
                        let at = [row + y, column + x];
                        geometry.lay(lens, weights, &turns, first..first + angles, at, &mut plot);
                        for (sums, g) in sums.chunks_exact_mut(TILE * TILE).zip(groups.clone()) {
                            let rays = &rays[g * geometry.places()..(g + 1) * geometry.places()];
                            let sums = &mut sums[y * TILE + x..];
                            simd::add(simd::level(), sums, TILE, [height, width], &plot, rays);
                        }
                    }
                }
            }
            for (sums, slice) in sums.chunks_exact(TILE * TILE).zip(&mut slices) {
                for (line, sums) in slice.chunks_exact_mut(n).zip(sums.chunks_exact(TILE)) {
                    line[column..column + columns].copy_from_slice(&sums[..columns]);
                }
            }
        }
        Ok(())
    })
}

/// Adds up, for each ray, the pixels it goes through; `from` is a slice and `to` projections of one or more groups.
pub fn forward(cx: &Cx, geometry: &Geometry, width: usize, from: &[f32], to: &mut [f32]) -> Result<()> {
    match width {
        8 => along::<8>(cx, geometry, from, to),
        _ => along::<32>(cx, geometry, from, to),
    }
}

fn along<const L: usize>(cx: &Cx, geometry: &Geometry, from: &[f32], to: &mut [f32]) -> Result<()> {
    let (n, stride) = (geometry.size, geometry.stride());
    let (slices, (to, _)) = (from.as_chunks::<L>().0, to.as_chunks_mut::<L>());
    let turns = geometry.turns();
    // A job is some projections of some groups; each group's part of it lies in one piece.
    let parts: Vec<Vec<Mutex<&mut [[f32; L]]>>> = to
        .chunks_mut(geometry.places())
        .map(|rays| rays.chunks_mut(SHEAF * stride).map(Mutex::new).collect())
        .collect();
    let (groups, some) = (parts.len(), geometry.angles.len().div_ceil(SHEAF));
    cx.par(some * groups.div_ceil(GROUPS), |job| {
        let (first, from) = (job % some, job / some * GROUPS);
        let groups = from..(from + GROUPS).min(groups);
        let mut own = vec![];
        for g in groups.clone() {
            let mut rays =
                parts[g][first].lock().map_err(|_| Error::internal("projections have two owners"))?;
            rays.fill([0.0; L]);
            own.push(rays);
        }
        let angles = first * SHEAF..((first + 1) * SHEAF).min(geometry.angles.len());
        let mut crossings: Vec<Crossings> = angles.clone().map(|_| Crossings::default()).collect();
        let room = CROSSED + EDGE[0] + EDGE[1];
        let mut tile = Aligned::zeros(room * room * L);
        let tile = tile.as_chunks_mut::<L>().0;
        for (row, rows) in blocks(n, CROSSED) {
            for (column, columns) in blocks(n, CROSSED) {
                let block = Block { row, column, rows, columns };
                for (a, of) in angles.clone().zip(&mut crossings) {
                    geometry.crossings(turns[a], &block, of);
                }
                let pitch = columns + EDGE[0] + EDGE[1];
                tile[..(rows + EDGE[0] + EDGE[1]) * pitch].fill([0.0; L]);
                for (g, own) in groups.clone().zip(&mut own) {
                    let slice = &slices[g * geometry.pixels()..(g + 1) * geometry.pixels()];
                    for r in 0..rows {
                        let (from, to) = ((row + r) * n + column, (r + EDGE[0]) * pitch + EDGE[0]);
                        tile[to..to + columns].copy_from_slice(&slice[from..from + columns]);
                    }
                    for (k, of) in crossings.iter().enumerate() {
                        let at = k * stride + PAD + of.first;
                        let rays = &mut own[at..at + of.ends.len() - 1];
                        simd::gather(simd::level(), rays, (&of.entries, &of.ends), of.next, tile);
                    }
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Bank;
    use isard_core::stage::RunCx;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut x = seed;
        (0..n)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 8) as f32 / 16_777_216.0
            })
            .collect()
    }

    #[test]
    fn the_two_are_transposes_of_each_other() {
        // <A f, p> = <f, A' p> for any slice and any projections.
        let run = RunCx::default();
        let cx = Cx::new(&run, "tested");
        let angles: Vec<f64> = (0..19).map(|k| f64::from(k) * 0.17 - 0.4).collect();
        let geometry = Geometry { angles, rays: 23, centre: 11.3, size: 21, fine: 1 };
        for (size, fine) in [(21, 1), (70, 1), (70, 3)] {
            let geometry = Geometry { size, fine, ..geometry.clone() };
            let lens = Lens::Joseph;
            for channels in [3, 40] {
                let f = {
                    let mut bank = Bank::new(channels, geometry.pixels());
                    let n = bank.data.len();
                    bank.data.copy_from_slice(&numbers(n, 5));
                    bank
                };
                let p = Bank::rays(&numbers(19 * 23 * channels, 6), 19, 23, channels);
                let mut af = Bank::new(channels, geometry.places());
                forward(&cx, &geometry, f.width, &f.data, &mut af.data).unwrap();
                let mut atp = Bank::new(channels, geometry.pixels());
                backproject(&cx, &geometry, lens, &Weights::One, f.width, &p.data, &mut atp.data).unwrap();
                for c in 0..channels {
                    let dot = |a: &Bank, b: &Bank| {
                        a.channel(c).zip(b.channel(c)).map(|(a, b)| f64::from(a) * f64::from(b)).sum::<f64>()
                    };
                    let (one, other) = (dot(&af, &p), dot(&f, &atp));
                    assert!((one / other - 1.0).abs() < 1e-5, "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn a_ray_along_a_row_sums_that_row() {
        // At 90 degrees ray x crosses row v = x, each pixel with weight 1 and length 1.
        let run = RunCx::default();
        let cx = Cx::new(&run, "tested");
        let geometry =
            Geometry { angles: vec![std::f64::consts::FRAC_PI_2], rays: 4, centre: 1.5, size: 4, fine: 1 };
        let f = Bank::rays(&(0..16).map(|k| k as f32).collect::<Vec<f32>>(), 16, 1, 1);
        let slice: Vec<f32> = f.data.chunks(8 * 5).flat_map(|p| p[16..24].to_vec()).collect();
        let mut p = Bank::new(1, geometry.places());
        forward(&cx, &geometry, 8, &slice, &mut p.data).unwrap();
        let sums: Vec<f32> = p.channel(0).skip(2).take(4).collect();
        for (found, wanted) in sums.iter().zip([6.0, 22.0, 38.0, 54.0]) {
            assert!((found - wanted).abs() < 1e-5, "{sums:?}");
        }
    }
}
