//! Frames of bytes times rows of digits, tile by tile.

use std::ops::Range;

use super::Level;

/// Pixels of a register, and of a step.
pub(super) const LANES: usize = 64;
/// Frames that are worked on together: what a segment has of them stays in the second cache.
pub(super) const GROUP: usize = 16;
/// Steps of a segment, 16 KiB of each frame: sums of 32 bits hold those of all its products.
pub(super) const SEGMENT: usize = 256;
/// Steps of a tile: the digits of a block stay in the first cache while the frames of a group pass by.
const TILE: usize = 64;

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
    /// Of each row its mask and its factor.
    of: Vec<(usize, f64)>,
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

    /// Adds a row of a mask, with its factor; one of zeros is left out.
    pub(super) fn push(&mut self, digits: &[i8], of: (usize, f64)) {
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
    }

    /// Adds the sums of the rows of one frame to those of their masks.
    pub(super) fn add(&self, sums: &[i64], out: &mut [f64]) {
        for ((mask, factor), sum) in self.of.iter().zip(sums) {
            out[*mask] += factor * *sum as f64;
        }
    }

    /// For each of a group of frames the sums of all rows; `before` is shown what each segment has of them first.
    pub(super) fn sums(&self, level: Level, frames: &[&[u8]], mut before: impl FnMut(&[&[u8]])) -> Vec<i64> {
        let mut sums = vec![0i64; frames.len() * self.rows()];
        for first in (0..self.steps).step_by(SEGMENT) {
            let steps = first..self.steps.min(first + SEGMENT);
            let pixels = first * LANES..self.pixels.min(steps.end * LANES);
            let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[pixels.clone()]).collect();
            before(&frames);
            match level {
                // SAFETY: the level says that the processor has these instructions.
                #[cfg(target_arch = "x86_64")]
                Level::Vnni => unsafe { vnni(self, steps, &frames, &mut sums) },
                _ => segment(self, steps, &frames, &mut sums, plain, flushed),
            }
        }
        sums
    }
}

/// The sum of at most 16 Mi pixels.
pub(super) fn sum(level: Level, pixels: &[u8]) -> u32 {
    match level {
        // SAFETY: the level says that the processor has these instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Vnni => unsafe { x86::sum(pixels) },
        _ => pixels.iter().map(|x| u32::from(*x)).sum(),
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
fn vnni(plane: &Plane, steps: Range<usize>, frames: &[&[u8]], out: &mut [i64]) {
    let multiply = |tile: &Tile, rows: &[Row], sums: &mut [Sums], stride| x86::tile(tile, rows, sums, stride);
    segment(plane, steps, frames, out, multiply, |sums, out| x86::flush(sums, out));
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

/// Goes over the tiles of a segment, of which the frames are given; `multiply` adds to sums of frames and rows,
/// `flush` adds those to `out`.
#[inline(always)]
fn segment(
    plane: &Plane,
    steps: Range<usize>,
    frames: &[&[u8]],
    out: &mut [i64],
    multiply: impl Fn(&Tile, &[Row], &mut [Sums], usize),
    flush: impl Fn(&[Sums], &mut [i64]),
) {
    let n = plane.rows();
    if n == 0 {
        return;
    }
    let mut sums = vec![Sums([0; LANES / 4]); GROUP * n];
    let mut rows: Vec<Row> = Vec::with_capacity(n);
    for (frames, out) in frames.chunks(GROUP).zip(out.chunks_mut(GROUP * n)) {
        sums.fill(Sums([0; LANES / 4]));
        let mut last = [[0u8; LANES]; GROUP];
        let mut whole = [&[] as &[Pixels]; GROUP];
        for ((whole, last), frame) in whole.iter_mut().zip(&mut last).zip(frames) {
            let (steps, rest) = frame.as_chunks::<LANES>();
            *whole = steps;
            last[..rest.len()].copy_from_slice(rest);
        }
        let mut at = steps.start;
        while at < steps.end {
            let (from, there) = (at - steps.start, whole[0].len());
            let mut tile = Tile { frames: [&[]; GROUP], count: frames.len() };
            // Pixels that fill no step have one of their own.
            let to = if from < there { there.min(from + TILE) } else { from + 1 };
            for ((tile, whole), last) in tile.frames.iter_mut().zip(&whole).zip(&last).take(frames.len()) {
                *tile = if from < there { &whole[from..to] } else { std::slice::from_ref(last) };
            }
            let end = steps.start + to;
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
        flush(&sums, out);
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

fn flushed(sums: &[Sums], out: &mut [i64]) {
    for (out, sums) in out.iter_mut().zip(sums) {
        *out += i64::from(sums.0.iter().sum::<i32>());
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, Pixels, Row, SEGMENT, Sums, Tile, flushed};

    /// Frames and rows of a block: their sums fill 24 of 32 registers, and none has to be put aside.
    const BLOCK: [usize; 2] = [4, 6];

    /// Some rows in a tile.
    #[derive(Clone, Copy)]
    struct Part<'a> {
        rows: &'a [Row<'a>],
        /// The steps in which one of them has a digit that is not 0.
        first: usize,
        end: usize,
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn tile(tile: &Tile, rows: &[Row], sums: &mut [Sums], stride: usize) {
        let n = rows.len().div_ceil(BLOCK[1]);
        // Of even size: a block of one row would wait for its pixels.
        let parts = (0..n).map(|i| &rows[i * rows.len() / n..(i + 1) * rows.len() / n]).map(|rows| Part {
            rows,
            first: rows.iter().map(|row| row.first).min().unwrap_or(0),
            end: rows.iter().map(|row| row.end).max().unwrap_or(0),
        });
        let parts: Vec<Part> = parts.collect();
        let (many, rest) = tile.frames[..tile.count].as_chunks::<{ BLOCK[0] }>();
        // All parts of a few frames before the next: these are in the first cache then.
        for (x, sums) in many.iter().zip(sums.chunks_exact_mut(BLOCK[0] * stride)) {
            parts.iter().for_each(|part| sized(x, part, sums, stride));
        }
        for (x, sums) in rest.iter().zip(sums[many.len() * BLOCK[0] * stride..].chunks_exact_mut(stride)) {
            parts.iter().for_each(|part| sized(&[*x], part, sums, stride));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn sized<const F: usize>(x: &[&[Pixels]; F], part: &Part, sums: &mut [Sums], stride: usize) {
        match part.rows {
            [a, b, c, d, e, f] => block(x, [a, b, c, d, e, f], part, sums, stride),
            [a, b, c, d, e] => block(x, [a, b, c, d, e], part, sums, stride),
            [a, b, c, d] => block(x, [a, b, c, d], part, sums, stride),
            [a, b, c] => block(x, [a, b, c], part, sums, stride),
            [a, b] => block(x, [a, b], part, sums, stride),
            [a] => block(x, [a], part, sums, stride),
            _ => unreachable!("parts have at most as many rows as a block"),
        }
    }

    /// `F` frames times `R` rows, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn block<const F: usize, const R: usize>(
        x: &[&[Pixels]; F],
        rows: [&Row; R],
        part: &Part,
        sums: &mut [Sums],
        stride: usize,
    ) {
        let x = x.map(|x| &x[part.first..part.end]);
        let digits = rows.map(|row| &row.digits[part.first..part.end]);
        let numbers = rows.map(|row| row.number);
        assert!(sums.len() == F * stride && numbers.iter().all(|number| *number < stride));
        let place = |f: usize, r: usize| f * stride + numbers[r];
        // Loops, since closures would not be part of this function, and each register would be put aside for each call.
        let mut own = [[_mm512_setzero_si512(); R]; F];
        for (f, own) in own.iter_mut().enumerate() {
            for (r, own) in own.iter_mut().enumerate() {
                // SAFETY: there are sums for `F` frames of `stride` each, and every number is below that.
                *own = load(unsafe { &sums.get_unchecked(place(f, r)).0 });
            }
        }
        for step in 0..part.end - part.first {
            let mut of_rows = [_mm512_setzero_si512(); R];
            for (of_row, digits) in of_rows.iter_mut().zip(&digits) {
                // SAFETY: each row was cut to these steps.
                *of_row = load(unsafe { &digits.get_unchecked(step).0 });
            }
            for f in 0..F {
                // SAFETY: and each frame.
                let x = load(unsafe { x[f].get_unchecked(step) });
                for r in 0..R {
                    own[f][r] = _mm512_dpbusd_epi32(own[f][r], x, of_rows[r]);
                }
            }
        }
        for (f, own) in own.iter().enumerate() {
            for (r, own) in own.iter().enumerate() {
                // SAFETY: as above, and sixteen numbers of 32 bits fill a register.
                unsafe {
                    let sums = sums.get_unchecked_mut(place(f, r));
                    _mm512_storeu_si512(sums.0.as_mut_ptr().cast(), *own);
                }
            }
        }
    }

    /// The sum of some pixels, in the order in which they lie.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn sum(pixels: &[u8]) -> u32 {
        let ones = _mm512_set1_epi8(1);
        // Four sums, since one waits for itself longer than for the memory.
        let mut sums = [_mm512_setzero_si512(); 4];
        let (whole, rest) = pixels.as_chunks::<{ 4 * LANES }>();
        let mut last = [0u8; 4 * LANES];
        last[..rest.len()].copy_from_slice(rest);
        for x in whole.iter().chain(std::iter::once(&last)) {
            for (sum, x) in sums.iter_mut().zip(x.as_chunks::<LANES>().0) {
                *sum = _mm512_dpbusd_epi32(*sum, load(x), ones);
            }
        }
        let [a, b, c, d] = sums;
        let all = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        _mm512_reduce_add_epi32(all).cast_unsigned()
    }

    /// As `squared`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn squares(frame: &[u8]) -> (f64, f64) {
        let (mut sum, mut largest) = (0i64, _mm512_setzero_si512());
        for piece in frame.chunks(SEGMENT * LANES) {
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
            let total = |of| i64::from(_mm512_reduce_add_epi32(of));
            sum += total(products) + 256 * total(upper);
        }
        // SAFETY: a register is as large as 64 bytes.
        let lanes: [u8; LANES] = unsafe { std::mem::transmute(largest) };
        (sum as f64, lanes.iter().fold(0, |m, x| (*x).max(m)).into())
    }

    /// As `flushed`, four registers at once.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn flush(sums: &[Sums], out: &mut [i64]) {
        let (sums, sums_rest) = sums[..out.len()].as_chunks::<4>();
        let (out, out_rest) = out.as_chunks_mut::<4>();
        for (out, sums) in out.iter_mut().zip(sums) {
            let [a, b, c, d] = sums.each_ref().map(|sums| load(&sums.0));
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
            let four = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
            // SAFETY: a register is as large as four numbers of 32 bits.
            let four: [i32; 4] = unsafe { std::mem::transmute(four) };
            out.iter_mut().zip(four).for_each(|(out, sum)| *out += i64::from(sum));
        }
        flushed(sums_rest, out_rest);
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
