//! What is done to each pixel before it is summed: dark, normalisation, variance, validity.

use isard_core::error::{Error, Result};

use crate::camera::Camera;
use crate::pixel::Dummy;

/// What variance pixels are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorModel {
    /// None: no errors are reported.
    #[default]
    None,
    /// An image of variances.
    Variance,
    /// The counts themselves, at least 1.
    Poisson,
    /// The scatter within each bin, updated pixel by pixel.
    Azimuthal,
    /// The scatter within each bin about its final mean.
    Scatter,
}

/// Corrections that follow from the geometry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrections {
    /// Whether pixels are divided by the solid angle they see.
    pub solid_angle: bool,
    /// Factor of the polarisation and the turn of its axis in radians.
    pub polarisation: Option<[f64; 2]>,
    /// Transmission of the screen at normal incidence.
    pub screen: Option<f64>,
}

impl Default for Corrections {
    fn default() -> Self {
        Corrections { solid_angle: true, polarisation: None, screen: None }
    }
}

/// What is known of each pixel before any frame.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    /// What pixels are divided by; 0 where a pixel counts nowhere.
    pub norm: Vec<f32>,
    /// What is taken off.
    pub dark: Option<Vec<f32>>,
    /// The value that marks pixels of frames as invalid.
    pub dummy: Option<Dummy>,
    /// Each pixel is divided by its normalisation before the sum, and all weigh alike.
    pub unweighted: bool,
    /// The counts of the dark add to the variance of counts.
    pub dark_variance: bool,
}

/// Images that belong to the detector, in single precision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Images<'a> {
    /// Where it is not 0 a pixel counts nowhere.
    pub mask: &'a [u8],
    /// What is taken off.
    pub dark: Option<&'a [f32]>,
    /// What pixels are divided by.
    pub flat: Option<&'a [f32]>,
}

impl Fixed {
    /// Puts together what the geometry and the images say.
    pub fn new(
        camera: &Camera,
        corrections: &Corrections,
        images: &Images,
        dummy: Option<Dummy>,
    ) -> Result<Fixed> {
        let n = camera.pixels();
        let named = [("dark", images.dark), ("flat", images.flat)];
        let named = named.map(|(name, image)| (name, image.map(<[f32]>::len)));
        for (name, found) in named.into_iter().chain([("mask", Some(images.mask.len()))]) {
            if let Some(found) = found.filter(|found| *found != n) {
                let shape = camera.grid.shape;
                return Err(Error::data(format!("`{name}` has {found} pixels, the detector has {shape:?}")));
            }
        }
        let mut norm = match images.flat {
            Some(flat) => flat.to_vec(),
            None => vec![1.0; n],
        };
        if let Some([factor, offset]) = corrections.polarisation {
            camera.times_polarisation(factor, offset, &mut norm);
        }
        if corrections.solid_angle {
            camera.times_solid_angle(&mut norm);
        }
        if let Some(transmission) = corrections.screen {
            norm.iter_mut().zip(camera.screen(transmission)).for_each(|(n, s)| *n *= s as f32);
        }
        let bad = |value: f32| !value.is_finite() || dummy.is_some_and(|d| d.marks(value));
        for (pixel, n) in norm.iter_mut().enumerate() {
            let of = |image: Option<&[f32]>| image.is_some_and(|i| bad(i[pixel]));
            // A dark may hold the marker and count all the same, as in the reference; a flat may not.
            let dark = images.dark.is_some_and(|d| !d[pixel].is_finite());
            if images.mask[pixel] != 0 || !n.is_finite() || dark || of(images.flat) {
                *n = 0.0;
            }
        }
        Ok(Fixed { norm, dark: images.dark.map(<[f32]>::to_vec), dummy, ..Fixed::default() })
    }

    /// Whether a pixel may count and its value is valid.
    #[inline(always)]
    pub(crate) fn valid(&self, pixel: usize, value: f32) -> bool {
        self.norm[pixel] != 0.0 && value.is_finite() && !self.dummy.is_some_and(|d| d.marks(value))
    }

    /// The signal of a pixel.
    #[inline(always)]
    pub(crate) fn signal(&self, pixel: usize, value: f32) -> f32 {
        match &self.dark {
            Some(dark) => value - dark[pixel],
            None => value,
        }
    }

    /// The variance of a pixel's counts.
    #[inline(always)]
    pub(crate) fn counted(&self, pixel: usize, value: f32) -> f32 {
        match &self.dark {
            Some(dark) if self.dark_variance => value.max(1.0) + dark[pixel].max(0.0),
            _ => value.max(1.0),
        }
    }

    /// Signal, normalisation and variance of a pixel as they are summed.
    #[inline(always)]
    pub(crate) fn weigh(&self, pixel: usize, value: f32, variance: f32) -> [f64; 3] {
        let (signal, norm) = (self.signal(pixel, value), self.norm[pixel]);
        if self.unweighted {
            return [signal / norm, 1.0, variance / (norm * norm)].map(f64::from);
        }
        [signal, norm, variance].map(f64::from)
    }
}
