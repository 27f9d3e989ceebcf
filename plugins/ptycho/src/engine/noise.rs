//! Likelihoods of counts under three kinds of noise.

use super::settings::Noise;
use crate::num::Real;
use crate::simd;

/// What a likelihood is made of.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The noise.
    pub noise: Noise,
    /// Scales counts to photons.
    pub renorm: f64,
    /// Whether each frame has a brightness of its own.
    pub floats: bool,
}

/// Keeps logarithms and quotients of dark pixels finite.
const DARK: f64 = 1e-6;

/// Turns a frame's intensities into factors of its waves; gives the likelihood and the frame's brightness.
pub fn residual<T: Real>(power: &mut [T], amplitude: &[T], terms: &Terms, scale: T) -> (f64, f64) {
    let good = |a: &T| *a >= T::zero();
    let float = if terms.floats { brightness(power, amplitude, terms) } else { 1.0 };
    if terms.floats {
        let k = T::of(float);
        power.iter_mut().for_each(|p| *p *= k);
    }
    let error = match terms.noise {
        Noise::Gaussian => simd::gaussian(power, amplitude, T::of(terms.renorm), scale),
        Noise::Poisson => {
            let mut sum = 0.0;
            for (p, a) in power.iter_mut().zip(amplitude) {
                if !good(a) {
                    *p = T::zero();
                    continue;
                }
                let (i, m) = (a.wide() * a.wide(), p.wide() + DARK);
                sum += ln_factorial(i) + m - i * m.ln();
                *p = scale * T::of(1.0 - i / m);
            }
            sum
        }
        Noise::Euclid => {
            let mut sum = 0.0;
            for (p, a) in power.iter_mut().zip(amplitude) {
                if !good(a) {
                    *p = T::zero();
                    continue;
                }
                let (a, m) = (a.wide(), p.wide().sqrt() + DARK);
                sum += (m - a) * (m - a);
                *p = scale * T::of(1.0 - a / m);
            }
            sum
        }
    };
    (error, float)
}

/// What a frame's model has to be multiplied by to be as bright as the frame.
fn brightness<T: Real>(power: &[T], amplitude: &[T], terms: &Terms) -> f64 {
    let (mut up, mut down) = (0.0, 0.0);
    for (p, a) in power.iter().zip(amplitude).filter(|(_, a)| **a >= T::zero()) {
        let (m, a) = (p.wide(), a.wide());
        let i = a * a;
        match terms.noise {
            Noise::Gaussian => {
                let w = terms.renorm / (1.0 / terms.renorm + i);
                up += w * m * i;
                down += w * m * m;
            }
            Noise::Poisson => {
                up += i;
                down += m + DARK;
            }
            Noise::Euclid => {
                up += a;
                down += m.sqrt() + DARK;
            }
        }
    }
    if down > 0.0 { up / down } else { 1.0 }
}

/// First and second coefficient along a ray.
pub fn ray<T: Real>([a0, a1, a2]: [&[T]; 3], amplitude: &[T], noise: Noise) -> [f64; 2] {
    let mut b = [0.0; 2];
    for (i, a) in amplitude.iter().enumerate().filter(|(_, a)| **a >= T::zero()) {
        let (a, x0, x1, x2) = (a.wide(), a0[i].wide(), a1[i].wide(), a2[i].wide());
        match noise {
            Noise::Poisson => {
                let m = x0 + DARK;
                let d = 1.0 - a * a / m;
                b[0] += x1 * d;
                b[1] += x2 * d + 0.5 * a * a * (x1 / m).powi(2);
            }
            _ => {
                let m = x0 + 1e-12;
                let d = 1.0 - a / m.sqrt();
                b[0] += x1 * d;
                b[1] += x2 * d + 0.25 * x1 * x1 * a / m.powf(1.5);
            }
        }
    }
    b
}

/// All coefficients of the Gaussian likelihood along a ray.
pub fn whole_ray<T: Real>(a: [&mut Vec<T>; 5], amplitude: &[T], renorm: T) -> [f64; 9] {
    let mut b = [0.0; 9];
    let renorm = renorm.wide();
    for (k, amplitude) in amplitude.iter().enumerate().filter(|(_, a)| **a >= T::zero()) {
        let i = amplitude.wide() * amplitude.wide();
        let w = renorm / (1.0 / renorm + i);
        let p = [a[0][k].wide() - i, a[1][k].wide(), a[2][k].wide(), a[3][k].wide(), a[4][k].wide()];
        for (x, px) in p.iter().enumerate() {
            for (y, py) in p.iter().enumerate() {
                b[x + y] += w * px * py;
            }
        }
    }
    b
}

/// `ln Γ(x + 1)`, by Stirling's series.
pub fn ln_factorial(x: f64) -> f64 {
    // Below 10 the series is not exact enough: go up by the recursion first.
    let (mut z, mut less) = (x + 1.0, 0.0);
    while z < 10.0 {
        less += z.ln();
        z += 1.0;
    }
    let i2 = 1.0 / (z * z);
    let series = (1.0 / 12.0 - i2 * (1.0 / 360.0 - i2 * (1.0 / 1260.0 - i2 / 1680.0))) / z;
    (z - 0.5) * z.ln() - z + 0.5 * std::f64::consts::TAU.ln() + series - less
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials_are_those_of_the_table() {
        // ln 0! = 0, ln 5! = ln 120, ln 20! = ln 2432902008176640000, ln Γ(1.5) = ln (√π / 2).
        assert!(ln_factorial(0.0).abs() < 1e-11);
        assert!((ln_factorial(5.0) - 120f64.ln()).abs() < 1e-11);
        assert!((ln_factorial(20.0) - 2_432_902_008_176_640_000f64.ln()).abs() < 1e-10);
        assert!((ln_factorial(0.5) - (std::f64::consts::PI.sqrt() / 2.0).ln()).abs() < 1e-11);
    }
}
