//! The lock of a run's folder: who writes there, and whether they still live.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::files::{Files, fault};
use crate::store::{INNER, sha256, utc_now};

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
        let here = Holder::this();
        let pid = self.pid;
        if self.host != here.host {
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

fn lock_path(root: &Path) -> std::path::PathBuf {
    root.join(INNER).join("lock")
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
        let path = lock_path(root);
        let holder = Holder::this();
        let text = serde_json::to_vec_pretty(&holder).expect("a lock is plain data");
        let io = |e: io::Error| fault(files, "lock", &path, &e);
        match files.write_new(&path, &text) {
            Ok(()) => {
                held(|h| h.insert(holder.token));
                let lock = Lock { holder };
                lock.settle(files, root).inspect_err(|_| lock.release(files, root))?;
                return Ok((lock, None));
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io(e)),
        }
        let found = files.read(&path).map_err(io)?;
        // A power cut may leave the lock torn: whoever wrote it is gone with the power.
        let before = serde_json::from_slice::<Holder>(&found).ok();
        let reason = match &before {
            Some(before) => before.dead().ok_or_else(|| before.refusal(root))?,
            None => "it was cut off while it was written".to_owned(),
        };
        // Of several that found the same dead lock, the one that makes the file named after it goes on.
        let next = path.with_file_name(format!("lock.after-{}", &sha256(&found)[..16]));
        match files.write_new(&next, &text) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let rival = files.read(&next).ok().and_then(|b| serde_json::from_slice::<Holder>(&b).ok());
                match rival {
                    Some(rival) if rival.dead().is_none() => return Err(rival.refusal(root)),
                    _ => files.remove(&next).and_then(|()| files.write_new(&next, &text)).map_err(io)?,
                }
            }
            other => other.map_err(io)?,
        }
        if files.read(&path).map_err(io)? != found {
            files.remove(&next).map_err(io)?;
            return Err(Error::recipe(format!("another run took {} just now", root.display())));
        }
        held(|h| h.insert(holder.token));
        let lock = Lock { holder };
        let taken = files.rename(&next, &path).map_err(io).and_then(|()| lock.settle(files, root));
        taken.inspect_err(|_| lock.release(files, root))?;
        Ok((lock, before.map(|before| (before, reason))))
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
        held(|h| h.remove(&self.holder.token));
        let path = lock_path(root);
        // Only the own lock: a human may have removed it and another run taken the folder.
        let found = files.read(&path).ok().and_then(|b| serde_json::from_slice::<Holder>(&b).ok());
        if found.is_some_and(|found| found == self.holder) {
            // A lock that stays is found to be dead by the next run.
            let _ = files.remove(&path);
        }
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
    }
}
