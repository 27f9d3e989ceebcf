//! The projector and its transpose, pixel by pixel, for all channels at once.

use std::sync::Mutex;

use isard_core::prelude::*;

use super::bank::{Aligned, PAD};
use crate::simd::{self, Line, Table};

/// Rows and columns of a tile: its channels and its rays stay in the nearest caches.
const TILE: usize = 32;
/// Angles that share the entries of a tile.
const BLOCK: usize = 8;
/// Groups of channels that share the entries of a tile: so many are best projected together.
pub const GROUPS: usize = 4;

/// A parallel beam through a square slice.
///
/// The middle of the slice lies on the axis of rotation. Pixel (v, u) falls on ray
/// `(u - m) cos(omega) + (v - m) sin(omega) + centre`, with `m` the middle of the slice, all in steps of the translation.
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

    /// The entries of a tile for some angles, whose projections begin at `start`.
    fn table(&self, lens: Lens, weights: &Weights, block: &Block, start: usize, table: &mut Table) {
        let middle = 0.5 * (self.size as f64 - 1.0);
        let level = simd::level();
        table.resize(block.rows * block.columns * block.angles.len());
        let [first, second] = &mut table.w;
        let lines = table.at.chunks_exact_mut(block.columns).zip(first.chunks_exact_mut(block.columns));
        for (k, ((at, first), second)) in lines.zip(second.chunks_exact_mut(block.columns)).enumerate() {
            let (a, row) = (block.angles.start + k / block.rows, block.row + k % block.rows);
            let (s, c) = self.angles[a].sin_cos();
            let (v, u) = (row as f64 - middle, block.column as f64 - middle);
            let line = Line {
                from: u * c + v * s + self.centre + PAD as f64,
                step: c,
                last: (self.rays + PAD) as f64,
                base: ((a - start) * self.stride()) as u32,
                narrow: if lens == Lens::Linear { 1.0 } else { 1.0 / c.abs().max(s.abs()) },
                weight: match weights {
                    Weights::One => 1.0,
                    Weights::Angles(w) => w[a],
                },
            };
            simd::fill(level, line, at, first, second);
        }
    }
}

struct Block {
    row: usize,
    column: usize,
    rows: usize,
    columns: usize,
    angles: std::ops::Range<usize>,
}

fn blocks(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..n.div_ceil(size)).map(move |k| (k * size, size.min(n - k * size)))
}

/// Adds up, for each pixel, what the rays through it hold: the transpose of [`forward`] for the same lens.
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
    // A job is a row of tiles of some groups; each group's part of it lies in one piece.
    let bands: Vec<Vec<Mutex<&mut [[f32; L]]>>> = to
        .chunks_mut(geometry.pixels())
        .map(|slice| slice.chunks_mut(n * TILE).map(Mutex::new).collect())
        .collect();
    let (groups, rows) = (bands.len(), n.div_ceil(TILE));
    cx.par(rows * groups.div_ceil(GROUPS), |job| {
        let (some, band) = (job / rows, job % rows);
        let groups = some * GROUPS..((some + 1) * GROUPS).min(groups);
        let (row, height) = (band * TILE, TILE.min(n - band * TILE));
        let mut slices = vec![];
        for g in groups.clone() {
            slices.push(bands[g][band].lock().map_err(|_| Error::internal("a band has two owners"))?);
        }
        let mut table = Table::default();
        let mut sums = Aligned::zeros(GROUPS * TILE * TILE * L);
        let sums = sums.as_chunks_mut::<L>().0;
        for (column, columns) in blocks(n, TILE) {
            let pixels = height * columns;
            sums.fill([0.0; L]);
            for (first, angles) in blocks(geometry.angles.len(), BLOCK) {
                let block = Block { row, column, rows: height, columns, angles: first..first + angles };
                geometry.table(lens, weights, &block, 0, &mut table);
                for (sums, g) in sums.chunks_mut(pixels).zip(groups.clone()) {
                    let rays = &rays[g * geometry.places()..(g + 1) * geometry.places()];
                    simd::gather(simd::level(), sums, &table, rays);
                }
            }
            for (sums, slice) in sums.chunks(pixels).zip(&mut slices) {
                for (r, line) in sums.chunks(columns).enumerate() {
                    slice[r * n + column..r * n + column + columns].copy_from_slice(line);
                }
            }
        }
        Ok(())
    })
}

/// Adds up, for each ray, the pixels it goes through; `from` is a slice and `to` projections of one or more groups.
pub fn forward(
    cx: &Cx,
    geometry: &Geometry,
    lens: Lens,
    width: usize,
    from: &[f32],
    to: &mut [f32],
) -> Result<()> {
    match width {
        8 => along::<8>(cx, geometry, lens, from, to),
        _ => along::<32>(cx, geometry, lens, from, to),
    }
}

fn along<const L: usize>(
    cx: &Cx,
    geometry: &Geometry,
    lens: Lens,
    from: &[f32],
    to: &mut [f32],
) -> Result<()> {
    let (n, stride) = (geometry.size, geometry.stride());
    let (slices, (to, _)) = (from.as_chunks::<L>().0, to.as_chunks_mut::<L>());
    // A job is some projections of some groups; each group's part of it lies in one piece.
    let parts: Vec<Vec<Mutex<&mut [[f32; L]]>>> = to
        .chunks_mut(geometry.places())
        .map(|rays| rays.chunks_mut(BLOCK * stride).map(Mutex::new).collect())
        .collect();
    let (groups, some) = (parts.len(), geometry.angles.len().div_ceil(BLOCK));
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
        let first = first * BLOCK;
        let angles = first..(first + BLOCK).min(geometry.angles.len());
        let (mut table, mut tile) = (Table::default(), Aligned::zeros(TILE * TILE * L));
        let tile = tile.as_chunks_mut::<L>().0;
        for (row, rows) in blocks(n, TILE) {
            for (column, columns) in blocks(n, TILE) {
                let block = Block { row, column, rows, columns, angles: angles.clone() };
                geometry.table(lens, &Weights::One, &block, first, &mut table);
                for (g, rays) in groups.clone().zip(&mut own) {
                    let slice = &slices[g * geometry.pixels()..(g + 1) * geometry.pixels()];
                    for (r, line) in tile.chunks_exact_mut(columns).take(rows).enumerate() {
                        let from = (row + r) * n + column;
                        line.copy_from_slice(&slice[from..from + columns]);
                    }
                    simd::scatter(simd::level(), &tile[..rows * columns], &table, rays);
                }
            }
        }
        // What fell beside the projection fell on empty rays; they stay empty.
        for line in own.iter_mut().flat_map(|rays| rays.chunks_mut(stride)) {
            let (a, b) = (PAD, stride - PAD);
            line[..a].fill([0.0; L]);
            line[b..].fill([0.0; L]);
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
        let geometry = Geometry { angles, rays: 23, centre: 11.3, size: 21 };
        for lens in [Lens::Linear, Lens::Joseph] {
            for channels in [3, 40] {
                let f = {
                    let mut bank = Bank::new(channels, geometry.pixels());
                    let n = bank.data.len();
                    bank.data.copy_from_slice(&numbers(n, 5));
                    bank
                };
                let p = Bank::rays(&numbers(19 * 23 * channels, 6), 19, 23, channels);
                let mut af = Bank::new(channels, geometry.places());
                forward(&cx, &geometry, lens, f.width, &f.data, &mut af.data).unwrap();
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
        let geometry = Geometry { angles: vec![std::f64::consts::FRAC_PI_2], rays: 4, centre: 1.5, size: 4 };
        let f = Bank::rays(&(0..16).map(|k| k as f32).collect::<Vec<f32>>(), 16, 1, 1);
        let slice: Vec<f32> = f.data.chunks(8 * 5).flat_map(|p| p[16..24].to_vec()).collect();
        let mut p = Bank::new(1, geometry.places());
        forward(&cx, &geometry, Lens::Joseph, 8, &slice, &mut p.data).unwrap();
        let sums: Vec<f32> = p.channel(0).skip(2).take(4).collect();
        for (found, wanted) in sums.iter().zip([6.0, 22.0, 38.0, 54.0]) {
            assert!((found - wanted).abs() < 1e-5, "{sums:?}");
        }
    }
}
