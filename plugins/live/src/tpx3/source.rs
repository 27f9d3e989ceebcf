//! `live.tpx3`: frames made of the events of a Timepix3.

use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;

use super::inlet::{Inlet, More};
use super::raw::{Binning, Raw, TICKS_PER_SECOND};
use super::simulate;
use super::sparse::{Chunk, Record, Sizes, record};
use crate::series::Series;

/// How long a pull waits for bytes.
const FIRST: Duration = Duration::from_millis(20);
/// Frames that may wait at most before a frame of the detector is unbelievable.
const AHEAD: usize = 64 << 20;

/// What the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Packets of events as the readout sends them.
    #[default]
    Raw,
    /// Sparse frames that the server of the detector has made.
    Sparse,
}

/// Frames made of the events of a Timepix3, from a file or while they are taken.
///
/// `format = "raw"` takes packets of events: with `dwell` and `scan` an event belongs to the frame of its time, counted
/// from time 0, or with `triggered` from the trigger that begins its line. A pixel counts its events, or with `charge`
/// sums their times over threshold. `format = "sparse"` takes frames that the server of the detector has sorted; the
/// stream says scan and sizes itself, and with `events` frames stay sparse, as `stem.tally` takes them.
///
/// Holds raw frames back until they can get no more events: `disorder` after their end. Events between lines are
/// left out, and so are those that come later than `disorder`; both are counted in the log. Frames without events are
/// frames of zeros; those after the end of the stream are missing.
///
/// Source: the data formats of the Timepix3 readout (SPIDR) and of the CheeTah server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tpx3 {
    /// Where the stream is: `host:port`, unless the input `address` says it.
    #[serde(default)]
    address: Option<String>,
    /// A file with the stream in place of a detector.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    path: Option<String>,
    /// What the stream holds: `raw` or `sparse`.
    #[serde(default)]
    format: Format,
    /// How long a frame is, of raw events.
    #[serde(default = "dwell")]
    #[schemars(range(min = 0.1), extend("x-unit" = "us"))]
    dwell: f64,
    /// Rows and columns of the scan, of raw events.
    #[serde(default)]
    scan: Option<[u64; 2]>,
    /// Lines of the scan begin with triggers.
    #[serde(default)]
    triggered: bool,
    /// Rows and columns of the detector, of raw events.
    ///
    /// One chip has 256 x 256, four have 512 x 512.
    #[serde(default = "shape")]
    shape: [usize; 2],
    /// Gives sparse frames as they are: rows of `events`, and no `image`.
    ///
    /// A row is a pixel that counted; the cost goes by them, not by the size of the detector.
    #[serde(default)]
    events: bool,
    /// Pixels sum the times over threshold in place of counting events.
    #[serde(default)]
    charge: bool,
    /// How late an event may come in the stream.
    #[serde(default = "disorder")]
    #[schemars(range(min = 0), extend("x-unit" = "us"))]
    disorder: f64,
    /// How long to wait for the detector.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0.1), extend("x-unit" = "s"))]
    wait: f64,
    /// Silence after which the stream is over.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0.01), extend("x-unit" = "s"))]
    stall: f64,
    /// Bytes that may wait between the network and the run.
    ///
    /// Beyond that the detector waits.
    #[serde(default = "buffer")]
    #[schemars(range(min = 65536), extend("x-unit" = "byte"))]
    buffer: usize,
    #[serde(skip)]
    #[schemars(skip)]
    live: Option<Live>,
}

fn dwell() -> f64 {
    10.0
}
fn shape() -> [usize; 2] {
    [256, 256]
}
fn disorder() -> f64 {
    500.0
}
fn thirty() -> f64 {
    30.0
}
fn buffer() -> usize {
    256 << 20
}

/// What [`Tpx3`] takes.
#[derive(Ports)]
pub struct Tpx3In {
    /// Where the stream is: of a simulated detector.
    address: Option<String>,
}

/// What a frame of [`Tpx3`] holds.
#[derive(Ports)]
pub struct Tpx3Out {
    /// Counts, or times over threshold.
    #[port(dtype = "u8|u16|u32|u64", axes = "y x", unit = "count")]
    image: Option<Array>,
    /// With `events`, one row for each pixel that counted.
    #[port(columns = "row: f64 pixel, column: f64 pixel, value: f64")]
    events: Option<Table>,
    /// With `events`, how many rows each frame has.
    #[port(dtype = "u32", axes = "")]
    count: Option<Array>,
}

/// What is made of them.
enum Parser {
    Raw(Box<Raw>),
    Sparse { sizes: Sizes, next: u64, ended: bool, events: bool },
}

struct Live {
    inlet: Inlet,
    /// Bytes that have not been understood yet.
    bytes: Vec<u8>,
    parser: Parser,
    series: Series,
}

impl Stage for Tpx3 {
    type In = Tpx3In;
    type Out = Tpx3Out;

    fn example() -> Example {
        let path = Example::file("events.tpx3", &simulate::sample());
        Example::new(format!("path = {path:?}\ndwell = 10.0\nscan = [2, 3]\ntriggered = true"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.path.is_some() && self.address.is_some() {
            faults.add("path", "found a file and a detector, wanted one of them");
        }
        if self.format == Format::Raw && self.scan.is_none_or(|scan| scan.contains(&0)) {
            let found = self.scan.map_or("nothing".into(), |s| format!("{s:?}"));
            faults.add("scan", format!("found {found}, wanted rows and columns: raw events do not say them"));
        }
        if self.events && self.format == Format::Raw {
            faults.add(
                "events",
                "stands with raw packets, which are made into frames; wanted `format = \"sparse\"`",
            );
        }
        if ![[256, 256], [512, 512]].contains(&self.shape) {
            faults.add("shape", format!("found {:?}, wanted [256, 256] or [512, 512]", self.shape));
        }
        let times = [
            ("dwell", self.dwell, 0.1),
            ("disorder", self.disorder, 0.0),
            ("wait", self.wait, 0.1),
            ("stall", self.stall, 0.01),
        ];
        for (name, value, least) in times {
            if !(value.is_finite() && value >= least && value < 1e9) {
                faults.add(name, format!("found {value}, wanted {least} or more"));
            }
        }
    }
}

impl Source for Tpx3 {
    fn open(&mut self, cx: &Cx, input: Tpx3In, from: Position) -> Result<Opened> {
        let until = Instant::now() + Duration::from_secs_f64(self.wait);
        let mut inlet = match &self.path {
            Some(path) => Inlet::file(path)?,
            None => {
                let text = input.address.as_ref().or(self.address.as_ref()).ok_or_else(|| {
                    Error::recipe("neither a detector nor a file is named")
                        .help("set `address` or `path`, or wire the input `address`")
                })?;
                Inlet::network(text, self.buffer)?
            }
        };
        let mut bytes = vec![];
        let mut why = String::new();
        let (parser, scan, shape, dtype) = match self.format {
            Format::Raw => {
                let scan = self.scan.unwrap_or([1, 1]);
                let ticks = |us: f64| (us * 1e-6 * TICKS_PER_SECOND).round() as u64;
                let raw = Raw::new(Binning {
                    dwell: ticks(self.dwell).max(1),
                    line: scan[1],
                    triggered: self.triggered,
                    frames: scan[0] * scan[1],
                    shape: self.shape,
                    charge: self.charge,
                    disorder: ticks(self.disorder),
                });
                (Parser::Raw(Box::new(raw)), scan, self.shape, Dtype::U32)
            }
            Format::Sparse => {
                // The stream says itself what frames look like: nothing is known before its first chunk.
                let (mut sizes, mut dtype) = (None, None);
                while dtype.is_none() {
                    cx.check()?;
                    match record(&bytes, sizes)? {
                        (Record::Start(found), len) => {
                            sizes = Some(found);
                            bytes.drain(..len);
                        }
                        (Record::Frames(frames), _) => dtype = Some(frames.dtype()),
                        (Record::Other, len) => drop(bytes.drain(..len)),
                        (Record::End, _) => return Err(self.absent("the stream ends without a frame", "")),
                        (Record::Short, _) => match inlet.more(FIRST, &mut bytes)? {
                            More::Bytes | More::Connected => why.clear(),
                            More::Broken(broken) => why = broken,
                            More::End => return Err(self.absent("the stream ends without a frame", &why)),
                            More::Nothing if Instant::now() >= until => {
                                return Err(self.absent("no frame came", &why));
                            }
                            More::Nothing => (),
                        },
                    }
                }
                let sizes = sizes.ok_or_else(|| Error::internal("frames without an acquisition"))?;
                let dtype = dtype.unwrap_or(Dtype::U32);
                (
                    Parser::Sparse { sizes, next: 0, ended: false, events: self.events },
                    sizes.scan,
                    sizes.shape,
                    dtype,
                )
            }
        };
        let frames = scan[0].saturating_mul(scan[1]);
        let stall = Duration::from_secs_f64(self.stall);
        let series = Series::new("the acquisition", Some(frames), from.next, stall, Duration::ZERO);
        let shapes = match self.events {
            true => Shapes::default().with("count", Shape::array(Dtype::U32, &[])),
            false => Shapes::default().with("image", Shape::array(dtype, &shape)),
        };
        let live = self.path.is_none();
        self.live = Some(Live { inlet, bytes, parser, series });
        let scan = vec![("y".to_owned(), scan[0]), ("x".to_owned(), scan[1])];
        Ok(Opened { frames: Some(frames), head: Dict::new(), shapes, live, scan })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Tpx3Out>) -> Result<Pull> {
        let live = self.live.as_mut();
        live.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "live.tpx3", Kind::Source, Tpx3);

impl Tpx3 {
    fn absent(&self, what: &str, why: &str) -> Error {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let place = self.path.as_ref().map_or(format!("within {} s", self.wait), |path| format!("in {path}"));
        Error::new(Blame::Io, format!("{what} {place}{why}"))
            .help("check the address and `format`; raise `wait`")
    }
}

impl Live {
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Tpx3Out>) -> Result<Pull> {
        let most = slots.room().max(1);
        // What has been read already comes first.
        if self.give(cx, most, false, slots)? > 0 {
            return Ok(Pull::Ready);
        }
        let dry = match self.inlet.more(FIRST, &mut self.bytes)? {
            More::Bytes => {
                self.series.hear();
                false
            }
            More::Connected => {
                self.series.connection(None);
                false
            }
            More::Broken(why) => {
                self.series.connection(Some(why));
                self.series.end();
                true
            }
            More::Nothing => false,
            More::End => true,
        };
        let ended = dry || self.series.over(false).is_some();
        if self.give(cx, most, ended, slots)? > 0 {
            return Ok(Pull::Ready);
        }
        let Some(why) = self.series.over(ended) else { return Ok(Pull::Wait(Duration::ZERO)) };
        if let Parser::Raw(raw) = &self.parser
            && raw.left_out != Default::default()
        {
            let (flyback, late, outside) = (raw.left_out.flyback, raw.left_out.late, raw.left_out.outside);
            tracing::warn!(flyback, late, outside, "Events were left out of all frames.");
        }
        self.series.close(&why, self.inlet.level(), slots);
        Ok(Pull::End)
    }

    /// Puts the frames that are complete; says how many.
    fn give(&mut self, cx: &Cx, most: u64, ended: bool, slots: &mut Slots<Tpx3Out>) -> Result<u64> {
        match &mut self.parser {
            Parser::Raw(raw) => {
                let taken = raw.take(&self.bytes)?;
                self.bytes.drain(..taken);
                let first = raw.given();
                let frames = raw.ready(most, ended);
                let n = frames.len() as u64;
                if n > 0 {
                    let [y, x] = raw.shape();
                    let mut image = cx.array(Dtype::U32, &[frames.len(), y, x])?;
                    let all = image.as_slice_mut::<u32>()?;
                    all.chunks_exact_mut(y * x).zip(&frames).for_each(|(to, from)| to.copy_from_slice(from));
                    put(&mut self.series, slots, first, image.freeze())?;
                }
                Ok(n)
            }
            Parser::Sparse { sizes, next, ended, events } => {
                let mut given = 0;
                let mut at = 0;
                while given < most && !*ended {
                    let (record, len) = record(&self.bytes[at..], Some(*sizes))?;
                    at += len;
                    match record {
                        Record::Short => break,
                        Record::Other => (),
                        Record::Start(_) => {
                            self.series.cut("the detector began another acquisition");
                            *ended = true;
                        }
                        Record::End => {
                            self.series.end();
                            *ended = true;
                        }
                        Record::Frames(chunk) => {
                            let n = chunk.frames() as u64;
                            match events {
                                true => put_events(&mut self.series, slots, *next, &chunk)?,
                                false => put(&mut self.series, slots, *next, chunk.dense(cx)?)?,
                            }
                            *next += n;
                            given += n;
                        }
                    }
                }
                self.bytes.drain(..at);
                if self.bytes.len() > AHEAD * 32 {
                    return Err(Error::data("a record of the stream never ends"));
                }
                Ok(given)
            }
        }
    }
}

/// Puts consecutive frames, without those that are not wanted again.
fn put(series: &mut Series, slots: &mut Slots<Tpx3Out>, first: u64, image: Array) -> Result<()> {
    let n = image.shape()[0] as u64;
    let skipped = series.saw_run(first, n);
    if skipped == n {
        return Ok(());
    }
    let image = Some(image.records(skipped as usize..n as usize)?);
    slots.put(first + skipped, Tpx3Out { image, events: None, count: None })
}

/// The same of frames that stay sparse.
fn put_events(series: &mut Series, slots: &mut Slots<Tpx3Out>, first: u64, chunk: &Chunk) -> Result<()> {
    let n = chunk.frames() as u64;
    let skipped = series.saw_run(first, n);
    if skipped == n {
        return Ok(());
    }
    let (events, count) = chunk.events(first + skipped, skipped as usize..n as usize)?;
    slots.put(first + skipped, Tpx3Out { image: None, events: Some(events), count: Some(count) })
}
