//! One thread that writes the files of jobs, job after job.
//!
//! Workers that make files in one folder wait for each other in the kernel, and spend there what the files cost; one thread
//! never waits. What it is given while it works it takes all at once, so that under load nobody has to wake it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use isard_core::error::{Blame, Error, Result};

/// Jobs whose files wait at most; whoever brings more writes its own.
const WAITING: usize = 4096;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    work: Vec<Work>,
    busy: bool,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    come: Condvar,
}

/// The thread, and what waits for it.
pub(super) struct Filing {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Filing {
    pub fn start() -> Result<Filing> {
        let shared = Arc::<Shared>::default();
        let handle = std::thread::Builder::new().name("isard job files".into()).spawn({
            let shared = shared.clone();
            move || shared.run()
        });
        let handle = handle
            .map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread for files: {e}")))?;
        Ok(Filing { shared, handle: Mutex::new(Some(handle)) })
    }

    /// Whether more may be brought.
    pub fn has_room(&self) -> bool {
        let queue = self.shared.lock();
        queue.work.len() < WAITING && !queue.closed
    }

    /// Brings work; done on this thread once it was closed.
    pub fn push(&self, work: Work) {
        let mut queue = self.shared.lock();
        if queue.closed {
            drop(queue);
            return work();
        }
        queue.work.push(work);
        let asleep = !queue.busy && queue.work.len() == 1;
        drop(queue);
        if asleep {
            self.shared.come.notify_one();
        }
    }

    /// Does what is left, and ends.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.come.notify_all();
        if let Some(handle) = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take()
            && handle.thread().id() != std::thread::current().id()
        {
            // A panic was told when it was raised.
            let _ = handle.join();
        }
    }
}

impl Drop for Filing {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut queue = self.lock();
        loop {
            if queue.work.is_empty() {
                if queue.closed {
                    return;
                }
                queue.busy = false;
                queue = self.come.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let work = std::mem::take(&mut queue.work);
            drop(queue);
            work.into_iter().for_each(|work| work());
            queue = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_in_order_before_it_ends() {
        let filing = Filing::start().unwrap();
        let done = Arc::new(Mutex::new(vec![]));
        let note = |k: usize| {
            let done = done.clone();
            Box::new(move || done.lock().unwrap().push(k)) as Work
        };
        (0..1000).for_each(|k| filing.push(note(k)));
        filing.close();
        assert!(!filing.has_room());
        filing.push(note(1000));
        assert_eq!(*done.lock().unwrap(), (0..=1000).collect::<Vec<_>>());
    }
}
