//! `azimuthal.profile`: how intensity goes around the rings.

use isard_core::prelude::*;
use isard_core::schemars::{self, Schema};

use crate::stage::curve::{IntegrateIn, cost, example, without};
use crate::stage::made::{Made, each, size};
use crate::stage::request::Request;

/// Integrates each frame along the radius into a curve: intensity against azimuth.
///
/// As `azimuthal.integrate2d`, with the sums of all radial bins of an azimuth put together: the band is `radial_range`, and
/// `bins` says how finely pixels are cut at its ends (100 do). Texture and half-shadowed rings show in it.
///
/// Changes neither order nor count of frames. The shares are made once and serve all threads; then some ten nanoseconds a
/// pixel with splitting. Keeps about 60 bytes a pixel.
///
/// Source: Ashiotis et al., J. Appl. Cryst. 48, 510 (2015), `integrate_radial` of pyFAI.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = without_curves)]
pub struct Profile {
    request: Request,
    #[serde(skip)]
    #[schemars(skip)]
    made: Made,
}

fn without_curves(schema: &mut Schema) {
    without(schema, &["clip", "quantiles", "sums"]);
}

/// The output of [`Profile`].
#[derive(Ports)]
pub struct Profiles {
    /// Mean intensities.
    #[port(dtype = "f32", axes = "azimuthal")]
    intensity: Array,
    /// Standard errors of the intensities, where `errors` say how.
    #[port(dtype = "f32", axes = "azimuthal")]
    sigma: Option<Array>,
    /// How many pixels are in each bin, shares of pixels counted as such.
    #[port(dtype = "f64", axes = "azimuthal")]
    count: Array,
    /// The middles of the bins, the same for every frame.
    #[port(dtype = "f64", axes = "azimuthal", unit = "degree")]
    azimuthal: Array,
}

impl Stage for Profile {
    type In = IntegrateIn;
    type Out = Profiles;

    fn example() -> Example {
        example(
            "bins = 8\nazimuthal_bins = 6\nunit = \"2th_deg\"\nradial_range = [0.2, 0.6]\nerrors = \"poisson\"",
        )
    }

    fn check(&self, faults: &mut Faults) {
        self.request.check(faults);
        self.request.check_map(faults);
        if self.request.sums {
            faults.add_with_help("sums", "is given for a profile", "use `azimuthal.integrate2d`");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let shape = |dtype| Shape::array(dtype, &[self.request.azimuthal_bins]);
        let mut shapes = Shapes::default().with("intensity", shape(Dtype::F32));
        shapes = shapes.with("count", shape(Dtype::F64)).with("azimuthal", shape(Dtype::F64));
        if self.request.has_errors() {
            shapes = shapes.with("sigma", shape(Dtype::F32));
        }
        Ok(shapes)
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(&self.request, input)
    }
}

impl Map for Profile {
    fn apply(&self, cx: &Cx, _: &Span, input: IntegrateIn) -> Result<Profiles> {
        let integrator = self.made.get(cx, &self.request, true, input.fixed(), &input.image)?;
        let n = size(&input.image)?.0;
        let Request { bins, azimuthal_bins, .. } = self.request;
        let single = || cx.array(Dtype::F32, &[n, azimuthal_bins]);
        let double = || cx.array(Dtype::F64, &[n, azimuthal_bins]);
        let (mut intensity, mut sigma, mut count) = (single()?, single()?, double()?);
        let mut azimuthal = double()?;
        let axis = integrator.shares.azimuthal_axis().unwrap_or_default();
        let lines = azimuthal.as_slice_mut::<f64>()?.chunks_exact_mut(azimuthal_bins);
        lines.for_each(|a| a.copy_from_slice(&axis));
        let (errors, empty) = (self.request.has_errors(), self.request.empty as f32);
        {
            let (intensity, sigma) = (intensity.as_slice_mut::<f32>()?, sigma.as_slice_mut::<f32>()?);
            let count = count.as_slice_mut::<f64>()?;
            let IntegrateIn { image, variance, monitor, .. } = &input;
            each(&integrator, &self.request, image, variance.as_ref(), monitor.as_ref(), |frame, found| {
                let sums = &found.sums;
                for k in 0..azimuthal_bins {
                    let (at, band) = (frame * azimuthal_bins + k, k * bins..(k + 1) * bins);
                    let total = |of: &[f64]| of[band.clone()].iter().sum::<f64>();
                    let norm = total(&sums.norm);
                    let valid = total(&sums.norm2) > 0.0;
                    count[at] = total(&sums.count);
                    intensity[at] = if valid { (total(&sums.signal) / norm) as f32 } else { empty };
                    if errors {
                        let value = (total(&sums.variance).sqrt() / norm) as f32;
                        sigma[at] = if valid { value } else { empty };
                    }
                }
            })?;
        }
        Ok(Profiles {
            intensity: intensity.freeze(),
            sigma: errors.then(|| sigma.freeze()),
            count: count.freeze(),
            azimuthal: azimuthal.freeze(),
        })
    }
}
declare!(Map, "azimuthal.profile", Kind::Reducer, Profile);
