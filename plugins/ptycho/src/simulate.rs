//! A scan that never was: object, probe and frames that follow from them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::Distribution;

use crate::camera::{Camera, Coherence, finer};
use crate::fft::Fft2;
use crate::geometry::Geometry;
use crate::illumination::{Illumination, normal};
use crate::metrics::Field;
use crate::num::{Complex, cis};
use crate::propagate::Propagator;

type C = Complex<f64>;

/// Pixels between the outermost windows and the object's border.
const MARGIN: usize = 10;

/// A simulated scan.
pub struct Truth {
    /// The experiment, with windows of the object and the pixels of waves on the detector.
    pub geometry: Geometry,
    /// The object.
    pub object: Field,
    /// The probe's modes.
    pub probe: Vec<Vec<C>>,
    /// The first pixel of each window.
    pub corners: Vec<[usize; 2]>,
    /// The light of each frame in that of the first, mode by mode, if it changes.
    pub changes: Option<Vec<Vec<C>>>,
    propagator: Propagator<f64>,
    camera: Option<Camera<f64>>,
}

impl Truth {
    /// A scan at positions in metres, with an object made by a seed.
    pub fn new(geometry: Geometry, illumination: &Illumination, positions: &[[f64; 2]], seed: u64) -> Truth {
        Truth::seen(geometry, illumination, positions, seed, &Coherence::default(), 1)
    }

    /// The same in light of several energies, and with waves so many times finer than the camera.
    pub fn seen(
        geometry: Geometry,
        illumination: &Illumination,
        positions: &[[f64; 2]],
        seed: u64,
        coherence: &Coherence,
        resample: usize,
    ) -> Truth {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (propagator, camera) = (Propagator::new(&geometry), Camera::new(&geometry, coherence, resample));
        let geometry = finer(&geometry, resample);
        let n = geometry.n;
        let pixels: Vec<[f64; 2]> = positions.iter().map(|p| p.map(|x| x / geometry.resolution())).collect();
        let least = [0, 1].map(|k| pixels.iter().map(|p| p[k]).fold(f64::INFINITY, f64::min));
        let corners: Vec<[usize; 2]> =
            pixels.iter().map(|p| [0, 1].map(|k| (p[k] - least[k]).round() as usize + MARGIN)).collect();
        let shape = [0, 1].map(|k| corners.iter().map(|c| c[k]).max().unwrap_or(0) + n + MARGIN);
        let object = object(shape, &mut rng);
        let photons = illumination.photons.unwrap_or(1e8);
        let probe = illumination.probe(&geometry, photons, &mut rng);
        Truth { geometry, object, probe, corners, changes: None, propagator, camera }
    }

    /// The expected counts of a frame, row by row.
    pub fn expected(&self, frame: usize) -> Vec<f64> {
        let (n, [y, x]) = (self.geometry.n, self.corners[frame]);
        let window = self.object.cut([y, x], [n, n]);
        let lit = |mode: &Vec<C>| -> Vec<C> { mode.iter().zip(&window.data).map(|(p, o)| p * o).collect() };
        let probe = self.light_of(frame);
        let mut sum = vec![0.0; self.propagator.n().pow(2)];
        let Some(camera) = &self.camera else {
            for wave in probe.iter().map(lit) {
                for (s, z) in sum.iter_mut().zip(self.propagator.to_detector(&wave)) {
                    *s += z.norm_sqr();
                }
            }
            return sum;
        };
        let mut room = camera.room();
        let probes = camera.probes(&probe, probe.len());
        let each = probes.len() / camera.energies();
        for (k, mode) in probes.iter().enumerate() {
            let mut wave = lit(mode);
            camera.forward(k / each, &mut wave, &mut room);
            camera.add_power(k / each, &wave, &mut sum);
        }
        self.propagator.in_rows(&sum)
    }

    /// The probe of a frame.
    fn light_of(&self, frame: usize) -> Vec<Vec<C>> {
        let mut probe = self.probe.clone();
        if let Some(change) = self.changes.as_ref().map(|c| &c[frame]) {
            probe.iter_mut().for_each(|mode| mode.iter_mut().zip(change).for_each(|(z, c)| *z *= c));
        }
        probe
    }

    /// The light of all frames over the object.
    pub fn light(&self) -> Vec<f64> {
        let (n, columns) = (self.geometry.n, self.object.shape[1]);
        let mut light = vec![0.0; self.object.data.len()];
        for [y, x] in &self.corners {
            for mode in &self.probe {
                for (k, z) in mode.iter().enumerate() {
                    light[(y + k / n) * columns + x + k % n] += z.norm_sqr();
                }
            }
        }
        light
    }
}

/// Counts with the noise of counting.
pub fn count(expected: f64, rng: &mut ChaCha8Rng) -> f64 {
    match rand_distr::Poisson::new(expected) {
        Ok(poisson) => poisson.sample(rng),
        // Nothing expected is nothing counted.
        Err(_) => 0.0,
    }
}

/// An object of smooth phases and a few sharp grains: all frequencies are there.
fn object([rows, columns]: [usize; 2], rng: &mut ChaCha8Rng) -> Field {
    let side = rows.max(columns).next_power_of_two();
    let layer = |rng: &mut ChaCha8Rng, length: f64| -> Vec<f64> {
        let fft = Fft2::<f64>::new(side);
        let mut space = fft.space();
        let mut wave: Vec<C> = (0..side * side).map(|_| C::new(normal(rng), 0.0)).collect();
        fft.forward(&mut wave, &mut space);
        for (k, z) in wave.iter_mut().enumerate() {
            let f = |i: usize| i.min(side - i) as f64;
            let q2 = (f(k / side).powi(2) + f(k % side).powi(2)) * (length / side as f64).powi(2);
            *z *= 1.0 / (1.0 + 20.0 * q2);
        }
        fft.backward(&mut wave, &mut space);
        let norm = (wave.iter().map(|z| z.re * z.re).sum::<f64>() / wave.len() as f64).sqrt();
        wave.into_iter().map(|z| z.re / norm.max(f64::MIN_POSITIVE)).collect()
    };
    let (phase, thickness) = (layer(rng, 24.0), layer(rng, 10.0));
    let mut data: Vec<C> = (0..rows * columns)
        .map(|k| {
            let at = k / columns * side + k % columns;
            cis(0.6 * phase[at]) * (0.8 + 0.1 * thickness[at].tanh())
        })
        .collect();
    let grains = rows * columns / 900;
    for _ in 0..grains {
        let (y, x) = (rng.random::<f64>() * rows as f64, rng.random::<f64>() * columns as f64);
        let (radius, turn) = (2.0 + 7.0 * rng.random::<f64>(), cis(1.2 * rng.random::<f64>() - 0.2));
        for i in (y - radius).max(0.0) as usize..((y + radius) as usize + 1).min(rows) {
            for j in (x - radius).max(0.0) as usize..((x + radius) as usize + 1).min(columns) {
                if (i as f64 - y).hypot(j as f64 - x) < radius {
                    data[i * columns + j] *= turn;
                }
            }
        }
    }
    Field { shape: [rows, columns], data }
}
