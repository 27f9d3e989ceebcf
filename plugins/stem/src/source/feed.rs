//! Frames of files, handed out at their scan points.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use isard_core::prelude::*;
use isard_files::input::{Follow, Quiet, Watch};

use crate::source::frames::Found;
use crate::source::grid::{Grid, Run};
use crate::source::growing::{Watched, either};
use crate::source::placed::Placed;

/// What the sources of this family give.
#[derive(Ports)]
pub struct ScanOut {
    /// Diffraction patterns.
    #[port(dtype = "any", axes = "y x", unit = "count")]
    pub(crate) image: Array,
}

/// What recipes say of files that may still grow.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    /// Where they are.
    pub path: &'a str,
    /// How they are followed; none of closed ones.
    pub follow: Option<&'a Follow>,
    /// Where their frames belong.
    pub placed: Placed,
}

/// The feed of a source; none until it is opened.
#[derive(Default)]
pub(crate) struct Held(Option<Feed>);

impl Held {
    /// Opens what was found, from a position on; with a watch the files may still grow.
    pub fn open(&mut self, path: &str, found: Watched, placed: Placed, from: Position) -> Result<Opened> {
        let (feed, opened) = Feed::open(path, found, placed, from)?;
        self.0 = Some(feed);
        Ok(opened)
    }

    /// Opens closed files, or those that may still grow.
    pub fn open_growing(
        &mut self,
        cx: &Cx,
        files: Files,
        from: Position,
        closed: impl FnOnce() -> Result<Found>,
        growing: impl FnMut(bool) -> Result<Option<Found>>,
    ) -> Result<Opened> {
        let found = either(cx, files.path, files.follow, closed, growing)?;
        self.open(files.path, found, files.placed, from)
    }

    /// Puts the next frames, or says how long to wait for them.
    pub fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        let feed = self.0.as_mut();
        feed.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}

/// A source that has been opened.
struct Feed {
    found: Found,
    grid: Option<Grid>,
    /// The next frame number to be given: a scan point, or a frame where no scan is known.
    next: u64,
    path: String,
    /// Tells when growing files are complete; none of closed ones.
    watch: Option<Watch>,
    /// More frames than these do not count.
    most: u64,
}

impl Feed {
    fn open(path: &str, found: Watched, placed: Placed, from: Position) -> Result<(Feed, Opened)> {
        let (mut found, watch) = found;
        let grid = placed.grid(found.scan).map_err(|e| e.at(path.to_owned()))?;
        let mut head = std::mem::take(&mut found.head);
        let (watch, announced) = match watch {
            Some((watch, follow)) => (Some(watch), follow.frames),
            None => (None, Some(found.count)),
        };
        let mut scan = vec![];
        if let Some(g) = grid {
            scan = vec![("y".to_owned(), g.rows), ("x".to_owned(), g.columns)];
            // How many there will be is not known of growing files.
            if watch.is_none() {
                head.set("unused_frames", g.unused(found.count) as i64);
            }
            found.axes.scan = Some([g.rows, g.columns]);
        }
        let frames = grid.map(|g| g.points()).or(announced);
        head.set("axes", found.axes.to_dict());
        let shapes = Shapes::default().with("image", Shape::array(found.dtype, &found.dims));
        let opened = Opened { frames, head, shapes, live: false, scan };
        let most = if watch.is_some() { announced.unwrap_or(u64::MAX) } else { u64::MAX };
        found.count = found.count.min(most);
        Ok((Feed { found, grid, next: from.next, path: path.to_owned(), watch, most }, opened))
    }

    /// The next run of frames that are there; none where none is.
    fn run(&self, room: u64) -> Option<Run> {
        match self.grid {
            Some(grid) => grid.run(self.next, self.found.count, room),
            None if self.next < self.found.count => {
                let count = room.min(self.found.count - self.next);
                Some(Run { frame: self.next, point: self.next, count })
            }
            None => None,
        }
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        let total = self.grid.map_or(self.found.count, |g| g.points());
        if self.next >= total && (self.grid.is_some() || self.watch.is_none()) {
            return Ok(Pull::End);
        }
        let room = slots.room().max(1);
        let run = self.run(room);
        if run.is_none() && self.watch.is_some() {
            return self.look(cx);
        }
        let until = run.map_or(total, |run| run.point);
        if until > self.next {
            // Some at a time: a short file of a large scan has millions of them.
            let end = until.min(self.next + room.max(1024));
            for point in self.next..end {
                let why = match run {
                    Some(_) => "the scan begins before the first frame",
                    None => "the file ends before this scan point",
                };
                slots.missing(point, format!("{}: {why}", self.path));
            }
            self.next = end;
            return Ok(Pull::Ready);
        }
        let Some(run) = run else { return Ok(Pull::End) };
        self.give(cx, slots, run)?;
        self.next = run.point + run.count;
        Ok(Pull::Ready)
    }

    /// Looks for frames that have come since, or sees that none will.
    fn look(&mut self, cx: &Cx) -> Result<Pull> {
        let Some(watch) = &mut self.watch else { return Ok(Pull::End) };
        let look = self.found.frames.look(cx, false)?;
        if look.changed {
            watch.grew();
        }
        if look.count.min(self.most) > self.found.count {
            self.found.count = look.count.min(self.most);
            return Ok(Pull::Ready);
        }
        match watch.quiet(self.found.count) {
            Quiet::Wait(pause) => Ok(Pull::Wait(pause)),
            Quiet::End => {
                // What is half written now stays so: it is told, and counted.
                self.found.count = self.found.frames.look(cx, true)?.count.min(self.most);
                self.watch = None;
                Ok(Pull::Ready)
            }
        }
    }

    fn give(&self, cx: &Cx, slots: &mut Slots<ScanOut>, run: Run) -> Result<()> {
        let Run { frame, point, count } = run;
        if let Some(all) = self.found.frames.mapped() {
            let image = all.records(frame as usize..(frame + count) as usize)?;
            return slots.put(point, ScanOut { image });
        }
        let frames = &*self.found.frames;
        let [rows, columns] = self.found.dims;
        let bytes = rows * columns * self.found.dtype.size();
        let mut out = cx.array(self.found.dtype, &[count as usize, rows, columns])?;
        let cells: Vec<Mutex<Cell>> =
            out.bytes_mut().chunks_mut(bytes).map(|cell| Mutex::new((cell, None))).collect();
        cx.par(cells.len(), |i| {
            let mut cell = cells[i].lock().unwrap_or_else(PoisonError::into_inner);
            let number = frame + i as u64;
            match frames.lost(number) {
                Some(lost) => cell.1 = Some(lost),
                None => match frames.read(number, cell.0) {
                    Err(error) if error.blame() == Blame::Data => {
                        cell.1 = Some((Reason::Corrupt, error.to_string()));
                    }
                    other => return other,
                },
            }
            Ok(())
        })?;
        let lost: Vec<Option<(Reason, String)>> =
            cells.into_iter().map(|c| c.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect();
        let all = out.freeze();
        let mut at = 0;
        while at < lost.len() {
            if let Some((reason, why)) = &lost[at] {
                match reason {
                    Reason::Corrupt => slots.corrupt(point + at as u64, why.clone(), None),
                    _ => slots.missing(point + at as u64, why.clone()),
                }
                at += 1;
                continue;
            }
            let n = lost[at..].iter().take_while(|l| l.is_none()).count();
            slots.put(point + at as u64, ScanOut { image: all.records(at..at + n)? })?;
            at += n;
        }
        Ok(())
    }
}

/// Where a frame goes, and why it did not come.
type Cell<'a> = (&'a mut [u8], Option<(Reason, String)>);

/// The folder in which a marker without a path is looked for.
pub(crate) fn beside(path: &str) -> &Path {
    let at = Path::new(path);
    if at.is_dir() { at } else { at.parent().unwrap_or(Path::new("")) }
}
