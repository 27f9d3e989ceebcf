//! The preference for smooth objects: squared differences of neighbours.

use super::settings::Settings;
use crate::model::{Layers, Model};
use crate::num::{Complex, Real};

type C<T> = Complex<T>;

/// The weight of the preference; 0 where it is not wanted.
pub fn weight<T: Real>(model: &Model<T>, s: &Settings) -> f64 {
    if !s.reg_del2.unwrap_or(false) {
        return 0.0;
    }
    let measured = model.frames.iter().map(|f| f.good).sum::<usize>() as f64;
    let pixels = (model.object.rows * model.object.columns * model.object.modes.len()) as f64;
    let variance = pixels / model.powers().total;
    s.reg_del2_amplitude.unwrap_or(0.01) * measured / (8.0 * pixels * variance)
}

/// Adds the gradient.
pub fn gradient<T: Real>(object: &Layers<T>, rho: f64, g: &mut Layers<T>) {
    if rho == 0.0 {
        return;
    }
    let (w, k) = (object.columns, T::of(2.0 * rho));
    for (mode, g) in object.modes.iter().zip(&mut g.modes) {
        for (i, g) in g.iter_mut().enumerate() {
            let mut sum = C::<T>::default();
            neighbours(i, w, object.rows, |j| sum = sum + (mode[i] - mode[j]));
            // Backward and forward differences both count each pair.
            *g = C::new(g.re + k * sum.re, g.im + k * sum.im);
        }
    }
}

/// What the preference adds to the first and second coefficient along a direction.
pub fn ray<T: Real>(object: &Layers<T>, step: &Layers<T>, rho: f64) -> [f64; 2] {
    let mut sums = [0.0; 2];
    if rho == 0.0 {
        return sums;
    }
    for (mode, step) in object.modes.iter().zip(&step.modes) {
        for i in 0..mode.len() {
            neighbours(i, object.columns, object.rows, |j| {
                let (a, h) = (mode[i] - mode[j], step[i] - step[j]);
                sums[0] += 2.0 * rho * (a.re * h.re + a.im * h.im).wide();
                sums[1] += rho * (h.re * h.re + h.im * h.im).wide();
            });
        }
    }
    sums
}

/// Calls for each neighbour of a pixel.
fn neighbours(i: usize, columns: usize, rows: usize, mut with: impl FnMut(usize)) {
    let (y, x) = (i / columns, i % columns);
    if y > 0 {
        with(i - columns);
    }
    if y + 1 < rows {
        with(i + columns);
    }
    if x > 0 {
        with(i - 1);
    }
    if x + 1 < columns {
        with(i + 1);
    }
}
