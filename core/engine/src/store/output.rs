//! Whole files: written beside, synced, renamed.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::stage::Output;
use crate::store::files::{Files, create_all, digest_back, fault, read_back};
use crate::store::folder::{Folder, Sealed, Slot};
use crate::store::{INNER, LOG, MANIFEST, PART, RUN, hex, sha256};

/// How many earlier versions of a file are remembered by their digest.
const EARLIER: usize = 8;

/// Smaller pieces of a file are gathered before they are written.
const PIECE: usize = 1 << 20;

/// Gives the bytes of a file to a sink, piece by piece.
pub(crate) type Pieces<'a> = dyn Fn(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + 'a;

/// The files of one stage.
pub(crate) struct StageOutput {
    pub folder: Arc<Folder>,
    pub stage: String,
    pub inner: bool,
    /// Whether files are read back before they get their names.
    pub check: bool,
}

impl Output for StageOutput {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.write(path, bytes, false).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.write(path, bytes, true).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn record(&self) -> String {
        self.folder.record()
    }

    fn seal_all(&self, files: &mut dyn Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
        self.seal_many(files).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn replace_pieces(&self, path: &str, pieces: &mut dyn Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        let mut put = |path: &str| self.folder.write_stream(path, pieces, &self.stage, self.check);
        self.put(path, true, &mut put).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn draft(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.keep_draft(path, bytes).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn drafted(&self, path: &str) -> Result<Vec<u8>> {
        self.read_draft(path).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn commit_drafts(&self, paths: &[String]) -> Result<()> {
        self.sync_drafts(paths).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }

    fn end_drafts(&self, paths: &[String]) -> Result<()> {
        self.hide_drafts(paths).map_err(|e| e.at(format!("stage `{}`", self.stage)))
    }
}

impl StageOutput {
    fn write(&self, path: &str, bytes: &[u8], replaced: bool) -> Result<()> {
        self.put(path, replaced, &mut |path| self.folder.write_checked(path, bytes, &self.stage, self.check))
    }

    /// Takes a path, has `write` put a whole file there, and notes it.
    fn put(&self, path: &str, replaced: bool, write: &mut dyn FnMut(&str) -> Result<Sealed>) -> Result<()> {
        let path = tidy(path, self.inner)?;
        let before = self.claim(&path, replaced)?;
        if let Some(before) = &before
            && self.folder.state().needed().any(|f| f.path == before.path && f.sha256 == before.sha256)
        {
            self.folder.keep(before)?;
        }
        let mut sealed = write(&path)?;
        sealed.replaced = replaced;
        if let Some(before) = before {
            sealed.earlier = before.earlier;
            sealed.earlier.push(before.sha256);
            sealed.earlier.retain(|digest| *digest != sealed.sha256);
            let many = sealed.earlier.len().saturating_sub(EARLIER);
            sealed.earlier.drain(..many);
        }
        let was_aside = {
            let mut state = self.folder.state();
            state.slots.insert(path.clone(), Slot::Whole(sealed));
            state.aside.remove(&path)
        };
        if was_aside {
            // What a broken run wrote under this name is now written again: the old one has served.
            let _ = self.folder.files.remove(&self.folder.path(&format!("{INNER}/aside/{path}")));
        }
        Ok(())
    }

    /// Takes a path for this stage and gives the version that stands there.
    ///
    /// A claim stays after an error, so that the same stage may try again and no other can.
    pub(crate) fn claim(&self, path: &str, replaced: bool) -> Result<Option<Sealed>> {
        let mut state = self.folder.state();
        let before = match state.slots.get(path) {
            None => {
                if let Some(other) = state.slots.keys().find(|k| inside(k, path) || inside(path, k)) {
                    return Err(Error::recipe(format!(
                        "`{path}` and `{other}`: one cannot be file and folder"
                    ))
                    .help("give the stages different paths"));
                }
                let at = self.folder.path(path);
                if self.folder.files.exists(&at).map_err(|e| Error::io("look for", &at, &e))? {
                    return Err(Error::recipe(format!(
                        "{} exists and no stage of this run wrote it",
                        at.display()
                    ))
                    .help("choose another `--out`, or move that file away"));
                }
                None
            }
            Some(Slot::Claimed { stage, before }) if *stage == self.stage => before.clone(),
            Some(Slot::Claimed { stage, .. }) => return Err(self.clash(path, stage)),
            Some(Slot::Whole(file)) if file.stage != self.stage => return Err(self.clash(path, &file.stage)),
            Some(Slot::Whole(file)) if !file.replaced || !replaced => {
                return Err(Error::plugin(format!("`{path}` was sealed and must not be written again"))
                    .help("number the parts, or call `replace` from the first time on"));
            }
            Some(Slot::Whole(file)) => Some(file.clone()),
        };
        let claimed = Slot::Claimed { stage: self.stage.clone(), before: before.clone() };
        state.slots.insert(path.to_owned(), claimed);
        Ok(before)
    }

    fn clash(&self, path: &str, other: &str) -> Error {
        Error::recipe(format!("`{path}` is written by stage `{other}` as well"))
            .help(format!("give `{}` and `{other}` different paths", self.stage))
    }
}

fn inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// A file of this size takes longer to digest than a thread to start.
const LARGE: usize = 1 << 20;

impl Folder {
    /// Writes a whole file in one step: after an error there is the old one or none, never half of one.
    pub(crate) fn write_whole(&self, path: &str, bytes: &[u8], stage: &str) -> Result<Sealed> {
        self.write_checked(path, bytes, stage, false)
    }

    /// As `write_whole`; with `check` the file is read back before it gets its name.
    pub(crate) fn write_checked(&self, path: &str, bytes: &[u8], stage: &str, check: bool) -> Result<Sealed> {
        let same = |files: &dyn Files, part: &Path| match check {
            true => read_back(files, part, bytes),
            false => Ok(()),
        };
        let put = || self.write_beside(path, &same, &|files, part| files.write_new(part, bytes));
        // A large file is digested while the disk takes it.
        let (written, digest) = if bytes.len() < LARGE {
            (put(), sha256(bytes))
        } else {
            std::thread::scope(|scope| {
                let digest = scope.spawn(|| sha256(bytes));
                let written = put();
                (written, digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        };
        written?;
        Ok(Sealed {
            path: path.to_owned(),
            stage: stage.to_owned(),
            bytes: bytes.len() as u64,
            sha256: digest,
            replaced: false,
            earlier: vec![],
        })
    }

    /// As `write_checked`, of a file that comes in pieces and is never held whole.
    pub(crate) fn write_stream(
        &self,
        path: &str,
        pieces: &mut dyn Iterator<Item = Result<Vec<u8>>>,
        stage: &str,
        check: bool,
    ) -> Result<Sealed> {
        let state = RefCell::new((pieces, Sha256::new(), 0u64, None::<Error>));
        let write = |files: &dyn Files, part: &Path| {
            let (pieces, digest, bytes, failed) = &mut *state.borrow_mut();
            files.write_new(part, &[])?;
            for piece in pieces.by_ref() {
                let piece = piece.map_err(|error| {
                    *failed = Some(error);
                    io::Error::other("a piece of it is not there")
                })?;
                files.append(part, &piece)?;
                digest.update(&piece);
                *bytes += piece.len() as u64;
            }
            Ok(())
        };
        let digest = || hex(&state.borrow().1.clone().finalize());
        let same = |files: &dyn Files, part: &Path| match check {
            true => digest_back(files, part, &digest()),
            false => Ok(()),
        };
        let written = self.write_beside(path, &same, &write);
        let sha256 = digest();
        let (_, _, bytes, failed) = state.into_inner();
        if let Some(error) = failed {
            return Err(error);
        }
        written?;
        let (path, stage) = (path.to_owned(), stage.to_owned());
        Ok(Sealed { path, stage, bytes, sha256, replaced: false, earlier: vec![] })
    }

    /// The same of a file that is made piece by piece and is listed nowhere.
    pub(crate) fn write_pieces(&self, path: &str, make: &Pieces) -> Result<()> {
        self.write_beside(path, &|_, _| Ok(()), &|files, part| {
            let (mut held, mut begun) = (vec![], false);
            let mut put = |bytes: &[u8]| {
                let put = if begun { files.append(part, bytes) } else { files.write_new(part, bytes) };
                begun = true;
                put
            };
            make(&mut |piece| {
                if held.len() + piece.len() > PIECE && !held.is_empty() {
                    put(&std::mem::take(&mut held))?;
                }
                if piece.len() > PIECE {
                    return put(piece);
                }
                held.extend_from_slice(piece);
                Ok(())
            })?;
            put(&held)
        })
    }

    /// Writes beside, sees that it is the `same` on the disk, and gives the file its name.
    fn write_beside(
        &self,
        path: &str,
        same: &dyn Fn(&dyn Files, &Path) -> Result<()>,
        write: &dyn Fn(&dyn Files, &Path) -> io::Result<()>,
    ) -> Result<()> {
        if self.is_closed() {
            return Err(Error::cancelled().at(format!("write {path}")));
        }
        let files = &*self.files;
        let at = self.path(path);
        let part = beside(&at);
        let above = at.parent().unwrap_or(self.root());
        create_all(files, above).map_err(|e| fault(files, "make folder", above, &e))?;
        let written = write(files, &part).map_err(|e| fault(files, "write", &at, &e));
        let written = written.and_then(|()| files.sync(&part).map_err(|e| fault(files, "sync", &at, &e)));
        let written = written.and_then(|()| same(files, &part));
        let written =
            written.and_then(|()| files.rename(&part, &at).map_err(|e| fault(files, "rename", &at, &e)));
        if let Err(error) = written {
            // Whatever is left is seen by the next resume; the first error is the one to tell.
            let _ = files.remove(&part);
            return Err(error);
        }
        files.sync_dir(above).map_err(|e| fault(files, "sync folder of", &at, &e))
    }

    /// Keeps the version that a checkpoint needs before it is replaced.
    ///
    /// A second name costs nothing; where the file system has none, the bytes are copied.
    pub(crate) fn keep(&self, file: &Sealed) -> Result<()> {
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let files = &*self.files;
        let (from, to) = (self.path(&file.path), self.path(&kept(&file.sha256)));
        let above = self.path(&format!("{INNER}/before"));
        let io = |e: io::Error| fault(files, "keep the last version of", &from, &e);
        create_all(files, &above).map_err(io)?;
        if files.exists(&to).map_err(io)? {
            return files.sync_dir(&above).map_err(io);
        }
        if files.link(&from, &to).is_err() {
            let bytes = files.read(&from).map_err(io)?;
            self.write_whole(&kept(&file.sha256), &bytes, &file.stage)?;
        }
        files.sync_dir(&above).map_err(io)
    }
}

/// Where the version with this digest is kept.
pub(crate) fn kept(sha256: &str) -> String {
    format!("{INNER}/before/{sha256}")
}

/// A name beside a file that nobody else uses.
pub(crate) fn beside(path: &Path) -> std::path::PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{PART}{:x}-{n:x}", std::process::id()));
    name.into()
}

/// The path as the folder keeps it; what leads out of the folder or into isard's own files is refused.
pub(crate) fn tidy(path: &str, inner: bool) -> Result<String> {
    let refuse = |why: &str| {
        Err(Error::recipe(format!("output path `{path}` {why}"))
            .help("paths of outputs are relative to the run's folder, which `--out` chooses"))
    };
    if path.starts_with('/') {
        return refuse("is absolute");
    }
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if names.is_empty() || path.ends_with('/') {
        return refuse("names no file");
    }
    if names.contains(&"..") {
        return refuse("leads out of the run's folder");
    }
    if path.contains(PART) || path.contains('\0') {
        return refuse(&format!("holds `{PART}` or a zero byte, which no output may"));
    }
    let tidy = names.join("/");
    let of_isard = names[0] == INNER || [RUN, LOG, MANIFEST].contains(&tidy.as_str());
    match (of_isard, inner) {
        (true, false) => refuse("is one of isard's own files"),
        (false, true) => Ok(format!("{INNER}/streams/{tidy}")),
        _ => Ok(tidy),
    }
}
