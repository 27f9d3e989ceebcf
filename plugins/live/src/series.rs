//! The account of a series while it is taken: which frames came, and when it is over.

use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::span::Ranges;

use crate::net::queue::Level;

/// Frames that may be lost at once, where nobody says how many there are.
const JUMP: u64 = 1 << 20;

/// A series while it is taken.
#[derive(Debug)]
pub(crate) struct Series {
    /// What it is called: `series 7`.
    pub name: String,
    /// How many frames it has, when that is known.
    pub frames: Option<u64>,
    /// The first frame that is wanted.
    pub from: u64,
    /// Silence after which it is given up.
    pub stall: Duration,
    /// How long frames may come after the end, and the end after the last frame.
    pub late: Duration,
    /// The frames that came, good or not.
    seen: Ranges,
    heard: Instant,
    ended: bool,
    over: Option<String>,
    /// Why the connection was lost, if it still is.
    broken: Option<String>,
    /// Messages of other series.
    pub strangers: u64,
    /// Messages that could not be read, and what was wrong with the first.
    pub unreadable: (u64, String),
}

impl Series {
    /// A series that has just begun.
    pub(crate) fn new(
        name: impl Into<String>,
        frames: Option<u64>,
        from: u64,
        stall: Duration,
        late: Duration,
    ) -> Series {
        Series {
            name: name.into(),
            frames,
            from,
            stall,
            late,
            seen: Ranges::default(),
            heard: Instant::now(),
            ended: false,
            over: None,
            broken: None,
            strangers: 0,
            unreadable: (0, String::new()),
        }
    }

    /// Books a frame of this series; says whether it is wanted.
    pub(crate) fn saw(&mut self, number: u64) -> bool {
        self.heard = Instant::now();
        self.seen.add(number..number + 1);
        number >= self.from
    }

    /// Books consecutive frames of this series; says how many of the first are not wanted.
    pub(crate) fn saw_run(&mut self, first: u64, count: u64) -> u64 {
        self.heard = Instant::now();
        self.seen.add(first..first + count);
        self.from.saturating_sub(first).min(count)
    }

    /// Whether a frame can have this number: where nobody says how many there are, a damaged one must not be believed.
    pub(crate) fn believable(&self, number: u64) -> bool {
        self.frames.is_some() || number <= self.seen.iter().last().map_or(self.from, |r| r.end) + JUMP
    }

    /// Books that something came, if no whole frame.
    pub(crate) fn hear(&mut self) {
        self.heard = Instant::now();
    }

    /// Books the end of the series.
    pub(crate) fn end(&mut self) {
        self.heard = Instant::now();
        self.ended = true;
    }

    /// Ends the series here, because of `why`; the last frame is added to it.
    pub(crate) fn cut(&mut self, why: impl std::fmt::Display) {
        self.over = Some(format!("{why} after {} of {}", self.last(), self.name));
    }

    /// Counts a message that cannot be read.
    pub(crate) fn unreadable(&mut self, why: String) {
        self.unreadable.0 += 1;
        if self.unreadable.0 == 1 {
            tracing::warn!(%why, "A message of the detector cannot be read.");
            self.unreadable.1 = why;
        }
    }

    /// Books that the connection is lost, or stands again.
    pub(crate) fn connection(&mut self, broken: Option<String>) {
        match &broken {
            Some(why) => tracing::warn!(%why, "The connection is lost and made again."),
            None => tracing::debug!("The connection stands."),
        }
        self.broken = broken;
    }

    /// Why the series is over, if it is; `dry` says that nothing more can come.
    pub(crate) fn over(&self, dry: bool) -> Option<String> {
        if let Some(why) = &self.over {
            return Some(why.clone());
        }
        let complete = self.frames.is_some_and(|n| self.seen.count() >= n && self.missing(0).is_empty());
        let silent = self.heard.elapsed();
        if complete && (self.ended || dry || silent >= self.late) {
            return Some("all frames are there".into());
        }
        if self.ended && (dry || self.frames.is_none() || silent >= self.late) {
            return Some(format!("never came before the end of {}", self.name));
        }
        let broken = self.broken.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        if dry {
            return Some(format!("the recording ends before it{broken}"));
        }
        (silent >= self.stall).then(|| {
            let (s, last, name) = (self.stall.as_secs_f64(), self.last(), &self.name);
            format!("the detector sent nothing for {s} s after {last} of {name}{broken}")
        })
    }

    /// The frames from `next` on that have not come.
    pub(crate) fn missing(&self, next: u64) -> Ranges {
        let mut missing = Ranges::default();
        if let Some(frames) = self.frames {
            missing.add(next.max(self.from)..frames);
            self.seen.iter().for_each(|seen| missing.remove(seen.clone()));
        }
        missing
    }

    /// Ends the account: says which frames are missing and why, and how it went.
    pub(crate) fn close<O: Ports>(&self, why: &str, level: Option<Level>, slots: &mut Slots<O>) {
        let unreadable = match &self.unreadable {
            (0, _) => String::new(),
            (n, first) => format!("; {n} messages could not be read, the first: {first}"),
        };
        for number in self.missing(slots.next()).numbers() {
            slots.missing(number, format!("{why}{unreadable}"));
        }
        tracing::info!(
            series = self.name,
            end = why,
            end_message = self.ended,
            of_other_series = self.strangers,
            unreadable = self.unreadable.0,
            buffered_at_most = level.map_or(0, |l| l.peak),
            waited_for_room_ms = level.map_or(0, |l| l.waited.as_millis() as u64),
            "The series has ended."
        );
    }

    fn last(&self) -> String {
        match self.seen.iter().last() {
            Some(range) => format!("frame {}", range.end - 1),
            None => "no frame".into(),
        }
    }
}
