//! What a receiver has taken and nobody has worked on yet, bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread sleeps at most before it looks whether it should end.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// A queue between a receiver and a stage.
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    /// Something was put.
    filled: Condvar,
    /// Something was taken.
    drained: Condvar,
    limit: usize,
}

struct Inner<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    peak: usize,
    /// How long the receiver had to wait for room.
    waited: Duration,
    closed: bool,
}

/// How full a queue has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Bytes at most.
    pub peak: usize,
    /// How long the receiver waited for room.
    pub waited: Duration,
}

impl<T> Queue<T> {
    /// A queue that takes `limit` bytes, and one item more.
    pub(crate) fn new(limit: usize) -> Queue<T> {
        let inner =
            Inner { items: VecDeque::new(), bytes: 0, peak: 0, waited: Duration::ZERO, closed: false };
        Queue { inner: Mutex::new(inner), filled: Condvar::new(), drained: Condvar::new(), limit }
    }

    /// Puts an item; waits while the queue is full. False once it is closed.
    pub(crate) fn push(&self, item: T, bytes: usize) -> bool {
        let mut inner = self.lock();
        while inner.bytes >= self.limit && !inner.closed {
            let since = Instant::now();
            inner = self.drained.wait_timeout(inner, TICK).unwrap_or_else(PoisonError::into_inner).0;
            inner.waited += since.elapsed();
        }
        if inner.closed {
            return false;
        }
        inner.items.push_back((item, bytes));
        inner.bytes += bytes;
        inner.peak = inner.peak.max(inner.bytes);
        drop(inner);
        self.filled.notify_one();
        true
    }

    /// The next item; none when none came in this time.
    pub(crate) fn pop(&self, patience: Duration) -> Option<T> {
        let mut inner = self.lock();
        if inner.items.is_empty() && !patience.is_zero() {
            let waited = self.filled.wait_timeout_while(inner, patience, |i| i.items.is_empty() && !i.closed);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (item, bytes) = inner.items.pop_front()?;
        let was_full = inner.bytes >= self.limit;
        inner.bytes -= bytes;
        drop(inner);
        if was_full {
            self.drained.notify_one();
        }
        Some(item)
    }

    /// How full it has been.
    pub(crate) fn level(&self) -> Level {
        let inner = self.lock();
        Level { peak: inner.peak, waited: inner.waited }
    }

    /// Takes nothing any more, and lets go of what waits.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.items.clear();
        inner.bytes = 0;
        drop(inner);
        self.filled.notify_all();
        self.drained.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_full_queue_holds_the_receiver_and_says_so() {
        let queue = Arc::new(Queue::new(10));
        assert!(queue.push('a', 6) && queue.push('b', 6));
        let other = queue.clone();
        let thread = std::thread::spawn(move || other.push('c', 1));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!([queue.pop(TICK), queue.pop(TICK)], [Some('a'), Some('b')]);
        assert!(thread.join().unwrap());
        assert_eq!(queue.pop(TICK), Some('c'));
        assert_eq!(queue.pop(Duration::ZERO), None);
        let level = queue.level();
        assert_eq!(level.peak, 12);
        assert!(level.waited >= Duration::from_millis(10), "{level:?}");
    }

    #[test]
    fn a_closed_queue_lets_its_receiver_go() {
        let queue = Queue::new(1);
        assert!(queue.push(1, 1));
        queue.close();
        assert!(!queue.push(2, 1));
        assert_eq!(queue.pop(TICK), None);
    }
}
