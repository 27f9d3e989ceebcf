//! `ptycho.metrics`: how good a reconstruction is.

use isard_core::prelude::*;

use super::work::complex;
use crate::metrics::{Field, Moved, compare_moved, half_bit, one_bit, ratio_of_halves, ratio_to_truth};

/// Compares a reconstructed object with a known truth.
///
/// A constant factor, a ramp of phase and a common shift of object and probe mean nothing and are taken away first; then
/// pixels that were lit are compared. The truth stays as it is unless `shift` says so: the object is moved, by parts of
/// pixels too, with nothing where no light was, as the authors of the measure do it. `resolution` is where the correlation over rings of the transforms first falls
/// below the half-bit line, as a part of Nyquist.
///
/// Takes one object and gives one answer. About 30 transforms of the object.
///
/// Source: van Heel and Schatz, J. Struct. Biol. 151 (2005) 250; Thurman and Fienup, J. Opt. Soc. Am. A 26 (2009) 1008.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether the truth is a reconstruction of the other half of the data.
    ///
    /// Else it is taken to be free of noise, and the ratio of signal to noise is another one.
    halves: bool,
    /// What is moved where both lie apart by parts of a pixel.
    #[schemars(extend("x-level" = "expert"))]
    shift: Moved,
}

/// The input of [`Metrics`].
#[derive(Ports)]
pub struct MetricsIn {
    /// The reconstructed object, mode by mode; the first counts.
    #[port(dtype = "complex", axes = "mode y x")]
    object: Array,
    /// The object pixel where position 0 lies.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    center: Array,
    /// The true object.
    #[port(fixed, dtype = "complex", axes = "y x")]
    truth: Array,
    /// The pixel of the true object where position 0 lies.
    #[port(fixed, dtype = "f64")]
    truth_center: Array,
    /// Which pixels of the true object were lit: 0 is dark.
    #[port(fixed, dtype = "number", axes = "y x")]
    lit: Array,
}

/// The output of [`Metrics`].
#[derive(Ports)]
pub struct MetricsOut {
    /// The root mean square difference over the truth's.
    rms: Array,
    /// The standard deviation of the phase.
    #[port(unit = "radian")]
    phase_rms: Array,
    /// Where the ring correlation falls below the half-bit line, as a part of Nyquist.
    resolution: Array,
    /// The phase of the object without ramp, factor and shift.
    #[port(dtype = "f32", axes = "y x", unit = "radian")]
    phase: Array,
    /// The correlation, ring by ring, with lines to judge it by.
    ///
    /// `ssnr` is the ratio of signal to noise in power.
    #[port(columns = "ring: u32, correlation: f64, half_bit: f64, one_bit: f64, ssnr: f64")]
    rings: Table,
}

impl Stage for Metrics {
    type In = MetricsIn;
    type Out = MetricsOut;

    fn example() -> Example {
        use crate::num::{Complex, cis};
        let truth: Vec<Complex<f64>> = (0..24 * 26).map(|k| cis(f64::from(k % 7) * 0.2)).collect();
        let found: Vec<Complex<f64>> = truth.iter().map(|z| z * Complex::new(0.6, 0.7)).collect();
        Example::new("")
            .frames("object", Array::of(&[1, 1, 24, 26], &found).expect("624 pixels"))
            .frames("center", Array::of(&[1, 2], &[12.0, 13.0]).expect("a pair"))
            .fixed("truth", Array::of(&[24, 26], &truth).expect("624 pixels"))
            .fixed("truth_center", Array::from_slice(&[12.0, 13.0]))
            .fixed("lit", Array::of(&[24, 26], &[1.0; 624]).expect("624 pixels"))
    }
}

impl Map for Metrics {
    fn apply(&self, cx: &Cx, span: &Span, input: MetricsIn) -> Result<MetricsOut> {
        let (truth, lit) = (complex(&input.truth)?, input.lit.to_f64()?);
        let &[rows, columns] = input.truth.shape() else {
            return Err(Error::data(format!("the truth has shape {:?}, wanted [y x]", input.truth.shape())));
        };
        if lit.len() != truth.len() {
            return Err(Error::data(format!("`lit` has {} pixels, the truth {}", lit.len(), truth.len())));
        }
        let there = input.truth_center.to_f64()?;
        let count = input.object.shape()[0];
        let ratio = if self.halves { ratio_of_halves } else { ratio_to_truth };
        let (mut rms, mut phase_rms, mut resolution) = (vec![], vec![], vec![]);
        let (mut phases, mut table, mut shape) = (vec![], vec![], [0, 0]);
        for k in 0..count {
            cx.check()?;
            let object = input.object.record(k)?;
            shape = [object.shape()[1], object.shape()[2]];
            let here = input.center.record(k)?.to_f64()?;
            let low = [0, 1].map(|a| (there[a] - here[a]).round() as i64);
            let [h, w] = shape;
            let found = complex(&object.record(0)?)?;
            // Both on the reconstruction's pixels; what the truth does not have does not count.
            let mut known = vec![crate::num::Complex::new(1.0, 0.0); h * w];
            let mut weight = vec![0.0; h * w];
            for at in 0..h * w {
                let (y, x) = ((at / w) as i64 + low[0], (at % w) as i64 + low[1]);
                if (0..rows as i64).contains(&y) && (0..columns as i64).contains(&x) {
                    let from = y as usize * columns + x as usize;
                    known[at] = truth[from];
                    weight[at] = f64::from(u8::from(lit[from] > 0.0));
                }
            }
            if weight.iter().all(|w| *w == 0.0) {
                return Err(Error::data(format!("{span}: object and truth have no lit pixel in common"))
                    .help("check `center` and `truth_center`"));
            }
            let (found, known) = (Field { shape, data: found }, Field { shape, data: known });
            let q = compare_moved(&found, &known, &weight, self.shift)?;
            rms.push(q.rms);
            phase_rms.push(q.phase);
            resolution.push(q.resolution);
            phases.extend(q.aligned.data.iter().map(|z| z.arg() as f32));
            let n = q.correlation.len();
            table.push(
                Table::new(n)
                    .with("ring", &(0..n as u32).collect::<Vec<u32>>())?
                    .with("correlation", &q.correlation)?
                    .with("half_bit", &q.pixels.iter().map(|p| half_bit(*p)).collect::<Vec<f64>>())?
                    .with("one_bit", &q.pixels.iter().map(|p| one_bit(*p)).collect::<Vec<f64>>())?
                    .with("ssnr", &q.correlation.iter().map(|c| ratio(*c)).collect::<Vec<f64>>())?
                    .with_record(span.start + k as u64),
            );
        }
        let tables: Vec<&Table> = table.iter().collect();
        Ok(MetricsOut {
            rms: Array::from_slice(&rms),
            phase_rms: Array::from_slice(&phase_rms),
            resolution: Array::from_slice(&resolution),
            phase: Array::of(&[count, shape[0], shape[1]], &phases)?,
            rings: Table::concat(&tables, cx.pool())?,
        })
    }
}
declare!(Map, "ptycho.metrics", Kind::Tool, Metrics);
