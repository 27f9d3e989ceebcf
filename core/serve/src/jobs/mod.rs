//! The jobs of a program: accepted, run by a few workers, kept.

mod ask;
mod begin;
mod end;
mod filing;
mod index;
mod list;
mod owed;
mod queue;
mod watch;
mod work;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isard_core::error::{Error, Result};
use isard_core::stage::{Prepared, Reader};
use isard_core::value::Pool;

pub use list::{Filter, Info};

use crate::catalog::Catalog;
use crate::config::{Config, Files};
use crate::event::Event;
use crate::files::Folder;
use crate::state::State;
use crate::statistics::Statistics;
use crate::store::{Keep, Store};
use filing::Filing;
use index::Index;
use owed::{Debt, Owed};
use queue::Queue;
use work::Running;

/// Sees what happens; called on the threads of the server, so it must be quick.
type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The jobs of a program: for embedding, and what the server stands on.
///
/// Dropping it lets running jobs go and ends the workers; [`Jobs::close`] waits for what runs.
pub struct Jobs {
    shared: Arc<Shared>,
}

/// What all threads of the server share.
pub(crate) struct Shared {
    config: Config,
    catalog: Catalog,
    queue: Queue,
    index: Mutex<Index>,
    next: AtomicU64,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    counts: [AtomicU64; 6],
    last_success: AtomicI64,
    last_failure: AtomicI64,
    statistics: Statistics,
    observers: RwLock<Vec<Observer>>,
    observed: AtomicUsize,
    store: Option<Store>,
    folder: Option<Folder>,
    filing: Option<Filing>,
    owed: Arc<Owed>,
    /// The highest id of which there was a file at the start that is not of a job in the store.
    strange: u64,
    pool: Pool,
    threads: Arc<rayon::ThreadPool>,
    reader: Option<Arc<Reader>>,
    prepared: Arc<Prepared>,
    running: Mutex<Vec<Running>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    replaced: AtomicUsize,
    closing: AtomicBool,
}

/// Numbers about the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Jobs accepted since the start.
    pub accepted: u64,
    /// Jobs that succeeded since the start.
    pub success: u64,
    /// Jobs that failed since the start.
    pub failure: u64,
    /// Jobs that were aborted since the start.
    pub aborted: u64,
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs in memory, ended ones among them.
    pub in_memory: usize,
    /// Workers.
    pub workers: usize,
    /// Workers that took the place of one that an ended job still holds.
    pub replaced: usize,
    /// Seconds since the start.
    pub up: f64,
    /// Groups of changes written to disk.
    pub groups: u64,
    /// Groups that could not be written at once.
    pub store_errors: u64,
    /// Whether the disk takes no changes now.
    pub store_failing: bool,
    /// Whether no more jobs are accepted.
    pub closing: bool,
}

impl Jobs {
    /// Opens the jobs, brings back those that had not ended, and starts the workers.
    pub fn open(config: Config) -> Result<Jobs> {
        let catalog = Catalog::new(&config)?;
        let folder = config.folder.as_deref().map(Folder::open).transpose()?;
        let store = match &config.store {
            Some(path) => {
                let keep = Keep { jobs: config.keep_jobs, age: config.keep_for };
                Some(Store::open(path, config.window, config.sync, keep)?)
            }
            None => None,
        };
        let first = store.as_ref().map_or(Ok(0), Store::last)? + 1;
        let strange = folder.as_ref().map_or(0, |folder| folder.last_from(first));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(cores);
        let threads = threads.thread_name(|i| format!("isard job work {i}")).build().map_err(|e| {
            Error::new(isard_core::Blame::Resources, format!("cannot start {cores} threads: {e}"))
        })?;
        let shared = Arc::new(Shared {
            reader: config.reader.clone().map(|reader| confined(reader, &config)),
            catalog,
            queue: Queue::new(config.recipes_at_once),
            index: Mutex::new(Index::new(config.history, config.history_bytes)),
            next: AtomicU64::new(first),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            counts: Default::default(),
            last_success: AtomicI64::new(-1),
            last_failure: AtomicI64::new(-1),
            statistics: Statistics::default(),
            observers: RwLock::default(),
            observed: AtomicUsize::new(0),
            store,
            filing: (config.files != Files::None && folder.is_some()).then(Filing::start).transpose()?,
            owed: Arc::default(),
            strange,
            folder,
            pool: Pool::new(256 << 20),
            threads: Arc::new(threads),
            prepared: Arc::default(),
            running: Mutex::default(),
            workers: Mutex::default(),
            replaced: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            config,
        });
        if shared.config.files == Files::Both
            && let (Some(filing), Some(folder), Some(_)) = (&shared.filing, &shared.folder, &shared.store)
        {
            shared.owed.look_at(folder.thousands());
            filing.when_idle(Debt::of(&shared));
        }
        shared.recover()?;
        for _ in 0..shared.config.workers.max(1) {
            shared.start_worker()?;
        }
        shared.start_watch()?;
        Ok(Jobs { shared })
    }

    /// Calls for everything that happens from now on.
    pub fn observe(&self, observer: impl Fn(&Event) + Send + Sync + 'static) {
        let mut observers = self.shared.observers.write().unwrap_or_else(PoisonError::into_inner);
        observers.push(Arc::new(observer));
        self.shared.observed.store(observers.len(), Ordering::Release);
    }

    /// The plugins and recipes that jobs may name.
    pub fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// How the server was set up.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The folder of the jobs.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.shared.folder.as_ref().map(Folder::root)
    }

    /// The id of the last job that succeeded since the start, -1 before the first.
    pub fn last_success(&self) -> i64 {
        self.shared.last_success.load(Ordering::Acquire)
    }

    /// The id of the last job that failed or was aborted since the start, -1 before the first.
    pub fn last_failure(&self) -> i64 {
        self.shared.last_failure.load(Ordering::Acquire)
    }

    /// Whether jobs run one by one.
    pub fn serialize(&self) -> bool {
        self.shared.queue.serialize()
    }

    /// Runs jobs one by one from now on, or as many at once as there are workers.
    pub fn set_serialize(&self, serialize: bool) {
        self.shared.queue.set_serialize(serialize);
    }

    /// Collects statistics.
    pub fn collect_statistics(&self) {
        self.shared.collect_statistics();
    }

    /// The statistics collected last, as text; collected now if they never were.
    pub fn statistics(&self) -> String {
        if self.shared.statistics.last().is_empty() {
            self.shared.collect_statistics();
        }
        self.shared.statistics.last()
    }

    /// The statistics collected last; empty before the first.
    pub fn last_statistics(&self) -> String {
        self.shared.statistics.last()
    }

    /// Numbers about the server.
    pub fn numbers(&self) -> Numbers {
        let shared = &self.shared;
        let count = |state: State| shared.counts[state as usize].load(Ordering::Relaxed);
        let health = shared.store.as_ref().map(Store::health).unwrap_or_default();
        let (_, running) = shared.queue.len();
        Numbers {
            accepted: count(State::Uninitialized),
            success: count(State::Success),
            failure: count(State::Failure),
            aborted: count(State::Aborted),
            waiting: shared.waiting.load(Ordering::Relaxed),
            running,
            in_memory: lock(&shared.index).len(),
            workers: shared.config.workers.max(1),
            replaced: shared.replaced.load(Ordering::Relaxed),
            up: shared.statistics.up(),
            groups: health.groups,
            store_errors: health.errors,
            store_failing: health.failing,
            closing: shared.closing.load(Ordering::Relaxed),
        }
    }

    /// Accepts no more jobs, waits a while for those that run, asks the rest to end.
    ///
    /// With a store, what waits stays for the next start, and what did not end in time is marked as interrupted then.
    pub fn close(&self, wait: Duration) {
        let until = Instant::now() + wait;
        self.shared.closing.store(true, Ordering::Release);
        self.shared.queue.close();
        let patient = |until: Instant| {
            while !lock(&self.shared.running).is_empty() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        patient(until);
        for running in lock(&self.shared.running).iter() {
            running.job.abort.ask();
        }
        patient(Instant::now() + Duration::from_secs(2));
        // Ends that wait for their files are kept before the store is closed.
        if let Some(filing) = &self.shared.filing {
            filing.close(until);
        }
        if let Some(store) = &self.shared.store {
            store.close();
        }
        let workers = std::mem::take(&mut *lock(&self.shared.workers));
        for worker in workers.into_iter().filter(JoinHandle::is_finished) {
            // A worker's panic was told when it was raised.
            let _ = worker.join();
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        if !self.shared.closing.load(Ordering::Acquire) {
            self.close(Duration::ZERO);
        }
    }
}

impl Shared {
    /// Tells whoever listens.
    fn tell(&self, event: Event) {
        if self.observed.load(Ordering::Acquire) == 0 {
            return;
        }
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        observers.iter().for_each(|observer| observer(&event));
    }

    fn collect_statistics(&self) {
        let jobs = lock(&self.index).all();
        let mut lines: Vec<_> =
            jobs.iter().map(|job| (job.id, job.plugin.to_string(), job.state(), job.runtime())).collect();
        lines.sort_unstable_by_key(|line| line.0);
        self.statistics.collect(&lines, self.counts[0].load(Ordering::Relaxed));
        self.tell(Event::Statistics);
    }
}

/// A reader that reads only what jobs may read.
fn confined(reader: Arc<Reader>, config: &Config) -> Arc<Reader> {
    let confine = config.confine.clone();
    Arc::new(move |run, path| reader(run, &confine.path(path)?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
