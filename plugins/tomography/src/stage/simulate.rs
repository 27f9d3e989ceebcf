//! `tomography.simulate`: a diffraction tomography that plays.

use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::Distribution;

use crate::phantom::{Ellipse, maps, patterns, sample};

/// Plays a diffraction tomography of a sample of its own.
///
/// Frames are integrated patterns with their places. A pencil beam goes through grains of some phases, which are ellipses and differ from slice to slice; a pattern holds what
/// the ray meets of each phase, and air. Frames come translation by translation, then angle by angle, there and back with
/// `zigzag`; with `random` they come in an order of chance. Some can be lost, the beam can waver, the axis of rotation
/// can be off, and counts have the noise of counting. With a `rate` frames come at that pace, as from a detector. Counts
/// depend on the run's seed and the frame's number alone.
///
/// Gives every frame once; `shuffle` changes the order of numbers within windows of so many. The head holds the bins `q` in
/// 1/nm, the `patterns` of the phases, the `truth` [z phase y x], and the axes.
///
/// Source: the line integral of the local pattern (Harding et al., Phys. Med. Biol. 32, 1987, 209).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simulate {
    /// Positions of the translation.
    #[schemars(range(min = 4))]
    translations: usize,
    /// Angles of the rotation.
    #[schemars(range(min = 1))]
    rotations: usize,
    /// Heights.
    #[schemars(range(min = 1))]
    slices: usize,
    /// The angle that the rotations share.
    #[schemars(extend("x-unit" = "degree"))]
    range: f64,
    /// From one translation to the next.
    #[schemars(range(min = 0.0), extend("x-unit" = "mm"))]
    step: f64,
    /// How wide the beam is, in steps of the translation; 0 for a line.
    #[schemars(range(min = 0.0))]
    beam: f64,
    /// The substances, by the names of calibrants.
    phases: Vec<String>,
    /// Bins of a pattern.
    #[schemars(range(min = 2))]
    bins: usize,
    /// The first bin, in 1/nm.
    q_min: f64,
    /// The last bin, in 1/nm.
    q_max: f64,
    /// The standard deviation of a line, in 1/nm.
    width: f64,
    /// The photon energy.
    #[schemars(extend("x-unit" = "keV"))]
    energy: f64,
    /// Counts of the highest line for one step through a phase.
    #[schemars(range(min = 0.0))]
    counts: f64,
    /// Counts of air in each bin.
    #[schemars(range(min = 0.0))]
    air: f64,
    /// Whether counts have the noise of counting.
    noise: bool,
    /// How far the beam wavers, as a part of it.
    #[schemars(range(min = 0.0, max = 0.9))]
    waver: f64,
    /// The translation at which the axis of rotation is.
    #[schemars(extend("x-unit" = "mm"))]
    centre: f64,
    /// The part of the frames that is lost.
    #[schemars(range(min = 0.0, max = 0.9))]
    lost: f64,
    /// Every other line runs back.
    zigzag: bool,
    /// Points come in an order of chance.
    random: bool,
    /// Numbers come reversed within windows of this many.
    #[schemars(range(min = 1))]
    shuffle: usize,
    /// Frames per second; 0 gives them as fast as they are taken.
    #[schemars(range(min = 0.0), extend("x-unit" = "Hz"))]
    rate: f64,
    #[serde(skip)]
    #[schemars(skip)]
    play: Option<Play>,
}

impl Default for Simulate {
    fn default() -> Self {
        Simulate {
            translations: 48,
            rotations: 72,
            slices: 1,
            range: 180.0,
            step: 0.02,
            beam: 0.0,
            phases: vec!["CeO2".into(), "Ni".into()],
            bins: 100,
            q_min: 15.0,
            q_max: 65.0,
            width: 0.5,
            energy: 60.0,
            counts: 20.0,
            air: 2.0,
            noise: true,
            waver: 0.1,
            centre: 0.0,
            lost: 0.0,
            zigzag: false,
            random: false,
            shuffle: 1,
            rate: 0.0,
            play: None,
        }
    }
}

struct Play {
    samples: Vec<Vec<Ellipse>>,
    patterns: Vec<f64>,
    /// z, omega in degrees, x of each frame.
    places: Vec<[f64; 3]>,
    slice: Vec<usize>,
    order: Vec<usize>,
    at: usize,
    begun: Instant,
}

/// What a frame of [`Simulate`] holds.
#[derive(Ports)]
pub struct SimulateOut {
    /// The integrated pattern.
    #[port(dtype = "f32", axes = "q", unit = "count")]
    intensity: Array,
    /// The angle.
    #[port(dtype = "f64", axes = "", unit = "degree")]
    omega: Array,
    /// The translation.
    #[port(dtype = "f64", axes = "", unit = "mm")]
    x: Array,
    /// The height.
    #[port(dtype = "f64", axes = "", unit = "mm")]
    z: Array,
    /// The beam; 1 on average.
    #[port(dtype = "f64", axes = "")]
    monitor: Array,
}

impl Stage for Simulate {
    type In = ();
    type Out = SimulateOut;

    fn example() -> Example {
        Example::new("translations = 8\nrotations = 6\nbins = 20\nlost = 0.1\nrandom = true")
    }

    fn check(&self, faults: &mut Faults) {
        let least = [
            ("translations", self.translations, 4),
            ("rotations", self.rotations, 1),
            ("slices", self.slices, 1),
            ("bins", self.bins, 2),
            ("shuffle", self.shuffle, 1),
        ];
        for (name, found, wanted) in least {
            if found < wanted {
                faults.add(name, format!("found {found}, wanted {wanted} or more"));
            }
        }
        for (name, found) in
            [("range", self.range), ("step", self.step), ("width", self.width), ("energy", self.energy)]
        {
            if !(found.is_finite() && found > 0.0) {
                faults.add(name, format!("found {found}, wanted more than 0"));
            }
        }
        for (name, found) in
            [("counts", self.counts), ("air", self.air), ("rate", self.rate), ("beam", self.beam)]
        {
            if !(found.is_finite() && found >= 0.0) {
                faults.add(name, format!("found {found}, wanted 0 or more"));
            }
        }
        for (name, found) in [("waver", self.waver), ("lost", self.lost)] {
            if !(0.0..=0.9).contains(&found) {
                faults.add(name, format!("found {found}, wanted 0 to 0.9"));
            }
        }
        if !(self.q_min > 0.0 && self.q_min < self.q_max && self.q_max.is_finite()) {
            faults.add(
                "q_max",
                format!("bins from {} to {}, wanted a rising range above 0", self.q_min, self.q_max),
            );
        }
        if self.phases.is_empty() {
            faults.add("phases", "there is none, wanted at least one");
        }
        for name in &self.phases {
            if let Err(unknown) = isard_geometry::Calibrant::named(name) {
                faults.add("phases", unknown.to_string());
            }
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let number = Shape::array(Dtype::F64, &[]);
        let shapes = Shapes::default().with("intensity", Shape::array(Dtype::F32, &[self.bins]));
        Ok(["omega", "x", "z", "monitor"].into_iter().fold(shapes, |s, port| s.with(port, number.clone())))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let seconds = if self.noise { 1e-7 } else { 2e-9 } * self.bins as f64;
        Cost { seconds_per_record: seconds, ..Cost::default() }
    }
}

impl Simulate {
    fn points(&self) -> usize {
        self.translations * self.rotations * self.slices
    }

    /// Where each frame is taken: slice, and z, omega, x.
    fn places(&self, seed: &mut ChaCha8Rng) -> Vec<(usize, [f64; 3])> {
        let (nx, na) = (self.translations, self.rotations);
        let mut places: Vec<(usize, [f64; 3])> = (0..self.points())
            .map(|k| {
                let (z, a, x) = (k / (nx * na), k / nx % na, k % nx);
                let x = if self.zigzag && (k / nx) % 2 == 1 { nx - 1 - x } else { x };
                let omega = self.range * a as f64 / na as f64;
                (z, [z as f64 * self.step, omega, (x as f64 - 0.5 * (nx as f64 - 1.0)) * self.step])
            })
            .collect();
        if self.random {
            places.shuffle(seed);
        }
        places
    }
}

impl Source for Simulate {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let (nx, np) = (self.translations, self.phases.len());
        let bin = (self.q_max - self.q_min) / (self.bins as f64 - 1.0);
        let q: Vec<f64> = (0..self.bins).map(|k| self.q_min + bin * k as f64).collect();
        let patterns = patterns(&self.phases, &q, self.width, self.energy)?;
        let radius = 0.46 * self.step * (nx as f64 - 1.0) - self.centre.abs();
        if radius <= 0.0 {
            return Err(Error::recipe(format!("`centre` is {}, outside the translation", self.centre)));
        }
        let samples: Vec<Vec<Ellipse>> = (0..self.slices).map(|z| sample(np, z, radius)).collect();
        let truth: Vec<f64> = samples.iter().flat_map(|s| maps(s, np, nx, self.step)).collect();
        let mut seed = cx.rng(u64::MAX);
        let (slice, places): (Vec<usize>, Vec<[f64; 3]>) = self.places(&mut seed).into_iter().unzip();
        let axis =
            |n: usize, at: &dyn Fn(usize) -> f64| Array::from_slice(&(0..n).map(at).collect::<Vec<f64>>());
        let head = Dict::new()
            .with("q", Array::from_slice(&q))
            .with("patterns", Array::of(&[np, self.bins], &patterns)?)
            .with("truth", Array::of(&[self.slices, np, nx, nx], &truth)?)
            .with("x_axis", axis(nx, &|k| (k as f64 - 0.5 * (nx as f64 - 1.0)) * self.step))
            .with("omega_axis", axis(self.rotations, &|a| self.range * a as f64 / self.rotations as f64))
            .with("z_axis", axis(self.slices, &|z| z as f64 * self.step));
        let mut order: Vec<usize> = (0..self.points()).collect();
        order.chunks_mut(self.shuffle.max(1)).for_each(<[usize]>::reverse);
        order.retain(|k| *k as u64 >= from.next);
        self.play = Some(Play { samples, patterns, places, slice, order, at: 0, begun: Instant::now() });
        let shapes = self.shapes(&Shapes::default())?;
        Ok(Opened { frames: Some(self.points() as u64), head, shapes, live: self.rate > 0.0, scan: vec![] })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<SimulateOut>) -> Result<Pull> {
        let play = self.play.as_mut();
        let play = play.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        for _ in 0..slots.room().min(256) {
            let Some(&k) = play.order.get(play.at) else { return Ok(Pull::End) };
            if self.rate > 0.0 {
                let due = Duration::from_secs_f64(play.at as f64 / self.rate);
                if let Some(left) = due.checked_sub(play.begun.elapsed()).filter(|d| !d.is_zero()) {
                    return Ok(Pull::Wait(left.min(Duration::from_millis(50))));
                }
            }
            play.at += 1;
            let mut rng: ChaCha8Rng = cx.rng(k as u64);
            if rng.random::<f64>() < self.lost {
                slots.missing(k as u64, "the detector lost it");
                continue;
            }
            let monitor = 1.0 + self.waver * (2.0 * rng.random::<f64>() - 1.0);
            let [z, omega, x] = play.places[k];
            let mut met = vec![0.0; self.phases.len()];
            for ellipse in &play.samples[play.slice[k]] {
                let width = self.beam * self.step;
                let chord = ellipse.mean_chord(omega.to_radians(), x - self.centre, width);
                met[ellipse.phase] += chord / self.step;
            }
            let mut intensity = cx.array(Dtype::F32, &[1, self.bins])?;
            for (b, out) in intensity.as_slice_mut::<f32>()?.iter_mut().enumerate() {
                let lines: f64 =
                    met.iter().enumerate().map(|(p, m)| m * play.patterns[p * self.bins + b]).sum();
                let expected = monitor * (self.counts * lines + self.air);
                *out = if self.noise { count(expected, &mut rng) } else { expected } as f32;
            }
            let one = |value: f64| Array::from_slice(&[value]);
            let (intensity, monitor) = (intensity.freeze(), one(monitor));
            slots
                .put(k as u64, SimulateOut { intensity, omega: one(omega), x: one(x), z: one(z), monitor })?;
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "tomography.simulate", Kind::Simulator, Simulate);

/// Counts where so many are expected.
fn count(expected: f64, rng: &mut ChaCha8Rng) -> f64 {
    match rand_distr::Poisson::new(expected) {
        Ok(poisson) => poisson.sample(rng),
        // Nothing expected is nothing counted.
        Err(_) => 0.0,
    }
}
