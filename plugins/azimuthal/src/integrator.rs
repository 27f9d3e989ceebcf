//! One geometry made ready: frames go in, curves or maps come out.

use isard_core::error::Result;
use isard_core::value::Dtype;

use crate::camera::Camera;
use crate::matrix::ByBin;
use crate::pixel::{Dummy, Pixel};
use crate::prepare::{Corrections, ErrorModel, Fixed, Images};
use crate::robust::{Clipping, between, clipped};
use crate::simd::{Frame, Packed};
use crate::split::{Binning, Shares, Splitting};
use crate::sums::{Result1, Sums, plain};

/// What is integrated and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bins and splitting.
    pub binning: Binning,
    /// Corrections that follow from the geometry.
    pub corrections: Corrections,
    /// The value that marks invalid pixels; else the detector's own.
    pub dummy: Option<Dummy>,
    /// Where errors come from.
    pub model: ErrorModel,
    /// What bins without pixels get.
    pub empty: f32,
    /// What is done about pixels that stand out.
    pub robust: Robust,
    /// Each pixel is divided by its normalisation before the sum, and all weigh alike.
    pub unweighted: bool,
    /// The counts of the dark add to the variance of counts.
    pub dark_variance: bool,
    /// The detector's own marker of invalid pixels counts where `dummy` is none.
    pub own_dummy: bool,
}

/// What is done about pixels that stand out from their bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Robust {
    /// Nothing: they count like all others.
    #[default]
    No,
    /// Those far from the mean are dropped.
    Clip(Clipping),
    /// Those between two quantiles alone count.
    Between([f64; 2]),
}

/// One geometry made ready for frames of one dtype; shared by threads.
pub struct Integrator {
    /// The matrix and its axes.
    pub shares: Shares,
    /// What is known of each pixel.
    pub fixed: Fixed,
    settings: Settings,
    packed: Option<Packed>,
    sorted: Option<ByBin>,
}

impl Integrator {
    /// Makes everything that does not depend on frames.
    pub fn new(camera: &Camera, settings: &Settings, images: &Images, dtype: Dtype) -> Result<Integrator> {
        // Polarisation asks for azimuths before there is a table to find them from.
        let table_azimuths = camera.table_azimuths && settings.corrections.polarisation.is_none();
        let camera = &Camera { table_azimuths, ..camera.clone() };
        let shares = Shares::new(camera, &settings.binning, images.mask)?;
        let own = camera
            .known
            .filter(|_| settings.own_dummy)
            .and_then(|k| k.dummy)
            .map(|dummy| Dummy::of_detector(dummy, dtype));
        let dummy = settings.dummy.or(own);
        let mut fixed = Fixed::new(camera, &settings.corrections, images, dummy)?;
        let Binning { histogram, splitting, azimuthal, .. } = settings.binning;
        if histogram && (splitting != Splitting::No || azimuthal.is_some()) {
            // Histograms of the reference look for the marker in the flat where there is none, which is 1 then, and for the
            // value of empty bins where there is no marker; that of curves without splitting alone does not.
            let marker = dummy.unwrap_or(Dummy { value: settings.empty, delta: 0.0 });
            let flat = |pixel: usize| images.flat.map_or(1.0, |flat| flat[pixel]);
            let marked = |(pixel, _): &(usize, &mut f32)| marker.marks(flat(*pixel));
            fixed.norm.iter_mut().enumerate().filter(marked).for_each(|(_, norm)| *norm = 0.0);
        }
        let Settings { unweighted, dark_variance, .. } = *settings;
        let fixed = Fixed { unweighted, dark_variance, ..fixed };
        let ordered = matches!(settings.model, ErrorModel::Azimuthal | ErrorModel::Scatter);
        let plain = settings.robust == Robust::No;
        let packed = if ordered || !plain || unweighted || dark_variance {
            None
        } else {
            Packed::new(&shares.matrix, &fixed)
        };
        let sorted = (!plain).then(|| shares.matrix.by_bin());
        Ok(Integrator { shares, fixed, settings: settings.clone(), packed, sorted })
    }

    /// The mask a camera's detector has by itself; all zeros where it is not known.
    pub fn own_mask(camera: &Camera) -> Vec<u8> {
        camera.known.map_or_else(|| vec![0; camera.pixels()], |known| known.mask())
    }

    /// The curve or map of a frame; `factor` is what all its pixels are divided by.
    pub fn run<T: Pixel>(&self, frame: &[T], variance: Option<&[f32]>, factor: f64) -> Result1 {
        let mut all = self.run_all(&[Frame { pixels: frame, variance, factor }]);
        all.pop().expect("one frame gives one result")
    }

    /// The curves or maps of frames, together: the shares are read once for several of them.
    pub fn run_all<T: Pixel>(&self, frames: &[Frame<T>]) -> Vec<Result1> {
        let scaled = self.sums(frames).into_iter().zip(frames).map(|(mut sums, frame)| {
            // In single precision, as everything that a pixel is divided by.
            sums.scale(f64::from(frame.factor as f32), self.settings.unweighted);
            sums.finish(self.settings.empty)
        });
        scaled.collect()
    }

    /// The sums of frames that are not divided yet.
    pub fn sums<T: Pixel>(&self, frames: &[Frame<T>]) -> Vec<Sums> {
        T::sums(self, frames)
    }

    pub(crate) fn sums_of<T: Pixel>(&self, frames: &[Frame<T>]) -> Vec<Sums> {
        let model = self.settings.model;
        let wanted = model == ErrorModel::Variance;
        let own: Vec<Frame<T>> =
            frames.iter().map(|f| Frame { variance: f.variance.filter(|_| wanted), ..*f }).collect();
        match &self.packed {
            Some(packed) => packed.sums(&self.fixed, &own, model),
            None => own.iter().map(|frame| self.one(frame)).collect(),
        }
    }

    /// The sums of a frame, in the plain way or without what stands out.
    fn one<T: Pixel>(&self, frame: &Frame<T>) -> Sums {
        let (model, Frame { pixels, variance, .. }) = (self.settings.model, *frame);
        match (&self.settings.robust, &self.sorted) {
            (Robust::Clip(clipping), Some(sorted)) => {
                clipped(sorted, &self.fixed, pixels, variance, model, clipping)
            }
            (Robust::Between(range), Some(sorted)) => {
                between(sorted, &self.fixed, frame, model == ErrorModel::Azimuthal, *range)
            }
            _ => plain(&self.shares.matrix, &self.fixed, pixels, variance, model),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let packed = self.packed.as_ref().map_or(0, Packed::bytes);
        let sorted = self.sorted.as_ref().map_or(0, ByBin::bytes);
        self.shares.matrix.bytes() + 8 * self.fixed.norm.len() + packed + sorted
    }
}
