//! Mappings: closed files read-only, and shared memory that other processes see too.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapRaw};

use crate::error::{Blame, Error, Result};
use crate::value::share::{self, Known};

/// Maps a whole file read-only.
///
/// Only for files that nobody changes any more: a mapped file that another process truncates ends this one.
/// Whatever may still grow is read with `pread`.
pub fn map_file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io("cannot open", path, &e))?;
    // SAFETY: the caller vouches that the file is closed for writing; the map is only ever read.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io("cannot map", path, &e))
}

/// Maps memory of another process read-only; memory that could shrink under the mapping is refused.
pub(crate) fn map_shared(file: &File, len: usize) -> Result<Mmap> {
    let failed = |what: &str, e: std::io::Error| Error::internal(format!("{what} shared memory: {e}"));
    let (stays, why) = memory::stays(file).map_err(|e| failed("cannot look at", e))?;
    let found = file.metadata().map_err(|e| failed("cannot look at", e))?.len();
    if !stays || found != len as u64 {
        return Err(Error::plugin(format!(
            "shared memory of {found} bytes, wanted {len} that cannot shrink ({why})"
        )));
    }
    // SAFETY: the pages stay there, sealed where the system can do that; the process that made the memory leaves an
    // array unchanged until it is told that nobody reads it any more, which is what the protocol of isolated plugins
    // demands.
    unsafe { Mmap::map(file) }.map_err(|e| failed("cannot map", e))
}

/// One piece of shared memory, cut into slots of equal size.
pub(crate) struct Segment {
    map: MmapRaw,
    known: Arc<Known>,
    /// How many slots there are.
    pub slots: usize,
}

/// Segments are about this long, so that few descriptors serve many buffers.
const SEGMENT: usize = 64 << 20;

impl Segment {
    /// A segment and all its slots, of at least `bytes` each.
    pub fn cut(bytes: usize) -> Result<Vec<Slot>> {
        let slots = (SEGMENT / bytes).clamp(1, 256);
        let len = slots * bytes;
        let failed = |e: std::io::Error| {
            Error::new(Blame::Resources, format!("cannot make {len} bytes of shared memory: {e}"))
        };
        let file = memory::make(len).map_err(failed)?;
        let map = MmapRaw::map_raw(&file).map_err(failed)?;
        let known = share::publish(map.as_mut_ptr() as usize, len, file.into());
        let segment = Arc::new(Segment { map, known, slots });
        // The last is taken first: memory is touched from its beginning.
        Ok((0..slots)
            .rev()
            .map(|i| Slot { segment: segment.clone(), start: i * bytes, len: bytes })
            .collect())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Forgotten before it is unmapped: its addresses may mean something else a moment later.
        share::forget_at(self.known.base);
    }
}

/// One buffer in shared memory; whoever has it is the only one who may write there.
pub(crate) struct Slot {
    segment: Arc<Segment>,
    start: usize,
    len: usize,
}

impl Slot {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the segment is mapped as long as the slot lives, and slots do not overlap; nobody writes while
        // this reference lives, because writing takes the slot by `&mut`.
        unsafe { std::slice::from_raw_parts(self.segment.map.as_ptr().add(self.start), self.len) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is the only reference to them in this process; others read them only while
        // the array that owns the slot is frozen.
        unsafe { std::slice::from_raw_parts_mut(self.segment.map.as_mut_ptr().add(self.start), self.len) }
    }

    /// Gives the memory back to the system; the next to write gets zeros.
    pub fn empty(&mut self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = memory::empty(&self.segment.known.fd, self.start as u64, self.len as u64) {
            tracing::debug!(%error, bytes = self.len, "Shared memory could not be given back.");
        }
        // Elsewhere it stays with this process until the segment goes.
        #[cfg(not(target_os = "linux"))]
        self.bytes_mut().fill(0);
    }

    /// The segment it is part of.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }
}

/// Memory without a name that keeps its length, as Linux has it.
#[cfg(target_os = "linux")]
mod memory {
    use std::fs::File;
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

    pub(super) fn make(len: usize) -> io::Result<File> {
        let fd = rustix::fs::memfd_create("isard", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(File::from(fd))
    }

    pub(super) fn stays(file: &File) -> io::Result<(bool, String)> {
        let seals = rustix::fs::fcntl_get_seals(file)?;
        Ok((seals.contains(SealFlags::SHRINK), format!("seals {seals:?}")))
    }

    pub(super) fn empty(fd: &OwnedFd, start: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(fd, flags, start, len)?)
    }
}

/// The same by a file whose name is taken away: other systems seal nothing, and nobody but our own hosts has it.
#[cfg(not(target_os = "linux"))]
mod memory {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(0);

    pub(super) fn make(len: usize) -> io::Result<File> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("isard-{}-{number}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        file.set_len(len as u64)?;
        Ok(file)
    }

    pub(super) fn stays(_: &File) -> io::Result<(bool, String)> {
        Ok((true, "no seals here".into()))
    }
}
