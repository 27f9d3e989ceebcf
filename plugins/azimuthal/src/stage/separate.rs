//! `azimuthal.separate`: rings and spots of each frame.

use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::schemars::{self, Schema};

use crate::integrator::Integrator;
use crate::reproject::Reprojection;
use crate::stage::curve::{IntegrateIn, cost, example, without};
use crate::stage::made::{Made, camera, each, geometry, size};
use crate::stage::request::Request;

/// Separates each frame into what is the same along rings and what stands out.
///
/// The frame is integrated as by `azimuthal.integrate1d`, by default to the median of each bin (`quantiles`), and the curve
/// is put back on the pixels: interpolated at their centres, times their normalisation, the dark added. That is `rings`;
/// `spots` is the frame less that. Pixels that count nowhere are `empty` in both.
///
/// Changes neither order nor count of frames. Some hundred nanoseconds a pixel for the median.
///
/// Source: Kieffer et al., J. Appl. Cryst. 58, 138 (2025), separation of Bragg and amorphous signal.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = of_curves)]
pub struct Separate {
    request: Request,
    #[serde(skip)]
    #[schemars(skip)]
    made: Made,
    #[serde(skip)]
    #[schemars(skip)]
    back: Mutex<Option<(Arc<Integrator>, Arc<Reprojection>)>>,
}

fn of_curves(schema: &mut Schema) {
    without(schema, &["azimuthal_bins", "errors", "sums"]);
}

/// The output of [`Separate`].
#[derive(Ports)]
pub struct Separated {
    /// What is the same along rings.
    #[port(dtype = "f32", axes = "y x")]
    rings: Array,
    /// What stands out of the rings.
    #[port(dtype = "f32", axes = "y x")]
    spots: Array,
}

impl Separate {
    /// The parameters, with the median where nothing else is asked for.
    fn request(&self) -> Request {
        let mut request = self.request.clone();
        if request.clip.is_none() && request.quantiles.is_none() {
            request.quantiles = Some([0.5, 0.5]);
        }
        request
    }

    /// The way back for an integration.
    fn back(&self, made: &Arc<Integrator>, input: &IntegrateIn) -> Result<Arc<Reprojection>> {
        let mut slot = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, back)) = &*slot
            && Arc::ptr_eq(of, made)
        {
            return Ok(back.clone());
        }
        let text = geometry(&self.request, input.fixed().poni.as_ref())?;
        let camera = camera(&self.request, &text, size(&input.image)?.1)?;
        let unit = self.request.unit()?;
        let back = Arc::new(Reprojection::new(&camera, &unit, &made.shares.radial_axis(&unit))?);
        *slot = Some((made.clone(), back.clone()));
        Ok(back)
    }
}

impl Stage for Separate {
    type In = IntegrateIn;
    type Out = Separated;

    fn example() -> Example {
        example("bins = 12")
    }

    fn check(&self, faults: &mut Faults) {
        self.request().check(faults);
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let shape = || Shape { dtype: Some(Dtype::F32), dims: input.get("image").dims };
        Ok(Shapes::default().with("rings", shape()).with("spots", shape()))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(&self.request(), input)
    }
}

impl Map for Separate {
    fn apply(&self, cx: &Cx, _: &Span, input: IntegrateIn) -> Result<Separated> {
        let request = self.request();
        let made = self.made.get(cx, &request, false, input.fixed(), &input.image)?;
        let back = self.back(&made, &input)?;
        let (_, [rows, columns]) = size(&input.image)?;
        let pixels = rows * columns;
        let mut rings = cx.array(Dtype::F32, input.image.shape())?;
        let mut spots = cx.array(Dtype::F32, input.image.shape())?;
        {
            let rings = rings.as_slice_mut::<f32>()?;
            let monitor = input.monitor.as_ref().map(Array::to_f64).transpose()?;
            let empty = request.empty as f32;
            let IntegrateIn { image, variance, monitor: readings, .. } = &input;
            each(&made, &request, image, variance.as_ref(), readings.as_ref(), |frame, found| {
                let factor = request.normalisation * monitor.as_ref().map_or(1.0, |m| m[frame]);
                let out = &mut rings[frame * pixels..(frame + 1) * pixels];
                back.image(&found.intensity, &made.fixed, factor, empty, out);
            })?;
            let values = input.image.to_f64()?;
            for (k, spot) in spots.as_slice_mut::<f32>()?.iter_mut().enumerate() {
                let good = made.fixed.valid(k % pixels, values[k] as f32);
                *spot = if good { (values[k] - f64::from(rings[k])) as f32 } else { empty };
            }
        }
        Ok(Separated { rings: rings.freeze(), spots: spots.freeze() })
    }
}
declare!(Map, "azimuthal.separate", Kind::Reducer, Separate);
