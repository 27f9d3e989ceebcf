//! The buffer pool: what was let go last is handed out first, while it is still in the cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::error::{Blame, Error, Result};
use crate::value::array::{Dims, Line, Memory};
use crate::value::map::{Segment, Slot};
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
    free: Mutex<Free>,
    /// Whether buffers from [`SHARED`] bytes on are made in shared memory.
    shared: bool,
    /// Bytes on the shelves at most.
    limit: usize,
    kept: AtomicUsize,
    out: AtomicUsize,
    peak: AtomicUsize,
}

/// What lies on the shelves, by size in lines.
#[derive(Default)]
struct Free {
    /// Buffers with memory behind them.
    warm: HashMap<usize, Vec<Memory>>,
    /// Shared buffers without memory behind them: new, or given back to the system.
    cold: HashMap<usize, Vec<Slot>>,
}

/// Smaller buffers are copied to another process faster than they are found there.
pub(crate) const SHARED: usize = 16 << 10;

impl Pool {
    /// A pool that keeps at most `limit` bytes of free buffers.
    pub fn new(limit: usize) -> Self {
        Self::of(limit, false)
    }

    /// A pool whose big buffers lie in shared memory: an isolated stage reads them where they are.
    pub fn shared(limit: usize) -> Self {
        Self::of(limit, true)
    }

    fn of(limit: usize, shared: bool) -> Self {
        let (kept, out, peak) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { shelves: Some(Arc::new(Shelves { free: Mutex::default(), shared, limit, kept, out, peak })) }
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
            Some(shelves) => (shelves.take(lines)?, Arc::downgrade(shelves)),
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

    /// Bytes of free buffers that it keeps to hand them out again.
    pub fn kept(&self) -> usize {
        self.shelves.as_ref().map_or(0, |s| s.kept.load(Ordering::Relaxed))
    }

    /// Bytes handed out now.
    pub fn in_use(&self) -> usize {
        self.shelves.as_ref().map_or(0, |s| s.out.load(Ordering::Relaxed))
    }
}

impl Shelves {
    fn take(&self, lines: usize) -> Result<Memory> {
        let share = self.shared && lines * size_of::<Line>() >= SHARED;
        let lines = if share { class(lines) } else { lines };
        let bytes = lines * size_of::<Line>();
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            match free.warm.get_mut(&lines).and_then(Vec::pop) {
                Some(memory) => {
                    self.kept.fetch_sub(bytes, Ordering::Relaxed);
                    Some(memory)
                }
                None if share => Some(Memory::Shared(free.slot(lines, bytes)?)),
                None => None,
            }
        };
        let out = self.out.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(out, Ordering::Relaxed);
        Ok(found.unwrap_or_else(|| fresh(lines)))
    }

    /// Takes a buffer back, or frees it when the shelves are full.
    pub(crate) fn give(&self, buffer: Memory) {
        let lines = buffer.lines();
        let bytes = lines * size_of::<Line>();
        if bytes == 0 {
            return;
        }
        self.out.fetch_sub(bytes, Ordering::Relaxed);
        let full = self.kept.load(Ordering::Relaxed) + bytes > self.limit;
        match buffer {
            Memory::Shared(mut slot) if full => {
                slot.empty();
                self.free.lock().unwrap_or_else(PoisonError::into_inner).lay_by(lines, slot);
            }
            Memory::Own(_) if full => (),
            buffer => {
                self.kept.fetch_add(bytes, Ordering::Relaxed);
                let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
                free.warm.entry(lines).or_default().push(buffer);
            }
        }
    }
}

impl Free {
    fn slot(&mut self, lines: usize, bytes: usize) -> Result<Slot> {
        let shelf = self.cold.entry(lines).or_default();
        if shelf.is_empty() {
            *shelf = Segment::cut(bytes)?;
        }
        shelf.pop().ok_or_else(|| Error::internal("a segment without slots"))
    }

    /// Keeps an empty slot, or lets its segment go when all of it is empty.
    fn lay_by(&mut self, lines: usize, slot: Slot) {
        let shelf = self.cold.entry(lines).or_default();
        let segment = slot.segment().clone();
        shelf.push(slot);
        let of = |slot: &Slot| Arc::ptr_eq(slot.segment(), &segment);
        if shelf.iter().filter(|s| of(s)).count() == segment.slots {
            shelf.retain(|s| !of(s));
        }
    }
}

fn fresh(lines: usize) -> Memory {
    Memory::Own(bytemuck::zeroed_vec(lines))
}

/// The size in which a shared buffer is made: whole pages, and few enough sizes that segments are used again.
fn class(lines: usize) -> usize {
    let page = 4096 / size_of::<Line>();
    lines.next_multiple_of((lines.next_power_of_two() / 16).max(page))
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
        assert_eq!(pool.kept(), 2 * 256);
    }

    #[test]
    fn full_shelves_free_what_comes_back() {
        let pool = Pool::new(100);
        drop(pool.take(Dtype::U8, &[1000]).unwrap());
        assert_eq!(pool.kept(), 0);
    }

    #[test]
    fn shared_buffers_are_found_by_their_address_and_go_away_with_the_pool() {
        let pool = Pool::shared(1 << 30);
        let array = pool.take(Dtype::U16, &[2048, 2048]).unwrap().freeze();
        let (known, offset) = crate::value::share::find(array.bytes()).unwrap();
        assert_eq!((known.len, offset), (64 << 20, 0));
        let second = array.records(1..2).unwrap();
        assert_eq!(crate::value::share::find(second.bytes()).unwrap().1, 4096);
        let (id, next) = (known.id, pool.take(Dtype::U8, &[8 << 20]).unwrap().freeze());
        let (same, offset) = crate::value::share::find(next.bytes()).unwrap();
        assert_eq!((same.id, offset), (id, 8 << 20));
        assert!(crate::value::share::find(pool.take(Dtype::U8, &[9000]).unwrap().freeze().bytes()).is_none());
        drop((array, next, pool));
        assert!(crate::value::share::is_known(id), "an array keeps its segment");
        drop(second);
        assert!(!crate::value::share::is_known(id));
    }

    #[test]
    fn shared_buffers_past_the_limit_are_zero_again_and_their_segment_goes() {
        let pool = Pool::shared(0);
        let mut array = pool.take(Dtype::U8, &[48 << 20]).unwrap();
        array.bytes_mut().fill(7);
        let (known, _) = crate::value::share::find(array.bytes_mut()).unwrap();
        drop(array);
        assert!(!crate::value::share::is_known(known.id));
        let (mut a, b) =
            (pool.take(Dtype::U8, &[4 << 20]).unwrap(), pool.take(Dtype::U8, &[4 << 20]).unwrap());
        a.bytes_mut().fill(7);
        drop(a);
        let mut again = pool.take(Dtype::U8, &[4 << 20]).unwrap();
        assert!(again.bytes_mut().iter().all(|x| *x == 0));
        drop(b);
    }

    #[test]
    fn sizes_of_shared_buffers_are_few_and_waste_little() {
        assert_eq!(class(256), 256);
        assert_eq!(class((8 << 20) / 64), (8 << 20) / 64);
        for lines in (256..100_000).step_by(777) {
            assert!(class(lines) >= lines && class(lines) <= lines + lines / 8 + 64, "{lines}");
        }
    }
}
