//! `dct.simulate`: a scan with noise, drift, direct beam and spots of two scales of brightness.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;

use crate::scan::{Scan, Settings};

/// The record of the random numbers of the scan as a whole; no frame has it.
const WHOLE: u64 = u64::MAX;
/// Rows that are made as one piece of work.
const ROWS: usize = 64;

/// Plays a scan of diffraction contrast tomography.
///
/// A rod of sample turns in a beam that is smaller than the detector: its shadow in the middle, scatter around it, a
/// source that oscillates, a background that drifts, four sensors with hot pixels, and spots on rings, seven in ten of
/// them weak and the others thirty times brighter, long in omega beside the axis. A frame depends on the run's seed and
/// its number alone. With a `rate` frames come at that pace, as from a detector. `lose` never comes, `no_beam` comes
/// without beam.
///
/// Gives every frame once, in order. The head holds `truth`, a table of the spots, `dark`, the box of the direct beam
/// `beam_box` (rows, then columns) and the `margins` beside the sample in the same form. About 4 ns a pixel.
///
/// Source: own model, after the descriptions in W. Ludwig et al., Rev. Sci. Instrum. 80 (2009) 033905.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simulate {
    /// How many frames the scan has.
    #[schemars(range(min = 1))]
    frames: u64,
    /// Frames per second; 0 gives them as fast as they are taken.
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    rate: f64,
    /// Rows and columns of a frame.
    #[schemars(extend("x-unit" = "pixel"))]
    shape: [usize; 2],
    /// The angle of the whole scan.
    #[schemars(extend("x-unit" = "degree"))]
    range: f64,
    /// How many spots there are; without it six a frame on four megapixels.
    blobs: Option<usize>,
    /// Whether spots go on from the last frame to the first.
    wrap: bool,
    /// Counts of the direct beam; 0 for none.
    #[schemars(range(min = 0), extend("x-unit" = "count"))]
    beam: f64,
    /// How much the source oscillates, as a share.
    #[schemars(range(min = 0, max = 0.5))]
    drift: f64,
    /// The standard deviation of the readout.
    #[schemars(range(min = 0), extend("x-unit" = "count"))]
    noise: f64,
    /// Frames that never come.
    lose: Vec<u64>,
    /// Frames without beam.
    no_beam: Vec<u64>,
    #[serde(skip)]
    #[schemars(skip)]
    play: Option<Play>,
}

impl Default for Simulate {
    fn default() -> Self {
        Simulate {
            frames: 360,
            rate: 0.0,
            shape: [512, 512],
            range: 360.0,
            blobs: None,
            wrap: true,
            beam: 18_000.0,
            drift: 0.06,
            noise: 4.0,
            lose: vec![],
            no_beam: vec![],
            play: None,
        }
    }
}

struct Play {
    scan: Scan,
    begun: (u64, Instant),
    next: u64,
}

/// What a frame of [`Simulate`] holds.
#[derive(Ports)]
pub struct Frame {
    /// Counts.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
    /// The angle at the start of the frame.
    #[port(dtype = "f64", axes = "", unit = "degree")]
    omega: Array,
    /// The intensity of the source.
    #[port(dtype = "f64", axes = "")]
    monitor: Array,
}

impl Stage for Simulate {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new("frames = 12\nshape = [32, 40]\nblobs = 6")
    }

    fn check(&self, faults: &mut Faults) {
        if self.frames == 0 {
            faults.add("frames", "found 0, wanted 1 or more");
        }
        if self.shape.iter().any(|n| !(16..=65_536).contains(n)) {
            faults.add("shape", format!("found {:?}, wanted 16 to 65536 rows and columns", self.shape));
        }
        for (name, value) in [("rate", self.rate), ("beam", self.beam), ("noise", self.noise)] {
            if !(value.is_finite() && value >= 0.0) {
                faults.add(name, format!("found {value}, wanted 0 or more"));
            }
        }
        if !(0.0..=0.5).contains(&self.drift) {
            faults.add("drift", format!("found {}, wanted 0 to 0.5", self.drift));
        }
        for (name, list) in [("lose", &self.lose), ("no_beam", &self.no_beam)] {
            if let Some(n) = list.iter().find(|n| **n >= self.frames) {
                faults.add(name, format!("found frame {n} of a scan of {}", self.frames));
            }
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let number = Shape::array(Dtype::F64, &[]);
        let image = Shape::array(Dtype::U16, &self.shape);
        Ok(Shapes::default().with("image", image).with("omega", number.clone()).with("monitor", number))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let pixels = (self.shape[0] * self.shape[1]) as u64;
        Cost { memory: 32 * pixels, seconds_per_record: 4e-9 * pixels as f64, ..Cost::default() }
    }
}

impl Source for Simulate {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let blobs = (self.frames as f64 * 6.0 * (self.shape[0] * self.shape[1]) as f64 / 4_194_304.0).max(1.0);
        let settings = Settings {
            frames: self.frames,
            shape: self.shape,
            blobs: self.blobs.unwrap_or(blobs as usize),
            wrap: self.wrap,
            beam: self.beam as f32,
            drift: self.drift,
            noise: self.noise as f32,
        };
        let scan = Scan::new(settings, &mut cx.rng(WHOLE));
        let beam = scan.beam_box.map(|n| n as u64);
        let margins: Vec<u64> = scan.margins.iter().flatten().map(|n| *n as u64).collect();
        let head = Dict::new()
            .with("truth", Value::Table(scan.truth()?))
            .with("dark", Array::of(&self.shape, &scan.offset)?)
            .with("beam_box", Array::from_slice(&beam))
            .with("margins", Array::of(&[2, 4], &margins)?);
        let next = from.next.min(self.frames);
        self.play = Some(Play { scan, begun: (next, Instant::now()), next });
        Ok(Opened {
            frames: Some(self.frames),
            head,
            shapes: self.shapes(&Shapes::default())?,
            live: self.rate > 0.0,
            scan: vec![],
        })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let Some(mut play) = self.play.take() else {
            return Err(Error::internal("a source was pulled before it was opened"));
        };
        let pulled = self.give(cx, &mut play, slots);
        self.play = Some(play);
        pulled
    }
}
declare!(Source, "dct.simulate", Kind::Simulator, Simulate);

impl Simulate {
    fn give(&self, cx: &Cx, play: &mut Play, slots: &mut Slots<Frame>) -> Result<Pull> {
        // A pull must not take longer than a tenth of a second, so large frames come one by one.
        let most = slots.room().clamp(1, 1 + (1 << 22) / (self.shape[0] * self.shape[1]) as u64);
        for given in 0..most {
            if play.next >= self.frames {
                return Ok(if given > 0 { Pull::Ready } else { Pull::End });
            }
            if let Some(wait) = self.wait(play) {
                return Ok(if given > 0 { Pull::Ready } else { Pull::Wait(wait) });
            }
            let number = play.next;
            play.next += 1;
            if self.lose.contains(&number) {
                slots.missing(number, "the detector lost it");
                continue;
            }
            let [rows, columns] = self.shape;
            let lit = !self.no_beam.contains(&number);
            let mut image = cx.array(Dtype::U16, &[1, rows, columns])?;
            let parts: Vec<Mutex<&mut [u16]>> =
                image.as_slice_mut::<u16>()?.chunks_mut(ROWS * columns).map(Mutex::new).collect();
            let rng = cx.rng(number);
            cx.par(parts.len(), |k| {
                let mut part = parts[k].lock().map_err(|_| Error::internal("rows were made twice"))?;
                let mut rng = rng.clone();
                rng.set_stream(k as u64);
                play.scan.expose(number, lit, k * ROWS, &mut part, &mut rng);
                Ok(())
            })?;
            drop(parts);
            let omega = number as f64 * self.range / self.frames as f64;
            let monitor = if lit { play.scan.source[number as usize] } else { 0.0 };
            let frame = Frame {
                image: image.freeze(),
                omega: Array::from_slice(&[omega]),
                monitor: Array::from_slice(&[monitor]),
            };
            slots.put(number, frame)?;
        }
        Ok(Pull::Ready)
    }

    /// How long until the next frame is due, at most a tenth of a second.
    fn wait(&self, play: &Play) -> Option<Duration> {
        if self.rate == 0.0 {
            return None;
        }
        let (from, at) = play.begun;
        let when = (play.next - from) as f64 / self.rate - at.elapsed().as_secs_f64();
        (when > 0.0).then(|| Duration::from_secs_f64(when.min(0.1)))
    }
}
