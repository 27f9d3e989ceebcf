//! What a recipe says about an integration, and what it means.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::camera::{Camera, Places};
use crate::integrator::{Robust, Settings};
use crate::pixel::Dummy;
use crate::prepare::{Corrections, ErrorModel};
use crate::robust::Clipping;
use crate::split::{Binning, Splitting};
use crate::unit::{self, Unit};

/// Where the errors of intensities come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Errors {
    /// Nowhere: none are given.
    #[default]
    None,
    /// The counts, at least 1 a pixel.
    Poisson,
    /// The input `variance`.
    Variance,
    /// The scatter in each bin, updated pixel by pixel as pyFAI does; depends on their order in bins of few pixels.
    Azimuthal,
    /// The scatter in each bin about its mean.
    Scatter,
    /// The scatter decides what `clip` drops, the counts give the errors.
    Hybrid,
}

/// How pixels far from the mean of their bin are dropped.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Clip {
    /// Standard deviations from the mean; 0 leaves it to Chauvenet's criterion.
    #[schemars(range(min = 0))]
    pub(crate) threshold: f64,
    /// Rounds at most.
    pub(crate) rounds: usize,
}

impl Default for Clip {
    fn default() -> Self {
        Clip { threshold: 5.0, rounds: 5 }
    }
}

/// The parameters of an integration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(crate) struct Request {
    /// The geometry file (PONI), unless the input `poni` gives it.
    #[schemars(extend("x-path" = "input", "x-endings" = [".poni"]))]
    pub(crate) geometry: Option<String>,
    /// The text of a geometry file, in place of `geometry`.
    pub(crate) poni: Option<String>,
    /// The radial unit, such as `q_nm^-1`, `q_A^-1`, `2th_deg`, `r_mm`.
    pub(crate) unit: String,
    /// Radial bins.
    #[schemars(range(min = 1))]
    pub(crate) bins: usize,
    /// Azimuthal bins of a map.
    #[schemars(range(min = 1))]
    pub(crate) azimuthal_bins: usize,
    /// How pixels are shared among bins: `no`, `bbox` or `full`.
    pub(crate) splitting: Splitting,
    /// Radial limits in `unit`; without them those of the pixels that are not masked.
    pub(crate) radial_range: Option<[f64; 2]>,
    /// Azimuthal limits; a second one not above the first is one turn further.
    #[schemars(extend("x-unit" = "degree"))]
    pub(crate) azimuth_range: Option<[f64; 2]>,
    /// Azimuths run over 0 to 360 degrees instead of -180 to 180.
    pub(crate) cut_at_zero: bool,
    /// Where errors come from.
    pub(crate) errors: Errors,
    /// Drops pixels that stand out: `clip = { threshold = 5, rounds = 5 }`.
    pub(crate) clip: Option<Clip>,
    /// Takes only pixels between two quantiles of their bin.
    ///
    /// `[0.5, 0.5]` is the median, `[0.1, 0.9]` a trimmed mean.
    pub(crate) quantiles: Option<[f64; 2]>,
    /// Whether pixels are divided by the solid angle they see.
    pub(crate) solid_angle: bool,
    /// The beam's polarisation, to correct for: 1 horizontal, -1 vertical.
    #[schemars(range(min = -1, max = 1))]
    pub(crate) polarisation: Option<f64>,
    /// How far the axis of polarisation is turned.
    #[schemars(extend("x-unit" = "degree", "x-level" = "expert"))]
    pub(crate) polarisation_turn: f64,
    /// Transmission of a phosphor screen at normal incidence, to correct for.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) screen: Option<f64>,
    /// The value of invalid pixels; without it the detector's own.
    pub(crate) dummy: Option<f64>,
    /// Whether a detector's own marker counts where `dummy` is not given.
    ///
    /// Without it as in pyFAI: yes, but not with `clip` and `quantiles`, which drop what stands out themselves.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) own_dummy: Option<bool>,
    /// How far from `dummy` a pixel is still invalid.
    #[schemars(range(min = 0))]
    pub(crate) delta_dummy: f64,
    /// What all pixels are divided by, beside the input `monitor`.
    pub(crate) normalisation: f64,
    /// What bins without a valid pixel get.
    pub(crate) empty: f64,
    /// Whether pixels weigh by their normalisation.
    ///
    /// Otherwise each is divided by its own first, and all weigh alike.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) weighted: bool,
    /// Whether the dark adds to the variance of counts.
    ///
    /// Without it as in pyFAI: it does in maps without splitting or by bounding boxes, and does not in maps by outlines,
    /// in curves and with `histogram`.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) dark_variance: Option<bool>,
    /// Limits and the lower border of a range as pyFAI's histograms have them.
    ///
    /// Limits are taken over masked pixels too, of curves without splitting and of maps by outlines; bounding boxes
    /// wholly below the range of a curve count nowhere, not in its first bin.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) histogram: bool,
    /// How places of pixels are rounded: `usual` or `single`.
    ///
    /// With `single` all are in single precision. pyFAI takes the second once it has used a table of corners, so its answers depend on what was asked before.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) places: Places,
    /// Azimuths of orientations 1, 2 and 4 as pyFAI gave them before mid-2026.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) mirrored_twice: bool,
    /// Maps come with the sums they are made of.
    #[schemars(extend("x-level" = "expert"))]
    pub(crate) sums: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            geometry: None,
            poni: None,
            unit: "q_nm^-1".into(),
            bins: 1000,
            azimuthal_bins: 360,
            splitting: Splitting::default(),
            radial_range: None,
            azimuth_range: None,
            cut_at_zero: false,
            errors: Errors::None,
            clip: None,
            quantiles: None,
            solid_angle: true,
            polarisation: None,
            polarisation_turn: 0.0,
            screen: None,
            dummy: None,
            own_dummy: None,
            delta_dummy: 0.0,
            normalisation: 1.0,
            empty: 0.0,
            weighted: true,
            dark_variance: None,
            histogram: false,
            places: Places::Usual,
            mirrored_twice: false,
            sums: false,
        }
    }
}

impl Request {
    /// Faults that types cannot say.
    pub(crate) fn check(&self, faults: &mut Faults) {
        if Unit::named(&self.unit).is_none() {
            let help = format!("known: {}", unit::names());
            faults.add_with_help("unit", format!("`{}` is not known", self.unit), help);
        }
        for (name, value) in [("bins", self.bins), ("azimuthal_bins", self.azimuthal_bins)] {
            if value == 0 {
                faults.add(name, "is 0, wanted at least 1");
            }
        }
        if let Some([low, high]) = self.radial_range
            && !(low.is_finite() && high.is_finite() && low < high)
        {
            faults.add("radial_range", format!("runs from {low} to {high}, wanted the lower limit first"));
        }
        if self.azimuth_range.is_some_and(|r| !r.iter().all(|v| v.is_finite())) {
            faults.add("azimuth_range", "is not finite, wanted two angles in degrees");
        }
        if let Some([low, high]) = self.quantiles
            && !(0.0 <= low && low <= high && high <= 1.0)
        {
            faults.add("quantiles", format!("are {low} and {high}, wanted 0 <= first <= second <= 1"));
        }
        if self.clip.is_some() && self.quantiles.is_some() {
            faults.add_with_help("quantiles", "are given beside `clip`, wanted one of them", "leave one out");
        }
        if let Some(clip) = &self.clip {
            if clip.threshold < 0.0 || clip.threshold.is_nan() {
                faults.add("clip", format!("has a threshold of {}, wanted 0 or more", clip.threshold));
            }
            if self.errors == Errors::None {
                let help = "take `errors = \"azimuthal\"`, or `\"poisson\"` for counts";
                faults.add_with_help("errors", "are none, and `clip` needs to know how far is far", help);
            }
        } else if self.errors == Errors::Hybrid {
            faults.add("errors", "are hybrid, which means something with `clip` alone");
        }
        if self.errors == Errors::Scatter && (self.clip.is_some() || self.quantiles.is_some()) {
            faults.add(
                "errors",
                "are from the scatter about the mean, wanted `azimuthal` with `clip` or `quantiles`",
            );
        }
        self.check_beam(faults);
        if self.delta_dummy < 0.0 || self.delta_dummy.is_nan() {
            faults.add("delta_dummy", format!("is {}, wanted 0 or more", self.delta_dummy));
        }
        if self.dummy.is_none() && self.delta_dummy != 0.0 {
            faults.add("delta_dummy", "is given without `dummy`, wanted both");
        }
    }

    /// Faults of what a pixel is divided by.
    pub(crate) fn check_beam(&self, faults: &mut Faults) {
        if !(self.normalisation.is_finite() && self.normalisation != 0.0) {
            faults.add("normalisation", format!("is {}, wanted a number other than 0", self.normalisation));
        }
        if self.screen.is_some_and(|t| !(t > 0.0 && t < 1.0)) {
            faults.add("screen", "is no transmission, wanted more than 0 and less than 1");
        }
    }

    /// Faults of what means something to curves alone.
    pub(crate) fn check_map(&self, faults: &mut Faults) {
        if self.clip.is_some() || self.quantiles.is_some() {
            faults.add_with_help("clip", "is given for a map", "use `azimuthal.integrate1d`");
        }
    }

    /// The radial unit.
    pub(crate) fn unit(&self) -> Result<Unit> {
        Unit::named(&self.unit)
            .ok_or_else(|| Error::recipe(format!("`unit` is `{}`, which is not known", self.unit)))
    }

    /// Whether errors are given.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors != Errors::None
    }

    /// What a camera is told.
    pub(crate) fn place(&self, mut camera: Camera) -> Camera {
        camera.cut_at_zero = self.cut_at_zero;
        camera.places = self.places;
        camera.mirrored_twice = self.mirrored_twice;
        camera
    }

    /// What it means, for a curve or for a map.
    pub(crate) fn settings(&self, map: bool) -> Result<Settings> {
        let robust = match (&self.clip, self.quantiles) {
            (Some(clip), _) => Robust::Clip(Clipping {
                threshold: clip.threshold,
                rounds: clip.rounds,
                hybrid: self.errors == Errors::Hybrid,
            }),
            (None, Some(range)) => Robust::Between(range),
            (None, None) => Robust::No,
        };
        Ok(Settings {
            binning: Binning {
                unit: self.unit()?,
                radial: self.bins,
                azimuthal: map.then_some(self.azimuthal_bins),
                splitting: self.splitting,
                radial_range: self.radial_range,
                azimuth_range: self.azimuth_range,
                histogram: self.histogram,
            },
            corrections: Corrections {
                solid_angle: self.solid_angle,
                polarisation: self.polarisation.map(|f| [f, self.polarisation_turn.to_radians()]),
                screen: self.screen,
            },
            dummy: self.dummy.map(|d| Dummy { value: d as f32, delta: self.delta_dummy as f32 }),
            model: match self.errors {
                Errors::None => ErrorModel::None,
                Errors::Poisson | Errors::Hybrid => ErrorModel::Poisson,
                Errors::Variance => ErrorModel::Variance,
                Errors::Azimuthal => ErrorModel::Azimuthal,
                Errors::Scatter => ErrorModel::Scatter,
            },
            empty: self.empty as f32,
            robust,
            unweighted: !self.weighted,
            dark_variance: self
                .dark_variance
                .unwrap_or(map && self.splitting != Splitting::Full && !self.histogram),
            own_dummy: self.own_dummy.unwrap_or(self.clip.is_none() && self.quantiles.is_none()),
        })
    }
}
