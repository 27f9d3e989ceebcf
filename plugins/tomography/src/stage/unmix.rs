//! `tomography.unmix`: how much of each phase a pattern holds.

use isard_core::prelude::*;

use crate::nnls::Patterns;

/// Fits each pattern by those of phases: how much of each it holds.
///
/// Non-negative least squares against the given patterns, and a polynomial background of either sign. Before a
/// reconstruction it makes one sinogram a phase out of one a bin, and the maps are those of phases.
///
/// Changes neither order nor count. One multiplication for each bin and phase.
///
/// Source: Lawson and Hanson, Solving Least Squares Problems, 1974.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Unmix {
    /// Whether weights below zero are ruled out.
    positive: bool,
    /// The degree of the background's polynomial; without it there is none.
    #[schemars(range(max = 8))]
    background: Option<u32>,
}

impl Default for Unmix {
    fn default() -> Self {
        Unmix { positive: true, background: None }
    }
}

/// The input of [`Unmix`].
#[derive(Ports)]
pub struct UnmixIn {
    /// Patterns.
    #[port(dtype = "number", axes = "q")]
    intensity: Array,
    /// The patterns of the phases.
    #[port(fixed, dtype = "number", axes = "phase q")]
    patterns: Array,
}

/// The output of [`Unmix`].
#[derive(Ports)]
pub struct UnmixOut {
    /// How much of each phase there is, in units of its pattern.
    #[port(dtype = "f32", axes = "phase")]
    weights: Array,
    /// The root mean square of what the phases do not explain.
    #[port(dtype = "f32", axes = "")]
    residual: Array,
}

impl Stage for Unmix {
    type In = UnmixIn;
    type Out = UnmixOut;

    fn example() -> Example {
        Example::new("background = 0")
            .frames(
                "intensity",
                Array::of(&[2, 4], &[1.0, 4.0, 1.0, 2.0, 1.0, 1.0, 3.0, 2.0]).expect("eight bins"),
            )
            .fixed(
                "patterns",
                Array::of(&[2, 4], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5]).expect("eight bins"),
            )
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let mut out = Shapes::default().with("residual", Shape::array(Dtype::F32, &[]));
        if let Some([phases, _]) = input.get("patterns").dims.as_deref() {
            out = out.with("weights", Shape::array(Dtype::F32, &[*phases]));
        }
        Ok(out)
    }

    fn check(&self, faults: &mut Faults) {
        check_degree(self.background, faults);
    }
}

/// Adds a fault for a degree that no background has.
pub(crate) fn check_degree(degree: Option<u32>, faults: &mut Faults) {
    if let Some(degree) = degree.filter(|d| *d > 8) {
        faults.add("background", format!("is of degree {degree}, wanted 0 to 8"));
    }
}

impl Map for Unmix {
    fn apply(&self, _: &Cx, span: &Span, input: UnmixIn) -> Result<UnmixOut> {
        let patterns = Patterns::new(&input.patterns, self.positive, self.background)?;
        let &[n, bins] = input.intensity.shape() else {
            let found = input.intensity.shape();
            return Err(Error::data(format!("{span}: patterns of shape {found:?}, wanted [frame q]")));
        };
        if bins != patterns.bins {
            let wanted = patterns.bins;
            return Err(Error::data(format!(
                "{span}: patterns of {bins} bins, those of the phases have {wanted}"
            ))
            .help("calculate the phases' patterns for the bins of the integration"));
        }
        let values = input.intensity.to_f64()?;
        let (mut weights, mut residual) = (vec![], vec![]);
        let mut found = vec![0.0; patterns.phases];
        for (k, pattern) in values.chunks_exact(bins).enumerate() {
            if let Some(bin) = pattern.iter().position(|v| !v.is_finite()) {
                let (frame, value) = (span.start + k as u64, pattern[bin]);
                return Err(Error::data(format!("frame {frame}: bin {bin} is {value}, wanted a number")));
            }
            let right: Vec<f64> = (0..patterns.terms())
                .map(|k| patterns.column(k).iter().zip(pattern).map(|(a, b)| a * b).sum())
                .collect();
            let power = pattern.iter().map(|v| v * v).sum();
            residual.push(patterns.solve(&right, power, &mut found) as f32);
            weights.extend(found.iter().map(|w| *w as f32));
        }
        Ok(UnmixOut {
            weights: Array::of(&[n, patterns.phases], &weights)?,
            residual: Array::from_slice(&residual),
        })
    }
}
declare!(Map, "tomography.unmix", Kind::Reducer, Unmix);
