//! `azimuthal.image`: curves become images again.

use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::schemars;
use isard_geometry::Poni;

use crate::camera::{Camera, Places};
use crate::prepare::{Corrections, Fixed, Images};
use crate::reproject::Reprojection;
use crate::stage::made::{Inputs, camera, geometry, mask, single};
use crate::stage::request::Request;
use crate::unit::{self, Unit};

/// Makes an image of each curve: what a detector would show of it.
///
/// The curve is interpolated at the centres of the pixels, times solid angle, polarisation, screen, flat, `normalisation`
/// and `monitor`, plus the dark; outside its axis it stays as at its end. The steps of the axis need not be equal.
/// Masked pixels are `empty`; a geometry that does not know its shape takes that of `mask`, `dark` or `flat`.
///
/// Changes neither order nor count. Two nanoseconds a pixel. Keeps 12 bytes a pixel.
///
/// Source: Ashiotis et al., J. Appl. Cryst. 48, 510 (2015), `calcfrom1d` of pyFAI.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Imagine {
    /// The geometry file (PONI), unless the input `poni` gives it.
    #[schemars(extend("x-path" = "input", "x-endings" = [".poni"]))]
    geometry: Option<String>,
    /// The text of a geometry file, in place of `geometry`.
    poni: Option<String>,
    /// The radial unit of the curves.
    unit: String,
    /// Whether pixels see different solid angles.
    solid_angle: bool,
    /// The beam's polarisation: 1 horizontal, -1 vertical; none leaves it out.
    #[schemars(range(min = -1, max = 1))]
    polarisation: Option<f64>,
    /// How far the axis of polarisation is turned.
    #[schemars(extend("x-unit" = "degree", "x-level" = "expert"))]
    polarisation_turn: f64,
    /// Transmission of a phosphor screen at normal incidence.
    #[schemars(extend("x-level" = "expert"))]
    screen: Option<f64>,
    /// What all pixels are multiplied by.
    normalisation: f64,
    /// What masked pixels get.
    empty: f64,
    /// How places of pixels are rounded, as in `azimuthal.integrate1d`.
    #[schemars(extend("x-level" = "expert"))]
    places: Places,
    #[serde(skip)]
    #[schemars(skip)]
    made: Mutex<Option<Arc<Made>>>,
}

impl Default for Imagine {
    fn default() -> Self {
        let Request { unit, solid_angle, normalisation, empty, .. } = Request::default();
        Imagine {
            geometry: None,
            poni: None,
            unit,
            solid_angle,
            polarisation: None,
            polarisation_turn: 0.0,
            screen: None,
            normalisation,
            empty,
            places: Places::Usual,
            made: Mutex::default(),
        }
    }
}

/// What serves all curves of one axis.
struct Made {
    axis: Vec<f64>,
    shape: [usize; 2],
    back: Reprojection,
    fixed: Fixed,
}

/// The input of [`Imagine`].
#[derive(Ports)]
pub struct ImagineIn {
    /// Curves.
    #[port(dtype = "number", axes = "radial")]
    intensity: Array,
    /// Their radial axis, with every curve.
    #[port(dtype = "f64", axes = "radial")]
    radial: Array,
    /// What each image is multiplied by.
    #[port(dtype = "number", axes = "")]
    monitor: Option<Array>,
    /// The text of a geometry file, in place of `geometry`.
    #[port(fixed)]
    poni: Option<Value>,
    /// Bad pixels: 0 is good, anything else bad; takes the place of the detector's own.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// What the detector shows without beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Option<Array>,
    /// What the detector shows under even light.
    #[port(fixed, dtype = "number", axes = "y x")]
    flat: Option<Array>,
}

/// The output of [`Imagine`].
#[derive(Ports)]
pub struct Imagined {
    /// The images.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
}

impl Imagine {
    fn request(&self) -> Request {
        Request {
            geometry: self.geometry.clone(),
            poni: self.poni.clone(),
            unit: self.unit.clone(),
            places: self.places,
            screen: self.screen,
            normalisation: self.normalisation,
            ..Request::default()
        }
    }

    /// What serves a curve with this axis; made once, as all have the same as a rule.
    fn made(&self, input: &ImagineIn, axis: &[f64]) -> Result<Arc<Made>> {
        let mut slot = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = slot.as_ref().filter(|made| made.axis == axis) {
            return Ok(made.clone());
        }
        let request = self.request();
        let inputs = Inputs {
            poni: input.poni.clone().filter(|p| *p != Value::None),
            mask: input.mask.clone(),
            dark: input.dark.clone(),
            flat: input.flat.clone(),
        };
        let text = geometry(&request, inputs.poni.as_ref())?;
        let own = Poni::parse(&text).ok().and_then(|poni| poni.shape);
        let seen = [&inputs.mask, &inputs.dark, &inputs.flat].into_iter().flatten();
        let seen = seen.map(|image| [0, 1].map(|k| image.shape().get(k).copied().unwrap_or(0))).next();
        let shape = own.or(seen).ok_or_else(|| {
            Error::data("the geometry does not say how many pixels there are")
                .help("add `\"max_shape\": [rows, columns]` to its `Detector_config`, or wire `mask`")
        })?;
        let camera: Camera = camera(&request, &text, shape)?;
        let mask = mask(&camera, inputs.mask.as_ref())?;
        let dark = single("dark", inputs.dark.as_ref(), shape)?;
        let flat = single("flat", inputs.flat.as_ref(), shape)?;
        let corrections = Corrections {
            solid_angle: self.solid_angle,
            polarisation: self.polarisation.map(|f| [f, self.polarisation_turn.to_radians()]),
            screen: self.screen,
        };
        let images = Images { mask: &mask, dark: dark.as_deref(), flat: flat.as_deref() };
        let fixed = Fixed::new(&camera, &corrections, &images, None)?;
        let back = Reprojection::new(&camera, &request.unit()?, axis)?;
        let made = Arc::new(Made { axis: axis.to_vec(), shape, back, fixed });
        *slot = Some(made.clone());
        Ok(made)
    }
}

impl Stage for Imagine {
    type In = ImagineIn;
    type Out = Imagined;

    fn example() -> Example {
        let axis = [1.0, 2.0, 4.0, 1.0, 2.0, 4.0];
        Example::new("unit = \"2th_deg\"\npolarisation = 0.9")
            .frames("intensity", Array::of(&[2, 3], &[5f32, 7.0, 6.0, 3.0, 2.0, 8.0]).expect("six points"))
            .frames("radial", Array::of(&[2, 3], &axis).expect("six points"))
            .fixed("poni", super::curve::PONI)
    }

    fn check(&self, faults: &mut Faults) {
        if Unit::named(&self.unit).is_none() {
            let help = format!("known: {}", unit::names());
            faults.add_with_help("unit", format!("`{}` is not known", self.unit), help);
        }
        self.request().check_beam(faults);
        if let Some(p) = self.polarisation.filter(|p| !(-1.0..=1.0).contains(p)) {
            faults.add("polarisation", format!("is {p}, wanted -1 to 1"));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("mask").dims.map_or(4 << 20, |d| d.iter().product::<usize>());
        Cost { memory: 20 * pixels as u64, seconds_per_record: 2e-9 * pixels as f64, ..Cost::default() }
    }
}

impl Map for Imagine {
    fn apply(&self, cx: &Cx, _: &Span, input: ImagineIn) -> Result<Imagined> {
        let &[n, points] = input.intensity.shape() else {
            let found = input.intensity.shape();
            return Err(Error::data(format!("found curves of {found:?}, wanted [n radial]")));
        };
        if input.radial.len() != n * points {
            let found = input.radial.shape();
            return Err(Error::data(format!(
                "found a radial axis of {found:?} for curves of [{n}, {points}]"
            )));
        }
        let (curves, axes) = (input.intensity.to_f64()?, input.radial.as_slice::<f64>()?);
        let monitor = input.monitor.as_ref().map(Array::to_f64).transpose()?;
        let mut out: Option<ArrayMut> = None;
        for frame in 0..n {
            let at = frame * points..(frame + 1) * points;
            let made = self.made(&input, &axes[at.clone()])?;
            let [rows, columns] = made.shape;
            let image = match &mut out {
                Some(image) => image,
                None => out.insert(cx.array(Dtype::F32, &[n, rows, columns])?),
            };
            let curve: Vec<f32> = curves[at].iter().map(|v| *v as f32).collect();
            let factor = self.normalisation * monitor.as_ref().map_or(1.0, |m| m[frame]);
            let pixels = rows * columns;
            let image = &mut image.as_slice_mut::<f32>()?[frame * pixels..(frame + 1) * pixels];
            made.back.image(&curve, &made.fixed, factor, self.empty as f32, image);
        }
        let out = out.ok_or_else(|| Error::internal("a chunk without curves"))?;
        Ok(Imagined { image: out.freeze() })
    }
}
declare!(Map, "azimuthal.image", Kind::Reducer, Imagine);
