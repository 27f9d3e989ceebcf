//! Minima of functions without derivatives, within a box from -1 to 1 in each direction.

use isard_core::error::Result;

/// A place and its value.
pub type Place = (Vec<f64>, f64);

/// Smaller differences of values do not count.
const ALIKE: f64 = 1e-7;
/// A simplex of this size is a point.
const SMALL: f64 = 1e-4;

/// The simplex of Nelder and Mead from a place on; trial points stay in the box.
///
/// Source: J. A. Nelder and R. Mead, The Computer Journal 7 (1965) 308.
pub fn nelder_mead(
    cost: &mut dyn FnMut(&[f64]) -> Result<f64>,
    start: Place,
    step: f64,
    evaluations: usize,
) -> Result<Place> {
    let n = start.0.len();
    let mut corners = vec![start];
    for k in 0..n {
        let mut at = corners[0].0.clone();
        // A step out of the box goes the other way.
        at[k] += if at[k] + step <= 1.0 { step } else { -step };
        let value = cost(&at)?;
        corners.push((at, value));
    }
    let mut used = n;
    loop {
        corners.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (best, worst) = (corners[0].1, corners[n].1);
        let size = corners[1..].iter().map(|c| farthest(&c.0, &corners[0].0)).fold(0.0, f64::max);
        // A simplex on one plateau may still be next to its edge, so it shrinks before it ends.
        if used >= evaluations || size < SMALL || n == 0 {
            return Ok(corners.swap_remove(0));
        }
        let centre: Vec<f64> =
            (0..n).map(|k| corners[..n].iter().map(|c| c.0[k]).sum::<f64>() / n as f64).collect();
        let mut go = |far: f64| -> Result<Place> {
            let away = |k: usize| (centre[k] + far * (corners[n].0[k] - centre[k])).clamp(-1.0, 1.0);
            let at: Vec<f64> = (0..n).map(away).collect();
            used += 1;
            let value = cost(&at)?;
            Ok((at, value))
        };
        let mirrored = go(-1.0)?;
        if mirrored.1 < best {
            let further = go(-2.0)?;
            corners[n] = if further.1 < mirrored.1 { further } else { mirrored };
            continue;
        }
        if mirrored.1 < corners[n - 1].1 - ALIKE {
            corners[n] = mirrored;
            continue;
        }
        let near = if mirrored.1 < worst { go(-0.5)? } else { go(0.5)? };
        if near.1 < worst.min(mirrored.1) - ALIKE {
            corners[n] = near;
            continue;
        }
        let first = corners[0].0.clone();
        for corner in &mut corners[1..] {
            corner.0.iter_mut().zip(&first).for_each(|(x, a)| *x = a + 0.5 * (*x - a));
            corner.1 = cost(&corner.0)?;
            used += 1;
        }
    }
}

/// Controlled random search with local mutation from a place on; `random` gives numbers from 0 to 1.
///
/// Source: P. Kaelo and M. M. Ali, Journal of Optimization Theory and Applications 130 (2006) 253.
pub fn controlled_search(
    cost: &mut dyn FnMut(&[f64]) -> Result<f64>,
    start: Place,
    population: usize,
    evaluations: usize,
    random: &mut dyn FnMut() -> f64,
) -> Result<Place> {
    let n = start.0.len();
    let mut all = vec![start];
    while all.len() < population.max(n + 2) {
        let at: Vec<f64> = (0..n).map(|_| 2.0 * random() - 1.0).collect();
        let value = cost(&at)?;
        all.push((at, value));
    }
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut used = all.len();
    while used < evaluations && all[all.len() - 1].1 - all[0].1 > ALIKE {
        // The best and n others, of which the last is mirrored at the middle of the rest.
        let mut some = vec![0];
        while some.len() < n + 1 {
            let k = 1 + (random() * (all.len() - 1) as f64) as usize;
            if k < all.len() && !some.contains(&k) {
                some.push(k);
            }
        }
        let middle = |k: usize| some[..n].iter().map(|i| all[*i].0[k]).sum::<f64>() / n as f64;
        let mut at: Vec<f64> = (0..n).map(|k| 2.0 * middle(k) - all[some[n]].0[k]).collect();
        let inside = at.iter().all(|x| (-1.0..=1.0).contains(x));
        let worst = all[all.len() - 1].1;
        let mut value = f64::INFINITY;
        if inside {
            value = cost(&at)?;
            used += 1;
        }
        if value >= worst {
            at = (0..n)
                .map(|k| {
                    let w = random();
                    ((1.0 + w) * all[0].0[k] - w * at[k]).clamp(-1.0, 1.0)
                })
                .collect();
            value = cost(&at)?;
            used += 1;
        }
        if value < worst {
            all.pop();
            let place = all.partition_point(|a| a.1 <= value);
            all.insert(place, (at, value));
        }
    }
    Ok(all.swap_remove(0))
}

fn farthest(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The valley of Rosenbrock, whose least value is 0 at (1, 1); here at half the scale.
    fn valley(x: &[f64]) -> Result<f64> {
        let [a, b] = [2.0 * x[0], 2.0 * x[1]];
        Ok((1.0 - a).powi(2) + 100.0 * (b - a * a).powi(2))
    }

    #[test]
    fn a_simplex_walks_down_a_bent_valley() {
        let start = vec![-0.6, 0.5];
        let value = valley(&start).unwrap();
        let (at, value) = nelder_mead(&mut valley, (start, value), 0.25, 1000).unwrap();
        assert!(value < 1e-4 && (at[0] - 0.5).abs() < 0.01 && (at[1] - 0.5).abs() < 0.01, "{at:?}: {value}");
    }

    #[test]
    fn a_population_finds_the_deepest_of_many_minima() {
        // Rastrigin's function, whose least value is 0 at its centre, here (0.1, -0.2, 0.3).
        let mut many = |x: &[f64]| {
            let term = |(x, c): (&f64, f64)| {
                let u = 5.0 * (x - c);
                u * u + 10.0 * (1.0 - (std::f64::consts::TAU * u).cos())
            };
            Ok(x.iter().zip([0.1, -0.2, 0.3]).map(term).sum::<f64>())
        };
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let start = vec![-0.9, 0.9, -0.9];
        let value = many(&start).unwrap();
        let (at, value) = controlled_search(&mut many, (start, value), 250, 20_000, &mut random).unwrap();
        assert!(value < 0.1 && (at[0] - 0.1).abs() < 0.02 && (at[2] - 0.3).abs() < 0.02, "{at:?}: {value}");
    }
}
