//! The threads of a simulated detector.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isard_core::prelude::*;

use super::Detector;
use super::encode::{Message, Series};
use super::rest::State;
use crate::dectris::dump::messages;
use crate::net::http::answer;
use crate::net::queue::TICK;
use crate::net::serve::{Crew, Door, Shift};
use crate::net::zmtp::Peer;

/// What a simulated detector has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Images that were sent, each time.
    pub sent: u64,
    /// Images that were lost because nobody took them in time.
    pub dropped: u64,
    /// Series that were sent to their end.
    pub series: u64,
    /// Clients that came.
    pub clients: u64,
}

/// A simulated detector that runs.
pub struct Simulated {
    stream: SocketAddr,
    api: SocketAddr,
    crew: Crew,
    tally: Arc<Mutex<Tally>>,
    state: Arc<Mutex<State>>,
}

impl Simulated {
    pub(super) fn begin(of: Detector) -> Result<Simulated> {
        let (stream, api) = (Door::open(of.port)?, Door::open(of.api_port)?);
        let (tally, state) = (Arc::new(Mutex::default()), Arc::new(Mutex::new(State::new(&of))));
        let play = match &of.recording {
            Some(path) => {
                let path = Path::new(path);
                let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
                let all = messages(&bytes).map_err(|why| Error::data(format!("{} {why}", path.display())))?;
                Some(all.iter().map(|m| m.iter().map(|p| Arc::new(p.bytes().to_vec())).collect()).collect())
            }
            None => None,
        };
        let mut crew = Crew::new(of.lifetime());
        let addresses = (stream.address, api.address);
        let asked = state.clone();
        crew.start("isard dectris api", move |shift| {
            while !shift.over() {
                if let Some(client) = api.knock(TICK) {
                    answer(client, |method, path, body| lock(&asked).answer(method, path, body));
                }
            }
        })?;
        let mut sender = Sender {
            door: stream,
            shift: crew.shift(),
            peers: VecDeque::new(),
            tally: tally.clone(),
            state: state.clone(),
            play,
            of,
        };
        crew.start("isard dectris stream", move |shift| {
            sender.run();
            // With its last series the detector is over.
            shift.flag().store(true, std::sync::atomic::Ordering::Relaxed);
        })?;
        Ok(Simulated { stream: addresses.0, api: addresses.1, crew, tally, state })
    }

    /// Where the stream is.
    pub fn stream(&self) -> SocketAddr {
        self.stream
    }

    /// Where the REST interface is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// What it has done so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// The commands it was given over REST.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.state).commands.clone()
    }

    /// Waits until it has ended by itself, and says what it has done.
    pub fn join(mut self) -> Tally {
        self.crew.join();
        self.tally()
    }

    /// Lets it go on alone until it ends by itself.
    pub fn leave(self) {
        self.crew.leave();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a series was left.
enum Left {
    /// It was sent.
    Done,
    /// The detector started anew.
    Anew,
    /// The detector ends.
    Over,
}

struct Sender {
    door: Door,
    shift: Shift,
    peers: VecDeque<Peer>,
    tally: Arc<Mutex<Tally>>,
    state: Arc<Mutex<State>>,
    play: Option<Vec<Message>>,
    of: Detector,
}

impl Sender {
    fn run(&mut self) {
        let mut left = self.of.series;
        let mut anew = false;
        while left > 0 && !self.shift.over() {
            let Some(id) = self.wait_for_start(anew) else { return };
            let sent = match self.play.take() {
                Some(messages) => {
                    for message in &messages {
                        self.send(message);
                    }
                    self.play = Some(messages);
                    Left::Done
                }
                None => self.series(id, anew),
            };
            match sent {
                Left::Done => {
                    left -= 1;
                    anew = false;
                    lock(&self.tally).series += 1;
                    let mut state = lock(&self.state);
                    state.triggered = false;
                    if self.of.start == "connect" {
                        state.armed = false;
                    }
                }
                Left::Anew => anew = true,
                Left::Over => return,
            }
        }
        // Messages that still wait in the connection are taken before it closes.
        self.shift.sleep_until(Instant::now() + Duration::from_millis(200));
        if self.of.start == "api" {
            let armed = |state: &Mutex<State>| lock(state).armed;
            let until = Instant::now() + Duration::from_secs(5);
            while armed(&self.state) && Instant::now() < until && !self.shift.over() {
                std::thread::sleep(TICK);
            }
        }
    }

    /// Waits for a client, or for the detector to be armed; gives the number of the series.
    fn wait_for_start(&mut self, anew: bool) -> Option<u64> {
        loop {
            if self.shift.over() {
                return None;
            }
            self.admit();
            let mut state = lock(&self.state);
            if self.of.start == "api" && !anew {
                if state.armed && !state.triggered && !self.peers.is_empty() {
                    return Some(state.series);
                }
            } else if !self.peers.is_empty() {
                state.series += 1;
                (state.armed, state.triggered) = (true, true);
                return Some(state.series);
            }
            drop(state);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn series(&mut self, id: u64, anew: bool) -> Left {
        if self.of.start == "api" {
            let state = lock(&self.state);
            self.of.frames = state.count("nimages").unwrap_or(self.of.frames).max(1);
            self.of.header = state.stream("header_detail").to_owned();
            let wanted = if self.of.version == 1 { "legacy" } else { "cbor" };
            if state.stream("mode") != "enabled" || state.stream("format") != wanted {
                // A detector whose stream is off sends nothing.
                drop(state);
                self.shift.sleep_until(Instant::now() + Duration::from_secs(3600));
                return Left::Over;
            }
        }
        let Ok(series) = Series::new(&self.of, id) else { return Left::Over };
        let series = series.again(id);
        self.send(&series.start());
        while !lock(&self.state).triggered {
            self.admit();
            if self.shift.over() || !lock(&self.state).armed {
                return Left::Done;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let faults = self.of.faults.clone();
        let begun = Instant::now();
        let mut delayed: VecDeque<u64> = VecDeque::new();
        let mut dropped = 0;
        for n in 0..self.of.frames {
            if self.shift.over() {
                return Left::Over;
            }
            if faults.restart == Some(n) && !anew {
                return Left::Anew;
            }
            if faults.stall == Some(n) && !anew {
                self.shift.sleep_until(Instant::now() + Duration::from_secs(3600));
                return Left::Over;
            }
            if self.of.rate > 0.0 {
                let due = begun + Duration::from_secs_f64(n as f64 / self.of.rate);
                if due > Instant::now() {
                    self.shift.sleep_until(due);
                }
                let behind = (due.elapsed().as_secs_f64() * self.of.rate) as u64;
                if self.of.queue > 0 && behind > self.of.queue {
                    dropped += 1;
                    continue;
                }
            }
            while delayed.front().is_some_and(|late| n > late + faults.delay_by) {
                if let Some(late) = delayed.pop_front() {
                    self.image(&series, late);
                }
            }
            if faults.lose.takes(n, 1) {
                continue;
            }
            if faults.delay.takes(n, 2) {
                delayed.push_back(n);
                continue;
            }
            if faults.cut.contains(&n) && !anew {
                self.cut(&series.image(n, false));
                continue;
            }
            self.image(&series, n);
        }
        for late in delayed {
            self.image(&series, late);
        }
        lock(&self.tally).dropped += dropped;
        if !faults.no_end {
            self.send(&series.end());
        }
        Left::Done
    }

    fn image(&mut self, series: &Series, n: u64) {
        let message = series.image(n, self.of.faults.corrupt.takes(n, 4));
        let times = if self.of.faults.repeat.takes(n, 3) { 2 } else { 1 };
        for _ in 0..times {
            if self.send(&message) {
                lock(&self.tally).sent += 1;
            }
        }
    }

    /// Lets clients in that knock now.
    fn admit(&mut self) {
        while let Some(client) = self.door.knock(Duration::ZERO) {
            if let Ok(peer) = Peer::push(client, self.shift.flag()) {
                self.peers.push_back(peer);
                lock(&self.tally).clients += 1;
            }
        }
    }

    /// Sends a message to one client, the next in turn; waits for one while there is none.
    fn send(&mut self, message: &Message) -> bool {
        self.admit();
        let parts: Vec<&[u8]> = message.iter().map(|part| part.as_slice()).collect();
        while !self.shift.over() {
            let Some(mut peer) = self.peers.pop_front() else {
                std::thread::sleep(Duration::from_millis(1));
                self.admit();
                continue;
            };
            if peer.send(&parts).is_ok() {
                self.peers.push_back(peer);
                return true;
            }
            // What was on its way to a client that is gone is lost with it.
            return false;
        }
        false
    }

    /// Breaks a connection in the middle of a message.
    fn cut(&mut self, message: &Message) {
        self.admit();
        if let Some(mut peer) = self.peers.pop_front() {
            let parts: Vec<&[u8]> = message.iter().map(|part| part.as_slice()).collect();
            // The client is gone anyway.
            let _ = peer.send_half(&parts);
        }
    }
}
