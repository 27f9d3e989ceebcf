//! Frames of bytes times rows of digits, tile by tile.

use super::Level;

/// Pixels of a register, and of a step.
pub(super) const LANES: usize = 64;
/// Frames that are worked on at once.
///
/// Their streams come from memory side by side, with rows of 16 KiB: measured, that takes half the time of tiles of
/// 2 KiB.
pub(super) const GROUP: usize = 8;
/// Steps of a tile: its pixels and the digits of some ten masks fill the second cache.
const TILE: usize = 256;
/// Steps after which sums of 32 bits may be full: each takes four products of 255 and 128.
pub(super) const FLUSH: usize = 16384;

/// Pixels of a step.
type Pixels = [u8; LANES];

/// Digits of a step, where a register can be filled at once.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Step([i8; LANES]);

/// Sums of one register.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Sums([i32; LANES / 4]);

/// Rows of digits over the pixels of a frame.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pixels: usize,
    /// Steps of a row.
    steps: usize,
    values: Vec<Step>,
    /// Of each row the first step with a digit that is not 0, and the one behind the last.
    filled: Vec<(usize, usize)>,
    /// Of each row its mask and its factor; none for one that belongs to no mask.
    of: Vec<Option<(usize, f64)>>,
}

impl Plane {
    /// No row, for frames of so many pixels.
    pub(super) fn new(pixels: usize) -> Plane {
        Plane { pixels, steps: pixels.div_ceil(LANES), values: vec![], filled: vec![], of: vec![] }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.of.len()
    }

    /// Adds a row and gives its number; one of zeros is left out.
    pub(super) fn push(&mut self, digits: &[i8], of: Option<(usize, f64)>) -> usize {
        let (first, last) = (digits.iter().position(|d| *d != 0), digits.iter().rposition(|d| *d != 0));
        if let (Some(first), Some(last)) = (first, last) {
            self.filled.push((first / LANES, last / LANES + 1));
            let mut values = vec![Step([0; LANES]); self.steps];
            for (step, digits) in values.iter_mut().zip(digits.chunks(LANES)) {
                step.0[..digits.len()].copy_from_slice(digits);
            }
            self.values.extend(values);
            self.of.push(of);
        }
        self.of.len().saturating_sub(1)
    }

    /// Adds the sums of the rows of one frame to those of their masks.
    pub(super) fn add(&self, sums: &[i64], out: &mut [f64]) {
        for (of, sum) in self.of.iter().zip(sums) {
            if let Some((mask, factor)) = of {
                out[*mask] += factor * *sum as f64;
            }
        }
    }

    /// For each frame the sums of all rows.
    pub(super) fn sums(&self, level: Level, frames: &[&[u8]]) -> Vec<i64> {
        let mut sums = vec![0i64; frames.len() * self.rows()];
        match level {
            // SAFETY: the level says that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => unsafe { vnni(self, frames, &mut sums) },
            _ => all(self, frames, &mut sums, plain),
        }
        sums
    }
}

/// The sum of the squares of some pixels, and the largest pixel.
pub(super) fn squares(level: Level, frame: &[u8]) -> (f64, f64) {
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Vnni => unsafe { x86::squares(frame) },
        _ => squared(frame),
    }
}

fn squared(frame: &[u8]) -> (f64, f64) {
    // Pieces whose squares fit into 32 bits.
    let square = |x: u8| u32::from(x).wrapping_mul(u32::from(x));
    let sums = frame.chunks(1 << 16).map(|p| p.iter().fold(0u32, |sum, x| sum.wrapping_add(square(*x))));
    (sums.map(f64::from).sum(), frame.iter().fold(0, |m, x| (*x).max(m)).into())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vnni(plane: &Plane, frames: &[&[u8]], out: &mut [i64]) {
    all(plane, frames, out, |tile, rows, sums, stride| x86::tile(tile, rows, sums, stride));
}

/// The pixels of a tile of some frames.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// Of each frame.
    frames: [&'a [Pixels]; GROUP],
    /// How many frames there are.
    count: usize,
}

/// A row in a tile.
#[derive(Clone, Copy)]
struct Row<'a> {
    number: usize,
    digits: &'a [Step],
    /// The steps of the tile that have a digit which is not 0.
    first: usize,
    end: usize,
}

/// Goes over tiles of pixels, and flushes sums before they are full; `multiply` adds to sums of frames and rows.
#[inline(always)]
fn all(
    plane: &Plane,
    frames: &[&[u8]],
    out: &mut [i64],
    multiply: impl Fn(&Tile, &[Row], &mut [Sums], usize),
) {
    let (pixels, n) = (plane.pixels, plane.rows());
    if n == 0 {
        return;
    }
    let whole = pixels / LANES;
    let mut sums = vec![Sums([0; LANES / 4]); GROUP * n];
    let mut rows: Vec<Row> = Vec::with_capacity(n);
    for (number, out) in out.chunks_mut(GROUP * n).enumerate() {
        let (first, count) = (number * GROUP, out.len() / n);
        let mut at = 0;
        while at < plane.steps {
            let flush = plane.steps.min(at + FLUSH);
            sums.fill(Sums([0; LANES / 4]));
            while at < flush {
                let mut tile = Tile { frames: [&[]; GROUP], count };
                let mut last = [[0u8; LANES]; GROUP];
                let end = if at < whole { whole.min(flush).min(at + TILE) } else { flush };
                for (i, last) in last.iter_mut().enumerate().take(count) {
                    if at < whole {
                        tile.frames[i] = frames[first + i][at * LANES..end * LANES].as_chunks::<LANES>().0;
                    } else {
                        let rest = &frames[first + i][whole * LANES..];
                        last[..rest.len()].copy_from_slice(rest);
                    }
                }
                if at >= whole {
                    tile.frames.iter_mut().zip(&last).for_each(|(x, last)| *x = std::slice::from_ref(last));
                }
                rows.clear();
                for (number, (row, filled)) in
                    plane.values.chunks_exact(plane.steps).zip(&plane.filled).enumerate()
                {
                    let (first, last) = (filled.0.max(at) - at, filled.1.min(end).saturating_sub(at));
                    if first < last {
                        rows.push(Row { number, digits: &row[at..end], first, end: last });
                    }
                }
                multiply(&tile, &rows, &mut sums, n);
                at = end;
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                *out += sums.0.iter().map(|s| i64::from(*s)).sum::<i64>();
            }
        }
    }
}

fn plain(tile: &Tile, rows: &[Row], sums: &mut [Sums], stride: usize) {
    for (x, sums) in tile.frames[..tile.count].iter().zip(sums.chunks_mut(stride)) {
        for row in rows {
            for (x, digits) in x.iter().zip(row.digits) {
                let products = x.iter().zip(&digits.0).map(|(x, d)| i32::from(*x) * i32::from(*d));
                for (i, product) in products.enumerate() {
                    sums[row.number].0[i / 4] += product;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{FLUSH, GROUP, LANES, Pixels, Row, Sums, Tile};

    /// Frames and rows of a block: their sums fill 24 of 32 registers, and none has to be put aside.
    ///
    /// Few rows are done with while as many frames as can be come from memory.
    const MANY: [usize; 2] = [GROUP, 3];
    /// The same for more rows: measured, sixteen masks take a tenth less than with three
    /// frames times nine rows.
    const MORE: [usize; 2] = [4, 6];

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn tile(tile: &Tile, rows: &[Row], sums: &mut [Sums], stride: usize) {
        let x = &tile.frames[..tile.count];
        if rows.len() <= MANY[1] && x.len() == GROUP {
            return sized::<{ MANY[0] }, true>(x, rows, sums, stride);
        }
        let parts = rows.len().div_ceil(MORE[1]);
        // Of even size: a block of one row would wait for its pixels.
        let part = |n: usize| &rows[n * rows.len() / parts..(n + 1) * rows.len() / parts];
        let (x, rest) = x.as_chunks::<{ MORE[0] }>();
        // All parts of a few frames before the next: these are in a near cache then.
        for (x, sums) in x.iter().zip(sums.chunks_mut(MORE[0] * stride)) {
            (0..parts).for_each(|n| match n {
                0 => sized::<{ MORE[0] }, true>(x, part(n), sums, stride),
                _ => sized::<{ MORE[0] }, false>(x, part(n), sums, stride),
            });
        }
        for (x, sums) in rest.iter().zip(sums[x.len() * MORE[0] * stride..].chunks_mut(stride)) {
            (0..parts).for_each(|n| sized::<1, false>(&[x], part(n), sums, stride));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn sized<const F: usize, const AHEAD: bool>(
        x: &[&[Pixels]],
        rows: &[Row],
        sums: &mut [Sums],
        stride: usize,
    ) {
        match rows.len() {
            6 => block::<F, 6, AHEAD>(x, rows, sums, stride),
            5 => block::<F, 5, AHEAD>(x, rows, sums, stride),
            4 => block::<F, 4, AHEAD>(x, rows, sums, stride),
            3 => block::<F, 3, AHEAD>(x, rows, sums, stride),
            2 => block::<F, 2, AHEAD>(x, rows, sums, stride),
            _ => block::<F, 1, AHEAD>(x, rows, sums, stride),
        }
    }

    /// `F` frames times `R` rows, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn block<const F: usize, const R: usize, const AHEAD: bool>(
        x: &[&[Pixels]],
        rows: &[Row],
        sums: &mut [Sums],
        stride: usize,
    ) {
        let x: [&[Pixels]; F] = std::array::from_fn(|f| x[f]);
        let rows: [Row; R] = std::array::from_fn(|r| rows[r]);
        let numbers = rows.map(|row| row.number);
        let first = rows.iter().map(|row| row.first).min().unwrap_or(0);
        let end = rows.iter().map(|row| row.end).max().unwrap_or(0);
        let there = x.iter().map(|x| x.len()).chain(rows.iter().map(|row| row.digits.len())).min();
        let end = end.min(there.unwrap_or(0));
        // Frames that come after these are fetched meanwhile, in the order in which they lie, where a tile is a whole frame:
        // frames of a chunk lie one behind the other.
        let frame = x.get(1).map_or(0, |second| second.as_ptr().addr().wrapping_sub(x[0].as_ptr().addr()));
        let ahead = x[0].as_ptr().wrapping_byte_add(F * frame);
        let fetch = AHEAD && first == 0 && end * LANES == frame;
        let mut own: [[__m512i; R]; F] =
            std::array::from_fn(|f| std::array::from_fn(|r| load(&sums[f * stride + numbers[r]].0)));
        for step in first..end {
            // SAFETY: each frame and each row has a register of this number.
            let digits: [__m512i; R] =
                std::array::from_fn(|r| load(unsafe { &rows[r].digits.get_unchecked(step).0 }));
            for f in 0..F {
                if fetch {
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(step * F + f).cast());
                }
                // SAFETY: as above.
                let x = load(unsafe { x[f].get_unchecked(step) });
                for r in 0..R {
                    own[f][r] = _mm512_dpbusd_epi32(own[f][r], x, digits[r]);
                }
            }
        }
        for (f, own) in own.iter().enumerate() {
            for (number, own) in numbers.iter().zip(own) {
                // SAFETY: sixteen numbers of 32 bits fill a register.
                unsafe { _mm512_storeu_si512(sums[f * stride + number].0.as_mut_ptr().cast(), *own) };
            }
        }
    }

    /// As `squared`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn squares(frame: &[u8]) -> (f64, f64) {
        let (mut sum, mut largest) = (0i64, _mm512_setzero_si512());
        for piece in frame.chunks(FLUSH * LANES) {
            // The second factor has a sign: of a pixel from 128 on, 256 times itself is missing.
            let (mut products, mut upper) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            let (whole, rest) = piece.as_chunks::<LANES>();
            let mut last = [0u8; LANES];
            last[..rest.len()].copy_from_slice(rest);
            for x in whole.iter().chain(std::iter::once(&last)) {
                let x = load(x);
                let high = _mm512_maskz_mov_epi8(_mm512_movepi8_mask(x), x);
                products = _mm512_dpbusd_epi32(products, x, x);
                upper = _mm512_dpbusd_epi32(upper, high, _mm512_set1_epi8(1));
                largest = _mm512_max_epu8(largest, x);
            }
            sum += total(products) + 256 * total(upper);
        }
        // SAFETY: a register is as large as 64 bytes.
        let lanes: [u8; LANES] = unsafe { std::mem::transmute(largest) };
        (sum as f64, lanes.iter().fold(0, |m, x| (*x).max(m)).into())
    }

    /// The sum of sixteen numbers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn total(of: __m512i) -> i64 {
        // SAFETY: a register is as large as sixteen numbers of 32 bits.
        let lanes: [i32; LANES / 4] = unsafe { std::mem::transmute(of) };
        lanes.into_iter().map(i64::from).sum()
    }

    /// A register of 64 bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn load<T, const N: usize>(from: &[T; N]) -> __m512i {
        const { assert!(size_of::<[T; N]>() == 64) };
        // SAFETY: that many bytes are there, as is seen above.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
}
