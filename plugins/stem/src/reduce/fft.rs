//! Fourier transforms of pictures.

use num_complex::Complex64;
use rustfft::{FftDirection, FftPlanner};

/// Transforms a picture in place; neither direction is normalised.
pub(crate) fn fft2(data: &mut [Complex64], [rows, columns]: [usize; 2], inverse: bool) {
    let direction = if inverse { FftDirection::Inverse } else { FftDirection::Forward };
    let mut planner = FftPlanner::new();
    planner.plan_fft(columns, direction).process(data);
    let fft = planner.plan_fft(rows, direction);
    let mut column = vec![Complex64::default(); rows];
    for x in 0..columns {
        for (y, c) in column.iter_mut().enumerate() {
            *c = data[y * columns + x];
        }
        fft.process(&mut column);
        for (y, c) in column.iter().enumerate() {
            data[y * columns + x] = *c;
        }
    }
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
