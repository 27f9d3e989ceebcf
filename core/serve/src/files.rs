//! The folder of the jobs: the files of each, and the runs of recipes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isard_core::error::{Error, Result};
use isard_core::store::utc_now;
use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat};

/// Folders of thousands that are kept open: jobs end a little out of order.
const OPEN: usize = 3;

/// The folder of the jobs.
pub struct Folder {
    root: PathBuf,
    /// Folders of thousands that are open, the newest last: a file is then made without walking its path.
    open: Mutex<Vec<(u64, Arc<OwnedFd>)>>,
    /// The thousand up to which files were removed.
    forgotten: Mutex<u64>,
}

impl Folder {
    /// The folder itself.
    pub fn open(root: &Path) -> Result<Folder> {
        std::fs::create_dir_all(root).map_err(|e| Error::io("cannot make the folder", root, &e))?;
        let root = root.canonicalize().map_err(|e| Error::io("cannot open the folder", root, &e))?;
        apart(&root);
        Ok(Folder { root, open: Mutex::default(), forgotten: Mutex::default() })
    }

    /// A folder of its own below another one, as users know it: `dahu_2026-01-31T12h00m59`.
    ///
    /// A name that is already of that form is the folder itself.
    pub fn dated(base: &Path) -> PathBuf {
        let name = base.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("dahu_") && name.len() == 24 {
            return base.to_owned();
        }
        let now = utc_now();
        let (hour, minute, second) = (&now[11..13], &now[14..16], &now[17..19]);
        base.join(format!("dahu_{}T{hour}h{minute}m{second}", &now[..10]))
    }

    /// Where everything lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the run of a job's recipe.
    pub fn run(&self, id: u64) -> PathBuf {
        self.thousand(id).join(format!("{id:05}_run"))
    }

    /// Writes files of a job, by their endings.
    pub fn write(&self, id: u64, plugin: &str, files: &[(&str, &str)]) -> Result<()> {
        let name = safe(plugin);
        let put = || -> io::Result<()> {
            let folder = self.opened(id / 1000)?;
            for (ending, text) in files {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
                let file =
                    openat(&folder, format!("{id:05}_{name}.{ending}"), flags, Mode::from_raw_mode(0o666))?;
                File::from(file).write_all(text.as_bytes())?;
            }
            Ok(())
        };
        // Somebody may have removed the folder while it was open: then it is made anew.
        let again = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                self.list().retain(|(k, _)| *k != id / 1000);
                put()
            }
            _ => Err(error),
        };
        put().or_else(again).map_err(|e| {
            let path = self.thousand(id).join(format!("{id:05}_{name}"));
            Error::io("cannot write", &path, &e)
        })
    }

    /// The open folder of a thousand, made if it is not there.
    fn opened(&self, thousand: u64) -> io::Result<Arc<OwnedFd>> {
        let mut open = self.list();
        if let Some((_, folder)) = open.iter().find(|(k, _)| *k == thousand) {
            return Ok(folder.clone());
        }
        let path = self.thousand(thousand * 1000);
        std::fs::create_dir_all(&path)?;
        let folder = Arc::new(OwnedFd::from(File::open(&path)?));
        open.push((thousand, folder.clone()));
        if open.len() > OPEN {
            open.remove(0);
        }
        Ok(folder)
    }

    fn list(&self) -> MutexGuard<'_, Vec<(u64, Arc<OwnedFd>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the files of whole thousands of jobs up to an id, a thousand a call; says whether one was removed.
    ///
    /// What runs of recipes have left stays: these are results.
    pub fn forget(&self, last: u64) -> Result<bool> {
        let mut next = self.hold();
        if *next >= (last + 1) / 1000 {
            return Ok(false);
        }
        let thousand = *next;
        *next += 1;
        let folder = self.thousand(thousand * 1000);
        for (id, name) in self.files_of(thousand) {
            let path = folder.join(&name);
            if id <= last && (name.ends_with(".inp") || name.ends_with(".out")) {
                std::fs::remove_file(&path).map_err(|e| Error::io("cannot remove", &path, &e))?;
            }
        }
        // It stays where a run of a recipe is in it.
        let _ = std::fs::remove_dir(&folder);
        Ok(true)
    }

    /// While this is held, no files of old jobs are removed.
    pub fn hold(&self) -> MutexGuard<'_, u64> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thousands of jobs that have a folder.
    pub fn thousands(&self) -> Vec<u64> {
        let list = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        list.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The jobs of a thousand that have a file of their output and none of their input.
    pub fn without_input(&self, thousand: u64) -> Vec<u64> {
        let (mut inputs, mut outputs) = (HashSet::new(), vec![]);
        for (id, name) in self.files_of(thousand) {
            if name.ends_with(".inp") {
                inputs.insert(id);
            } else if name.ends_with(".out") {
                outputs.push(id);
            }
        }
        outputs.retain(|id| !inputs.contains(id));
        outputs.sort_unstable();
        outputs
    }

    /// The highest id from one on of which there is a file; 0 if there is none.
    pub fn last_from(&self, id: u64) -> u64 {
        let thousands = self.thousands().into_iter().filter(|thousand| *thousand >= id / 1000);
        thousands.flat_map(|thousand| self.files_of(thousand)).map(|(id, _)| id).max().unwrap_or(0)
    }

    /// What lies in the folder of a thousand, by the ids of jobs.
    fn files_of(&self, thousand: u64) -> impl Iterator<Item = (u64, String)> {
        let list = std::fs::read_dir(self.thousand(thousand * 1000)).into_iter().flatten().flatten();
        list.filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.split_once('_')?.0.parse().ok()?;
            Some((id, name))
        })
    }

    /// The text of a job's file: `inp` or `out`.
    pub fn read(&self, id: u64, ending: &str) -> Result<Option<String>> {
        let Ok(list) = std::fs::read_dir(self.thousand(id)) else { return Ok(None) };
        let begin = format!("{id:05}_");
        for entry in list.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&begin) && name.ends_with(&format!(".{ending}")) {
                let path = entry.path();
                return std::fs::read_to_string(&path)
                    .map(Some)
                    .map_err(|e| Error::io("cannot read", &path, &e));
            }
        }
        Ok(None)
    }

    fn thousand(&self, id: u64) -> PathBuf {
        self.root.join(format!("{:04}", id / 1000))
    }
}

/// Asks the file system to lay the folders below one far from each other.
///
/// Otherwise all of them share what the disk has near the first one, and ext4 looks at every file removed there in the last
/// minutes before it makes a new one: where 3000 were, that is 600 µs a file in place of 20. A file system that knows no
/// such wish does what it does.
fn apart(root: &Path) {
    if let Ok(folder) = File::open(root)
        && let Ok(flags) = ioctl_getflags(&folder)
    {
        let _ = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
}

/// A plugin's name as it can stand in a file name: what a client wrote may be anything.
pub fn safe(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().take(100).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_cannot_leave_the_folder() {
        assert_eq!(safe("../../etc/x y.z"), ".._.._etc_x_y.z");
        assert_eq!(safe("example.square"), "example.square");
    }

    #[test]
    fn files_of_old_thousands_go_and_runs_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for id in [1, 999, 1000, 2500] {
            folder.write(id, "example.noop", &[("inp", "{}"), ("out", "{}")]).unwrap();
        }
        std::fs::create_dir(folder.run(7)).unwrap();
        while folder.forget(2400).unwrap() {}
        let there = |name: &str| root.path().join(name).exists();
        assert!(!there("0000/00001_example.noop.inp") && !there("0000/00999_example.noop.out"));
        assert!(there("0000/00007_run") && !there("0001") && there("0002/02500_example.noop.out"));
        // A folder that is gone while it is open is made again.
        std::fs::remove_dir_all(root.path().join("0002")).unwrap();
        folder.write(2501, "example.noop", &[("inp", "{}"), ("out", "{}")]).unwrap();
        folder.write(2502, "example.noop", &[("out", "{}")]).unwrap();
        assert_eq!(folder.without_input(2), [2502]);
        assert_eq!(folder.without_input(7), [0; 0]);
        assert_eq!(folder.thousands().len(), 2);
        assert_eq!([2000, 2502, 3000].map(|id| folder.last_from(id)), [2502, 2502, 0]);
        assert_eq!(folder.read(2501, "out").unwrap().as_deref(), Some("{}"));
    }

    #[test]
    fn folders_of_thousands_lie_apart_where_a_file_system_can() {
        let (by_hand, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let flags = |path: &Path| ioctl_getflags(File::open(path).unwrap()).ok();
        // Whether this file system keeps the flag is seen where it is set without the folder's help.
        let can = flags(by_hand.path()).is_some_and(|before| {
            let set = ioctl_setflags(File::open(by_hand.path()).unwrap(), before | IFlags::TOPDIR);
            set.is_ok() && flags(by_hand.path()).is_some_and(|after| after.contains(IFlags::TOPDIR))
        });
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!(flags(folder.root()).is_some_and(|f| f.contains(IFlags::TOPDIR)), can);
    }

    #[test]
    fn a_dated_folder_is_made_once() {
        let dated = Folder::dated(Path::new("/data"));
        let name = dated.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!((name.len(), &name[..5]), (24, "dahu_"));
        assert_eq!(Folder::dated(&dated), dated);
    }
}
