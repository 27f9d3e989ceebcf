//! An integration made ready once: by stages, by their threads, and by the jobs of one process.

use std::sync::{Arc, Mutex, PoisonError};

use isard_core::dispatch;
use isard_core::prelude::*;
use isard_geometry::Poni;

use crate::camera::Camera;
use crate::integrator::Integrator;
use crate::pixel::{Pixel, complex};
use crate::prepare::Images;
use crate::simd::Frame;
use crate::stage::request::Request;
use crate::sums::Result1;

/// The fixed images of an integration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) poni: Option<Value>,
    pub(crate) mask: Option<Array>,
    pub(crate) dark: Option<Array>,
    pub(crate) flat: Option<Array>,
}

/// What was made last, and of what.
#[derive(Default)]
pub(crate) struct Made(Mutex<Option<Last>>);

type Last = (Inputs, Dtype, [usize; 2], Arc<Integrator>);

/// How many frames a chunk has, and their rows and columns.
pub(crate) fn size(image: &Array) -> Result<(usize, [usize; 2])> {
    match *image.shape() {
        [n, rows, columns] => Ok((n, [rows, columns])),
        _ => {
            let (dtype, shape) = (image.dtype(), image.shape());
            Err(Error::data(format!("found images of {dtype} {shape:?}, wanted frames [n y x]")))
        }
    }
}

impl Made {
    /// The integration for frames like these.
    pub(crate) fn get(
        &self,
        cx: &Cx,
        request: &Request,
        map: bool,
        inputs: Inputs,
        image: &Array,
    ) -> Result<Arc<Integrator>> {
        let (_, shape) = size(image)?;
        // Held while it is made: threads that come meanwhile wait for it instead of making their own.
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, dtype, size, made)) = &*slot
            && of.same(&inputs)
            && *dtype == image.dtype()
            && *size == shape
        {
            return Ok(made.clone());
        }
        let text = geometry(request, inputs.poni.as_ref())?;
        let key = format!(
            "azimuthal {map} {request:?} {shape:?} {} {:016x} {}",
            image.dtype(),
            digest(text.as_bytes()),
            inputs.digest()
        );
        let dtype = image.dtype();
        let made = cx.prepared(&key, || {
            let made = make(request, map, &inputs, &text, shape, dtype)?;
            let bytes = made.bytes();
            Ok((made, bytes))
        })?;
        *slot = Some((inputs, dtype, shape, made.clone()));
        Ok(made)
    }
}

/// The text of the geometry.
pub(crate) fn geometry(request: &Request, poni: Option<&Value>) -> Result<String> {
    let given = [poni.is_some(), request.geometry.is_some(), request.poni.is_some()];
    if given.iter().filter(|g| **g).count() != 1 {
        let found = if given.contains(&true) { "several of" } else { "none of" };
        return Err(Error::recipe(format!(
            "{found} `geometry`, `poni` and the input `poni` are given, wanted one"
        ))
        .help("set `geometry = \"detector.poni\"`"));
    }
    if let Some(path) = &request.geometry {
        let path = std::path::Path::new(path);
        return std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e));
    }
    let last = match poni {
        Some(Value::List(list)) => list.last().cloned().unwrap_or_default(),
        Some(other) => other.clone(),
        None => return Ok(request.poni.clone().unwrap_or_default()),
    };
    let text = last.text().map(str::to_owned);
    text.ok_or_else(|| {
        Error::data(format!("`poni` is {}, wanted the text of a geometry file", last.describe()))
    })
}

/// The camera of a geometry for frames of a shape.
pub(crate) fn camera(request: &Request, text: &str, shape: impl Into<Option<[usize; 2]>>) -> Result<Camera> {
    let poni = Poni::parse(text).map_err(|e| {
        let error = Error::data(format!("the geometry: {e}"));
        match &request.geometry {
            Some(path) => error.at(path.clone()),
            None => error,
        }
    })?;
    Ok(request.place(Camera::new(&poni, shape.into())?))
}

/// The mask of an input, or else the detector's own.
pub(crate) fn mask(camera: &Camera, mask: Option<&Array>) -> Result<Vec<u8>> {
    let Some(mask) = mask else { return Ok(Integrator::own_mask(camera)) };
    fits("mask", mask, camera.grid.shape)?;
    dispatch!(mask.dtype(), T => {
        let zero = T::default();
        Ok(mask.as_slice::<T>()?.iter().map(|m| u8::from(*m != zero)).collect())
    }, complex => complex())
}

/// An input image in single precision.
pub(crate) fn single(name: &str, image: Option<&Array>, shape: [usize; 2]) -> Result<Option<Vec<f32>>> {
    let Some(image) = image else { return Ok(None) };
    fits(name, image, shape)?;
    dispatch!(image.dtype(), T => {
        Ok(Some(image.as_slice::<T>()?.iter().map(|v| v.value()).collect()))
    }, complex => complex())
}

fn fits(name: &str, image: &Array, shape: [usize; 2]) -> Result<()> {
    if image.shape() == shape {
        return Ok(());
    }
    let found = image.shape();
    Err(Error::data(format!("`{name}` has shape {found:?}, the frames have {shape:?}"))
        .help("crop, bin or turn both the same way"))
}

fn make(
    request: &Request,
    map: bool,
    inputs: &Inputs,
    text: &str,
    shape: [usize; 2],
    dtype: Dtype,
) -> Result<Integrator> {
    let camera = camera(request, text, shape)?;
    let mask = mask(&camera, inputs.mask.as_ref())?;
    let dark = single("dark", inputs.dark.as_ref(), shape)?;
    let flat = single("flat", inputs.flat.as_ref(), shape)?;
    let images = Images { mask: &mask, dark: dark.as_deref(), flat: flat.as_deref() };
    Integrator::new(&camera, &request.settings(map)?, &images, dtype)
}

impl Inputs {
    fn arrays(&self) -> [&Option<Array>; 3] {
        [&self.mask, &self.dark, &self.flat]
    }

    /// Whether both are the same arrays in memory and the same text.
    fn same(&self, other: &Inputs) -> bool {
        let pairs = self.arrays().into_iter().zip(other.arrays());
        let mut same = pairs.map(|(a, b)| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a.bytes().as_ptr() == b.bytes().as_ptr() && a.dtype() == b.dtype() && a.shape() == b.shape()
            }
            _ => false,
        });
        same.all(|s| s) && self.poni == other.poni
    }

    /// A digest of their content.
    fn digest(&self) -> String {
        let one = |a: &Option<Array>| match a {
            None => "-".to_owned(),
            Some(a) => format!("{}{:?}{:016x}", a.dtype(), a.shape(), digest(a.bytes())),
        };
        self.arrays().map(one).join(" ")
    }
}

/// FNV-1a over words: it only has to tell masks and darks of one process apart.
fn digest(bytes: &[u8]) -> u64 {
    let step = |h: u64, word: u64| (h ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words.iter().fold(0xcbf2_9ce4_8422_2325, |h, w| step(h, u64::from_le_bytes(*w)));
    rest.iter().fold(step(all, bytes.len() as u64), |h, b| step(h, u64::from(*b)))
}

/// What every frame of a chunk comes to.
pub(crate) fn each(
    integrator: &Integrator,
    request: &Request,
    image: &Array,
    variance: Option<&Array>,
    monitor: Option<&Array>,
    mut take: impl FnMut(usize, Result1),
) -> Result<()> {
    let (n, [rows, columns]) = size(image)?;
    let pixels = rows * columns;
    let wanted = request.settings(false)?.model == crate::ErrorModel::Variance;
    let variance = match (variance, wanted) {
        (None, true) => {
            return Err(Error::recipe("`errors` are \"variance\", and no `variance` is wired")
                .help("wire `in = { variance = ... }`, or take other errors"));
        }
        (Some(_), false) => {
            return Err(Error::recipe("`variance` is wired, and `errors` are not \"variance\"")
                .help("set `errors = \"variance\"`"));
        }
        (Some(array), true) if array.shape() != image.shape() => {
            let (found, wanted) = (array.shape(), image.shape());
            return Err(Error::data(format!("`variance` has shape {found:?}, the frames have {wanted:?}")));
        }
        (variance, _) => variance,
    };
    let monitor = monitor.map(Array::to_f64).transpose()?;
    let factor = |frame: usize| {
        let monitor = monitor.as_ref().map_or(1.0, |m| m[frame]);
        if monitor.is_finite() && monitor != 0.0 {
            return Ok(request.normalisation * monitor);
        }
        Err(Error::data(format!("`monitor` of frame {frame} of the chunk is {monitor}"))
            .help("leave frames without beam out before, or wire another monitor"))
    };
    let factors: Vec<f64> = (0..n).map(factor).collect::<Result<_>>()?;
    let spread: Option<Vec<f32>> = match variance {
        None => None,
        Some(variance) => Some(dispatch!(variance.dtype(), T => {
            variance.as_slice::<T>()?.iter().map(|v| v.value()).collect()
        }, complex => return complex())),
    };
    let spread = spread.as_deref();
    let found = match image.dtype() {
        Dtype::U8 => all::<u8>(integrator, image.as_slice()?, spread, &factors, pixels),
        Dtype::U16 => all::<u16>(integrator, image.as_slice()?, spread, &factors, pixels),
        Dtype::U32 => all::<u32>(integrator, image.as_slice()?, spread, &factors, pixels),
        Dtype::I32 => all::<i32>(integrator, image.as_slice()?, spread, &factors, pixels),
        Dtype::F32 => all::<f32>(integrator, image.as_slice()?, spread, &factors, pixels),
        // What detectors rarely give is made to numbers of single precision first, as it would be one by one.
        other => {
            let values: Vec<f32> = dispatch!(other, T => {
                image.as_slice::<T>()?.iter().map(|v| v.value()).collect()
            }, complex => return complex());
            all(integrator, &values, spread, &factors, pixels)
        }
    };
    found.into_iter().enumerate().for_each(|(frame, found)| take(frame, found));
    Ok(())
}

/// What frames come to that stand one behind the other.
fn all<T: Pixel>(
    integrator: &Integrator,
    all: &[T],
    spread: Option<&[f32]>,
    factors: &[f64],
    pixels: usize,
) -> Vec<Result1> {
    let frames = all.chunks_exact(pixels.max(1)).zip(factors).enumerate().map(|(frame, (all, factor))| {
        let range = frame * pixels..(frame + 1) * pixels;
        Frame { pixels: all, variance: spread.map(|s| &s[range]), factor: *factor }
    });
    integrator.run_all(&frames.collect::<Vec<_>>())
}
