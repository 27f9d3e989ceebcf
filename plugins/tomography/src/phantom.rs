//! Samples that never were: ellipses of phases, their true maps and what a beam through them meets.

use isard_core::prelude::*;
use isard_geometry::{Calibrant, wavelength_of};

/// An ellipse of one phase, in the units of the translation.
#[derive(Clone, Copy, Debug)]
pub struct Ellipse {
    /// The middle, from the axis of rotation.
    pub middle: [f64; 2],
    /// Half axes.
    pub half: [f64; 2],
    /// How far it is turned, in radians.
    pub turn: f64,
    /// The phase.
    pub phase: usize,
    /// How much of the phase it holds.
    pub amount: f64,
}

impl Ellipse {
    /// What a ray meets, amount times length: the chord of a parallel beam at `t` and angle `omega`.
    pub fn chord(&self, omega: f64, t: f64) -> f64 {
        let (s, c) = omega.sin_cos();
        let off = t - self.middle[0] * c - self.middle[1] * s;
        let along = omega - self.turn;
        let square = (self.half[0] * along.cos()).powi(2) + (self.half[1] * along.sin()).powi(2);
        let rest = square - off * off;
        if rest <= 0.0 { 0.0 } else { 2.0 * self.amount * self.half[0] * self.half[1] * rest.sqrt() / square }
    }

    /// What a beam of some width meets: the mean over lines across it.
    pub fn mean_chord(&self, omega: f64, t: f64, width: f64) -> f64 {
        const LINES: usize = 8;
        if width <= 0.0 {
            return self.chord(omega, t);
        }
        let at = |k: usize| t + width * ((k as f64 + 0.5) / LINES as f64 - 0.5);
        (0..LINES).map(|k| self.chord(omega, at(k))).sum::<f64>() / LINES as f64
    }

    /// Whether a point (u, v) lies in it.
    pub fn holds(&self, u: f64, v: f64) -> bool {
        let (s, c) = self.turn.sin_cos();
        let (u, v) = (u - self.middle[0], v - self.middle[1]);
        let (a, b) = ((u * c + v * s) / self.half[0], (v * c - u * s) / self.half[1]);
        a * a + b * b <= 1.0
    }
}

/// A sample of grains of some phases within a radius: the same for the same numbers, and another at each height.
pub fn sample(phases: usize, slice: usize, radius: f64) -> Vec<Ellipse> {
    // Steps of the golden angle spread grains evenly (Vogel, Math. Biosci. 44, 1979, 179).
    const GOLDEN: f64 = 2.399_963_229_728_653;
    let grains = 2 * phases + 1;
    (0..grains)
        .map(|k| {
            let (at, turn) = (k as f64 + 0.5, GOLDEN * (k as f64 + 0.37 * slice as f64));
            let off = 0.66 * radius * (at / grains as f64).sqrt();
            let size =
                radius * (0.16 + 0.14 * (1.7 * at + slice as f64).sin().abs()) * (3.0 / grains as f64).sqrt();
            Ellipse {
                middle: [off * turn.cos(), off * turn.sin()],
                half: [1.5 * size, size],
                turn: 0.7 * at,
                phase: k % phases,
                amount: if k < phases { 1.0 } else { 0.6 },
            }
        })
        .collect()
}

/// The true maps of a slice, [phase y x], on `n` by `n` pixels of a step, averaged over each pixel.
pub fn maps(sample: &[Ellipse], phases: usize, n: usize, step: f64) -> Vec<f64> {
    const FINE: usize = 5;
    let mut out = vec![0.0; phases * n * n];
    let at = |k: usize, f: usize| {
        (k as f64 - 0.5 * (n as f64 - 1.0) + (f as f64 + 0.5) / FINE as f64 - 0.5) * step
    };
    for (v, u) in (0..n).flat_map(|v| (0..n).map(move |u| (v, u))) {
        for fine in 0..FINE * FINE {
            let (y, x) = (at(v, fine / FINE), at(u, fine % FINE));
            for ellipse in sample.iter().filter(|e| e.holds(x, y)) {
                out[(ellipse.phase * n + v) * n + u] += ellipse.amount / (FINE * FINE) as f64;
            }
        }
    }
    out
}

/// Patterns [phase q] of substances, the highest line of each 1; `q` in 1/nm, `width` the standard deviation of a line.
pub fn patterns(names: &[String], q: &[f64], width: f64, energy: f64) -> Result<Vec<f64>> {
    let mut all = vec![];
    for name in names {
        let substance = Calibrant::named(name).map_err(|e| Error::recipe(e.to_string()))?;
        let (last, wavelength) = (q.last().copied().unwrap_or(1.0), wavelength_of(energy));
        let lines = substance.brightness(wavelength, 2e-9 * std::f64::consts::PI / (1.1 * last), 0.5e-20);
        let mut pattern: Vec<f64> = vec![0.0; q.len()];
        for (line, bright) in lines {
            let at = 2e-9 * std::f64::consts::PI / line.d;
            for (p, q) in pattern.iter_mut().zip(q) {
                *p += bright * (-0.5 * ((q - at) / width).powi(2)).exp();
            }
        }
        let top = pattern.iter().copied().fold(0.0, f64::max);
        if top <= 1e-6 {
            let first = q.first().copied().unwrap_or_default();
            return Err(Error::recipe(format!("`{name}` has no line from {first} to {last} 1/nm"))
                .help("widen `q_min` and `q_max`, or take another substance"));
        }
        all.extend(pattern.into_iter().map(|p| p / top));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_add_up_to_the_area_at_any_angle() {
        // The integral of a projection is amount times area, pi a b.
        let ellipse = Ellipse { middle: [1.0, -0.5], half: [2.0, 0.7], turn: 0.4, phase: 0, amount: 3.0 };
        for omega in [0.0, 0.4, 1.3, 2.9] {
            let sum: f64 = (0..8000).map(|k| ellipse.chord(omega, f64::from(k) * 1e-3 - 4.0) * 1e-3).sum();
            assert!((sum - 3.0 * std::f64::consts::PI * 1.4).abs() < 1e-3, "{sum}");
        }
        // Beams side by side miss nothing.
        let sum: f64 = (0..40).map(|k| 0.2 * ellipse.mean_chord(0.9, 0.2 * f64::from(k) - 4.0, 0.2)).sum();
        assert!((sum - 3.0 * std::f64::consts::PI * 1.4).abs() < 0.02, "{sum}");
        let truth = maps(&[ellipse], 1, 64, 0.125);
        let sum: f64 = truth.iter().sum::<f64>() * 0.125 * 0.125;
        assert!((sum - 3.0 * std::f64::consts::PI * 1.4).abs() < 0.05, "{sum}");
    }

    #[test]
    fn patterns_have_their_lines_where_bragg_has_them() {
        // Ni 111: 2 pi / (0.35238 / sqrt 3) = 30.884 1/nm.
        let q: Vec<f64> = (0..400).map(|k| 20.0 + 0.1 * f64::from(k)).collect();
        let ni = patterns(&["Ni".into()], &q, 0.2, 60.0).unwrap();
        let top = (0..400).max_by(|a, b| ni[*a].total_cmp(&ni[*b])).unwrap();
        assert!((q[top] - 30.884).abs() < 0.06, "{}", q[top]);
        let error = patterns(&["Ni".into()], &q[..50], 0.2, 60.0).unwrap_err();
        assert!(error.message().contains("`Ni` has no line from 20 to"), "{error}");
    }
}
