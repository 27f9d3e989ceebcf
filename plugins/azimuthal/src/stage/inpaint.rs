//! `azimuthal.inpaint`: bad pixels are filled with what their ring has.

use std::sync::{Arc, Mutex, PoisonError};

use isard_core::dispatch;
use isard_core::prelude::*;
use isard_core::schemars::{self, Schema};

use crate::cake::Cake;
use crate::integrator::Integrator;
use crate::pixel::{Pixel, complex};
use crate::prepare::{Fixed, Images};
use crate::stage::curve::{IntegrateIn, cost, example, without};
use crate::stage::made::{Made, camera, each, geometry, single, size};
use crate::stage::request::Request;

/// Fills the bad pixels of each frame with what their ring has beside them.
///
/// Each frame is integrated to a map of azimuth and radius as by `azimuthal.integrate2d`; cells without a valid pixel are
/// filled along their ring, from the nearest cells on both sides by their nearness, and masked pixels, those marked by
/// `dummy` and those that are not finite take what the map has at their centre, times their normalisation, the dark
/// added. Good pixels stay as they are. `filled` says which were filled.
///
/// Changes neither order nor count of frames. Some ten nanoseconds a pixel and a hundred for each that is filled. Keeps
/// about 80 bytes a pixel.
///
/// Source: Ashiotis et al., J. Appl. Cryst. 48, 510 (2015), `inpainting` of pyFAI.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = of_maps)]
pub struct Inpaint {
    request: Request,
    #[serde(skip)]
    #[schemars(skip)]
    made: Made,
    #[serde(skip)]
    #[schemars(skip)]
    paint: Mutex<Option<(Arc<Integrator>, Arc<Paint>)>>,
}

fn of_maps(schema: &mut Schema) {
    without(schema, &["clip", "quantiles", "sums", "errors", "empty"]);
}

/// What filled pixels are made of.
struct Paint {
    cake: Cake,
    /// What a pixel is multiplied by, good or bad.
    norm: Vec<f32>,
    dark: Option<Vec<f32>>,
}

/// The output of [`Inpaint`].
#[derive(Ports)]
pub struct Painted {
    /// The frames without holes.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
    /// 1 where a pixel was filled, 0 where it is as it was.
    #[port(dtype = "u8", axes = "y x")]
    filled: Array,
}

impl Inpaint {
    fn paint(&self, made: &Arc<Integrator>, input: &IntegrateIn) -> Result<Arc<Paint>> {
        let mut slot = self.paint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, paint)) = &*slot
            && Arc::ptr_eq(of, made)
        {
            return Ok(paint.clone());
        }
        let inputs = input.fixed();
        let shape = size(&input.image)?.1;
        let text = geometry(&self.request, inputs.poni.as_ref())?;
        let camera = camera(&self.request, &text, shape)?;
        let unit = self.request.unit()?;
        let settings = self.request.settings(true)?;
        let nothing = vec![0; camera.pixels()];
        let images = Images { mask: &nothing, dark: None, flat: None };
        let mut norm = Fixed::new(&camera, &settings.corrections, &images, None)?.norm;
        // A bad pixel may have a bad flat: then it is filled as if its flat were 1.
        if let Some(flat) = single("flat", inputs.flat.as_ref(), shape)? {
            let good = norm.iter_mut().zip(flat).filter(|(_, f)| f.is_finite() && *f > 0.0);
            good.for_each(|(n, f)| *n *= f);
        }
        let dark = single("dark", inputs.dark.as_ref(), shape)?;
        let cake = Cake::new(&camera, &unit, &made.shares)?;
        let paint = Arc::new(Paint { cake, norm, dark });
        *slot = Some((made.clone(), paint.clone()));
        Ok(paint)
    }
}

impl Stage for Inpaint {
    type In = IntegrateIn;
    type Out = Painted;

    fn example() -> Example {
        example("bins = 12\nazimuthal_bins = 12\nsplitting = \"full\"")
    }

    fn check(&self, faults: &mut Faults) {
        self.request.check(faults);
        self.request.check_map(faults);
        if self.request.sums || self.request.has_errors() {
            faults.add_with_help("errors", "are given for frames", "use `azimuthal.integrate2d`");
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let shape = |dtype| Shape { dtype: Some(dtype), dims: input.get("image").dims };
        Ok(Shapes::default().with("image", shape(Dtype::F32)).with("filled", shape(Dtype::U8)))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(&self.request, input)
    }
}

impl Map for Inpaint {
    fn apply(&self, cx: &Cx, span: &Span, input: IntegrateIn) -> Result<Painted> {
        let made = self.made.get(cx, &self.request, true, input.fixed(), &input.image)?;
        let paint = self.paint(&made, &input)?;
        let (n, [rows, columns]) = size(&input.image)?;
        let pixels = rows * columns;
        let mut image = cx.array(Dtype::F32, &[n, rows, columns])?;
        let mut filled = cx.array(Dtype::U8, &[n, rows, columns])?;
        {
            let (image, filled) = (image.as_slice_mut::<f32>()?, filled.as_slice_mut::<u8>()?);
            dispatch!(input.image.dtype(), T => {
                let raw = input.image.as_slice::<T>()?;
                image.iter_mut().zip(raw).for_each(|(out, raw)| *out = raw.value());
            }, complex => return complex());
            let monitor = input.monitor.as_ref().map(Array::to_f64).transpose()?;
            let IntegrateIn { image: frames, variance, monitor: readings, .. } = &input;
            let mut empty = None;
            each(&made, &self.request, frames, variance.as_ref(), readings.as_ref(), |frame, found| {
                let valid: Vec<bool> = (0..found.intensity.len()).map(|k| found.sums.holds(k)).collect();
                let mut map = found.intensity;
                if !paint.cake.fill(&mut map, &valid) {
                    empty = empty.or(Some(frame));
                    return;
                }
                let factor = self.request.normalisation * monitor.as_ref().map_or(1.0, |m| m[frame]);
                let image = &mut image[frame * pixels..(frame + 1) * pixels];
                let filled = &mut filled[frame * pixels..(frame + 1) * pixels];
                for (pixel, (value, mark)) in image.iter_mut().zip(filled).enumerate() {
                    let good = made.fixed.valid(pixel, *value);
                    *mark = u8::from(!good);
                    if !good {
                        let dark = paint.dark.as_ref().map_or(0.0, |d| d[pixel]);
                        let dark = if dark.is_finite() { dark } else { 0.0 };
                        *value = paint.cake.value(&map, pixel) * paint.norm[pixel] * factor as f32 + dark;
                    }
                }
            })?;
            if let Some(frame) = empty {
                let number = span.start + frame as u64;
                return Err(Error::data(format!("frame {number} has no valid pixel to fill others from"))
                    .help("look at `mask` and `dummy`"));
            }
        }
        Ok(Painted { image: image.freeze(), filled: filled.freeze() })
    }
}
declare!(Map, "azimuthal.inpaint", Kind::Reducer, Inpaint);
