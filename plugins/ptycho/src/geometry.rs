//! Where pixels lie: wavelength, resolution, coordinates.

use isard_core::{Error, Result};

/// Planck's constant times the speed of light, in keV m.
const HC: f64 = 1.239_841_93e-9;

/// How waves get from the sample to the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[derive(Default)]
pub enum Propagation {
    /// The detector is far: a Fourier transform.
    #[default]
    Farfield,
    /// The detector is near: free-space propagation on equal pixels.
    Nearfield,
}

/// Where the origin of a grid lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Centre {
    /// On pixel `n // 2`.
    Fftshift,
    /// Between the two middle pixels of an even grid.
    Geometric,
    /// On the first pixel.
    Fft,
    /// On this pixel.
    At(f64),
}

impl Centre {
    /// The origin of an axis of `n` pixels, in pixels.
    pub fn pixel(self, n: usize) -> f64 {
        match self {
            Centre::Fftshift => (n / 2) as f64,
            Centre::Geometric => n as f64 / 2.0 - 0.5,
            Centre::Fft => 0.0,
            Centre::At(pixel) => pixel,
        }
    }
}

/// Coordinates of an axis in pixels from its origin, wrapped into `[-n/2, n/2)`.
pub fn grid(n: usize, centre: Centre) -> Vec<f64> {
    let (origin, length) = (centre.pixel(n), n as f64);
    (0..n).map(|i| (i as f64 - origin + length / 2.0).rem_euclid(length) - length / 2.0).collect()
}

/// The experiment as a reconstruction sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Photon energy, keV.
    pub energy: f64,
    /// From the sample to the detector, m.
    pub distance: f64,
    /// The edge of a detector pixel, m.
    pub psize: f64,
    /// Rows and columns of a frame.
    pub n: usize,
    /// How waves get to the detector.
    pub propagation: Propagation,
    /// The optical axis on the detector, row and column.
    pub centre: [Centre; 2],
    /// The edge of a pixel at the sample, m, where it is given beside the others.
    pub pixel: Option<f64>,
}

impl Geometry {
    /// Fails unless all numbers make sense.
    pub fn check(&self) -> Result<()> {
        for (what, value) in
            [("energy", self.energy), ("distance", self.distance), ("pixel size", self.psize)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::data(format!("the {what} is {value}, wanted more than 0")));
            }
        }
        if self.n < 8 {
            return Err(Error::data(format!("frames of {0} x {0} pixels, wanted at least 8 x 8", self.n)));
        }
        let Some(pixel) = self.pixel else { return Ok(()) };
        if self.propagation == Propagation::Nearfield {
            return Err(Error::recipe("in the near field the pixels at the sample are the detector's")
                .help("leave `resolution` out"));
        }
        let own = Geometry { pixel: None, ..self.clone() }.resolution();
        if !(own / 4.0..=own * 4.0).contains(&pixel) {
            return Err(Error::recipe(format!("pixels at the sample are to be {pixel:e} m, wanted a quarter to four times {own:e} m"))
                .help("energy, distance and the pixels of frames come to the latter; leave `resolution` out to have it"));
        }
        Ok(())
    }

    /// The wavelength, m.
    pub fn wavelength(&self) -> f64 {
        HC / self.energy
    }

    /// The edge of a pixel at the sample, m.
    pub fn resolution(&self) -> f64 {
        match self.propagation {
            Propagation::Farfield => {
                self.pixel.unwrap_or_else(|| self.reach() / (self.n as f64 * self.psize))
            }
            Propagation::Nearfield => self.psize,
        }
    }

    /// Wavelength times distance, m².
    pub fn reach(&self) -> f64 {
        self.wavelength() * self.distance
    }

    /// How many detector pixels a Fourier transform onto the pixels at the sample has: a whole number only by chance.
    pub fn span(&self) -> f64 {
        match (self.pixel, self.propagation) {
            (Some(pixel), Propagation::Farfield) => self.reach() / (pixel * self.psize),
            _ => self.n as f64,
        }
    }
}
