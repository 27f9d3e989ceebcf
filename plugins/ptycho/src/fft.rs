//! Two-dimensional Fourier transforms that leave the spectrum transposed.

use std::sync::Arc;

use rustfft::{Fft, FftPlanner};

use crate::num::{Complex, Real};
use crate::simd;

/// Rows that are transformed and transposed while they are at hand.
const ROWS: usize = 8;

/// Transforms of square frames, without scale.
pub struct Fft2<T> {
    n: usize,
    forward: Arc<dyn Fft<T>>,
    backward: Arc<dyn Fft<T>>,
    scratch: usize,
}

/// What a transform works in; one for each thread.
pub struct FftSpace<T> {
    other: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> Fft2<T> {
    /// Transforms of `n` by `n` pixels.
    pub fn new(n: usize) -> Fft2<T> {
        let mut planner = FftPlanner::new();
        let (forward, backward) = (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
        let needs = |f: &Arc<dyn Fft<T>>| f.get_inplace_scratch_len().max(f.get_outofplace_scratch_len());
        let scratch = needs(&forward).max(needs(&backward));
        Fft2 { n, forward, backward, scratch }
    }

    /// Rows and columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Room to work in.
    pub fn space(&self) -> FftSpace<T> {
        let zero = Complex::default();
        FftSpace { other: vec![zero; self.n * self.n], scratch: vec![zero; self.scratch] }
    }

    /// Transforms forward; rows become columns.
    pub fn forward(&self, wave: &mut [Complex<T>], space: &mut FftSpace<T>) {
        self.run(&self.forward, wave, space);
    }

    /// Transforms backward; rows become columns, so a spectrum from [`Fft2::forward`] comes back as it was.
    pub fn backward(&self, wave: &mut [Complex<T>], space: &mut FftSpace<T>) {
        self.run(&self.backward, wave, space);
    }

    /// Transforms forward what `fill` writes into some rows, given the number of the first; `done` gets rows as they come.
    pub fn forward_with(
        &self,
        wave: &mut [Complex<T>],
        space: &mut FftSpace<T>,
        fill: impl FnMut(usize, &mut [Complex<T>]),
        done: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        self.run_with(&self.forward, wave, space, fill, done);
    }

    /// The same backward.
    pub fn backward_with(
        &self,
        wave: &mut [Complex<T>],
        space: &mut FftSpace<T>,
        fill: impl FnMut(usize, &mut [Complex<T>]),
        done: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        self.run_with(&self.backward, wave, space, fill, done);
    }

    fn run(&self, fft: &Arc<dyn Fft<T>>, wave: &mut [Complex<T>], space: &mut FftSpace<T>) {
        self.run_with(fft, wave, space, |_, _| (), |_, _| ());
    }

    // Work on rows is done while they lie in the nearest cache: passes over whole frames cost as much as a transform.
    fn run_with(
        &self,
        fft: &Arc<dyn Fft<T>>,
        wave: &mut [Complex<T>],
        space: &mut FftSpace<T>,
        mut fill: impl FnMut(usize, &mut [Complex<T>]),
        mut done: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        let n = self.n;
        for (k, rows) in wave.chunks_mut(ROWS * n).enumerate() {
            fill(k * ROWS, rows);
            fft.process_with_scratch(rows, &mut space.scratch);
            simd::transpose_rows(rows, k * ROWS, &mut space.other, n);
        }
        let turned = space.other.chunks_mut(ROWS * n);
        for (k, (rows, from)) in wave.chunks_mut(ROWS * n).zip(turned).enumerate() {
            fft.process_outofplace_with_scratch(from, rows, &mut space.scratch);
            done(k * ROWS, rows);
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
