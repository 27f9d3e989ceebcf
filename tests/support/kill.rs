//! Files that end their own process at a chosen operation, as a kill -9 at the worst moment does.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use isard_core::store::{Entry, Files, Op, RealFiles};

/// Kills this process with SIGKILL; nothing runs after it.
pub fn kill_self() -> ! {
    let _ = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The moment at which a process kills itself: an operation on a file whose path contains a word, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The operation, as `{:?}` writes it.
    pub op: String,
    /// What the path contains; empty is any path.
    pub word: String,
    /// Which of them.
    pub count: u64,
}

impl Moment {
    /// The moment of its text.
    pub fn parse(text: &str) -> Option<Moment> {
        let mut words = text.split(',');
        let (op, word, count) = (words.next()?, words.next()?, words.next()?);
        Some(Moment { op: op.into(), word: word.into(), count: count.parse().ok()? })
    }

    /// As text for the environment.
    pub fn text(&self) -> String {
        format!("{},{},{}", self.op, self.word, self.count)
    }
}

/// The files of this machine, counted; at its moment an operation happens half and the process is gone.
#[derive(Default)]
pub struct KillFiles {
    moment: Option<Moment>,
    seen: Mutex<u64>,
    counts: Mutex<BTreeMap<(String, String), u64>>,
}

impl KillFiles {
    /// Files that end the process at a moment, or only count.
    pub fn new(moment: Option<Moment>) -> KillFiles {
        KillFiles { moment, ..KillFiles::default() }
    }

    /// How often each operation was done, by what the path is.
    pub fn counts(&self) -> BTreeMap<(String, String), u64> {
        self.counts.lock().unwrap().clone()
    }

    fn hit(&self, op: Op, path: &Path) -> bool {
        let (op, text) = (format!("{op:?}"), path.to_string_lossy().into_owned());
        for word in WORDS.iter().filter(|w| text.contains(**w)) {
            *self.counts.lock().unwrap().entry((op.clone(), (*word).to_owned())).or_default() += 1;
        }
        match &self.moment {
            Some(m) if m.op == op && text.contains(&m.word) => {
                let mut seen = self.seen.lock().unwrap();
                *seen += 1;
                *seen - 1 == m.count
            }
            _ => false,
        }
    }

    fn plain(&self, op: Op, path: &Path, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.hit(op, path) {
            kill_self();
        }
        run()
    }
}

/// What paths contain, to draw moments from: parts, masters, kept streams, checkpoints, the record, the end.
pub const WORDS: [&str; 9] =
    [".parts/", ".txt", "streams", "checkpoint-", "run.json", "manifest", "before", "difspots", "journal"];

impl Files for KillFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::CreateDir, path, || RealFiles.create_dir(path))
    }
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.hit(Op::WriteNew, path) {
            let _ = RealFiles.write_new(path, &bytes[..bytes.len() / 2]);
            kill_self();
        }
        RealFiles.write_new(path, bytes)
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.plain(Op::Append, path, || RealFiles.append(path, bytes))
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::Sync, path, || RealFiles.sync(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::SyncDir, path, || RealFiles.sync_dir(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain(Op::Rename, to, || RealFiles.rename(from, to))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain(Op::Link, to, || RealFiles.link(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::Remove, path, || RealFiles.remove(path))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.plain(Op::RemoveDir, path, || RealFiles.remove_dir(path))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        RealFiles.open(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        RealFiles.list(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFiles.exists(path)
    }
    fn guard(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        RealFiles.guard(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealFiles.free_bytes(path)
    }
}
