//! Files that fail at one operation, or from it on.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::files::{Entry, Files, Op};

/// How the operations of [`FailingFiles`] fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// None does.
    Never,
    /// Changing operation `k` does, once; operations are counted from 0.
    Once(u64, ErrorKind),
    /// Changing operation `k` happens half, and all after it fail: the process was killed.
    Stop(u64),
    /// The disk is full after so many bytes; what fits is written.
    Budget(u64),
}

type Watch = Box<dyn Fn(u64, Op, &Path) + Send + Sync>;

/// Files that count the operations that change something, and fail as told.
pub struct FailingFiles {
    below: Arc<dyn Files>,
    state: Mutex<State>,
    watch: Option<Watch>,
}

struct State {
    fail: Fail,
    calls: Vec<(Op, PathBuf)>,
    written: u64,
}

/// What is to happen with one operation.
enum Turn {
    Whole,
    /// Only the first bytes, then an error.
    Part(usize, ErrorKind),
    Refused(ErrorKind),
}

impl FailingFiles {
    /// Files that pass operations on to those below.
    pub fn new(below: Arc<dyn Files>, fail: Fail) -> FailingFiles {
        let state = State { fail, calls: vec![], written: 0 };
        FailingFiles { below, state: Mutex::new(state), watch: None }
    }

    /// Calls `watch` before each operation that changes something: a test may end its process there.
    #[must_use]
    pub fn watched(mut self, watch: impl Fn(u64, Op, &Path) + Send + Sync + 'static) -> FailingFiles {
        self.watch = Some(Box::new(watch));
        self
    }

    /// Changes how operations fail from here on.
    pub fn set(&self, fail: Fail) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fail = fail;
    }

    /// The operations so far that changed something, or were to.
    pub fn calls(&self) -> Vec<(Op, PathBuf)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).calls.clone()
    }

    fn turn(&self, op: Op, path: &Path, bytes: usize) -> Turn {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.calls.len() as u64;
        state.calls.push((op, path.to_owned()));
        let turn = match state.fail {
            Fail::Once(k, kind) if k == now => Turn::Refused(kind),
            Fail::Stop(k) if k == now && bytes > 0 => Turn::Part(bytes / 2, ErrorKind::Other),
            Fail::Stop(k) if k <= now => Turn::Refused(ErrorKind::Other),
            Fail::Budget(room) if bytes as u64 > room.saturating_sub(state.written) => {
                Turn::Part((room - state.written.min(room)) as usize, ErrorKind::StorageFull)
            }
            _ => Turn::Whole,
        };
        state.written += match turn {
            Turn::Whole => bytes as u64,
            Turn::Part(n, _) => n as u64,
            Turn::Refused(_) => 0,
        };
        drop(state);
        if let Some(watch) = &self.watch {
            watch(now, op, path);
        }
        turn
    }

    fn plain(&self, op: Op, path: &Path, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.turn(op, path, 0) {
            Turn::Whole => run(),
            Turn::Part(_, kind) | Turn::Refused(kind) => Err(kind.into()),
        }
    }

    fn bytes(
        &self,
        op: Op,
        path: &Path,
        bytes: &[u8],
        run: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.turn(op, path, bytes.len()) {
            Turn::Whole => run(bytes),
            Turn::Part(n, kind) => run(&bytes[..n]).and(Err(kind.into())),
            Turn::Refused(kind) => Err(kind.into()),
        }
    }

    /// A killed process reads nothing either.
    fn alive(&self) -> io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.fail {
            Fail::Stop(k) if state.calls.len() as u64 > k => Err(ErrorKind::Other.into()),
            _ => Ok(()),
        }
    }
}

impl Files for FailingFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::CreateDir, path, || self.below.create_dir(path))
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.bytes(Op::WriteNew, path, bytes, |bytes| self.below.write_new(path, bytes))
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.bytes(Op::Append, path, bytes, |bytes| self.below.append(path, bytes))
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::Sync, path, || self.below.sync(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::SyncDir, path, || self.below.sync_dir(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain(Op::Rename, to, || self.below.rename(from, to))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain(Op::Link, to, || self.below.link(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::Remove, path, || self.below.remove(path))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::RemoveDir, path, || self.below.remove_dir(path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.alive()?;
        self.below.open(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.alive()?;
        self.below.list(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.alive()?;
        self.below.exists(path)
    }
    fn guard(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        self.alive()?;
        self.below.guard(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.below.free_bytes(path)
    }
}
