//! Whole frames on disk until a spot asks for a part of them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;

use super::bytes::Bytes;
use super::plane::Area;

/// A file without a name that frames are put into; it goes when nobody has it open any more.
#[derive(Debug)]
pub struct Spill {
    file: File,
    /// Places that are free again, and the end of the last one.
    free: Mutex<(Vec<u64>, u64)>,
    /// Bytes of a place; those of the first frame.
    room: AtomicU64,
}

/// The bytes of a frame on disk.
#[derive(Debug)]
struct Slot {
    spill: Arc<Spill>,
    at: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.spill.free.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.at);
    }
}

/// A whole frame on disk.
#[derive(Clone, Debug)]
pub struct Away {
    slot: Arc<Slot>,
    dtype: Dtype,
    shape: [usize; 2],
    /// Of a frame in bytes, what does not fit them.
    far: Option<(Vec<u32>, Vec<i16>)>,
}

impl Spill {
    /// A file in a folder.
    pub fn new(folder: &Path) -> Result<Arc<Spill>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".isard-frames-{}-{number}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| Error::io("make", &path, &e))?;
        // Without a name nothing stays behind, however the run ends.
        std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
        Ok(Arc::new(Spill { file, free: Mutex::default(), room: AtomicU64::new(0) }))
    }

    /// Puts a whole frame away.
    pub(crate) fn put(self: &Arc<Self>, frame: &Array) -> Result<Away> {
        let &[rows, columns] = frame.shape() else {
            return Err(Error::internal("a frame to be put away has no rows and columns"));
        };
        let slot = self.write(frame.bytes())?;
        Ok(Away { slot, dtype: frame.dtype(), shape: [rows, columns], far: None })
    }

    /// Puts a frame in bytes away; what does not fit them stays in memory.
    pub(crate) fn put_bytes(self: &Arc<Self>, bytes: &Bytes) -> Result<Away> {
        let away = self.put(&bytes.near)?;
        Ok(Away { far: Some((bytes.places.clone(), bytes.far.clone())), ..away })
    }

    fn write(self: &Arc<Self>, bytes: &[u8]) -> Result<Arc<Slot>> {
        // Frames of one scan are of one size, or of half of it where they fit bytes.
        let room = match self.room.load(Ordering::Relaxed) {
            0 => 4 * bytes.len() as u64,
            room => room,
        };
        if bytes.len() as u64 > room {
            return Err(Error::internal("a frame is larger than the place it is put into"));
        }
        self.room.store(room, Ordering::Relaxed);
        let at = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let end = free.1;
            free.0.pop().unwrap_or_else(|| {
                free.1 = end + room;
                end
            })
        };
        let slot = Arc::new(Slot { spill: self.clone(), at });
        let wrote = self.file.write_all_at(bytes, at);
        wrote.map_err(|e| Error::io("write to", Path::new("the file of `dense_folder`"), &e))?;
        Ok(slot)
    }
}

impl Away {
    /// The frame, back in memory.
    pub(crate) fn whole(&self) -> Result<Array> {
        let mut frame = isard_core::Pool::unpooled().take(self.dtype, &self.shape)?;
        self.read(0, frame.bytes_mut())?;
        Ok(frame.freeze())
    }

    /// What does not fit, of a frame in bytes.
    pub(crate) fn far(&self) -> Option<&(Vec<u32>, Vec<i16>)> {
        self.far.as_ref()
    }

    /// The rows of an area, and what does not fit bytes in them.
    pub(crate) fn rows(&self, area: &Area) -> Result<(Array, Option<Bytes>)> {
        let ([first, end], columns) = (area.rows, self.shape[1]);
        let mut part = isard_core::Pool::unpooled().take(self.dtype, &[end - first, columns])?;
        self.read((first * columns * self.dtype.size()) as u64, part.bytes_mut())?;
        let part = part.freeze();
        let Some((places, far)) = &self.far else { return Ok((part, None)) };
        let [from, to] = [first, end].map(|row| places.partition_point(|p| (*p as usize) < row * columns));
        let places = places[from..to].iter().map(|p| p - (first * columns) as u32).collect();
        let bytes = Bytes { near: part.clone(), places, far: far[from..to].to_vec() };
        Ok((part, Some(bytes)))
    }

    fn read(&self, from: u64, out: &mut [u8]) -> Result<()> {
        let read = self.slot.spill.file.read_exact_at(out, self.slot.at + from);
        read.map_err(|e| Error::io("read from", Path::new("the file of `dense_folder`"), &e))
    }
}
