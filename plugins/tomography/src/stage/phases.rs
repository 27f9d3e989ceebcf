//! `tomography.phases`: how much of each phase a map holds, pixel by pixel.

use std::sync::Mutex;

use isard_core::prelude::*;

use super::reconstruct::side_by_side;
use super::unmix::check_degree;
use crate::nnls::Patterns;

/// Fits the pattern of each pixel by those of phases: one map a phase.
///
/// Non-negative least squares against the given patterns, and a polynomial background of either sign.
///
/// Takes the maps of all bins and gives those of phases. One multiplication for each bin, pixel and phase, on all cores.
///
/// Source: Lawson and Hanson, Solving Least Squares Problems, 1974.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Phases {
    /// Whether weights below zero are ruled out.
    positive: bool,
    /// The degree of the background's polynomial; without it there is none.
    #[schemars(range(max = 8))]
    background: Option<u32>,
}

impl Default for Phases {
    fn default() -> Self {
        Phases { positive: true, background: None }
    }
}

/// The input of [`Phases`].
#[derive(Ports)]
pub struct PhasesIn {
    /// Maps of all bins.
    #[port(dtype = "float", axes = "z q y x")]
    volume: Array,
    /// The patterns of the phases.
    #[port(fixed, dtype = "number", axes = "phase q")]
    patterns: Array,
}

/// The output of [`Phases`].
#[derive(Ports)]
pub struct PhasesOut {
    /// How much of each phase there is, in units of its pattern.
    #[port(dtype = "f32", axes = "z phase y x")]
    maps: Array,
    /// The root mean square of what the phases do not explain.
    #[port(dtype = "f32", axes = "z y x")]
    residual: Array,
    /// The middle slice: up to 16 maps side by side, else their sum.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
}

impl Stage for Phases {
    type In = PhasesIn;
    type Out = PhasesOut;

    fn example() -> Example {
        let volume: Vec<f32> = (0..32).map(|k| (k * 7 % 11) as f32).collect();
        Example::new("background = 0")
            .frames("volume", Array::of(&[1, 1, 8, 2, 2], &volume).expect("32 values"))
            .fixed("patterns", Array::of(&[2, 8], &PATTERNS).expect("16 values"))
    }

    fn check(&self, faults: &mut Faults) {
        check_degree(self.background, faults);
    }
}

const PATTERNS: [f64; 16] = [0.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 1.0];

/// Pixels of one job.
const BLOCK: usize = 1024;

impl Map for Phases {
    fn apply(&self, cx: &Cx, span: &Span, input: PhasesIn) -> Result<PhasesOut> {
        let patterns = Patterns::new(&input.patterns, self.positive, self.background)?;
        let &[n, nz, bins, rows, columns] = input.volume.shape() else {
            let found = input.volume.shape();
            return Err(Error::data(format!("{span}: maps of shape {found:?}, wanted [z q y x]")));
        };
        if bins != patterns.bins {
            let wanted = patterns.bins;
            return Err(Error::data(format!("maps of {bins} bins, those of the phases have {wanted}"))
                .help("calculate the phases' patterns for the bins of the integration"));
        }
        if rows != columns {
            return Err(Error::data(format!("maps of {rows} x {columns} pixels, wanted squares")));
        }
        let (pixels, phases) = (rows * columns, patterns.phases);
        let volume = single(&input.volume)?;
        let (mut maps, mut residual) = (vec![0f32; n * nz * phases * pixels], vec![0f32; n * nz * pixels]);
        for (s, (maps, residual)) in
            maps.chunks_mut(phases * pixels).zip(residual.chunks_mut(pixels)).enumerate()
        {
            let slice = &volume[s * bins * pixels..(s + 1) * bins * pixels];
            let blocks: Vec<Mutex<(Vec<f32>, &mut [f32])>> =
                residual.chunks_mut(BLOCK).map(|r| Mutex::new((vec![], r))).collect();
            cx.par(blocks.len(), |b| {
                let mut block = blocks[b].lock().map_err(|_| Error::internal("a block has two owners"))?;
                let (weights, residual) = &mut *block;
                *weights = fit(&patterns, slice, pixels, b * BLOCK, residual);
                Ok(())
            })?;
            for (b, block) in blocks.iter().enumerate() {
                let block = block.lock().map_err(|_| Error::internal("a block has two owners"))?;
                let m = block.1.len();
                for p in 0..phases {
                    maps[p * pixels + b * BLOCK..][..m].copy_from_slice(&block.0[p * m..(p + 1) * m]);
                }
            }
        }
        // One picture for each snapshot: that of its middle slice.
        let pictures: Vec<Array> = (0..n)
            .map(|k| {
                let at = (k * nz + nz / 2) * phases * pixels;
                side_by_side(&maps[at..at + phases * pixels], phases, rows)
            })
            .collect::<Result<_>>()?;
        let lead: Vec<Array> = pictures.iter().map(Array::lead).collect();
        Ok(PhasesOut {
            maps: Array::of(&[n, nz, phases, rows, columns], &maps)?,
            residual: Array::of(&[n, nz, rows, columns], &residual)?,
            image: Array::concat(&lead.iter().collect::<Vec<_>>(), cx.pool())?,
        })
    }
}
declare!(Map, "tomography.phases", Kind::Reducer, Phases);

/// The values of an array in single precision.
pub(crate) fn single(array: &Array) -> Result<Vec<f32>> {
    match array.dtype() {
        Dtype::F32 => Ok(array.as_slice::<f32>()?.to_vec()),
        _ => Ok(array.to_f64()?.into_iter().map(|v| v as f32).collect()),
    }
}

/// Weights [phase pixel] of a block of pixels.
fn fit(patterns: &Patterns, slice: &[f32], pixels: usize, from: usize, residual: &mut [f32]) -> Vec<f32> {
    let (m, terms) = (residual.len(), patterns.terms());
    let (mut right, mut power) = (vec![0f64; terms * m], vec![0f64; m]);
    for (bin, plane) in slice.chunks_exact(pixels).enumerate() {
        let values = &plane[from..from + m];
        power.iter_mut().zip(values).for_each(|(p, v)| *p += f64::from(*v).powi(2));
        for (k, right) in right.chunks_exact_mut(m).enumerate() {
            let c = patterns.column(k)[bin];
            right.iter_mut().zip(values).for_each(|(r, v)| *r += c * f64::from(*v));
        }
    }
    let mut weights = vec![0f32; patterns.phases * m];
    let (mut one, mut found) = (vec![0.0; terms], vec![0.0; patterns.phases]);
    for (k, residual) in residual.iter_mut().enumerate() {
        one.iter_mut().enumerate().for_each(|(t, r)| *r = right[t * m + k]);
        *residual = patterns.solve(&one, power[k], &mut found) as f32;
        found.iter().enumerate().for_each(|(p, w)| weights[p * m + k] = *w as f32);
    }
    weights
}
