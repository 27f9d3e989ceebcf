//! Word of what happens in a run, to people and other programs: mail, web hooks, commands, lights, logs, a socket.
//!
//! Each sink has a thread of its own, so that none of them ever holds up a run or another sink.

mod config;
mod log;
mod send;
mod socket;
mod traffic;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use isard_core::error::{Error, Result};
use isard_core::store::utc_now;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use config::{Config, SinkConfig, Where};
pub use watch::Watcher;

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Something is lost or slow; the run goes on.
    #[default]
    Warning,
    /// The run is over before its time.
    Error,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When, in UTC.
    pub time: String,
    /// How much it matters.
    pub level: Level,
    /// The run: its output folder.
    pub run: String,
    /// What happened, in one word: `started`, `lost`, `backlog`, `waiting`, `detached`, `failed`, `stopped`, `done`.
    pub what: String,
    /// The same in a sentence.
    pub text: String,
}

impl Event {
    /// An event of now.
    pub fn new(level: Level, run: &str, what: &str, text: impl Into<String>) -> Event {
        Event { time: utc_now(), level, run: run.into(), what: what.into(), text: text.into() }
    }

    /// Its JSON form on one line.
    pub fn json(&self) -> String {
        json!(self).to_string()
    }
}

/// Where events go.
pub trait Sink: Send {
    /// Tells of an event.
    fn tell(&mut self, event: &Event) -> Result<()>;
    /// Called now and then; says how soon it wants to be called again.
    fn tick(&mut self) -> Duration {
        Duration::from_secs(3600)
    }
    /// The last call: what it has begun is brought to an end.
    fn end(&mut self) {}
}

/// Events wait for a sink in a queue of this length; more are counted, and told when there is room again.
const QUEUE: usize = 256;

/// The sinks of a process.
pub struct Notifier {
    lines: Vec<Line>,
}

struct Line {
    sender: Sender<Event>,
    thread: std::thread::JoinHandle<()>,
    name: String,
}

impl Notifier {
    /// Starts the sinks of a configuration; what comes in over a socket may ask the run to stop.
    pub fn start(config: &Config, stop: &Arc<AtomicBool>) -> Result<Notifier> {
        let mut lines = vec![];
        for (i, sink) in config.sink.iter().enumerate() {
            let name = format!("sink {} ({})", i + 1, sink.to.word());
            let made = sink.to.make(stop).map_err(|e| e.at(name.clone()))?;
            let (sender, inbox) = bounded(QUEUE);
            let (rules, told) = (sink.clone(), name.clone());
            let thread = std::thread::Builder::new().name(format!("isard {name}"));
            let thread = thread
                .spawn(move || deliver(&inbox, made, &rules, &told))
                .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
            lines.push(Line { sender, thread, name });
        }
        Ok(Notifier { lines })
    }

    /// Tells all sinks, without waiting for any.
    pub fn tell(&self, event: &Event) {
        for line in &self.lines {
            if let Err(TrySendError::Full(_)) = line.sender.try_send(event.clone()) {
                tracing::warn!(sink = %line.name, what = %event.what, "A sink is stuck: it misses an event.");
            }
        }
    }

    /// Lets every sink deliver what it has, for a few seconds at most.
    pub fn end(self) {
        let until = Instant::now() + Duration::from_secs(10);
        for Line { sender, thread, name } in self.lines {
            drop(sender);
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !thread.is_finished() {
                tracing::warn!(sink = %name, "A sink did not deliver in time.");
            }
        }
    }
}

/// The thread of a sink: picks by level, keeps to its rate, tries again.
fn deliver(inbox: &Receiver<Event>, mut sink: Box<dyn Sink>, rules: &SinkConfig, name: &str) {
    let (mut last, mut held): (Option<Instant>, u64) = (None, 0);
    let mut pause = sink.tick();
    loop {
        match inbox.recv_timeout(pause) {
            Ok(event) if event.level >= rules.level => {
                let since = last.map_or(f64::INFINITY, |l| l.elapsed().as_secs_f64());
                if since < rules.every_s && event.level < Level::Error {
                    held += 1;
                } else {
                    let mut event = event;
                    if held > 0 {
                        event.text += &format!(" ({held} more events since the last message)");
                    }
                    (last, held) = (Some(Instant::now()), 0);
                    patiently(&mut *sink, &event, rules.retry, name);
                }
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        pause = sink.tick();
    }
    sink.end();
}

fn patiently(sink: &mut dyn Sink, event: &Event, retry: u32, name: &str) {
    for turn in 0..=retry {
        match sink.tell(event) {
            Ok(()) => return,
            Err(error) if turn == retry => {
                tracing::warn!(sink = name, what = %event.what, %error, "An event was not delivered.");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100 << turn.min(5))),
        }
    }
}
