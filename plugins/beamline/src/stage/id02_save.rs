//! The steps of a frame of small-angle scattering, and the file of each.

use std::path::PathBuf;
use std::sync::Arc;

use isard_azimuthal::{Integrator, Unit};
use isard_core::prelude::*;
use isard_h5::{Compression, Dtype as H5, Image, Spec};

use crate::entry::{About, Stack, append, axis, process};
use crate::expression::Expression;
use crate::frames::{Frames, h5};
use crate::integrate::{Ask, curves};

/// What a frame is worked on with.
pub(crate) struct Chain {
    /// Relative solid angles.
    pub solid: Vec<f32>,
    pub dark: Option<Vec<f32>>,
    /// The value of invalid pixels and its tolerance.
    pub dummy: Option<[f32; 2]>,
    /// The variance in `data` and `dark`.
    pub formula: Option<Expression>,
    /// The integration, with mask and flat; unit and bins are those of each product.
    pub ask: Ask,
    /// The solid angle of a pixel at normal incidence.
    pub absolute: f64,
    /// Bins of curves.
    pub curve: usize,
    /// Azimuthal and radial bins of maps.
    pub map: [usize; 2],
}

/// A frame on its way: the dark taken off, invalid pixels no numbers.
pub(crate) struct Steps {
    sub: Vec<f32>,
    variance: Option<Vec<f32>>,
    monitor: f64,
}

impl Chain {
    /// Takes a frame `[1 y x]` with what it is divided by.
    pub(crate) fn steps(&self, frame: &Array, monitor: f64) -> Result<Steps> {
        let raw = frame.to_f64()?;
        let dark = |k: usize| self.dark.as_ref().map_or(0.0, |dark| f64::from(dark[k]));
        let mask = self.ask.mask.as_deref().unwrap_or_default();
        let valid = |k: usize, v: f64| {
            let marked = self.dummy.is_some_and(|[value, delta]| (v as f32 - value).abs() <= delta);
            !marked && mask.get(k).is_none_or(|m| *m == 0)
        };
        let sub =
            raw.iter().enumerate().map(|(k, v)| if valid(k, *v) { (v - dark(k)) as f32 } else { f32::NAN });
        let sub = sub.collect();
        let variance = self.formula.as_ref().map(|formula| {
            raw.iter().enumerate().map(|(k, v)| formula.value(&[*v, dark(k)]) as f32).collect()
        });
        Ok(Steps { sub, variance, monitor })
    }

    /// What a step divides each pixel by.
    fn divisor(&self, product: &Product, k: usize) -> f32 {
        let flat = || self.ask.flat.as_ref().map_or(1.0, |flat| flat[k]);
        let solid = || if self.ask.solid_angle { self.solid[k] } else { 1.0 };
        match product {
            Product::Raw | Product::Sub | Product::Curve(_) | Product::Map(_) => 1.0,
            Product::Flat => flat(),
            Product::Solid | Product::Dist | Product::Norm => flat() * solid(),
        }
    }
}

/// What is made of the frames.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Product {
    Raw,
    Sub,
    Flat,
    Solid,
    Dist,
    Norm,
    /// A map of azimuth and radius in a unit.
    Map(String),
    /// A curve in a unit.
    Curve(String),
}

impl Product {
    /// The product of a name of `to_save`.
    pub(crate) fn named(name: &str, unit: &str) -> Result<Product> {
        Ok(match name {
            "raw" => Product::Raw,
            "sub" => Product::Sub,
            "flat" => Product::Flat,
            "solid" => Product::Solid,
            "dist" => Product::Dist,
            "norm" => Product::Norm,
            "azim" => Product::Map(unit.to_owned()),
            "ave" => Product::Curve(unit.to_owned()),
            _ => match name.strip_prefix("ave_") {
                Some(unit) if Unit::named(unit).is_some() => Product::Curve(unit.to_owned()),
                _ => {
                    return Err(Error::recipe(format!("`to_save` has `{name}`, which is not known"))
                        .help("known: raw sub flat solid dist norm azim ave ave_<unit>"));
                }
            },
        })
    }

    fn unit(&self) -> Option<&str> {
        match self {
            Product::Map(unit) | Product::Curve(unit) => Some(unit),
            _ => None,
        }
    }
}

/// One product of all frames, on its way into its file.
pub(crate) struct Series {
    pub name: String,
    pub path: PathBuf,
    product: Product,
    kind: Kind,
}

enum Kind {
    /// Frames, and their errors where there is a formula.
    Frames(Box<Frame>),
    /// Curves or maps.
    Integrated { made: Arc<Integrator>, absolute: f64, data: Vec<f32>, errors: Vec<f32>, record: Vec<u64> },
}

struct Frame {
    data: Stack,
    errors: Option<Stack>,
    /// What each pixel is divided by, without the monitor.
    divisor: Vec<f32>,
    empty: f32,
}

/// One frame in a chunk, bits shuffled.
fn packed(spec: Spec) -> Spec {
    spec.chunk(1).compress(Compression::Bitshuffle)
}

impl Series {
    /// Makes ready for frames like these.
    pub(crate) fn new(
        cx: &Cx,
        product: Product,
        name: String,
        path: PathBuf,
        chain: &Chain,
        frames: &Frames,
    ) -> Result<Series> {
        let (shape, total) = (frames.shape, frames.count as u64);
        let kind = match product.unit() {
            Some(unit) => {
                let map = matches!(product, Product::Map(_)).then_some(chain.map);
                let bins = map.map_or(chain.curve, |[_, radial]| radial);
                let azimuthal = map.map(|[azimuthal, _]| azimuthal);
                let ask = Ask { unit: unit.to_owned(), bins, azimuthal, ..chain.ask.clone() };
                let record = azimuthal.into_iter().chain([bins]).map(|n| n as u64).collect();
                let made = ask.ready(cx, shape, Dtype::F32)?;
                Kind::Integrated { made, absolute: chain.absolute, data: vec![], errors: vec![], record }
            }
            None => {
                let dtype = if product == Product::Raw { frames.dtype.into() } else { H5::F32 };
                let errors = chain.formula.is_some() && product != Product::Raw;
                Kind::Frames(Box::new(Frame {
                    data: Stack::new(&path, dtype, shape, total, packed),
                    errors: errors.then(|| Stack::new(&path, H5::F32, shape, total, packed)),
                    divisor: (0..shape[0] * shape[1]).map(|k| chain.divisor(&product, k)).collect(),
                    empty: chain.dummy.map_or(0.0, |[value, _]| value),
                }))
            }
        };
        Ok(Series { name, path, product, kind })
    }

    /// Takes the next frame.
    pub(crate) fn take(&mut self, cx: &Cx, raw: &Array, steps: &Steps) -> Result<()> {
        match &mut self.kind {
            Kind::Frames(frames) => {
                if self.product == Product::Raw {
                    return frames.data.push(raw.bytes());
                }
                let monitor = if self.product == Product::Norm { steps.monitor } else { 1.0 };
                frames.take(steps, monitor)
            }
            Kind::Integrated { made, absolute, data, errors, .. } => {
                let array = Array::of(raw.shape(), &steps.sub)?;
                let factor = steps.monitor * *absolute;
                let found = curves(cx, made, &array, steps.variance.as_deref(), &[factor])?;
                for one in found {
                    data.extend_from_slice(&one.intensity);
                    if steps.variance.is_some() {
                        errors.extend_from_slice(&one.sem);
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes the file.
    pub(crate) fn save(self, plugin: &str, input: &str, begun: &str, times: &[f64]) -> Result<()> {
        let Series { name, path, product, kind } = self;
        append(&path, &About { title: &name, plugin, input, begun }, |image, entry| {
            let group = format!("{entry}/PyFAI");
            let results = format!("{group}/result_{name}");
            process(image, &group, &name).map_err(h5)?;
            let axes: &[&str] = match product {
                Product::Curve(_) => &["t", "q"],
                Product::Map(_) => &["t", "chi", "q"],
                _ => &["t", "y", "x"],
            };
            image.nexus_data(&results, "data", axes).map_err(h5)?;
            axis(image, &format!("{results}/t"), times).map_err(h5)?;
            match kind {
                Kind::Frames(frames) => {
                    let Frame { data, errors, .. } = *frames;
                    data.close(image, &format!("{results}/data"))?;
                    if let Some(errors) = errors {
                        errors.close(image, &format!("{results}/data_errors"))?;
                    }
                }
                Kind::Integrated { made, data, errors, record, .. } => {
                    let unit = product.unit().and_then(Unit::named);
                    let unit = unit.ok_or_else(|| Error::internal("a product lost its unit"))?;
                    integrated(image, &results, &made, &unit, &record, &data, &errors).map_err(h5)?;
                }
            }
            let what = if matches!(product, Product::Curve(_)) { "spectrum" } else { "image" };
            image.attribute(&format!("{results}/data"), "interpretation", what).map_err(h5)?;
            image.nexus_default(&results).map_err(h5)
        })
    }
}

impl Frame {
    fn take(&mut self, steps: &Steps, monitor: f64) -> Result<()> {
        let each = |k: usize| f64::from(self.divisor[k]) * monitor;
        let finite = |v: f64, empty: f32| if v.is_finite() { v as f32 } else { empty };
        let data = steps.sub.iter().enumerate().map(|(k, v)| finite(f64::from(*v) / each(k), self.empty));
        let data: Vec<u8> = data.flat_map(f32::to_ne_bytes).collect();
        if let (Some(errors), Some(variance)) = (&mut self.errors, &steps.variance) {
            let spread = variance.iter().zip(&steps.sub).enumerate().map(|(k, (v, sub))| {
                let found = f64::from(*v).sqrt() / each(k).abs();
                finite(if sub.is_finite() { found } else { f64::NAN }, self.empty)
            });
            let spread: Vec<u8> = spread.flat_map(f32::to_ne_bytes).collect();
            errors.push(&spread)?;
        }
        self.data.push(&data)
    }
}

fn integrated(
    image: &mut Image,
    results: &str,
    made: &Integrator,
    unit: &Unit,
    record: &[u64],
    data: &[f32],
    errors: &[f32],
) -> isard_h5::Result<()> {
    let each = record.iter().product::<u64>().max(1);
    for (name, values) in [("data", data), ("data_errors", errors)] {
        if values.is_empty() {
            continue;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let slot = image.dataset(&format!("{results}/{name}"), &packed(Spec::new(H5::F32, record)))?;
        image.append(slot, &bytes, values.len() as u64 / each)?;
    }
    let path = format!("{results}/q");
    axis(image, &path, &made.shares.radial_axis(unit))?;
    image.attribute(&path, "unit", unit.symbol())?;
    image.attribute(&path, "long_name", format!("{} ({})", unit.quantity(), unit.symbol()))?;
    if let Some(chi) = made.shares.azimuthal_axis() {
        let path = format!("{results}/chi");
        axis(image, &path, &chi)?;
        image.attribute(&path, "unit", "deg")?;
    }
    Ok(())
}
