//! The probe that a reconstruction begins with.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::fft::Fft2;
use crate::geometry::{Centre, Geometry, Propagation, grid};
use crate::num::{Complex, cis};
use crate::propagate::{Propagator, near};

type C = Complex<f64>;

/// The shape of an aperture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A disc.
    #[default]
    Circ,
    /// A square.
    Rect,
    /// All of the frame.
    None,
}

/// What lights the aperture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Light {
    /// An even wave.
    #[default]
    Even,
    /// The wave that has the mean of the first frames on the detector.
    Stxm,
}

/// The probe that a reconstruction begins with: an aperture, evenly lit.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Illumination {
    /// What lights the aperture: an even wave, or one made of the first frames.
    pub model: Light,
    /// The shape of the aperture.
    pub form: Form,
    /// Its diameter; else a third of the frame.
    #[schemars(extend("x-unit" = "m"))]
    pub size: Option<f64>,
    /// The width of its soft edge.
    #[schemars(range(min = 0), extend("x-unit" = "pixel"))]
    pub edge: f64,
    /// The part of its diameter that a stop in the middle covers.
    #[schemars(range(min = 0, max = 1))]
    pub central_stop: Option<f64>,
    /// Where the middle of the aperture lies, row and column.
    #[schemars(extend("x-unit" = "m"))]
    pub offset: [f64; 2],
    /// How far the aperture is turned around its middle.
    #[schemars(extend("x-unit" = "radian"))]
    pub rotate: f64,
    /// The focal length of a lens: the aperture is that of the lens, and the wave travels to its focus.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    pub focussed: Option<f64>,
    /// The diameter of the focus, which then says how large the aperture is.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    pub spot_size: Option<f64>,
    /// How far the wave travels behind the aperture, or behind the focus.
    #[schemars(extend("x-unit" = "m"))]
    pub parallel: f64,
    /// Photons of the whole beam; else those of the brightest frame.
    pub photons: Option<f64>,
    /// Modes of the probe.
    #[schemars(range(min = 1, max = 32))]
    pub modes: usize,
    /// The power of each further mode in that of the first.
    #[schemars(range(min = 0))]
    pub power: f64,
    /// The phase noise of further modes.
    #[schemars(range(min = 0), extend("x-unit" = "radian"))]
    pub noise: f64,
}

impl Default for Illumination {
    fn default() -> Self {
        Illumination {
            model: Light::Even,
            form: Form::Circ,
            size: None,
            edge: 2.0,
            central_stop: None,
            offset: [0.0; 2],
            rotate: 0.0,
            focussed: None,
            spot_size: None,
            parallel: 0.0,
            photons: None,
            modes: 1,
            power: 0.1,
            noise: 0.5,
        }
    }
}

impl Illumination {
    /// The modes, rows by rows, with the power of `brightest` unless told otherwise.
    pub fn probe(&self, geometry: &Geometry, brightest: f64, rng: &mut ChaCha8Rng) -> Vec<Vec<C>> {
        self.lit(geometry, None, brightest, rng)
    }

    /// The same, with a wave that lights the aperture instead of an even one.
    pub fn lit(
        &self,
        geometry: &Geometry,
        by: Option<&[C]>,
        brightest: f64,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Vec<C>> {
        let n = geometry.n;
        let mut wave = match self.focussed {
            Some(focal) => self.focus(geometry, focal),
            None => self.aperture(n, geometry.resolution(), self.size),
        };
        if let Some(by) = by {
            wave.iter_mut().zip(by).for_each(|(z, by)| *z *= by);
        }
        if self.parallel != 0.0 {
            wave = travelled(&wave, geometry, self.parallel);
        }
        let modes = self.modes.max(1);
        let powers: Vec<f64> = (0..modes).map(|k| if k == 0 { 1.0 } else { self.power }).collect();
        let total: f64 = powers.iter().sum();
        let photons = self.photons.unwrap_or(brightest);
        let made = powers.iter().enumerate().map(|(k, power)| {
            let mut mode = wave.clone();
            if k > 0 {
                let phases: Vec<f64> = (0..n * n).map(|_| normal(rng)).collect();
                mode.iter_mut().zip(phases).for_each(|(z, phase)| *z *= cis(self.noise * phase));
            }
            let norm: f64 = mode.iter().map(|z| z.norm_sqr()).sum();
            let scale = (photons * power / total / norm.max(f64::MIN_POSITIVE)).sqrt();
            mode.iter_mut().for_each(|z| *z *= scale);
            mode
        });
        made.collect()
    }

    /// The wave in the focus of a lens, whose plane has pixels of its own.
    fn focus(&self, geometry: &Geometry, focal: f64) -> Vec<C> {
        let lens = Geometry {
            distance: focal,
            psize: geometry.resolution(),
            propagation: Propagation::Farfield,
            centre: [Centre::Fftshift; 2],
            pixel: None,
            ..geometry.clone()
        };
        let (n, pixel) = (lens.n, lens.resolution());
        // A Gaussian of that width comes from an aperture of this diameter, as other programs have it.
        let wide = |d: f64| 2.0 * 2f64.powf(0.25) * lens.wavelength() * focal / d;
        let mut wave = self.aperture(n, pixel, self.spot_size.map(wide).or(self.size));
        let x: Vec<f64> = grid(n, Centre::Fftshift).into_iter().map(|x| x * pixel).collect();
        for (k, z) in wave.iter_mut().enumerate() {
            let r2 = x[k / n].powi(2) + x[k % n].powi(2);
            *z *= cis(-std::f64::consts::PI * r2 / (lens.wavelength() * focal));
        }
        Propagator::<f64>::new(&lens).to_detector(&wave)
    }

    fn aperture(&self, n: usize, pixel: f64, size: Option<f64>) -> Vec<C> {
        let x = grid(n, Centre::Geometric);
        let off = self.offset.map(|o| o / pixel);
        let size = size.map_or(n as f64 / 3.0, |s| s / pixel);
        let step = |d: f64, w: f64| match w > 0.0 {
            true => 0.5 * erf(2.35 * d / w) + 0.5,
            false => f64::from(u8::from(d >= 0.0)),
        };
        let edge = self.edge / size;
        let (sin, cos) = self.rotate.sin_cos();
        let one = |k: usize| {
            let (y, x) = ((x[k / n] - off[0]) / size, (x[k % n] - off[1]) / size);
            let (y, x) = (y * cos - x * sin, y * sin + x * cos);
            let mut light = match self.form {
                Form::Circ => step(0.5 - y.hypot(x), edge),
                Form::Rect => step(0.5 - y.abs(), edge) * step(0.5 - x.abs(), edge),
                Form::None => 1.0,
            };
            if let Some(stop) = self.central_stop {
                light *= step(y.hypot(x) - 0.5 * stop, edge);
            }
            C::new(light, 0.0)
        };
        (0..n * n).map(one).collect()
    }
}

/// A wave after some way through free space.
pub fn travelled(wave: &[C], geometry: &Geometry, distance: f64) -> Vec<C> {
    let n = geometry.n;
    let fft = Fft2::<f64>::new(n);
    let (mut space, mut out) = (fft.space(), wave.to_vec());
    fft.forward(&mut out, &mut space);
    // The kernel is even: backwards it is its conjugate.
    let kernel = near(n, geometry.resolution(), geometry.wavelength(), distance.abs());
    let over = 1.0 / (n * n) as f64;
    for (z, k) in out.iter_mut().zip(kernel) {
        *z *= if distance < 0.0 { k.conj() } else { k } * over;
    }
    fft.backward(&mut out, &mut space);
    out
}

/// A number of the standard normal distribution.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// The error function.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    // The series of exp(-x²) erf'(x): all terms are positive, nothing cancels.
    let (mut term, mut sum, mut k) = (a, a, 0.0);
    while term > 1e-17 * sum {
        k += 1.0;
        term *= 2.0 * a * a / (2.0 * k + 1.0);
        sum += term;
    }
    x.signum() * 2.0 / std::f64::consts::PI.sqrt() * (-a * a).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lens_makes_the_spot_of_its_aperture() {
        // A square aperture of side a focuses to sinc²: its first zero lies at wavelength focal / a.
        let geometry = Geometry {
            energy: 6.2,
            distance: 7.0,
            psize: 172e-6,
            n: 128,
            propagation: Propagation::Farfield,
            centre: [Centre::Fftshift; 2],
            pixel: None,
        };
        let (focal, d) = (0.05, geometry.resolution());
        // 16 pixels of the focus to the first zero.
        let side = geometry.wavelength() * focal / (16.0 * d);
        let lens = Illumination {
            form: Form::Rect,
            size: Some(side),
            edge: 0.0,
            focussed: Some(focal),
            ..Illumination::default()
        };
        let mut rng = rand_chacha::rand_core::SeedableRng::seed_from_u64(1);
        let spot = &lens.probe(&geometry, 1e4, &mut rng)[0];
        let power = |x: usize| spot[64 * 128 + x].norm_sqr();
        assert!((spot.iter().map(|z| z.norm_sqr()).sum::<f64>() / 1e4 - 1.0).abs() < 1e-9);
        let peak = (0..128).max_by(|a, b| power(*a).total_cmp(&power(*b))).unwrap();
        assert!(peak == 64, "{peak}");
        assert!(power(64 + 16) < 1e-3 * power(64) && power(64 - 16) < 1e-3 * power(64));
        // Half way to the zero sinc² is (2 / pi)² = 0.405.
        assert!((power(64 + 8) / power(64) - 0.405).abs() < 0.02, "{}", power(72) / power(64));
    }

    #[test]
    fn a_turned_square_stands_on_its_corner() {
        let square = Illumination {
            form: Form::Rect,
            rotate: std::f64::consts::FRAC_PI_4,
            edge: 0.0,
            ..Illumination::default()
        };
        // A side of 20 pixels: along the axes it reaches 14.1 pixels from the middle, along the diagonals 10.
        let light = square.aperture(64, 1.0, Some(20.0));
        let lit = |y: usize, x: usize| light[y * 64 + x].re == 1.0;
        assert!(lit(32, 32 + 13) && !lit(32, 32 + 15));
        assert!(lit(32 + 6, 32 + 6) && !lit(32 + 8, 32 + 8));
    }

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        // Abramowitz and Stegun, table 7.1.
        for (x, wanted) in
            [(0.1, 0.112_462_916), (0.5, 0.520_499_878), (1.0, 0.842_700_793), (2.0, 0.995_322_265)]
        {
            assert!((erf(x) - wanted).abs() < 1e-9, "{x}");
            assert!((erf(-x) + wanted).abs() < 1e-9, "{x}");
        }
    }
}
