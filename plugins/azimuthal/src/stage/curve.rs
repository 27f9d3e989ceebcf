//! `azimuthal.integrate1d`: each frame becomes a curve.

use isard_core::prelude::*;
use isard_core::schemars::{self, Schema};

use crate::stage::made::{Inputs, Made, each, size};
use crate::stage::request::Request;

/// Integrates each frame along rings into a curve: intensity against radius.
///
/// The geometry is a PONI file, versions 1 to 3, in any of the four orientations. Pixels are shared among bins by their
/// centres, bounding boxes or outlines (`splitting`); what is masked, marked by `dummy`, or not finite counts nowhere.
/// Without a `mask` the gaps of a detector known by its name are masked, without a `dummy` its own marker is taken.
/// The intensity of a bin is the sum of its pixels, the dark taken off, over the sum of their normalisations (flat, solid
/// angle, polarisation, screen, `normalisation`, `monitor`). `clip` and `quantiles` keep spots out of powder rings.
/// Distorted, hexagonal and curved detectors are not known yet.
///
/// Changes neither order nor count of frames. The shares are made once and serve all threads; then two to four nanoseconds
/// a pixel with splitting by outlines, a hundred with `clip` or `quantiles`. Keeps about 60 bytes a pixel.
///
/// Source: Ashiotis et al., J. Appl. Cryst. 48, 510 (2015); numbers agree with pyFAI 2026.9.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = without_map)]
pub struct Integrate1d {
    request: Request,
    #[serde(skip)]
    #[schemars(skip)]
    made: Made,
}

fn without_map(schema: &mut Schema) {
    without(schema, &["azimuthal_bins", "sums"]);
}

/// The input of an integration.
#[derive(Ports)]
pub struct IntegrateIn {
    /// Frames.
    #[port(dtype = "number", axes = "y x")]
    pub(crate) image: Array,
    /// The text of a geometry file, in place of `geometry`.
    #[port(fixed)]
    pub(crate) poni: Option<Value>,
    /// Bad pixels: 0 is good, anything else bad; takes the place of the detector's own.
    #[port(fixed, dtype = "number", axes = "y x")]
    pub(crate) mask: Option<Array>,
    /// What the detector shows without beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    pub(crate) dark: Option<Array>,
    /// What the detector shows under even light.
    #[port(fixed, dtype = "number", axes = "y x")]
    pub(crate) flat: Option<Array>,
    /// The variance of each pixel, frame by frame.
    #[port(dtype = "number", axes = "y x")]
    pub(crate) variance: Option<Array>,
    /// What each frame is divided by: a monitor's reading.
    #[port(dtype = "number", axes = "")]
    pub(crate) monitor: Option<Array>,
}

/// The output of [`Integrate1d`].
#[derive(Ports)]
pub struct Curves {
    /// Mean intensities.
    #[port(dtype = "f32", axes = "radial")]
    intensity: Array,
    /// Standard errors of the intensities, where `errors` say how.
    #[port(dtype = "f32", axes = "radial")]
    sigma: Option<Array>,
    /// Standard deviations of single pixels, where `errors` say how.
    #[port(dtype = "f32", axes = "radial")]
    std: Option<Array>,
    /// The middles of the bins in `unit`, the same for every frame.
    #[port(dtype = "f64", axes = "radial")]
    radial: Array,
    /// Sums of the signal.
    #[port(dtype = "f64", axes = "radial")]
    signal: Array,
    /// Sums of the normalisation.
    #[port(dtype = "f64", axes = "radial")]
    norm: Array,
    /// Sums of the squares of the normalisation.
    #[port(dtype = "f64", axes = "radial")]
    norm2: Array,
    /// Sums of the variance, where `errors` say how.
    #[port(dtype = "f64", axes = "radial")]
    variance: Option<Array>,
    /// How many pixels are in each bin, shares of pixels counted as such.
    #[port(dtype = "f64", axes = "radial")]
    count: Array,
}

/// Takes parameters out of a schema that mean nothing to a stage.
pub(crate) fn without(schema: &mut Schema, names: &[&str]) {
    if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
        names.iter().for_each(|name| drop(properties.remove(*name)));
    }
}

/// A flat detector of 12 x 16 pixels in a corner of the rings.
pub(crate) const PONI: &str = "poni_version: 2.1\nDetector: Detector\n\
    Detector_config: {\"pixel1\": 1e-4, \"pixel2\": 1e-4, \"max_shape\": [12, 16], \"orientation\": 3}\n\
    Distance: 0.1\nPoni1: 0.0004\nPoni2: 0.0003\nRot1: 0.01\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n";

/// Four frames of that detector with a dead pixel.
pub(crate) fn example(set: &str) -> Example {
    let pixels: Vec<u16> = (0..4 * 12 * 16).map(|k| (k * 37 % 101 + k / 192) as u16).collect();
    let mask: Vec<u8> = (0..12 * 16).map(|k| u8::from(k == 77)).collect();
    Example::new(set)
        .frames("image", Array::of(&[4, 12, 16], &pixels).expect("four frames"))
        .frames("monitor", Array::from_slice(&[1.0, 1.5, 2.0, 0.5]))
        .fixed("poni", PONI)
        .fixed("mask", Array::of(&[12, 16], &mask).expect("as many pixels as a frame"))
}

impl IntegrateIn {
    /// The inputs that are the same for all frames.
    pub(crate) fn fixed(&self) -> Inputs {
        Inputs {
            poni: self.poni.clone().filter(|p| *p != Value::None),
            mask: self.mask.clone(),
            dark: self.dark.clone(),
            flat: self.flat.clone(),
        }
    }
}

impl Stage for Integrate1d {
    type In = IntegrateIn;
    type Out = Curves;

    fn example() -> Example {
        example("bins = 20\nsplitting = \"full\"\nerrors = \"poisson\"")
    }

    fn check(&self, faults: &mut Faults) {
        self.request.check(faults);
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let shape = |dtype| Shape::array(dtype, &[self.request.bins]);
        let mut shapes = Shapes::default().with("intensity", shape(Dtype::F32));
        for name in ["radial", "signal", "norm", "norm2", "count"] {
            shapes = shapes.with(name, shape(Dtype::F64));
        }
        if self.request.has_errors() {
            shapes = shapes.with("sigma", shape(Dtype::F32)).with("std", shape(Dtype::F32));
            shapes = shapes.with("variance", shape(Dtype::F64));
        }
        Ok(shapes)
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(&self.request, input)
    }
}

/// What an integration costs.
pub(crate) fn cost(request: &Request, input: &Shapes) -> Cost {
    let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
    let robust = request.clip.is_some() || request.quantiles.is_some();
    let each = if robust { 100e-9 } else { 3e-9 };
    Cost { memory: 60 * pixels as u64, seconds_per_record: each * pixels as f64, ..Cost::default() }
}

impl Map for Integrate1d {
    fn apply(&self, cx: &Cx, _: &Span, input: IntegrateIn) -> Result<Curves> {
        let integrator = self.made.get(cx, &self.request, false, input.fixed(), &input.image)?;
        let (n, bins) = (size(&input.image)?.0, self.request.bins);
        let single = || cx.array(Dtype::F32, &[n, bins]);
        let double = || cx.array(Dtype::F64, &[n, bins]);
        let (mut intensity, mut signal, mut norm, mut count) = (single()?, double()?, double()?, double()?);
        let errors = self.request.has_errors();
        let (mut sigma, mut std) = (single()?, single()?);
        let (mut norm2, mut spread) = (double()?, double()?);
        let mut radial = double()?;
        let axis = integrator.shares.radial_axis(&self.request.unit()?);
        radial.as_slice_mut::<f64>()?.chunks_exact_mut(bins).for_each(|r| r.copy_from_slice(&axis));
        {
            let (intensity, signal) = (intensity.as_slice_mut::<f32>()?, signal.as_slice_mut::<f64>()?);
            let (norm, count) = (norm.as_slice_mut::<f64>()?, count.as_slice_mut::<f64>()?);
            let (sigma, std) = (sigma.as_slice_mut::<f32>()?, std.as_slice_mut::<f32>()?);
            let (norm2, spread) = (norm2.as_slice_mut::<f64>()?, spread.as_slice_mut::<f64>()?);
            let IntegrateIn { image, variance, monitor, .. } = &input;
            each(&integrator, &self.request, image, variance.as_ref(), monitor.as_ref(), |frame, found| {
                let at = frame * bins..(frame + 1) * bins;
                intensity[at.clone()].copy_from_slice(&found.intensity);
                signal[at.clone()].copy_from_slice(&found.sums.signal);
                norm[at.clone()].copy_from_slice(&found.sums.norm);
                norm2[at.clone()].copy_from_slice(&found.sums.norm2);
                count[at.clone()].copy_from_slice(&found.sums.count);
                if errors {
                    sigma[at.clone()].copy_from_slice(&found.sem);
                    std[at.clone()].copy_from_slice(&found.std);
                    spread[at].copy_from_slice(&found.sums.variance);
                }
            })?;
        }
        Ok(Curves {
            intensity: intensity.freeze(),
            sigma: errors.then(|| sigma.freeze()),
            std: errors.then(|| std.freeze()),
            radial: radial.freeze(),
            signal: signal.freeze(),
            norm: norm.freeze(),
            norm2: norm2.freeze(),
            variance: errors.then(|| spread.freeze()),
            count: count.freeze(),
        })
    }
}
declare!(Map, "azimuthal.integrate1d", Kind::Reducer, Integrate1d);
