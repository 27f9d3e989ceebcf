//! The buffer pool: what was let go last is handed out first, while it is still in the cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::error::{Blame, Error, Result};
use crate::value::array::{Dims, Line};
use crate::value::{ArrayMut, Dtype};

/// A pool of aligned buffers, one last-in-first-out shelf per size.
///
/// FIFO order would cycle through more memory than the cache holds: measured at twice the cost per 8 MiB frame.
#[derive(Clone)]
pub struct Pool {
    shelves: Option<Arc<Shelves>>,
}

/// The shelves of a pool.
pub(crate) struct Shelves {
    free: Mutex<HashMap<usize, Vec<Vec<Line>>>>,
    /// Bytes on the shelves at most.
    limit: usize,
    kept: AtomicUsize,
    out: AtomicUsize,
    peak: AtomicUsize,
}

impl Pool {
    /// A pool that keeps at most `limit` bytes of free buffers.
    pub fn new(limit: usize) -> Self {
        let (kept, out, peak) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { shelves: Some(Arc::new(Shelves { free: Mutex::default(), limit, kept, out, peak })) }
    }

    /// Memory that belongs to no pool, for what outlives a chunk.
    pub fn unpooled() -> &'static Pool {
        static NONE: OnceLock<Pool> = OnceLock::new();
        NONE.get_or_init(|| Pool { shelves: None })
    }

    /// A writable array; its elements are zero or left from an earlier use, so write them all.
    pub fn take(&self, dtype: Dtype, shape: &[usize]) -> Result<ArrayMut> {
        let dims = Dims::new(shape)?;
        let bytes = dims
            .elements()?
            .checked_mul(dtype.size())
            .filter(|b| *b < isize::MAX as usize)
            .ok_or_else(|| {
                Error::new(Blame::Resources, format!("an array of {dtype} {shape:?} does not fit in memory"))
            })?;
        let lines = bytes.div_ceil(size_of::<Line>());
        let (buffer, home) = match &self.shelves {
            Some(shelves) => (shelves.take(lines), Arc::downgrade(shelves)),
            None => (fresh(lines), Weak::new()),
        };
        Ok(ArrayMut::new(buffer, home, dtype, dims))
    }

    /// A writable array of zeros.
    pub fn zeros(&self, dtype: Dtype, shape: &[usize]) -> Result<ArrayMut> {
        let mut array = self.take(dtype, shape)?;
        array.bytes_mut().fill(0);
        Ok(array)
    }

    /// Bytes handed out at most so far.
    pub fn peak(&self) -> usize {
        self.shelves.as_ref().map_or(0, |s| s.peak.load(Ordering::Relaxed))
    }

    /// Bytes handed out now.
    pub fn in_use(&self) -> usize {
        self.shelves.as_ref().map_or(0, |s| s.out.load(Ordering::Relaxed))
    }
}

impl Shelves {
    fn take(&self, lines: usize) -> Vec<Line> {
        let bytes = lines * size_of::<Line>();
        let out = self.out.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(out, Ordering::Relaxed);
        let found =
            self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&lines).and_then(Vec::pop);
        match found {
            Some(buffer) => {
                self.kept.fetch_sub(bytes, Ordering::Relaxed);
                buffer
            }
            None => fresh(lines),
        }
    }

    /// Takes a buffer back, or frees it when the shelves are full.
    pub(crate) fn give(&self, buffer: Vec<Line>) {
        let bytes = buffer.len() * size_of::<Line>();
        if bytes == 0 {
            return;
        }
        self.out.fetch_sub(bytes, Ordering::Relaxed);
        if self.kept.load(Ordering::Relaxed) + bytes > self.limit {
            return;
        }
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(buffer.len()).or_default().push(buffer);
    }
}

fn fresh(lines: usize) -> Vec<Line> {
    bytemuck::zeroed_vec(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_let_go_last_comes_first() {
        let pool = Pool::new(1 << 20);
        let take = || pool.take(Dtype::U16, &[100]).unwrap().freeze();
        let (a, b) = (take(), take());
        let last = a.bytes().as_ptr();
        drop(b);
        drop(a);
        assert_eq!(take().bytes().as_ptr(), last);
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.peak(), 2 * 256);
    }

    #[test]
    fn full_shelves_free_what_comes_back() {
        let pool = Pool::new(100);
        drop(pool.take(Dtype::U8, &[1000]).unwrap());
        assert_eq!(pool.shelves.as_ref().unwrap().kept.load(Ordering::Relaxed), 0);
    }
}
