//! The jobs on disk: what was accepted, what has begun, how it ended.
//!
//! Three tables that grow at one end and are cut at the other: nothing is rewritten while jobs come and go. One thread
//! writes, many changes to a transaction; a job is accepted, and its end is seen, when the transaction is on disk.

mod prune;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isard_core::error::{Error, Result};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::job::Job;
use crate::state::State;
pub(crate) use prune::Keep;
pub(crate) use writer::Health;
use writer::{Change, Writer};

/// The version of the tables.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY, plugin TEXT NOT NULL, priority INTEGER NOT NULL, after TEXT, timeout REAL,
    resume INTEGER, created REAL NOT NULL, input TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS began (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS done (
    id INTEGER PRIMARY KEY, state INTEGER NOT NULL, runtime REAL NOT NULL, interrupted INTEGER NOT NULL,
    output TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS done_badly ON done (state, id) WHERE state > 3;
";

/// A job as the disk knows it.
pub(crate) struct Kept {
    pub id: u64,
    pub plugin: String,
    pub priority: i32,
    pub after: Vec<u64>,
    pub timeout: Option<f64>,
    pub resume: Option<u64>,
    pub created: f64,
    pub began: bool,
    /// None while it has not ended.
    pub state: Option<State>,
    pub runtime: f64,
    pub interrupted: bool,
}

const COLUMNS: &str = "job.id, plugin, priority, after, timeout, resume, created, began.id IS NOT NULL, \
    state, runtime, interrupted \
    FROM job LEFT JOIN began USING (id) LEFT JOIN done USING (id)";

impl Kept {
    fn of(row: &Row) -> rusqlite::Result<Kept> {
        let after: Option<String> = row.get(3)?;
        let after = after.iter().flat_map(|text| text.split(',')).filter_map(|id| id.parse().ok()).collect();
        Ok(Kept {
            id: row.get::<_, i64>(0)? as u64,
            plugin: row.get(1)?,
            priority: row.get(2)?,
            after,
            timeout: row.get(4)?,
            resume: row.get::<_, Option<i64>>(5)?.map(|id| id as u64),
            created: row.get(6)?,
            began: row.get(7)?,
            state: row.get::<_, Option<i64>>(8)?.and_then(State::numbered),
            runtime: row.get::<_, Option<f64>>(9)?.unwrap_or_default(),
            interrupted: row.get::<_, Option<bool>>(10)?.unwrap_or_default(),
        })
    }
}

/// The database of the jobs.
pub(crate) struct Store {
    path: PathBuf,
    reader: Mutex<Connection>,
    writer: Writer,
    /// Held until the store is closed: a second server is refused.
    lock: std::fs::File,
}

impl Store {
    /// Opens or makes the database.
    pub fn open(path: &Path, window: Duration, sync: bool, keep: Keep) -> Result<Store> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("cannot make the folder", folder, &e))?;
        }
        let lock = locked(path)?;
        let writing = Connection::open(path).map_err(|e| fault(path, &e))?;
        let prepared = || {
            writing.pragma_update(None, "journal_mode", "WAL")?;
            writing.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?;
            writing.pragma_update(None, "wal_autocheckpoint", 4000)?;
            writing.pragma_update(None, "cache_size", -8192)?;
            writing.execute_batch(TABLES)?;
            writing.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        };
        let version = prepared().map_err(|e| fault(path, &e))?;
        match version {
            0 => writing.pragma_update(None, "user_version", VERSION).map_err(|e| fault(path, &e))?,
            VERSION => (),
            other => {
                return Err(Error::data(format!(
                    "the jobs in {} are of version {other}, wanted {VERSION}",
                    path.display()
                ))
                .help("serve them with the isard that wrote them, or name another folder"));
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(path, flags).map_err(|e| fault(path, &e))?;
        let writer = Writer::start(writing, window, keep);
        Ok(Store { path: path.to_owned(), reader: Mutex::new(reader), writer, lock })
    }

    /// Keeps a job; `then` is told when it is on disk.
    pub fn accept(&self, job: &Arc<Job>, input: String, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.writer.push(Change::Accept { job: job.clone(), input, then: Box::new(then) });
    }

    /// Notes that a job has begun.
    pub fn began(&self, id: u64) {
        self.writer.push(Change::Began(id));
    }

    /// Keeps how a job ended; `then` is told when it is on disk.
    pub fn done(&self, done: Done, then: impl FnOnce() + Send + 'static) {
        self.writer.push(Change::Done { done, then: Box::new(then) });
    }

    /// The highest id so far.
    pub fn last(&self) -> Result<u64> {
        self.ask(|c| c.query_row("SELECT coalesce(max(id), 0) FROM job", [], |row| row.get::<_, i64>(0)))
            .map(|id| id as u64)
    }

    /// The jobs that have not ended, with their inputs, oldest first.
    pub fn open_jobs(&self) -> Result<Vec<(Kept, String)>> {
        let text = format!("SELECT {COLUMNS} WHERE done.id IS NULL ORDER BY job.id");
        let kept =
            self.ask(|c| c.prepare(&text)?.query_map([], Kept::of)?.collect::<rusqlite::Result<Vec<_>>>())?;
        kept.into_iter()
            .map(|kept| {
                let input = self.input(kept.id)?;
                Ok((kept, input.unwrap_or_default()))
            })
            .collect()
    }

    /// A job.
    pub fn get(&self, id: u64) -> Result<Option<Kept>> {
        let text = format!("SELECT {COLUMNS} WHERE job.id = ?1");
        self.ask(|c| c.prepare_cached(&text)?.query_row([id as i64], Kept::of).optional())
    }

    /// The input of a job.
    pub fn input(&self, id: u64) -> Result<Option<String>> {
        let text = "SELECT input FROM job WHERE id = ?1";
        self.ask(|c| c.prepare_cached(text)?.query_row([id as i64], |row| row.get(0)).optional())
    }

    /// The output of a job that has ended.
    pub fn output(&self, id: u64) -> Result<Option<String>> {
        let text = "SELECT output FROM done WHERE id = ?1";
        self.ask(|c| c.prepare_cached(text)?.query_row([id as i64], |row| row.get(0)).optional())
    }

    /// Ended jobs below an id, newest first.
    pub fn list(&self, state: Option<State>, interrupted: bool, below: u64, n: usize) -> Result<Vec<Kept>> {
        // The few that ended badly have an index; the many that did not are found by walking back.
        let state = match state {
            None => String::new(),
            Some(State::Success) => "AND state = 3".into(),
            Some(state) => format!("AND state > 3 AND state = {}", state as i64),
        };
        let mark = if interrupted { "AND state > 3 AND interrupted" } else { "" };
        let text = format!(
            "SELECT {COLUMNS} WHERE done.id IS NOT NULL {state} {mark} AND job.id < ?1 ORDER BY job.id DESC LIMIT ?2"
        );
        let bounds = params![i64::try_from(below).unwrap_or(i64::MAX), n as i64];
        self.ask(|c| c.prepare_cached(&text)?.query_map(bounds, Kept::of)?.collect())
    }

    /// The newest job that was forgotten; all older ones that had ended were, too.
    pub fn forgotten(&self) -> u64 {
        self.writer.forgotten()
    }

    /// How the writing goes.
    pub fn health(&self) -> Health {
        self.writer.health()
    }

    /// Writes what is left, and ends.
    pub fn close(&self) {
        self.writer.close();
        // The file goes with the last thread that holds the store; the next server need not wait for that.
        let _ = self.lock.unlock();
    }

    fn ask<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let reader: MutexGuard<'_, Connection> = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        work(&reader).map_err(|e| fault(&self.path, &e))
    }
}

/// How a job ended, as it is written.
pub(crate) struct Done {
    pub id: u64,
    pub state: State,
    pub runtime: f64,
    pub interrupted: bool,
    pub output: String,
}

fn fault(path: &Path, error: &rusqlite::Error) -> Error {
    let blame = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => isard_core::Blame::Resources,
        _ => isard_core::Blame::Io,
    };
    Error::new(blame, format!("the jobs in {}: {error}", path.display()))
}

/// Locks the database against a second server.
fn locked(path: &Path) -> Result<std::fs::File> {
    let name = path.with_extension("lock");
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|e| Error::io("cannot open", &name, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::new(
            isard_core::Blame::Resources,
            format!("another server uses the jobs in {}", path.display()),
        )
        .help("end it, or name another folder with `--dir`")),
    }
}
