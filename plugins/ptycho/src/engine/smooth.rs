//! Gaussian smoothing of images, with mirrored borders.

use crate::num::{Complex, Real};

/// Standard deviations that the kernel reaches.
const REACH: f64 = 4.0;

/// Smooths an image with a Gaussian.
pub fn gaussian<T: Real>(image: &[Complex<T>], columns: usize, sigma: f64) -> Vec<Complex<T>> {
    if sigma <= 0.0 {
        return image.to_vec();
    }
    let reach = (REACH * sigma + 0.5) as i64;
    let kernel: Vec<f64> = (-reach..=reach).map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = kernel.iter().sum();
    let kernel: Vec<T> = kernel.into_iter().map(|k| T::of(k / sum)).collect();
    let rows = image.len() / columns;
    let along = |from: &[Complex<T>], n: usize, step: usize, start: usize, out: &mut [Complex<T>]| {
        for i in 0..n {
            let mut sum = Complex::default();
            for (k, w) in kernel.iter().enumerate() {
                let z = from[start + mirrored(i as i64 + k as i64 - reach, n as i64) * step];
                sum = Complex::new(sum.re + z.re * *w, sum.im + z.im * *w);
            }
            out[start + i * step] = sum;
        }
    };
    let mut half = image.to_vec();
    (0..columns).for_each(|x| along(image, rows, columns, x, &mut half));
    let mut out = half.clone();
    (0..rows).for_each(|y| along(&half, columns, 1, y * columns, &mut out));
    out
}

/// An index mirrored at the borders, whose pixels stand twice.
fn mirrored(i: i64, n: i64) -> usize {
    let i = i.rem_euclid(2 * n);
    (if i < n { i } else { 2 * n - 1 - i }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_gaussian_and_mirrors_at_the_border() {
        // By hand: the kernel is 0.398943, 0.241971, 0.053991, 0.004432, 0.000134, and the border mirrors its neighbours.
        let wanted = [0.640_914, 0.295_962, 0.058_423, 0.004_566];
        let mut line = vec![Complex::<f64>::default(); 8];
        line[0].re = 1.0;
        let found = gaussian(&line, 8, 1.0);
        for (a, b) in found.iter().zip(wanted) {
            assert!((a.re - b).abs() < 2e-6, "{found:?}");
        }
        let sum: f64 = found.iter().map(|z| z.re).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
