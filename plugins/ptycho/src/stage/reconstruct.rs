//! `ptycho.reconstruct`: object and probe of a scan, while it runs.

use isard_core::prelude::*;
use isard_core::schemars;

use super::experiment::{Given, pair, positive};
use super::work::{Work, complex};
use crate::camera::Coherence;
use crate::engine::Settings;
use crate::geometry::{Geometry, Propagation};
use crate::illumination::{Illumination, Light};
use crate::model::Frame;
use crate::num::Complex;
use crate::session::{Ageing, Session, Task};
use crate::start::{GivenObject, Start};

/// Reconstructs object and probe of a ptychographic scan.
///
/// Engines run one after the other: DM and RAAR (projections), EPIE and SDR (frame by frame), ML (conjugate gradients);
/// each may refine positions, keep the probe in a disc and in the middle. While frames arrive ePIE works with those that
/// are there, since a projection engine with few frames settles in a bad probe; when all are in, the engines run, and
/// what was done before stands for up to half of their iterations, or is forgotten where it was little. Pixels that are
/// masked, negative or no numbers do not count; a frame without any good pixel is left out; both are told in the
/// outputs. A frame needs its position: wire it with `flow.join` if it comes another way.
///
/// Takes all frames and gives one object, and snapshots while it works. At the end of a closed source the result depends
/// on the frames, the parameters and the seed alone. Two transforms for each frame, mode and iteration, three where
/// projections tell their error in counts, five for ML. Keeps one number a pixel and frame; projections keep two more.
///
/// Source: Thibault et al., Ultramicroscopy 109 (2009) 338; Maiden and Rodenburg, ibid. 1256; Thibault and
/// Guizar-Sicairos, New J. Phys. 14 (2012) 063004; Enders and Thibault, Proc. R. Soc. A 472 (2016) 20160640.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconstruct {
    /// The engines, one after the other.
    engines: Vec<Settings>,
    /// The probe to begin with, unless the input gives one.
    illumination: Illumination,
    /// Modes of the object.
    #[schemars(range(min = 1, max = 32))]
    object_modes: usize,
    /// The energies of the light, if there are several.
    ///
    /// Their intensities add up. An energy's probe comes with its part of the spectrum; `irregular` ones stand behind each other in the output.
    coherence: Coherence,
    /// How many times finer waves are on the detector than its pixels.
    ///
    /// Counts are sums over them. For frames whose speckles are finer than the pixels: the probe's window is so many times as wide.
    #[schemars(range(min = 1, max = 8))]
    resample: usize,
    /// What the object is to begin with, unless the input gives one.
    object_start: Start,
    /// The transmission that unseen parts of the object have.
    #[schemars(range(min = 0), extend("x-level" = "expert"))]
    fill: f64,
    /// How waves get to the detector.
    propagation: Propagation,
    /// The photon energy, unless the input gives it.
    #[schemars(range(min = 0), extend("x-unit" = "keV"))]
    energy: Option<f64>,
    /// From the sample to the detector, unless the input gives it.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    distance: Option<f64>,
    /// The edge of a detector pixel, unless the input gives it.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    psize: Option<f64>,
    /// The optical axis on the detector, row and column, unless the input gives it.
    #[schemars(extend("x-unit" = "pixel"))]
    center: Option<[f64; 2]>,
    /// The edge of an object pixel; else it follows from energy and `distance`.
    ///
    /// Where it differs from what these and the pixels of frames come to, transforms have more or fewer pixels than frames, by an even number: waves reach beyond the frame, which counts as masked, or pixels at its border do not count. Only in the far field.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    resolution: Option<f64>,
    /// Frames before anything begins.
    #[schemars(range(min = 1), extend("x-unit" = "frame", "x-level" = "expert"))]
    min_frames: usize,
    /// How many newer frames make one stale by half while the scan runs, if any.
    ///
    /// For scans that drift: object and probe follow the latest frames, since a frame's steps are half as long after each so many others that came, and places that only early frames saw keep what they have. When the last frame is in all count the same again, and the engines begin.
    #[schemars(extend("x-unit" = "frame", "x-level" = "expert"))]
    stale_half_life: Option<f64>,
    /// Iterations from one error in counts to the next, where it costs a transform.
    #[schemars(range(min = 1), extend("x-level" = "expert"))]
    photons_every: u64,
    #[serde(skip)]
    #[schemars(skip)]
    work: Option<Work>,
}

impl Default for Reconstruct {
    fn default() -> Self {
        Reconstruct {
            engines: vec![],
            illumination: Illumination::default(),
            object_modes: 1,
            coherence: Coherence::default(),
            resample: 1,
            object_start: Start::Flat,
            fill: 1.0,
            propagation: Propagation::Farfield,
            energy: None,
            distance: None,
            psize: None,
            center: None,
            resolution: None,
            min_frames: 1,
            stale_half_life: None,
            photons_every: 10,
            work: None,
        }
    }
}

/// The input of [`Reconstruct`].
#[derive(Ports)]
pub struct ReconstructIn {
    /// Diffraction images, rows as many as columns.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// Where each frame was taken, row and column.
    #[port(dtype = "float", axes = "axis", unit = "m")]
    position: Array,
    /// Bad pixels of each frame: 0 is good, anything else bad.
    #[port(dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// Bad pixels of all frames: 0 is good, anything else bad.
    #[port(fixed, dtype = "number", axes = "y x")]
    bad: Option<Array>,
    /// The photon energy, unless a parameter gives it.
    #[port(unit = "keV")]
    energy: Option<f64>,
    /// From the sample to the detector, unless a parameter gives it.
    #[port(unit = "m")]
    distance: Option<f64>,
    /// The edge of a detector pixel, unless a parameter gives it.
    #[port(unit = "m")]
    psize: Option<f64>,
    /// The optical axis on the detector, row and column; else the middle.
    #[port(fixed, dtype = "float")]
    center: Option<Array>,
    /// The optical axis that prepared frames bring with them.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    axis: Option<Array>,
    /// The edge of the pixels of prepared frames.
    #[port(dtype = "f64", axes = "", unit = "m")]
    pixel: Option<Array>,
    /// The probe to begin with, mode by mode.
    #[port(fixed, dtype = "complex", axes = "mode y x")]
    probe: Option<Array>,
    /// The object to begin with, mode by mode.
    #[port(fixed, dtype = "complex", axes = "mode y x")]
    object: Option<Array>,
    /// The pixel of that object where position 0 lies; else its middle.
    #[port(fixed, dtype = "float")]
    object_center: Option<Array>,
}

/// The output of [`Reconstruct`].
#[derive(Ports)]
pub struct ReconstructOut {
    /// The object, mode by mode.
    #[port(dtype = "c32", axes = "mode y x")]
    pub object: Array,
    /// The probe, mode by mode.
    #[port(dtype = "c32", axes = "mode y x")]
    pub probe: Array,
    /// How much the object lets through.
    #[port(dtype = "f32", axes = "y x")]
    pub amplitude: Array,
    /// The phase of the object.
    #[port(dtype = "f32", axes = "y x", unit = "radian")]
    pub phase: Array,
    /// The amplitude of the probe, all modes together.
    #[port(dtype = "f32", axes = "y x")]
    pub light: Array,
    /// The error in amplitude of each iteration.
    #[port(dtype = "f32", axes = "iteration")]
    pub curve: Array,
    /// The errors of each iteration.
    ///
    /// They are not numbers where they were not worked out. While frames arrive `engine` is -1.
    #[port(columns = "iteration: u32, engine: i32, frames: u32, fourier: f64, photons: f64, exit: f64")]
    pub errors: Table,
    /// The frames with their positions after any refinement.
    #[port(columns = "index: u64, y: f64 m, x: f64 m, measured_y: f64 m, measured_x: f64 m")]
    pub positions: Table,
    /// The edge of an object pixel.
    #[port(unit = "m")]
    pub resolution: f64,
    /// The object pixel where position 0 lies, row and column.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    pub center: Array,
    /// The photon energy.
    #[port(unit = "keV")]
    pub energy: f64,
    /// The photon energy of each of the probe's modes.
    ///
    /// It is that of the experiment where all energies share the probe.
    #[port(dtype = "f64", axes = "mode", unit = "keV")]
    pub probe_energy: Array,
    /// The photon energy of each of the object's modes.
    ///
    /// It is that of the experiment where all energies share the object.
    #[port(dtype = "f64", axes = "mode", unit = "keV")]
    pub object_energy: Array,
    /// The last error in amplitude.
    pub fourier: f64,
    /// The last error in counts.
    pub photons: f64,
    /// The R-factor: differences in amplitude over amplitudes.
    ///
    /// It is not a number until all iterations are done.
    pub r_factor: f64,
    /// Iterations done.
    pub iterations: i64,
    /// Frames that it rests on.
    #[port(unit = "frame")]
    pub frames: i64,
    /// Pixels that were negative or no numbers.
    #[port(unit = "pixel")]
    pub refused: i64,
    /// Frames that were left out, having no good pixel.
    #[port(unit = "frame")]
    pub dark: i64,
    /// Iterations in which every frame was within the power bound and so left alone.
    pub frozen: i64,
    /// The engines with their options, as JSON text.
    pub engines: String,
}

impl Stage for Reconstruct {
    type In = ReconstructIn;
    type Out = ReconstructOut;

    fn example() -> Example {
        let (images, positions, shape) = super::simulate::example_frames();
        let set = "engines = [{ name = \"EPIE\", numiter = 12 }, { name = \"ML\", numiter = 4 }]\n\
                   energy = 6.2\ndistance = 7.0\npsize = 172e-6\nillumination = { size = 4e-6 }";
        let example = Example::new(set)
            .frames("image", Array::of(&shape, &images).expect("as many pixels as the frames have"))
            .frames("position", Array::of(&[shape[0], 2], &positions).expect("two numbers a frame"));
        // Live, some of the work is done while frames arrive: what is done at the end differs in length.
        [("fourier", 2.0), ("photons", 20.0), ("r_factor", 0.2), ("iterations", 1e6), ("frozen", 1e6)]
            .into_iter()
            .fold(example, |example, (port, by)| example.tolerance(port, by))
    }

    fn check(&self, faults: &mut Faults) {
        if self.engines.is_empty() {
            faults.add_with_help(
                "engines",
                "there is none",
                "write `engines = [{ name = \"DM\", numiter = 100 }]`",
            );
        }
        for (k, engine) in self.engines.iter().enumerate() {
            for fault in engine.faults() {
                faults.add("engines", format!("engine {}: {fault}", k + 1));
            }
        }
        let numbers = [
            ("energy", self.energy),
            ("distance", self.distance),
            ("psize", self.psize),
            ("resolution", self.resolution),
            ("stale_half_life", self.stale_half_life),
        ];
        positive(&numbers, faults);
        if self.resolution.is_some() && self.propagation == Propagation::Nearfield {
            let help = "leave it out: in the near field pixels at the sample are the detector's";
            faults.add_with_help("resolution", "wanted in the far field only", help);
        }
        for fault in self.coherence.faults() {
            faults.add("coherence", fault);
        }
        if !(1..=8).contains(&self.resample) {
            faults.add("resample", format!("found {}, wanted 1 to 8", self.resample));
        }
        if self.object_modes == 0 || self.illumination.modes == 0 {
            faults.add("object_modes", "probe and object want at least one mode");
        }
        if let Some(size) = self.illumination.size.filter(|s| !(s.is_finite() && *s > 0.0)) {
            faults.add("illumination", format!("`size` is {size} m, wanted more than 0"));
        }
        if self.illumination.model == Light::Stxm && self.illumination.focussed.is_some() {
            faults.add("illumination", "a lens (`focussed`) is lit evenly, not by `stxm`");
        }
        if !(self.fill.is_finite() && self.fill > 0.0) {
            faults.add("fill", format!("found {}, wanted more than 0", self.fill));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.iter().flatten().product::<usize>() as u64;
        let rounds: u64 = self.engines.iter().map(|e| e.numiter).sum();
        let pixels = pixels * (self.resample * self.resample * self.coherence.energies.len()) as u64;
        Cost {
            memory: 400 * pixels,
            // Eight nanoseconds a pixel and iteration.
            seconds_per_record: 8e-9 * (pixels * rounds) as f64,
            ..Cost::default()
        }
    }
}

impl Fit for Reconstruct {
    fn absorb(&mut self, cx: &Cx, span: &Span, input: ReconstructIn) -> Result<()> {
        let &[count, rows, columns] = input.image.shape() else {
            let found = input.image.shape();
            return Err(Error::data(format!("found images of shape {found:?}, wanted frames [n y x]")));
        };
        if rows != columns {
            return Err(Error::data(format!("{span}: frames of {rows} x {columns} pixels, wanted squares"))
                .help("cut them with `scan.prepare`"));
        }
        if self.work.is_none() {
            self.work = Some(self.begin(cx, rows, &input)?);
        }
        let work = self.work.as_mut().ok_or_else(|| Error::internal("no work after it was begun"))?;
        let n = work.session.model.propagator.n();
        if n != rows {
            return Err(Error::data(format!(
                "{span}: frames of {rows} x {rows} pixels, wanted {n} x {n} as before"
            )));
        }
        let positions = input.position.to_f64()?;
        if positions.len() != 2 * count {
            let found = input.position.shape();
            return Err(Error::data(format!(
                "{span}: positions of shape {found:?}, wanted two numbers for each of {count} frames"
            )));
        }
        let counts = input.image.to_f64()?;
        let (mask, bad) = (input.mask.map(|m| m.to_f64()), input.bad.map(|m| m.to_f64()));
        let (mask, bad) = (mask.transpose()?, bad.transpose()?);
        let pixels = n * n;
        let sizes = [(mask.as_ref(), counts.len()), (bad.as_ref(), pixels)];
        if let Some((found, wanted)) =
            sizes.iter().find_map(|(m, w)| m.filter(|m| m.len() != *w).map(|m| (m.len(), w)))
        {
            return Err(Error::data(format!("{span}: a mask of {found} pixels, wanted {wanted}")));
        }
        let resolution = work.session.geometry.resolution();
        for k in 0..count {
            cx.check()?;
            let at = [positions[2 * k] / resolution, positions[2 * k + 1] / resolution];
            let good = |i: usize| {
                mask.as_ref().is_none_or(|m| m[k * pixels + i] == 0.0)
                    && bad.as_ref().is_none_or(|m| m[i] == 0.0)
            };
            let propagator = &work.session.model.propagator;
            let (frame, refused) =
                Frame::new(propagator, span.start + k as u64, at, |i| counts[k * pixels + i], good);
            if !at.iter().all(|x| x.is_finite()) {
                let number = span.start + k as u64;
                return Err(Error::data(format!("frame {number}: its position is no number"))
                    .help("every frame needs one: does the file hold positions? `flow.join` brings them from elsewhere"));
            }
            work.refused += refused as u64;
            if !work.session.take(frame) {
                work.dark += 1;
            }
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // A scan with a point less is still a scan: what is left overlaps.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        let Some(work) = &mut self.work else { return Ok(()) };
        if work.session.frames() == 0 {
            let dark = work.dark;
            return Err(Error::data(format!("none of {dark} frames has a good pixel"))
                .help("check the mask: 0 is good, anything else bad"));
        }
        work.session.all_in();
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let Some(work) = &mut self.work else { return Ok(Fitness { cost: f64::INFINITY, more: false }) };
        loop {
            cx.check()?;
            work.session.step(&|n, piece| cx.par(n, piece))?;
            let more = work.session.more();
            if !more || slice.over() {
                let last =
                    work.session.records.last().map_or(f64::INFINITY, |r| {
                        if r.errors[0].is_nan() { r.errors[1] } else { r.errors[0] }
                    });
                if !more && work.session.done() {
                    work.warn();
                }
                return Ok(Fitness { cost: last, more });
            }
        }
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<ReconstructOut>> {
        let Some(work) = self.work.as_ref().filter(|w| !w.session.records.is_empty()) else {
            return Ok(None);
        };
        work.show().map(Some)
    }

    fn save(&self) -> Result<Dict> {
        self.work.as_ref().map_or_else(|| Ok(Dict::new()), Work::save)
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.work = None;
        if state.is_empty() {
            return Ok(());
        }
        let (n, given, seed) = Work::kept(&state)?;
        let probe = match state.get("given") {
            Some(Value::Array(probe)) => Some(probe),
            _ => None,
        };
        let mut work = self.work(n, given, seed, probe)?;
        work.load(&state)?;
        self.work = Some(work);
        Ok(())
    }
}
declare!(Fit, "ptycho.reconstruct", Kind::Fitter, Reconstruct);

impl Reconstruct {
    fn begin(&self, cx: &Cx, n: usize, input: &ReconstructIn) -> Result<Work> {
        let own =
            Given { energy: self.energy, distance: self.distance, psize: self.psize, center: self.center };
        let wired = Given {
            energy: input.energy,
            distance: input.distance,
            psize: input.psize,
            center: pair(&input.center)?,
        }
        .with_frames(&input.axis, &input.pixel)?;
        let seed: u64 = rand::RngExt::random(&mut cx.rng(0));
        let mut work = self.work(n, own.or(wired), seed, input.probe.as_ref())?;
        if let Some(object) = &input.object {
            work.session.given_object = Some(given_object(object, pair(&input.object_center)?)?);
        }
        Ok(work)
    }

    fn work(&self, n: usize, given: Given, seed: u64, probe: Option<&Array>) -> Result<Work> {
        let task = Task {
            engines: self.engines.clone(),
            illumination: self.illumination.clone(),
            coherence: self.coherence.clone(),
            resample: self.resample,
            object_modes: self.object_modes,
            fill: Complex::new(self.fill, 0.0),
            start: self.object_start,
            min_frames: self.min_frames,
            ageing: self.stale_half_life.map(Ageing),
            photons_every: self.photons_every,
            seed,
        };
        let geometry = given.geometry(n, self.propagation)?;
        let mut session = Session::new(task, Geometry { pixel: self.resolution, ..geometry })?;
        // The probe fills a window of the object, which may be larger than a frame.
        let n = session.geometry.n;
        if let Some(probe) = probe {
            let modes = complex(probe)?;
            if probe.shape().len() != 3 || probe.shape()[1..] != [n, n] {
                let found = probe.shape();
                return Err(Error::data(format!(
                    "the probe to begin with has the shape {found:?}, wanted [modes {n} {n}]"
                ))
                .help(
                    "crop or pad it to the window of a frame, or begin with an aperture (`illumination`)",
                ));
            }
            session.given = Some(modes.chunks_exact(n * n).map(<[Complex<f64>]>::to_vec).collect());
        }
        Ok(Work { session, given, seed, refused: 0, dark: 0, warned: false })
    }
}

/// An object of an earlier reconstruction out of its array.
pub(super) fn given_object(object: &Array, center: Option<[f64; 2]>) -> Result<GivenObject> {
    let &[_, rows, columns] = object.shape() else {
        let found = object.shape();
        return Err(Error::data(format!(
            "the object to begin with has the shape {found:?}, wanted [mode y x]"
        )));
    };
    let modes = complex(object)?.chunks_exact(rows * columns).map(<[Complex<f64>]>::to_vec).collect();
    let middle = [(rows / 2) as f64, (columns / 2) as f64];
    Ok(GivenObject { shape: [rows, columns], modes, center: center.unwrap_or(middle) })
}
