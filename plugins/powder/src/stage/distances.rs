//! `powder.distances`: one geometry, and the wavelength, from powder rings at several distances.

use isard_core::prelude::*;
use isard_geometry::{Grid, Poni, energy_of};

use super::beam::{
    ANGSTROM, bad_pixels, check_beam, check_frames, check_powder, powder, shape_of, wavelength,
};
use super::calibrate::{add_frames, one, told};
use super::kept;
use super::rings::visible_lines;
use crate::accumulate::Accumulator;
use crate::calibrate::{Calibration, Estimate, Joint, Setup, Step, View};

/// Finds a detector's geometry and the wavelength from rings at several distances.
///
/// Frames come with the reading of the stage that moves the detector along the beam. Those of one reading are summed and
/// calibrated as by `powder.calibrate`; then one least-squares fit over the ring positions of all readings gives the
/// distance at reading 0, the beam centre and its drift with the reading, two tilts and, with `fit_wavelength`, the
/// wavelength: what one distance alone cannot tell from the distance.
///
/// Takes all frames and gives one geometry when all are in. Five operations a pixel and frame; some 0.3 s for each million
/// pixels and reading at the end. Keeps 13 bytes a pixel and reading.
///
/// Source: the PONI convention of detector geometry; Hong et al., J. Appl. Cryst. 54 (2021), many distances at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Distances {
    /// The powder by its name, as in `powder.calibrate`; CeO2 if none is named.
    calibrant: Option<String>,
    /// The lattice spacings of another powder.
    #[schemars(extend("x-unit" = "angstrom"))]
    spacings: Vec<f64>,
    /// The photon energy, or where its fit begins, unless the wavelength is given.
    #[schemars(extend("x-unit" = "keV", "x-shared" = "experiment.energy"))]
    energy: Option<f64>,
    /// The wavelength, or where the fit of it begins, unless the energy is given.
    #[schemars(extend("x-unit" = "angstrom"))]
    wavelength: Option<f64>,
    /// Whether the wavelength is fitted.
    fit_wavelength: bool,
    /// The edge of a pixel, unless the input gives it.
    #[schemars(extend("x-unit" = "um", "x-shared" = "experiment.pixel"))]
    pixel: Option<f64>,
    /// Readings that differ by no more than this are the same.
    #[schemars(extend("x-unit" = "mm"))]
    same: f64,
    /// The reading that the geometry file is for; without it that of the last frame.
    #[schemars(extend("x-unit" = "mm"))]
    at: Option<f64>,
    /// The beam's polarisation, to correct for: 1 horizontal, -1 vertical.
    #[schemars(range(min = -1, max = 1))]
    polarisation: Option<f64>,
    /// A pixel that ever reaches this is left out for good.
    #[schemars(extend("x-unit" = "count"))]
    saturation: Option<f64>,
    /// Rings that do not count, from 1 at the beam outwards.
    skip_rings: Vec<usize>,
    #[serde(skip)]
    #[schemars(skip)]
    work: Option<Work>,
}

impl Default for Distances {
    fn default() -> Self {
        Distances {
            calibrant: None,
            spacings: vec![],
            energy: None,
            wavelength: None,
            fit_wavelength: true,
            pixel: None,
            same: 0.001,
            at: None,
            polarisation: None,
            saturation: None,
            skip_rings: vec![],
            work: None,
        }
    }
}

/// What frames have come to.
struct Work {
    /// The beam that was believed and the pixels, in metres.
    wavelength: f64,
    pixel: f64,
    setup: Setup,
    mask: Vec<bool>,
    stops: Vec<Stop>,
    /// The reading of the last frame, in metres.
    last: f64,
    complete: bool,
    running: Option<Calibration>,
    found: Option<Joint>,
}

/// One reading, in metres, with its frames.
struct Stop {
    reading: f64,
    acc: Accumulator,
    view: Option<(View, Estimate)>,
}

/// The input of [`Distances`].
#[derive(Ports)]
pub struct DistancesIn {
    /// Frames of powder rings.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// The reading of the stage that moves the detector, growing away from the sample.
    #[port(dtype = "number", axes = "", unit = "mm")]
    position: Array,
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

/// The output of [`Distances`].
#[derive(Ports)]
pub struct DistancesOut {
    /// The distance along the beam at reading 0.
    #[port(unit = "mm")]
    distance: f64,
    /// Its standard deviation.
    #[port(unit = "mm")]
    distance_sigma: f64,
    /// The row the direct beam hits at reading 0, from pixel (0, 0)'s outer edge.
    #[port(unit = "pixel")]
    row: f64,
    /// Its standard deviation.
    #[port(unit = "pixel")]
    row_sigma: f64,
    /// The column the direct beam hits at reading 0, from pixel (0, 0)'s outer edge.
    #[port(unit = "pixel")]
    column: f64,
    /// Its standard deviation.
    #[port(unit = "pixel")]
    column_sigma: f64,
    /// How far the beam moves along the rows for each millimetre.
    row_drift: f64,
    /// How far the beam moves along the columns for each millimetre.
    column_drift: f64,
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
    /// The wavelength.
    #[port(unit = "angstrom")]
    wavelength: f64,
    /// Its standard deviation; 0 where it is not fitted.
    #[port(unit = "angstrom")]
    wavelength_sigma: f64,
    /// The photon energy.
    #[port(unit = "keV")]
    energy: f64,
    /// How far ring positions lie off their rings, root mean square.
    #[port(unit = "pixel")]
    rms: f64,
    /// Squares over degrees of freedom.
    chi2_dof: f64,
    /// How many frames the geometry rests on.
    #[port(unit = "frame")]
    frames: i64,
    /// Distances of each reading: in the fit of all, and in one of its own.
    ///
    /// Along the beam; that of its own is at the wavelength that was believed.
    #[port(columns = "position: f64 mm, distance: f64 mm, alone: f64 mm, rings: u32")]
    readings: Table,
    /// The geometry at the reading `at` as the text of a PONI file.
    poni: String,
}

impl Stage for Distances {
    type In = DistancesIn;
    type Out = DistancesOut;

    fn example() -> Example {
        let (frames, shape, mask) = super::simulate::example_distances();
        let readings: Vec<f64> = (0..shape[0]).map(|k| if k < shape[0] / 2 { 0.0 } else { 6.0 }).collect();
        let set = "calibrant = \"Si\"\nenergy = 30.0\npixel = 150.0\npolarisation = 0.95";
        let example = Example::new(set)
            .frames("image", Array::of(&shape, &frames).expect("as many pixels as the frames have"))
            .frames("position", Array::from_slice(&readings))
            .fixed("mask", Array::of(&shape[1..], &mask).expect("as many pixels as a frame has"));
        let numbers = ["distance", "row", "column", "rot1", "rot2", "wavelength", "rms"];
        // The answer depends on the sums of all frames alone.
        numbers.into_iter().fold(example, |example, port| example.tolerance(port, 0.0))
    }

    fn check(&self, faults: &mut Faults) {
        check_beam(self.energy, self.wavelength, faults);
        check_powder(self.calibrant.as_deref(), &self.spacings, faults);
        let positive = [("pixel", self.pixel), ("saturation", self.saturation)];
        check_frames(positive, &self.skip_rings, self.polarisation, faults);
        if !(self.same.is_finite() && self.same >= 0.0) {
            faults.add("same", format!("found {}, wanted 0 or more", self.same));
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let beam = self.energy.or(self.wavelength).map(|_| 1.0);
        let wired = |port: &str| input.has(port).then_some(1.0);
        one("wavelength", "energy", beam, wired("wavelength"))?;
        one("pixel", "pixel", self.pixel.map(|_| 1.0), wired("pixel"))?;
        Ok(Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.iter().flatten().product::<usize>();
        Cost {
            // Sums of a few readings, and the images of a refinement.
            memory: 140 * pixels as u64,
            seconds_per_record: 2e-9 * pixels as f64,
            seconds: 3e-6 * pixels as f64,
            ..Cost::default()
        }
    }
}

impl Fit for Distances {
    fn absorb(&mut self, cx: &Cx, span: &Span, input: DistancesIn) -> Result<()> {
        let shape = shape_of(span, &input.image, self.work.as_ref().map(|w| w.setup.grid.shape))?;
        if self.work.is_none() {
            self.work = Some(self.begin(shape, &input)?);
        }
        let (saturation, same) = (self.saturation, self.same / 1e3);
        let work = self.work.as_mut().ok_or_else(|| Error::internal("no sums after they were begun"))?;
        let readings = input.position.to_f64()?;
        for (frame, reading) in readings.iter().enumerate().take(input.image.shape()[0]) {
            if !reading.is_finite() {
                let number = span.start + frame as u64;
                return Err(Error::data(format!("`position` of frame {number} is {reading}")));
            }
            let acc = work.stop(reading / 1e3, same);
            add_frames(cx, acc, &input.image.records(frame..frame + 1)?, saturation)?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Frames that did not come are not in the sums, which is all that counts.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        if let Some(work) = &mut self.work {
            work.complete = true;
        }
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let fit_wavelength = self.fit_wavelength;
        // One reading more may turn everything: until all are in there is nothing to show.
        let Some(work) = self.work.as_mut().filter(|w| w.complete && w.found.is_none()) else {
            let found = self.work.as_ref().and_then(|w| w.found.as_ref());
            return Ok(Fitness { cost: found.map_or(f64::INFINITY, |j| j.chi2_dof), more: false });
        };
        loop {
            cx.check()?;
            let more = work.step(fit_wavelength)?;
            if !more || slice.over() {
                let cost = work.found.as_ref().map_or(f64::INFINITY, |j| j.chi2_dof);
                return Ok(Fitness { cost, more });
            }
        }
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<DistancesOut>> {
        let Some((work, joint)) = self.work.as_ref().and_then(|w| Some((w, w.found.as_ref()?))) else {
            return Ok(None);
        };
        let (grid, sigma) = (&work.setup.grid, joint.sigma());
        let [row, column] = grid.index(joint.centre());
        let (mut position, mut distance, mut alone, mut rings) = (vec![], vec![], vec![], vec![]);
        for stop in &work.stops {
            let Some((view, estimate)) = &stop.view else { continue };
            position.push(view.reading * 1e3);
            distance.push((joint.distance() + view.reading) * 1e3);
            alone.push(view.pose.dist / (view.pose.rot1.cos() * view.pose.rot2.cos()) * 1e3);
            rings.push(estimate.rings as u32);
        }
        let readings = Table::new(position.len());
        let readings = readings.with("position", &position)?.with("distance", &distance)?;
        let wavelength = work.wavelength * joint.stretch();
        Ok(Some(DistancesOut {
            distance: joint.distance() * 1e3,
            distance_sigma: sigma[0] * 1e3,
            row,
            row_sigma: sigma[1] / grid.pixel[0],
            column,
            column_sigma: sigma[2] / grid.pixel[1],
            row_drift: joint.drift()[0] / grid.pixel[0] / 1e3,
            column_drift: joint.drift()[1] / grid.pixel[1] / 1e3,
            rot1: joint.tilts()[0].to_degrees(),
            rot1_sigma: sigma[3].to_degrees(),
            rot2: joint.tilts()[1].to_degrees(),
            rot2_sigma: sigma[4].to_degrees(),
            wavelength: wavelength / ANGSTROM,
            wavelength_sigma: sigma[7] * wavelength / ANGSTROM,
            energy: energy_of(wavelength),
            rms: joint.rms,
            chi2_dof: joint.chi2_dof,
            frames: work.stops.iter().map(|s| s.acc.frames() as i64).sum(),
            readings: readings.with("alone", &alone)?.with("rings", &rings)?,
            poni: self.poni(work, joint, wavelength)?,
        }))
    }

    fn save(&self) -> Result<Dict> {
        let Some(work) = &self.work else { return Ok(Dict::new()) };
        let mut stops = vec![];
        for stop in &work.stops {
            stops.push(Value::Dict(kept::save_sums(&stop.acc)?.with("reading", stop.reading)));
        }
        let mask: Vec<u8> = work.mask.iter().map(|m| u8::from(*m)).collect();
        Ok(Dict::new()
            .with("wavelength", work.wavelength)
            .with("pixel", work.pixel)
            .with("last", work.last)
            .with("mask", Array::of(&work.setup.grid.shape, &mask)?)
            .with("stops", Value::List(stops.into())))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.work = None;
        if state.is_empty() {
            return Ok(());
        }
        let mask = kept::array(&state, "mask")?;
        let &[rows, columns] = mask.shape() else {
            return Err(Error::data(format!("a kept mask has shape {:?}", mask.shape())));
        };
        let mask = mask.as_slice::<u8>()?.iter().map(|m| *m != 0).collect();
        let beam = [kept::number(&state, "wavelength")?, kept::number(&state, "pixel")?];
        let mut work = self.work([rows, columns], beam, mask)?;
        work.last = kept::number(&state, "last")?;
        let Value::List(stops) = state.need("stops")? else {
            return Err(Error::data("kept `stops` are no list"));
        };
        for stop in stops.iter() {
            let Value::Dict(stop) = stop else { return Err(Error::data("a kept stop is no dict")) };
            let (reading, acc) = (kept::number(stop, "reading")?, kept::load_sums(stop)?);
            work.stops.push(Stop { reading, acc, view: None });
        }
        self.work = Some(work);
        Ok(())
    }
}
declare!(Fit, "powder.distances", Kind::Fitter, Distances);

impl Distances {
    /// Nothing seen yet, for what the first frames came with.
    fn begin(&self, shape: [usize; 2], input: &DistancesIn) -> Result<Work> {
        let own = wavelength(self.energy, self.wavelength);
        let wavelength = one("wavelength", "energy", own, input.wavelength.map(|w| w * ANGSTROM))?;
        let pixel = one("pixel", "pixel", self.pixel.map(|p| p / 1e6), input.pixel.map(|p| p / 1e6))?;
        let mask =
            bad_pixels(input.mask.as_ref(), shape)?.unwrap_or_else(|| vec![false; shape[0] * shape[1]]);
        self.work(shape, [wavelength, pixel], mask)
    }

    fn work(&self, shape: [usize; 2], [wavelength, pixel]: [f64; 2], mask: Vec<bool>) -> Result<Work> {
        let powder = powder(self.calibrant.as_deref(), &self.spacings)?;
        let mut setup = Setup::new(Grid::new(shape, [pixel; 2]), &powder, wavelength);
        setup.polarisation = self.polarisation;
        setup.angles = visible_lines(setup.angles, &self.skip_rings, wavelength / ANGSTROM)?;
        Ok(Work {
            wavelength,
            pixel,
            setup,
            mask,
            stops: vec![],
            last: 0.0,
            complete: false,
            running: None,
            found: None,
        })
    }

    /// The geometry at a reading as the text of a PONI file.
    fn poni(&self, work: &Work, joint: &Joint, wavelength: f64) -> Result<String> {
        let at = self.at.map_or(work.last, |at| at / 1e3);
        let mut poni = Poni::new(&work.setup.grid, joint.pose(at), Some(wavelength));
        if self.spacings.is_empty() {
            let name = powder(self.calibrant.as_deref(), &[])?.name;
            poni.extra.push(("Calibrant".into(), name));
        }
        let at = format!("at a reading of {} mm of {}, calibrated by isard", at * 1e3, work.stops.len());
        Ok(poni.write(&[&at]))
    }
}

impl Work {
    /// The sums of a reading.
    fn stop(&mut self, reading: f64, same: f64) -> &mut Accumulator {
        self.last = reading;
        let at = self.stops.iter().position(|s| (s.reading - reading).abs() <= same);
        let at = at.unwrap_or_else(|| {
            let mut acc = Accumulator::new(self.setup.grid.shape);
            acc.mask(self.mask.iter().copied());
            self.stops.push(Stop { reading, acc, view: None });
            self.stops.len() - 1
        });
        &mut self.stops[at].acc
    }

    /// One step of the calibration of a reading, or the fit of all; whether another would help.
    fn step(&mut self, fit_wavelength: bool) -> Result<bool> {
        let Some(stop) = self.stops.iter_mut().find(|s| s.view.is_none()) else {
            let views: Vec<View> =
                self.stops.iter().filter_map(|s| s.view.as_ref()).map(|v| v.0.clone()).collect();
            let joint = Joint::fit(&views, fit_wavelength).ok_or_else(|| {
                let found = format!("{} readings do not tell the geometry", views.len());
                Error::data(found).help("take frames at readings farther apart, or more rings")
            })?;
            self.found = Some(joint);
            return Ok(false);
        };
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Calibration::new(&self.setup, &stop.acc, None).map_err(told)?,
        };
        let at = |error: Error| error.at(format!("reading {} mm", stop.reading * 1e3));
        match running.step().map_err(told).map_err(at)? {
            Step::More => self.running = Some(running),
            Step::Done(estimate) => {
                let seen = running.observe(&estimate);
                let view = View { reading: stop.reading, pose: estimate.pose, seen };
                stop.view = Some((view, *estimate));
            }
        }
        Ok(true)
    }
}
