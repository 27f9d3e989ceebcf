//! Drafts: files that a stage keeps until their last form is known, and many files made whole at once.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::store::files::{create_all, fault, read_back};
use crate::store::folder::{Folder, Sealed, Slot};
use crate::store::output::{StageOutput, beside, tidy};
use crate::store::{INNER, sha256};

impl StageOutput {
    /// Where a draft is kept: below `.isard/`, which a rollback leaves alone.
    fn draft_path(&self, path: &str) -> Result<PathBuf> {
        let path = tidy(path, false)?;
        Ok(self.folder.path(&format!("{INNER}/drafts/{}/{path}", self.stage)))
    }

    pub(crate) fn keep_draft(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let (files, at) = (&*self.folder.files, self.draft_path(path)?);
        let shown = self.folder.path(&tidy(path, false)?);
        let part = beside(&at);
        for file in [&at, &shown] {
            let above = file.parent().unwrap_or(self.folder.root());
            create_all(files, above).map_err(|e| fault(files, "make folder", above, &e))?;
        }
        files.write_new(&part, bytes).map_err(|e| fault(files, "write", &at, &e))?;
        files.rename(&part, &at).map_err(|e| fault(files, "rename", &at, &e))?;
        // A second name for whoever looks on; where a broken run left one it goes first.
        let _ = files.remove(&shown);
        if files.link(&at, &shown).is_err() {
            files.write_new(&shown, bytes).map_err(|e| fault(files, "write", &shown, &e))?;
        }
        Ok(())
    }

    pub(crate) fn read_draft(&self, path: &str) -> Result<Vec<u8>> {
        let (files, at) = (&*self.folder.files, self.draft_path(path)?);
        files.read(&at).map_err(|e| fault(files, "read", &at, &e))
    }

    pub(crate) fn sync_drafts(&self, paths: &[String]) -> Result<()> {
        let files = &*self.folder.files;
        let paths: Vec<PathBuf> = paths.iter().map(|p| self.draft_path(p)).collect::<Result<_>>()?;
        let Some(first) = paths.first() else { return Ok(()) };
        files.sync_many(&paths).map_err(|e| fault(files, "sync", first, &e))?;
        let mut above: Vec<_> = paths.iter().filter_map(|p| p.parent()).collect();
        above.dedup();
        above
            .into_iter()
            .try_for_each(|dir| files.sync_dir(dir).map_err(|e| fault(files, "sync folder", dir, &e)))
    }

    /// Takes the drafts' names away that others see; the drafts stay, for a run that is cut off now.
    pub(crate) fn hide_drafts(&self, paths: &[String]) -> Result<()> {
        let files = &*self.folder.files;
        let mut above = vec![];
        for path in paths {
            let shown = self.folder.path(&tidy(path, false)?);
            if files.exists(&shown).map_err(|e| fault(files, "look for", &shown, &e))? {
                files.remove(&shown).map_err(|e| fault(files, "remove", &shown, &e))?;
            }
            above.extend(shown.parent().map(PathBuf::from));
            above.dedup();
        }
        // A folder that still holds something of others stays.
        above.iter().for_each(|dir| drop(files.remove_dir(dir)));
        Ok(())
    }

    /// Writes many files that are never touched again: all bytes, one sync, then all names.
    pub(crate) fn seal_many(&self, list: &mut dyn Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
        let folder = &*self.folder;
        let files = &*folder.files;
        if folder.is_closed() {
            return Err(Error::cancelled().at("write files"));
        }
        let (mut parts, mut sealed, mut above) = (vec![], vec![], vec![]);
        let mut write = |item: Result<(String, Vec<u8>)>| {
            let (path, bytes) = item?;
            let path = tidy(&path, self.inner)?;
            self.claim(&path, false)?;
            let at = folder.path(&path);
            let dir = at.parent().unwrap_or(folder.root()).to_path_buf();
            if !above.contains(&dir) {
                create_all(files, &dir).map_err(|e| fault(files, "make folder", &dir, &e))?;
                above.push(dir);
            }
            let part = beside(&at);
            files.write_new(&part, &bytes).map_err(|e| fault(files, "write", &at, &e))?;
            if self.check {
                let synced = files.sync(&part).map_err(|e| fault(files, "sync", &at, &e));
                let same = synced.and_then(|()| read_back(files, &part, &bytes));
                same.inspect_err(|_| drop(files.remove(&part)))?;
            }
            parts.push(part);
            sealed.push(Sealed {
                path,
                stage: self.stage.clone(),
                bytes: bytes.len() as u64,
                sha256: sha256(&bytes),
                replaced: false,
                earlier: vec![],
            });
            Ok(())
        };
        let mut written = Ok(());
        for item in list {
            written = write(item);
            if written.is_err() {
                break;
            }
        }
        let written = written.and_then(|()| match parts.first() {
            Some(first) => files.sync_many(&parts).map_err(|e| fault(files, "sync", first, &e)),
            None => Ok(()),
        });
        if let Err(error) = written {
            parts.iter().for_each(|part| drop(files.remove(part)));
            return Err(error);
        }
        for (part, file) in parts.iter().zip(sealed) {
            let at = folder.path(&file.path);
            files.rename(part, &at).map_err(|e| fault(files, "rename", &at, &e))?;
            let mut state = folder.state();
            let path = file.path.clone();
            state.slots.insert(path.clone(), Slot::Whole(file));
            if state.aside.remove(&path) {
                // What a broken run wrote under this name has served.
                let _ = files.remove(&folder.path(&format!("{INNER}/aside/{path}")));
            }
        }
        above.iter().try_for_each(|dir| files.sync_dir(dir).map_err(|e| fault(files, "sync folder", dir, &e)))
    }
}

impl Folder {
    /// Lets go of all drafts: the run has ended well, and nobody will ask for them again.
    pub(crate) fn drop_drafts(&self) {
        let mut folders = vec![];
        let root = self.path(&format!("{INNER}/drafts"));
        let walked = super::folder::walk(&*self.files, &root, "", &mut |path, entry| match entry.folder {
            true => folders.push(root.join(path)),
            false => drop(self.files.remove(&root.join(path))),
        });
        // Not there, or not to be removed: room is lost, nothing else.
        if walked.is_ok() {
            folders.iter().rev().chain([&root]).for_each(|dir| drop(self.files.remove_dir(dir)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::RealFiles;

    #[test]
    fn drafts_are_shown_until_their_last_form_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::create(Arc::new(RealFiles), &scratch.path().join("out"), false).unwrap();
        let out = folder.output("spots");
        let drafts: Vec<String> = (0..12).map(|k| format!("spots/live/{k}.bin")).collect();
        for name in &drafts {
            out.draft(name, b"first").unwrap();
            out.draft(name, name.as_bytes()).unwrap();
            assert_eq!(std::fs::read(folder.path(name)).unwrap(), name.as_bytes());
        }
        out.commit_drafts(&drafts).unwrap();
        assert!(folder.sealed().is_empty(), "drafts are no output");
        let list = drafts.iter().enumerate();
        out.seal_all(&mut list.map(|(k, name)| Ok((format!("spots/{k}.bin"), out.drafted(name)?)))).unwrap();
        out.end_drafts(&drafts).unwrap();
        assert_eq!(folder.sealed().len(), 12);
        assert_eq!(std::fs::read(folder.path("spots/3.bin")).unwrap(), drafts[3].as_bytes());
        assert!(!folder.path("spots/live").exists());
        // What is sealed is not written again, and an error leaves none of its list behind.
        let twice = ["spots/new.bin", "spots/3.bin"].map(|p| Ok((p.to_owned(), vec![1])));
        assert!(out.seal_all(&mut twice.into_iter()).is_err());
        assert!(!folder.path("spots/new.bin").exists() && folder.sealed().len() == 12);
        folder.drop_drafts();
        assert!(!folder.path(".isard/drafts").exists());
    }
}
