//! The lock of a run's folder: who writes there, and whether they still live.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::files::{Files, fault};
use crate::store::{INNER, utc_now};

/// Who holds the lock of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The machine.
    pub host: String,
    /// The machine's boot; process numbers mean nothing after the next one.
    pub boot: String,
    /// The process.
    pub pid: u32,
    /// When the process started, in clock ticks since boot: process numbers are used again.
    pub process_start: u64,
    /// When the run took the folder.
    pub since: String,
    /// Keeps the runs of one process apart.
    pub token: u64,
}

/// How long a lock that cannot be read may take to become whole.
const TORN: Duration = Duration::from_millis(200);

/// The tokens of the locks this process holds.
static HELD: Mutex<Option<HashSet<u64>>> = Mutex::new(None);

fn held<T>(use_it: impl FnOnce(&mut HashSet<u64>) -> T) -> T {
    use_it(HELD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

impl Holder {
    /// This process, with a new token.
    pub fn this() -> Holder {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let pid = std::process::id();
        Holder {
            host: line("/proc/sys/kernel/hostname"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            pid,
            process_start: process_start(pid).unwrap_or(0),
            since: utc_now(),
            token: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Why nobody can be writing any more; none when somebody is, or may be.
    pub fn dead(&self) -> Option<String> {
        self.dead_for(&Holder::this())
    }

    fn dead_for(&self, here: &Holder) -> Option<String> {
        let pid = self.pid;
        // A system without `/proc` shows nobody's end, and a lock must not be taken from a run that lives.
        if self.host != here.host || here.process_start == 0 {
            return None;
        }
        if self.boot != here.boot {
            return Some("the machine was started again since".into());
        }
        match process_start(pid) {
            None => Some(format!("process {pid} has ended")),
            Some(start) if start != self.process_start => {
                Some(format!("process {pid} has ended and its number was given to another"))
            }
            Some(_) if pid == here.pid && !held(|h| h.contains(&self.token)) => {
                Some("an earlier run of this process left it".into())
            }
            Some(_) => None,
        }
    }

    fn refusal(&self, root: &Path) -> Error {
        let Holder { host, pid, since, .. } = self;
        let error =
            Error::recipe(format!("{} is in use by process {pid} on {host} since {since}", root.display()));
        if *host == line("/proc/sys/kernel/hostname") {
            return error.help("wait for that run to end, or choose another folder with `--out`");
        }
        let file = lock_path(root);
        error.help(format!(
            "whether it still runs cannot be seen from this machine; when it does not, remove {}",
            file.display()
        ))
    }
}

/// Whether a file of the inner folder belongs to the lock.
pub(crate) fn is_part_of(name: &str) -> bool {
    name.starts_with("lock")
}

fn lock_path(root: &Path) -> std::path::PathBuf {
    root.join(INNER).join("lock")
}

fn guard_path(root: &Path) -> std::path::PathBuf {
    lock_path(root).with_file_name("lock.guard")
}

/// A lock that is held until it is dropped.
pub(crate) struct Lock {
    holder: Holder,
}

impl Lock {
    /// Takes the lock of a folder whose inner folder exists; a dead holder's lock is taken over.
    ///
    /// Gives the dead holder with the reason, if there was one.
    pub fn take(files: &dyn Files, root: &Path) -> Result<(Lock, Option<(Holder, String)>)> {
        let guard = guard_path(root);
        // Runs of one machine look and take in turn; only those may take over a lock from each other.
        let turn = files.guard(&guard).map_err(|e| fault(files, "lock", &guard, &e))?;
        let lock = Lock::named();
        let taken = lock.put(files, root).and_then(|before| lock.settle(files, root).map(|()| before));
        drop(turn);
        let before = taken.inspect_err(|_| lock.release(files, root))?;
        Ok((lock, before))
    }

    /// A lock that counts as held before its file is there: nobody may take it for a dead one.
    fn named() -> Lock {
        let holder = Holder::this();
        held(|h| h.insert(holder.token));
        Lock { holder }
    }

    /// Writes the lock's file, unless somebody who may live holds it; gives the dead holder.
    fn put(&self, files: &dyn Files, root: &Path) -> Result<Option<(Holder, String)>> {
        let path = lock_path(root);
        let text = serde_json::to_vec_pretty(&self.holder).expect("a lock is plain data");
        let io = |e: io::Error| fault(files, "lock", &path, &e);
        let found = loop {
            match files.write_new(&path, &text) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|()| None).map_err(io),
            }
            match files.read(&path) {
                // It was given free in between.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => break other.map_err(io)?,
            }
        };
        let before = serde_json::from_slice::<Holder>(&found).ok();
        let reason = match &before {
            Some(before) => before.dead().ok_or_else(|| before.refusal(root))?,
            None => {
                // A power cut leaves a torn lock; a run on another machine may be writing it just now.
                std::thread::sleep(TORN);
                if files.read(&path).map_err(io)? != found {
                    return Err(Error::recipe(format!("another run took {} just now", root.display())));
                }
                "it was cut off while it was written".to_owned()
            }
        };
        // By a rename, so that a kill leaves the dead lock or this one.
        let next = path.with_file_name("lock.next");
        if files.exists(&next).map_err(io)? {
            files.remove(&next).map_err(io)?;
        }
        files.write_new(&next, &text).and_then(|()| files.rename(&next, &path)).map_err(io)?;
        Ok(before.map(|before| (before, reason)))
    }

    /// Makes the lock lasting and sees that it is this one.
    fn settle(&self, files: &dyn Files, root: &Path) -> Result<()> {
        let path = lock_path(root);
        let io = |e: io::Error| fault(files, "lock", &path, &e);
        files.sync(&path).map_err(io)?;
        files.sync_dir(&root.join(INNER)).map_err(io)?;
        let found = files.read(&path).map_err(io)?;
        match serde_json::from_slice::<Holder>(&found) {
            Ok(found) if found == self.holder => Ok(()),
            Ok(found) => Err(found.refusal(root)),
            Err(e) => Err(Error::internal(format!("the lock of {} is not readable: {e}", root.display()))),
        }
    }

    /// Gives the folder free.
    pub fn release(&self, files: &dyn Files, root: &Path) {
        let path = lock_path(root);
        // Without the turn the next run could take the lock between the look and the removal.
        let _turn = files.guard(&guard_path(root));
        // Only the own lock: a human may have removed it and another run taken the folder.
        let found = files.read(&path).ok().and_then(|b| serde_json::from_slice::<Holder>(&b).ok());
        if found.is_some_and(|found| found == self.holder) {
            // A lock that stays is found to be dead by the next run.
            let _ = files.remove(&path);
        }
        held(|h| h.remove(&self.holder.token));
    }
}

/// Who holds the lock of a folder, if anybody seems to live.
pub(crate) fn holder(files: &dyn Files, root: &Path) -> Option<Holder> {
    let found = files.read(&lock_path(root)).ok()?;
    serde_json::from_slice::<Holder>(&found).ok().filter(|h| h.dead().is_none())
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may hold spaces and brackets. A zombie writes no more.
fn process_start(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_process_a_reused_number_and_another_boot_are_told_apart() {
        let this = Holder::this();
        assert!(this.process_start > 0);
        let dead = |change: fn(&mut Holder)| {
            let mut holder = this.clone();
            change(&mut holder);
            holder.dead()
        };
        // The kernel gives no number above 2^22.
        assert!(dead(|h| h.pid = 1 << 23).unwrap().contains("has ended"));
        assert!(dead(|h| h.process_start += 1).unwrap().contains("given to another"));
        assert!(dead(|h| h.boot = "other".into()).unwrap().contains("started again"));
        assert!(dead(|_| ()).unwrap().contains("earlier run"));
        assert_eq!(dead(|h| h.host = "elsewhere".into()), None);
        assert_eq!(dead(|h| h.pid = 1).is_some(), this.pid != 1);
        // Where processes cannot be seen nobody is taken for dead.
        let blind = Holder { process_start: 0, ..this.clone() };
        assert_eq!(Holder { pid: 1 << 23, ..this.clone() }.dead_for(&blind), None);
    }
}
