//! One thread that writes the files of jobs, job after job.
//!
//! Workers that make files in one folder wait for each other in the kernel, and spend there what the files cost; one thread
//! never waits. What it is given while it works it takes all at once, so that under load nobody has to wake it. What can
//! wait is done when nothing else is to be done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isard_core::error::{Blame, Error, Result};

/// Jobs whose files wait at most; whoever brings more writes its own.
const WAITING: usize = 4096;

type Work = Box<dyn FnOnce() + Send>;

/// What can wait until there is time for it.
pub(super) trait Rest: Send + Sync {
    /// How long it is still to wait; none where nothing is left.
    fn pause(&self) -> Option<Duration>;
    /// Does some of it, until it is told to stop.
    fn work(&self, stop: &dyn Fn() -> bool);
}

#[derive(Default)]
struct Queue {
    work: Vec<Work>,
    busy: bool,
    /// Until when what can wait is still done.
    closed: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    come: Condvar,
    /// Work that was brought and is not done.
    waiting: AtomicUsize,
    rest: OnceLock<Box<dyn Rest>>,
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

    /// Names what is done when nothing else is to be done.
    pub fn when_idle(&self, rest: impl Rest + 'static) {
        // It is named once, where the server starts.
        let _ = self.shared.rest.set(Box::new(rest));
        self.wake();
    }

    /// Has it look for what can wait.
    pub fn wake(&self) {
        self.shared.come.notify_one();
    }

    /// Whether more may be brought.
    pub fn has_room(&self) -> bool {
        let queue = self.shared.lock();
        queue.work.len() < WAITING && queue.closed.is_none()
    }

    /// How much was brought that is not done.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Brings work; done on this thread once it was closed.
    pub fn push(&self, work: Work) {
        let mut queue = self.shared.lock();
        if queue.closed.is_some() {
            drop(queue);
            return work();
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        queue.work.push(work);
        let asleep = !queue.busy && queue.work.len() == 1;
        drop(queue);
        if asleep {
            self.shared.come.notify_one();
        }
    }

    /// Does what is left, and of what can wait as much as there is time for, and ends.
    pub fn close(&self, until: Instant) {
        self.shared.lock().closed = Some(until);
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
        self.close(Instant::now());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self, stop: &dyn Fn() -> bool) {
        if let Some(rest) = self.rest.get() {
            rest.work(stop);
        }
    }

    fn run(&self) {
        let mut queue = self.lock();
        loop {
            if queue.work.is_empty() {
                if let Some(until) = queue.closed {
                    drop(queue);
                    return self.rest(&|| Instant::now() >= until);
                }
                queue.busy = false;
                queue = match self.rest.get().and_then(|rest| rest.pause()) {
                    None => self.come.wait(queue).unwrap_or_else(PoisonError::into_inner),
                    Some(Duration::ZERO) => {
                        drop(queue);
                        self.rest(&|| self.waiting.load(Ordering::Relaxed) > 0);
                        self.lock()
                    }
                    Some(pause) => {
                        self.come.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
                continue;
            }
            queue.busy = true;
            let work = std::mem::take(&mut queue.work);
            drop(queue);
            for work in work {
                work();
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
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
        filing.close(Instant::now());
        assert!(!filing.has_room());
        filing.push(note(1000));
        assert_eq!(*done.lock().unwrap(), (0..=1000).collect::<Vec<_>>());
        assert_eq!(filing.waiting(), 0);
    }

    /// A count that is worked off, one at a time.
    struct Count(Arc<AtomicUsize>);

    impl Rest for Count {
        fn pause(&self) -> Option<Duration> {
            (self.0.load(Ordering::Relaxed) > 0).then_some(Duration::ZERO)
        }

        fn work(&self, stop: &dyn Fn() -> bool) {
            while !stop() && self.0.load(Ordering::Relaxed) > 0 {
                self.0.fetch_sub(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn what_can_wait_lets_other_work_pass_and_is_done_in_the_end() {
        let (filing, left) = (Filing::start().unwrap(), Arc::new(AtomicUsize::new(100_000)));
        filing.when_idle(Count(left.clone()));
        let (say, said) = std::sync::mpsc::channel();
        filing.push(Box::new(move || say.send(()).unwrap()));
        said.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(left.load(Ordering::Relaxed) > 0);
        left.store(3, Ordering::Relaxed);
        filing.close(Instant::now() + Duration::from_secs(20));
        assert_eq!(left.load(Ordering::Relaxed), 0);
        // Without time for it, it is left.
        let (filing, left) = (Filing::start().unwrap(), Arc::new(AtomicUsize::new(100_000)));
        filing.when_idle(Count(left.clone()));
        filing.close(Instant::now());
        assert!(left.load(Ordering::Relaxed) > 0);
    }
}
