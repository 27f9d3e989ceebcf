//! `tomography.pdf`: pair distribution functions, pixel by pixel.

use std::sync::Mutex;

use isard_core::prelude::*;
use isard_core::schemars;

use super::phases::single;
use crate::pdf::{Composition, Options, Transform};

/// The unit of the bins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Unit {
    /// Inverse nanometres.
    #[default]
    #[serde(rename = "1/nm")]
    Nm,
    /// Inverse angstrom.
    #[serde(rename = "1/angstrom")]
    Angstrom,
}

/// Makes S(q) and G(r) of the pattern of each pixel.
///
/// The background goes off, the rest is brought to the scale of the mean squared form factor, `S = (I - <f^2> + <f>^2) /
/// <f>^2`, `F = q (S - 1)` less a polynomial that takes away what varies too slowly to be structure, and
/// `G(r) = 2/pi int F sin(q r) dq`. Pixels with less than `threshold` of the brightest one hold nothing and are 0;
/// `amount` says how much matter each holds. With `weigh` G is times that amount, which makes it linear in the patterns.
///
/// Takes the maps of all bins and gives those of S and G. For each pixel one multiplication for each bin and bin, and for
/// each bin and distance, on all cores.
///
/// Source: Juhas et al., J. Appl. Cryst. 46 (2013) 560; factors of Waasmaier and Kirfel, Acta Cryst. A51 (1995) 416;
/// Lorch, J. Phys. C 2 (1969) 229; Jacques et al., Nature Communications 4 (2013) 2536.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pdf {
    /// What the sample is made of, as a formula: `CeO2`.
    composition: String,
    /// The unit of the bins.
    #[serde(default)]
    unit: Unit,
    /// The first bin that counts, in inverse angstrom.
    #[serde(default = "q_min")]
    #[schemars(range(min = 0.0))]
    q_min: f64,
    /// The last bin that counts, in inverse angstrom; else the last there is.
    #[serde(default)]
    q_max: Option<f64>,
    /// What is times the background before it goes off.
    #[serde(default = "one")]
    background_scale: f64,
    /// The distance below which there is no structure; 0 for no correction.
    ///
    /// It sets the degree of the polynomial: `r_poly q_max / pi`.
    #[serde(default = "r_poly")]
    #[schemars(range(min = 0.0), extend("x-unit" = "angstrom"))]
    r_poly: f64,
    /// Whether the end of the range is faded out: less ringing, wider peaks.
    #[serde(default)]
    lorch: bool,
    /// The largest distance.
    #[serde(default = "r_max")]
    #[schemars(extend("x-unit" = "angstrom"))]
    r_max: f64,
    /// From one distance to the next.
    #[serde(default = "r_step")]
    #[schemars(extend("x-unit" = "angstrom"))]
    r_step: f64,
    /// The part of the brightest pixel below which a pixel holds nothing.
    #[serde(default = "threshold")]
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: f64,
    /// Whether G is times the amount of matter.
    #[serde(default)]
    weigh: bool,
}

fn q_min() -> f64 {
    0.5
}
fn one() -> f64 {
    1.0
}
fn r_poly() -> f64 {
    0.9
}
fn r_max() -> f64 {
    20.0
}
fn r_step() -> f64 {
    0.02
}
fn threshold() -> f64 {
    0.1
}

/// The input of [`Pdf`].
#[derive(Ports)]
pub struct PdfIn {
    /// Maps of all bins.
    #[port(dtype = "float", axes = "z q y x")]
    volume: Array,
    /// The bins.
    #[port(fixed, dtype = "number", axes = "q")]
    q: Array,
    /// The pattern of container and air, on the same bins and scale.
    #[port(fixed, dtype = "number", axes = "q")]
    background: Option<Array>,
}

/// The output of [`Pdf`].
#[derive(Ports)]
pub struct PdfOut {
    /// The structure function S(q) of each pixel.
    #[port(dtype = "f32", axes = "z q y x")]
    sq: Array,
    /// The pair distribution function G(r) of each pixel.
    #[port(dtype = "f32", axes = "z r y x")]
    gr: Array,
    /// How much matter each pixel holds, as a part of the brightest.
    #[port(dtype = "f32", axes = "z y x")]
    amount: Array,
    /// The mean G(r) of the pixels that hold matter.
    #[port(dtype = "f32", axes = "r")]
    mean: Array,
    /// The bins that count, in inverse angstrom.
    #[port(dtype = "f64", axes = "q")]
    bins: Array,
    /// The distances.
    #[port(dtype = "f64", axes = "r", unit = "angstrom")]
    r: Array,
}

/// Pixels of one job.
const BLOCK: usize = 256;

impl Stage for Pdf {
    type In = PdfIn;
    type Out = PdfOut;

    fn example() -> Example {
        let q: Vec<f64> = (0..60).map(|k| 1.0 + 0.3 * f64::from(k)).collect();
        let pattern = |q: f64| 50.0 / (1.0 + 0.05 * q * q) * (1.0 + 0.4 * (2.5 * q).sin() / q);
        let volume: Vec<f32> =
            q.iter().flat_map(|q| [1.0, 0.0, 0.5, 0.9].map(|amount| (amount * pattern(*q)) as f32)).collect();
        Example::new("composition = \"Ni\"\nunit = \"1/angstrom\"\nr_max = 6\nr_step = 0.1")
            .frames("volume", Array::of(&[1, 1, 60, 2, 2], &volume).expect("four pixels"))
            .fixed("q", Array::from_slice(&q))
    }

    fn check(&self, faults: &mut Faults) {
        if let Err(error) = Composition::parse(&self.composition) {
            faults.add("composition", error.message());
        }
        for (name, found) in [("r_max", self.r_max), ("r_step", self.r_step)] {
            if !(found.is_finite() && found > 0.0) {
                faults.add(name, format!("found {found}, wanted more than 0"));
            }
        }
        if self.r_max / self.r_step > 1e5 {
            faults.add("r_step", "makes more than 100000 distances");
        }
        if self.q_max.is_some_and(|q| q.is_nan() || q <= self.q_min) {
            faults.add("q_max", format!("wanted more than `q_min`, which is {}", self.q_min));
        }
        if !(self.r_poly.is_finite() && self.r_poly >= 0.0) {
            faults.add("r_poly", format!("found {}, wanted 0 or more", self.r_poly));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            faults.add("threshold", format!("found {}, wanted 0 to 1", self.threshold));
        }
    }
}

impl Map for Pdf {
    fn apply(&self, cx: &Cx, span: &Span, input: PdfIn) -> Result<PdfOut> {
        let &[n, nz, bins, rows, columns] = input.volume.shape() else {
            let found = input.volume.shape();
            return Err(Error::data(format!("{span}: maps of shape {found:?}, wanted [z q y x]")));
        };
        let per_angstrom = if self.unit == Unit::Nm { 0.1 } else { 1.0 };
        let q: Vec<f64> = input.q.to_f64()?.into_iter().map(|q| q * per_angstrom).collect();
        let background = match &input.background {
            Some(b) => b.to_f64()?.into_iter().map(|b| b * self.background_scale).collect(),
            None => vec![0.0; bins],
        };
        for (name, found) in [("q", q.len()), ("background", background.len())] {
            if found != bins {
                return Err(Error::data(format!("maps of {bins} bins, but `{name}` has {found}")));
            }
        }
        let options = Options {
            q_min: self.q_min,
            q_max: self.q_max.unwrap_or(f64::INFINITY),
            r_poly: self.r_poly,
            lorch: self.lorch,
            r_max: self.r_max,
            r_step: self.r_step,
        };
        let transform = Transform::new(&q, &Composition::parse(&self.composition)?, &options)?;
        let (pixels, nq, nr) = (rows * columns, transform.q.len(), transform.r.len());
        let volume = single(&input.volume)?;
        let (mut sq, mut gr) = (vec![0f32; n * nz * nq * pixels], vec![0f32; n * nz * nr * pixels]);
        let mut amount = vec![0f32; n * nz * pixels];
        let mut mean = vec![0f32; n * nr];
        for k in 0..n {
            // The bright pixels of all slices tell what a full one is.
            let amount = &mut amount[k * nz * pixels..(k + 1) * nz * pixels];
            for (z, amount) in amount.chunks_mut(pixels).enumerate() {
                for bin in transform.bins.clone() {
                    let plane = &volume[((k * nz + z) * bins + bin) * pixels..][..pixels];
                    amount.iter_mut().zip(plane).for_each(|(a, v)| *a += v - background[bin] as f32);
                }
            }
            let top = amount.iter().copied().fold(0f32, f32::max);
            if top > 0.0 {
                amount.iter_mut().for_each(|a| *a /= top);
            }
            let full = f64::from(top);
            for z in 0..nz {
                let slice = &volume[(k * nz + z) * bins * pixels..][..bins * pixels];
                let some = &amount[z * pixels..(z + 1) * pixels];
                let (sq, gr) = (
                    &mut sq[(k * nz + z) * nq * pixels..][..nq * pixels],
                    &mut gr[(k * nz + z) * nr * pixels..][..nr * pixels],
                );
                self.slice(cx, &transform, &background, slice, some, full, sq, gr)?;
            }
            let held = amount.iter().filter(|a| self.holds(**a)).count().max(1) as f32;
            let all = &gr[k * nz * nr * pixels..(k + 1) * nz * nr * pixels];
            for (i, plane) in all.chunks_exact(pixels).enumerate() {
                mean[k * nr + i % nr] += plane.iter().sum::<f32>() / held;
            }
        }
        let lead = |values: &[f64]| Array::of(&[n, values.len()], &values.repeat(n));
        Ok(PdfOut {
            sq: Array::of(&[n, nz, nq, rows, columns], &sq)?,
            gr: Array::of(&[n, nz, nr, rows, columns], &gr)?,
            amount: Array::of(&[n, nz, rows, columns], &amount)?,
            mean: Array::of(&[n, nr], &mean)?,
            bins: lead(&transform.q)?,
            r: lead(&transform.r)?,
        })
    }
}
declare!(Map, "tomography.pdf", Kind::Reducer, Pdf);

impl Pdf {
    fn holds(&self, amount: f32) -> bool {
        amount > 0.0 && f64::from(amount) >= self.threshold
    }

    /// S and G of one slice.
    #[allow(clippy::too_many_arguments, reason = "one slice of three arrays and what is known of all")]
    fn slice(
        &self,
        cx: &Cx,
        transform: &Transform,
        background: &[f64],
        slice: &[f32],
        amount: &[f32],
        full: f64,
        sq: &mut [f32],
        gr: &mut [f32],
    ) -> Result<()> {
        let pixels = amount.len();
        let held: Vec<usize> = (0..pixels).filter(|p| self.holds(amount[*p])).collect();
        let (nq, nr) = (transform.q.len(), transform.r.len());
        let blocks: Vec<(&[usize], Mutex<Vec<f32>>)> =
            held.chunks(BLOCK).map(|b| (b, Mutex::new(vec![]))).collect();
        cx.par(blocks.len(), |b| {
            let (some, out) = &blocks[b];
            let mut patterns = Vec::with_capacity(nq * some.len());
            for bin in transform.bins.clone() {
                for p in *some {
                    let scale = transform.square / (f64::from(amount[*p]) * full);
                    patterns.push((f64::from(slice[bin * pixels + p]) - background[bin]) * scale);
                }
            }
            let (s, g) = transform.apply(&patterns, some.len());
            let weight = |k: usize| if self.weigh { amount[some[k]] } else { 1.0 };
            let mut out = out.lock().map_err(|_| Error::internal("a block has two owners"))?;
            out.extend((0..nq).flat_map(|q| s.row(q).iter().map(|v| *v as f32).collect::<Vec<f32>>()));
            for r in 0..nr {
                out.extend(g.row(r).iter().enumerate().map(|(k, v)| *v as f32 * weight(k)));
            }
            Ok(())
        })?;
        for (some, out) in &blocks {
            let out = out.lock().map_err(|_| Error::internal("a block has two owners"))?;
            for (row, values) in out.chunks_exact(some.len()).enumerate() {
                let plane = if row < nq { &mut sq[row * pixels..] } else { &mut gr[(row - nq) * pixels..] };
                some.iter().zip(values).for_each(|(p, v)| plane[*p] = *v);
            }
        }
        Ok(())
    }
}
