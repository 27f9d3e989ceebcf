//! From what a job asks to an integration that is ready, and from frames to curves.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use isard_azimuthal::{
    Binning, Camera, Clipping, Corrections, Dummy, ErrorModel, Frame, Images, Integrator, Pixel, Result1,
    Robust, Settings, Splitting, Unit,
};
use isard_core::dispatch;
use isard_core::prelude::*;
use isard_geometry::Poni;

/// Frames that are integrated together by one thread.
const TOGETHER: usize = 4;

/// What is to be integrated, and how.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub poni: Poni,
    pub unit: String,
    pub bins: usize,
    /// Azimuthal bins of a map.
    pub azimuthal: Option<usize>,
    pub splitting: Splitting,
    /// As histograms have it.
    pub histogram: bool,
    pub solid_angle: bool,
    pub polarisation: Option<f64>,
    pub dummy: Option<Dummy>,
    pub model: ErrorModel,
    pub robust: Robust,
    pub radial_range: Option<[f64; 2]>,
    pub mask: Option<Vec<u8>>,
    /// What pixels are divided by.
    pub flat: Option<Vec<f32>>,
    /// What bins without pixels get.
    pub empty: f32,
}

impl Ask {
    /// An integration with what the older programs do unless told otherwise.
    pub(crate) fn new(poni: Poni, unit: &str, bins: usize) -> Ask {
        Ask {
            poni,
            unit: unit.to_owned(),
            bins,
            azimuthal: None,
            splitting: Splitting::Bbox,
            histogram: false,
            solid_angle: true,
            polarisation: None,
            dummy: None,
            model: ErrorModel::None,
            robust: Robust::No,
            radial_range: None,
            mask: None,
            flat: None,
            empty: 0.0,
        }
    }

    /// Splits pixels as a named method does.
    pub(crate) fn method(mut self, name: &str) -> Result<Ask> {
        (self.splitting, self.histogram) = splitting(name)?;
        Ok(self)
    }

    /// Drops pixels further from the mean than a threshold, in rounds.
    pub(crate) fn clip(&mut self, threshold: f64, rounds: usize) {
        self.model = ErrorModel::Azimuthal;
        self.robust = Robust::Clip(Clipping { threshold, rounds, hybrid: false });
    }

    /// The unit, which must be known.
    pub(crate) fn unit(&self) -> Result<Unit> {
        Unit::named(&self.unit).ok_or_else(|| {
            let known: Vec<&str> = isard_azimuthal::UNITS.iter().map(|u| u.name).collect();
            Error::recipe(format!("`unit` is `{}`, which is not known", self.unit))
                .help(format!("known: {}", known.join(", ")))
        })
    }

    /// The detector in its place.
    pub(crate) fn camera(&self, shape: [usize; 2]) -> Result<Camera> {
        Camera::new(&self.poni, Some(shape))
    }

    /// The integration for frames of a kind: made once for all jobs that ask the same.
    pub(crate) fn ready(&self, cx: &Cx, shape: [usize; 2], dtype: Dtype) -> Result<Arc<Integrator>> {
        // Masks are long: their digest stands for them in the key.
        let short = Ask { mask: None, flat: None, ..self.clone() };
        let mut key = format!("beamline {short:?} {shape:?} {dtype}");
        if let Some(mask) = &self.mask {
            let _ = write!(key, " {:016x}", digest(mask.iter().copied()));
        }
        if let Some(flat) = &self.flat {
            let _ = write!(key, " {:016x}", digest(flat.iter().flat_map(|v| v.to_ne_bytes())));
        }
        cx.prepared(&key, || {
            let made = self.make(shape, dtype)?;
            let bytes = made.bytes();
            Ok((made, bytes))
        })
    }

    fn make(&self, shape: [usize; 2], dtype: Dtype) -> Result<Integrator> {
        let camera = self.camera(shape)?;
        let settings = Settings {
            binning: Binning {
                unit: self.unit()?,
                radial: self.bins,
                azimuthal: self.azimuthal,
                splitting: self.splitting,
                radial_range: self.radial_range,
                azimuth_range: None,
                histogram: self.histogram,
            },
            corrections: Corrections {
                solid_angle: self.solid_angle,
                polarisation: self.polarisation.map(|factor| [factor, 0.0]),
                screen: None,
            },
            dummy: self.dummy,
            model: self.model,
            empty: self.empty,
            robust: self.robust,
            unweighted: false,
            dark_variance: false,
            own_dummy: true,
        };
        let own;
        let mask = match &self.mask {
            Some(mask) => mask,
            None => {
                own = Integrator::own_mask(&camera);
                &own
            }
        };
        if mask.len() != camera.pixels() {
            let (found, wanted) = (mask.len(), camera.pixels());
            return Err(Error::data(format!("the mask has {found} pixels, the frames have {wanted}")));
        }
        Integrator::new(&camera, &settings, &Images { mask, dark: None, flat: self.flat.as_deref() }, dtype)
    }
}

/// The curves or maps of frames `[n y x]`, each divided by its own factor, on all threads of the job.
pub(crate) fn curves(
    cx: &Cx,
    integrator: &Integrator,
    frames: &Array,
    variance: Option<&[f32]>,
    factors: &[f64],
) -> Result<Vec<Result1>> {
    if let Some(bad) = factors.iter().position(|f| !f.is_finite() || *f == 0.0) {
        return Err(Error::data(format!("the monitor of frame {bad} is {}", factors[bad]))
            .help("frames are divided by it: leave out those without beam"));
    }
    dispatch!(frames.dtype(), T => some::<T>(cx, integrator, frames.as_slice()?, variance, factors), complex => {
        Err(Error::data("found complex pixels, wanted real ones"))
    })
}

fn some<T: Pixel>(
    cx: &Cx,
    integrator: &Integrator,
    pixels: &[T],
    variance: Option<&[f32]>,
    factors: &[f64],
) -> Result<Vec<Result1>> {
    let n = factors.len();
    let each = pixels.len() / n.max(1);
    let frames: Vec<Frame<T>> = (0..n)
        .map(|k| {
            let at = k * each..(k + 1) * each;
            Frame { pixels: &pixels[at.clone()], variance: variance.map(|v| &v[at]), factor: factors[k] }
        })
        .collect();
    let slots: Vec<Mutex<Vec<Result1>>> = (0..n.div_ceil(TOGETHER)).map(|_| Mutex::default()).collect();
    cx.par(slots.len(), |k| {
        let at = k * TOGETHER..((k + 1) * TOGETHER).min(n);
        let made = integrator.run_all(&frames[at]);
        *slots[k].lock().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(())
    })?;
    let all = slots.into_iter().flat_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok(all.collect())
}

/// A geometry file, with another wavelength (metres) if one is given.
pub(crate) fn geometry(path: &str, wavelength: Option<f64>) -> Result<Poni> {
    let at = std::path::Path::new(path);
    let text = std::fs::read_to_string(at).map_err(|e| Error::io("cannot read", at, &e))?;
    let mut poni =
        Poni::parse(&text).map_err(|e| Error::data(format!("the geometry: {e}")).at(path.to_owned()))?;
    if let Some(wavelength) = wavelength {
        if !(wavelength > 0.0 && wavelength.is_finite()) {
            return Err(Error::recipe(format!("`wavelength` is {wavelength} m, wanted more than 0")));
        }
        poni.wavelength = Some(wavelength);
    }
    Ok(poni)
}

/// The pixels of a mask that count nowhere: those that are not 0.
pub(crate) fn mask(image: &Array) -> Result<Vec<u8>> {
    dispatch!(image.dtype(), T => {
        let zero = T::default();
        Ok(image.as_slice::<T>()?.iter().map(|m| u8::from(*m != zero)).collect())
    }, complex => Err(Error::data("found complex pixels in a mask")))
}

/// The value of invalid pixels with its tolerance.
pub(crate) fn dummy(value: Option<f64>, delta: Option<f64>) -> Option<Dummy> {
    value.map(|value| Dummy { value: value as f32, delta: delta.unwrap_or(0.0) as f32 })
}

/// How a method splits pixels, and whether it is a histogram; the device does not matter.
fn splitting(name: &str) -> Result<(Splitting, bool)> {
    Ok(match name.to_lowercase().as_str() {
        "numpy" | "cython" => (Splitting::No, true),
        "splitbbox" | "bbox" => (Splitting::Bbox, false),
        "splitpixel" | "full" => (Splitting::Full, false),
        word if word.contains("nosplit") => (Splitting::No, false),
        word if word.contains("full") => (Splitting::Full, false),
        word if ["csr", "lut", "csc"].iter().any(|w| word.contains(w)) => (Splitting::Bbox, false),
        _ => {
            return Err(Error::recipe(format!("`method` is `{name}`, which is not known"))
                .help("wanted a name such as full_ocl_csr, csr, nosplit_csr, splitbbox"));
        }
    })
}

/// FNV-1a: it only has to tell the masks of one process apart.
fn digest(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The list of old names in the description of integration methods.
    #[test]
    fn methods_split_as_their_names_say() {
        for (name, wanted) in [
            ("full_ocl_csr", (Splitting::Full, false)),
            ("ocl_nosplit_csr_gpu", (Splitting::No, false)),
            ("csr", (Splitting::Bbox, false)),
            ("numpy", (Splitting::No, true)),
            ("splitpixel", (Splitting::Full, false)),
        ] {
            assert_eq!(splitting(name).unwrap(), wanted, "{name}");
        }
        assert!(splitting("magic").is_err());
    }
}
