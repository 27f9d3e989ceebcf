//! The thread that writes: group after group, each in one transaction.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use isard_core::error::{Error, Result};
use rusqlite::{Connection, params};

use crate::job::Job;
use crate::store::Done;
use crate::store::prune::{Keep, prune};

/// Changes in one transaction at most.
const GROUP: usize = 8192;
/// Changes that wait before whoever brings more has to wait.
const LIMIT: usize = 65_536;

/// Jobs that are forgotten at once while nothing else is to be written.
const FORGET: usize = 2000;
/// How often old jobs are looked for while nothing happens.
const LOOK: Duration = Duration::from_secs(60);

/// One change.
pub(super) enum Change {
    Accept { job: Arc<Job>, input: String, then: Box<dyn FnOnce(Result<()>) + Send> },
    Began(u64),
    Done { done: Done, then: Box<dyn FnOnce() + Send> },
}

/// How the writing goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Transactions so far.
    pub groups: u64,
    /// Transactions that failed and were tried again.
    pub errors: u64,
    /// Whether the last one failed.
    pub failing: bool,
}

#[derive(Default)]
struct Waiting {
    changes: Vec<Change>,
    closed: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    come: Condvar,
    room: Condvar,
    groups: AtomicU64,
    errors: AtomicU64,
    failing: AtomicU64,
    forgotten: AtomicU64,
    thread: Mutex<Option<std::thread::ThreadId>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(connection: Connection, window: Duration, keep: Keep) -> Writer {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            come: Condvar::new(),
            room: Condvar::new(),
            groups: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            thread: Mutex::default(),
        });
        let handle = std::thread::Builder::new().name("isard jobs on disk".into()).spawn({
            let shared = shared.clone();
            move || shared.run(connection, window, &keep)
        });
        let handle = handle.expect("a thread can be started when the server starts");
        Writer { shared, handle: Mutex::new(Some(handle)) }
    }

    pub fn push(&self, change: Change) {
        let mut waiting = self.shared.lock();
        // The writer itself never waits for the writer: a job that ends may end those that come after it.
        // What comes from the network has its bound in the queue, and its threads must not wait.
        let free = matches!(change, Change::Accept { .. });
        let own = free || lock(&self.shared.thread).is_some_and(|id| id == std::thread::current().id());
        while waiting.changes.len() >= LIMIT && !own && !waiting.closed {
            waiting = self.shared.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.changes.push(change);
        let first = waiting.changes.len() == 1;
        drop(waiting);
        if first {
            self.shared.come.notify_one();
        }
    }

    pub fn forgotten(&self) -> u64 {
        self.shared.forgotten.load(Ordering::Acquire)
    }

    pub fn health(&self) -> Health {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Health {
            groups: get(&self.shared.groups),
            errors: get(&self.shared.errors),
            failing: get(&self.shared.failing) > 0,
        }
    }

    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.come.notify_all();
        self.shared.room.notify_all();
        if let Some(handle) = lock(&self.handle).take()
            && handle.thread().id() != std::thread::current().id()
        {
            // A panic of the writer has been told already.
            let _ = handle.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    fn run(&self, mut connection: Connection, window: Duration, keep: &Keep) {
        *lock(&self.thread) = Some(std::thread::current().id());
        let mut more = keep.cuts();
        loop {
            let mut waiting = self.lock();
            if waiting.changes.is_empty() && !waiting.closed {
                let pause = if more { Duration::from_millis(10) } else { LOOK };
                waiting = self.come.wait_timeout(waiting, pause).unwrap_or_else(PoisonError::into_inner).0;
            }
            if waiting.changes.is_empty() {
                if waiting.closed {
                    return;
                }
                drop(waiting);
                more = self.forget(&mut connection, keep, FORGET);
                continue;
            }
            if waiting.changes.len() < GROUP && !waiting.closed {
                // A group costs the same whether it holds one change or a thousand.
                drop(waiting);
                std::thread::sleep(window);
                waiting = self.lock();
            }
            let group = match waiting.changes.len() <= GROUP {
                true => std::mem::take(&mut waiting.changes),
                false => waiting.changes.drain(..GROUP).collect(),
            };
            let closed = waiting.closed;
            drop(waiting);
            self.room.notify_all();
            // Twice as fast as jobs come, so that a backlog melts.
            let most = 2 * group.iter().filter(|c| matches!(c, Change::Accept { .. })).count();
            self.settle(&mut connection, group, closed);
            if most > 0 {
                self.forget(&mut connection, keep, most);
            }
            // What ended just now may be old already: it is looked at when nothing else is to be done.
            more = keep.cuts();
        }
    }

    /// Forgets some old jobs; says whether there may be more.
    fn forget(&self, connection: &mut Connection, keep: &Keep, most: usize) -> bool {
        if !keep.cuts() {
            return false;
        }
        match prune(connection, keep, most) {
            Ok((0, _)) => false,
            Ok((n, last)) => {
                self.forgotten.fetch_max(last, Ordering::AcqRel);
                n == most
            }
            Err(error) => {
                tracing::warn!(%error, "Old jobs cannot be forgotten.");
                false
            }
        }
    }

    /// Writes a group until it is on disk, then tells everybody.
    fn settle(&self, connection: &mut Connection, mut group: Vec<Change>, closed: bool) {
        let mut tries = 0;
        while let Err(error) = write(connection, &group) {
            self.errors.fetch_add(1, Ordering::Relaxed);
            self.failing.store(1, Ordering::Relaxed);
            tracing::error!(%error, "Jobs cannot be written to disk.");
            // What is not on disk was not accepted; what has ended waits until the disk takes it.
            group = group.into_iter().filter_map(|change| refuse(change, &error)).collect();
            tries += 1;
            if group.is_empty() || (closed && tries > 3) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.failing.store(0, Ordering::Relaxed);
        for change in group {
            match change {
                Change::Accept { then, .. } => then(Ok(())),
                Change::Began(_) => (),
                Change::Done { then, .. } => then(),
            }
        }
    }
}

fn refuse(change: Change, error: &rusqlite::Error) -> Option<Change> {
    match change {
        Change::Accept { then, .. } => {
            then(Err(Error::new(isard_core::Blame::Io, format!("the job cannot be kept: {error}"))
                .help("look at the disk of the server's folder")));
            None
        }
        other => Some(other),
    }
}

fn write(connection: &mut Connection, group: &[Change]) -> rusqlite::Result<()> {
    let over: HashSet<u64> = group
        .iter()
        .filter_map(|c| if let Change::Done { done, .. } = c { Some(done.id) } else { None })
        .collect();
    let transaction = connection.transaction()?;
    {
        let mut accept = transaction.prepare_cached(
            "INSERT INTO job (id, plugin, priority, after, timeout, resume, created, input) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let mut began = transaction.prepare_cached("INSERT OR IGNORE INTO began (id) VALUES (?1)")?;
        let mut ended = transaction.prepare_cached(
            "INSERT INTO done (id, state, runtime, interrupted, output) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for change in group {
            match change {
                Change::Accept { job, input, .. } => {
                    let after = job.after.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
                    accept.execute(params![
                        job.id as i64,
                        &*job.plugin,
                        job.priority,
                        (!after.is_empty()).then_some(after),
                        job.timeout.map(|t| t.as_secs_f64()),
                        job.resume.map(|id| id as i64),
                        job.created,
                        input,
                    ])?;
                }
                // That it began is of no interest once it has ended.
                Change::Began(id) if over.contains(id) => (),
                Change::Began(id) => drop(began.execute([*id as i64])?),
                Change::Done { done, .. } => {
                    ended.execute(params![
                        done.id as i64,
                        done.state as i64,
                        done.runtime,
                        done.interrupted,
                        done.output,
                    ])?;
                }
            }
        }
    }
    transaction.commit()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
