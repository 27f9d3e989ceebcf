//! The lowest point of a polynomial.

use crate::num::Complex;

/// Where a polynomial, lowest power first, is lowest among the real roots of its derivative; 0 if it has none.
pub fn lowest(b: &[f64]) -> f64 {
    let slope: Vec<f64> = (1..b.len()).map(|k| k as f64 * b[k]).collect();
    let value = |t: f64| b.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let best = real_roots(&slope).into_iter().map(|t| (value(t), t)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(0.0, |(_, t)| t)
}

/// Real roots of a polynomial, lowest power first, by the method of Weierstrass, polished by Newton's.
fn real_roots(c: &[f64]) -> Vec<f64> {
    let most = c.iter().map(|x| x.abs()).fold(0.0, f64::max);
    let degree = (0..c.len()).rev().find(|k| c[*k].abs() > 1e-300 && c[*k].abs() > 0.0 * most).unwrap_or(0);
    if degree == 0 {
        return vec![];
    }
    // Scaled so that the product of the roots is about 1.
    let ratio = (c[0] / c[degree]).abs();
    let scale = if ratio > 0.0 && ratio.is_finite() { ratio.powf(1.0 / degree as f64) } else { 1.0 };
    let monic: Vec<f64> =
        (0..=degree).map(|k| c[k] / c[degree] / scale.powi(degree as i32 - k as i32)).collect();
    let at = |z: Complex<f64>| monic.iter().rev().fold(Complex::new(0.0, 0.0), |sum, c| sum * z + c);
    let slope = |t: f64| (1..=degree).rev().fold(0.0, |sum, k| sum * t + k as f64 * monic[k]);
    let mut roots: Vec<Complex<f64>> = (0..degree).map(|k| Complex::new(0.4, 0.9).powu(k as u32)).collect();
    for _ in 0..400 {
        let mut moved = 0.0f64;
        for i in 0..degree {
            let others = (0..degree).filter(|j| *j != i).map(|j| roots[i] - roots[j]);
            let step = at(roots[i]) / others.product::<Complex<f64>>();
            if step.is_finite() {
                roots[i] -= step;
                moved = moved.max(step.norm() / roots[i].norm().max(1e-30));
            }
        }
        if moved < 1e-15 {
            break;
        }
    }
    let real = roots.into_iter().filter(|z| z.im.abs() < 1e-6 * z.norm().max(1e-12));
    let polish = |z: Complex<f64>| {
        let mut t = z.re;
        for _ in 0..4 {
            let step = at(Complex::new(t, 0.0)).re / slope(t);
            t -= if step.is_finite() { step } else { 0.0 };
        }
        t * scale
    };
    real.map(polish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_point_is_found() {
        // (t² - 1)² + 0.1 t: the left well is lower; its slope 4 t³ - 4 t + 0.1 has the root -1.01227.
        assert!((lowest(&[1.0, 0.1, -2.0, 0.0, 1.0]) + 1.012_27).abs() < 1e-5);
        // A parabola with nothing above: 3 - 2 t + 4 t², lowest at 1/4.
        assert!((lowest(&[3.0, -2.0, 4.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
        assert_eq!(lowest(&[1.0, 0.0, 0.0]), 0.0);
    }
}
