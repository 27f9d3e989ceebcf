//! `powder.simulate`: a live detector that sees powder rings.

use std::sync::Mutex;
use std::time::Instant;

use isard_core::prelude::*;
use isard_core::stage::Pull;
use isard_geometry::{Grid, Pose};
use rand::Rng;

use super::beam::{ANGSTROM, check_beam, check_powder, powder, wavelength};
use super::faults::{Fates, Hit};
use super::play::Play;
use crate::simulate::{Background, Field, Model, Ring, dead_pixels, frame_rng};

/// The parameters of [`Simulate::small`].
pub(crate) const EXAMPLE: &str = "frames = 12
shape = [128, 128]
pixel = 150.0
distance = 20.0
row = 66.2
column = 61.5
rot1 = 1.2
rot2 = -0.6
energy = 30.0
calibrant = \"Si\"
counts = 40.0
width = 0.25
";
/// The photon energy where none is given: the ytterbium K edge, in keV.
const ENERGY: f64 = 61.332;
/// Rings of a known powder down to this spacing, in metres, are simulated,
const FINEST: f64 = 0.5e-10;
/// damped by atoms that move: the Debye-Waller factor, in square metres.
const DAMPING: f64 = 0.5e-20;
/// The record of the dead pixels' random numbers; no frame has it.
const DEAD: u64 = u64::MAX;
/// Rows whose expectation is computed as one piece of work.
const ROWS: usize = 16;

/// Plays a detector that sees the rings of a powder.
///
/// Rings stand where Bragg's law and the tilted detector put them, with the polarisation of the beam, the solid angle of
/// the pixels, a smooth background, dead pixels and the noise of counting. The counts of a frame depend on the run's
/// seed and its number alone. With a `rate` frames come at that pace, as from a detector; without one as fast as they
/// are taken. `lose`, `late`, `double` and `corrupt` make frames go wrong; each is a list of frame numbers or a share.
///
/// Gives every frame once, in order, but for those that `late` holds back by `late_by` frames, `double` repeats,
/// `corrupt` damages and `lose` never gives. The head holds the mask of dead pixels (1 is dead), `wavelength`, `pixel`
/// and the geometry as `truth`. About 5 ns a pixel.
///
/// Source: the PONI convention of detector geometry; Hoermann, Insurance: Mathematics and Economics 12 (1993) 39.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simulate {
    /// How many frames the series has.
    #[schemars(range(min = 1))]
    frames: u64,
    /// Frames per second; 0 gives them as fast as they are taken.
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    rate: f64,
    /// Rows and columns of a frame.
    #[schemars(extend("x-unit" = "pixel"))]
    shape: [usize; 2],
    /// The edge of a pixel.
    #[schemars(extend("x-unit" = "um", "x-shared" = "experiment.pixel"))]
    pixel: f64,
    /// The distance from the sample to the detector, along its normal.
    #[schemars(extend("x-unit" = "mm"))]
    distance: f64,
    /// The row the direct beam hits, from the outer edge of pixel (0, 0).
    #[schemars(extend("x-unit" = "pixel"))]
    row: f64,
    /// The column the direct beam hits, from the outer edge of pixel (0, 0).
    #[schemars(extend("x-unit" = "pixel"))]
    column: f64,
    /// Tilt about the vertical axis, `Rot1` of a PONI file.
    #[schemars(extend("x-unit" = "degree"))]
    rot1: f64,
    /// Tilt about the horizontal axis, `Rot2` of a PONI file.
    #[schemars(extend("x-unit" = "degree"))]
    rot2: f64,
    /// The photon energy; without it and `wavelength` 61.332 keV.
    #[schemars(extend("x-unit" = "keV", "x-shared" = "experiment.energy"))]
    energy: Option<f64>,
    /// The wavelength, instead of the energy.
    #[schemars(extend("x-unit" = "angstrom"))]
    wavelength: Option<f64>,
    /// The powder by its name; CeO2 if none is named.
    ///
    /// LaB6, Si, AgBh, Al2O3, Au, Pt, Ni, Al, NaCl, ZnO, TiO2, Cr2O3, CuO, quartz, cristobalite, diamond, graphite, C60, PBBA,
    /// C14H30O, hydrocerussite, vanadinite, verneite, lysozyme, and `_SRM` forms of LaB6, Si and Al2O3.
    calibrant: Option<String>,
    /// The lattice spacings of another powder, whose rings are equally bright.
    #[schemars(extend("x-unit" = "angstrom"))]
    spacings: Vec<f64>,
    /// Counts of a pixel in one frame on the crest of the brightest ring.
    #[schemars(range(min = 0), extend("x-unit" = "count"))]
    counts: f64,
    /// The standard deviation of a ring's profile in two-theta.
    #[schemars(extend("x-unit" = "degree"))]
    width: f64,
    /// Counts of a pixel in one frame of the even part of the background.
    #[schemars(range(min = 0), extend("x-unit" = "count"))]
    background: f64,
    /// Counts of a pixel in one frame of the halo, in the direct beam.
    #[schemars(range(min = 0), extend("x-unit" = "count"))]
    halo: f64,
    /// The angle over which the halo falls by e.
    #[schemars(extend("x-unit" = "degree", "x-level" = "expert"))]
    halo_angle: f64,
    /// The beam's polarisation: 1 horizontal, -1 vertical, 0 none.
    #[schemars(range(min = -1, max = 1))]
    polarisation: f64,
    /// The share of pixels that never count.
    #[schemars(range(min = 0, max = 1))]
    dead: f64,
    /// Bits of a pixel.
    #[schemars(extend("enum" = [16, 32]))]
    bits: u8,
    /// Frames that never come: their numbers, or the share of all.
    lose: Hit,
    /// Frames that come after later ones: their numbers, or the share of all.
    late: Hit,
    /// How many frames a late one is behind.
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    late_by: u64,
    /// Frames that come twice: their numbers, or the share of all.
    double: Hit,
    /// Frames that come damaged: their numbers, or the share of all.
    corrupt: Hit,
    #[serde(skip)]
    #[schemars(skip)]
    play: Option<Play>,
}

impl Default for Simulate {
    fn default() -> Self {
        Simulate {
            frames: 600,
            rate: 0.0,
            shape: [512, 512],
            pixel: 75.0,
            distance: 80.0,
            row: 262.3,
            column: 247.8,
            rot1: 1.2,
            rot2: -1.7,
            energy: None,
            wavelength: None,
            calibrant: None,
            spacings: vec![],
            counts: 8.0,
            width: 0.07,
            background: 0.3,
            halo: 2.0,
            halo_angle: 3.0,
            polarisation: 0.95,
            dead: 0.002,
            bits: 16,
            lose: Hit::default(),
            late: Hit::default(),
            late_by: 5,
            double: Hit::default(),
            corrupt: Hit::default(),
            play: None,
        }
    }
}

/// What a frame of [`Simulate`] holds.
#[derive(Ports)]
pub struct Frame {
    /// Counts.
    #[port(dtype = "u16|u32", axes = "y x", unit = "count")]
    pub(crate) image: Array,
}

impl Stage for Simulate {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new(EXAMPLE)
    }

    fn check(&self, faults: &mut Faults) {
        check_beam(self.energy, self.wavelength, faults);
        check_powder(self.calibrant.as_deref(), &self.spacings, faults);
        if self.frames == 0 {
            faults.add("frames", "found 0, wanted 1 or more");
        }
        if self.shape.iter().any(|n| !(16..=65_536).contains(n)) {
            faults.add("shape", format!("found {:?}, wanted 16 to 65536 rows and columns", self.shape));
        }
        let positive = [
            ("pixel", self.pixel),
            ("distance", self.distance),
            ("width", self.width),
            ("halo_angle", self.halo_angle),
        ];
        for (name, value) in positive.into_iter().filter(|(_, v)| !(v.is_finite() && *v > 0.0)) {
            faults.add(name, format!("found {value}, wanted more than 0"));
        }
        let counts = [
            ("rate", self.rate),
            ("counts", self.counts),
            ("background", self.background),
            ("halo", self.halo),
        ];
        for (name, value) in counts.into_iter().filter(|(_, v)| !(v.is_finite() && *v >= 0.0)) {
            faults.add(name, format!("found {value}, wanted 0 or more"));
        }
        for (name, value) in [("rot1", self.rot1), ("rot2", self.rot2)] {
            if !(-45.0..=45.0).contains(&value) {
                faults.add(name, format!("found {value} degree, wanted -45 to 45"));
            }
        }
        if !(-1.0..=1.0).contains(&self.polarisation) {
            faults.add("polarisation", format!("found {}, wanted -1 to 1", self.polarisation));
        }
        if !(0.0..=1.0).contains(&self.dead) {
            faults.add("dead", format!("found {}, wanted a share from 0 to 1", self.dead));
        }
        if ![16, 32].contains(&self.bits) {
            faults.add("bits", format!("found {}, wanted 16 or 32", self.bits));
        }
        if self.late_by == 0 {
            faults.add("late_by", "found 0, wanted 1 or more");
        }
        let hits = [
            ("lose", &self.lose),
            ("late", &self.late),
            ("double", &self.double),
            ("corrupt", &self.corrupt),
        ];
        for (name, hit) in hits {
            hit.check(name, faults);
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("image", Shape::array(self.dtype(), &self.shape)))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let pixels = (self.shape[0] * self.shape[1]) as u64;
        Cost { memory: 16 * pixels, seconds_per_record: 5e-9 * pixels as f64, ..Cost::default() }
    }
}

impl Source for Simulate {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let model = self.model()?;
        let mut expected = self.expect(cx, &model)?;
        let brightest = f64::from(expected.iter().copied().fold(0.0, f32::max));
        let full = if self.bits == 16 { f64::from(u16::MAX) } else { f64::from(u32::MAX) };
        if brightest + 10.0 * brightest.sqrt() > full {
            let bits = self.bits;
            return Err(Error::recipe(format!(
                "the brightest pixel counts {brightest:.0} a frame, which {bits} bits do not hold"
            ))
            .help("lower `counts` and `halo`, or set `bits = 32`"));
        }
        let mut mask = vec![0u8; expected.len()];
        for at in dead_pixels(self.shape, self.dead, cx.rng(DEAD).next_u64()) {
            mask[at] = 1;
            expected[at] = 0.0;
        }
        let truth = Dict::new()
            .with("distance", self.distance)
            .with("row", self.row)
            .with("column", self.column)
            .with("rot1", self.rot1)
            .with("rot2", self.rot2);
        let head = Dict::new()
            .with("mask", Array::of(&self.shape, &mask)?)
            .with("wavelength", model.wavelength / ANGSTROM)
            .with("pixel", self.pixel)
            .with("truth", truth);
        let next = from.next.min(self.frames);
        self.play = Some(Play {
            field: Field::new(&expected),
            shape: self.shape,
            frames: self.frames,
            rate: self.rate,
            dtype: self.dtype(),
            fates: Fates {
                lose: self.lose.clone(),
                corrupt: self.corrupt.clone(),
                late: self.late.clone(),
                double: self.double.clone(),
            },
            late_by: self.late_by,
            begun: (next, Instant::now()),
            next,
            waiting: Default::default(),
        });
        Ok(Opened {
            frames: Some(self.frames),
            head,
            shapes: self.shapes(&Shapes::default())?,
            live: self.rate > 0.0,
            scan: vec![],
        })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let play = self.play.as_mut();
        play.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "powder.simulate", Kind::Simulator, Simulate);

impl Simulate {
    fn dtype(&self) -> Dtype {
        if self.bits == 16 { Dtype::U16 } else { Dtype::U32 }
    }

    /// A small experiment that is calibrated in a moment: what [`EXAMPLE`] says.
    pub(crate) fn small() -> Simulate {
        Simulate {
            frames: 12,
            shape: [128, 128],
            pixel: 150.0,
            distance: 20.0,
            row: 66.2,
            column: 61.5,
            rot1: 1.2,
            rot2: -0.6,
            energy: Some(30.0),
            calibrant: Some("Si".into()),
            counts: 40.0,
            width: 0.25,
            ..Simulate::default()
        }
    }

    /// The model that these parameters describe.
    pub(crate) fn model(&self) -> Result<Model> {
        let wavelength =
            wavelength(self.energy.or(self.wavelength.is_none().then_some(ENERGY)), self.wavelength)
                .ok_or_else(|| Error::internal("neither an energy nor a wavelength"))?;
        let powder = powder(self.calibrant.as_deref(), &self.spacings)?;
        let lines = match self.spacings.is_empty() {
            true => powder.brightness(wavelength, FINEST, DAMPING),
            false => powder.lines(0.5 * wavelength).into_iter().map(|line| (line, 1.0)).collect(),
        };
        let pixel = self.pixel / 1e6;
        let centre = [self.row * pixel, self.column * pixel];
        Ok(Model {
            grid: Grid::new(self.shape, [pixel; 2]),
            pose: Pose::from_centre(
                self.distance / 1e3,
                centre,
                self.rot1.to_radians(),
                self.rot2.to_radians(),
            ),
            wavelength,
            rings: lines
                .into_iter()
                .map(|(line, bright)| Ring { d: line.d, crest: self.counts * bright })
                .collect(),
            width: self.width.to_radians(),
            background: Background {
                flat: self.background,
                halo: self.halo,
                decay: self.halo_angle.to_radians(),
            },
            polarisation: self.polarisation,
            oversample: 2,
        })
    }

    /// The expected counts of a frame.
    fn expect(&self, cx: &Cx, model: &Model) -> Result<Vec<f32>> {
        let [rows, columns] = self.shape;
        let mut expected = vec![0.0f32; rows * columns];
        let parts: Vec<Mutex<&mut [f32]>> = expected.chunks_mut(ROWS * columns).map(Mutex::new).collect();
        cx.par(parts.len(), |k| {
            let mut part = parts[k].lock().map_err(|_| Error::internal("rows were computed twice"))?;
            model.expect_rows(k * ROWS..(k * ROWS + ROWS).min(rows), &mut part);
            Ok(())
        })?;
        drop(parts);
        Ok(expected)
    }
}

/// Frames of the small experiment with their shape, and its mask.
pub(crate) fn example_frames() -> (Vec<u16>, [usize; 3], Vec<u8>) {
    frames_of(&Simulate::small())
}

/// Frames of the small experiment at two readings 6 mm apart, and its mask.
pub(crate) fn example_distances() -> (Vec<u16>, [usize; 3], Vec<u8>) {
    let near = Simulate::small();
    let (mut pixels, [n, rows, columns], mask) = frames_of(&near);
    pixels.extend(frames_of(&Simulate { distance: near.distance + 6.0, ..Simulate::small() }).0);
    (pixels, [2 * n, rows, columns], mask)
}

fn frames_of(small: &Simulate) -> (Vec<u16>, [usize; 3], Vec<u8>) {
    let model = small.model().expect("silicon is a known powder");
    let mut expected = model.expect();
    let mut mask = vec![0u8; expected.len()];
    for at in dead_pixels(small.shape, small.dead, 0) {
        mask[at] = 1;
        expected[at] = 0.0;
    }
    let (field, frames) = (Field::new(&expected), small.frames as usize);
    let mut pixels = vec![0u16; frames * expected.len()];
    for (n, frame) in pixels.chunks_exact_mut(expected.len()).enumerate() {
        field.draw(&mut frame_rng(1, n as u64), frame);
    }
    (pixels, [frames, small.shape[0], small.shape[1]], mask)
}
