//! Closed and growing series of HDF5 frames, given in order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use isard_core::prelude::*;

use crate::input::follow::{Follow, Quiet, Watch};
use crate::input::hdf5::frames::Frames;
use crate::input::series::Given;

/// What opening a series found.
pub(crate) struct Found {
    pub frames: Frames,
    /// The files whose change means that more may be there.
    pub watched: Vec<PathBuf>,
    /// How many frames there will be, if the file says so.
    pub announced: Option<u64>,
}

/// Opens a series: as growing, or as it is.
pub(crate) type Open = Box<dyn Fn(bool) -> Result<Found> + Send>;

/// A series that is given frame by frame.
pub(crate) struct Reader {
    open: Open,
    found: Option<Found>,
    next: u64,
    tail: Option<Tail>,
}

/// What following needs to know.
struct Tail {
    watch: Watch,
    watched: Vec<PathBuf>,
    /// Length and time of each watched file when the series was opened last.
    seen: Vec<Option<(u64, SystemTime)>>,
    looked: Instant,
    frames: u64,
    wanted: Option<u64>,
    ended: bool,
}

/// A file that does not tell of changes (some network file systems) is opened again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// What a look at the series brought.
pub(crate) enum Look {
    Given(Vec<Given>),
    Wait(Duration),
    End,
}

impl Reader {
    /// Opens a series; one that grows is waited for until its end has come.
    pub fn new(cx: &Cx, open: Open, follow: Option<&Follow>, beside: &Path, next: u64) -> Result<Reader> {
        let Some(follow) = follow else {
            let found = open(false)?;
            return Ok(Reader { next, open, found: Some(found), tail: None });
        };
        let mut watch = Watch::new(follow, beside);
        let found = loop {
            cx.check()?;
            let error = match open(true) {
                Ok(found) => break found,
                Err(error) => error,
            };
            match watch.quiet(0) {
                Quiet::End => return Err(error.at("the series ended before its first frame")),
                Quiet::Wait(pause) => std::thread::sleep(pause.min(Duration::from_millis(50))),
            }
        };
        if !follow.ends() && found.announced.is_none() {
            return Err(Error::recipe(
                "`follow` has no end, and the file does not say how many frames will come",
            )
            .help("write `follow = { silence = \"30 s\" }`, or give `frames` or `marker`"));
        }
        let tail = Tail {
            watch,
            watched: found.watched.clone(),
            // Taken as unknown, for the file may have grown since it was opened.
            seen: vec![],
            looked: Instant::now(),
            frames: found.frames.frames,
            wanted: follow.frames,
            ended: false,
        };
        Ok(Reader { next, open, found: Some(found), tail: Some(tail) })
    }

    /// What was found when the series was opened last.
    pub fn found(&self) -> Result<&Found> {
        self.found.as_ref().ok_or_else(|| Error::internal("a series was read before it was opened"))
    }

    /// How many frames there will be, if that is known.
    pub fn total(&self) -> Option<u64> {
        let found = self.found.as_ref();
        match &self.tail {
            None => found.map(|f| f.frames.frames),
            Some(tail) => tail.wanted.or(found.and_then(|f| f.announced)),
        }
    }

    /// The next frames, at most `room`.
    pub fn look(&mut self, cx: &Cx, room: u64) -> Result<Look> {
        let total = self.total();
        let room = total.map_or(room, |total| room.min(total.saturating_sub(self.next)));
        if room == 0 {
            return Ok(Look::End);
        }
        let mut given = self.give(cx, room)?;
        if given.is_empty() && self.again() {
            given = self.give(cx, room)?;
        }
        if !given.is_empty() {
            return Ok(Look::Given(given));
        }
        let Some(tail) = &mut self.tail else { return Ok(Look::End) };
        if tail.ended {
            let lost = |i| Given::Lost(i, Reason::Missing, "the series ended before it".into());
            let end = total.unwrap_or(0).min(self.next + 1024);
            let all: Vec<Given> = (self.next..end).map(lost).collect();
            self.next = self.next.max(end);
            return Ok(if all.is_empty() { Look::End } else { Look::Given(all) });
        }
        match tail.watch.quiet(self.next) {
            Quiet::Wait(pause) => Ok(Look::Wait(pause.min(Duration::from_millis(100)))),
            Quiet::End => {
                tail.ended = true;
                self.found = None;
                // What cannot be opened now never will be: its fault is the one to tell.
                let mut found = (self.open)(true)?;
                found.frames.end();
                self.found = Some(found);
                Ok(Look::Wait(Duration::ZERO))
            }
        }
    }

    fn give(&mut self, cx: &Cx, room: u64) -> Result<Vec<Given>> {
        let Some(found) = &mut self.found else { return Ok(vec![]) };
        let given = match (found.frames.give(cx, self.next, room), &self.tail) {
            // What cannot be read while it is being written may be read later.
            (Err(error), Some(tail)) if !tail.ended && error.blame() != Blame::Cancelled => vec![],
            (given, _) => given?,
        };
        if let (false, Some(tail)) = (given.is_empty(), &mut self.tail) {
            tail.watch.grew();
        }
        self.next += given.iter().map(count).sum::<u64>();
        Ok(given)
    }

    /// Opens a growing series anew when its files have changed; true if there may be more.
    fn again(&mut self) -> bool {
        let Some(tail) = self.tail.as_mut().filter(|tail| !tail.ended) else { return false };
        let watched = self.found.as_ref().map_or(&tail.watched, |found| &found.watched);
        let now = stamps(watched);
        if now != tail.seen {
            tail.watch.grew();
        } else if self.found.is_some() && tail.looked.elapsed() < AGAIN {
            return false;
        }
        (tail.watched, tail.seen, tail.looked) = (watched.clone(), now, Instant::now());
        // Every handle must be gone, else the library shows the file as it was.
        self.found = None;
        let Ok(found) = (self.open)(true) else { return false };
        if found.frames.frames > tail.frames {
            tail.frames = found.frames.frames;
            tail.watch.grew();
        }
        self.found = Some(found);
        true
    }
}

fn count(given: &Given) -> u64 {
    match given {
        Given::Frames(_, image) => image.shape().first().copied().unwrap_or(0) as u64,
        Given::Lost(..) => 1,
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<(u64, SystemTime)>> {
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.len(), meta.modified().ok()?))
    };
    files.iter().map(stamp).collect()
}
