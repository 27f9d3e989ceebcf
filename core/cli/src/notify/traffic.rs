//! A signal light: green runs, yellow warns, blue waits for somebody, red is an error.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use isard_core::error::{Error, Result};
use isard_core::store::{rfc3339, utc_now};
use serde_json::json;

use super::{Event, Level, Sink};

/// How long a warning shows, unless another one comes.
const WARNED: Duration = Duration::from_secs(10);

/// The state of a light in a file that is renewed as long as the program lives.
///
/// The file says until when it holds: whoever reads it later must show no light, and no dead program stays green.
pub(super) struct Traffic {
    path: PathBuf,
    beat: Duration,
    state: &'static str,
    since: String,
    text: String,
    warned: Option<Instant>,
    written: Option<Instant>,
}

impl Traffic {
    pub(super) fn new(path: PathBuf, heartbeat_s: f64) -> Result<Traffic> {
        if !(0.01..=3600.0).contains(&heartbeat_s) {
            return Err(Error::recipe(format!("`heartbeat_s` is {heartbeat_s}, wanted 0.01 to 3600")));
        }
        let beat = Duration::from_secs_f64(heartbeat_s);
        let (since, text) = (utc_now(), "waits for a run".to_owned());
        let mut light = Traffic { path, beat, state: "blue", since, text, warned: None, written: None };
        light.write()?;
        Ok(light)
    }

    fn set(&mut self, state: &'static str, text: &str) -> Result<()> {
        if state != self.state {
            (self.state, self.since) = (state, utc_now());
        }
        text.clone_into(&mut self.text);
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        // Three beats may be late before a light is taken for dead.
        let until = SystemTime::now() + 3 * self.beat;
        let state = json!({
            "state": self.state, "since": self.since, "text": self.text, "beat": utc_now(),
            "valid_until": rfc3339(until), "valid_until_s": seconds(until), "pid": std::process::id(),
        });
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let written = std::fs::write(&beside, format!("{state}\n"));
        let written = written.and_then(|()| std::fs::rename(&beside, &self.path));
        self.written = Some(Instant::now());
        written.map_err(|e| Error::io("cannot write", &self.path, &e))
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Sink for Traffic {
    fn tell(&mut self, event: &Event) -> Result<()> {
        match (event.level, event.what.as_str()) {
            (Level::Error, _) => self.set("red", &event.text),
            // An error stays until the next run begins.
            (_, what) if self.state == "red" && !["started", "waiting"].contains(&what) => Ok(()),
            (Level::Warning, _) => {
                self.warned = Some(Instant::now());
                self.set("yellow", &event.text)
            }
            (_, "waiting" | "done" | "stopped") => self.set("blue", &event.text),
            (_, "started" | "running") if self.warned.is_none() => self.set("green", &event.text),
            _ => Ok(()),
        }
    }

    fn tick(&mut self) -> Duration {
        if self.warned.is_some_and(|at| at.elapsed() >= WARNED) {
            self.warned = None;
            if self.state == "yellow" {
                (self.state, self.since, self.text) = ("green", utc_now(), "runs".into());
            }
        }
        if self.written.is_none_or(|at| at.elapsed() >= self.beat / 2)
            && let Err(error) = self.write()
        {
            tracing::warn!(%error, "A light cannot be renewed.");
        }
        self.beat / 2
    }

    fn end(&mut self) {
        // The program ends; what the light shows holds for the last beats only, but an error is there to be seen.
        if let Err(error) = self.write() {
            tracing::warn!(%error, "A light cannot be renewed.");
        }
    }
}
