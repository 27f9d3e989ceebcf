//! Frames of files, read one by one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use memmap2::Mmap;

use crate::source::axes::Axes;

/// The frames of files, counted from 0.
pub(crate) trait Frames: Send + Sync {
    /// Reads one frame, in this machine's order.
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()>;
    /// All frames as they lie in the file, when that is as they lie in memory.
    fn mapped(&self) -> Option<&Array> {
        None
    }
    /// Why a frame is not there.
    fn lost(&self, _frame: u64) -> Option<(Reason, String)> {
        None
    }
    /// Looks for frames that have come since the last look; `last` gives up what is half written or absent.
    fn look(&mut self, _cx: &Cx, _last: bool) -> Result<Look> {
        Err(Error::internal("closed files were followed"))
    }
}

/// What a look at growing files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// How many frames there are now, those that are lost among them.
    pub count: u64,
    /// Something has changed since the last look.
    pub changed: bool,
}

/// What looking at a file found.
pub(crate) struct Found {
    /// The frames.
    pub frames: Box<dyn Frames>,
    /// Type of the pixels.
    pub dtype: Dtype,
    /// Rows and columns of a frame.
    pub dims: [usize; 2],
    /// How many frames there are; of growing files, how many there are so far.
    pub count: u64,
    /// What the file says of the scan.
    pub scan: Option<[u64; 2]>,
    /// Steps and units of scan and detector.
    pub axes: Axes,
    /// What else the file says.
    pub head: Dict,
}

/// The bytes of a file: mapped when it is closed, read by position when it may still grow.
pub(crate) enum Bytes {
    /// A closed file.
    Closed(Mmap),
    /// One that may still grow.
    Growing(File, PathBuf),
}

impl Bytes {
    /// Opens a file.
    pub fn open(path: &Path, growing: bool) -> Result<Bytes> {
        if !growing {
            return isard_core::value::map_file(path).map(Bytes::Closed);
        }
        let file = File::open(path).map_err(|e| Error::io("cannot open", path, &e))?;
        Ok(Bytes::Growing(file, path.to_owned()))
    }

    /// How long the file is now.
    pub fn len(&self) -> Result<u64> {
        match self {
            Bytes::Closed(map) => Ok(map.len() as u64),
            Bytes::Growing(file, path) => {
                Ok(file.metadata().map_err(|e| Error::io("cannot look at", path, &e))?.len())
            }
        }
    }

    /// Works on some bytes, which must be there.
    pub fn with<T>(&self, at: u64, length: usize, work: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        match self {
            Bytes::Closed(map) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                let end = from.saturating_add(length);
                let short = || Error::data(format!("is {} bytes long, wanted {end}", map.len()));
                work(map.get(from..end).ok_or_else(short)?)
            }
            // Fresh memory for each frame would cost as much as reading it.
            Bytes::Growing(file, path) => SCRATCH.with_borrow_mut(|bytes| {
                bytes.resize(length, 0);
                file.read_exact_at(bytes, at).map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        let wanted = at.saturating_add(length as u64);
                        Error::data(format!(
                            "{}: is shorter than it was, wanted {wanted} bytes",
                            path.display()
                        ))
                    }
                    _ => Error::io("cannot read", path, &e),
                })?;
                work(bytes)
            }),
        }
    }

    /// The first bytes, at most so many.
    pub fn first(&self, most: usize) -> Result<Vec<u8>> {
        let length = self.len()?.min(most as u64) as usize;
        self.with(0, length, |bytes| Ok(bytes.to_vec()))
    }
}

thread_local! {
    /// The frame of a growing file that this thread decodes.
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(vec![]) };
}

/// Puts a stored frame in order: what it is given, and where the pixels go.
pub(crate) type Decode = dyn Fn(&[u8], &mut [u8]) + Send + Sync;

/// Frames that lie at equal distances in one file.
pub(crate) struct Even {
    /// The file.
    pub bytes: Bytes,
    /// Where the first frame begins.
    pub offset: u64,
    /// From one frame to the next.
    pub step: u64,
    /// What a frame takes of that.
    pub length: usize,
    /// How pixels are put in order.
    pub decode: Box<Decode>,
}

impl Frames for Even {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        let at = self.offset + frame * self.step;
        self.bytes.with(at, self.length, |stored| {
            (self.decode)(stored, out);
            Ok(())
        })
    }
}

/// Frames that lie in the file as in memory.
pub(crate) struct Whole(pub Array);

impl Frames for Whole {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(self.0.record(frame as usize)?.bytes());
        Ok(())
    }
    fn mapped(&self) -> Option<&Array> {
        Some(&self.0)
    }
}

/// Copies pixels, and reverses the bytes of each number of `swap` bytes where they stand the other way round.
pub(crate) fn copied(swap: usize) -> Box<Decode> {
    Box::new(move |from, out| {
        out.copy_from_slice(from);
        if swap > 1 {
            out.chunks_exact_mut(swap).for_each(<[u8]>::reverse);
        }
    })
}

/// What is to be reversed of numbers that stand in a stated order; 0 where they stand right.
pub(crate) fn swap(dtype: Dtype, big: bool) -> usize {
    if big == cfg!(target_endian = "big") {
        return 0;
    }
    dtype.size() / if dtype.is_complex() { 2 } else { 1 }
}

/// Frames of plain numbers in a mapped file: as they lie there when that can be, else copied.
pub(crate) fn plain(
    map: Mmap,
    [offset, step, swap]: [usize; 3],
    dtype: Dtype,
    [count, rows, columns]: [usize; 3],
) -> Result<Box<dyn Frames>> {
    let length = rows * columns * dtype.size();
    if swap <= 1 && step == length && offset.is_multiple_of(dtype.size().min(8)) {
        // Only a hint, and refused on some file systems: pages come in ahead of being read.
        let _ = map.advise(memmap2::Advice::Sequential);
        return Ok(Box::new(Whole(Array::over_map(map, offset, dtype, &[count, rows, columns])?)));
    }
    let end = offset.saturating_add(count.saturating_sub(1).saturating_mul(step)).saturating_add(length);
    if count > 0 && end > map.len() {
        return Err(Error::data(format!("is {} bytes long, wanted {end}", map.len())));
    }
    let (offset, step) = (offset as u64, step as u64);
    Ok(Box::new(Even { bytes: Bytes::Closed(map), offset, step, length, decode: copied(swap) }))
}
