//! A simulated Merlin detector: both sockets, and what goes wrong with them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isard_core::prelude::*;

use super::control::message;
use super::inlet::{PREFIX, length};
use crate::dectris::pixel;
use crate::faults::Hit;
use crate::net::queue::TICK;
use crate::net::serve::{Crew, Door, Shift};
use crate::net::wire::{Sent, Wire};

/// Bytes of the header of a frame of one chip.
const HEADER: usize = 384;

/// Starts a simulated Merlin detector on this machine, for `live.merlin`.
///
/// Listens on the loopback interface alone, on a socket for data and one for commands. An acquisition begins when
/// somebody connects to the data socket, or with `start = "control"` on the command STARTACQUISITION. Frames have a smooth
/// pattern and a bright spot that moves, known in closed form, and repeat after `distinct` of them; or a recorded stream
/// is played. `lose`, `garbage`,
/// `truncate`, `restart` and `stall` make things go wrong. Ends by itself when all is sent, and after `lifetime`.
///
/// Gives the addresses of both sockets: wire them to the inputs of `live.merlin`.
///
/// Source: the Merlin manual, TCP interface and file format.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Detector {
    /// Frames of an acquisition.
    #[schemars(range(min = 1))]
    pub frames: u64,
    /// Rows and columns.
    #[schemars(extend("x-unit" = "pixel"))]
    pub shape: [usize; 2],
    /// Bits of a pixel.
    #[schemars(extend("enum" = [8, 16, 32]))]
    pub bits: u8,
    /// Frames per second; 0 is as fast as they are taken.
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    pub rate: f64,
    /// How many frames differ before they repeat.
    #[schemars(range(min = 1))]
    pub distinct: u64,
    /// What begins an acquisition: `connect` (a client) or `control` (a command).
    #[schemars(extend("enum" = ["connect", "control"]))]
    pub start: String,
    /// What goes wrong.
    pub faults: Faults,
    /// Settings that the detector takes without heeding them.
    pub deaf: Vec<String>,
    /// A recorded data socket to play in place of frames of its own.
    #[schemars(extend("x-path" = "input"))]
    pub recording: Option<String>,
    /// The port of the data socket; 0 takes any that is free.
    pub port: u16,
    /// The port of the command socket; 0 takes any that is free.
    pub control_port: u16,
    /// It ends after this time at the latest.
    #[schemars(range(min = 0.1), extend("x-unit" = "s"))]
    pub lifetime: f64,
}

/// What goes wrong in a simulated stream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Frames that are never sent: their numbers, or the share of all.
    pub lose: Hit,
    /// Frames whose message is shorter than it should be.
    pub corrupt: Hit,
    /// Bytes of an earlier run that wait in the socket.
    pub garbage: u64,
    /// The connection closes in the middle of this frame, for good.
    pub truncate: Option<u64>,
    /// The connection breaks in the middle of these frames, and may be made again.
    pub cut: Vec<u64>,
    /// Another acquisition begins before this frame.
    pub restart: Option<u64>,
    /// Nothing more is sent from this frame on, though the connection stands.
    pub stall: Option<u64>,
}

impl Default for Detector {
    fn default() -> Self {
        Detector {
            frames: 100,
            shape: [256, 256],
            bits: 16,
            rate: 0.0,
            distinct: 16,
            start: "connect".into(),
            faults: Faults::default(),
            deaf: vec![],
            recording: None,
            port: 0,
            control_port: 0,
            lifetime: 60.0,
        }
    }
}

/// What [`Detector`] gives.
#[derive(Ports)]
pub struct Addresses {
    /// Where the data socket is.
    address: String,
    /// Where the command socket is.
    control: String,
}

impl Stage for Detector {
    type In = ();
    type Out = Addresses;

    fn example() -> Example {
        Example {
            external: Some("it opens ports, which differ each time"),
            ..Example::new("frames = 20\nrate = 50.0\nfaults = { lose = [3] }")
        }
    }

    fn check(&self, faults: &mut isard_core::stage::Faults) {
        if self.shape.iter().any(|n| !(1..=1 << 12).contains(n)) {
            faults.add("shape", format!("found {:?}, wanted 1 to 4096 rows and columns", self.shape));
        }
        if !matches!(self.bits, 8 | 16 | 32) {
            faults.add("bits", format!("found {}, wanted 8, 16 or 32", self.bits));
        }
        for (name, value, least) in [("rate", self.rate, 0.0), ("lifetime", self.lifetime, 0.1)] {
            if !(value.is_finite() && value >= least && value < 1e8) {
                faults.add(name, format!("found {value}, wanted {least} or more"));
            }
        }
        if self.distinct == 0 {
            faults.add("distinct", "is 0, wanted at least 1");
        }
        self.faults.lose.check("faults.lose", faults);
        self.faults.corrupt.check("faults.corrupt", faults);
    }
}

impl Task for Detector {
    fn run(&mut self, _: &Cx, (): ()) -> Result<Addresses> {
        let simulated = self.begin()?;
        let out =
            Addresses { address: simulated.data().to_string(), control: simulated.control().to_string() };
        // It goes on beside the run, and ends by itself.
        simulated.leave();
        Ok(out)
    }
}
declare!(Task, "live.merlin_simulate", Kind::Simulator, Detector);

/// A simulated detector that runs.
pub struct Simulated {
    data: SocketAddr,
    control: SocketAddr,
    crew: Crew,
    state: Arc<Mutex<State>>,
}

/// What both sockets know.
struct State {
    settings: BTreeMap<String, String>,
    deaf: Vec<String>,
    started: bool,
    commands: Vec<String>,
}

impl Simulated {
    /// Where the data socket is.
    pub fn data(&self) -> SocketAddr {
        self.data
    }

    /// Where the command socket is.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// The commands it was given, without settings and questions.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.state).commands.clone()
    }

    /// Lets it go on alone until it ends by itself.
    pub fn leave(self) {
        self.crew.leave();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Detector {
    /// Starts it; it ends when what is given is dropped, and by itself.
    pub fn begin(&self) -> Result<Simulated> {
        let of = self.clone();
        let (data, control) = (Door::open(of.port)?, Door::open(of.control_port)?);
        let addresses = (data.address, control.address);
        let play = match &of.recording {
            Some(path) => {
                let path = Path::new(path);
                Some(std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?)
            }
            None => None,
        };
        let settings = [("NUMFRAMESTOACQUIRE", of.frames), ("NUMFRAMESPERTRIGGER", 1), ("COUNTERDEPTH", 12)]
            .map(|(name, n)| (name.to_owned(), n.to_string()));
        let mut settings = BTreeMap::from(settings);
        for name in
            ["ACQUISITIONTIME", "CONTINUOUSRW", "FILEFORMAT", "RUNHEADLESS", "TRIGGERSTART", "SCANX", "SCANY"]
        {
            settings.insert(name.into(), "0".into());
        }
        let (deaf, started) = (of.deaf.clone(), of.start == "connect");
        let state = Arc::new(Mutex::new(State { settings, deaf, started, commands: vec![] }));
        let mut crew = Crew::new(Duration::from_secs_f64(of.lifetime));
        let asked = state.clone();
        crew.start("isard merlin control", move |shift| {
            while !shift.over() {
                if let Some(client) = control.knock(TICK) {
                    // A client that goes away leaves the socket to the next one.
                    let _ = obey(client, &shift, &asked);
                }
            }
        })?;
        let told = state.clone();
        crew.start("isard merlin data", move |shift| {
            let mut sender = Sender { door: data, shift, of, state: told };
            // Whatever ended it, the detector is over.
            let _ = sender.run(play);
            sender.shift.sleep_until(Instant::now() + Duration::from_millis(300));
            sender.shift.flag().store(true, std::sync::atomic::Ordering::Relaxed);
        })?;
        Ok(Simulated { data: addresses.0, control: addresses.1, crew, state })
    }

    /// The pixels of a frame in this machine's byte order.
    pub fn pixels(&self, number: u64) -> Vec<u8> {
        let number = number % self.distinct.max(1);
        let size = usize::from(self.bits / 8);
        let [rows, columns] = self.shape;
        let places = (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x)));
        places
            .flat_map(|(y, x)| pixel(self.shape, number, y, x).to_ne_bytes().into_iter().take(size))
            .collect()
    }

    /// The pixels of a frame as they are sent.
    fn stored(&self, number: u64) -> Vec<u8> {
        let (mut pixels, size) = (self.pixels(number), usize::from(self.bits / 8));
        if size > 1 && cfg!(target_endian = "little") {
            pixels.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        pixels
    }

    /// The message of a frame with these pixels.
    fn frame(&self, number: u64, stored: &[u8]) -> Vec<u8> {
        let [rows, columns] = self.shape;
        let mut body = format!(
            "MQ1,{:06},{HEADER:05},01,{columns:04},{rows:04},U{:02},   1x1,01,2026-01-02 03:04:05.678901,0.001000,0,0,0,\
             1.200000E+1,5.110000E+2,0.0,0.0,0.0,0.0,0.0,0.0,3RX,{}MQ1A,2026-01-02T03:04:05.678901234Z,1000000ns,{},",
            number + 1,
            self.bits,
            "1,".repeat(27),
            if self.bits == 8 { 6 } else { 12 },
        )
        .into_bytes();
        body.resize(HEADER, 0);
        body.extend(stored);
        message(&body)
    }

    /// The header message of an acquisition.
    fn header(&self) -> Vec<u8> {
        let text = format!(
            "HDR,\t\r\nTime and Date Stamp (yr, mnth, day, hr, min, s):\t2026-01-02 03:04:05\r\nChip ID:\tsimulated\r\n\
             Frames in Acquisition (Number):\t{}\r\nFrames per Trigger (Number):\t1\r\nEnd\t",
            self.frames
        );
        message(text.as_bytes())
    }
}

/// Answers commands until the client goes.
fn obey(client: TcpStream, shift: &Shift, state: &Mutex<State>) -> Sent<()> {
    let mut wire = Wire::over(client, shift.flag())?;
    while wire.wait()? {
        let prefix: [u8; PREFIX] = wire.bytes()?;
        let Some(len) = length(&prefix).filter(|len| *len < 1 << 12) else { return Ok(()) };
        let mut body = vec![0; len];
        wire.read(&mut body)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let answer = answer(&mut lock(state), &text);
        wire.write(&message(answer.as_bytes()))?;
    }
    Ok(())
}

fn answer(state: &mut State, text: &str) -> String {
    let mut words = text.splitn(3, ',');
    let (verb, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let value = words.next().unwrap_or_default();
    match verb {
        "GET" => match state.settings.get(name) {
            Some(value) => format!("GET,{name},{value},0"),
            None => format!("GET,{name},0,2"),
        },
        "SET" if !state.settings.contains_key(name) => format!("SET,{name},2"),
        "SET" if value.parse::<f64>().is_ok_and(|x| x < 0.0) => format!("SET,{name},3"),
        "SET" => {
            if !state.deaf.iter().any(|deaf| deaf == name) {
                state.settings.insert(name.into(), value.into());
            }
            format!("SET,{name},0")
        }
        "CMD" => {
            state.commands.push(name.to_owned());
            match name {
                "STARTACQUISITION" => state.started = true,
                "STOPACQUISITION" | "ABORT" | "RESET" => state.started = false,
                "SOFTTRIGGER" => (),
                _ => return format!("CMD,{name},2"),
            }
            format!("CMD,{name},0")
        }
        _ => format!("{verb},{name},2"),
    }
}

struct Sender {
    door: Door,
    shift: Shift,
    of: Detector,
    state: Arc<Mutex<State>>,
}

impl Sender {
    fn run(&mut self, play: Option<Vec<u8>>) -> Sent<()> {
        let Some(mut wire) = self.client()? else { return Ok(()) };
        wire.write(&vec![b'x'; self.of.faults.garbage as usize])?;
        while !lock(&self.state).started {
            if self.shift.over() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(bytes) = play {
            return wire.write(&bytes);
        }
        let frames = lock(&self.state).settings.get("NUMFRAMESTOACQUIRE").and_then(|n| n.parse().ok());
        self.of.frames = frames.unwrap_or(self.of.frames);
        // Made once, and sent again and again.
        let distinct = self.of.distinct.clamp(1, self.of.frames.max(1));
        let stored: Vec<Vec<u8>> = (0..distinct).map(|n| self.of.stored(n)).collect();
        wire.write(&self.of.header())?;
        let begun = Instant::now();
        let faults = self.of.faults.clone();
        for n in 0..self.of.frames {
            if self.of.rate > 0.0 {
                self.shift.sleep_until(begun + Duration::from_secs_f64(n as f64 / self.of.rate));
            }
            if self.shift.over() {
                return Ok(());
            }
            if faults.restart == Some(n) {
                wire.write(&self.of.header())?;
            }
            if faults.stall == Some(n) {
                self.shift.sleep_until(Instant::now() + Duration::from_secs(3600));
                return Ok(());
            }
            if faults.lose.takes(n, 1) {
                continue;
            }
            let mut frame = self.of.frame(n, &stored[(n % distinct) as usize]);
            if faults.truncate == Some(n) || faults.cut.contains(&n) {
                wire.write(&frame[..frame.len() / 2])?;
                drop(wire);
                if faults.truncate == Some(n) {
                    return Ok(());
                }
                match self.client()? {
                    Some(again) => wire = again,
                    None => return Ok(()),
                }
                continue;
            }
            if faults.corrupt.takes(n, 2) {
                let len = frame.len() - PREFIX - 10;
                frame = message(&frame[PREFIX..][..len]);
            }
            wire.write(&frame)?;
        }
        Ok(())
    }

    fn client(&self) -> Sent<Option<Wire>> {
        while !self.shift.over() {
            if let Some(client) = self.door.knock(TICK) {
                return Wire::over(client, self.shift.flag()).map(Some);
            }
        }
        Ok(None)
    }
}

/// The data socket of a small acquisition, for an example.
pub(super) fn sample() -> Vec<u8> {
    let small = Detector { frames: 4, shape: [6, 8], bits: 8, ..Detector::default() };
    let mut out = small.header();
    (0..4).for_each(|n| out.extend(small.frame(n, &small.stored(n))));
    out
}
