//! Frames that lie in files, handed out over a mapping or read into buffers.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::value::map_file;
use memmap2::{Advice, Mmap};

use crate::convert::format;
use crate::format::{FormatError, swap};

/// What a source of images gives.
#[derive(Ports)]
pub struct FramesOut {
    /// Images.
    #[port(dtype = "any", axes = "y x")]
    pub(crate) image: Array,
}

impl From<(Array, Dict)> for FramesOut {
    fn from((image, _): (Array, Dict)) -> FramesOut {
        FramesOut { image }
    }
}

/// What a source of images with values beside them gives.
#[derive(Ports)]
pub struct HeadedOut {
    /// Images.
    #[port(dtype = "any", axes = "y x")]
    pub(crate) image: Array,
    /// The columns, each under its name.
    #[port(open)]
    pub(crate) columns: Dict,
}

impl From<(Array, Dict)> for HeadedOut {
    fn from((image, columns): (Array, Dict)) -> HeadedOut {
        HeadedOut { image, columns }
    }
}

/// The frames of one file.
pub(crate) struct FileFrames {
    pub path: PathBuf,
    pub frames: u64,
    pub form: Form,
}

/// How the frames lie in a file.
pub(crate) enum Form {
    /// As plain bytes; bytes of `swap` are to be reversed, 0 where the order is this machine's.
    Plain { places: Places, swap: usize },
    /// As bytes that must be decoded or put together.
    Decoded(Arc<dyn Decode>),
    /// Not at all.
    Lost(Reason, Arc<str>),
}

impl Form {
    /// How the frames lie, in words.
    pub fn describe(&self) -> &'static str {
        match self {
            Form::Plain { swap: 0, .. } => "plain",
            Form::Plain { .. } => "plain, in the other byte order",
            Form::Decoded(_) => "encoded",
            Form::Lost(..) => "lost",
        }
    }
}

/// Frames that are decoded out of a file's bytes.
pub(crate) trait Decode: Send + Sync {
    /// Decodes a frame of the file `path`, whose bytes are `file`, into the byte order of this machine.
    fn read(
        &self,
        path: &Path,
        file: &[u8],
        frame: u64,
        out: &mut [u8],
    ) -> std::result::Result<(), FormatError>;

    /// Whether frames must be read one after the other, without the file's bytes.
    fn ordered(&self) -> bool {
        false
    }
}

/// What a pull brought: frames from a number on, or one that is lost.
pub(crate) enum Given {
    Frames(u64, Array),
    Lost(u64, Reason, Arc<str>),
}

/// Where plain frames begin.
pub(crate) enum Places {
    /// The first one here, the others right behind.
    Block(u64),
    /// Each one at its own place.
    Each(Vec<u64>),
}

impl Places {
    fn of(&self, frame: u64, bytes: usize) -> u64 {
        match self {
            Places::Block(offset) => offset + frame * bytes as u64,
            Places::Each(offsets) => offsets[frame as usize],
        }
    }
}

/// Equal frames of files one after another, and how far they have been given.
pub(crate) struct Series {
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    files: Vec<FileFrames>,
    /// The number of each file's first frame.
    starts: Vec<u64>,
    frames: u64,
    next: u64,
    held: Option<Held>,
    /// Files may still grow, so that none is mapped.
    live: bool,
}

/// The file that is being read.
struct Held {
    index: usize,
    open: Open,
}

/// A file as it is read.
enum Open {
    /// Elements from the beginning of the file on, never copied.
    Elements(Array),
    /// Bytes to be decoded.
    Bytes(Mmap),
    /// Bytes to be decoded of a file that may still change.
    Whole(Vec<u8>),
    /// Read by position.
    File(File),
}

impl Series {
    /// The frames of files in order, from frame `next` on.
    pub fn new(dtype: Dtype, dims: &[usize], files: Vec<FileFrames>, next: u64) -> Result<Series> {
        let mut frames = 0;
        let mut starts = vec![];
        for file in &files {
            starts.push(frames);
            frames += file.frames;
        }
        if dims.contains(&0) {
            let at = files.first().map(|f| f.path.display().to_string()).unwrap_or_default();
            return Err(Error::data(format!("{at}: frames of shape {dims:?} hold nothing")));
        }
        let (dims, next) = (dims.to_vec(), next.min(frames));
        Ok(Series { dtype, dims, files, starts, frames, next, held: None, live: false })
    }

    /// The same frames, of which more will be added; they begin at `next`, which may be past all there are.
    ///
    /// Files that are `live` may still change.
    pub fn growing(mut self, next: u64, live: bool) -> Series {
        (self.live, self.next) = (live, next);
        self
    }

    /// Adds a file.
    pub fn push(&mut self, file: FileFrames) {
        self.starts.push(self.frames);
        self.frames += file.frames;
        self.files.push(file);
    }

    /// Takes a new look at the last file, which has grown.
    pub fn grow(&mut self, frames: u64, form: Form) {
        if let (Some(file), Some(start)) = (self.files.last_mut(), self.starts.last()) {
            (file.frames, file.form) = (frames, form);
            self.frames = start + frames;
            // What is open shows the file as it was.
            self.held = None;
        }
    }

    /// All frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames not yet given.
    pub fn left(&self) -> u64 {
        self.frames.saturating_sub(self.next)
    }

    /// The files with the number of their first frame, from the one that holds a frame on.
    pub fn files_from(&self, frame: u64) -> impl Iterator<Item = (usize, u64, u64)> {
        let index = self.starts.partition_point(|start| *start <= frame).saturating_sub(1);
        (index..self.files.len()).map(|i| (i, self.starts[i], self.files[i].frames))
    }

    /// The next frames, at most `room`: runs of consecutive ones with the number of the first; none at the end.
    pub fn pull(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, Array)>> {
        let whole = |given| match given {
            Given::Frames(first, image) => Ok((first, image)),
            Given::Lost(_, _, why) => Err(Error::data(&*why)),
        };
        self.give(cx, room)?.into_iter().map(whole).collect()
    }

    /// The next frames, at most `room`, with those that are damaged; none at the end.
    pub fn give(&mut self, cx: &Cx, room: u64) -> Result<Vec<Given>> {
        if self.left() == 0 {
            return Ok(vec![]);
        }
        let first = self.next;
        let index = self.starts.partition_point(|start| *start <= first) - 1;
        let inside = first - self.starts[index];
        let file = &self.files[index];
        let lone = self.lone(index);
        let want = match lone {
            // Mapping each of many small files would cost more than copying it.
            true => (index..self.files.len()).take_while(|i| self.lone(*i)).count() as u64,
            false => file.frames - inside,
        }
        .min(room.max(1));
        let given = if let Form::Lost(reason, why) = &file.form {
            (first..first + want).map(|n| Given::Lost(n, *reason, why.clone())).collect()
        } else if lone {
            self.fill(cx, index, inside, want)?
        } else {
            self.hold(index)?;
            match &self.held {
                Some(Held { open: Open::Elements(all), .. }) => self.slices(all, index, inside, want)?,
                _ => self.fill(cx, index, inside, want)?,
            }
        };
        self.next += want;
        Ok(given)
    }

    /// Whether a file holds one frame, and is one of several.
    fn lone(&self, index: usize) -> bool {
        let file = &self.files[index];
        file.frames == 1 && (self.files.len() > 1 || self.live) && !matches!(file.form, Form::Lost(..))
    }

    fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * self.dtype.size()
    }

    /// Opens a file unless it is the one that is held.
    fn hold(&mut self, index: usize) -> Result<()> {
        if self.held.as_ref().is_some_and(|held| held.index == index) {
            return Ok(());
        }
        let file = &self.files[index];
        let size = self.dtype.size();
        let open = match &file.form {
            Form::Lost(..) => return Err(Error::internal("a lost frame was opened")),
            Form::Decoded(decode) if decode.ordered() => Open::File(open(&file.path)?),
            Form::Decoded(_) if self.live => Open::Whole(read_whole(&file.path)?),
            Form::Decoded(_) => Open::Bytes(map_file(&file.path)?),
            Form::Plain { places, swap } => {
                let step = size.min(8) as u64;
                let aligned = (0..file.frames).all(|i| places.of(i, self.bytes()).is_multiple_of(step));
                if *swap == 0 && aligned && !self.live {
                    let map = map_file(&file.path)?;
                    let last = (0..file.frames).map(|i| places.of(i, self.bytes())).max().unwrap_or(0);
                    let wanted = last + self.bytes() as u64;
                    if (map.len() as u64) < wanted {
                        return Err(short(&file.path, map.len() as u64, wanted));
                    }
                    // Only a hint, and refused on some file systems: pages come in ahead of being read.
                    let _ = map.advise(Advice::Sequential);
                    let elements = map.len() / size;
                    Open::Elements(Array::over_map(map, 0, self.dtype, &[elements])?)
                } else {
                    Open::File(open(&file.path)?)
                }
            }
        };
        self.held = Some(Held { index, open });
        Ok(())
    }

    /// Frames over the mapping; neighbours in the file come as one array.
    fn slices(&self, all: &Array, index: usize, inside: u64, want: u64) -> Result<Vec<Given>> {
        let Form::Plain { places, .. } = &self.files[index].form else {
            return Err(Error::internal("pages to be decoded were mapped as frames"));
        };
        let bytes = self.bytes();
        let mut runs = vec![];
        let mut at = inside;
        while at < inside + want {
            let begin = places.of(at, bytes);
            let mut n = 1;
            while at + n < inside + want && places.of(at + n, bytes) == begin + n * bytes as u64 {
                n += 1;
            }
            let shape = [&[n as usize], self.dims.as_slice()].concat();
            runs.push(Given::Frames(self.starts[index] + at, all.part(begin as usize, &shape)?));
            at += n;
        }
        Ok(runs)
    }

    /// Frames read or decoded into a buffer, by all threads; damaged ones are said to be so.
    fn fill(&self, cx: &Cx, index: usize, inside: u64, want: u64) -> Result<Vec<Given>> {
        let bytes = self.bytes();
        let mut out = cx.array(self.dtype, &[&[want as usize], self.dims.as_slice()].concat())?;
        let cells: Vec<Mutex<(&mut [u8], Option<Error>)>> =
            out.bytes_mut().chunks_mut(bytes).map(|cell| Mutex::new((cell, None))).collect();
        let lone = self.lone(index);
        let work = |i: usize| {
            let (index, frame) = if lone { (index + i, 0) } else { (index, inside + i as u64) };
            let mut cell = cells[i].lock().unwrap_or_else(PoisonError::into_inner);
            match self.read(index, frame, cell.0) {
                Err(error) if error.blame() == Blame::Data => cell.1 = Some(error),
                other => return other,
            }
            Ok(())
        };
        let ordered = |file: &FileFrames| matches!(&file.form, Form::Decoded(d) if d.ordered());
        match !lone && ordered(&self.files[index]) {
            true => (0..cells.len()).try_for_each(work)?,
            false => cx.par(cells.len(), work)?,
        }
        let bad = |cell: Mutex<(&mut [u8], Option<Error>)>| {
            cell.into_inner().unwrap_or_else(PoisonError::into_inner).1
        };
        let damaged: Vec<Option<Error>> = cells.into_iter().map(bad).collect();
        let (all, first) = (out.freeze(), self.starts[index] + inside);
        let mut given = vec![];
        let mut at = 0;
        while at < damaged.len() {
            if let Some(error) = &damaged[at] {
                given.push(Given::Lost(first + at as u64, Reason::Corrupt, error.to_string().into()));
                at += 1;
                continue;
            }
            let n = damaged[at..].iter().take_while(|e| e.is_none()).count();
            given.push(Given::Frames(first + at as u64, all.records(at..at + n)?));
            at += n;
        }
        Ok(given)
    }

    /// Reads one frame of a file.
    fn read(&self, index: usize, frame: u64, out: &mut [u8]) -> Result<()> {
        let file = &self.files[index];
        let held = self.held.as_ref().filter(|held| held.index == index).map(|held| &held.open);
        match (&file.form, held) {
            (Form::Lost(..), _) => Err(Error::internal("a lost frame was read")),
            (Form::Decoded(decode), Some(Open::Bytes(map))) => {
                decode.read(&file.path, map, frame, out).map_err(format)
            }
            (Form::Decoded(decode), Some(Open::Whole(bytes))) => {
                decode.read(&file.path, bytes, frame, out).map_err(format)
            }
            (Form::Decoded(decode), _) if decode.ordered() => {
                decode.read(&file.path, &[], frame, out).map_err(format)
            }
            // Fresh memory for each file would cost as much as decoding it.
            (Form::Decoded(decode), _) => SCRATCH.with_borrow_mut(|bytes| {
                bytes.clear();
                let read = open(&file.path)?.read_to_end(bytes);
                read.map_err(|e| Error::io("cannot read", &file.path, &e))?;
                decode.read(&file.path, bytes, frame, out).map_err(format)
            }),
            (Form::Plain { places, swap: size }, held) => {
                let opened;
                let from = match held {
                    Some(Open::File(from)) => from,
                    _ => {
                        opened = open(&file.path)?;
                        &opened
                    }
                };
                let offset = places.of(frame, self.bytes());
                from.read_exact_at(out, offset).map_err(|e| match e.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        let found = from.metadata().map(|m| m.len()).unwrap_or(0);
                        short(&file.path, found, offset + out.len() as u64)
                    }
                    _ => Error::io("cannot read", &file.path, &e),
                })?;
                swap(out, *size);
                Ok(())
            }
        }
    }
}

thread_local! {
    /// The bytes of the small file that this thread decodes.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(vec![]) };
}

fn read_whole(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io("cannot open", path, &e))
}

fn short(path: &Path, found: u64, wanted: u64) -> Error {
    let path = path.display();
    Error::data(format!("{path}: is {found} bytes long, wanted {wanted}"))
        .help("the file was cut short, or is still being written; copy it again")
}

/// Two files of one series must be alike.
pub(crate) fn alike(
    first: &Path,
    wanted: (Dtype, &[usize]),
    path: &Path,
    found: (Dtype, &[usize]),
) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    let name = first.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Err(Error::data(format!(
        "{}: frames are {} {:?}, wanted {} {:?} as in {name}",
        path.display(),
        found.0,
        found.1,
        wanted.0,
        wanted.1
    ))
    .help("give each kind of frame its own folder or pattern"))
}
