//! `powder.calibrate`: where the detector stands, from powder rings, while frames arrive.

use isard_core::prelude::*;
use isard_geometry::{Calibrant, Grid, Poni};

use super::beam::{
    ANGSTROM, bad_pixels, check_beam, check_frames, check_powder, powder, shape_of, wavelength,
};
use super::kept;
use super::rings;
use crate::accumulate::Accumulator;
use crate::calibrate::{Calibration, CalibrationError, Estimate, Setup, Step};

/// Finds a detector's distance, beam centre and two tilts from powder rings.
///
/// No first guess is needed: the frames are summed, ridges of the sum vote for the centre, and the radii of the rings give
/// the distance. Least squares on the positions of the rings in azimuthal sectors then give the geometry with its
/// uncertainties, which follow from the noise of counting and grow where rings scatter more than that. Negative values
/// (gaps, dead pixels), masked pixels and pixels that ever reach `saturation` do not count. Values must be counts, or
/// the uncertainties are not true. It may rotate freely about the beam: rings do not show `Rot3`, which is 0.
///
/// Takes all frames and gives one geometry, and a snapshot of it while they arrive. The last one starts anew from the sum
/// of all frames, so it is the same live and offline, to the last bit. Five operations a pixel and frame; a
/// refinement takes some 0.1 s for each million pixels. Keeps 13 bytes a pixel.
///
/// Source: the PONI convention of detector geometry; ridges by the structure tensor (Bigun and Granlund 1987).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Calibrate {
    /// The powder by its name; CeO2 if none is named.
    ///
    /// LaB6, Si, AgBh, Al2O3, Au, Pt, Ni, Al, NaCl, ZnO, TiO2, Cr2O3, CuO, quartz, cristobalite, diamond, graphite, C60, PBBA,
    /// C14H30O, hydrocerussite, vanadinite, verneite, lysozyme, and `_SRM` forms of LaB6, Si and Al2O3.
    calibrant: Option<String>,
    /// The lattice spacings of another powder.
    #[schemars(extend("x-unit" = "angstrom"))]
    spacings: Vec<f64>,
    /// The photon energy, unless the wavelength is given here or by the input.
    #[schemars(extend("x-unit" = "keV", "x-shared" = "experiment.energy"))]
    energy: Option<f64>,
    /// The wavelength, unless the energy is given here or the wavelength by the input.
    #[schemars(extend("x-unit" = "angstrom"))]
    wavelength: Option<f64>,
    /// The edge of a pixel, unless the input gives it.
    #[schemars(extend("x-unit" = "um", "x-shared" = "experiment.pixel"))]
    pixel: Option<f64>,
    /// The least and the greatest distance, if anything is known of it.
    #[schemars(extend("x-unit" = "mm"))]
    distance: Option<[f64; 2]>,
    /// The beam's polarisation, to correct for: 1 horizontal, -1 vertical.
    #[schemars(range(min = -1, max = 1))]
    polarisation: Option<f64>,
    /// A pixel that ever reaches this is left out for good.
    #[schemars(extend("x-unit" = "count"))]
    saturation: Option<f64>,
    /// Rings that do not count, from 1 at the beam outwards.
    ///
    /// Such as those over which lie the rings of something else.
    skip_rings: Vec<usize>,
    #[serde(skip)]
    #[schemars(skip)]
    work: Option<Work>,
}

/// A calibration that has seen frames.
struct Work {
    /// The beam and the pixels, in metres: what the setup was made of.
    wavelength: f64,
    pixel: f64,
    setup: Setup,
    acc: Accumulator,
    running: Option<Calibration>,
    estimate: Option<Estimate>,
    /// Where the last answer stands.
    end: End,
}

/// How far it is to the last answer.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Frames still come.
    Open,
    /// All frames are in.
    Complete,
    /// The last answer is found.
    Found,
}

/// The input of [`Calibrate`].
#[derive(Ports)]
pub struct CalibrateIn {
    /// Frames of powder rings.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// Bad pixels: 0 is good, anything else bad.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// The wavelength, unless a parameter gives it or the energy.
    #[port(unit = "angstrom")]
    wavelength: Option<f64>,
    /// The edge of a pixel, unless a parameter gives it.
    #[port(unit = "um")]
    pixel: Option<f64>,
}

/// The output of [`Calibrate`].
#[derive(Ports)]
pub struct CalibrateOut {
    /// The distance from the sample to the detector, along its normal.
    #[port(unit = "mm")]
    distance: f64,
    /// Its standard deviation.
    #[port(unit = "mm")]
    distance_sigma: f64,
    /// The row the direct beam hits, from the outer edge of pixel (0, 0).
    #[port(unit = "pixel")]
    row: f64,
    /// Its standard deviation.
    #[port(unit = "pixel")]
    row_sigma: f64,
    /// The column the direct beam hits, from the outer edge of pixel (0, 0).
    #[port(unit = "pixel")]
    column: f64,
    /// Its standard deviation.
    #[port(unit = "pixel")]
    column_sigma: f64,
    /// Tilt about the vertical axis, `Rot1` of a PONI file.
    #[port(unit = "degree")]
    rot1: f64,
    /// Its standard deviation.
    #[port(unit = "degree")]
    rot1_sigma: f64,
    /// Tilt about the horizontal axis, `Rot2` of a PONI file.
    #[port(unit = "degree")]
    rot2: f64,
    /// Its standard deviation.
    #[port(unit = "degree")]
    rot2_sigma: f64,
    /// How many rings the geometry rests on.
    rings_used: i64,
    /// How far ring positions lie off their rings, root mean square.
    #[port(unit = "pixel")]
    rms: f64,
    /// Squares over degrees of freedom, with the noise of counting alone.
    chi2_dof: f64,
    /// How many frames the geometry rests on.
    #[port(unit = "frame")]
    frames: i64,
    /// The mean of the good values; not a number where there is none.
    #[port(dtype = "f32", axes = "y x", unit = "count")]
    image: Array,
    /// The rings as lines over the image, from the centre of pixel (0, 0).
    #[port(columns = "line: u32, y: f32 pixel, x: f32 pixel")]
    rings: Table,
    /// The geometry as the text of a PONI file.
    poni: String,
}

impl Stage for Calibrate {
    type In = CalibrateIn;
    type Out = CalibrateOut;

    fn example() -> Example {
        let (frames, shape, mask) = super::simulate::example_frames();
        let example = Example::new("calibrant = \"Si\"\nenergy = 30.0\npixel = 150.0\npolarisation = 0.95")
            .frames("image", Array::of(&shape, &frames).expect("as many pixels as the frames have"))
            .fixed("mask", Array::of(&shape[1..], &mask).expect("as many pixels as a frame has"));
        let numbers = ["distance", "row", "column", "rot1", "rot2", "rms", "chi2_dof"];
        // The last answer depends on the sum of all frames alone.
        numbers.into_iter().fold(example, |example, port| example.tolerance(port, 0.0))
    }

    fn check(&self, faults: &mut Faults) {
        check_beam(self.energy, self.wavelength, faults);
        check_powder(self.calibrant.as_deref(), &self.spacings, faults);
        let positive = [("pixel", self.pixel), ("saturation", self.saturation)];
        check_frames(positive, &self.skip_rings, self.polarisation, faults);
        if let Some([low, high]) = self.distance
            && !(0.0 < low && low < high && high.is_finite())
        {
            faults.add("distance", format!("found {low} and {high} mm, wanted two rising ones above 0"));
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        // Which inputs are wired is known here: what nobody gives need not wait for the first frame.
        let beam = self.energy.or(self.wavelength).map(|_| 1.0);
        let wired = |port: &str| input.has(port).then_some(1.0);
        one("wavelength", "energy", beam, wired("wavelength"))?;
        one("pixel", "pixel", self.pixel.map(|_| 1.0), wired("pixel"))?;
        let dims = input.get("image").dims;
        Ok(Shapes::default().with("image", Shape { dtype: Some(Dtype::F32), dims }))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.iter().flatten().product::<usize>();
        Cost {
            // Sums, and the images of a refinement.
            memory: 80 * pixels as u64,
            seconds_per_record: 2e-9 * pixels as f64,
            seconds: 1e-6 * pixels as f64,
            ..Cost::default()
        }
    }
}

impl Fit for Calibrate {
    fn absorb(&mut self, cx: &Cx, span: &Span, input: CalibrateIn) -> Result<()> {
        let shape = shape_of(span, &input.image, self.work.as_ref().map(|w| w.acc.shape()))?;
        if self.work.is_none() {
            self.work = Some(self.begin(shape, &input)?);
        }
        let saturation = self.saturation;
        let work = self.work.as_mut().ok_or_else(|| Error::internal("no sums after they were begun"))?;
        work.add(cx, &input.image, saturation)
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Frames that did not come are not in the mean, which is all that counts.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        if let Some(work) = &mut self.work {
            work.running = None;
            work.end = End::Complete;
        }
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let Some(work) = self.work.as_mut().filter(|w| w.end != End::Found) else {
            let cost =
                self.work.as_ref().and_then(|w| w.estimate.as_ref()).map_or(f64::INFINITY, |e| e.chi2_dof);
            return Ok(Fitness { cost, more: false });
        };
        loop {
            cx.check()?;
            let more = work.step()?;
            if !more || slice.over() {
                let cost = work.estimate.as_ref().map_or(f64::INFINITY, |e| e.chi2_dof);
                return Ok(Fitness { cost, more });
            }
        }
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<CalibrateOut>> {
        let Some((work, estimate)) = self.work.as_ref().and_then(|w| Some((w, w.estimate.as_ref()?))) else {
            return Ok(None);
        };
        let sigma = estimate.sigma();
        let grid = &work.setup.grid;
        Ok(Some(CalibrateOut {
            distance: estimate.pose.dist * 1e3,
            distance_sigma: sigma[0] * 1e3,
            row: estimate.centre[0],
            row_sigma: estimate.centre_sigma[0],
            column: estimate.centre[1],
            column_sigma: estimate.centre_sigma[1],
            rot1: estimate.pose.rot1.to_degrees(),
            rot1_sigma: sigma[3].to_degrees(),
            rot2: estimate.pose.rot2.to_degrees(),
            rot2_sigma: sigma[4].to_degrees(),
            rings_used: estimate.rings as i64,
            rms: estimate.rms,
            chi2_dof: estimate.chi2_dof,
            frames: estimate.frames as i64,
            image: work.mean()?,
            rings: rings::lines(grid, &estimate.pose, &work.setup.angles)?,
            poni: self.poni(work, estimate)?,
        }))
    }

    fn save(&self) -> Result<Dict> {
        let Some(work) = &self.work else { return Ok(Dict::new()) };
        let state = Dict::new()
            .with("wavelength", work.wavelength)
            .with("pixel", work.pixel)
            .with("sums", kept::save_sums(&work.acc)?);
        Ok(match &work.estimate {
            Some(estimate) => state.with("estimate", kept::save_estimate(estimate)),
            None => state,
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.work = None;
        if state.is_empty() {
            return Ok(());
        }
        let number = |key: &str| kept::number(&state, key);
        let acc = match state.need("sums")? {
            Value::Dict(sums) => kept::load_sums(sums)?,
            other => return Err(Error::data(format!("kept sums are {}, wanted a dict", other.describe()))),
        };
        let mut work = self.work(acc.shape(), number("wavelength")?, number("pixel")?)?;
        work.acc = acc;
        if state.get("estimate").is_some() {
            work.estimate = Some(kept::load_estimate(kept::array(&state, "estimate")?)?);
        }
        self.work = Some(work);
        Ok(())
    }
}
declare!(Fit, "powder.calibrate", Kind::Fitter, Calibrate);

impl Calibrate {
    fn powder(&self) -> Result<Calibrant> {
        powder(self.calibrant.as_deref(), &self.spacings)
    }

    /// A calibration without frames, for what the first ones came with.
    fn begin(&self, shape: [usize; 2], input: &CalibrateIn) -> Result<Work> {
        let own = wavelength(self.energy, self.wavelength);
        let wavelength = one("wavelength", "energy", own, input.wavelength.map(|w| w * ANGSTROM))?;
        let pixel = one("pixel", "pixel", self.pixel.map(|p| p / 1e6), input.pixel.map(|p| p / 1e6))?;
        let mut work = self.work(shape, wavelength, pixel)?;
        if let Some(bad) = bad_pixels(input.mask.as_ref(), shape)? {
            work.acc.mask(bad);
        }
        Ok(work)
    }

    fn work(&self, shape: [usize; 2], wavelength: f64, pixel: f64) -> Result<Work> {
        let grid = Grid::new(shape, [pixel; 2]);
        let mut setup = Setup::new(grid, &self.powder()?, wavelength);
        setup.polarisation = self.polarisation;
        setup.distance = self.distance.map(|d| d.map(|d| d / 1e3));
        setup.angles = rings::visible_lines(setup.angles, &self.skip_rings, wavelength / ANGSTROM)?;
        let acc = Accumulator::new(shape);
        Ok(Work { wavelength, pixel, setup, acc, running: None, estimate: None, end: End::Open })
    }

    /// The geometry as the text of a PONI file.
    fn poni(&self, work: &Work, estimate: &Estimate) -> Result<String> {
        let mut poni = Poni::new(&work.setup.grid, estimate.pose, Some(work.wavelength));
        if self.spacings.is_empty() {
            poni.extra.push(("Calibrant".into(), self.powder()?.name));
        }
        let [distance, _, _, rot1, rot2] = estimate.sigma();
        let sure =
            format!("standard deviations: distance {distance:.1e} m, rot1 {rot1:.1e}, rot2 {rot2:.1e} rad");
        let rests = format!("{} rings of {} frames, calibrated by isard", estimate.rings, estimate.frames);
        Ok(poni.write(&[&rests, &sure]))
    }
}

/// The one of two places where a number is given.
pub(super) fn one(name: &str, parameter: &str, own: Option<f64>, input: Option<f64>) -> Result<f64> {
    match (own, input) {
        (Some(value), None) | (None, Some(value)) if value.is_finite() && value > 0.0 => Ok(value),
        (Some(_), Some(_)) => {
            Err(Error::recipe(format!("the {name} is given by a parameter and by the input"))
                .help("leave one out"))
        }
        (None, None) => Err(Error::recipe(format!("the {name} is not given"))
            .help(format!("set `{parameter}`, or wire the input `{name}`"))),
        (own, input) => {
            let found = own.or(input).unwrap_or(f64::NAN);
            Err(Error::data(format!("the {name} is {found}, wanted more than 0")))
        }
    }
}

impl Work {
    /// Adds frames to the sums.
    fn add(&mut self, cx: &Cx, image: &Array, saturation: Option<f64>) -> Result<()> {
        add_frames(cx, &mut self.acc, image, saturation)
    }

    /// Takes one step of refinement; returns whether another one would help.
    fn step(&mut self) -> Result<bool> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => {
                // The last answer must not depend on what was thought before.
                let before = self.estimate.as_ref().filter(|_| self.end == End::Open);
                Calibration::new(&self.setup, &self.acc, before).map_err(told)?
            }
        };
        match running.step() {
            Ok(Step::More) => {
                self.running = Some(running);
                return Ok(true);
            }
            Ok(Step::Done(estimate)) => {
                self.estimate = Some(*estimate);
                if self.end == End::Complete {
                    self.end = End::Found;
                }
            }
            Err(error) if self.end == End::Complete => return Err(told(error)),
            // More frames may show more rings.
            Err(_) => (),
        }
        Ok(false)
    }

    /// The mean of the good values.
    fn mean(&self) -> Result<Array> {
        let [rows, columns] = self.acc.shape();
        let mean = |i: usize| match self.acc.count(i) {
            0 => f32::NAN,
            n => (self.acc.sum(i) / f64::from(n)) as f32,
        };
        Array::of(&[rows, columns], &(0..rows * columns).map(mean).collect::<Vec<_>>())
    }
}

/// Adds frames to a sum.
pub(super) fn add_frames(
    cx: &Cx,
    acc: &mut Accumulator,
    image: &Array,
    saturation: Option<f64>,
) -> Result<()> {
    let [rows, columns] = acc.shape();
    macro_rules! add {
        ($t:ty) => {
            for frame in image.as_slice::<$t>()?.chunks_exact(rows * columns) {
                cx.check()?;
                acc.add(frame, saturation);
            }
        };
    }
    match image.dtype() {
        Dtype::U8 => add!(u8),
        Dtype::U16 => add!(u16),
        Dtype::U32 => add!(u32),
        Dtype::I32 => add!(i32),
        Dtype::F32 => add!(f32),
        _ => {
            for frame in image.to_f64()?.chunks_exact(rows * columns) {
                cx.check()?;
                acc.add(frame, saturation);
            }
        }
    }
    Ok(())
}

/// What went wrong and what to try.
pub(super) fn told(error: CalibrationError) -> Error {
    let text = error.to_string();
    match text.split_once("; ") {
        Some((what, help)) => Error::data(what).help(help),
        None => Error::data(text),
    }
}
