//! A source that plays the scan of a simulated specimen.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::schemars;
use rand::RngExt;
use rand_distr::{Distribution, Poisson};

use crate::reduce::{above, orientation};
use crate::simulate::atoms::Crystal;
use crate::simulate::potential::Factors;
use crate::simulate::wave::{Beam, Waves};
use crate::source::{Axes, Axis};

/// Simulates the diffraction patterns of a scan over a crystal.
///
/// The specimen is `atoms`, an XYZ or CIF file with a cell of right angles, or silicon along [001], repeated. A probe with aberrations goes through
/// it slice by slice (`multislice`), or the projected potential turns its phase (`phase`). The pattern in the middle of the
/// field is the frame, in parts of the incident beam; with `dose` it is electrons counted with the noise they have, then
/// blurred and with dead pixels of 0; counts above 65535 stay there, as those of a detector do. The scan is turned against the detector as `rotation`, `flip` and `transpose` of
/// `stem.com` undo it. The head holds `axes`, `wavelength`, `radius` (of the bright-field disk in pixels), `potential` (of
/// one pass) and what was put in, so that results can be compared with the truth.
///
/// Frames in order; those in `lose` are missing. Two transforms of the field for each slice and frame, spread over all cores.
///
/// Source: E. J. Kirkland, Advanced Computing in Electron Microscopy, 2nd ed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Simulate {
    /// Atoms in an XYZ or CIF file; else silicon.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    atoms: Option<String>,
    /// How often the cell is repeated along z, y and x.
    #[serde(default = "cells")]
    repeat: [usize; 3],
    /// Scattering factors of further elements, by symbol.
    ///
    /// They are a, b, c and d of Kirkland, three of each.
    #[serde(default)]
    factors: BTreeMap<String, [f64; 12]>,
    /// How the specimen acts on the wave.
    #[serde(default)]
    model: Model,
    /// The thickest slice.
    #[serde(default = "slice")]
    #[schemars(range(min = 1e-12), extend("x-unit" = "m"))]
    slice: f64,
    /// Rows and columns of the field on which waves are computed.
    #[serde(default = "grid")]
    grid: [usize; 2],
    /// The acceleration voltage.
    #[serde(default = "voltage")]
    #[schemars(range(min = 1.0), extend("x-unit" = "V"))]
    voltage: f64,
    /// The semiconvergence angle.
    #[serde(default = "semiangle")]
    #[schemars(range(min = 0.0), extend("x-unit" = "rad"))]
    semiangle: f64,
    /// The defocus.
    #[serde(default)]
    #[schemars(extend("x-unit" = "m"))]
    defocus: f64,
    /// The spherical aberration.
    #[serde(default)]
    #[schemars(extend("x-unit" = "m"))]
    cs: f64,
    /// Lines and points of the scan.
    scan: [usize; 2],
    /// The step of the scan along y and x; else the scan covers one cell.
    #[serde(default)]
    #[schemars(extend("x-unit" = "m"))]
    step: Option<[f64; 2]>,
    /// Turns shifts on the detector clockwise on screen into the scan's frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    rotation: f64,
    /// Flips the y component of shifts before they are turned.
    #[serde(default)]
    flip: bool,
    /// Swaps the components of shifts before they are turned.
    #[serde(default)]
    transpose: bool,
    /// Rows and columns of the detector; else the whole field.
    #[serde(default)]
    shape: Option<[usize; 2]>,
    /// Electrons for each frame; without it frames are exact and of the type f32.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    dose: Option<f64>,
    /// The width of the detector's Gaussian blur; 0 for none.
    #[serde(default)]
    #[schemars(range(min = 0.0), extend("x-unit" = "pixel"))]
    blur: f64,
    /// Dead pixels, `[y, x]` each.
    #[serde(default)]
    dead: Vec<[usize; 2]>,
    /// Frames that do not come.
    #[serde(default)]
    lose: Vec<u64>,
    #[serde(skip)]
    #[schemars(skip)]
    play: Option<Play>,
}

fn cells() -> [usize; 3] {
    [1, 2, 2]
}
fn slice() -> f64 {
    1.36e-10
}
fn grid() -> [usize; 2] {
    [128, 128]
}
fn voltage() -> f64 {
    1e5
}
fn semiangle() -> f64 {
    0.02
}

/// How the specimen acts on the wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Slice by slice, with propagation between them.
    #[default]
    Multislice,
    /// By its projected potential alone.
    Phase,
}

/// Simulated frames.
#[derive(Ports)]
pub struct SimulateOut {
    /// Diffraction patterns: f32 parts of the beam, or u16 electrons.
    #[port(dtype = "f32|u16", axes = "y x")]
    image: Array,
}

/// A scan as it is played.
struct Play {
    waves: Waves,
    shape: [usize; 2],
    /// The place of each point, in angstrom.
    places: Vec<[f64; 2]>,
    next: u64,
}

impl Stage for Simulate {
    type In = ();
    type Out = SimulateOut;

    fn example() -> Example {
        Example::new(
            "scan = [2, 3]\ngrid = [32, 32]\nrepeat = [1, 1, 1]\nshape = [16, 16]\ndose = 1000.0\nblur = 0.5\ndead = [[3, 4]]\nlose = [4]",
        )
    }

    fn check(&self, faults: &mut Faults) {
        for (name, pair) in
            [("scan", self.scan), ("grid", self.grid), ("shape", self.shape.unwrap_or([1, 1]))]
        {
            if pair.contains(&0) {
                faults.add(name, format!("is {pair:?}, wanted at least 1 x 1"));
            }
        }
        if self.repeat.contains(&0) {
            faults.add("repeat", format!("is {:?}, wanted at least 1 each way", self.repeat));
        }
        if let Some(shape) = self.shape
            && (shape[0] > self.grid[0] || shape[1] > self.grid[1])
        {
            faults.add("shape", format!("is {shape:?}, which the field of {:?} does not hold", self.grid));
        }
        for (name, value) in [("voltage", self.voltage), ("semiangle", self.semiangle), ("slice", self.slice)]
        {
            if !(value > 0.0 && value.is_finite()) {
                faults.add(name, format!("is {value}, wanted a number above 0"));
            }
        }
        let shape = self.shape.unwrap_or(self.grid);
        if let Some(place) = self.dead.iter().find(|p| p[0] >= shape[0] || p[1] >= shape[1]) {
            faults.add("dead", format!("{place:?} is not on the detector of {shape:?}"));
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let field = (self.grid[0] * self.grid[1]) as f64;
        Cost { memory: (field * 160.0) as u64, seconds_per_record: field * 4e-7, ..Cost::default() }
    }
}

impl Source for Simulate {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let cell = self.cell()?;
        let own = |element: &str| match self.factors.get(element) {
            Some(all) => Some(Factors::new(*all)),
            None => Factors::of(element),
        };
        if let Some(atom) = cell.atoms.iter().find(|a| own(&a.element).is_none()) {
            return Err(Error::data(format!("no scattering factors of element `{}`", atom.element))
                .help(format!("give them under `factors`; known are {}", Factors::known())));
        }
        let beam = Beam {
            voltage: self.voltage,
            semiangle: self.semiangle,
            defocus: self.defocus * 1e10,
            cs: self.cs * 1e10,
        };
        let field = cell.repeated([1, self.repeat[1], self.repeat[2]]);
        cx.check()?;
        let waves = Waves::new(beam, &field, &own, self.grid, self.slice * 1e10);
        let shape = self.shape.unwrap_or(self.grid);
        let step = match self.step {
            Some(step) => step.map(|s| s * 1e10),
            None => [cell.edges[1] / self.scan[0] as f64, cell.edges[2] / self.scan[1] as f64],
        };
        let m = orientation(self.rotation, self.flip, self.transpose);
        let places = (0..self.scan[0] * self.scan[1])
            .map(|i| {
                let p = [(i / self.scan[1]) as f64 * step[0], (i % self.scan[1]) as f64 * step[1]];
                // Backwards: from the scan to the detector's frame.
                [0, 1].map(|j| p[0] * m[0][j] + p[1] * m[1][j])
            })
            .collect();
        let atoms: Vec<_> =
            field.atoms.iter().filter_map(|a| Some(([a.place[1], a.place[2]], own(&a.element)?))).collect();
        let potential = super::potential(&atoms, [field.edges[1], field.edges[2]], self.grid);
        let lambda = beam.wavelength();
        let mut axes = Axes { scan: Some(self.scan.map(|n| n as u64)), ..Axes::default() };
        for (i, axis) in axes.axes.iter_mut().enumerate() {
            *axis = match i {
                0 | 1 => Axis { step: step[i], start: 0.0, unit: "angstrom".into() },
                _ => {
                    let step = lambda / field.edges[i - 1];
                    Axis { step, start: -step * (shape[i - 2] / 2) as f64, unit: "rad".into() }
                }
            };
        }
        let pixel = lambda / field.edges[2];
        let head = Dict::new()
            .with("axes", axes.to_dict())
            .with("wavelength", lambda * 1e-10)
            .with("radius", self.semiangle / pixel)
            .with("potential", Array::of(&self.grid, &potential)?)
            .with("rotation", self.rotation)
            .with("flip", i64::from(self.flip))
            .with("transpose", i64::from(self.transpose));
        let frames = (self.scan[0] * self.scan[1]) as u64;
        let dtype = if self.dose.is_some() { Dtype::U16 } else { Dtype::F32 };
        self.play = Some(Play { waves, shape, places, next: from.next });
        Ok(Opened {
            frames: Some(frames),
            head,
            shapes: Shapes::default().with("image", Shape::array(dtype, &shape)),
            live: false,
            scan: vec![("y".to_owned(), self.scan[0] as u64), ("x".to_owned(), self.scan[1] as u64)],
        })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<SimulateOut>) -> Result<Pull> {
        let play =
            self.play.as_ref().ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let next = play.next;
        // A pull has to come back soon, and a thick specimen takes its time.
        let end = (next + slots.room().clamp(1, 8)).min(play.places.len() as u64);
        if next >= end {
            return Ok(Pull::End);
        }
        let cells: Vec<Mutex<Vec<f64>>> = (next..end).map(|_| Mutex::default()).collect();
        cx.par(cells.len(), |i| {
            expose(play, next + i as u64, self.repeat[0], self.model, &cells[i]);
            Ok(())
        })?;
        let [rows, columns] = play.shape;
        for (number, cell) in (next..end).zip(cells) {
            if self.lose.contains(&number) {
                slots.missing(number, "lost on purpose");
                continue;
            }
            let frame = cell.into_inner().unwrap_or_else(PoisonError::into_inner);
            let shape = [1, rows, columns];
            let image = match self.dose {
                None => Array::of(&shape, &frame.iter().map(|x| *x as f32).collect::<Vec<_>>())?,
                Some(dose) => Array::of(&shape, &self.detected(cx, number, &frame, dose, columns)?)?,
            };
            slots.put(number, SimulateOut { image })?;
        }
        if let Some(play) = &mut self.play {
            play.next = end;
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "stem.simulate", Kind::Simulator, Simulate);

/// The middle of the pattern of one point.
fn expose(play: &Play, number: u64, times: usize, model: Model, out: &Mutex<Vec<f64>>) {
    let all = play.waves.pattern(play.places[number as usize], times, model == Model::Phase);
    let [rows, columns] = play.shape;
    let [_, width] = play.waves.grid();
    let (top, left) = (play.waves.grid()[0] / 2 - rows / 2, width / 2 - columns / 2);
    let mut frame = Vec::with_capacity(rows * columns);
    for row in all.chunks_exact(width).skip(top).take(rows) {
        frame.extend_from_slice(&row[left..left + columns]);
    }
    *out.lock().unwrap_or_else(PoisonError::into_inner) = frame;
}

impl Simulate {
    fn cell(&self) -> Result<Crystal> {
        match &self.atoms {
            None => Ok(Crystal::silicon()),
            Some(path) => {
                let at = std::path::Path::new(path);
                let text = std::fs::read_to_string(at).map_err(|e| Error::io("cannot read", at, &e))?;
                match path.to_lowercase().ends_with(".cif") {
                    true => Crystal::cif(&text, path),
                    false => Crystal::xyz(&text, path),
                }
            }
        }
    }

    /// Electrons as the detector counts them.
    fn detected(&self, cx: &Cx, number: u64, frame: &[f64], dose: f64, columns: usize) -> Result<Vec<u16>> {
        let mut rng = cx.rng(number);
        let mut counts = vec![0u16; frame.len()];
        for (i, part) in frame.iter().enumerate() {
            let expected = part * dose;
            if !above(expected, 0.0) {
                continue;
            }
            let poisson = Poisson::new(expected)
                .map_err(|e| Error::data(format!("{expected} electrons cannot be counted: {e}")))?;
            let electrons = poisson.sample(&mut rng) as u64;
            if self.blur == 0.0 {
                counts[i] = saturated(u64::from(counts[i]) + electrons);
                continue;
            }
            // Each electron is counted where its signal spreads to, so that the noise stays that of electrons.
            for _ in 0..electrons {
                let (dy, dx) = normal_pair(rng.random::<f64>(), rng.random::<f64>(), self.blur);
                let y = ((i / columns) as f64 + dy).round();
                let x = ((i % columns) as f64 + dx).round();
                let inside =
                    y >= 0.0 && x >= 0.0 && (y as usize) < frame.len() / columns && (x as usize) < columns;
                if inside {
                    let place = &mut counts[y as usize * columns + x as usize];
                    *place = place.saturating_add(1);
                }
            }
        }
        self.dead.iter().for_each(|[y, x]| counts[y * columns + x] = 0);
        Ok(counts)
    }
}

/// A count as 16 bits hold it: a detector saturates too.
fn saturated(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Two normal numbers of a width, of two uniform ones.
fn normal_pair(a: f64, b: f64, width: f64) -> (f64, f64) {
    let r = width * (-2.0 * (1.0 - a).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * b).sin_cos();
    (r * sin, r * cos)
}
