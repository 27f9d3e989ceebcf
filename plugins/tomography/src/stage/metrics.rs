//! `tomography.metrics`: how near maps are to a known truth.

use isard_core::prelude::*;

use super::phases::single;

/// Compares maps with a known truth: the correlation of each, all slices together.
///
/// A factor and a constant mean nothing to it. A map that is the same everywhere has no correlation, which counts as 0.
///
/// Takes one set of maps and gives one answer. A few additions for each pixel.
///
/// Source: Pearson's correlation coefficient.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {}

/// The input of [`Metrics`].
#[derive(Ports)]
pub struct MetricsIn {
    /// Maps: [z phase y x], or [z q y x] where a bin is a phase.
    #[port(dtype = "float")]
    maps: Array,
    /// The true maps, as many and as large.
    #[port(fixed, dtype = "float")]
    truth: Array,
}

/// The output of [`Metrics`].
#[derive(Ports)]
pub struct MetricsOut {
    /// The correlation of each map with its truth.
    #[port(dtype = "f64", axes = "phase")]
    correlation: Array,
    /// The least of them.
    #[port(dtype = "f64", axes = "")]
    least: Array,
}

impl Stage for Metrics {
    type In = MetricsIn;
    type Out = MetricsOut;

    fn example() -> Example {
        let maps: Vec<f32> = (0..18).map(|k| (k * 5 % 7) as f32).collect();
        let truth: Vec<f64> = (0..18).map(|k| f64::from(k * 5 % 7) * 2.0 + f64::from(k % 2)).collect();
        Example::new("")
            .frames("maps", Array::of(&[1, 1, 2, 3, 3], &maps).expect("18 pixels"))
            .fixed("truth", Array::of(&[1, 2, 3, 3], &truth).expect("18 pixels"))
    }
}

impl Map for Metrics {
    fn apply(&self, _: &Cx, span: &Span, input: MetricsIn) -> Result<MetricsOut> {
        let (shape, wanted) = (input.maps.shape(), input.truth.shape());
        let (&[n, nz, phases, rows, columns], true) = (shape, shape.len() == 5 && shape[1..] == *wanted)
        else {
            let found = &shape[1.min(shape.len())..];
            return Err(Error::data(format!("{span}: maps of shape {found:?}, the truth has {wanted:?}"))
                .help("reconstruct as many phases on as many pixels as the truth has"));
        };
        let (maps, truth, pixels) = (single(&input.maps)?, input.truth.to_f64()?, rows * columns);
        let (mut correlation, mut least) = (vec![], vec![]);
        for maps in maps.chunks_exact(nz * phases * pixels) {
            let start = correlation.len();
            for p in 0..phases {
                let places = (0..nz).flat_map(|z| {
                    let at = (z * phases + p) * pixels;
                    at..at + pixels
                });
                correlation.push(pearson(places.map(|k| (f64::from(maps[k]), truth[k])).collect()));
            }
            least.push(correlation[start..].iter().copied().fold(f64::INFINITY, f64::min));
        }
        Ok(MetricsOut {
            correlation: Array::of(&[n, phases], &correlation)?,
            least: Array::from_slice(&least),
        })
    }
}
declare!(Map, "tomography.metrics", Kind::Tool, Metrics);

/// The correlation of pairs; 0 where one side is the same everywhere.
fn pearson(pairs: Vec<(f64, f64)>) -> f64 {
    let n = pairs.len().max(1) as f64;
    let (a, b) = pairs.iter().fold((0.0, 0.0), |(a, b), p| (a + p.0 / n, b + p.1 / n));
    let mut sums = [0.0; 3];
    for (x, y) in pairs {
        sums[0] += (x - a) * (y - b);
        sums[1] += (x - a).powi(2);
        sums[2] += (y - b).powi(2);
    }
    if sums[1] > 0.0 && sums[2] > 0.0 { sums[0] / (sums[1] * sums[2]).sqrt() } else { 0.0 }
}
