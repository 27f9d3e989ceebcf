//! `live.merlin`: frames of a Merlin detector as they are taken.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;
use isard_mib::{Header, Pixels, sidecar};

use super::control::{Command, Control};
use super::inlet::{Inlet, Message};
use super::simulate;
use crate::net::address;
use crate::net::receiver::Inbound;
use crate::series::Series;

/// How long a pull waits for the first frame, and for more to decode together with it.
const FIRST: Duration = Duration::from_millis(20);
const MORE: Duration = Duration::from_millis(2);

/// Frames of a Merlin detector (Medipix) as they are taken.
///
/// Connects to the data socket (TCP, port 6342) and takes one acquisition: from its header message to its last frame.
/// Frames are placed by the sequence number in their header, so that after a lost one all others stay at their scan
/// points; lost ones are *missing* at once, for TCP keeps the order. A lost connection is made again. The acquisition
/// ends when all frames are there, when another one begins, or after `stall` of silence. With `control` the settings
/// are made over the command socket (port 6341), read back and compared, and the acquisition is started. What an
/// earlier run has left in the socket is passed over.
///
/// Keeps order and numbers. The head holds `exposure` (s), `thresholds` (keV), what the header message says as
/// `acquisition`, and the read-back `settings`. Raw and processed frames of all depths and of single and quad chips are
/// decoded by the threads of the run; the order of rows is the stored one, which is upside down (`flip_y` in the head).
///
/// Source: the Merlin manual, TCP interface and file format.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merlin {
    /// Where the data socket is: `host:port`, unless the input `address` says it.
    #[serde(default)]
    address: Option<String>,
    /// A recorded data socket to play in place of a detector.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    recording: Option<String>,
    /// How many frames there are, where the header message says 0 or otherwise.
    #[serde(default)]
    #[schemars(range(min = 1))]
    frames: Option<u64>,
    /// Rows and columns of the scan: frame numbers become scan points.
    #[serde(default)]
    scan: Option<[u64; 2]>,
    /// The sequence number of the first frame.
    #[serde(default = "one")]
    first: u64,
    /// How long to wait for the detector and its first frame.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0.1), extend("x-unit" = "s"))]
    wait: f64,
    /// Silence within an acquisition after which it is given up.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0.01), extend("x-unit" = "s"))]
    stall: f64,
    /// Bytes that may wait between the network and the run.
    ///
    /// Beyond that the detector waits.
    #[serde(default = "buffer")]
    #[schemars(range(min = 65536), extend("x-unit" = "byte"))]
    buffer: usize,
    /// Configures and starts the detector; without it somebody else does.
    #[serde(default)]
    control: Option<Control>,
    #[serde(skip)]
    #[schemars(skip)]
    live: Option<Live>,
}

fn one() -> u64 {
    1
}
fn thirty() -> f64 {
    30.0
}
fn buffer() -> usize {
    256 << 20
}

/// What [`Merlin`] takes.
#[derive(Ports)]
pub struct MerlinIn {
    /// Where the data socket is: of a simulated detector.
    address: Option<String>,
    /// Where the command socket is: of a simulated detector.
    control: Option<String>,
}

/// What a frame of [`Merlin`] holds.
#[derive(Ports)]
pub struct MerlinOut {
    /// Counts.
    #[port(dtype = "u8|u16|u32|u64", axes = "y x", unit = "count")]
    image: Array,
}

/// An acquisition that is being taken.
struct Live {
    inlet: Inlet,
    series: Series,
    first: u64,
    header: Header,
    /// The part of the first header that all others must share.
    form: Vec<u8>,
    /// The first frame, which came while the head was made.
    early: Option<Message>,
    next: u64,
    command: Option<Command>,
}

impl Stage for Merlin {
    type In = MerlinIn;
    type Out = MerlinOut;

    fn example() -> Example {
        let path = Example::file("merlin.bin", &simulate::sample());
        Example::new(format!("recording = {path:?}\nscan = [2, 2]"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.recording.is_some() && (self.address.is_some() || self.control.is_some()) {
            faults.add("recording", "found a recording and a detector, wanted one of them");
        }
        if self.scan.is_some_and(|scan| scan.contains(&0)) {
            faults.add("scan", format!("found {:?}, wanted 1 or more rows and columns", self.scan));
        }
        for (name, value, least) in [("wait", self.wait, 0.1), ("stall", self.stall, 0.01)] {
            if !(value.is_finite() && value >= least && value < 1e9) {
                faults.add(name, format!("found {value} s, wanted {least} s or more"));
            }
        }
    }
}

impl Source for Merlin {
    fn open(&mut self, cx: &Cx, input: MerlinIn, from: Position) -> Result<Opened> {
        let until = Instant::now() + Duration::from_secs_f64(self.wait);
        let mut inlet = match &self.recording {
            Some(path) => Inlet::open(Path::new(path))?,
            None => {
                let text = input.address.as_ref().or(self.address.as_ref()).ok_or_else(|| {
                    Error::recipe("neither a detector nor a recording is named")
                        .help("set `address` or `recording`, or wire the input `address`")
                })?;
                Inlet::connect(address(text, 6342)?, self.buffer, cx.pool())?
            }
        };
        let (mut command, mut settings) = (None, None);
        if let Some(control) = &self.control {
            let (mut made, said) = Command::configure(control, input.control.as_deref())?;
            drain(cx, &mut inlet, until)?;
            made.start(control)?;
            (command, settings) = (Some(made), Some(said));
        }
        let (acquisition, early, header) = self.begun(cx, &mut inlet, until, from.next > 0)?;
        let count =
            |key: &str| acquisition.get(key).and_then(Value::number).filter(|n| *n >= 1.0).map(|n| n as u64);
        let scan = self.scan.or_else(|| Some([count("ScanY")?, count("ScanX")?]));
        let frames = self.frames.or(scan.map(|[y, x]| y * x)).or(count("Frames in Acquisition (Number)"));
        let mut head = Dict::new()
            .with("exposure", header.exposure)
            .with("thresholds", Array::from_slice(&header.thresholds))
            .with("flip_y", true)
            .with("acquisition", acquisition);
        if let Some(settings) = settings {
            head.set("settings", settings);
        }
        let seconds = Duration::from_secs_f64;
        let series = Series::new("the acquisition", frames, from.next, seconds(self.stall), Duration::ZERO);
        let shapes = Shapes::default().with("image", Shape::array(header.dtype(), &header.shape()));
        let form = form(early.body.bytes()).to_vec();
        let scan = scan.map_or(vec![], |[y, x]| vec![("y".to_owned(), y), ("x".to_owned(), x)]);
        let live = self.recording.is_none();
        let (first, next) = (self.first, from.next);
        self.live = Some(Live { inlet, series, first, header, form, early: Some(early), next, command });
        Ok(Opened { frames, head, shapes, live, scan })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<MerlinOut>) -> Result<Pull> {
        let live = self.live.as_mut();
        live.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "live.merlin", Kind::Source, Merlin);

/// Passes over what an earlier run has left, until the socket is silent.
fn drain(cx: &Cx, inlet: &mut Inlet, until: Instant) -> Result<()> {
    let mut connected = false;
    let mut why = String::new();
    while Instant::now() < until {
        cx.check()?;
        match inlet.next(Duration::from_millis(100)) {
            Some(Inbound::Connected) => connected = true,
            Some(Inbound::Broken(broken)) => (connected, why) = (false, broken),
            Some(Inbound::Item(_)) => (),
            None if connected => return Ok(()),
            None => (),
        }
    }
    let why = if why.is_empty() { "it never falls silent".to_owned() } else { why };
    Err(Error::new(Blame::Io, format!("the data socket is not ready for an acquisition: {why}"))
        .help("stop what runs there, and check `address`"))
}

impl Merlin {
    /// Waits for the header message and the first frame behind it.
    fn begun(
        &self,
        cx: &Cx,
        inlet: &mut Inlet,
        until: Instant,
        attach: bool,
    ) -> Result<(Dict, Message, Header)> {
        let (mut why, mut stale, mut acquisition) = (String::new(), 0u64, attach.then(Dict::new));
        while Instant::now() < until && !inlet.is_dry() {
            cx.check()?;
            match inlet.next(FIRST) {
                Some(Inbound::Item(message)) => {
                    let body = message.body.bytes();
                    if body.starts_with(b"HDR") {
                        acquisition = Some(described(body));
                        continue;
                    }
                    let Some(found) = acquisition.take_if(|_| body.starts_with(b"MQ1")) else {
                        stale += 1;
                        continue;
                    };
                    match Header::parse(body, "the first frame") {
                        Ok(header) => return Ok((found, message, header)),
                        Err(error) => {
                            why = error.message().to_owned();
                            acquisition = Some(found);
                        }
                    }
                }
                Some(Inbound::Broken(broken)) => why = broken,
                Some(Inbound::Connected) => why.clear(),
                None => (),
            }
        }
        let what = if acquisition.is_some() { "no frame came" } else { "no acquisition began" };
        let stale =
            if stale > 0 { format!(" ({stale} frames of an earlier one came)") } else { String::new() };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let place = match &self.recording {
            Some(path) => format!("in {path}"),
            None => format!("within {} s", self.wait),
        };
        let error = Error::new(Blame::Io, format!("{what} {place}{stale}{why}"));
        Err(match self.recording {
            Some(_) => error,
            None => error.help(
                "connect before the acquisition is started; check `address`; raise `wait` (and `run.hang_s` above it)",
            ),
        })
    }
}

/// What a header message says; numbers are numbers.
fn described(body: &[u8]) -> Dict {
    let mut out = Dict::new();
    for (key, text) in sidecar(body) {
        let number = text.parse::<i64>().map(Value::Int).or(text.parse().map(Value::Float));
        out.set(key, number.unwrap_or(Value::from(text.as_str())));
    }
    out
}

/// The fields that all frames of an acquisition share: offset, chips, size, type, layout.
fn form(body: &[u8]) -> &[u8] {
    let mut commas = body.iter().enumerate().filter(|(_, b)| **b == b',').map(|(i, _)| i);
    match (commas.nth(1), commas.nth(5)) {
        (Some(from), Some(to)) => &body[from..to],
        _ => &[],
    }
}

/// The sequence number in the header of a frame.
fn sequence(body: &[u8]) -> Option<u64> {
    let rest = body.strip_prefix(b"MQ1,")?;
    let digits = rest.split(|b| *b == b',').next()?;
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

impl Live {
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<MerlinOut>) -> Result<Pull> {
        let most = slots.room().max(1) as usize;
        let mut frames: Vec<(u64, Message)> = vec![];
        let mut lost: Vec<std::ops::Range<u64>> = vec![];
        let mut until = Instant::now() + FIRST;
        if let Some(message) = self.early.take() {
            self.take(message, &mut frames, &mut lost);
        }
        while frames.len() < most && self.series.over(false).is_none() {
            if !frames.is_empty() {
                until = until.min(Instant::now() + MORE);
            }
            match self.inlet.next(until.saturating_duration_since(Instant::now())) {
                Some(Inbound::Item(message)) => self.take(message, &mut frames, &mut lost),
                Some(Inbound::Broken(why)) => self.series.connection(Some(why)),
                Some(Inbound::Connected) => self.series.connection(None),
                None => break,
            }
        }
        for number in lost.into_iter().flatten() {
            slots.missing(number, "the detector's sequence numbers pass over it");
        }
        if !frames.is_empty() {
            self.put(cx, &frames, slots)?;
            return Ok(Pull::Ready);
        }
        let Some(why) = self.series.over(self.inlet.is_dry()) else { return Ok(Pull::Wait(Duration::ZERO)) };
        self.series.close(&why, self.inlet.level(), slots);
        if let Some(command) = &mut self.command {
            command.over();
        }
        Ok(Pull::End)
    }

    /// Books a message; keeps it if it is a wanted frame.
    fn take(
        &mut self,
        message: Message,
        frames: &mut Vec<(u64, Message)>,
        lost: &mut Vec<std::ops::Range<u64>>,
    ) {
        if message.garbage > 0 {
            let n = message.garbage;
            self.series.unreadable(format!("{n} bytes in front of a message belong to none"));
        }
        let body = message.body.bytes();
        if body.starts_with(b"HDR") {
            self.series.cut("the detector began another acquisition");
            return;
        }
        let number = sequence(body).and_then(|n| n.checked_sub(self.first));
        let Some(number) = number else {
            let start = String::from_utf8_lossy(&body[..body.len().min(16)]).into_owned();
            self.series.unreadable(format!("a message that begins with {start:?} is no frame"));
            return;
        };
        if !self.series.believable(number) {
            self.series.unreadable(format!("a frame says that it is number {number}"));
            return;
        }
        // TCP keeps the order: what was passed over does not come any more.
        if number > self.next {
            let end = self.series.frames.map_or(number, |n| number.min(n));
            lost.push(self.next..end.max(self.next));
            for n in self.next..end {
                self.series.saw(n);
            }
        }
        self.next = self.next.max(number + 1);
        if self.series.saw(number) {
            frames.push((number, message));
        }
    }

    fn put(&self, cx: &Cx, frames: &[(u64, Message)], slots: &mut Slots<MerlinOut>) -> Result<()> {
        for run in frames.chunk_by(|a, b| a.0 + 1 == b.0) {
            self.run(cx, run, slots)?;
        }
        Ok(())
    }

    fn run(&self, cx: &Cx, run: &[(u64, Message)], slots: &mut Slots<MerlinOut>) -> Result<()> {
        let [y, x] = self.header.shape();
        let dtype = self.header.dtype();
        if let [(number, message)] = run
            && self.header.pixels == Pixels::Whole(1)
            && self.fits(message).is_ok()
        {
            // Bytes need no decoding: the frame stays where it was received.
            let image = message.body.part(self.header.offset, &[1, y, x])?;
            return slots.put(*number, MerlinOut { image });
        }
        let mut image = cx.array(dtype, &[run.len(), y, x])?;
        let size = y * x * dtype.size();
        let parts: Vec<_> =
            image.bytes_mut().chunks_exact_mut(size).map(|part| Mutex::new((part, Ok(())))).collect();
        cx.par(run.len(), |k| {
            let mut part = parts[k].lock().map_err(|_| Error::internal("a frame was decoded twice"))?;
            let (out, fate) = &mut *part;
            *fate = self.fits(&run[k].1).map(|stored| self.header.decode(stored, out));
            Ok(())
        })?;
        let fates: Vec<std::result::Result<(), String>> = parts
            .into_iter()
            .map(|part| part.into_inner().map_or_else(|_| Err("its decoding failed".into()), |p| p.1))
            .collect();
        let image = image.freeze();
        let mut from = 0;
        for (k, fate) in fates.into_iter().enumerate() {
            let Err(why) = fate else { continue };
            if from < k {
                slots.put(run[from].0, MerlinOut { image: image.records(from..k)? })?;
            }
            slots.corrupt(run[k].0, why, None);
            from = k + 1;
        }
        if from < run.len() {
            slots.put(run[from].0, MerlinOut { image: image.records(from..run.len())? })?;
        }
        Ok(())
    }

    /// The stored pixels of a frame, if it looks as the first one did.
    fn fits<'a>(&self, message: &'a Message) -> std::result::Result<&'a [u8], String> {
        let body = message.body.bytes();
        let (found, wanted) = (body.len(), self.header.step());
        if found != wanted {
            return Err(format!("its message has {found} bytes, wanted {wanted}"));
        }
        // Raw frames tell their depth elsewhere in the header only.
        let alike = form(body) == self.form
            && (matches!(self.header.pixels, Pixels::Whole(_))
                || Header::parse(body, "it").is_ok_and(|h| h.alike(&self.header)));
        if !alike {
            return Err("its header says other pixels than that of the first frame".into());
        }
        Ok(&body[self.header.offset..])
    }
}
