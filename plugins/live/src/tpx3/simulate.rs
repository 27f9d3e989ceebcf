//! A simulated Timepix3: events known in closed form, as a raw or a sparse stream.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isard_core::prelude::*;

use super::raw::TICKS_PER_SECOND;
use crate::faults::mixed;
use crate::net::queue::TICK;
use crate::net::serve::{Crew, Door};
use crate::net::wire::Wire;

/// Starts a simulated Timepix3 detector on this machine, for `live.tpx3`.
///
/// Listens on the loopback interface alone and sends the events of one scan to the first client: raw packets with a
/// trigger at the beginning of each line, or sparse frames. The events of a frame are known in closed form. Ends by
/// itself when they are sent, and after `lifetime`.
///
/// Gives the address: wire it to the input of `live.tpx3`.
///
/// Source: the data formats of the Timepix3 readout (SPIDR) and of the CheeTah server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Rows and columns of the scan.
    pub scan: [u64; 2],
    /// Events of a frame.
    pub events: u64,
    /// How long a frame is.
    #[schemars(range(min = 1), extend("x-unit" = "us"))]
    pub dwell: f64,
    /// Sends sparse frames in place of packets.
    pub sparse: bool,
    /// Lines per second; 0 is as fast as they are taken.
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    pub rate: f64,
    /// The connection closes after so many lines.
    pub cut: Option<u64>,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// It ends after this time at the latest.
    #[schemars(range(min = 0.1), extend("x-unit" = "s"))]
    pub lifetime: f64,
}

impl Default for Events {
    fn default() -> Self {
        let (scan, events, dwell) = ([16, 16], 20, 10.0);
        Events { scan, events, dwell, sparse: false, rate: 0.0, cut: None, port: 0, lifetime: 60.0 }
    }
}

/// What [`Events`] gives.
#[derive(Ports)]
pub struct Address {
    /// Where the stream is.
    address: String,
}

impl Stage for Events {
    type In = ();
    type Out = Address;

    fn example() -> Example {
        Example { external: Some("it opens ports, which differ each time"), ..Example::new("scan = [4, 4]") }
    }

    fn check(&self, faults: &mut Faults) {
        if self.scan.iter().any(|n| !(1..=4096).contains(n)) {
            faults.add("scan", format!("found {:?}, wanted 1 to 4096 rows and columns", self.scan));
        }
        for (name, value, least) in
            [("dwell", self.dwell, 1.0), ("lifetime", self.lifetime, 0.1), ("rate", self.rate, 0.0)]
        {
            if !(value.is_finite() && value >= least && value < 1e8) {
                faults.add(name, format!("found {value}, wanted {least} or more"));
            }
        }
    }
}

impl Task for Events {
    fn run(&mut self, _: &Cx, (): ()) -> Result<Address> {
        let simulated = self.begin()?;
        let address = simulated.address().to_string();
        // It goes on beside the run, and ends by itself.
        simulated.leave();
        Ok(Address { address })
    }
}
declare!(Task, "live.tpx3_simulate", Kind::Simulator, Events);

/// A simulated detector that runs.
pub struct Simulated {
    address: SocketAddr,
    crew: Crew,
}

impl Simulated {
    /// Where the stream is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it go on alone until it ends by itself.
    pub fn leave(self) {
        self.crew.leave();
    }
}

impl Events {
    /// Starts it; it ends when what is given is dropped, and by itself.
    pub fn begin(&self) -> Result<Simulated> {
        let of = self.clone();
        let door = Door::open(of.port)?;
        let address = door.address;
        let mut crew = Crew::new(Duration::from_secs_f64(of.lifetime));
        crew.start("isard tpx3 events", move |shift| {
            while !shift.over() {
                let Some(client) = door.knock(TICK) else { continue };
                let Ok(mut wire) = Wire::over(client, shift.flag()) else { return };
                let begun = Instant::now();
                // A client that goes away ends it.
                let mut sent = wire.write(&of.start());
                for line in 0..of.cut.unwrap_or(of.scan[0]).min(of.scan[0]) {
                    if of.rate > 0.0 {
                        shift.sleep_until(begun + Duration::from_secs_f64(line as f64 / of.rate));
                    }
                    sent = sent.and_then(|()| wire.write(&of.line(line)));
                }
                if of.cut.is_none() {
                    let _ = sent.and_then(|()| wire.write(&of.end()));
                }
                return;
            }
        })?;
        Ok(Simulated { address, crew })
    }

    /// The events of a frame: row, column, and time as a share of the frame.
    pub fn events_of(&self, frame: u64) -> Vec<(usize, usize, f64)> {
        let event = |i: u64| {
            let drawn = mixed(frame << 20 | i);
            let share = (drawn >> 32) as f64 / 2f64.powi(32);
            ((drawn & 0xff) as usize, (drawn >> 8 & 0xff) as usize, share)
        };
        (0..self.events).map(event).collect()
    }

    /// The pixel of an event of a frame.
    fn place_of(&self, frame: u64, event: u64) -> u16 {
        let drawn = mixed(frame << 20 | event);
        // Row and column of `events_of`.
        ((drawn & 0xff) << 8 | drawn >> 8 & 0xff) as u16
    }

    /// The counts of a frame of 256 x 256 pixels.
    pub fn counts(&self, frame: u64) -> Vec<u32> {
        let mut out = vec![0; 65_536];
        self.events_of(frame).into_iter().for_each(|(y, x, _)| out[y * 256 + x] += 1);
        out
    }

    fn start(&self) -> Vec<u8> {
        if !self.sparse {
            return vec![];
        }
        let mut head = [0u8; 32];
        let mut short = |at: usize, n: u64| head[at..at + 2].copy_from_slice(&(n as u16).to_le_bytes());
        short(3, self.scan[0]);
        short(5, self.scan[1]);
        short(8, 256);
        short(10, 256);
        (head[1], head[7], head[12]) = (1, 4, 3);
        let mut out = head.to_vec();
        let text = b"{\"simulated\": true}";
        let mut scan = [0u8; 32];
        scan[0] = 1;
        scan[5..13].copy_from_slice(&(text.len() as u64).to_le_bytes());
        out.extend(scan);
        out.extend(text);
        out
    }

    /// The events of a line.
    fn line(&self, line: u64) -> Vec<u8> {
        let frames = line * self.scan[1]..(line + 1) * self.scan[1];
        if self.sparse { self.sparse_line(frames) } else { self.raw_line(line, frames) }
    }

    fn sparse_line(&self, frames: std::ops::Range<u64>) -> Vec<u8> {
        let n = frames.end - frames.start;
        let (mut pointers, mut places, mut values, mut own) = (vec![0u32], vec![], vec![], vec![]);
        for frame in frames {
            // Sorted, and not by way of all pixels: a million frames a second have some events each.
            own.clear();
            own.extend((0..self.events).map(|i| self.place_of(frame, i)));
            own.sort_unstable();
            for same in own.chunk_by(|a, b| a == b) {
                places.push(same[0]);
                values.push(same.len() as u8);
            }
            pointers.push(places.len() as u32);
        }
        let indices = pointers.len() * 4;
        let at = indices + places.len() * 2;
        let mut head = [0u8; 32];
        (head[0], head[1]) = (2, 2);
        for (place, number) in [(2, n as usize), (6, places.len()), (10, indices), (14, at)] {
            head[place..place + 4].copy_from_slice(&(number as u32).to_le_bytes());
        }
        let mut out = head.to_vec();
        pointers.iter().for_each(|p| out.extend(p.to_le_bytes()));
        places.iter().for_each(|p| out.extend(p.to_le_bytes()));
        out.extend(values);
        out
    }

    /// A trigger, and the events in the order of their time but for neighbours that are swapped.
    fn raw_line(&self, line: u64, frames: std::ops::Range<u64>) -> Vec<u8> {
        let dwell = (self.dwell * 1e-6 * TICKS_PER_SECOND) as u64;
        // Between lines the beam flies back for the time of two frames.
        let start = (line * (self.scan[1] + 2) + 1) * dwell;
        let start = start - start % 2;
        let first = frames.start;
        let mut events = vec![];
        for frame in frames {
            for (y, x, share) in self.events_of(frame) {
                // Times are told in steps of 25 ns but for the fine part, which is left 0.
                let time = start + (frame - first) * dwell + (share * (dwell - 32) as f64) as u64 + 16;
                events.push((time / 16 * 16, y, x));
            }
        }
        events.sort_unstable();
        for pair in events.chunks_exact_mut(2) {
            pair.swap(0, 1);
        }
        let mut packets = vec![0x6f << 56 | ((start / 2) & ((1 << 35) - 1)) << 9];
        for (time, y, x) in events {
            let (coarse, y, x) = ((time / 16) & ((1 << 30) - 1), y as u64, x as u64);
            let place = x >> 1 << 53 | y >> 2 << 47 | (x & 1) << 46 | (y & 3) << 44;
            packets.push(0xb << 60 | place | (coarse & 0x3fff) << 30 | 10 << 20 | coarse >> 14);
        }
        let mut out = vec![];
        for packets in packets.chunks(1000) {
            out.extend(b"TPX3\0\0");
            out.extend((packets.len() as u16 * 8).to_le_bytes());
            packets.iter().for_each(|p: &u64| out.extend(p.to_le_bytes()));
        }
        out
    }

    fn end(&self) -> Vec<u8> {
        if !self.sparse {
            return vec![];
        }
        let mut out = vec![0; 64];
        (out[0], out[32]) = (3, 4);
        out
    }
}

/// The raw stream of a small scan, for an example.
pub(super) fn sample() -> Vec<u8> {
    let small = Events { scan: [2, 3], events: 5, ..Events::default() };
    (0..2).flat_map(|line| small.line(line)).collect()
}
