//! The transform itself, as one matrix for all patterns of the same bins.

use std::f64::consts::PI;

use isard_core::prelude::*;
use nalgebra::{DMatrix, DVector};

use super::composition::Composition;

/// How patterns are transformed; q in inverse angstrom, r in angstrom.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The first bin that counts.
    pub q_min: f64,
    /// The last bin that counts.
    pub q_max: f64,
    /// The distance below which the polynomial correction acts; 0 for none.
    pub r_poly: f64,
    /// Whether the end of the range is faded out (Lorch).
    pub lorch: bool,
    /// The largest distance.
    pub r_max: f64,
    /// From one distance to the next.
    pub r_step: f64,
}

/// The way from patterns to S(q) and G(r).
///
/// A pattern is brought to the scale of the mean squared factor over the range that counts, `I' = a I`. Then
/// `S = (I' - <f^2> + <f>^2) / <f>^2`, `F = q (S - 1)` less the polynomial `q P(q)` of degree `r_poly q_max / pi` that fits
/// it best, which takes away what varies too slowly to be structure, and `G(r) = 2/pi int F sin(q r) dq`. All but the
/// scale is linear, so it is worked out once.
pub struct Transform {
    /// The bins that count.
    pub bins: std::ops::Range<usize>,
    /// Their q.
    pub q: Vec<f64>,
    /// The distances.
    pub r: Vec<f64>,
    /// The sum of the mean squared factor over the bins.
    pub square: f64,
    /// From a scaled pattern to F, less a constant: [q q].
    reduce: DMatrix<f64>,
    /// The constant.
    flat: DVector<f64>,
    /// From F to G: [r q].
    sine: DMatrix<f64>,
}

impl Transform {
    /// Prepares the transform of patterns with these bins (inverse angstrom).
    pub fn new(all: &[f64], composition: &Composition, options: &Options) -> Result<Transform> {
        if let Some(k) = (1..all.len()).find(|k| all[*k] <= all[k - 1] || !all[*k].is_finite()) {
            return Err(Error::data(format!(
                "bin {k} is at {} after {}, wanted rising bins",
                all[k],
                all[k - 1]
            )));
        }
        let first = all.partition_point(|q| *q < options.q_min.max(1e-9));
        let last = all.partition_point(|q| *q <= options.q_max);
        if last < first + 8 {
            let (low, high, n) = (options.q_min, options.q_max, last.saturating_sub(first));
            let (a, b) = (all.first().copied().unwrap_or(0.0), all.last().copied().unwrap_or(0.0));
            return Err(Error::data(format!(
                "{n} bins from {low} to {high} per angstrom, wanted 8 or more; the bins run from {a} to {b}"
            ))
            .help("check `q_min`, `q_max` and `unit`"));
        }
        let q = all[first..last].to_vec();
        let n = q.len();
        let means: Vec<[f64; 2]> = q.iter().map(|q| composition.means(*q)).collect();
        let square = means.iter().map(|m| m[1]).sum();
        // F = q (I' - <f^2>) / <f>^2: the squared mean drops out.
        let by = DVector::from_fn(n, |k, _| q[k] / means[k][0].powi(2));
        let flat = DVector::from_fn(n, |k, _| by[k] * means[k][1]);
        let clean = correction(&q, options.r_poly)?;
        let mut reduce = clean.clone();
        for k in 0..n {
            reduce.column_mut(k).iter_mut().for_each(|v| *v *= by[k]);
        }
        let flat = &clean * flat;
        let steps = (options.r_max / options.r_step).floor() as usize + 1;
        let r: Vec<f64> = (0..steps).map(|k| k as f64 * options.r_step).collect();
        let top = q[n - 1];
        let sine = DMatrix::from_fn(r.len(), n, |i, k| {
            // Trapezoids, so that bins need not be even.
            let dq = 0.5 * (q[(k + 1).min(n - 1)] - q[k.saturating_sub(1)]);
            let x = PI * q[k] / top;
            let fade = if options.lorch { x.sin() / x } else { 1.0 };
            2.0 / PI * (q[k] * r[i]).sin() * dq * fade
        });
        Ok(Transform { bins: first..last, q, r, square, reduce, flat, sine })
    }

    /// S(q) and G(r) of patterns side by side.
    ///
    /// `patterns` is [q pattern], already on the scale of the mean squared factor; the outputs are [q pattern] and
    /// [r pattern].
    pub fn apply(&self, patterns: &[f64], count: usize) -> (DMatrix<f64>, DMatrix<f64>) {
        let scaled = DMatrix::from_row_slice(self.q.len(), count, patterns);
        let mut f = &self.reduce * scaled;
        for mut column in f.column_iter_mut() {
            column -= &self.flat;
        }
        let g = &self.sine * &f;
        for mut column in f.column_iter_mut() {
            column.iter_mut().zip(&self.q).for_each(|(f, q)| *f = 1.0 + *f / q);
        }
        (f, g)
    }
}

/// The matrix that takes from F the polynomial `q P(q)` that fits it best.
///
/// The degree `r_poly q_max / pi` need not be whole: the result of the two whole ones is mixed (Juhas et al., J. Appl.
/// Cryst. 46, 2013, 560).
fn correction(q: &[f64], r_poly: f64) -> Result<DMatrix<f64>> {
    let n = q.len();
    let one = DMatrix::<f64>::identity(n, n);
    let top = q[n - 1];
    let degree = r_poly * top / PI;
    if degree <= 0.0 {
        return Ok(one);
    }
    let without = |degree: usize| -> Result<DMatrix<f64>> {
        if degree == 0 {
            return Ok(one.clone());
        }
        if degree >= n / 2 {
            return Err(Error::data(format!(
                "a polynomial of degree {degree} for {n} bins, wanted less than half"
            ))
            .help("lower `r_poly`"));
        }
        // Chebyshev polynomials times q span the same and are far from singular.
        let basis = DMatrix::from_fn(n, degree, |k, d| {
            let x = (2.0 * q[k] / top - 1.0).clamp(-1.0, 1.0);
            q[k] / top * (d as f64 * x.acos()).cos()
        });
        let base = basis.qr().q();
        Ok(&one - &base * base.transpose())
    };
    let (low, f) = (degree.floor(), degree.fract());
    let (a, b) = (without(low as usize)?, without(low as usize + 1)?);
    Ok(a * (1.0 - f) + b * f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nickel within 9 angstrom of each atom of an endless crystal: distances and how many atoms are there.
    fn shells() -> Vec<(f64, f64)> {
        let a = 3.5238;
        let mut shells: Vec<(f64, f64)> = vec![];
        let range = -6..=6i32;
        for (h, k, l) in range
            .clone()
            .flat_map(|h| range.clone().map(move |k| (h, k)))
            .flat_map(|(h, k)| range.clone().map(move |l| (h, k, l)))
        {
            let d = 0.5 * a * f64::from(h * h + k * k + l * l).sqrt();
            if (h + k + l) % 2 != 0 || d == 0.0 || d > 9.0 {
                continue;
            }
            match shells.iter_mut().find(|s| (s.0 - d).abs() < 1e-6) {
                Some(shell) => shell.1 += 1.0,
                None => shells.push((d, 1.0)),
            }
        }
        shells
    }

    #[test]
    fn nickel_has_its_neighbours_where_the_lattice_has_them() {
        // I = f^2 (1 + sum N sin(q r) / (q r) exp(-u^2 q^2)): Debye's equation with u^2 = 0.006 square angstrom.
        let q: Vec<f64> = (0..1300).map(|k| 0.8 + 0.02 * f64::from(k)).collect();
        let nickel = Composition::parse("Ni").unwrap();
        let mut pattern: Vec<f64> = q
            .iter()
            .map(|q| {
                let sum: f64 =
                    shells().iter().map(|(r, n)| n * (q * r).sin() / (q * r) * (-0.006 * q * q).exp()).sum();
                nickel.means(*q)[1] * (1.0 + sum)
            })
            .collect();
        let options =
            Options { q_min: 0.8, q_max: 26.0, r_poly: 0.9, lorch: false, r_max: 8.0, r_step: 0.01 };
        let transform = Transform::new(&q, &nickel, &options).unwrap();
        let used = &mut pattern[transform.bins.clone()];
        // A slow error such as of absorption or of the scale is what the polynomial is for.
        used.iter_mut().zip(&transform.q).for_each(|(i, q)| *i *= 3.0 * (1.0 + 0.01 * q));
        let scale = transform.square / used.iter().sum::<f64>();
        let scaled: Vec<f64> = used.iter().map(|i| i * scale).collect();
        let (s, g) = transform.apply(&scaled, 1);
        assert!((s.row(s.nrows() - 40)[0] - 1.0).abs() < 0.1);
        // Neighbours of the cubic face-centred lattice, a = 3.5238: a / sqrt 2, a, a sqrt 3/2, a sqrt 2.
        for wanted in [2.4917, 3.5238, 4.3158, 4.9834] {
            let near = (0..transform.r.len()).filter(|k| (transform.r[*k] - wanted).abs() < 0.35);
            let top = near.max_by(|a, b| g[*a].total_cmp(&g[*b])).unwrap();
            assert!((transform.r[top] - wanted).abs() < 0.025, "{} is not {wanted}", transform.r[top]);
        }
        // By hand: N / (r sigma sqrt(2 pi)) - 4 pi rho r, with 12 and 6 neighbours, sigma^2 = 2 u^2 and rho = 4 / a^3.
        for (r, wanted) in [(2.49, 14.7), (3.52, 2.2)] {
            let height = g[(r / 0.01_f64).round() as usize];
            assert!((height - wanted).abs() < 0.7, "{height} at {r}");
        }
    }

    #[test]
    fn ranges_without_bins_are_refused() {
        let nickel = Composition::parse("Ni").unwrap();
        let options = Options { q_min: 5.0, q_max: 20.0, r_poly: 0.9, lorch: true, r_max: 8.0, r_step: 0.1 };
        let q: Vec<f64> = (0..100).map(|k| 0.01 * f64::from(k)).collect();
        let error = Transform::new(&q, &nickel, &options).err().unwrap();
        assert!(error.message().starts_with("0 bins from 5 to 20 per angstrom"), "{error}");
        let error = Transform::new(&[1.0, 3.0, 2.0], &nickel, &options).err().unwrap();
        assert!(error.message().contains("bin 2 is at 2 after 3"), "{error}");
    }
}
