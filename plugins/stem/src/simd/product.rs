//! Frames times masks: pixels are converted once for all masks, tile by tile, in the cache.

use super::Level;

/// Frames that are worked on at once.
const GROUP: usize = 8;
/// Pixels of a tile: 16 masks of it and the frames fit in 32 KiB.
const TILE: usize = 256;
/// Numbers of a register.
const LANES: usize = 16;

/// A pixel that single precision holds exactly, or that is one.
pub(crate) trait Narrow: Copy {
    /// Its value.
    fn single(self) -> f32;
}

impl Narrow for f32 {
    fn single(self) -> f32 {
        self
    }
}

macro_rules! narrow {
    ($($t:ty)*) => {$(
        impl Narrow for $t {
            fn single(self) -> f32 {
                self.into()
            }
        }
    )*};
}
narrow!(u8 i8 u16 i16);

/// Masks of any real weights.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Mask by mask, each padded with zeros to whole tiles.
    values: Vec<f32>,
    masks: usize,
    pixels: usize,
    padded: usize,
}

impl Weights {
    /// Masks of so many pixels each, one after the other.
    pub(crate) fn new(masks: &[Vec<f64>], pixels: usize) -> Weights {
        let padded = pixels.div_ceil(TILE) * TILE;
        let mut values = vec![0.0; masks.len() * padded];
        for (row, mask) in values.chunks_exact_mut(padded.max(1)).zip(masks) {
            row.iter_mut().zip(mask).for_each(|(w, m)| *w = *m as f32);
        }
        Weights { values, masks: masks.len(), pixels, padded }
    }
}

/// For each frame the products with all masks.
pub(crate) fn products<T: Narrow>(level: Level, frames: &[T], weights: &Weights, out: &mut [f64]) {
    if weights.masks == 0 {
        return;
    }
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(frames, weights, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(frames, weights, out) },
        _ => all(frames, weights, out, plain),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512<T: Narrow>(frames: &[T], weights: &Weights, out: &mut [f64]) {
    all(frames, weights, out, |x, w, sums| x86::tile(x, w, sums));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Narrow>(frames: &[T], weights: &Weights, out: &mut [f64]) {
    all(frames, weights, out, plain);
}

/// Partial sums of a frame and a mask.
type Sums = [f32; LANES];

#[inline(always)]
fn all<T: Narrow>(
    frames: &[T],
    weights: &Weights,
    out: &mut [f64],
    multiply: impl Fn(&[f32], &[&[f32]], &mut [Sums]),
) {
    let (pixels, masks) = (weights.pixels, weights.masks);
    let mut tile = [0f32; GROUP * TILE];
    let mut sums = vec![[0f32; LANES]; GROUP * masks];
    let mut rows: Vec<&[f32]> = Vec::with_capacity(masks);
    for (group, out) in frames.chunks(GROUP * pixels).zip(out.chunks_mut(GROUP * masks)) {
        let n = group.len() / pixels;
        sums.fill([0.0; LANES]);
        tile.fill(0.0);
        for start in (0..pixels).step_by(TILE) {
            let width = TILE.min(pixels - start);
            for (tile, frame) in tile.chunks_exact_mut(TILE).zip(group.chunks_exact(pixels)) {
                for (t, x) in tile.iter_mut().zip(&frame[start..start + width]) {
                    *t = x.single();
                }
            }
            rows.clear();
            rows.extend(weights.values.chunks_exact(weights.padded).map(|w| &w[start..start + TILE]));
            multiply(&tile, &rows, &mut sums);
        }
        for (out, sums) in out.iter_mut().zip(&sums[..n * masks]) {
            *out = sums.iter().map(|s| f64::from(*s)).sum();
        }
    }
}

#[inline(always)]
fn plain(tile: &[f32], rows: &[&[f32]], sums: &mut [Sums]) {
    for (frame, sums) in tile.chunks_exact(TILE).zip(sums.chunks_exact_mut(rows.len())) {
        for (row, sums) in rows.iter().zip(sums) {
            let mut own = [0f32; LANES];
            for (x, w) in frame.as_chunks::<LANES>().0.iter().zip(row.as_chunks::<LANES>().0) {
                for i in 0..LANES {
                    own[i] += x[i] * w[i];
                }
            }
            for i in 0..LANES {
                sums[i] += own[i];
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{GROUP, LANES, Sums, TILE};

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn tile(tile: &[f32], rows: &[&[f32]], sums: &mut [Sums]) {
        let masks = rows.len();
        let mut at = 0;
        while at < masks {
            for frame in (0..GROUP).step_by(4) {
                let place = (frame, at, masks);
                match &rows[at..] {
                    [a, b, c, d, ..] => block(tile, [a, b, c, d], place, sums),
                    [a, b, c] => block(tile, [a, b, c], place, sums),
                    [a, b] => block(tile, [a, b], place, sums),
                    [a] => block(tile, [a], place, sums),
                    [] => {}
                }
            }
            at += 4;
        }
    }

    /// Four frames times `M` masks, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn block<const M: usize>(
        tile: &[f32],
        rows: [&&[f32]; M],
        (frame, at, masks): (usize, usize, usize),
        sums: &mut [Sums],
    ) {
        let frames: [&[f32]; 4] = std::array::from_fn(|f| &tile[(frame + f) * TILE..(frame + f + 1) * TILE]);
        let rows: [&[f32]; M] = std::array::from_fn(|m| &rows[m][..TILE]);
        let mut own = [[_mm512_setzero_ps(); M]; 4];
        for step in (0..TILE).step_by(LANES) {
            // SAFETY: frames and rows are as long as a tile, which is whole registers.
            let x: [__m512; 4] =
                std::array::from_fn(|f| unsafe { _mm512_loadu_ps(frames[f].as_ptr().add(step)) });
            for m in 0..M {
                // SAFETY: as above.
                let w = unsafe { _mm512_loadu_ps(rows[m].as_ptr().add(step)) };
                for f in 0..4 {
                    own[f][m] = _mm512_fmadd_ps(x[f], w, own[f][m]);
                }
            }
        }
        for (f, own) in own.iter().enumerate() {
            for (m, own) in own.iter().enumerate() {
                let place = sums[(frame + f) * masks + at + m].as_mut_ptr();
                // SAFETY: a sum is as long as a register.
                unsafe { _mm512_storeu_ps(place, _mm512_add_ps(_mm512_loadu_ps(place), *own)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_near_the_product_in_double_precision() {
        let mut seed = 9u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        for (n, pixels, masks) in
            [(1, 1, 1), (3, 768, 4), (9, 1000, 5), (17, 300, 16), (8, 256, 2), (4, 70, 3)]
        {
            let frames: Vec<u16> = (0..n * pixels).map(|_| next() as u16).collect();
            let rows: Vec<Vec<f64>> =
                (0..masks).map(|_| (0..pixels).map(|_| next() as f64 / 2f64.powi(31)).collect()).collect();
            let weights = Weights::new(&rows, pixels);
            for level in Level::all() {
                let mut out = vec![0.0; n * masks];
                products(level, &frames, &weights, &mut out);
                for (frame, out) in frames.chunks(pixels).zip(out.chunks(masks)) {
                    for (row, found) in rows.iter().zip(out) {
                        let wanted: f64 = frame.iter().zip(row).map(|(x, w)| f64::from(*x) * w).sum();
                        assert!((found - wanted).abs() <= 1e-6 * wanted, "{level:?}: {found} for {wanted}");
                    }
                }
            }
        }
    }
}
