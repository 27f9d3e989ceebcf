//! Sources that read files one after the other: closed ones, and those that still appear and grow.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use isard_core::prelude::*;

use crate::input::folder::files;
use crate::input::follow::Follow;
use crate::input::grow::{Grown, Tail};
use crate::input::scan::{Scan, Scanned};
use crate::input::series::{FileFrames, Form, Given, Series, alike};

/// How long `open` waits for the first frame, which says what frames are like.
const FIRST: Duration = Duration::from_secs(30);

/// So many files are looked at between two questions whether the run must end.
const BATCH: usize = 256;

/// The frames of a path, and how far they have been given.
pub(crate) struct Sequence {
    scan: Arc<dyn Scan>,
    series: Option<Series>,
    /// The first file, for messages.
    first: String,
    keys: Vec<Key>,
    /// The columns of each file; none of files without frames.
    columns: Vec<Vec<Array>>,
    head: Dict,
    tail: Option<Tail>,
    /// Files may still change.
    live: bool,
    next: u64,
}

/// The sequence of a source; none until it is opened.
#[derive(Default)]
pub(crate) struct Held(Option<Sequence>);

impl Held {
    /// Opens the files of a path from a position on; with `follow` those too that are still to come.
    pub fn open(
        &mut self,
        cx: &Cx,
        path: &str,
        scan: impl Scan + 'static,
        follow: &Option<Follow>,
        from: Position,
    ) -> Result<Opened> {
        let (sequence, opened) = Sequence::open(cx, path, Arc::new(scan), follow.as_ref(), from)?;
        self.0 = Some(sequence);
        Ok(opened)
    }

    /// Puts the next frames, or says how long to wait for them.
    pub fn pull<O: Ports + From<(Array, Dict)>>(&mut self, cx: &Cx, slots: &mut Slots<O>) -> Result<Pull> {
        let sequence = self.0.as_mut();
        sequence.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}

/// Adds the faults of the parameters that all sources of sequences share.
pub(crate) fn check(path: &str, follow: &Option<Follow>, faults: &mut Faults) {
    if path.is_empty() {
        faults.add("path", "is empty, wanted a file, a folder or a pattern");
    }
    if let Some(follow) = follow {
        follow.check(faults);
    }
}

/// Adds a fault for a column that has the name of the frames.
pub(crate) fn check_columns(columns: &BTreeMap<String, String>, faults: &mut Faults) {
    if columns.contains_key("image") {
        faults.add_with_help("columns", "`image` is the frames' own name", "choose another name");
    }
}

/// The pixels of an example: four frames of 2 x 3 that count from 0 to 23.
pub(crate) fn ramp<const N: usize>(bytes: impl Fn(u16) -> [u8; N]) -> Vec<u8> {
    (0..24).flat_map(bytes).collect()
}

impl Sequence {
    /// Opens the files of a path from frame `next` on; with `follow` those too that are still to come.
    pub fn open(
        cx: &Cx,
        path: &str,
        scan: Arc<dyn Scan>,
        follow: Option<&Follow>,
        from: Position,
    ) -> Result<(Sequence, Opened)> {
        let keys = scan.columns();
        let mut sequence = Sequence {
            scan,
            series: None,
            first: path.to_owned(),
            keys,
            columns: vec![],
            head: Dict::new(),
            tail: None,
            live: follow.is_some(),
            next: from.next,
        };
        match follow {
            None => sequence.closed(cx, path)?,
            Some(follow) => {
                sequence.tail = Some(Tail::new(path, sequence.scan.clone(), follow));
                let began = Instant::now();
                while sequence.series.is_none() && began.elapsed() < FIRST {
                    cx.check()?;
                    match sequence.look(1)? {
                        Grown::More => {}
                        Grown::Quiet(pause) => std::thread::sleep(pause.min(Duration::from_millis(50))),
                        Grown::End => {
                            return Err(Error::data(format!("{path}: ended before the first frame came")));
                        }
                    }
                }
            }
        }
        let mut opened = Opened { head: sequence.head.clone(), ..Opened::default() };
        if let Some(series) = &sequence.series {
            opened.shapes = Shapes::default().with("image", Shape::array(series.dtype, &series.dims));
            for (key, column) in sequence.keys.iter().zip(sequence.columns.iter().flatten()) {
                let shape = Shape::array(column.dtype(), &column.shape()[1..]);
                opened.shapes = opened.shapes.with(key.as_str(), shape);
            }
        }
        opened.frames = match follow {
            None => sequence.series.as_ref().map(Series::frames),
            Some(follow) => follow.frames,
        };
        Ok((sequence, opened))
    }

    /// Puts the next frames, or says how long to wait for them.
    pub fn pull<O: Ports + From<(Array, Dict)>>(&mut self, cx: &Cx, slots: &mut Slots<O>) -> Result<Pull> {
        if let Some(series) = self.series.as_mut().filter(|series| series.left() > 0) {
            for given in series.give(cx, slots.room())? {
                match given {
                    Given::Frames(first, image) => {
                        let columns = self.beside(first, image.shape()[0] as u64)?;
                        slots.put(first, O::from((image, columns)))?;
                    }
                    Given::Lost(number, Reason::Missing, why) => slots.missing(number, why),
                    Given::Lost(number, _, why) => slots.corrupt(number, why, None),
                }
            }
            return Ok(Pull::Ready);
        }
        if self.tail.is_none() {
            return Ok(Pull::End);
        }
        Ok(match self.look(slots.room())? {
            Grown::More => Pull::Ready,
            Grown::Quiet(pause) => Pull::Wait(pause),
            Grown::End => Pull::End,
        })
    }

    /// The frames of files that are all there.
    fn closed(&mut self, cx: &Cx, path: &str) -> Result<()> {
        let paths = files(path, self.scan.endings())?;
        let looked = if self.scan.single() && self.keys.is_empty() { 1 } else { paths.len() };
        let cells: Vec<Mutex<Option<Scanned>>> = paths[..looked].iter().map(|_| Mutex::new(None)).collect();
        for begin in (0..looked).step_by(BATCH) {
            cx.check()?;
            cx.par(BATCH.min(looked - begin), |i| {
                let found = self.scan.scan(&paths[begin + i])?;
                *cells[begin + i].lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                Ok(())
            })?;
        }
        let mut like = None;
        for (path, cell) in paths.iter().zip(cells) {
            let scanned = cell.into_inner().unwrap_or_else(PoisonError::into_inner);
            let scanned = scanned.ok_or_else(|| Error::internal("a file was not looked at"))?;
            if let (None, Form::Decoded(decode)) = (&like, &scanned.form) {
                like = Some(decode.clone());
            }
            self.push(path, scanned)?;
        }
        for path in &paths[looked..] {
            let decode = like.clone().ok_or_else(|| Error::internal("single files are decoded"))?;
            self.add(path, 1, Form::Decoded(decode), vec![])?;
        }
        Ok(())
    }

    /// Looks for files and frames that have come since.
    fn look(&mut self, room: u64) -> Result<Grown> {
        let mut tail = self.tail.take().ok_or_else(|| Error::internal("a closed sequence was followed"))?;
        let result = tail.look(self, room);
        self.tail = Some(tail);
        result
    }

    /// All frames so far.
    pub fn frames(&self) -> u64 {
        self.series.as_ref().map_or(0, Series::frames)
    }

    /// The first frame that is wanted.
    pub fn wanted(&self) -> u64 {
        self.next
    }

    /// Adds the frames of a file.
    pub fn push(&mut self, path: &Path, scanned: Scanned) -> Result<()> {
        let Scanned { dtype, dims, frames, form, head, columns } = scanned;
        match &self.series {
            Some(series) => {
                let first = Path::new(&self.first);
                alike(first, (series.dtype, &series.dims), path, (dtype, &dims))?;
            }
            None => {
                let series = Series::new(dtype, &dims, vec![], 0)?;
                self.series = Some(series.growing(self.next, self.live));
                self.first = path.display().to_string();
                self.head = head;
            }
        }
        self.add(path, frames, form, columns)
    }

    /// Adds frames of a file that is like the others.
    pub fn add(&mut self, path: &Path, frames: u64, form: Form, columns: Vec<Array>) -> Result<()> {
        let series = self.series.as_mut();
        let series = series.ok_or_else(|| Error::internal("frames were added to nothing"))?;
        series.push(FileFrames { path: path.to_owned(), frames, form });
        self.columns.push(columns);
        Ok(())
    }

    /// Takes a new look at the last file, which has grown.
    pub fn grow(&mut self, scanned: Scanned) {
        if let (Some(series), Some(columns)) = (self.series.as_mut(), self.columns.last_mut()) {
            series.grow(scanned.frames, scanned.form);
            *columns = scanned.columns;
        }
    }

    /// The values that go with frames.
    fn beside(&self, first: u64, frames: u64) -> Result<Dict> {
        let mut found = Dict::with_capacity(self.keys.len());
        let Some(series) = self.series.as_ref().filter(|_| !self.keys.is_empty()) else { return Ok(found) };
        let end = first + frames;
        for (at, key) in self.keys.iter().enumerate() {
            let mut parts = vec![];
            for (index, start, count) in series.files_from(first).take_while(|(_, start, _)| *start < end) {
                let (a, b) = (first.max(start), end.min(start + count));
                if a < b
                    && let Some(column) = self.columns[index].get(at)
                {
                    parts.push(column.records((a - start) as usize..(b - start) as usize)?);
                }
            }
            let parts: Vec<&Array> = parts.iter().collect();
            let column = match parts[..] {
                [one] => one.clone(),
                _ => Array::concat(&parts, isard_core::Pool::unpooled())?,
            };
            found.push(key.clone(), column.into());
        }
        Ok(found)
    }
}
