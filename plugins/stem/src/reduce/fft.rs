//! Fourier transforms of pictures.

use std::sync::Arc;

use isard_fourier::{Fft, FftDirection, Planned};
use num_complex::Complex64;

/// Transforms of pictures of one size.
pub(crate) struct Fft2 {
    columns: usize,
    along_rows: [Arc<dyn Fft<f64>>; 2],
    along_columns: [Arc<dyn Fft<f64>>; 2],
}

impl Fft2 {
    /// Plans the transforms of a size.
    pub fn new([rows, columns]: [usize; 2]) -> Fft2 {
        let both = |n| [FftDirection::Forward, FftDirection::Inverse].map(|d| f64::plan(n, d));
        Fft2 { columns, along_rows: both(columns), along_columns: both(rows) }
    }

    /// Transforms a picture in place; neither direction is normalised.
    pub fn run(&self, data: &mut [Complex64], inverse: bool) {
        let which = usize::from(inverse);
        self.along_rows[which].process(data);
        let rows = data.len() / self.columns;
        // Eight columns at a time: a line of the cache holds four numbers.
        let mut block = vec![Complex64::default(); 8 * rows];
        for left in (0..self.columns).step_by(8) {
            let width = 8.min(self.columns - left);
            for (y, row) in data.chunks_exact(self.columns).enumerate() {
                for (i, c) in row[left..left + width].iter().enumerate() {
                    block[i * rows + y] = *c;
                }
            }
            self.along_columns[which].process(&mut block[..width * rows]);
            for (y, row) in data.chunks_exact_mut(self.columns).enumerate() {
                for (i, c) in row[left..left + width].iter_mut().enumerate() {
                    *c = block[i * rows + y];
                }
            }
        }
    }
}

/// Transforms a picture in place; neither direction is normalised.
pub(crate) fn fft2(data: &mut [Complex64], size: [usize; 2], inverse: bool) {
    Fft2::new(size).run(data, inverse);
}

/// The signed frequency of a place of a transform, in cycles over `n` points: `n / 2` and above are below 0.
pub(crate) fn signed(i: usize, n: usize) -> f64 {
    let i = i as i64;
    let n = n as i64;
    (if 2 * i >= n && n > 1 { i - n } else { i }) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_those_of_numpy() {
        // numpy.fft.fftfreq(4) * 4 and fftfreq(5) * 5.
        assert_eq!([0, 1, 2, 3].map(|i| signed(i, 4)), [0.0, 1.0, -2.0, -1.0]);
        assert_eq!([0, 1, 2, 3, 4].map(|i| signed(i, 5)), [0.0, 1.0, 2.0, -2.0, -1.0]);
        assert_eq!(signed(0, 1), 0.0);
    }

    #[test]
    fn there_and_back() {
        let from: Vec<Complex64> = (0..12).map(|i| Complex64::new(f64::from(i * i), f64::from(i))).collect();
        let mut data = from.clone();
        fft2(&mut data, [3, 4], false);
        let sum: Complex64 = from.iter().sum();
        assert!((data[0] - sum).norm() < 1e-9);
        fft2(&mut data, [3, 4], true);
        assert!(data.iter().zip(&from).all(|(a, b)| (a / 12.0 - b).norm() < 1e-9));
    }
}
