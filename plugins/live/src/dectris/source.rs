//! `live.dectris`: images of a DECTRIS detector as they are taken.

use std::path::Path;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;

use super::assemble::Form;
use super::control::{Control, Session};
use super::event::{Event, Image, Start, parse};
use super::inlet::Inlet;
use super::{series, simulate, write_dump};
use crate::net::address;
use crate::net::receiver::Inbound;
use crate::series::Series;

/// How long a pull waits for the first image, and for more to unpack together with it.
const FIRST: Duration = Duration::from_millis(20);
const MORE: Duration = Duration::from_millis(2);

/// Images of a DECTRIS detector as they are taken.
///
/// For all that speak SIMPLON: EIGER, EIGER2, PILATUS 4, SELUN, ARINA, QUADRO, SINGLA.
/// Connects to the SIMPLON stream (ZeroMQ) of version 1 (JSON) or 2 (CBOR) and takes one series: from its start message
/// to its last image. Images are placed by their number. The MD5 digest and all lengths are checked; one that is
/// damaged is *corrupt*, one that never comes is *missing*, each with its reason. Stale messages of other series are
/// passed over. A lost connection is made again. The series ends with its end message, when another one begins, or
/// after `stall` of silence: never by waiting for ever. With `control` the detector is configured and armed over its
/// REST interface, every setting is read back and compared, and it is disarmed at the end.
///
/// Keeps the order of numbers; changes nothing. The head holds `mask`, `flat` and `countrate_table` where the detector
/// sends them, `wavelength` (angstrom), `energy` (eV), `distance` (m), `x_pixel_size`, `y_pixel_size`, `beam_center_x`,
/// `beam_center_y`, `count_time`, `frame_time`, the `series` and all else as `config`. A thread receives; images are
/// unpacked by the threads of the run; plain pixels of large images are not copied at all.
///
/// Source: the SIMPLON interface of DECTRIS; ZeroMQ RFC 23; RFC 8746; bitshuffle and LZ4.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dectris {
    /// Where the stream is: `host` or `host:port`, unless the input `address` says it.
    #[serde(default)]
    address: Option<String>,
    /// A recorded stream to play in place of a detector.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    recording: Option<String>,
    /// The version of the stream: 1 (`legacy`, port 9999) or 2 (`cbor`, port 31001).
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 2))]
    version: u8,
    /// How many images a series has, when the detector does not say or says otherwise.
    #[serde(default)]
    #[schemars(range(min = 1))]
    frames: Option<u64>,
    /// The channel that becomes `image`, such as `threshold_2`; else the first one.
    #[serde(default)]
    channel: Option<String>,
    /// Gives all channels as `channels` too.
    #[serde(default)]
    all_channels: bool,
    /// Whether digests are compared: some 600 MB of packed data a second and core.
    #[serde(default = "yes")]
    verify: bool,
    /// Takes a series whose start message has been missed.
    ///
    /// `frames` should then say how many images it has.
    #[serde(default)]
    attach: bool,
    /// How long to wait for the detector and the start of a series.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0.1), extend("x-unit" = "s"))]
    wait: f64,
    /// Silence within a series after which it is given up.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0.01), extend("x-unit" = "s"))]
    stall: f64,
    /// How long images may come after the end message.
    #[serde(default = "half")]
    #[schemars(range(min = 0), extend("x-unit" = "s"))]
    late: f64,
    /// Bytes that may wait between the network and the run.
    ///
    /// Beyond that the detector waits.
    #[serde(default = "buffer")]
    #[schemars(range(min = 65536), extend("x-unit" = "byte"))]
    buffer: usize,
    /// Configures, arms, triggers and disarms the detector; else somebody else does.
    #[serde(default)]
    control: Option<Control>,
    #[serde(skip)]
    #[schemars(skip)]
    live: Option<Live>,
}

fn two() -> u8 {
    2
}
fn yes() -> bool {
    true
}
fn thirty() -> f64 {
    30.0
}
fn half() -> f64 {
    0.5
}
fn buffer() -> usize {
    256 << 20
}

/// What [`Dectris`] takes.
#[derive(Ports)]
pub struct DectrisIn {
    /// Where the stream is: of a simulated detector.
    address: Option<String>,
    /// Where the REST interface is: of a simulated detector.
    api: Option<String>,
}

/// What a frame of [`Dectris`] holds.
#[derive(Ports)]
pub struct Frame {
    /// Counts.
    #[port(dtype = "u8|u16|u32", axes = "y x", unit = "count")]
    pub(super) image: Array,
    /// When the exposure began, since the series did.
    #[port(dtype = "f64", axes = "", unit = "s")]
    pub(super) time: Array,
    /// How long it was exposed.
    #[port(dtype = "f64", axes = "", unit = "s")]
    pub(super) exposure: Array,
    /// Counts of all channels, with `all_channels`.
    #[port(dtype = "u8|u16|u32", axes = "channel y x", unit = "count")]
    pub(super) channels: Option<Array>,
}

impl Frame {
    /// Some of its frames.
    pub(super) fn part(&self, from: usize, to: usize) -> Result<Frame> {
        Ok(Frame {
            image: self.image.records(from..to)?,
            time: self.time.records(from..to)?,
            exposure: self.exposure.records(from..to)?,
            channels: self.channels.as_ref().map(|c| c.records(from..to)).transpose()?,
        })
    }
}

/// A series that is being taken.
struct Live {
    inlet: Inlet,
    id: u64,
    series: Series,
    form: Form,
    /// Images that came while the head was waited for.
    early: Vec<Image>,
    session: Option<Session>,
}

impl Stage for Dectris {
    type In = DectrisIn;
    type Out = Frame;

    fn example() -> Example {
        let dump = write_dump(simulate::sample().iter().map(Vec::as_slice));
        Example::new(format!("recording = {:?}", Example::file("dectris.bin", &dump)))
    }

    fn check(&self, faults: &mut Faults) {
        if self.recording.is_some() && (self.address.is_some() || self.control.is_some()) {
            faults.add("recording", "found a recording and a detector, wanted one of them");
        }
        if !matches!(self.version, 1 | 2) {
            faults.add("version", format!("found {}, wanted 1 or 2", self.version));
        }
        let times = [("wait", self.wait, 0.1), ("stall", self.stall, 0.01), ("late", self.late, 0.0)];
        for (name, value, least) in times {
            if !(value.is_finite() && value >= least && value < 1e9) {
                faults.add(name, format!("found {value} s, wanted {least} s or more"));
            }
        }
    }
}

impl Source for Dectris {
    fn open(&mut self, cx: &Cx, input: DectrisIn, from: Position) -> Result<Opened> {
        let until = Instant::now() + Duration::from_secs_f64(self.wait);
        let mut inlet = match &self.recording {
            Some(path) => Inlet::open(Path::new(path))?,
            None => {
                let text = input.address.as_ref().or(self.address.as_ref()).ok_or_else(|| {
                    Error::recipe("neither a detector nor a recording is named")
                        .help("set `address` or `recording`, or wire the input `address`")
                })?;
                let port = if self.version == 1 { 9999 } else { 31001 };
                Inlet::connect(address(text, port)?, self.buffer, cx.pool())?
            }
        };
        let mut session = None;
        if let Some(control) = &self.control {
            // Whoever connects after the detector is armed misses the start message.
            self.connected(cx, &mut inlet, until)?;
            let api = input.api.as_deref();
            session = Some(Session::arm(cx, control, api, self.version)?);
        }
        let armed = session.as_ref().map(Session::series);
        let attach = self.attach || from.next > 0;
        let (start, early) = self.begun(cx, &mut inlet, until, armed, attach)?;
        if let Some(session) = &mut session {
            session.trigger()?;
        }
        let (start, early) = self.formed(cx, &mut inlet, until, start, early)?;
        let form = self.form(&start)?;
        let mut head = start.head.clone();
        head.set("series", start.series as i64);
        let own = form.channel.as_deref();
        for (key, channel, field) in &start.fields {
            if head.get(key).is_none() && own.is_none_or(|own| own == channel) {
                head.set(*key, field.clone());
            }
        }
        if let Some(session) = &session {
            head.set("settings", session.settings().clone());
        }
        let frames = self.frames.or(start.frames);
        let seconds = Duration::from_secs_f64;
        let (id, name) = (start.series, format!("series {}", start.series));
        let mut series = Series::new(name, frames, from.next, seconds(self.stall), seconds(self.late));
        let early = early
            .into_iter()
            .filter_map(|image| series::take(&mut series, id, Event::Image(Box::new(image))));
        let early = early.collect();
        let mut shapes = Shapes::default()
            .with("image", Shape::array(form.dtype, &form.shape))
            .with("time", Shape::array(Dtype::F64, &[]))
            .with("exposure", Shape::array(Dtype::F64, &[]));
        if !form.stack.is_empty() {
            let [y, x] = form.shape;
            shapes = shapes.with("channels", Shape::array(form.dtype, &[form.stack.len(), y, x]));
        }
        let live = self.recording.is_none();
        self.live = Some(Live { inlet, id, series, form, early, session });
        Ok(Opened { frames, head, shapes, live, scan: vec![] })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let live = self.live.as_mut();
        live.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "live.dectris", Kind::Source, Dectris);

impl Dectris {
    /// Waits until the connection stands.
    fn connected(&self, cx: &Cx, inlet: &mut Inlet, until: Instant) -> Result<()> {
        let mut why = String::new();
        while Instant::now() < until {
            cx.check()?;
            match inlet.next(FIRST) {
                Some(Inbound::Connected) => return Ok(()),
                Some(Inbound::Broken(broken)) => why = broken,
                Some(Inbound::Item(_)) | None => (),
            }
        }
        Err(self.absent("no connection to the detector", &why))
    }

    /// Waits for the start of the series: the armed one, else the next one.
    fn begun(
        &self,
        cx: &Cx,
        inlet: &mut Inlet,
        until: Instant,
        armed: Option<u64>,
        attach: bool,
    ) -> Result<(Start, Vec<Image>)> {
        let (mut why, mut stale) = (String::new(), 0u64);
        while Instant::now() < until && !inlet.is_dry() {
            cx.check()?;
            match inlet.next(FIRST) {
                Some(Inbound::Item(message)) => match parse(&message) {
                    Ok(Event::Start(start)) if armed.is_none_or(|id| id == start.series) => {
                        return Ok((*start, vec![]));
                    }
                    Ok(Event::Image(image)) if attach && armed.is_none_or(|id| id == image.series) => {
                        let start = Start { series: image.series, ..Start::default() };
                        return Ok((start, vec![*image]));
                    }
                    Ok(_) => stale += 1,
                    Err(bad) => why = bad,
                },
                Some(Inbound::Broken(broken)) => why = broken,
                Some(Inbound::Connected) => why.clear(),
                None => (),
            }
        }
        if stale > 0 {
            why = format!("{stale} messages of other series came; {why}");
        }
        Err(self.absent("no series began", &why))
    }

    /// Waits for the first image where the start message does not say what images look like.
    fn formed(
        &self,
        cx: &Cx,
        inlet: &mut Inlet,
        until: Instant,
        mut start: Start,
        mut early: Vec<Image>,
    ) -> Result<(Start, Vec<Image>)> {
        let mut why = String::new();
        loop {
            if let Some(image) = early.iter().find(|image| image.fault.is_none()) {
                let plane =
                    image.planes.iter().find(|p| self.channel.as_ref().is_none_or(|c| *c == p.channel));
                if let Some(plane) = plane {
                    start.dtype.get_or_insert(plane.dtype);
                    start.shape.get_or_insert(plane.shape);
                }
                if start.channels.is_empty() {
                    start.channels = image.planes.iter().map(|p| p.channel.clone()).collect();
                }
            }
            if start.dtype.is_some() && start.shape.is_some() {
                return Ok((start, early));
            }
            if Instant::now() >= until || inlet.is_dry() {
                return Err(self
                    .absent("the start message says nothing of the images, and none came", &why)
                    .help("set `header_detail` of the stream to `basic` or `all`"));
            }
            cx.check()?;
            match inlet.next(FIRST) {
                Some(Inbound::Item(message)) => match parse(&message) {
                    Ok(Event::Image(image)) if image.series == start.series => early.push(*image),
                    Ok(_) => (),
                    Err(bad) => why = bad,
                },
                Some(Inbound::Broken(broken)) => why = broken,
                Some(Inbound::Connected) | None => (),
            }
        }
    }

    fn form(&self, start: &Start) -> Result<Form> {
        let (Some(dtype), Some(shape)) = (start.dtype, start.shape) else {
            return Err(Error::internal("a series without a form was taken"));
        };
        let named: Vec<String> = start.channels.iter().filter(|c| !c.is_empty()).cloned().collect();
        if let Some(channel) = &self.channel
            && !named.contains(channel)
        {
            let found = if named.is_empty() { "none".into() } else { named.join(", ") };
            return Err(Error::recipe(format!("no channel `{channel}`: the detector has {found}"))
                .help("leave out `channel` to take the first one"));
        }
        let channel = self.channel.clone().or(named.first().cloned());
        let stack = if self.all_channels { named } else { vec![] };
        if self.all_channels && stack.is_empty() {
            return Err(Error::recipe("`all_channels` is set, but the stream names no channels")
                .help("stream version 1 has one; leave `all_channels` out"));
        }
        Ok(Form { dtype, shape, channel, stack, verify: self.verify })
    }

    fn absent(&self, what: &str, why: &str) -> Error {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let place = match &self.recording {
            Some(path) => format!("in {path}"),
            None => format!("within {} s", self.wait),
        };
        let error = Error::new(Blame::Io, format!("{what} {place}{why}"));
        match self.recording {
            Some(_) => error,
            None => error.help(
                "connect before the detector is armed; check address, `version` and the stream's `mode`; raise `wait` \
                 (and `run.hang_s` above it) for a detector that comes later",
            ),
        }
    }
}

impl Live {
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let most = slots.room().max(1) as usize;
        let mut images = std::mem::take(&mut self.early);
        let mut until = Instant::now() + if images.is_empty() { FIRST } else { MORE };
        while images.len() < most {
            match self.inlet.next(until.saturating_duration_since(Instant::now())) {
                Some(Inbound::Item(message)) => match parse(&message) {
                    Ok(event) => {
                        if let Some(image) = series::take(&mut self.series, self.id, event) {
                            if images.is_empty() {
                                until = until.min(Instant::now() + MORE);
                            }
                            images.push(image);
                        }
                    }
                    Err(why) => self.series.unreadable(why),
                },
                Some(Inbound::Broken(why)) => self.series.connection(Some(why)),
                Some(Inbound::Connected) => self.series.connection(None),
                None => break,
            }
            if self.series.over(false).is_some() {
                break;
            }
        }
        if !images.is_empty() {
            self.form.put(cx, &images, slots)?;
            return Ok(Pull::Ready);
        }
        if let Some(fault) = self.session.as_mut().and_then(Session::fault) {
            return Err(fault);
        }
        let Some(why) = self.series.over(self.inlet.is_dry()) else { return Ok(Pull::Wait(Duration::ZERO)) };
        self.series.close(&why, self.inlet.level(), slots);
        if let Some(session) = &mut self.session {
            session.disarm();
        }
        Ok(Pull::End)
    }
}
