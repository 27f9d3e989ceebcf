//! The middle of the plateau on which the best geometry lies, and how well each parameter is known.

use isard_core::error::Result;
use isard_orientation::Quat;

use super::refine::{COST, Point, SHARE, Search, Spots, product, slopes, spots};

/// The share of the confidence at whose loss a plateau ends.
const LOSS: f64 = 0.03;
/// First step from a place and the longest, in pixels by which spots shift.
const STEPS: [f64; 2] = [0.125, 8.0];
/// Halvings of the step in which a plateau ends.
const HALVINGS: usize = 4;
/// Directions that shift spots by less than this over the whole box cannot be told, in pixels.
const BLIND: f64 = 0.02;

/// A direction in the space of parameters.
struct Direction {
    along: Vec<f64>,
    /// The root mean square shift of spots in pixels for a step of one, orientations following.
    shift: f64,
}

impl Search<'_> {
    /// Goes to the middle of the plateau along each direction, those that shift spots most first.
    ///
    /// The confidence says little near its highest value: all geometries that leave spots on lit pixels are alike. But it
    /// falls off to both sides of the right one by the same amount.
    pub(super) fn centre(&self, at: &[f64], points: &[Point]) -> Result<(Vec<f64>, Vec<Point>)> {
        let (mut at, mut points) = (at.to_vec(), points.to_vec());
        let follow = self.follow(&at, &points)?;
        for direction in self.directions(&at, &points, &follow)? {
            if direction.shift < BLIND {
                continue;
            }
            let place = |t: f64| -> Vec<f64> {
                at.iter().zip(&direction.along).map(|(a, d)| a + d * t / direction.shift).collect()
            };
            let inside = |to: &[f64]| to.iter().all(|x| x.abs() <= 1.0);
            let value = |t: f64| -> Result<Option<f64>> {
                let to = place(t);
                if !inside(&to) {
                    return Ok(None);
                }
                Ok(Some(self.mean(&self.projector(&to), &self.turned(&at, &to, &points, &follow))?))
            };
            let held = self.mean(&self.projector(&at), &points)?;
            let end = (1.0 - LOSS) * held;
            let mut ends = [None; 2];
            for (sign, found) in [-1.0, 1.0].into_iter().zip(&mut ends) {
                let (mut low, mut step) = (0.0, STEPS[0]);
                while step <= STEPS[1] && value(sign * step)?.is_some_and(|v| v >= end) {
                    (low, step) = (step, 2.0 * step);
                }
                // A plateau that the box or the longest step cuts off has no middle.
                if step > STEPS[1] || value(sign * step)?.is_none() {
                    continue;
                }
                let mut high = step;
                for _ in 0..HALVINGS {
                    let middle = 0.5 * (low + high);
                    match value(sign * middle)?.is_some_and(|v| v >= end) {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                *found = Some(sign * 0.5 * (low + high));
            }
            let [Some(a), Some(b)] = ends else { continue };
            let middle = 0.5 * (a + b);
            if value(middle)?.is_some_and(|v| v >= (1.0 - COST) * held) {
                let to = place(middle);
                let turned = self.turned(&at, &to, &points, &follow);
                (at, points) = (to, turned);
            }
        }
        Ok((at, points))
    }

    /// How far each parameter may be off until spots shift by half a pixel, the others and the orientations following.
    pub(super) fn doubt(&self, at: &[f64], points: &[Point]) -> Result<Vec<f64>> {
        let follow = self.follow(at, points)?;
        let directions = self.directions(at, points, &follow)?;
        let one = |j: usize| {
            let sum: f64 = directions.iter().map(|d| (d.along[j] / d.shift.max(1e-6)).powi(2)).sum();
            0.5 * sum.sqrt()
        };
        Ok((0..self.n).map(one).collect())
    }

    /// Directions that shift spots independently, those that shift them most first.
    fn directions(&self, at: &[f64], points: &[Point], follow: &[Vec<[f64; 3]>]) -> Result<Vec<Direction>> {
        let n = self.n;
        let here = self.projector(at);
        let moved: Vec<_> = (0..n)
            .map(|j| {
                let mut at = at.to_vec();
                at[j] += SHARE;
                self.projector(&at)
            })
            .collect();
        let all: Vec<(&Point, &Vec<[f64; 3]>)> = points.iter().zip(follow).collect();
        let some: Vec<Point> = points.to_vec();
        let sums = self.each(&some, |_, point| {
            // Points are told apart by their place.
            let turns = all.iter().find(|(p, _)| *p == point).map(|(_, f)| *f);
            let base = spots(&here, &point.orientation);
            let shifts: Vec<Spots> = (0..n)
                .map(|j| {
                    let turn = turns.map_or([0.0; 3], |t| t[j].map(|x| x * SHARE));
                    let q = Quat::from_rotation_vector(turn).times(&point.orientation);
                    slopes(&base, &spots(&moved[j], &q), SHARE)
                })
                .collect();
            let count = base.len() * self.start.detector.distances();
            let mut sum = vec![0.0; n * n];
            for (i, j) in (0..n * n).map(|k| (k / n, k % n)) {
                sum[i * n + j] = product(&shifts[i], &shifts[j]);
            }
            Ok((sum, count))
        })?;
        let count = sums.iter().map(|s| s.1).sum::<usize>().max(1) as f64;
        let mut matrix = vec![0.0; n * n];
        for (sum, _) in &sums {
            matrix.iter_mut().zip(sum).for_each(|(m, s)| *m += s / count);
        }
        let (values, vectors) = eigen(matrix, n);
        let mut out: Vec<Direction> = (0..n)
            .map(|k| Direction {
                along: (0..n).map(|j| vectors[j * n + k]).collect(),
                shift: values[k].max(0.0).sqrt(),
            })
            .collect();
        out.sort_by(|a, b| b.shift.total_cmp(&a.shift));
        Ok(out)
    }
}

/// Values and vectors, as columns, of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut m: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|k| vectors[k * n + k] = 1.0);
    for _ in 0..60 {
        let off: f64 = (0..n * n).filter(|k| k / n != k % n).map(|k| m[k] * m[k]).sum();
        let on: f64 = (0..n).map(|k| m[k * n + k] * m[k * n + k]).sum();
        if off <= 1e-26 * on {
            break;
        }
        for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
            if m[p * n + q] == 0.0 {
                continue;
            }
            let theta = (m[q * n + q] - m[p * n + p]) / (2.0 * m[p * n + q]);
            let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let c = 1.0 / (t * t + 1.0).sqrt();
            let s = t * c;
            let turn = |v: &mut [f64], a: usize, b: usize| {
                let (x, y) = (v[a], v[b]);
                (v[a], v[b]) = (c * x - s * y, s * x + c * y);
            };
            (0..n).for_each(|k| turn(&mut m, k * n + p, k * n + q));
            (0..n).for_each(|k| turn(&mut m, p * n + k, q * n + k));
            (0..n).for_each(|k| turn(&mut vectors, k * n + p, k * n + q));
        }
    }
    ((0..n).map(|k| m[k * n + k]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symmetric_matrix_is_its_vectors_stretched() {
        let m = vec![4.0, 1.0, -2.0, 1.0, 2.0, 0.5, -2.0, 0.5, 3.0];
        let (values, vectors) = eigen(m.clone(), 3);
        for k in 0..3 {
            for i in 0..3 {
                let product: f64 = (0..3).map(|j| m[i * 3 + j] * vectors[j * 3 + k]).sum();
                assert!((product - values[k] * vectors[i * 3 + k]).abs() < 1e-10);
            }
        }
        // The trace is the sum of the values.
        assert!((values.iter().sum::<f64>() - 9.0).abs() < 1e-12);
        let (one, _) = eigen(vec![7.0], 1);
        assert_eq!(one, [7.0]);
    }
}
