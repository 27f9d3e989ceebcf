//! Frames times masks: a tile of pixels meets all masks while both are in the nearest cache.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::Level;

/// Frames that are worked on at once.
const GROUP: usize = 8;
/// Pixels of a tile: 16 masks of it fill the nearest cache, and half of them would cost a third more for loading and
/// storing sums.
const TILE: usize = 512;
/// Numbers of a register.
const LANES: usize = 16;
/// Tiles after which sums of single precision go into double ones: a lane has taken 1024 products by then.
const FLUSH: usize = 32 * TILE;

/// A pixel that single precision holds exactly, or that is one.
pub(crate) trait Narrow: Copy {
    /// Its value.
    fn single(self) -> f32;

    /// Sixteen pixels in single precision.
    ///
    /// # Safety
    /// The processor has AVX-512, and sixteen pixels may be read at `at`.
    #[cfg(target_arch = "x86_64")]
    unsafe fn wide(at: *const Self) -> __m512;
}

macro_rules! narrow {
    ($($t:ty, |$at:ident| $wide:expr;)*) => {$(
        impl Narrow for $t {
            fn single(self) -> f32 {
                self.into()
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw")]
            #[inline]
            unsafe fn wide($at: *const $t) -> __m512 {
                // SAFETY: the caller vouches for the processor and for sixteen pixels.
                unsafe { $wide }
            }
        }
    )*};
}
narrow! {
    u8, |at| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())));
    i8, |at| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast())));
    u16, |at| _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast())));
    i16, |at| _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256(at.cast())));
    f32, |at| _mm512_loadu_ps(at);
}

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
        Level::Avx512 | Level::Vnni => unsafe { avx512(frames, weights, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(frames, weights, out) },
        _ => all(frames, weights, out, plain),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512<T: Narrow>(frames: &[T], weights: &Weights, out: &mut [f64]) {
    all(frames, weights, out, |tile, rows, sums| x86::tile(tile, rows, sums));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Narrow>(frames: &[T], weights: &Weights, out: &mut [f64]) {
    all(frames, weights, out, plain);
}

/// The pixels of a tile of some frames.
struct Tile<'a, T> {
    /// Of each frame.
    frames: &'a [&'a [T]],
    /// What comes next of each frame, which may be fetched ahead.
    ahead: &'a [&'a [T]],
}

#[inline(always)]
fn all<T: Narrow>(
    frames: &[T],
    weights: &Weights,
    out: &mut [f64],
    multiply: impl Fn(&Tile<T>, &[&[Lane]], &mut [Lane]),
) {
    let (pixels, masks) = (weights.pixels, weights.masks);
    let mut sums = vec![NONE; GROUP * masks];
    let mut rows: Vec<&[Lane]> = Vec::with_capacity(masks);
    let none: &[T] = &[];
    out.fill(0.0);
    for (number, out) in out.chunks_mut(GROUP * masks).enumerate() {
        let n = out.len() / masks;
        let group = &frames[number * GROUP * pixels..];
        let piece = |frame: usize, start: usize| {
            let (from, end) = (frame * pixels + start, frame * pixels + pixels.min(start + TILE));
            group.get(from..end).unwrap_or(none)
        };
        for part in (0..pixels).step_by(FLUSH) {
            sums.fill(NONE);
            for start in (part..pixels.min(part + FLUSH)).step_by(TILE) {
                let (mut tile, mut ahead) = ([none; GROUP], [none; GROUP]);
                // Behind the last tile of these frames comes the first one of the next frames.
                let next = if start + TILE < pixels { (0, start + TILE) } else { (GROUP, 0) };
                for i in 0..n {
                    tile[i] = piece(i, start);
                    ahead[i] = piece(next.0 + i, next.1);
                }
                rows.clear();
                let places = start / LANES..start / LANES + STEPS;
                rows.extend(weights.values.chunks_exact(weights.padded).map(|w| &w[places.clone()]));
                multiply(&Tile { frames: &tile[..n], ahead: &ahead[..n] }, &rows, &mut sums);
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                *out += sums.0.iter().map(|s| f64::from(*s)).sum::<f64>();
            }
        }
    }
}

#[inline(always)]
fn plain<T: Narrow>(tile: &Tile<T>, rows: &[&[Lane]], sums: &mut [Lane]) {
    let mut lanes = [NONE; STEPS];
    for (frame, sums) in tile.frames.iter().zip(sums.chunks_exact_mut(rows.len())) {
        let lanes = &mut lanes[..frame.len().div_ceil(LANES)];
        for (lane, pixels) in lanes.iter_mut().zip(frame.chunks(LANES)) {
            *lane = single(pixels);
        }
        for (row, sums) in rows.iter().zip(sums) {
            let mut own = [0f32; LANES];
            for (x, w) in lanes.iter().zip(row.iter()) {
                own.iter_mut().zip(x.0.iter().zip(&w.0)).for_each(|(o, (x, w))| *o += x * w);
            }
            sums.0.iter_mut().zip(own).for_each(|(s, o)| *s += o);
        }
    }
}

/// Pixels of one register in single precision, with zeros behind the last.
#[inline(always)]
fn single<T: Narrow>(pixels: &[T]) -> Lane {
    let mut lane = NONE;
    lane.0.iter_mut().zip(pixels).for_each(|(l, x)| *l = x.single());
    lane
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, Lane, Narrow, Tile, single};

    /// Frames and masks whose sums are in registers at once: 24 sums, 4 frames and a mask of 32.
    const FRAMES: usize = 4;
    const MASKS: usize = 6;

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn tile<T: Narrow>(tile: &Tile<T>, rows: &[&[Lane]], sums: &mut [Lane]) {
        let (masks, frames) = (rows.len(), tile.frames.len());
        let blocks = masks.div_ceil(MASKS) * frames.div_ceil(FRAMES);
        let mut done = 0;
        for at in (0..masks).step_by(MASKS) {
            let own = &rows[at..masks.min(at + MASKS)];
            for frame in (0..frames).step_by(FRAMES) {
                // The next pixels come from memory while these are worked on, step by step: that costs a quarter less.
                let share = done * frames / blocks..(done + 1) * frames / blocks;
                let ahead = &tile.ahead[share];
                done += 1;
                let x = &tile.frames[frame..frames.min(frame + FRAMES)];
                let sums = &mut sums[frame * masks + at..];
                match x.len() {
                    4 => masked::<T, 4>(x, own, ahead, masks, sums),
                    3 => masked::<T, 3>(x, own, ahead, masks, sums),
                    2 => masked::<T, 2>(x, own, ahead, masks, sums),
                    _ => masked::<T, 1>(x, own, ahead, masks, sums),
                }
            }
        }
        rest(tile, rows, sums);
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn masked<T: Narrow, const F: usize>(
        x: &[&[T]],
        rows: &[&[Lane]],
        ahead: &[&[T]],
        masks: usize,
        sums: &mut [Lane],
    ) {
        match rows.len() {
            6 => block::<T, F, 6>(x, rows, ahead, masks, sums),
            5 => block::<T, F, 5>(x, rows, ahead, masks, sums),
            4 => block::<T, F, 4>(x, rows, ahead, masks, sums),
            3 => block::<T, F, 3>(x, rows, ahead, masks, sums),
            2 => block::<T, F, 2>(x, rows, ahead, masks, sums),
            _ => block::<T, F, 1>(x, rows, ahead, masks, sums),
        }
    }

    /// `F` frames times `M` masks, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn block<T: Narrow, const F: usize, const M: usize>(
        x: &[&[T]],
        rows: &[&[Lane]],
        ahead: &[&[T]],
        masks: usize,
        sums: &mut [Lane],
    ) {
        let x: [&[T]; F] = std::array::from_fn(|f| x[f]);
        let rows: [&[Lane]; M] = std::array::from_fn(|m| rows[m]);
        let steps = x.iter().map(|x| x.len() / LANES).chain(rows.iter().map(|r| r.len())).min();
        let mut own = [[_mm512_setzero_ps(); M]; F];
        for step in 0..steps.unwrap_or(0) {
            for pixels in ahead {
                fetch(pixels, step);
            }
            // SAFETY: each frame and each row has at least `steps` registers.
            let x: [__m512; F] = std::array::from_fn(|f| unsafe { T::wide(x[f].as_ptr().add(step * LANES)) });
            for m in 0..M {
                // SAFETY: as above.
                let w = load(unsafe { rows[m].get_unchecked(step) });
                for f in 0..F {
                    own[f][m] = _mm512_fmadd_ps(x[f], w, own[f][m]);
                }
            }
        }
        for (f, own) in own.iter().enumerate() {
            for (m, own) in own.iter().enumerate() {
                let place = &mut sums[f * masks + m];
                let sum = _mm512_add_ps(load(place), *own);
                // SAFETY: a lane is one register, aligned as one.
                unsafe { _mm512_store_ps(place.0.as_mut_ptr(), sum) };
            }
        }
    }

    /// Pixels behind the last whole register.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn rest<T: Narrow>(tile: &Tile<T>, rows: &[&[Lane]], sums: &mut [Lane]) {
        for (frame, sums) in tile.frames.iter().zip(sums.chunks_exact_mut(rows.len())) {
            let whole = frame.len() / LANES;
            if frame.len() > whole * LANES {
                let x = single(&frame[whole * LANES..]);
                for (row, sum) in rows.iter().zip(sums) {
                    sum.0.iter_mut().zip(x.0.iter().zip(&row[whole].0)).for_each(|(s, (x, w))| *s += x * w);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn fetch<T>(pixels: &[T], step: usize) {
        _mm_prefetch::<_MM_HINT_T0>(pixels.as_ptr().wrapping_add(step * LANES).cast());
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
            [(1, 1, 1), (3, 768, 4), (9, 1000, 5), (17, 300, 16), (8, 256, 2), (4, 70, 3), (5, 40_000, 8)]
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

    fn agree<T: Narrow>(value: impl Fn(u64) -> T) {
        let mut seed = 2u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        let frames: Vec<T> = (0..7 * 333).map(|_| value(next())).collect();
        let rows: Vec<Vec<f64>> = (0..7).map(|_| (0..333).map(|_| (next() % 9) as f64).collect()).collect();
        let weights = Weights::new(&rows, 333);
        let wanted: Vec<f64> = frames
            .chunks(333)
            .flat_map(|f| rows.iter().map(|r| f.iter().zip(r).map(|(x, w)| f64::from(x.single()) * w).sum()))
            .collect();
        for level in Level::all() {
            let mut out = vec![9.0; 49];
            products(level, &frames, &weights, &mut out);
            // Sums of small whole numbers are exact in single precision.
            assert_eq!(out, wanted, "{level:?}");
        }
    }

    #[test]
    fn every_pixel_type_is_converted_alike() {
        agree(|x| x as u8);
        agree(|x| x as i8);
        agree(|x| x as u16 % 1000);
        agree(|x| x as i16 % 1000);
        agree(|x| (x % 100) as f32);
    }
}
