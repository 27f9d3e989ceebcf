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
    /// How many pixels are in each bin, shares of pixels counted as such.
    #[port(dtype = "f32", axes = "azimuthal radial")]
    count: Array,
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
        if self.request.clip.is_some() || self.request.quantiles.is_some() {
            faults.add_with_help("clip", "is given for a map", "use `azimuthal.integrate1d`");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let Request { bins, azimuthal_bins, .. } = self.request;
        let map = || Shape::array(Dtype::F32, &[azimuthal_bins, bins]);
        let mut shapes = Shapes::default()
            .with("intensity", map())
            .with("count", map())
            .with("radial", Shape::array(Dtype::F64, &[bins]))
            .with("azimuthal", Shape::array(Dtype::F64, &[azimuthal_bins]));
        if self.request.has_errors() {
            shapes = shapes.with("sigma", map());
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
        let (mut intensity, mut sigma, mut count) = (map()?, map()?, map()?);
        let errors = self.request.has_errors();
        let mut radial = cx.array(Dtype::F64, &[n, bins])?;
        let axis = integrator.shares.radial_axis(&self.request.unit()?);
        radial.as_slice_mut::<f64>()?.chunks_exact_mut(bins).for_each(|r| r.copy_from_slice(&axis));
        let mut azimuthal = cx.array(Dtype::F64, &[n, azimuthal_bins])?;
        let axis = integrator.shares.azimuthal_axis().unwrap_or_default();
        let lines = azimuthal.as_slice_mut::<f64>()?.chunks_exact_mut(azimuthal_bins);
        lines.for_each(|a| a.copy_from_slice(&axis));
        {
            let (intensity, count) = (intensity.as_slice_mut::<f32>()?, count.as_slice_mut::<f32>()?);
            let sigma = sigma.as_slice_mut::<f32>()?;
            let IntegrateIn { image, variance, monitor, .. } = &input;
            each(&integrator, &self.request, image, variance.as_ref(), monitor.as_ref(), |frame, found| {
                let at = frame * cells..(frame + 1) * cells;
                intensity[at.clone()].copy_from_slice(&found.intensity);
                count[at.clone()].iter_mut().zip(&found.sums.count).for_each(|(o, c)| *o = *c as f32);
                if errors {
                    sigma[at].copy_from_slice(&found.sem);
                }
            })?;
        }
        Ok(Maps {
            intensity: intensity.freeze(),
            sigma: errors.then(|| sigma.freeze()),
            count: count.freeze(),
            radial: radial.freeze(),
            azimuthal: azimuthal.freeze(),
        })
    }
}
declare!(Map, "azimuthal.integrate2d", Kind::Reducer, Integrate2d);
