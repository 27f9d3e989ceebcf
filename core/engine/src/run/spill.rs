//! Chunks put aside on disk while their consumer is busy, and read back in order.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::run::kept;
use crate::span::Chunk;

/// The overflow of one edge. Its files are scratch: they need not survive a crash, so they are not synced.
pub struct Spill {
    dir: PathBuf,
    /// Bytes kept in memory at most.
    limit: usize,
    in_memory: AtomicUsize,
    next: AtomicU64,
    aside: Mutex<VecDeque<PathBuf>>,
}

impl Spill {
    /// An overflow into a folder of its own.
    pub fn new(dir: PathBuf, limit: usize) -> Arc<Spill> {
        let (in_memory, next) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Spill { dir, limit, in_memory, next, aside: Mutex::default() })
    }

    /// Takes a chunk: gives it back when there is room in memory, else puts it aside.
    pub fn put(&self, chunk: Chunk) -> Result<Option<Chunk>> {
        let bytes = bytes(&chunk);
        if self.in_memory.load(Ordering::Relaxed) + bytes <= self.limit {
            self.in_memory.fetch_add(bytes, Ordering::Relaxed);
            return Ok(Some(chunk));
        }
        fs::create_dir_all(&self.dir).map_err(|e| Error::io("cannot create", &self.dir, &e))?;
        let path = self.dir.join(format!("{:08}", self.next.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, kept::encode_chunk(&chunk))
            .map_err(|e| Error::io("cannot put frames aside in", &path, &e))?;
        self.aside.lock().unwrap_or_else(PoisonError::into_inner).push_back(path);
        Ok(None)
    }

    /// Books a chunk that left memory.
    pub fn taken(&self, chunk: &Chunk) {
        self.in_memory.fetch_sub(bytes(chunk), Ordering::Relaxed);
    }

    /// Reads back the chunk that was put aside first.
    pub fn get(&self) -> Result<Chunk> {
        let path = self.aside.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let path = path.ok_or_else(|| Error::internal("nothing was put aside"))?;
        let bytes = fs::read(&path).map_err(|e| Error::io("cannot read back", &path, &e))?;
        // Scratch: leaving it behind wastes space but loses nothing.
        let _ = fs::remove_file(&path);
        kept::decode_chunk(&bytes)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn bytes(chunk: &Chunk) -> usize {
    chunk.data.values().map(crate::value::Value::bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;
    use crate::value::{Array, Dict};

    #[test]
    fn what_does_not_fit_comes_back_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::new(dir.path().join("edge"), 100);
        let chunk = |n: u64| {
            Chunk::new(
                Span::frames(n, 1),
                Dict::new().with("x", Array::of(&[1, 80], &[n as u8; 80]).unwrap()),
            )
        };
        let first = spill.put(chunk(0)).unwrap().unwrap();
        assert!(spill.put(chunk(1)).unwrap().is_none());
        spill.taken(&first);
        assert!(spill.put(chunk(2)).unwrap().is_some());
        let back = spill.get().unwrap();
        assert_eq!((back.span, back.data), (chunk(1).span, chunk(1).data));
        assert!(spill.get().is_err());
    }
}
