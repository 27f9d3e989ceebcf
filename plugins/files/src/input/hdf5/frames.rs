//! Frames of HDF5 datasets, wherever they lie: plain, in compressed chunks, behind virtual datasets and links.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::schemars;
use isard_h5::{Buffers, Chunks, Dataset, File, Piece, Source as Place};

use crate::convert::{h5, h5_read};
use crate::input::series::{FileFrames, Form, Given, Places, Series};

/// Decoded chunks of several frames are kept up to this size; beyond it they are decoded again when needed.
const KEPT: usize = 512 << 20;

/// What to do with frames that were never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unwritten {
    /// They are missing frames: told, counted, no data.
    #[default]
    Missing,
    /// They hold the file's fill value, as HDF5 shows them.
    Fill,
    /// They are an error.
    Error,
}

/// The frames of pieces that lie one after the other.
pub(crate) struct Frames {
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    pub frames: u64,
    pieces: Vec<Piece>,
    /// Records that belong to one frame, and which of them is it: channels of a detector.
    channels: (u64, u64),
    /// The dataset that was asked for, for the fill value of what no piece holds, and its record that comes first.
    whole: Option<(PathBuf, String, u64)>,
    unwritten: Unwritten,
    /// Files may be open for writing.
    growing: bool,
    /// More may come: what is not written is not there yet.
    waiting: bool,
    /// The held file may change.
    live: bool,
    current: Option<(usize, Body)>,
    kept: Kept,
    buffers: Mutex<Vec<Buffers>>,
}

/// How the frames of a piece are read.
enum Body {
    /// As they lie in the file.
    Plain(Box<Series>),
    /// Chunk by chunk, decoded by all threads.
    Chunks(Chunks),
    /// Through the library.
    Library(Dataset),
}

/// Decoded chunks that hold frames still to come.
#[derive(Default)]
struct Kept {
    chunks: HashMap<u64, Arc<Vec<u8>>>,
    bytes: usize,
}

impl Frames {
    /// The frames of pieces in order.
    pub fn new(
        dtype: Dtype,
        dims: &[usize],
        pieces: Vec<Piece>,
        unwritten: Unwritten,
        growing: bool,
    ) -> Frames {
        Frames {
            dtype,
            dims: dims.to_vec(),
            frames: pieces.last().map_or(0, |p| p.first + p.count),
            pieces,
            channels: (1, 0),
            whole: None,
            unwritten,
            growing,
            waiting: growing,
            live: growing,
            current: None,
            kept: Kept::default(),
            buffers: Mutex::default(),
        }
    }

    /// Says which dataset shows the fill value where no piece holds anything, and which of its records comes first.
    pub fn shown_by(mut self, file: PathBuf, dataset: &str, first: u64) -> Frames {
        self.whole = Some((file, dataset.to_owned(), first));
        self
    }

    /// Says that each frame has so many records, of which one is meant.
    pub fn channel(mut self, channels: u64, index: u64) -> Frames {
        self.frames /= channels.max(1);
        self.channels = (channels.max(1), index);
        self
    }

    /// Says that nothing more will come.
    pub fn end(&mut self) {
        self.waiting = false;
    }

    /// Frames from `next` on, at most `room`: none at the end, or when the next one is not there yet.
    pub fn give(&mut self, cx: &Cx, next: u64, room: u64) -> Result<Vec<Given>> {
        if next >= self.frames {
            return Ok(vec![]);
        }
        let (step, channel) = self.channels;
        let wanted = next * step + channel;
        let index = self.pieces.partition_point(|piece| piece.first <= wanted) - 1;
        let piece = self.pieces[index].clone();
        let inside = wanted - piece.first;
        let left = (piece.count - inside).div_ceil(step).min(room.max(1));
        let Some(place) = piece.source else {
            return self.absent(cx, next, left, "no source is mapped there");
        };
        self.hold(index, &place, place.first + inside)?;
        let record = place.first + inside;
        // The body is put back unless it failed.
        let Some((_, mut body)) = self.current.take() else {
            return Err(Error::internal("no source of frames was opened"));
        };
        let given = match &mut body {
            Body::Plain(series) => {
                let runs = series.pull(cx, left)?;
                runs.into_iter()
                    .map(|(at, image)| Given::Frames(at - place.first + piece.first, image))
                    .collect()
            }
            Body::Library(dataset) if dataset.blank() => {
                self.absent(cx, next, left, "nothing was ever written")?
            }
            Body::Library(dataset) => {
                let n = if step == 1 { left } else { 1 };
                vec![Given::Frames(next, self.library(cx, dataset, record, n)?)]
            }
            Body::Chunks(chunks) => {
                let there = |i: u64| -> Result<bool> {
                    let (unsure, record) = (self.live && self.waiting, record + i * step);
                    let found = if unsure { chunks.settled(record) } else { chunks.written(record) };
                    found.map_err(h5)
                };
                let first = there(0)?;
                let mut n = 1;
                while n < left && there(n)? == first {
                    n += 1;
                }
                match first {
                    true => vec![Given::Frames(next, self.decode(cx, chunks, record, n)?)],
                    false => self.absent(cx, next, n, "its chunk was never written")?,
                }
            }
        };
        self.current = Some((index, body));
        Ok(given)
    }

    /// Frames that are not in the file.
    fn absent(&self, cx: &Cx, next: u64, n: u64, why: &str) -> Result<Vec<Given>> {
        if self.waiting {
            return Ok(vec![]);
        }
        match (self.unwritten, &self.whole) {
            (Unwritten::Missing, _) => {
                let why: Arc<str> = why.into();
                Ok((next..next + n).map(|i| Given::Lost(i, Reason::Missing, why.clone())).collect())
            }
            (Unwritten::Fill, Some((file, dataset, first))) => {
                let dataset = File::open(file).and_then(|f| f.dataset(dataset)).map_err(h5)?;
                Ok(vec![Given::Frames(next, self.library(cx, &dataset, first + next, n)?)])
            }
            (Unwritten::Error, _) | (Unwritten::Fill, None) => {
                let place =
                    self.whole.as_ref().map_or(String::new(), |(f, d, _)| format!("{}::{d}: ", f.display()));
                Err(Error::data(format!("{place}frame {next}: {why}"))
                    .help("`unwritten = \"missing\"` makes gaps of such frames"))
            }
        }
    }

    /// Opens the source of a piece unless it is the one that is held.
    fn hold(&mut self, index: usize, place: &Place, record: u64) -> Result<()> {
        if self.current.as_ref().is_some_and(|(held, _)| *held == index) {
            return Ok(());
        }
        self.current = None;
        self.kept = Kept::default();
        let file = if self.growing { File::open_growing(&place.file) } else { File::open(&place.file) };
        let file = file.map_err(h5_read)?;
        self.live = file.growing();
        let dataset = file.dataset(&place.dataset).map_err(h5_read)?;
        let (axes, dtype) = (self.dims.len(), self.dtype);
        let found = Dtype::from(dataset.dtype().map_err(h5)?);
        let shape = dataset.shape();
        let dims = crate::convert::extents(&shape[shape.len().saturating_sub(axes)..]);
        if (found, dims.as_slice()) != (dtype, self.dims.as_slice()) {
            return Err(Error::data(format!(
                "{}::{}: frames are {found} {dims:?}, wanted {dtype} {:?} as before",
                place.file.display(),
                place.dataset,
                self.dims
            )));
        }
        let plain =
            if self.growing || self.channels.0 > 1 { None } else { dataset.layout(axes).map_err(h5)? };
        let body = match plain {
            Some(layout) => {
                let frames = layout.records.len() as u64;
                let places = Places::Each(layout.records.iter().map(|r| r.offset).collect());
                let form = Form::Plain { places, swap: 0 };
                let files = vec![FileFrames { path: layout.file, frames, form }];
                Body::Plain(Box::new(Series::new(dtype, &self.dims, files, record)?))
            }
            None => {
                let dataset = Arc::new(dataset);
                match Chunks::new(dataset.clone(), axes, self.live).map_err(h5)? {
                    Some(chunks) => Body::Chunks(chunks),
                    None if self.waiting => {
                        let name = format!("{}::{}", place.file.display(), place.dataset);
                        return Err(Error::data(format!("{name}: does not tell which frames are written"))
                            .help("only chunked datasets do; others are read when the series has ended"));
                    }
                    None => match Arc::try_unwrap(dataset) {
                        Ok(dataset) => Body::Library(dataset),
                        Err(_) => return Err(Error::internal("a dataset is held twice")),
                    },
                }
            }
        };
        self.current = Some((index, body));
        Ok(())
    }

    fn library(&self, cx: &Cx, dataset: &Dataset, record: u64, n: u64) -> Result<Array> {
        let mut out = cx.array(self.dtype, &self.shape(n))?;
        dataset.read(self.dims.len(), record, n, out.bytes_mut()).map_err(h5)?;
        Ok(out.freeze())
    }

    fn shape(&self, n: u64) -> Vec<usize> {
        [&[n as usize], self.dims.as_slice()].concat()
    }

    /// Decodes frames, all of whose chunks are there.
    fn decode(&mut self, cx: &Cx, chunks: &Chunks, record: u64, n: u64) -> Result<Array> {
        let step = self.channels.0;
        let records: Vec<u64> = (0..n).map(|i| record + i * step).collect();
        let numbers: Vec<Vec<u64>> = records.iter().map(|r| chunks.of(*r)).collect();
        let mut wanted: Vec<u64> = numbers.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|number| !self.kept.chunks.contains_key(number));
        for number in &wanted {
            chunks.plausible(*number).map_err(h5)?;
        }
        let mut out = cx.array(self.dtype, &self.shape(n))?;
        let bytes = out.bytes_mut().len() / n as usize;
        let cells: Vec<Mutex<&mut [u8]>> = out.bytes_mut().chunks_mut(bytes).map(Mutex::new).collect();
        let fetch = |number: u64, room: &mut [u8]| -> Result<()> {
            let mut buffers = lock(&self.buffers).pop().unwrap_or_default();
            let there = chunks.fetch(number, &mut buffers, room).map_err(h5_read);
            lock(&self.buffers).push(buffers);
            match there? {
                true => Ok(()),
                false => Err(Error::data(format!("chunk {number} has gone while it was read"))),
            }
        };
        if chunks.single() {
            cx.par(cells.len(), |i| fetch(numbers[i][0], &mut lock(&cells[i])))?;
        } else {
            let found: Vec<Mutex<Vec<u8>>> = wanted.iter().map(|_| Mutex::default()).collect();
            cx.par(wanted.len(), |i| {
                let mut chunk = vec![0; chunks.bytes()];
                fetch(wanted[i], &mut chunk)?;
                *lock(&found[i]) = chunk;
                Ok(())
            })?;
            for (number, chunk) in wanted.iter().zip(found) {
                let chunk = chunk.into_inner().unwrap_or_else(PoisonError::into_inner);
                self.kept.bytes += chunk.len();
                self.kept.chunks.insert(*number, Arc::new(chunk));
            }
            let kept = &self.kept.chunks;
            cx.par(cells.len(), |i| {
                let mut room = lock(&cells[i]);
                for number in &numbers[i] {
                    let chunk =
                        kept.get(number).ok_or_else(|| Error::internal("a decoded chunk was lost"))?;
                    chunks.place(records[i], *number, chunk, &mut room);
                }
                Ok(())
            })?;
            let last = record + (n - 1) * step;
            let full = self.kept.bytes > KEPT;
            self.kept.chunks.retain(|number, _| !full && chunks.last_record(*number) > last);
            self.kept.bytes = self.kept.chunks.len() * chunks.bytes();
        }
        drop(cells);
        Ok(out.freeze())
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
