//! `azimuthal.integrate2d`: each frame becomes a map of radius and azimuth.

use isard_core::prelude::*;
use isard_core::schemars::{self, Schema};

use crate::stage::curve::{IntegrateIn, cost, example, without};
use crate::stage::made::{Made, each, size};
use crate::stage::request::Request;

/// Integrates each frame into a map: intensity against azimuth and radius.
///
/// As `azimuthal.integrate1d`, with bins along both axes. Azimuths run over -180 to 180 degrees or, with `cut_at_zero`,
/// over 0 to 360; a pixel astride the cut counts on one side of it.
///
/// Changes neither order nor count of frames. The shares are made once and serve all threads; then some ten nanoseconds a
/// pixel with splitting. Keeps about 60 bytes a pixel.
///
/// Source: Ashiotis et al., J. Appl. Cryst. 48, 510 (2015); numbers agree with pyFAI 2026.9.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = without_curves)]
pub struct Integrate2d {
    request: Request,
    #[serde(skip)]
    #[schemars(skip)]
    made: Made,
}

fn without_curves(schema: &mut Schema) {
    without(schema, &["clip", "quantiles"]);
}

/// The output of [`Integrate2d`].
#[derive(Ports)]
pub struct Maps {
    /// Mean intensities.
    #[port(dtype = "f32", axes = "azimuthal radial")]
    intensity: Array,
    /// Standard errors of the intensities, where `errors` say how.
    #[port(dtype = "f32", axes = "azimuthal radial")]
    sigma: Option<Array>,
    /// Standard deviations of single pixels, where `errors` say how.
    #[port(dtype = "f32", axes = "azimuthal radial")]
    std: Option<Array>,
    /// How many pixels are in each bin, shares of pixels counted as such.
    #[port(dtype = "f32", axes = "azimuthal radial")]
    count: Array,
    /// Sums of the signal, with `sums`.
    #[port(dtype = "f64", axes = "azimuthal radial")]
    signal: Option<Array>,
    /// Sums of the normalisation, with `sums`.
    #[port(dtype = "f64", axes = "azimuthal radial")]
    norm: Option<Array>,
    /// Sums of the squares of the normalisation, with `sums`.
    #[port(dtype = "f64", axes = "azimuthal radial")]
    norm2: Option<Array>,
    /// Sums of the variance, with `sums` and where `errors` say how.
    #[port(dtype = "f64", axes = "azimuthal radial")]
    variance: Option<Array>,
    /// The middles of the radial bins in `unit`, the same for every frame.
    #[port(dtype = "f64", axes = "radial")]
    radial: Array,
    /// The middles of the azimuthal bins, the same for every frame.
    #[port(dtype = "f64", axes = "azimuthal", unit = "degree")]
    azimuthal: Array,
}

impl Stage for Integrate2d {
    type In = IntegrateIn;
    type Out = Maps;

    fn example() -> Example {
        example(
            "bins = 8\nazimuthal_bins = 6\nunit = \"2th_deg\"\nsplitting = \"full\"\nerrors = \"poisson\"",
        )
    }

    fn check(&self, faults: &mut Faults) {
        self.request.check(faults);
        self.request.check_map(faults);
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let Request { bins, azimuthal_bins, .. } = self.request;
        let map = || Shape::array(Dtype::F32, &[azimuthal_bins, bins]);
        let sum = || Shape::array(Dtype::F64, &[azimuthal_bins, bins]);
        let mut shapes = Shapes::default()
            .with("intensity", map())
            .with("count", map())
            .with("radial", Shape::array(Dtype::F64, &[bins]))
            .with("azimuthal", Shape::array(Dtype::F64, &[azimuthal_bins]));
        if self.request.has_errors() {
            shapes = shapes.with("sigma", map()).with("std", map());
        }
        if self.request.sums {
            shapes = shapes.with("signal", sum()).with("norm", sum()).with("norm2", sum());
            if self.request.has_errors() {
                shapes = shapes.with("variance", sum());
            }
        }
        Ok(shapes)
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(&self.request, input)
    }
}

impl Map for Integrate2d {
    fn apply(&self, cx: &Cx, _: &Span, input: IntegrateIn) -> Result<Maps> {
        let integrator = self.made.get(cx, &self.request, true, input.fixed(), &input.image)?;
        let n = size(&input.image)?.0;
        let Request { bins, azimuthal_bins, .. } = self.request;
        let cells = bins * azimuthal_bins;
        let map = || cx.array(Dtype::F32, &[n, azimuthal_bins, bins]);
        let errors = self.request.has_errors();
        let (mut intensity, mut count) = (map()?, map()?);
        let mut spread = if errors { Some((map()?, map()?)) } else { None };
        let sum = |wanted: bool| wanted.then(|| cx.array(Dtype::F64, &[n, azimuthal_bins, bins])).transpose();
        let sums = self.request.sums;
        let mut sums = [sum(sums)?, sum(sums)?, sum(sums)?, sum(sums && errors)?];
        let mut radial = cx.array(Dtype::F64, &[n, bins])?;
        let axis = integrator.shares.radial_axis(&self.request.unit()?);
        radial.as_slice_mut::<f64>()?.chunks_exact_mut(bins).for_each(|r| r.copy_from_slice(&axis));
        let mut azimuthal = cx.array(Dtype::F64, &[n, azimuthal_bins])?;
        let axis = integrator.shares.azimuthal_axis().unwrap_or_default();
        let lines = azimuthal.as_slice_mut::<f64>()?.chunks_exact_mut(azimuthal_bins);
        lines.for_each(|a| a.copy_from_slice(&axis));
        {
            let (intensity, count) = (intensity.as_slice_mut::<f32>()?, count.as_slice_mut::<f32>()?);
            let mut spread = match &mut spread {
                Some((sigma, std)) => Some((sigma.as_slice_mut::<f32>()?, std.as_slice_mut::<f32>()?)),
                None => None,
            };
            let [signal, norm, norm2, variance] = &mut sums;
            let mut sums = [slice(signal)?, slice(norm)?, slice(norm2)?, slice(variance)?];
            let IntegrateIn { image, variance, monitor, .. } = &input;
            each(&integrator, &self.request, image, variance.as_ref(), monitor.as_ref(), |frame, found| {
                let at = frame * cells..(frame + 1) * cells;
                intensity[at.clone()].copy_from_slice(&found.intensity);
                count[at.clone()].iter_mut().zip(&found.sums.count).for_each(|(o, c)| *o = *c as f32);
                if let Some((sigma, std)) = &mut spread {
                    sigma[at.clone()].copy_from_slice(&found.sem);
                    std[at.clone()].copy_from_slice(&found.std);
                }
                let of = [&found.sums.signal, &found.sums.norm, &found.sums.norm2, &found.sums.variance];
                for (out, of) in sums.iter_mut().zip(of) {
                    if let Some(out) = out {
                        out[at.clone()].copy_from_slice(of);
                    }
                }
            })?;
        }
        let (sigma, std) = spread.map_or((None, None), |(a, b)| (Some(a.freeze()), Some(b.freeze())));
        let [signal, norm, norm2, variance] = sums.map(|sum| sum.map(|s| s.freeze()));
        Ok(Maps {
            intensity: intensity.freeze(),
            sigma,
            std,
            count: count.freeze(),
            signal,
            norm,
            norm2,
            variance,
            radial: radial.freeze(),
            azimuthal: azimuthal.freeze(),
        })
    }
}
declare!(Map, "azimuthal.integrate2d", Kind::Reducer, Integrate2d);

/// The numbers of a sum that is wanted.
fn slice(sum: &mut Option<ArrayMut>) -> Result<Option<&mut [f64]>> {
    sum.as_mut().map(|s| s.as_slice_mut::<f64>()).transpose()
}
