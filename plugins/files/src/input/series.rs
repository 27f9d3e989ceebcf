//! Frames that lie in files, handed out over a mapping or read into buffers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::value::map_file;
use memmap2::{Advice, Mmap};

use crate::convert::format;
use crate::format::swap;
use crate::tiff::Tiff;

/// What a source of images gives.
#[derive(Ports)]
pub struct FramesOut {
    /// Images.
    #[port(dtype = "any", axes = "y x")]
    pub(crate) image: Array,
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
    /// As pages that must be decoded or put together.
    Tiff(Tiff),
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
        Ok(Series { dtype, dims: dims.to_vec(), files, starts, frames, next: next.min(frames), held: None })
    }

    /// What the engine is told when the series is opened.
    pub fn opened(&self) -> Opened {
        Opened {
            frames: Some(self.frames),
            shapes: Shapes::default().with("image", Shape::array(self.dtype, &self.dims)),
            ..Opened::default()
        }
    }

    /// The next frames, at most `room`: runs of consecutive ones with the number of the first; none at the end.
    pub fn pull(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, Array)>> {
        let left = self.frames - self.next;
        if left == 0 {
            return Ok(vec![]);
        }
        let first = self.next;
        let index = self.starts.partition_point(|start| *start <= first) - 1;
        let inside = first - self.starts[index];
        let file = &self.files[index];
        let lone = file.frames == 1 && self.files.len() > 1;
        let want = match lone {
            // Mapping each of many small files would cost more than copying it.
            true => self.files[index..].iter().take_while(|f| f.frames == 1).count() as u64,
            false => file.frames - inside,
        }
        .min(room.max(1));
        let runs = if lone {
            vec![(first, self.fill(cx, index, inside, want)?)]
        } else {
            self.hold(index)?;
            match &self.held {
                Some(Held { open: Open::Elements(all), .. }) => self.slices(all, index, inside, want)?,
                _ => vec![(first, self.fill(cx, index, inside, want)?)],
            }
        };
        self.next += want;
        Ok(runs)
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
            Form::Tiff(_) => Open::Bytes(map_file(&file.path)?),
            Form::Plain { places, swap } => {
                let step = size.min(8) as u64;
                let aligned = (0..file.frames).all(|i| places.of(i, self.bytes()).is_multiple_of(step));
                if *swap == 0 && aligned {
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
    fn slices(&self, all: &Array, index: usize, inside: u64, want: u64) -> Result<Vec<(u64, Array)>> {
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
            runs.push((self.starts[index] + at, all.part(begin as usize, &shape)?));
            at += n;
        }
        Ok(runs)
    }

    /// Frames read or decoded into a buffer, by all threads.
    fn fill(&self, cx: &Cx, index: usize, inside: u64, want: u64) -> Result<Array> {
        let bytes = self.bytes();
        let mut out = cx.array(self.dtype, &[&[want as usize], self.dims.as_slice()].concat())?;
        let cells: Vec<Mutex<&mut [u8]>> = out.bytes_mut().chunks_mut(bytes).map(Mutex::new).collect();
        let lone = self.files[index].frames == 1 && self.files.len() > 1;
        cx.par(cells.len(), |i| {
            let (index, frame) = if lone { (index + i, 0) } else { (index, inside + i as u64) };
            let mut cell = cells[i].lock().unwrap_or_else(PoisonError::into_inner);
            self.read(index, frame, &mut cell)
        })?;
        drop(cells);
        Ok(out.freeze())
    }

    /// Reads one frame of a file.
    fn read(&self, index: usize, frame: u64, out: &mut [u8]) -> Result<()> {
        let file = &self.files[index];
        let held = self.held.as_ref().filter(|held| held.index == index).map(|held| &held.open);
        match (&file.form, held) {
            (Form::Tiff(tiff), Some(Open::Bytes(map))) => tiff.read(map, frame as usize, out).map_err(format),
            (Form::Tiff(tiff), _) => {
                let bytes =
                    std::fs::read(&file.path).map_err(|e| Error::io("cannot read", &file.path, &e))?;
                tiff.read(&bytes, frame as usize, out).map_err(format)
            }
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

/// A folder of small files for an example of this process.
pub(crate) fn example_file(name: &str, bytes: &[u8]) -> String {
    let folder = std::env::temp_dir().join(format!("isard-examples-{}", std::process::id()));
    let path = folder.join(name);
    // Examples are made by several tests at once: each writes beside and renames.
    let beside = folder.join(format!("{name}.{:?}", std::thread::current().id()));
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&beside, bytes))
        .and_then(|()| std::fs::rename(&beside, &path));
    // After an error the example names a file that is not there, and running it says so.
    let _ = written;
    path.display().to_string()
}
