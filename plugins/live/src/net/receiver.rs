//! A thread that takes what a connection brings, so that the detector never waits for the work on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use isard_core::prelude::*;

use crate::net::queue::{Level, Queue, TICK};

/// What comes out of a connection.
#[derive(Debug)]
pub(crate) enum Inbound<T> {
    /// The connection stands.
    Connected,
    /// A message.
    Item(T),
    /// The connection is gone, or could not be made; it is tried again.
    Broken(String),
}

/// The door of a receiving thread.
pub(crate) struct Door<T> {
    queue: Arc<Queue<Inbound<T>>>,
    stop: Arc<AtomicBool>,
    /// The fault that was told last, so that a detector that is off is reported once.
    told: Option<String>,
}

impl<T> Door<T> {
    /// Whether the thread should end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The flag that says so.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Hands a message over; false when the thread should end.
    pub(crate) fn give(&mut self, item: T, bytes: usize) -> bool {
        self.queue.push(Inbound::Item(item), bytes)
    }

    /// Says that the connection stands.
    pub(crate) fn connected(&mut self) -> bool {
        self.told = None;
        self.queue.push(Inbound::Connected, 0)
    }

    /// Says that the connection is gone.
    pub(crate) fn broken(&mut self, why: String) -> bool {
        if self.told.as_ref() == Some(&why) {
            return !self.stopped();
        }
        self.told = Some(why.clone());
        self.queue.push(Inbound::Broken(why), 0)
    }

    /// Sleeps, but not longer than the thread should live.
    pub(crate) fn pause(&self, time: Duration) {
        let until = std::time::Instant::now() + time;
        while !self.stopped() {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }
}

/// A receiving thread; it ends when this is dropped.
pub(crate) struct Receiver<T> {
    queue: Arc<Queue<Inbound<T>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Receiver<T> {
    /// Starts a thread that works until its door says stop; `limit` bounds the bytes that wait.
    pub(crate) fn start(
        name: &str,
        limit: usize,
        work: impl FnOnce(Door<T>) + Send + 'static,
    ) -> Result<Self> {
        let (queue, stop) = (Arc::new(Queue::new(limit)), Arc::new(AtomicBool::new(false)));
        let door = Door { queue: queue.clone(), stop: stop.clone(), told: None };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(door));
        let thread = thread
            .map_err(|e| Error::new(Blame::Resources, format!("cannot start the receiver's thread: {e}")))?;
        Ok(Receiver { queue, stop, thread: Some(thread) })
    }

    /// What came next; none when nothing came in this time.
    pub(crate) fn next(&self, patience: Duration) -> Option<Inbound<T>> {
        self.queue.pop(patience)
    }

    /// How full the queue has been.
    pub(crate) fn level(&self) -> Level {
        self.queue.level()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A receiver that panicked has nothing more to say, and its source has seen the silence.
            let _ = thread.join();
        }
    }
}
