//! How good a reconstruction is: against a known truth, and against another one.

use isard_fourier::{FftDirection, Planned};

use isard_core::prelude::*;
use isard_core::schemars;

use crate::num::{Complex, cis};

type C = Complex<f64>;

/// An image of complex numbers.
#[derive(Clone, Debug)]
pub struct Field {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Pixels, row by row.
    pub data: Vec<C>,
}

/// How far a reconstruction is from the truth where there was light.
#[derive(Clone, Debug)]
pub struct Quality {
    /// Root mean square difference over the truth's.
    pub rms: f64,
    /// Standard deviation of the phase, radians.
    pub phase: f64,
    /// The first ring that falls below the half-bit line, as a part of Nyquist.
    pub resolution: f64,
    /// The ring correlation, ring by ring.
    pub correlation: Vec<f64>,
    /// Pixels of each ring.
    pub pixels: Vec<usize>,
    /// The reconstruction as it was compared: without ramp, factor and shift.
    pub aligned: Field,
}

impl Field {
    /// An image of one value.
    pub fn filled(shape: [usize; 2], value: C) -> Field {
        Field { shape, data: vec![value; shape[0] * shape[1]] }
    }

    /// Transforms rows and columns; backward with its scale.
    pub fn transform(&mut self, forward: bool) {
        let [rows, columns] = self.shape;
        let way = if forward { FftDirection::Forward } else { FftDirection::Inverse };
        let plan = |n| f64::plan(n, way);
        plan(columns).process(&mut self.data);
        let mut turned: Vec<C> =
            (0..rows * columns).map(|k| self.data[k % rows * columns + k / rows]).collect();
        plan(rows).process(&mut turned);
        let scale = if forward { 1.0 } else { 1.0 / (rows * columns) as f64 };
        for (k, z) in turned.into_iter().enumerate() {
            self.data[k % rows * columns + k / rows] = z * scale;
        }
    }

    /// A part.
    pub fn cut(&self, at: [usize; 2], shape: [usize; 2]) -> Field {
        let row = |y: usize| {
            let from = (at[0] + y) * self.shape[1] + at[1];
            &self.data[from..from + shape[1]]
        };
        Field { shape, data: (0..shape[0]).flat_map(row).copied().collect() }
    }

    fn frequency(k: usize, n: usize) -> f64 {
        if k < n.div_ceil(2) { k as f64 } else { k as f64 - n as f64 }
    }

    /// Moves by whole pixels; what leaves on one side comes in on the other.
    fn rolled(&self, by: [i64; 2]) -> Field {
        let [rows, columns] = self.shape.map(|n| n as i64);
        let from = |k: usize| {
            let (y, x) = (k as i64 / columns - by[0], k as i64 % columns - by[1]);
            self.data[(y.rem_euclid(rows) * columns + x.rem_euclid(columns)) as usize]
        };
        Field { shape: self.shape, data: (0..self.data.len()).map(from).collect() }
    }

    /// Moves by parts of pixels.
    fn shifted(&self, by: [f64; 2]) -> Field {
        let mut out = self.clone();
        out.transform(true);
        let [rows, columns] = self.shape;
        for (k, z) in out.data.iter_mut().enumerate() {
            let (u, v) = (Field::frequency(k / columns, rows), Field::frequency(k % columns, columns));
            let turns = u * by[0] / rows as f64 + v * by[1] / columns as f64;
            *z *= cis(-std::f64::consts::TAU * turns);
        }
        out.transform(false);
        out
    }
}

/// Where the light of a scan is: pixels above a part of the 99th percentile.
pub fn covered(light: &[f64], part: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = light.to_vec();
    sorted.sort_by(f64::total_cmp);
    let top = sorted.get((sorted.len() as f64 * 0.99) as usize).copied().unwrap_or(0.0);
    light.iter().map(|x| f64::from(u8::from(*x > part * top))).collect()
}

/// What is moved where reconstruction and truth lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Moved {
    /// The reconstruction by parts of pixels, with nothing where no light was: its border rings, and that counts.
    #[default]
    Reconstruction,
    /// The reconstruction by whole pixels: half a pixel may be left.
    Whole,
    /// The reconstruction by whole pixels, and the truth by the parts of a pixel that are left: no border rings.
    ///
    /// Figures are lower than those of other programs for the same reconstruction.
    Truth,
}

/// Compares a reconstruction with the truth on the pixels of a weight.
pub fn compare(found: &Field, truth: &Field, weight: &[f64]) -> Result<Quality> {
    compare_moved(found, truth, weight, Moved::default())
}

/// The same, with a word on what is moved.
pub fn compare_moved(found: &Field, truth: &Field, weight: &[f64], what: Moved) -> Result<Quality> {
    if found.shape != truth.shape || weight.len() != truth.data.len() {
        let (f, t) = (found.shape, truth.shape);
        return Err(Error::data(format!(
            "a reconstruction of {f:?} pixels and a truth of {t:?} cannot be compared"
        )));
    }
    // What was never lit may hold anything, numbers or not: it must not count.
    let mut seen = found.clone();
    let (lit, count) = found
        .data
        .iter()
        .zip(weight)
        .filter(|(_, w)| **w > 0.0)
        .fold((0.0, 0usize), |(sum, n), (z, _)| (sum + z.norm(), n + 1));
    let usual = lit / count.max(1) as f64;
    for (z, _) in seen.data.iter_mut().zip(weight).filter(|(_, w)| **w == 0.0) {
        let size = z.norm();
        if what == Moved::Reconstruction {
            *z = C::default();
        } else if size > usual || size.is_nan() {
            *z = if size.is_finite() { *z * (usual / size) } else { C::new(usual, 0.0) };
        }
    }
    let mut shift = [0.0f64; 2];
    let (mut r, mut moved) = (unramped(&seen, truth, weight), truth.clone());
    for _ in 0..5 {
        let by = offset(&r, &moved, weight).map(|b| if what == Moved::Whole { b.round() } else { b });
        if by[0].abs() <= 0.005 && by[1].abs() <= 0.005 {
            break;
        }
        shift = [shift[0] + by[0], shift[1] + by[1]];
        if what == Moved::Reconstruction {
            r = unramped(&seen.shifted(shift), truth, weight);
            continue;
        }
        let whole = shift.map(f64::round);
        let part = [whole[0] - shift[0], whole[1] - shift[1]];
        moved = if part == [0.0; 2] { truth.clone() } else { truth.shifted(part) };
        r = unramped(&seen.rolled(whole.map(|w| w as i64)), &moved, weight);
    }
    let truth = &moved;
    let (mut up, mut down, mut phase, mut mean, mut count) = (0.0, 0.0, 0.0, C::default(), 0.0);
    for ((a, t), w) in r.data.iter().zip(&truth.data).zip(weight) {
        up += w * (a - t).norm_sqr();
        down += w * t.norm_sqr();
        mean += a * t.conj() * w;
        count += w;
    }
    let turn = mean.conj() / mean.norm().max(f64::MIN_POSITIVE);
    for ((a, t), w) in r.data.iter().zip(&truth.data).zip(weight) {
        phase += w * (a * t.conj() * turn).arg().powi(2);
    }
    let (correlation, pixels) = rings(&r, truth, weight);
    let resolution = crossing(&correlation, &pixels);
    Ok(Quality {
        rms: (up / down.max(f64::MIN_POSITIVE)).sqrt(),
        phase: (phase / count.max(1.0)).sqrt(),
        resolution,
        correlation,
        pixels,
        aligned: r,
    })
}

/// Takes away the ramp and the factor that lead nearest to the truth.
fn unramped(r: &Field, truth: &Field, weight: &[f64]) -> Field {
    let [rows, columns] = r.shape;
    let big = [rows, columns].map(|n| (2 * n).next_power_of_two());
    let mut product = Field::filled(big, C::default());
    for (k, w) in weight.iter().enumerate() {
        product.data[k / columns * big[1] + k % columns] = truth.data[k] * r.data[k].conj() * *w;
    }
    let sparse: Vec<(f64, f64, C)> = (0..weight.len())
        .filter(|k| weight[*k] > 0.0)
        .map(|k| ((k / columns) as f64, (k % columns) as f64, truth.data[k] * r.data[k].conj() * weight[k]))
        .collect();
    product.transform(true);
    let peak = (0..product.data.len())
        .max_by(|a, b| product.data[*a].norm_sqr().total_cmp(&product.data[*b].norm_sqr()))
        .unwrap_or(0);
    let mut k = [
        Field::frequency(peak / big[1], big[0]) / big[0] as f64,
        Field::frequency(peak % big[1], big[1]) / big[1] as f64,
    ];
    let strength = |k: [f64; 2]| {
        let turn = |(y, x, z): &(f64, f64, C)| z * cis(-std::f64::consts::TAU * (k[0] * y + k[1] * x));
        sparse.iter().map(turn).sum::<C>().norm()
    };
    // The peak lies within half a step of the transform: a parabola along each axis, on ever finer steps.
    let mut step = [0.5 / big[0] as f64, 0.5 / big[1] as f64];
    for _ in 0..6 {
        for axis in 0..2 {
            let at = |d: f64| {
                let mut moved = k;
                moved[axis] += d;
                strength(moved)
            };
            let [low, middle, high] = [at(-step[axis]), at(0.0), at(step[axis])];
            let bend = low - 2.0 * middle + high;
            if bend < 0.0 {
                k[axis] += (0.5 * (low - high) / bend).clamp(-1.0, 1.0) * step[axis];
            }
            step[axis] *= 0.4;
        }
    }
    let turned: Vec<C> = (0..r.data.len())
        .map(|i| {
            let turns = k[0] * (i / columns) as f64 + k[1] * (i % columns) as f64;
            r.data[i] * cis(std::f64::consts::TAU * turns)
        })
        .collect();
    let (mut up, mut down) = (C::default(), 0.0);
    for ((a, t), w) in turned.iter().zip(&truth.data).zip(weight) {
        up += a.conj() * t * *w;
        down += w * a.norm_sqr();
    }
    let c = up / down.max(f64::MIN_POSITIVE);
    Field { shape: r.shape, data: turned.into_iter().map(|z| z * c).collect() }
}

/// How far a reconstruction has to be moved to lie on the truth.
fn offset(r: &Field, truth: &Field, weight: &[f64]) -> [f64; 2] {
    let [rows, columns] = r.shape;
    let without_mean = |f: &Field| {
        let count: f64 = weight.iter().sum();
        let mean = f.data.iter().zip(weight).map(|(z, w)| z * *w).sum::<C>() / count.max(1.0);
        let mut out =
            Field { shape: f.shape, data: f.data.iter().zip(weight).map(|(z, w)| (z - mean) * *w).collect() };
        out.transform(true);
        out
    };
    let (a, b) = (without_mean(r), without_mean(truth));
    let spectrum: Vec<C> = a.data.iter().zip(&b.data).map(|(a, b)| a.conj() * b).collect();
    let mut product = Field { shape: r.shape, data: spectrum.clone() };
    product.transform(false);
    let peak = (0..product.data.len())
        .max_by(|a, b| product.data[*a].norm_sqr().total_cmp(&product.data[*b].norm_sqr()))
        .unwrap_or(0);
    let mut at = [Field::frequency(peak / columns, rows), Field::frequency(peak % columns, columns)];
    let strength = |at: [f64; 2]| {
        let line = |n: usize, x: f64| -> Vec<C> {
            (0..n).map(|k| cis(std::f64::consts::TAU * Field::frequency(k, n) * x / n as f64)).collect()
        };
        let (ys, xs) = (line(rows, at[0]), line(columns, at[1]));
        let row = |y: usize| {
            let z: C = spectrum[y * columns..(y + 1) * columns].iter().zip(&xs).map(|(z, x)| z * x).sum();
            z * ys[y]
        };
        (0..rows).map(row).sum::<C>().norm()
    };
    let mut step = 0.5;
    for _ in 0..6 {
        for axis in 0..2 {
            let value = |d: f64| {
                let mut moved = at;
                moved[axis] += d;
                strength(moved)
            };
            let [low, middle, high] = [value(-step), value(0.0), value(step)];
            let bend = low - 2.0 * middle + high;
            if bend < 0.0 {
                at[axis] += (0.5 * (low - high) / bend).clamp(-1.0, 1.0) * step;
            }
        }
        step *= 0.5;
    }
    at
}

/// The correlation of two images over rings of their transforms, and how many pixels each ring has.
///
/// A Hann window over the whole image, times the weight, keeps its border out.
pub fn rings(a: &Field, b: &Field, weight: &[f64]) -> (Vec<f64>, Vec<usize>) {
    let [rows, columns] = a.shape;
    let hann = |i: usize, n: usize| 0.5 - 0.5 * (std::f64::consts::TAU * (i as f64 + 0.5) / n as f64).cos();
    let prepare = |f: &Field| {
        let mut part = f.clone();
        for (k, z) in part.data.iter_mut().enumerate() {
            *z *= hann(k / columns, rows) * hann(k % columns, columns) * weight[k];
        }
        part.transform(true);
        part
    };
    let (fa, fb) = (prepare(a), prepare(b));
    // Rings of the shorter axis; along the longer one frequencies lie closer.
    let side = rows.min(columns);
    let along = |k: usize, n: usize| Field::frequency(k, n) * side as f64 / n as f64;
    let mut sums = vec![(C::default(), 0.0, 0.0, 0usize); side / 2 + 1];
    for k in 0..rows * columns {
        let ring = along(k / columns, rows).hypot(along(k % columns, columns)).round() as usize;
        if let Some(sum) = sums.get_mut(ring) {
            sum.0 += fa.data[k] * fb.data[k].conj();
            sum.1 += fa.data[k].norm_sqr();
            sum.2 += fb.data[k].norm_sqr();
            sum.3 += 1;
        }
    }
    let one = |(ab, aa, bb, _): &(C, f64, f64, usize)| ab.norm() / (aa * bb).sqrt().max(f64::MIN_POSITIVE);
    (sums.iter().map(one).collect(), sums.iter().map(|s| s.3).collect())
}

/// The half-bit line of a ring.
pub fn half_bit(pixels: usize) -> f64 {
    let root = (pixels.max(1) as f64).sqrt();
    (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
}

/// The one-bit line of a ring.
pub fn one_bit(pixels: usize) -> f64 {
    let root = (pixels.max(1) as f64).sqrt();
    let two = std::f64::consts::SQRT_2;
    (0.5 + (1.0 + two) / root) / (1.5 + two / root)
}

/// The ratio of signal to noise in power that a correlation with a noise-free truth tells.
pub fn ratio_to_truth(correlation: f64) -> f64 {
    let square = correlation * correlation;
    square / (1.0 - square).max(f64::MIN_POSITIVE)
}

/// The same of all data, where the two images are of one half of them each.
pub fn ratio_of_halves(correlation: f64) -> f64 {
    2.0 * correlation / (1.0 - correlation).max(f64::MIN_POSITIVE)
}

/// Where a ring correlation first falls below the half-bit line, as a part of Nyquist; 1 if it never does.
pub fn crossing(correlation: &[f64], pixels: &[usize]) -> f64 {
    let last = correlation.len().saturating_sub(1).max(1);
    // The first rings have too few pixels to mean anything.
    let below = (3..correlation.len()).find(|k| correlation[*k] < half_bit(pixels[*k]));
    below.map_or(1.0, |k| k as f64 / last as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(shape: [usize; 2]) -> Field {
        let one = |k: usize| {
            let (y, x) = ((k / shape[1]) as f64, (k % shape[1]) as f64);
            C::new(1.0, 0.0) * cis((y * 0.31).sin() * (x * 0.17).cos() + 0.3 * (x * 0.53 + y * 0.11).sin())
        };
        Field { shape, data: (0..shape[0] * shape[1]).map(one).collect() }
    }

    #[test]
    fn ramp_factor_and_shift_do_not_count() {
        let truth = field([60, 72]);
        // A known ramp, factor and shift, put on by hand.
        let mut found = truth.shifted([0.0, 0.0]);
        for (k, z) in found.data.iter_mut().enumerate() {
            *z *= cis(0.02 * (k / 72) as f64 - 0.03 * (k % 72) as f64) * C::new(0.3, 0.8);
        }
        let weight: Vec<f64> = (0..60 * 72)
            .map(|k| f64::from(u8::from((10..50).contains(&(k / 72)) && (10..60).contains(&(k % 72)))))
            .collect();
        for what in [Moved::Truth, Moved::Whole, Moved::Reconstruction] {
            let q = compare_moved(&found, &truth, &weight, what).unwrap();
            assert!(q.rms < 1e-3 && q.phase < 1e-3, "{what:?}: {} {}", q.rms, q.phase);
            assert_eq!(q.resolution, 1.0);
        }
    }

    #[test]
    fn noise_of_a_tenth_is_seen_as_a_tenth() {
        let truth = field([64, 64]);
        let mut found = truth.clone();
        for (k, z) in found.data.iter_mut().enumerate() {
            // Signs that alternate without pattern: a difference of 0.1 everywhere.
            *z += 0.1 * if (k * 2_654_435_761) >> 7 & 1 == 0 { 1.0 } else { -1.0 };
        }
        let q = compare(&found, &truth, &vec![1.0; 64 * 64]).unwrap();
        assert!((q.rms - 0.1).abs() < 5e-3, "{}", q.rms);
    }

    #[test]
    fn half_bit_lines_are_those_of_the_formula() {
        // (0.2071 + 1.9102 / 10) / (1.2071 + 0.9102 / 10) with 100 pixels.
        assert!((half_bit(100) - 0.398_12 / 1.298_12).abs() < 1e-9);
        // (0.5 + 0.24142) / (1.5 + 0.14142), and 0.64 / 0.36 and 1.6 / 0.2 for a correlation of 0.8.
        assert!((one_bit(100) - 0.741_42 / 1.641_42).abs() < 1e-5);
        assert!((ratio_to_truth(0.8) - 16.0 / 9.0).abs() < 1e-12);
        assert!((ratio_of_halves(0.8) - 8.0).abs() < 1e-12);
    }
}
