//! A simulated detector: the stream in both versions, the REST interface, and what goes wrong with either.

mod encode;
mod rest;
mod serve;

use std::time::Duration;

use isard_core::prelude::*;

use super::packing::Packing;
use crate::faults::Hit;

pub use serve::{Simulated, Tally};

/// Starts a simulated DECTRIS detector on this machine, for `live.dectris`.
///
/// Listens on the loopback interface alone and speaks ZeroMQ and HTTP as the detector does. A series begins when
/// somebody connects, or with `start = "api"` when it is armed and triggered. Images have a smooth pattern and a bright
/// spot that moves, known in closed form; or a recorded stream is played. `lose`, `delay`, `repeat`, `corrupt`,
/// `restart`, `stall` and `cut` make things go wrong. Ends by itself when its series are sent, and after `lifetime`.
///
/// Gives the addresses of both interfaces: wire them to the inputs of `live.dectris`. Images are packed once, `distinct`
/// of them, and sent again and again.
///
/// Source: the SIMPLON interface of DECTRIS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Detector {
    /// The version of the stream.
    #[schemars(range(min = 1, max = 2))]
    pub version: u8,
    /// Images of a series.
    #[schemars(range(min = 1))]
    pub frames: u64,
    /// Rows and columns.
    #[schemars(extend("x-unit" = "pixel"))]
    pub shape: [usize; 2],
    /// Bits of a pixel.
    #[schemars(extend("enum" = [8, 16, 32]))]
    pub bits: u8,
    /// How pixels are packed: `bslz4`, `lz4` or `none`.
    #[schemars(extend("enum" = ["bslz4", "lz4", "none"]))]
    pub packing: String,
    /// Thresholds of stream version 2; the second one counts half of the first.
    #[schemars(range(min = 1, max = 2))]
    pub channels: u8,
    /// Images per second; 0 is as fast as they are taken.
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    pub rate: f64,
    /// Images that it keeps when nobody takes them; 0 keeps all.
    ///
    /// With a `rate` it loses those beyond.
    pub queue: u64,
    /// How much the start message says: `all`, `basic` or `none`.
    #[schemars(extend("enum" = ["all", "basic", "none"]))]
    pub header: String,
    /// What begins a series: `connect` (the first client) or `api` (arm and trigger).
    #[schemars(extend("enum" = ["connect", "api"]))]
    pub start: String,
    /// Series that are sent before it ends, one after another.
    #[schemars(range(min = 1))]
    pub series: u64,
    /// How many images differ before they repeat.
    #[schemars(range(min = 1))]
    pub distinct: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Settings that the detector takes without heeding them.
    pub deaf: Vec<String>,
    /// A recorded stream to play in place of images of its own.
    #[schemars(extend("x-path" = "input"))]
    pub recording: Option<String>,
    /// The port of the stream; 0 takes any that is free.
    pub port: u16,
    /// The port of the REST interface; 0 takes any that is free.
    pub api_port: u16,
    /// It ends after this time at the latest.
    #[schemars(range(min = 0.1), extend("x-unit" = "s"))]
    pub lifetime: f64,
}

/// What goes wrong in a simulated stream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Images that are never sent: their numbers, or the share of all.
    pub lose: Hit,
    /// Images that are sent after later ones.
    pub delay: Hit,
    /// How many images a delayed one is behind.
    pub delay_by: u64,
    /// Images that are sent twice.
    pub repeat: Hit,
    /// Images that are damaged on the way.
    pub corrupt: Hit,
    /// The detector starts anew before this image: another series begins.
    pub restart: Option<u64>,
    /// Nothing more is sent from this image on, though the connection stands.
    pub stall: Option<u64>,
    /// The connection breaks in the middle of these images.
    pub cut: Vec<u64>,
    /// The end message is never sent.
    pub no_end: bool,
}

impl Default for Detector {
    fn default() -> Self {
        Detector {
            version: 2,
            frames: 100,
            shape: [256, 256],
            bits: 16,
            packing: "bslz4".into(),
            channels: 1,
            rate: 0.0,
            queue: 0,
            header: "all".into(),
            start: "connect".into(),
            series: 1,
            distinct: 16,
            faults: Faults { delay_by: 5, ..Faults::default() },
            deaf: vec![],
            recording: None,
            port: 0,
            api_port: 0,
            lifetime: 60.0,
        }
    }
}

/// What [`Detector`] gives.
#[derive(Ports)]
pub struct Addresses {
    /// Where the stream is.
    address: String,
    /// Where the REST interface is.
    api: String,
}

impl Stage for Detector {
    type In = ();
    type Out = Addresses;

    fn example() -> Example {
        Example {
            external: Some("it opens ports, which differ each time"),
            ..Example::new("frames = 20\nrate = 50.0\nfaults = { lose = [3], corrupt = [7] }")
        }
    }

    fn check(&self, faults: &mut isard_core::stage::Faults) {
        if !matches!(self.version, 1 | 2) {
            faults.add("version", format!("found {}, wanted 1 or 2", self.version));
        }
        if self.shape.iter().any(|n| !(1..=1 << 14).contains(n)) {
            faults.add("shape", format!("found {:?}, wanted 1 to 16384 rows and columns", self.shape));
        }
        if !matches!(self.bits, 8 | 16 | 32) {
            faults.add("bits", format!("found {}, wanted 8, 16 or 32", self.bits));
        }
        if self.version == 1 && self.channels > 1 {
            faults
                .add("channels", format!("found {}, wanted 1: stream version 1 has no more", self.channels));
        }
        for (name, value, least) in [("rate", self.rate, 0.0), ("lifetime", self.lifetime, 0.1)] {
            if !(value.is_finite() && value >= least && value < 1e8) {
                faults.add(name, format!("found {value}, wanted {least} or more"));
            }
        }
        let hits = [
            ("lose", &self.faults.lose),
            ("delay", &self.faults.delay),
            ("repeat", &self.faults.repeat),
            ("corrupt", &self.faults.corrupt),
        ];
        for (name, hit) in hits {
            hit.check(&format!("faults.{name}"), faults);
        }
    }
}

impl Task for Detector {
    fn run(&mut self, _: &Cx, (): ()) -> Result<Addresses> {
        let simulated = self.begin()?;
        let out = Addresses { address: simulated.stream().to_string(), api: simulated.api().to_string() };
        // It goes on beside the run, and ends by itself.
        simulated.leave();
        Ok(out)
    }
}
declare!(Task, "live.dectris_simulate", Kind::Simulator, Detector);

impl Detector {
    /// Starts it; it ends when what is given is dropped, and by itself.
    pub fn begin(&self) -> Result<Simulated> {
        Simulated::begin(self.clone())
    }

    /// The pixels of an image in this machine's byte order.
    ///
    /// The second channel counts half.
    pub fn pixels(&self, number: u64, channel: u8) -> Vec<u8> {
        let n = number % self.distinct.max(1);
        let size = usize::from(self.bits / 8);
        let [rows, columns] = self.shape;
        let mut out = Vec::with_capacity(rows * columns * size);
        for y in 0..rows {
            for x in 0..columns {
                let value = pixel(self.shape, n, y, x) >> (channel & 1);
                out.extend_from_slice(&value.to_ne_bytes()[..size]);
            }
        }
        out
    }

    fn lifetime(&self) -> Duration {
        Duration::from_secs_f64(self.lifetime)
    }

    fn packed(&self, pixels: &[u8]) -> Result<(Packing, Vec<u8>)> {
        encode::pack(&self.packing, self.version, usize::from(self.bits / 8), pixels)
    }
}

/// A pixel of image `n` of the pattern: 0 to 12, and 100 more in a spot that moves.
pub(crate) fn pixel(shape: [usize; 2], n: u64, y: usize, x: usize) -> u32 {
    let n = n as usize;
    let base = (3 * y + 5 * x + 7 * n) % 13;
    let (v, u) = ((5 * n) % shape[0], (3 * n) % shape[1]);
    (base + if y.abs_diff(v) < 3 && x.abs_diff(u) < 3 { 100 } else { 0 }) as u32
}

/// The parts of a small series of stream version 1, for an example.
pub(super) fn sample() -> Vec<Vec<u8>> {
    let small =
        Detector { version: 1, frames: 3, shape: [12, 10], header: "basic".into(), ..Detector::default() };
    let series = encode::Series::new(&small, 1);
    let messages = series.and_then(|series| {
        let images = (0..3).map(|n| Ok(series.image(n, false)));
        [Ok(series.start())].into_iter().chain(images).chain([Ok(series.end())]).collect::<Result<Vec<_>>>()
    });
    let parts = messages.expect("a small series can be packed").into_iter().flatten();
    parts.map(|part| part.to_vec()).collect()
}
