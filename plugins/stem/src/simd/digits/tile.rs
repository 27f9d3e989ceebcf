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
/// Frames and rows that are multiplied at once: their sums fill 24 of 32 registers, and none has to be put aside.
const BLOCK: [usize; 2] = [4, 6];

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
    /// Of each row the steps from the first to the last digit that is not 0.
    filled: Vec<Range<usize>>,
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
            self.filled.push(first / LANES..last / LANES + 1);
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
}

/// A plane at work: its rows tile by tile, with room for the sums of a group of frames.
pub(super) struct Work<'a> {
    level: Level,
    pixels: usize,
    rows: usize,
    tiles: Vec<Tile<'a>>,
    /// Of one segment, frame by frame.
    sums: Vec<Sums>,
    /// Of all segments so far.
    whole: Vec<i64>,
}

/// Some steps of all rows.
struct Tile<'a> {
    steps: Range<usize>,
    /// Those with a digit that is not 0.
    rows: Vec<Row<'a>>,
    blocks: Vec<Block>,
}

/// A row in a tile.
struct Row<'a> {
    number: usize,
    digits: &'a [Step],
    /// The steps of the tile that have a digit which is not 0.
    filled: Range<usize>,
}

/// Rows of a tile that are multiplied at once.
struct Block {
    rows: Range<usize>,
    /// The steps of the tile in which one of them has a digit that is not 0.
    filled: Range<usize>,
}

impl<'a> Work<'a> {
    /// For any number of groups.
    pub(super) fn new(level: Level, plane: &'a Plane) -> Work<'a> {
        let whole = plane.pixels / LANES;
        // Pixels that fill no step have a tile of their own.
        let last = (whole < plane.steps).then_some(whole..plane.steps);
        let tiles = (0..whole).step_by(TILE).map(|at| at..whole.min(at + TILE)).chain(last);
        let tiles = tiles.map(|steps| Tile::new(plane, steps)).collect();
        let sums = GROUP * plane.rows();
        Work {
            level,
            pixels: plane.pixels,
            rows: plane.rows(),
            tiles,
            sums: vec![Sums([0; LANES / 4]); sums],
            whole: vec![0; sums],
        }
    }

    /// For each of a group of frames the sums of all rows; `before` is shown what each segment has of them first.
    pub(super) fn sums(&mut self, frames: &[&[u8]], mut before: impl FnMut(&[&[u8]])) -> &[i64] {
        let (sums, whole) = (&mut self.sums[..frames.len() * self.rows], &mut self.whole);
        let whole = &mut whole[..sums.len()];
        whole.fill(0);
        let segments = self.tiles.chunk_by(|a, b| a.steps.start / SEGMENT == b.steps.start / SEGMENT);
        for (n, tiles) in segments.enumerate() {
            let pixels = n * SEGMENT * LANES..self.pixels.min((n + 1) * SEGMENT * LANES);
            let mut parts = [&[] as &[u8]; GROUP];
            parts.iter_mut().zip(frames).for_each(|(part, frame)| *part = &frame[pixels.clone()]);
            let parts = &parts[..frames.len()];
            before(parts);
            match self.level {
                // SAFETY: the level says that the processor has these instructions.
                #[cfg(target_arch = "x86_64")]
                Level::Vnni => unsafe { x86::segment(tiles, parts, sums, whole) },
                _ => {
                    segment(tiles, parts, sums, plain);
                    flush(sums, whole);
                }
            }
        }
        whole
    }
}

impl<'a> Tile<'a> {
    fn new(plane: &'a Plane, steps: Range<usize>) -> Tile<'a> {
        let inside = |filled: &Range<usize>| filled.start.max(steps.start)..filled.end.min(steps.end);
        let all = plane.values.chunks_exact(plane.steps).zip(&plane.filled).enumerate();
        let rows: Vec<Row> = all
            .map(|(number, (row, filled))| (number, row, inside(filled)))
            .filter(|(_, _, filled)| !filled.is_empty())
            .map(|(number, row, filled)| {
                let filled = filled.start - steps.start..filled.end - steps.start;
                Row { number, digits: &row[steps.clone()], filled }
            })
            .collect();
        let n = rows.len().div_ceil(BLOCK[1]);
        // Of even size: a block of one row would wait for its pixels.
        let blocks = (0..n).map(|i| i * rows.len() / n..(i + 1) * rows.len() / n).map(|own| {
            let first = rows[own.clone()].iter().map(|row| row.filled.start).min();
            let end = rows[own.clone()].iter().map(|row| row.filled.end).max();
            Block { rows: own, filled: first.unwrap_or(0)..end.unwrap_or(0) }
        });
        let blocks = blocks.collect();
        Tile { steps, rows, blocks }
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

/// Goes over the tiles of a segment, of which the frames are given; `multiply` adds to the sums of frames and rows.
#[inline(always)]
fn segment(
    tiles: &[Tile],
    frames: &[&[u8]],
    sums: &mut [Sums],
    multiply: impl Fn(&Tile, &[&[Pixels]], &mut [Sums]),
) {
    sums.fill(Sums([0; LANES / 4]));
    let mut last = [[0u8; LANES]; GROUP];
    let mut whole = [&[] as &[Pixels]; GROUP];
    for ((whole, last), frame) in whole.iter_mut().zip(&mut last).zip(frames) {
        let (steps, rest) = frame.as_chunks::<LANES>();
        *whole = steps;
        last[..rest.len()].copy_from_slice(rest);
    }
    let begin = tiles.first().map_or(0, |tile| tile.steps.start);
    for tile in tiles {
        let steps = tile.steps.start - begin..tile.steps.end - begin;
        let mut pixels = [&[] as &[Pixels]; GROUP];
        for ((pixels, whole), last) in pixels.iter_mut().zip(&whole).zip(&last).take(frames.len()) {
            *pixels = whole.get(steps.clone()).unwrap_or(std::slice::from_ref(last));
        }
        multiply(tile, &pixels[..frames.len()], sums);
    }
}

fn plain(tile: &Tile, frames: &[&[Pixels]], sums: &mut [Sums]) {
    let rows = sums.len() / frames.len();
    for (x, sums) in frames.iter().zip(sums.chunks_mut(rows.max(1))) {
        for row in &tile.rows {
            for (x, digits) in x.iter().zip(row.digits) {
                let products = x.iter().zip(&digits.0).map(|(x, d)| i32::from(*x) * i32::from(*d));
                for (i, product) in products.enumerate() {
                    sums[row.number].0[i / 4] += product;
                }
            }
        }
    }
}

/// Adds what registers hold to sums that are as many.
fn flush(sums: &[Sums], whole: &mut [i64]) {
    for (whole, sums) in whole.iter_mut().zip(sums) {
        *whole += i64::from(sums.0.iter().sum::<i32>());
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Block, LANES, Pixels, Row, SEGMENT, Step, Sums, Tile};

    /// As `segment` and `flush`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn segment(tiles: &[Tile], frames: &[&[u8]], sums: &mut [Sums], whole: &mut [i64]) {
        super::segment(tiles, frames, sums, |of_tile, frames, sums| tile(of_tile, frames, sums));
        flush(sums, whole);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn tile(tile: &Tile, frames: &[&[Pixels]], sums: &mut [Sums]) {
        let stride = sums.len() / frames.len();
        let (many, rest) = frames.as_chunks::<{ BLOCK[0] }>();
        let (of_many, of_rest) = sums.split_at_mut(many.len() * BLOCK[0] * stride);
        // All blocks of a few frames before the next: these are in the first cache then.
        for (x, sums) in many.iter().zip(of_many.chunks_exact_mut((BLOCK[0] * stride).max(1))) {
            for block in &tile.blocks {
                sized(x, &tile.rows, block, sums, stride);
            }
        }
        for (x, sums) in rest.iter().zip(of_rest.chunks_exact_mut(stride.max(1))) {
            for block in &tile.blocks {
                sized(&[*x], &tile.rows, block, sums, stride);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn sized<const F: usize>(
        x: &[&[Pixels]; F],
        rows: &[Row],
        block: &Block,
        sums: &mut [Sums],
        stride: usize,
    ) {
        match &rows[block.rows.clone()] {
            [a, b, c, d, e, f] => multiply(x, [a, b, c, d, e, f], block, sums, stride),
            [a, b, c, d, e] => multiply(x, [a, b, c, d, e], block, sums, stride),
            [a, b, c, d] => multiply(x, [a, b, c, d], block, sums, stride),
            [a, b, c] => multiply(x, [a, b, c], block, sums, stride),
            [a, b] => multiply(x, [a, b], block, sums, stride),
            [a] => multiply(x, [a], block, sums, stride),
            _ => unreachable!("a block has at most as many rows as that"),
        }
    }

    /// `F` frames times `R` rows, all sums in registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn multiply<const F: usize, const R: usize>(
        frames: &[&[Pixels]; F],
        rows: [&Row; R],
        block: &Block,
        sums: &mut [Sums],
        stride: usize,
    ) {
        // Loops, since closures would not be part of this function, and each register would be put aside for each call.
        let (mut x, mut digits) = ([&[] as &[Pixels]; F], [&[] as &[Step]; R]);
        for (x, frame) in x.iter_mut().zip(frames) {
            *x = &frame[block.filled.clone()];
        }
        for (digits, row) in digits.iter_mut().zip(&rows) {
            *digits = &row.digits[block.filled.clone()];
            assert!(row.number < stride);
        }
        assert!(sums.len() == F * stride);
        let mut own = [[_mm512_setzero_si512(); R]; F];
        for (f, own) in own.iter_mut().enumerate() {
            for (row, own) in rows.iter().zip(own) {
                // SAFETY: there are sums for `F` frames of `stride` each, and every number is below that.
                *own = load(unsafe { &sums.get_unchecked(f * stride + row.number).0 });
            }
        }
        for step in 0..block.filled.len() {
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
            for (row, own) in rows.iter().zip(own) {
                // SAFETY: as above, and sixteen numbers of 32 bits fill a register.
                unsafe {
                    let sums = sums.get_unchecked_mut(f * stride + row.number);
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

    /// As outside, four registers at once.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn flush(sums: &[Sums], out: &mut [i64]) {
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
        super::flush(sums_rest, out_rest);
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
