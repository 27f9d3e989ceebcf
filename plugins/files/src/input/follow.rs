//! Following data that still grow: when to look again, and when they have come to their end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::schemars;

/// How a source follows data that still grow.
///
/// At least one of `frames`, `marker` and `silence` must be given, else the source would never end; the first that holds
/// ends it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    /// The input is complete with this many frames.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub frames: Option<u64>,
    /// The input is complete when this file is there; a plain name is looked for beside the data.
    #[serde(default)]
    pub marker: Option<String>,
    /// The input is complete when nothing has changed for so long.
    #[serde(default)]
    #[schemars(range(min = 0.0), extend("x-unit" = "s"))]
    pub silence: Option<f64>,
    /// The pause between two looks.
    #[serde(default = "poll")]
    #[schemars(range(min = 0.001, max = 3600.0), extend("x-unit" = "s", "x-level" = "expert"))]
    pub poll: f64,
    /// How long a frame may stay half written, or absent while later ones are there, before it is given up.
    #[serde(default = "patience")]
    #[schemars(range(min = 0.0), extend("x-unit" = "s", "x-level" = "expert"))]
    pub patience: f64,
}

fn poll() -> f64 {
    0.02
}

fn patience() -> f64 {
    10.0
}

impl Follow {
    /// Adds the faults of the parameter `follow`.
    pub fn check(&self, faults: &mut Faults) {
        if self.frames.is_none() && self.marker.is_none() && self.silence.is_none() {
            faults.add_with_help(
                "follow",
                "has no end, wanted `frames`, `marker` or `silence`",
                "write `follow = { silence = \"30 s\" }`",
            );
        }
        if self.frames == Some(0) {
            faults.add("follow.frames", "is 0, wanted at least 1");
        }
        if self.marker.as_deref() == Some("") {
            faults.add("follow.marker", "is empty, wanted the name of a file");
        }
        for (name, value) in [("poll", self.poll), ("patience", self.patience)]
            .into_iter()
            .chain(self.silence.map(|s| ("silence", s)))
        {
            if !(0.0..=1e9).contains(&value) {
                faults.add(&format!("follow.{name}"), format!("is {value}, wanted a time in seconds"));
            }
        }
    }

    /// Whether it says when the input is complete.
    pub(crate) fn ends(&self) -> bool {
        self.frames.is_some() || self.marker.is_some() || self.silence.is_some()
    }

    /// How long a half-written or absent frame is waited for.
    pub fn patience(&self) -> Duration {
        seconds(self.patience)
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

/// What to do after a look that brought nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Look again after this pause.
    Wait(Duration),
    /// The input is complete.
    End,
}

/// Watches growing data for their end.
#[derive(Debug)]
pub struct Watch {
    follow: Follow,
    marker: Option<PathBuf>,
    changed: Instant,
    /// The marker was there before the look that is going on.
    marked: bool,
}

impl Watch {
    /// Begins to watch; a plain marker name is looked for in the folder `beside`.
    pub fn new(follow: &Follow, beside: &Path) -> Watch {
        let marker = follow.marker.as_ref().map(|name| beside.join(name));
        Watch { follow: follow.clone(), marker, changed: Instant::now(), marked: false }
    }

    /// Says that the data have changed: silence begins anew.
    pub fn grew(&mut self) {
        self.changed = Instant::now();
    }

    /// Whether so many frames are all that was announced.
    pub fn full(&self, frames: u64) -> bool {
        self.follow.frames.is_some_and(|wanted| frames >= wanted)
    }

    /// What to do after a look that brought nothing new, with `frames` given so far.
    ///
    /// A marker ends the input only after one more look: what came just before it may have been missed by this one.
    pub fn quiet(&mut self, frames: u64) -> Quiet {
        if self.full(frames) || self.marked {
            return Quiet::End;
        }
        if self.marker.as_ref().is_some_and(|marker| marker.exists()) {
            self.marked = true;
            return Quiet::Wait(Duration::ZERO);
        }
        if self.follow.silence.is_some_and(|s| self.changed.elapsed() >= seconds(s)) {
            return Quiet::End;
        }
        Quiet::Wait(seconds(self.follow.poll))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(text: &str) -> Follow {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_rule_ends_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&follow("frames = 5"), folder.path());
        assert!(matches!(watch.quiet(4), Quiet::Wait(_)));
        assert_eq!(watch.quiet(5), Quiet::End);

        let mut watch = Watch::new(&follow("silence = 0.05"), folder.path());
        assert!(matches!(watch.quiet(4), Quiet::Wait(_)));
        std::thread::sleep(Duration::from_millis(60));
        watch.grew();
        assert!(matches!(watch.quiet(4), Quiet::Wait(_)));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(watch.quiet(4), Quiet::End);
    }

    #[test]
    fn a_marker_gives_one_more_look() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&follow("marker = \"done\""), folder.path());
        assert_ne!(watch.quiet(1), Quiet::Wait(Duration::ZERO));
        std::fs::write(folder.path().join("done"), "").unwrap();
        assert_eq!(watch.quiet(1), Quiet::Wait(Duration::ZERO));
        assert_eq!(watch.quiet(1), Quiet::End);
    }

    #[test]
    fn a_source_without_an_end_is_refused() {
        let mut faults = Faults::default();
        follow("poll = 0.1").check(&mut faults);
        assert_eq!(faults.list().len(), 1);
        let mut faults = Faults::default();
        follow("silence = -1\nframes = 0").check(&mut faults);
        assert_eq!(faults.list().len(), 2);
    }
}
