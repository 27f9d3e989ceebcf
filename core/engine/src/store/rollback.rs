//! Going back to a checkpoint: the folder holds what it held then, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::checkpoint::Checkpoint;
use crate::store::files::{Files, create_all, digest_of, fault};
use crate::store::folder::{Folder, Sealed, Slot, walk};
use crate::store::output::kept;
use crate::store::{INNER, LOG, MANIFEST, PART, RUN, VIEW};

/// What a rollback did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollback {
    /// Files put back to the version of the checkpoint.
    pub restored: Vec<String>,
    /// Files that came after the checkpoint, moved below `.isard/aside/`; each goes when it is written again.
    pub aside: Vec<String>,
    /// Files that were never whole, removed.
    pub removed: Vec<String>,
}

impl Folder {
    /// Brings the files back to those of a checkpoint; may be cut off and repeated at any moment.
    ///
    /// A file replaced after the checkpoint gets its bytes of then back, so that a resumed run ends with the digests
    /// of one that never stopped. `run.json` and `log.txt` stay as they are.
    pub fn rollback(&self, checkpoint: &Checkpoint) -> Result<Rollback> {
        let files = &*self.files;
        let listed: BTreeMap<&str, &Sealed> = checkpoint.files.iter().map(|f| (f.path.as_str(), f)).collect();
        let (mut found, mut folders) = (BTreeMap::new(), vec![String::new()]);
        walk(files, self.root(), "", &mut |path, entry| {
            if entry.folder {
                folders.push(path.to_owned());
            } else {
                found.insert(path.to_owned(), entry.bytes);
            }
        })
        .map_err(|e| fault(files, "list", self.root(), &e))?;
        // Whoever was killed may have made folders whose names it did not put on the disk.
        for folder in folders {
            let at = self.path(&folder);
            files.sync_dir(&at).map_err(|e| fault(files, "sync", &at, &e))?;
        }

        let mut done = Rollback::default();
        // The manifest says that a run is finished; from here on it is not.
        if found.remove(MANIFEST).is_some() {
            self.remove(MANIFEST)?;
        }
        for file in listed.values() {
            if self.bring_back(file, found.get(&file.path).copied())? {
                done.restored.push(file.path.clone());
            }
        }
        let mut aside = BTreeSet::new();
        for path in found.keys().filter(|p| !listed.contains_key(p.as_str())) {
            let inner = path.strip_prefix(INNER).and_then(|rest| rest.strip_prefix('/'));
            if path.contains(PART) {
                self.remove(path)?;
                done.removed.push(path.clone());
            } else if let Some(of_user) = inner.and_then(|p| p.strip_prefix("aside/")) {
                aside.insert(of_user.to_owned());
            } else if inner.is_none_or(|p| p.starts_with("streams/"))
                && ![RUN, LOG, VIEW].contains(&path.as_str())
            {
                self.set_aside(path)?;
                aside.insert(path.clone());
                done.aside.push(path.clone());
            }
        }

        let mut state = self.state();
        state.slots = checkpoint.files.iter().map(|f| (f.path.clone(), Slot::Whole(f.clone()))).collect();
        state.committed.clear();
        state.checkpointed = checkpoint.files.clone();
        state.aside = aside;
        Ok(done)
    }

    /// Sees that a listed file is there as listed; a replaced one is put back when it is not.
    fn bring_back(&self, file: &Sealed, bytes: Option<u64>) -> Result<bool> {
        let files = &*self.files;
        let at = self.path(&file.path);
        if !file.replaced && bytes == Some(file.bytes) {
            return Ok(false);
        }
        if bytes == Some(file.bytes) {
            let (_, found) = digest_file(files, &at).map_err(|e| fault(files, "read", &at, &e))?;
            if found == file.sha256 {
                return Ok(false);
            }
        }
        let before = self.path(&kept(&file.sha256));
        let lost = |found: String| {
            Error::data(format!("{} is not as the checkpoint lists it: {found}", at.display()))
                .help("`isard verify` tells what else is damaged; `--restart-from` goes back further")
        };
        match files.read(&before) {
            Ok(bytes) if crate::store::sha256(&bytes) == file.sha256 => {
                self.write_whole(&file.path, &bytes, &file.stage)?;
                Ok(true)
            }
            Ok(_) => Err(lost("the kept copy is damaged".into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(lost(match bytes {
                None => "it is missing".into(),
                Some(n) if n != file.bytes => format!("found {n} bytes, wanted {}", file.bytes),
                Some(_) => "its bytes have changed".into(),
            })),
            Err(e) => Err(fault(files, "read", &before, &e)),
        }
    }

    fn set_aside(&self, path: &str) -> Result<()> {
        let files = &*self.files;
        let (from, to) = (self.path(path), self.path(&format!("{INNER}/aside/{path}")));
        let (above, below) = (from.parent().unwrap_or(self.root()), to.parent().unwrap_or(self.root()));
        let moved = create_all(files, below)
            .and_then(|()| files.rename(&from, &to))
            .and_then(|()| files.sync_dir(below))
            .and_then(|()| files.sync_dir(above));
        moved.map_err(|e| fault(files, "set aside", &from, &e))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let at = self.path(path);
        let gone =
            self.files.remove(&at).and_then(|()| self.files.sync_dir(at.parent().unwrap_or(self.root())));
        gone.map_err(|e| fault(&*self.files, "remove", &at, &e))
    }
}

/// Whether a listed file can stay, or can be brought back; else why not.
pub(crate) fn standing(files: &dyn Files, root: &Path, file: &Sealed) -> std::result::Result<(), String> {
    let same = |path: &Path| match digest_file(files, path) {
        Ok((bytes, _)) if bytes != file.bytes => Err(format!("has {bytes} bytes, wanted {}", file.bytes)),
        Ok((_, sha256)) if sha256 != file.sha256 => Err("does not match its SHA-256".to_owned()),
        Ok(_) => Ok(()),
        Err(e) => Err(format!("cannot be read: {e}")),
    };
    let there = same(&root.join(&file.path));
    if there.is_ok() || file.replaced && same(&root.join(kept(&file.sha256))).is_ok() {
        return Ok(());
    }
    there
}

/// The size and the SHA-256 of a file, read piece by piece.
pub(crate) fn digest_file(files: &dyn Files, path: &Path) -> io::Result<(u64, String)> {
    digest_of(files.open(path)?)
}
