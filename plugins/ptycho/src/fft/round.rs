//! Transforms there and back in one buffer: columns are taken out of it, changed, and put where they were.
//!
//! Nothing of a frame but this buffer lies between the first half and the last, so that it stays in the nearer caches,
//! and columns are written while their lines are still at hand.

use super::{Complex, Fft2, FftSpace, ROWS, Real, Way, simd};

impl<T: Real> Fft2<T> {
    /// The first half of a way there: `fill` writes some rows, given the number of the first.
    pub fn rows_begin(
        &self,
        way: Way,
        space: &mut FftSpace<T>,
        mut fill: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        let FftSpace { other, rows, scratch } = space;
        let turned = other.chunks_mut(ROWS * self.stride);
        for (k, to) in (0..self.n).step_by(ROWS).zip(turned) {
            let rows = &mut rows[..ROWS.min(self.n - k) * self.n];
            fill(k, rows);
            for (row, to) in rows.chunks_exact_mut(self.n).zip(to.chunks_mut(self.stride)) {
                self.of(way).process_outofplace_with_scratch(row, &mut to[..self.n], scratch);
            }
        }
    }

    /// Transforms columns, lets them be changed, and transforms them again.
    ///
    /// `change` gets some columns as rows, and the number of the first.
    pub fn columns(
        &self,
        [there, back]: [Way; 2],
        space: &mut FftSpace<T>,
        mut change: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        let FftSpace { other, rows, scratch } = space;
        let shape = [self.n, self.stride];
        for k in (0..self.n).step_by(ROWS) {
            let rows = &mut rows[..ROWS.min(self.n - k) * self.n];
            simd::transpose_columns(other, k, rows, shape);
            self.of(there).process_with_scratch(rows, scratch);
            change(k, rows);
            self.of(back).process_with_scratch(rows, scratch);
            simd::transpose_rows(rows, k, other, shape);
        }
    }

    /// The same with rows.
    pub fn rows_turned(
        &self,
        [there, back]: [Way; 2],
        space: &mut FftSpace<T>,
        mut change: impl FnMut(usize, &mut [Complex<T>]),
    ) {
        let FftSpace { other, rows, scratch } = space;
        let turned = other.chunks_mut(ROWS * self.stride);
        for (k, from) in (0..self.n).step_by(ROWS).zip(turned) {
            let rows = &mut rows[..ROWS.min(self.n - k) * self.n];
            for (row, from) in rows.chunks_exact_mut(self.n).zip(from.chunks_mut(self.stride)) {
                self.of(there).process_outofplace_with_scratch(&mut from[..self.n], row, scratch);
            }
            change(k, rows);
            for (row, to) in rows.chunks_exact_mut(self.n).zip(from.chunks_mut(self.stride)) {
                self.of(back).process_outofplace_with_scratch(row, &mut to[..self.n], scratch);
            }
        }
    }

    /// Rows of zeros, as a last half gives those of a wave.
    pub fn rows_empty(&self, space: &mut FftSpace<T>, mut done: impl FnMut(usize, &mut [Complex<T>])) {
        for k in (0..self.n).step_by(ROWS) {
            let rows = &mut space.rows[..ROWS.min(self.n - k) * self.n];
            rows.fill(Complex::default());
            done(k, rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_in_one_buffer_is_as_in_two() {
        for n in [10usize, 12, 32] {
            let fft = Fft2::<f64>::new(n);
            let mut space = fft.space();
            let wave: Vec<Complex<f64>> =
                (0..n * n).map(|k| Complex::new((k * 7 % 11) as f64 - 5.0, (k % 5) as f64)).collect();
            let factor = |k: usize| 1.0 + (k % 13) as f64;
            let mut wanted = wave.clone();
            fft.forward(&mut wanted, &mut space);
            wanted.iter_mut().enumerate().for_each(|(k, z)| *z *= factor(k));
            fft.backward(&mut wanted, &mut space);
            fft.rows_begin(Way::Forward, &mut space, |first, rows| {
                rows.copy_from_slice(&wave[first * n..first * n + rows.len()]);
            });
            fft.columns([Way::Forward, Way::Backward], &mut space, |first, rows| {
                rows.iter_mut().enumerate().for_each(|(k, z)| *z *= factor(first * n + k));
            });
            // A turn over rows that changes nothing but their scale.
            fft.rows_turned([Way::Backward, Way::Forward], &mut space, |_, rows| {
                rows.iter_mut().for_each(|z| *z *= 1.0 / n as f64);
            });
            let mut found = vec![Complex::default(); n * n];
            fft.rows_out(Way::Backward, &mut space, &mut found, |_, _| ());
            for (a, b) in found.iter().zip(&wanted) {
                assert!((a - b).norm() < 1e-9 * (n * n) as f64, "{n}: {a}, {b}");
            }
        }
    }
}
