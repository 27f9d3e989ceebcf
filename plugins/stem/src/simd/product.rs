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

/// Numbers of one register, where a register can be filled at once.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Lane([f32; LANES]);

/// Registers of a tile.
const STEPS: usize = TILE / LANES;
const NONE: Lane = Lane([0.0; LANES]);

/// Masks of any real weights.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Mask by mask, each padded with zeros to whole tiles.
    values: Vec<Lane>,
    masks: usize,
    pixels: usize,
    /// Registers of a mask.
    padded: usize,
}

impl Weights {
    /// Masks of so many pixels each, one after the other.
    pub(crate) fn new(masks: &[Vec<f64>], pixels: usize) -> Weights {
        let padded = pixels.div_ceil(TILE) * STEPS;
        let mut values = vec![NONE; masks.len() * padded];
        for (row, mask) in values.chunks_exact_mut(padded.max(1)).zip(masks) {
            for (lane, weights) in row.iter_mut().zip(mask.chunks(LANES)) {
                lane.0.iter_mut().zip(weights).for_each(|(l, w)| *l = *w as f32);
            }
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

#[inline(always)]
fn all<T: Narrow>(
    frames: &[T],
    weights: &Weights,
    out: &mut [f64],
    multiply: impl Fn(&[Lane], &[&[Lane]], &mut [Lane]),
) {
    let (pixels, masks) = (weights.pixels, weights.masks);
    let mut tile = [NONE; GROUP * STEPS];
    let mut sums = vec![NONE; GROUP * masks];
    let mut rows: Vec<&[Lane]> = Vec::with_capacity(masks);
    for (group, out) in frames.chunks(GROUP * pixels).zip(out.chunks_mut(GROUP * masks)) {
        let n = group.len() / pixels;
        sums.fill(NONE);
        for (step, start) in (0..pixels).step_by(TILE).enumerate() {
            let width = TILE.min(pixels - start);
            for (tile, frame) in tile.chunks_exact_mut(STEPS).zip(group.chunks_exact(pixels)) {
                convert(&frame[start..start + width], tile);
            }
            rows.clear();
            let places = step * STEPS..(step + 1) * STEPS;
            rows.extend(weights.values.chunks_exact(weights.padded).map(|w| &w[places.clone()]));
            multiply(&tile, &rows, &mut sums);
        }
        for (out, sums) in out.iter_mut().zip(&sums[..n * masks]) {
            *out = sums.0.iter().map(|s| f64::from(*s)).sum();
        }
    }
}

/// Pixels of a tile in single precision, with zeros behind the last.
#[inline(always)]
fn convert<T: Narrow>(from: &[T], tile: &mut [Lane]) {
    let (whole, rest) = from.as_chunks::<LANES>();
    let (first, behind) = tile.split_at_mut(whole.len());
    for (lane, from) in first.iter_mut().zip(whole) {
        lane.0.iter_mut().zip(from).for_each(|(l, x)| *l = x.single());
    }
    if behind.is_empty() {
        return;
    }
    behind.fill(NONE);
    behind[0].0.iter_mut().zip(rest).for_each(|(l, x)| *l = x.single());
}

#[inline(always)]
fn plain(tile: &[Lane], rows: &[&[Lane]], sums: &mut [Lane]) {
    for (frame, sums) in tile.chunks_exact(STEPS).zip(sums.chunks_exact_mut(rows.len())) {
        for (row, sums) in rows.iter().zip(sums) {
            let mut own = [0f32; LANES];
            for (x, w) in frame.iter().zip(row.iter()) {
                own.iter_mut().zip(x.0.iter().zip(&w.0)).for_each(|(o, (x, w))| *o += x * w);
            }
            sums.0.iter_mut().zip(own).for_each(|(s, o)| *s += o);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{GROUP, Lane, STEPS};

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn tile(tile: &[Lane], rows: &[&[Lane]], sums: &mut [Lane]) {
        let masks = rows.len();
        let mut at = 0;
        while at < masks {
            for frame in (0..GROUP).step_by(4) {
                let place = (frame, at, masks);
                match &rows[at..] {
                    [a, b, c, d, e, f, ..] => block(tile, [a, b, c, d, e, f], place, sums),
                    [a, b, c, d, e] => block(tile, [a, b, c, d, e], place, sums),
                    [a, b, c, d] => block(tile, [a, b, c, d], place, sums),
                    [a, b, c] => block(tile, [a, b, c], place, sums),
                    [a, b] => block(tile, [a, b], place, sums),
                    [a] => block(tile, [a], place, sums),
                    [] => {}
                }
            }
            at += 6;
        }
    }

    /// Four frames times `M` masks, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn block<const M: usize>(
        tile: &[Lane],
        rows: [&&[Lane]; M],
        (frame, at, masks): (usize, usize, usize),
        sums: &mut [Lane],
    ) {
        let part = |f: usize| tile[(frame + f) * STEPS..].first_chunk::<STEPS>();
        let frames: [&[Lane; STEPS]; 4] = std::array::from_fn(|f| part(f).expect("a tile has all frames"));
        let rows: [&[Lane; STEPS]; M] =
            std::array::from_fn(|m| rows[m].first_chunk().expect("rows are as long as a tile"));
        let mut own = [[_mm512_setzero_ps(); M]; 4];
        for step in 0..STEPS {
            let x: [__m512; 4] = std::array::from_fn(|f| load(&frames[f][step]));
            for m in 0..M {
                let w = load(&rows[m][step]);
                for f in 0..4 {
                    own[f][m] = _mm512_fmadd_ps(x[f], w, own[f][m]);
                }
            }
        }
        for (f, own) in own.iter().enumerate() {
            for (m, own) in own.iter().enumerate() {
                let place = &mut sums[(frame + f) * masks + at + m];
                let sum = _mm512_add_ps(load(place), *own);
                // SAFETY: a lane is one register, aligned as one.
                unsafe { _mm512_store_ps(place.0.as_mut_ptr(), sum) };
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn load(lane: &Lane) -> __m512 {
        // SAFETY: a lane is one register, aligned as one.
        unsafe { _mm512_load_ps(lane.0.as_ptr()) }
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
