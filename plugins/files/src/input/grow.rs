//! The end of a sequence that still grows: new files, new frames of the last one, and what is not whole yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use isard_core::prelude::*;

use crate::input::folder::{is_pattern, named};
use crate::input::follow::{Follow, Quiet, Watch};
use crate::input::names::Names;
use crate::input::scan::{Growing, Scan, Scanned};
use crate::input::sequence::Sequence;
use crate::input::series::Form;

/// So many names after an absent one are tried, to see whether it was left out.
const AHEAD: u64 = 4;
/// A gap of more numbers than this is no gap but another sequence.
const WIDEST: u64 = 1 << 20;
/// Listing a folder takes at most this share of the time while the first file is waited for.
const SHARE: u32 = 20;
/// So long the first file may come after later ones.
const SETTLE: Duration = Duration::from_millis(500);

/// What a look brought.
pub(crate) enum Grown {
    /// Frames, or the news that some are lost.
    More,
    /// Nothing; look again after this pause.
    Quiet(Duration),
    /// Nothing, and nothing more will come.
    End,
}

/// How large a file is and when it was changed.
type Stamp = (u64, Option<SystemTime>);

/// Where a sequence goes on.
pub(crate) struct Tail {
    path: String,
    scan: Arc<dyn Scan>,
    watch: Watch,
    patience: Duration,
    poll: Duration,
    names: Option<Names>,
    start: Start,
    last: Option<Last>,
    /// A file that is half written or absent, and since when it has been as it is.
    doubt: Option<(PathBuf, Option<Stamp>, Instant)>,
    /// Frames of a file, as the first shows once it is whole.
    each: Option<u64>,
}

/// How the first file is waited for.
struct Start {
    /// The folder's time of change at the last listing, and when that was.
    listed: Option<(Option<SystemTime>, Instant, Duration)>,
    /// The first number seen after a folder without any, and when.
    seen: Option<(u64, Instant)>,
    /// The folder was empty at first.
    empty: bool,
}

/// The last file, which may still grow.
struct Last {
    path: PathBuf,
    stamp: Option<Stamp>,
    since: Instant,
    frames: u64,
    file: Box<dyn Growing>,
}

impl Tail {
    /// The tail of the files that a path names.
    pub fn new(path: &str, scan: Arc<dyn Scan>, follow: &Follow) -> Tail {
        let at = Path::new(path);
        let beside = if at.is_dir() { at } else { at.parent().unwrap_or(Path::new("")) };
        let poll = Duration::try_from_secs_f64(follow.poll).unwrap_or_default();
        Tail {
            path: path.to_owned(),
            scan,
            watch: Watch::new(follow, beside),
            patience: follow.patience(),
            poll,
            names: None,
            start: Start { listed: None, seen: None, empty: false },
            last: None,
            doubt: None,
            each: None,
        }
    }

    /// Looks once, and adds to `sequence` what has come: at most about `room` frames.
    pub fn look(&mut self, sequence: &mut Sequence, room: u64) -> Result<Grown> {
        let before = sequence.frames();
        if self.watch.full(before) {
            return Ok(Grown::End);
        }
        if self.last.is_none() && before == 0 && !self.begin(sequence, false)? {
            match self.quiet(sequence) {
                // What came since the last listing, or waited for earlier ones, is there all the same.
                Grown::End if self.begin(sequence, true)? => (),
                other => return Ok(other),
            }
        }
        self.grow_last(sequence)?;
        while let Some(number) = self.names.as_ref().map(|names| names.next) {
            if sequence.frames() >= before + room.max(1) || !self.next(sequence, number)? {
                break;
            }
        }
        if sequence.frames() > before {
            self.watch.grew();
            return Ok(Grown::More);
        }
        match self.quiet(sequence) {
            Grown::End => self.end(sequence),
            other => Ok(other),
        }
    }

    fn quiet(&mut self, sequence: &Sequence) -> Grown {
        match self.watch.quiet(sequence.frames()) {
            Quiet::Wait(pause) => Grown::Quiet(pause),
            Quiet::End => Grown::End,
        }
    }

    /// Finds where the sequence begins; false while nothing is there, or an earlier file may yet come.
    fn begin(&mut self, sequence: &mut Sequence, last_look: bool) -> Result<bool> {
        if self.names.is_some() {
            return Ok(true);
        }
        let at = PathBuf::from(&self.path);
        let many = at.is_dir() || (!at.exists() && is_pattern(&self.path));
        if !many {
            return match at.exists() {
                true => self.take(sequence, &at).map(|_| true),
                false => Ok(false),
            };
        }
        // Listing a large folder takes long: only when it has changed, and rarely.
        let folder = if at.is_dir() { at.as_path() } else { at.parent().unwrap_or(Path::new("")) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let changed = std::fs::metadata(folder).and_then(|m| m.modified()).ok();
        if let Some((then, when, took)) = self.start.listed
            && (then == changed && self.start.seen.is_none() || when.elapsed() < took * SHARE)
            && !last_look
        {
            return Ok(false);
        }
        let began = Instant::now();
        let found = named(&self.path, self.scan.endings())?;
        self.start.listed = Some((changed, began, began.elapsed()));
        let Some(first) = found.first() else {
            self.start.empty = true;
            return Ok(false);
        };
        let others: Vec<&str> =
            found[1..].iter().take(3).filter_map(|path| path.file_name()?.to_str()).collect();
        let pattern = at.file_name().and_then(|name| name.to_str()).filter(|name| is_pattern(name));
        let names = Names::new(first, pattern, &others, self.scan.endings());
        let Some(names) = names else {
            let error = Error::data(format!("{}: has no number in its name", first.display()));
            return Err(error.help("files that follow one another are told by a number: `frame_0001.tif`"));
        };
        // Several writers at work may bring a later file first.
        if self.start.empty && names.next > 1 {
            let (number, since) = self.start.seen.get_or_insert((names.next, Instant::now()));
            *number = names.next.min(*number);
            if since.elapsed() < SETTLE.min(self.patience) && !last_look {
                return Ok(false);
            }
        }
        self.names = Some(names);
        Ok(true)
    }

    /// Looks whether the last file has grown.
    fn grow_last(&mut self, sequence: &mut Sequence) -> Result<()> {
        let Some(last) = &mut self.last else { return Ok(()) };
        let stamp = stamp(&last.path);
        if stamp == last.stamp {
            return Ok(());
        }
        (last.stamp, last.since) = (stamp, Instant::now());
        self.watch.grew();
        // What is not right yet is half written; the strict look comes at the end.
        if let Ok(scanned) = last.file.look()
            && scanned.frames > last.frames
        {
            last.frames = scanned.frames;
            sequence.grow(scanned);
        }
        Ok(())
    }

    /// Takes the file of a number if it is there and whole, or gives it up; false when it has to be waited for.
    fn next(&mut self, sequence: &mut Sequence, number: u64) -> Result<bool> {
        let Some(names) = &self.names else { return Ok(false) };
        let path = names.path(number);
        if self.scan.single() && sequence.frames() > 0 && sequence.frames() < sequence.wanted() {
            // Given before the run was interrupted: it only has to be counted.
            self.lose(sequence, &path, Reason::Skipped, "was given before")?;
            return Ok(true);
        }
        if path.exists() {
            let taken = self.finish_last(sequence)? && self.take(sequence, &path)?;
            if taken && let Some(names) = &mut self.names {
                names.next = number + 1;
            }
            return Ok(taken);
        }
        let later = (1..=AHEAD).any(|i| names.path(number + i).exists());
        if later && self.doubtful(&path, None) {
            self.lose(sequence, &path, Reason::Missing, "has not come, though later files have")?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the last file has all its frames, now that the next one is there.
    fn finish_last(&mut self, sequence: &mut Sequence) -> Result<bool> {
        self.grow_last(sequence)?;
        let Some(last) = &self.last else { return Ok(true) };
        let rest = last.since.elapsed();
        // The first file shows how many frames one has, once it rests.
        let whole = match self.each {
            Some(each) => last.frames >= each,
            None => rest >= 2 * self.poll,
        };
        if !whole && rest < self.patience {
            return Ok(false);
        }
        let (path, frames) = (last.path.clone(), last.frames);
        self.last = None;
        let each = *self.each.get_or_insert(frames);
        let why: Arc<str> = format!("{}: has {frames} frames, wanted {each}", path.display()).into();
        for _ in frames..each {
            sequence.add(&path, 1, Form::Lost(Reason::Missing, why.clone()), vec![])?;
        }
        Ok(true)
    }

    /// Takes a file if it is whole; one that stays half written is given up.
    fn take(&mut self, sequence: &mut Sequence, path: &Path) -> Result<bool> {
        let Some(found) = stamp(path) else { return Ok(false) };
        let doubted = self.doubt.as_ref().is_some_and(|(at, then, _)| at == path && *then == Some(found));
        // A format without an end mark may be written from both ends: it must have come to rest.
        let age = found.1.and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if !self.scan.sealed() && !doubted && age < 2 * self.poll {
            self.doubtful(path, Some(found));
            return Ok(false);
        }
        let mut file = self.scan.clone().growing(path);
        let error = match file.look() {
            Ok(scanned) => {
                self.keep(sequence, path, found, file, scanned)?;
                return Ok(true);
            }
            Err(error) => error,
        };
        if !self.doubtful(path, Some(found)) {
            return Ok(false);
        }
        if sequence.frames() == 0 {
            return Err(
                error.help("the first file of a sequence must be whole: it shows what frames are like")
            );
        }
        self.lose(sequence, path, Reason::Corrupt, &error.to_string())?;
        Ok(false)
    }

    fn keep(
        &mut self,
        sequence: &mut Sequence,
        path: &Path,
        stamp: Stamp,
        file: Box<dyn Growing>,
        scanned: Scanned,
    ) -> Result<()> {
        self.doubt = None;
        let frames = scanned.frames;
        sequence.push(path, scanned)?;
        if !self.scan.single() {
            let since = Instant::now();
            self.last = Some(Last { path: path.to_owned(), stamp: Some(stamp), since, frames, file });
        }
        Ok(())
    }

    /// Whether a file has been as it is for longer than patience lasts.
    fn doubtful(&mut self, path: &Path, stamp: Option<Stamp>) -> bool {
        match &self.doubt {
            Some((at, then, since)) if at == path && *then == stamp => since.elapsed() >= self.patience,
            _ => {
                self.doubt = Some((path.to_owned(), stamp, Instant::now()));
                self.watch.grew();
                false
            }
        }
    }

    /// Gives the frames of a file up, and goes on with the next one.
    fn lose(&mut self, sequence: &mut Sequence, path: &Path, reason: Reason, why: &str) -> Result<()> {
        let why: Arc<str> = match why.contains(&*path.to_string_lossy()) {
            true => why.into(),
            false => format!("{}: {why}", path.display()).into(),
        };
        for _ in 0..self.each.unwrap_or(1) {
            sequence.add(path, 1, Form::Lost(reason, why.clone()), vec![])?;
        }
        self.doubt = None;
        if let Some(names) = &mut self.names {
            names.next += 1;
        }
        Ok(())
    }

    /// The input is said to be complete: what is still open is settled.
    fn end(&mut self, sequence: &mut Sequence) -> Result<Grown> {
        // A file that changed just now may be a slow disk's last word.
        if let Some((path, stamp, since)) = self.doubt.clone()
            && stamp.is_some()
        {
            if since.elapsed() < self.patience {
                return Ok(Grown::Quiet(self.poll));
            }
            if sequence.frames() == 0 {
                return Ok(Grown::End);
            }
            self.lose(sequence, &path, Reason::Corrupt, "is half written, and the input has ended")?;
            return Ok(Grown::More);
        }
        // One listing at the end finds what prediction could not: a gap wider than the names that were tried.
        if let Some(names) = &self.names {
            let found = named(&self.path, self.scan.endings())?;
            let number = |path: &PathBuf| names.number(path.file_name()?.to_str()?);
            let numbers: Vec<Option<u64>> = found.iter().map(number).collect();
            let next = names.next;
            if let Some(later) = numbers.iter().flatten().copied().filter(|n| *n >= next).min() {
                if later - next > WIDEST {
                    let path = names.path(later);
                    let text = format!("{}: {} numbers are left out before it", path.display(), later - next);
                    return Err(Error::data(text).help("give each sequence its own folder or pattern"));
                }
                for number in next..later {
                    let path = self.names.as_ref().map(|names| names.path(number)).unwrap_or_default();
                    self.lose(sequence, &path, Reason::Missing, "has not come, though later files have")?;
                }
                return Ok(Grown::More);
            }
            if let Some(at) = numbers.iter().position(Option::is_none) {
                tracing::warn!(
                    path = %self.path, files = numbers.iter().filter(|n| n.is_none()).count(),
                    first = %found[at].display(), "Files beside the sequence have other names and were not read."
                );
            }
        }
        // A last file that is longer than its whole frames has lost one.
        if let Some(last) = self.last.take()
            && let Err(error) = self.scan.scan(&last.path)
        {
            let why: Arc<str> = error.to_string().into();
            sequence.add(&last.path, 1, Form::Lost(Reason::Corrupt, why), vec![])?;
            self.names = None;
            return Ok(Grown::More);
        }
        Ok(Grown::End)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.len(), data.modified().ok()))
}
