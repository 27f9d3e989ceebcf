//! A probe of its own for each frame, all of them out of a space of few dimensions.
//!
//! Orthogonal probe relaxation (Odstrcil et al., Opt. Express 24, 2016, 8360): what frames say of their probes is cut to
//! the first singular vectors of all of them. Engines work with one probe for each frame; this keeps them together.

use isard_core::Result;

use super::settings::Settings;
use crate::model::{Layers, Model};
use crate::num::{Complex, Par, Real, each};
use crate::simd;

type C = Complex<f64>;

/// Vectors beyond those wanted, so that the last of those comes out soon.
const BESIDE: usize = 4;
/// Rounds of the search for singular vectors at most.
const ROUNDS: usize = 200;
/// The part of the largest value that may be left of a vector's image beside it when the search ends.
const STILL: f64 = 1e-10;

/// How much the probes of frames may differ.
#[derive(Clone, Debug)]
pub struct Own {
    dimensions: usize,
    start: u64,
}

impl Own {
    /// What settings ask for, if they do.
    pub fn new(settings: &Settings) -> Option<Own> {
        let dimensions = settings.subspace_dim?.max(1);
        Some(Own { dimensions, start: settings.subspace_start.unwrap_or(0) })
    }

    /// Cuts probes to the space that all frames share.
    pub fn reduce<T: Real>(
        &self,
        model: &Model<T>,
        layers: &mut Layers<T>,
        par: Par,
        iteration: u64,
    ) -> Result<()> {
        let (lights, dimensions) = (model.lights(), if iteration < self.start { 1 } else { self.dimensions });
        for light in 0..lights {
            let space = Space::of(layers, light, lights, dimensions, par)?;
            space.spread(layers, light, lights, par)?;
        }
        Ok(())
    }
}

/// Gives each frame probes of its own; those that all have in common to frames that have none.
pub fn part<T: Real>(model: &mut Model<T>) {
    let count = model.frames.len();
    if model.own.is_some_and(|lights| model.probe.modes.len() == lights * count) {
        return;
    }
    join(model);
    model.own = Some(model.probe.modes.len());
    model.probe.modes = vec![std::mem::take(&mut model.probe.modes); count].concat();
}

/// Gives all frames the probes that are nearest to those that they have.
pub fn join<T: Real>(model: &mut Model<T>) {
    let Some(lights) = model.own.take() else { return };
    let all = std::mem::take(&mut model.probe.modes);
    let over = T::of(lights as f64 / all.len().max(1) as f64);
    let mut mean = vec![vec![Complex::<T>::default(); model.probe.rows * model.probe.columns]; lights];
    for (k, mode) in all.iter().enumerate() {
        simd::add_times(&mut mean[k % lights], mode, [over, T::zero()]);
    }
    model.probe.modes = mean;
}

/// The probes of a model, mode by mode; where frames have their own, the first modes of them all.
///
/// Their squares then sum up to the mean of the squares of all.
pub fn shown<T: Real>(model: &Model<T>, dimensions: usize, par: Par) -> Result<Vec<Vec<Complex<T>>>> {
    let Some(lights) = model.own else { return Ok(model.probe.modes.clone()) };
    let over = T::of(1.0 / (model.frames.len().max(1) as f64).sqrt());
    let mut all = vec![];
    for light in 0..lights {
        let mut modes = Space::of(&model.probe, light, lights, dimensions, par)?.modes;
        modes.iter_mut().flatten().for_each(|z| *z = Complex::new(z.re * over, z.im * over));
        all.push(modes);
    }
    // One set of probes behind the other, as they stand in a model.
    let sets = all.first().map_or(0, Vec::len);
    Ok((0..sets).flat_map(|k| all.iter().map(move |modes| modes[k].clone())).collect())
}

/// Modes and how much each frame has of them.
struct Space<T> {
    /// Singular vectors times singular values.
    modes: Vec<Vec<Complex<T>>>,
    /// Orthogonal columns of unit length, one for each mode: a number for each frame.
    columns: Vec<Vec<C>>,
}

impl<T: Real> Space<T> {
    fn of(layers: &Layers<T>, light: usize, lights: usize, dimensions: usize, par: Par) -> Result<Self> {
        let probes: Vec<&Vec<Complex<T>>> = layers.modes.iter().skip(light).step_by(lights).collect();
        let count = probes.len();
        let mut products = vec![vec![C::default(); count]; count];
        each(par, products.iter_mut().collect(), |i, row| {
            for (j, out) in row.iter_mut().enumerate().take(i + 1) {
                let [re, im] = simd::inner(probes[j], probes[i]);
                *out = C::new(re, im);
            }
            Ok(())
        })?;
        for i in 1..count {
            let (done, rest) = products.split_at_mut(i);
            done.iter_mut().zip(&rest[0]).for_each(|(row, z)| row[i] = z.conj());
        }
        let columns = leading(&products, dimensions.min(count));
        let mut modes = vec![vec![Complex::<T>::default(); layers.rows * layers.columns]; columns.len()];
        each(par, modes.iter_mut().collect(), |k, mode| {
            for (probe, c) in probes.iter().zip(&columns[k]) {
                simd::add_times(mode, probe, [T::of(c.re), T::of(-c.im)]);
            }
            Ok(())
        })?;
        Ok(Space { modes, columns })
    }

    fn spread(self, layers: &mut Layers<T>, light: usize, lights: usize, par: Par) -> Result<()> {
        let probes: Vec<&mut Vec<Complex<T>>> = layers.modes.iter_mut().skip(light).step_by(lights).collect();
        each(par, probes, |j, probe| {
            probe.fill(Complex::default());
            for (mode, column) in self.modes.iter().zip(&self.columns) {
                simd::add_times(probe, mode, [T::of(column[j].re), T::of(column[j].im)]);
            }
            Ok(())
        })
    }
}

/// The eigenvectors of the largest eigenvalues of a matrix that is its own adjoint, without negative ones.
fn leading(matrix: &[Vec<C>], wanted: usize) -> Vec<Vec<C>> {
    let count = matrix.len();
    let width = (wanted + BESIDE).min(count);
    // Any start does that is not orthogonal to what is sought; it must be the same in every run.
    let mut vectors: Vec<Vec<C>> = (0..width)
        .map(|k| {
            (0..count).map(|i| C::from_polar(1.0, (i * i * (k + 1)) as f64 * 0.618 + k as f64)).collect()
        })
        .collect();
    let applied = |v: &Vec<C>| -> Vec<C> {
        matrix.iter().map(|row| row.iter().zip(v).map(|(a, x)| a * x).sum::<C>()).collect()
    };
    for _ in 0..ROUNDS {
        orthonormal(&mut vectors);
        let images: Vec<Vec<C>> = vectors.iter().map(applied).collect();
        let small: Vec<Vec<C>> =
            vectors.iter().map(|v| images.iter().map(|w| product(v, w)).collect()).collect();
        let (values, turns) = eigen(small);
        let turned = |of: &[Vec<C>], k: usize| -> Vec<C> {
            (0..count).map(|i| of.iter().zip(&turns).map(|(v, t)| v[i] * t[k]).sum()).collect()
        };
        let found: Vec<Vec<C>> = (0..width).map(|k| turned(&vectors, k)).collect();
        let images: Vec<Vec<C>> = (0..width).map(|k| turned(&images, k)).collect();
        let off = |k: usize| {
            let apart = images[k].iter().zip(&found[k]).map(|(w, v)| (w - v * values[k]).norm_sqr());
            apart.sum::<f64>().sqrt()
        };
        let still = (0..wanted).all(|k| off(k) <= STILL * values[0].abs());
        vectors = if still { found } else { images };
        if still {
            break;
        }
    }
    orthonormal(&mut vectors);
    vectors.truncate(wanted);
    vectors
}

/// `conj(a) b`, summed up.
fn product(a: &[C], b: &[C]) -> C {
    a.iter().zip(b).map(|(a, b)| a.conj() * b).sum()
}

/// Makes vectors orthogonal and of unit length, one after the other; what is nothing becomes an axis.
fn orthonormal(vectors: &mut [Vec<C>]) {
    for k in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(k);
        let v = &mut rest[0];
        let mut axis = 0;
        loop {
            let size = product(v, v).re.sqrt();
            // Twice: once leaves what rounding made of nearly parallel vectors.
            for _ in 0..2 {
                for other in done.iter() {
                    let part = product(other, v);
                    v.iter_mut().zip(other).for_each(|(v, o)| *v -= o * part);
                }
            }
            let left = product(v, v).re.sqrt();
            if left > 1e-10 * size && left > 0.0 {
                v.iter_mut().for_each(|z| *z /= left);
                break;
            }
            v.fill(C::default());
            v[axis] = C::new(1.0, 0.0);
            axis += 1;
        }
    }
}

/// Eigenvalues from the largest, and eigenvectors as columns, of a small matrix that is its own adjoint (Jacobi).
fn eigen(mut a: Vec<Vec<C>>) -> (Vec<f64>, Vec<Vec<C>>) {
    let n = a.len();
    let mut vectors = vec![vec![C::default(); n]; n];
    (0..n).for_each(|i| vectors[i][i] = C::new(1.0, 0.0));
    for _ in 0..60 {
        let all: f64 = a.iter().flatten().map(|z| z.norm_sqr()).sum();
        let beside: f64 =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].norm_sqr()).sum();
        if beside <= 1e-32 * all {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let size = a[p][q].norm();
                if size <= 1e-300 {
                    continue;
                }
                let phase = a[p][q] / size;
                let theta = 0.5 * (2.0 * size).atan2(a[p][p].re - a[q][q].re);
                let (c, s) = (theta.cos(), theta.sin());
                // Columns p and q turn by this, rows by its adjoint.
                let turn = |x: C, y: C| (x * c + y * phase.conj() * s, y * c - x * phase * s);
                for row in a.iter_mut().chain(vectors.iter_mut()) {
                    (row[p], row[q]) = turn(row[p], row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (*x * c + *y * phase * s, *y * c - *x * phase.conj() * s);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|x, y| a[*y][*y].re.total_cmp(&a[*x][*x].re));
    let values = order.iter().map(|k| a[*k][*k].re).collect();
    (values, vectors.into_iter().map(|row| order.iter().map(|k| row[*k]).collect()).collect())
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
