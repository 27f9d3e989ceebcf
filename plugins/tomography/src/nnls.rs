//! Least squares of a pattern against those of phases, weights at or above zero.

use isard_core::prelude::*;

/// Patterns of phases, prepared for fits.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// How many phases there are.
    pub phases: usize,
    /// Bins of a pattern.
    pub bins: usize,
    positive: bool,
    /// Phases, then terms of the background: each of length 1.
    columns: Vec<Vec<f64>>,
    lengths: Vec<f64>,
    gram: Vec<f64>,
}

impl Patterns {
    /// Patterns [phase q], with a background of polynomials up to a degree.
    pub fn new(patterns: &Array, positive: bool, background: Option<u32>) -> Result<Patterns> {
        let &[phases, bins] = patterns.shape() else {
            let found = patterns.shape();
            return Err(Error::data(format!("`patterns` has shape {found:?}, wanted [phase q]")));
        };
        let values = patterns.to_f64()?;
        if let Some(k) = values.iter().position(|v| !v.is_finite()) {
            let (phase, bin) = (k / bins.max(1), k % bins.max(1));
            return Err(Error::data(format!("pattern {phase}: bin {bin} is {}, wanted a number", values[k])));
        }
        let mut columns: Vec<Vec<f64>> = values.chunks_exact(bins.max(1)).map(<[f64]>::to_vec).collect();
        for degree in 0..background.map_or(0, |d| d + 1) {
            let at = |b: usize| 2.0 * b as f64 / (bins.max(2) - 1) as f64 - 1.0;
            columns.push((0..bins).map(|b| legendre(degree, at(b))).collect());
        }
        if columns.len() > bins {
            let n = columns.len();
            return Err(Error::data(format!("{n} unknowns for {bins} bins, wanted fewer unknowns")));
        }
        let lengths: Vec<f64> = columns.iter().map(|c| c.iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
        if let Some(k) = lengths.iter().position(|l| *l <= 0.0) {
            return Err(Error::data(format!("pattern {k} is 0 everywhere, wanted one with lines")));
        }
        for (column, length) in columns.iter_mut().zip(&lengths) {
            column.iter_mut().for_each(|v| *v /= length);
        }
        let n = columns.len();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let gram: Vec<f64> = (0..n * n).map(|k| dot(&columns[k / n], &columns[k % n])).collect();
        let all: Vec<usize> = (0..n).collect();
        let mut room = vec![0.0; n * n];
        if !cholesky(&gram, n, &all, &mut room) {
            return Err(Error::data(
                "the patterns and the background do not differ enough to tell them apart",
            )
            .help("leave one of two equal phases out, or lower `background`"));
        }
        Ok(Patterns { phases, bins, positive, columns, lengths, gram })
    }

    /// Phases and terms of the background together.
    pub fn terms(&self) -> usize {
        self.columns.len()
    }

    /// A phase or a term of the background, of length 1.
    pub fn column(&self, k: usize) -> &[f64] {
        &self.columns[k]
    }

    /// Weights of the phases and the root mean square of what is left.
    ///
    /// `right` holds the products of the pattern with each column, `power` the sum of its squares.
    pub fn solve(&self, right: &[f64], power: f64, weights: &mut [f64]) -> f64 {
        let n = self.terms();
        let free = if self.positive { self.phases } else { 0 };
        let x = nnls(&self.gram, n, free, right);
        let product: f64 = x.iter().zip(right).map(|(x, r)| x * r).sum();
        let square: f64 =
            (0..n).map(|i| (0..n).map(|j| x[i] * self.gram[i * n + j] * x[j]).sum::<f64>()).sum();
        weights.iter_mut().zip(x.iter().zip(&self.lengths)).for_each(|(w, (x, l))| *w = x / l);
        ((power - 2.0 * product + square).max(0.0) / self.bins as f64).sqrt()
    }
}

fn legendre(degree: u32, x: f64) -> f64 {
    let (mut before, mut now) = (1.0, x);
    if degree == 0 {
        return 1.0;
    }
    for k in 1..degree {
        let k = f64::from(k);
        (before, now) = (now, ((2.0 * k + 1.0) * x * now - k * before) / (k + 1.0));
    }
    now
}

/// The lower factor of the part of `gram` that `set` names; says whether it is positive.
fn cholesky(gram: &[f64], n: usize, set: &[usize], factor: &mut [f64]) -> bool {
    let m = set.len();
    for i in 0..m {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| factor[i * m + k] * factor[j * m + k]).sum();
            let value = gram[set[i] * n + set[j]] - sum;
            factor[i * m + j] = if i == j {
                if value < 1e-10 {
                    return false;
                }
                value.sqrt()
            } else {
                value / factor[j * m + j]
            };
        }
    }
    true
}

/// Least squares on a set of unknowns, the others 0.
fn on_set(gram: &[f64], n: usize, set: &[usize], right: &[f64], factor: &mut [f64], x: &mut [f64]) -> bool {
    let m = set.len();
    if !cholesky(gram, n, set, factor) {
        return false;
    }
    let mut y = vec![0.0; m];
    for i in 0..m {
        let sum: f64 = (0..i).map(|k| factor[i * m + k] * y[k]).sum();
        y[i] = (right[set[i]] - sum) / factor[i * m + i];
    }
    for i in (0..m).rev() {
        let sum: f64 = (i + 1..m).map(|k| factor[k * m + i] * y[k]).sum();
        y[i] = (y[i] - sum) / factor[i * m + i];
    }
    x.fill(0.0);
    set.iter().zip(&y).for_each(|(k, v)| x[*k] = *v);
    true
}

/// Least squares from normal equations, the first `bound` unknowns at or above zero.
///
/// The active-set method of Lawson and Hanson (1974, chapter 23) on the normal equations, as Bro and de Jong have it.
fn nnls(gram: &[f64], n: usize, bound: usize, right: &[f64]) -> Vec<f64> {
    let mut passive: Vec<bool> = (0..n).map(|k| k >= bound).collect();
    let (mut x, mut next, mut factor) = (vec![0.0; n], vec![0.0; n], vec![0.0; n * n]);
    let scale = right.iter().fold(0.0, |m: f64, r| m.max(r.abs()));
    let set = |passive: &[bool]| (0..n).filter(|k| passive[*k]).collect::<Vec<usize>>();
    if bound < n {
        on_set(gram, n, &set(&passive), right, &mut factor, &mut x);
    }
    // Every round lowers the misfit, so it ends; the limit is for rounding alone.
    for _ in 0..3 * n + 10 {
        let pull = |k: usize, x: &[f64]| right[k] - (0..n).map(|j| gram[k * n + j] * x[j]).sum::<f64>();
        let best = (0..bound).filter(|k| !passive[*k]).max_by(|a, b| pull(*a, &x).total_cmp(&pull(*b, &x)));
        let Some(best) = best.filter(|k| pull(*k, &x) > 1e-12 * scale) else { break };
        passive[best] = true;
        loop {
            if !on_set(gram, n, &set(&passive), right, &mut factor, &mut next) {
                passive[best] = false;
                return x;
            }
            let out = (0..bound).filter(|k| passive[*k] && next[*k] <= 0.0);
            let step = out.map(|k| (x[k] / (x[k] - next[k]), k)).min_by(|a, b| a.0.total_cmp(&b.0));
            let Some((step, last)) = step else { break };
            x.iter_mut().zip(&next).for_each(|(x, n)| *x += step * (n - *x));
            for k in 0..bound {
                if passive[k] && (k == last || x[k] <= 0.0) {
                    (passive[k], x[k]) = (false, 0.0);
                }
            }
        }
        x.copy_from_slice(&next);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(patterns: &Patterns, data: &[f64]) -> (Vec<f64>, f64) {
        let right: Vec<f64> = (0..patterns.terms())
            .map(|k| patterns.column(k).iter().zip(data).map(|(a, b)| a * b).sum())
            .collect();
        let mut weights = vec![0.0; patterns.phases];
        let rms = patterns.solve(&right, data.iter().map(|v| v * v).sum(), &mut weights);
        (weights, rms)
    }

    #[test]
    fn weights_agree_with_another_program() {
        // scipy 1.17.1, optimize.nnls of the transposed patterns and these data.
        let patterns =
            [[1.0, 2.0, 0.5, 0.1, 0.0, 1.0], [0.0, 1.0, 2.0, 1.0, 0.3, 0.0], [0.5, 0.0, 0.4, 2.0, 1.5, 0.2]];
        let array = Array::of(&[3, 6], patterns.as_flattened()).unwrap();
        let data = [2.0, 3.0, -0.5, 0.7, 0.2, 1.9];
        let (weights, rms) = fit(&Patterns::new(&array, true, None).unwrap(), &data);
        let wanted = [1.521064519297, 0.000000000000, 0.180123735638];
        assert!(weights.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{weights:?}");
        assert!((rms - 0.589702822586).abs() < 1e-9, "{rms}");
        // numpy 2.4.6, linalg.lstsq.
        let (weights, _) = fit(&Patterns::new(&array, false, None).unwrap(), &data);
        let wanted = [1.833754560993, -0.740708972282, 0.488085692959];
        assert!(weights.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{weights:?}");
    }

    #[test]
    fn a_background_of_any_sign_is_taken_off() {
        let peak: Vec<f64> = (0..20).map(|b| (-(f64::from(b) - 9.0).powi(2) / 4.0).exp()).collect();
        let data: Vec<f64> = peak.iter().enumerate().map(|(b, p)| 3.0 * p - 2.0 + 0.1 * b as f64).collect();
        let patterns = Patterns::new(&Array::of(&[1, 20], &peak).unwrap(), true, Some(1)).unwrap();
        let (weights, rms) = fit(&patterns, &data);
        assert!((weights[0] - 3.0).abs() < 1e-9 && rms < 1e-7, "{weights:?} {rms}");
    }

    #[test]
    fn equal_patterns_are_refused() {
        let twice = Array::of(&[2, 3], &[1.0, 2.0, 1.0, 2.0, 4.0, 2.0]).unwrap();
        let error = Patterns::new(&twice, true, None).unwrap_err();
        assert!(error.message().contains("do not differ enough"), "{error}");
        let empty = Array::of(&[1, 3], &[0.0; 3]).unwrap();
        assert!(
            Patterns::new(&empty, true, None).unwrap_err().message().contains("pattern 0 is 0 everywhere")
        );
    }
}
