//! `ptycho.simulate`: a live ptychographic scan.

use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;
use rand_chacha::ChaCha8Rng;

use super::experiment::positive;
use crate::camera::Coherence;
use crate::engine::smooth::gaussian;
use crate::geometry::{Centre, Geometry, Propagation};
use crate::illumination::{Illumination, Light};
use crate::num::Complex;
use crate::scan::pattern::{Model, Pattern};
use crate::simulate::{Truth, count};

/// Plays a ptychographic scan of an object of its own.
///
/// A probe behind an aperture lights an object of smooth phases and sharp grains at the points of a scan pattern; frames
/// hold the intensity on the detector with the noise of counting. Positions fall on whole pixels of the object unless
/// `drift` says otherwise: then frames are taken further and further from where they are said to be. With a `rate`
/// frames come at that pace, as from a detector. Counts depend on the run's seed and the frame's number alone.
///
/// Gives every frame once; `shuffle` changes the order within windows of so many. The head holds energy, distance,
/// pixel size, centre, the true object and probe, and which of its pixels were lit. Two transforms for each mode.
///
/// Source: the multislice-free model of ptychography (Rodenburg and Faulkner, Appl. Phys. Lett. 85, 2004, 4795).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simulate {
    /// How many frames the scan has.
    #[schemars(range(min = 1))]
    num_frames: usize,
    /// Rows and columns of a frame.
    #[schemars(range(min = 8), extend("x-unit" = "pixel"))]
    shape: usize,
    /// The step of the scan as a part of the frame.
    #[schemars(range(min = 0))]
    density: f64,
    /// The scan pattern.
    model: Model,
    /// The photon energy.
    #[schemars(extend("x-unit" = "keV"))]
    energy: f64,
    /// From the sample to the detector.
    #[schemars(extend("x-unit" = "m"))]
    distance: f64,
    /// The edge of a detector pixel.
    #[schemars(extend("x-unit" = "m"))]
    psize: f64,
    /// The edge of an object pixel; else it follows from energy and `distance`.
    #[schemars(range(min = 0), extend("x-unit" = "m", "x-level" = "expert"))]
    resolution: Option<f64>,
    /// How waves get to the detector.
    propagation: Propagation,
    /// Photons of the whole beam in one frame.
    #[schemars(range(min = 1))]
    photons: f64,
    /// Whether frames have the noise of counting.
    add_poisson_noise: bool,
    /// How far the detector spreads light: the standard deviation of a Gaussian.
    #[schemars(range(min = 0, max = 20), extend("x-unit" = "pixel"))]
    psf: f64,
    /// The probe.
    illumination: Illumination,
    /// The energies of the light, if there are several: one probe and object for all.
    coherence: Coherence,
    /// How many times finer waves are on the detector than its pixels.
    #[schemars(range(min = 1, max = 8))]
    resample: usize,
    /// How far the last frame is from where it is said to be.
    #[schemars(extend("x-unit" = "pixel"))]
    drift: f64,
    /// Frames per second; 0 gives them as fast as they are taken.
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    rate: f64,
    /// Frames come reversed within windows of this many.
    #[schemars(range(min = 1))]
    shuffle: usize,
    #[serde(skip)]
    #[schemars(skip)]
    play: Option<Play>,
}

impl Default for Simulate {
    fn default() -> Self {
        Simulate {
            num_frames: 100,
            shape: 128,
            density: 0.1,
            model: Model::Round,
            energy: 6.2,
            distance: 7.0,
            psize: 172e-6,
            resolution: None,
            propagation: Propagation::Farfield,
            photons: 1e8,
            add_poisson_noise: true,
            psf: 0.0,
            illumination: Illumination::default(),
            coherence: Coherence::default(),
            resample: 1,
            drift: 0.0,
            rate: 0.0,
            shuffle: 1,
            play: None,
        }
    }
}

struct Play {
    truth: Truth,
    told: Vec<[f64; 2]>,
    order: Vec<usize>,
    at: usize,
    begun: Instant,
}

/// What a frame of [`Simulate`] holds.
#[derive(Ports)]
pub struct SimulateOut {
    /// Counts.
    #[port(dtype = "i32", axes = "y x", unit = "count")]
    image: Array,
    /// Where the frame was taken, row and column.
    #[port(dtype = "f64", axes = "axis", unit = "m")]
    position: Array,
}

impl Stage for Simulate {
    type In = ();
    type Out = SimulateOut;

    fn example() -> Example {
        Example::new("num_frames = 12\nshape = 32\nphotons = 1e6\ndensity = 0.15")
    }

    fn check(&self, faults: &mut Faults) {
        let numbers = [
            ("energy", Some(self.energy)),
            ("distance", Some(self.distance)),
            ("psize", Some(self.psize)),
            ("density", Some(self.density)),
            ("resolution", self.resolution),
            ("photons", Some(self.photons)),
        ];
        positive(&numbers, faults);
        if self.illumination.model == Light::Stxm {
            faults.add("illumination", "`model` is made of frames, of which a simulation has none yet");
        }
        for fault in self.coherence.faults() {
            faults.add("coherence", fault);
        }
        if !(1..=8).contains(&self.resample) {
            faults.add("resample", format!("found {}, wanted 1 to 8", self.resample));
        }
        for (name, found) in [("num_frames", self.num_frames), ("shuffle", self.shuffle)] {
            if found == 0 {
                faults.add(name, "found 0, wanted 1 or more");
            }
        }
        if !(8..=4096).contains(&self.shape) {
            faults.add("shape", format!("found {}, wanted 8 to 4096 pixels", self.shape));
        }
        if !(0.0..=20.0).contains(&self.psf) {
            faults.add("psf", format!("found {}, wanted 0 to 20 pixels", self.psf));
        }
        if self.rate < 0.0 || !self.rate.is_finite() {
            faults.add("rate", format!("found {}, wanted 0 or more", self.rate));
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let image = Shape::array(Dtype::I32, &[self.shape; 2]);
        Ok(Shapes::default().with("image", image).with("position", Shape::array(Dtype::F64, &[2])))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let pixels = (self.shape * self.shape) as u64;
        Cost { memory: 200 * pixels, seconds_per_record: 1e-7 * pixels as f64, ..Cost::default() }
    }
}

impl Source for Simulate {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let geometry = Geometry {
            energy: self.energy,
            distance: self.distance,
            psize: self.psize,
            n: self.shape,
            propagation: self.propagation,
            centre: [Centre::Fftshift; 2],
            pixel: self.resolution,
        };
        geometry.check()?;
        let told = self.positions(&geometry)?;
        let taken: Vec<[f64; 2]> = told
            .iter()
            .enumerate()
            .map(|(k, p)| {
                let off = self.drift * geometry.resolution() * k as f64 / told.len() as f64;
                [p[0] + off, p[1] - 0.5 * off]
            })
            .collect();
        let illumination = Illumination { photons: Some(self.photons), ..self.illumination.clone() };
        let seed: u64 = rand::RngExt::random(&mut cx.rng(u64::MAX));
        let (coherence, resample) = (&self.coherence, self.resample);
        let truth = Truth::seen(geometry.clone(), &illumination, &taken, seed, coherence, resample);
        let geometry = truth.geometry.clone();
        let shape = truth.object.shape;
        let lit = crate::metrics::covered(&truth.light(), 0.15);
        let n = geometry.n;
        // Where the first frame is said to be taken, in pixels of the object.
        let first = truth.corners[0].map(|c| (c + n / 2) as f64);
        let centre = [0, 1].map(|k| first[k] - told[0][k] / geometry.resolution());
        let head = Dict::new()
            .with("energy", self.energy)
            .with("distance", self.distance)
            .with("psize", self.psize)
            .with("center", Array::from_slice(&[(self.shape / 2) as f64; 2]))
            .with("num_frames", told.len() as i64)
            .with("object", Array::of(&shape, &truth.object.data)?)
            .with("object_center", Array::from_slice(&centre))
            .with("probe", Array::of(&[truth.probe.len(), n, n], &truth.probe.concat())?)
            .with("lit", Array::of(&shape, &lit)?);
        let mut order: Vec<usize> = (0..told.len()).collect();
        order.chunks_mut(self.shuffle.max(1)).for_each(<[usize]>::reverse);
        order.retain(|k| *k as u64 >= from.next);
        let frames = told.len() as u64;
        self.play = Some(Play { truth, told, order, at: 0, begun: Instant::now() });
        let shapes = self.shapes(&Shapes::default())?;
        Ok(Opened { frames: Some(frames), head, shapes, live: self.rate > 0.0, scan: vec![] })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<SimulateOut>) -> Result<Pull> {
        let (noise, psf) = (self.add_poisson_noise, self.psf);
        let play = self.play.as_mut();
        let play = play.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let n = self.shape;
        for _ in 0..slots.room().min(8) {
            let Some(&k) = play.order.get(play.at) else { return Ok(Pull::End) };
            if self.rate > 0.0 {
                let due = Duration::from_secs_f64(play.at as f64 / self.rate);
                if let Some(left) = due.checked_sub(play.begun.elapsed()).filter(|d| !d.is_zero()) {
                    return Ok(Pull::Wait(left.min(Duration::from_millis(50))));
                }
            }
            let mut rng: ChaCha8Rng = cx.rng(k as u64);
            let mut image = cx.array(Dtype::I32, &[1, n, n])?;
            for (out, expected) in
                image.as_slice_mut::<i32>()?.iter_mut().zip(spread(play.truth.expected(k), n, psf))
            {
                let counts = if noise { count(expected, &mut rng) } else { expected.round() };
                *out = counts.min(f64::from(i32::MAX)) as i32;
            }
            let position = Array::of(&[1, 2], &play.told[k])?;
            slots.put(k as u64, SimulateOut { image: image.freeze(), position })?;
            play.at += 1;
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "ptycho.simulate", Kind::Simulator, Simulate);

impl Simulate {
    /// Positions on whole pixels of the object.
    fn positions(&self, geometry: &Geometry) -> Result<Vec<[f64; 2]>> {
        let d = geometry.resolution();
        let spacing = d * self.shape as f64 * self.density;
        // Enough steps for all frames; the first so many count.
        let steps = (self.num_frames as f64).sqrt().ceil() as usize + 1;
        let (steps, extent) = match self.model {
            Model::Raster => ((self.num_frames as f64).sqrt().ceil() as usize, None),
            _ => (2 * steps, Some([4.0 * steps as f64 * spacing; 2])),
        };
        let pattern = Pattern {
            model: self.model,
            extent,
            spacing: Some([spacing; 2]),
            steps: Some([steps; 2]),
            offset: 0.0,
            count: Some(self.num_frames),
        };
        let all = pattern.positions()?;
        Ok(all.into_iter().map(|p| p.map(|x| (x / d).round() * d)).collect())
    }
}

/// An image as a detector sees it that spreads light.
fn spread(image: Vec<f64>, columns: usize, psf: f64) -> Vec<f64> {
    if psf == 0.0 {
        return image;
    }
    let image: Vec<Complex<f64>> = image.into_iter().map(|x| Complex::new(x, 0.0)).collect();
    gaussian(&image, columns, psf).into_iter().map(|z| z.re).collect()
}

/// A small scan: counts, positions and the shape of its frames.
pub(crate) fn example_frames() -> (Vec<i32>, Vec<f64>, [usize; 3]) {
    use rand_chacha::rand_core::SeedableRng;
    let small = Simulate { num_frames: 20, shape: 32, density: 0.12, ..Simulate::default() };
    let geometry = Geometry {
        energy: small.energy,
        distance: small.distance,
        psize: small.psize,
        n: small.shape,
        propagation: small.propagation,
        centre: [Centre::Fftshift; 2],
        pixel: None,
    };
    let positions = small.positions(&geometry).expect("rings need a spacing and steps");
    let illumination = Illumination { photons: Some(1e6), ..Illumination::default() };
    let truth = Truth::new(geometry, &illumination, &positions, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let draw = |k: usize| truth.expected(k).into_iter().collect::<Vec<f64>>();
    let images: Vec<i32> = (0..positions.len()).flat_map(draw).map(|x| count(x, &mut rng) as i32).collect();
    (images, positions.concat(), [positions.len(), small.shape, small.shape])
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_detector_spreads_a_point_as_a_gaussian_and_loses_no_light() {
        let mut image = vec![0.0; 33 * 33];
        image[16 * 33 + 16] = 1000.0;
        let seen = spread(image.clone(), 33, 1.5);
        assert!((seen.iter().sum::<f64>() - 1000.0).abs() < 1e-6);
        // exp(-d² / 2 / 1.5²): two pixels off along a row.
        let ratio = seen[16 * 33 + 18] / seen[16 * 33 + 16];
        assert!((ratio - (-4.0f64 / 4.5).exp()).abs() < 1e-9, "{ratio}");
        assert_eq!(spread(image.clone(), 33, 0.0), image);
    }
}
