//! Two-dimensional Fourier transforms that leave the spectrum transposed.

use std::sync::Arc;

use isard_fourier::{Fft, FftDirection};

use crate::aligned::{Aligned, LINE};
use crate::num::{Complex, Real};
use crate::simd;

mod round;

/// Rows that are transformed and transposed while they are at hand.
const ROWS: usize = 8;

/// Which way a transform goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To frequencies.
    Forward,
    /// Back from them.
    Backward,
}

/// Transforms of square frames, without scale.
///
/// A transform has two halves, so that work on rows can be done while they lie in the nearest cache: passes over whole
/// frames cost as much as a transform. What need not be kept between two halves is never written to memory.
pub struct Fft2<T> {
    n: usize,
    /// Elements from one row to the next between the halves.
    stride: usize,
    forward: Arc<dyn Fft<T>>,
    backward: Arc<dyn Fft<T>>,
    scratch: usize,
}

/// What a transform works in; one for each thread.
pub struct FftSpace<T> {
    other: Aligned<Complex<T>>,
    rows: Aligned<Complex<T>>,
    scratch: Aligned<Complex<T>>,
}

impl<T: Real> Fft2<T> {
    /// Transforms of `n` by `n` pixels.
    pub fn new(n: usize) -> Fft2<T> {
        let [forward, backward] = [FftDirection::Forward, FftDirection::Inverse].map(|d| T::plan(n, d));
        let needs = |f: &Arc<dyn Fft<T>>| f.get_inplace_scratch_len().max(f.get_outofplace_scratch_len());
        let scratch = needs(&forward).max(needs(&backward));
        // Columns of a power of two fall on few sets of the cache and push each other out: a line more parts them.
        let line = LINE / size_of::<Complex<T>>();
        let stride = if n.is_multiple_of(4 * line) { n + line } else { n };
        Fft2 { n, stride, forward, backward, scratch }
    }

    /// Rows and columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Room to work in.
    pub fn space(&self) -> FftSpace<T> {
        let room = |len| Aligned::new(Complex::default(), len);
        FftSpace { other: room(self.n * self.stride), rows: room(ROWS * self.n), scratch: room(self.scratch) }
    }

    /// Transforms forward; rows become columns.
    pub fn forward(&self, wave: &mut [Complex<T>], space: &mut FftSpace<T>) {
        self.whole(Way::Forward, wave, space);
    }

    /// Transforms backward; rows become columns, so a spectrum from [`Fft2::forward`] comes back as it was.
    pub fn backward(&self, wave: &mut [Complex<T>], space: &mut FftSpace<T>) {
        self.whole(Way::Backward, wave, space);
    }

    fn whole(&self, way: Way, wave: &mut [Complex<T>], space: &mut FftSpace<T>) {
        let FftSpace { other, rows, scratch } = space;
        for (k, from) in wave.chunks_mut(ROWS * self.n).enumerate() {
            let rows = &mut rows[..from.len()];
            self.of(way).process_outofplace_with_scratch(from, rows, scratch);
            simd::transpose_rows(rows, k * ROWS, other, [self.n, self.stride]);
        }
        self.rows_out(way, space, wave, |_, _| ());
    }

    /// The first half: `fill` writes some rows, given the number of the first.
    pub fn rows_in(&self, way: Way, space: &mut FftSpace<T>, mut fill: impl FnMut(usize, &mut [Complex<T>])) {
        let FftSpace { other, rows, scratch } = space;
        for k in (0..self.n).step_by(ROWS) {
            let rows = &mut rows[..ROWS.min(self.n - k) * self.n];
            fill(k, rows);
            self.of(way).process_with_scratch(rows, scratch);
            simd::transpose_rows(rows, k, other, [self.n, self.stride]);
        }
    }

    /// The second half, into a wave; `done` gets rows as they come.
    pub fn rows_out(
        &self,
        way: Way,
        space: &mut FftSpace<T>,
        wave: &mut [Complex<T>],
        mut done: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        let FftSpace { other, scratch, .. } = space;
        for (k, rows) in wave.chunks_mut(ROWS * self.n).enumerate() {
            self.last(way, other, k * ROWS, rows, scratch);
            done(k * ROWS, rows);
        }
    }

    /// The second half, of which only `done` sees the rows.
    pub fn rows_through(
        &self,
        way: Way,
        space: &mut FftSpace<T>,
        mut done: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        let FftSpace { other, rows, scratch } = space;
        for k in (0..self.n).step_by(ROWS) {
            let rows = &mut rows[..ROWS.min(self.n - k) * self.n];
            self.last(way, other, k, rows, scratch);
            done(k, rows);
        }
    }

    fn of(&self, way: Way) -> &dyn Fft<T> {
        match way {
            Way::Forward => &*self.forward,
            Way::Backward => &*self.backward,
        }
    }

    fn last(
        &self,
        way: Way,
        other: &mut [Complex<T>],
        first: usize,
        rows: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        let turned = other[first * self.stride..].chunks_mut(self.stride);
        for (row, from) in rows.chunks_exact_mut(self.n).zip(turned) {
            self.of(way).process_outofplace_with_scratch(&mut from[..self.n], row, scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cis;

    #[test]
    fn a_plane_wave_becomes_one_point_and_comes_back() {
        // exp(2 pi i (3 y + 5 x) / n) has one coefficient, n² at (3, 5); transposed it stands at (5, 3).
        for n in [12usize, 16] {
            let fft = Fft2::<f64>::new(n);
            let mut space = fft.space();
            let phase =
                |k: usize| std::f64::consts::TAU * (3.0 * (k / n) as f64 + 5.0 * (k % n) as f64) / n as f64;
            let wave: Vec<_> = (0..n * n).map(|k| cis(phase(k))).collect();
            let mut f = wave.clone();
            fft.forward(&mut f, &mut space);
            for (k, z) in f.iter().enumerate() {
                let wanted = if k == 5 * n + 3 { (n * n) as f64 } else { 0.0 };
                assert!((z - wanted).norm() < 1e-10, "{n}: {k} is {z}");
            }
            fft.backward(&mut f, &mut space);
            for (a, b) in f.iter().zip(&wave) {
                assert!((a / (n * n) as f64 - b).norm() < 1e-12);
            }
        }
    }
}
