//! The folder that a run owns.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::stage::Output;
use crate::store::files::{Entry, Files, create_all, fault};
use crate::store::lock::{self, Holder, Lock};
use crate::store::manifest::Manifest;
use crate::store::output::StageOutput;
use crate::store::{INNER, LOG, MANIFEST, PART, RUN, checkpoint};

/// One whole file of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its path below the folder, with `/` between names.
    pub path: String,
    /// The stage that wrote it.
    pub stage: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// Whether the stage may write it anew.
    pub replaced: bool,
    /// The SHA-256 of versions before this one, the newest last; no more than eight.
    pub earlier: Vec<String>,
}

/// What stands under a path.
pub(crate) enum Slot {
    /// A stage is writing it, or tried to and may try again.
    Claimed { stage: String, before: Option<Sealed> },
    /// A whole file.
    Whole(Sealed),
}

/// What the folder knows of its files.
#[derive(Default)]
pub(crate) struct Known {
    pub slots: BTreeMap<String, Slot>,
    /// What each stage had at its commits since the last checkpoint: several marks may be under way at once.
    pub committed: BTreeMap<String, Vec<Vec<Sealed>>>,
    /// What the last checkpoint lists.
    pub checkpointed: Vec<Sealed>,
    /// What isard itself wrote beside the stages: `run.json`.
    pub own: BTreeMap<String, Sealed>,
    /// Paths set aside by a rollback and not yet written again.
    pub aside: BTreeSet<String>,
    /// What the kept boundaries list; none until they are read.
    pub boundaries: Option<Vec<Sealed>>,
}

/// The output folder of a run, locked as long as this lives.
pub struct Folder {
    pub(crate) files: Arc<dyn Files>,
    root: PathBuf,
    lock: Lock,
    state: Mutex<Known>,
    record: RwLock<String>,
    /// Held while a version is kept and while those no longer needed are removed.
    pub(crate) keeping: Mutex<()>,
    /// Set when the run is over: a stage that was left behind may wake up any time.
    closed: AtomicBool,
}

/// A folder opened to go on in.
pub struct Opened {
    /// The folder.
    pub folder: Arc<Folder>,
    /// The dead run whose lock was taken over, and how one knows that it is dead.
    pub stale: Option<(Holder, String)>,
}

impl Folder {
    /// Makes the next free folder `base/NAME-001`, `base/NAME-002` ...
    pub fn numbered(files: Arc<dyn Files>, base: &Path, name: &str) -> Result<Arc<Folder>> {
        let name: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        let name = name.trim_start_matches('.');
        create_all(&*files, base).map_err(|e| fault(&*files, "make folder", base, &e))?;
        for n in 1u32.. {
            let root = base.join(format!("{name}-{n:03}"));
            // The folder that a run makes is its own: two runs cannot make the same one.
            match files.create_dir(&root) {
                Ok(()) => return Folder::settle(files, root).map(|opened| opened.folder),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(fault(&*files, "make folder", &root, &e)),
            }
        }
        Err(Error::internal("there are no numbers left for a run folder"))
    }

    /// Makes the folder the user named; what an earlier run left there goes only when asked.
    pub fn create(files: Arc<dyn Files>, root: &Path, overwrite: bool) -> Result<Arc<Folder>> {
        let at = |e: io::Error| fault(&*files, "make folder", root, &e);
        if files.exists(root).map_err(at)? && !is_free(&*files, root).map_err(at)? {
            match overwrite {
                true => clear(&*files, root)?,
                false => return Err(occupied(&*files, root)),
            }
        }
        create_all(&*files, root).map_err(at)?;
        let folder = Folder::settle(files.clone(), root.to_owned())?.folder;
        // Another run may have come and gone between that look and the lock.
        if !is_free(&*files, root).map_err(at)? {
            drop(folder);
            return Err(occupied(&*files, root));
        }
        for half in files.list(root).map_err(at)?.iter().filter(|e| e.name.contains(PART)) {
            files.remove(&root.join(&half.name)).map_err(at)?;
        }
        Ok(folder)
    }

    /// Opens the folder of an earlier run to go on in; a dead run's lock is taken over.
    pub fn open(files: Arc<dyn Files>, root: &Path) -> Result<Opened> {
        if !files.exists(&root.join(INNER)).map_err(|e| fault(&*files, "open", root, &e))? {
            return Err(Error::recipe(format!(
                "{} is not the folder of a run: it holds no {INNER}",
                root.display()
            ))
            .help("name the folder that holds run.json"));
        }
        Folder::settle(files, root.to_owned())
    }

    fn settle(files: Arc<dyn Files>, root: PathBuf) -> Result<Opened> {
        let inner = root.join(INNER);
        create_all(&*files, &inner).map_err(|e| fault(&*files, "make folder", &inner, &e))?;
        let above = root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files.sync_dir(above).map_err(|e| fault(&*files, "sync", above, &e))?;
        let (lock, stale) = Lock::take(&*files, &root)?;
        let folder = Folder {
            files,
            root,
            lock,
            state: Mutex::default(),
            record: RwLock::new("{}".into()),
            keeping: Mutex::default(),
            closed: AtomicBool::default(),
        };
        Ok(Opened { folder: Arc::new(folder), stale })
    }

    /// Ends the writing: later attempts are refused and the lock is free.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.lock.release(&*self.files, &self.root);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The door to files that the folder uses.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Bytes that can still be written.
    pub fn free_bytes(&self) -> Result<u64> {
        self.files.free_bytes(&self.root).map_err(|e| Error::io("ask for free space in", &self.root, &e))
    }

    /// Sets the JSON text that outputs carry as the record of the run.
    pub fn set_record(&self, json: String) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = json;
    }

    /// The JSON text that outputs carry.
    pub fn record(&self) -> String {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where a stage puts its files.
    pub fn output(self: &Arc<Self>, stage: &str) -> Arc<dyn Output> {
        Arc::new(StageOutput { folder: self.clone(), stage: stage.to_owned(), inner: false, check: false })
    }

    /// As `output`, for a recorder that reads its files back before they count.
    pub fn checked(self: &Arc<Self>, stage: &str) -> Arc<dyn Output> {
        Arc::new(StageOutput { folder: self.clone(), stage: stage.to_owned(), inner: false, check: true })
    }

    /// Where the engine puts files of its own, below `.isard/`: kept streams.
    pub fn inner(self: &Arc<Self>, stage: &str) -> Arc<dyn Output> {
        Arc::new(StageOutput { folder: self.clone(), stage: stage.to_owned(), inner: true, check: false })
    }

    /// The whole files of a stage as of now; call it right after the stage's commit.
    ///
    /// Those versions can be had back until the next checkpoint is safe, even when the stage replaces them.
    pub fn commit(&self, stage: &str) -> Vec<Sealed> {
        let mut state = self.state();
        let files: Vec<Sealed> = state.whole().filter(|f| f.stage == stage).cloned().collect();
        state.committed.entry(stage.to_owned()).or_default().push(files.clone());
        files
    }

    /// The whole files of all stages as of now.
    pub fn sealed(&self) -> Vec<Sealed> {
        self.state().whole().cloned().collect()
    }

    /// Writes `run.json`, in place of an earlier one.
    pub fn put_run(&self, json: &str) -> Result<()> {
        let sealed = self.write_whole(RUN, json.as_bytes(), "isard")?;
        self.state().own.insert(RUN.into(), sealed);
        Ok(())
    }

    /// Writes at the end of `log.txt`.
    pub fn log(&self, text: &str) -> Result<()> {
        let path = self.path(LOG);
        self.files.append(&path, text.as_bytes()).map_err(|e| fault(&*self.files, "write", &path, &e))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The whole files; while one is being replaced, its last version.
    pub fn whole(&self) -> impl Iterator<Item = &Sealed> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Whole(file) => Some(file),
            Slot::Claimed { before, .. } => before.as_ref(),
        })
    }

    /// Books a checkpoint: commits before those it lists will never be gone back to.
    pub fn settle(&mut self, listed: &[Sealed]) {
        for (stage, commits) in &mut self.committed {
            let of_stage: Vec<&Sealed> = listed.iter().filter(|f| f.stage == *stage).collect();
            let same = |files: &Vec<Sealed>| files.iter().eq(of_stage.iter().copied());
            if let Some(at) = commits.iter().rposition(same) {
                commits.drain(..=at);
            }
        }
        self.checkpointed = listed.to_vec();
    }

    /// The versions that a checkpoint needs, one written or one about to be.
    pub fn needed(&self) -> impl Iterator<Item = &Sealed> {
        let boundaries = self.boundaries.iter().flatten();
        self.checkpointed.iter().chain(self.committed.values().flatten().flatten()).chain(boundaries)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_closed() {
            self.close();
        }
    }
}

/// Whether there is nothing to lose in a folder: it is empty, or its run was cut off before it wrote its record.
pub fn is_free(files: &dyn Files, root: &Path) -> io::Result<bool> {
    let found = files.list(root)?;
    let claimed = found.iter().any(|e| e.name == INNER);
    let half_record = |name: &str| name.strip_prefix(RUN).is_some_and(|rest| rest.starts_with(PART));
    for entry in found {
        let free = match entry.name.as_str() {
            INNER => files.list(&root.join(INNER))?.iter().all(|e| lock::is_part_of(&e.name)),
            name => claimed && (name == LOG || half_record(name)),
        };
        if !free {
            return Ok(false);
        }
    }
    Ok(true)
}

fn occupied(files: &dyn Files, root: &Path) -> Error {
    let found = files.list(root).unwrap_or_default();
    let names: Vec<&str> = found.iter().take(3).map(|e| e.name.as_str()).collect();
    let more = if found.len() > 3 { ", ..." } else { "" };
    let error = Error::recipe(format!(
        "{} holds {} files or folders already ({}{more})",
        root.display(),
        found.len(),
        names.join(", ")
    ));
    match (lock::holder(files, root), found.iter().any(|e| e.name == INNER)) {
        (Some(h), _) => error.help(format!("process {} on {} writes there: choose another `--out`", h.pid, h.host)),
        (None, true) => error.help(
            "choose another `--out`, go on with that run by `isard resume`, or replace its files with `--overwrite`",
        ),
        (None, false) => error.help("choose another `--out`: isard did not write these files"),
    }
}

/// Removes what an earlier run wrote; a file that no run wrote is refused, not removed.
fn clear(files: &dyn Files, root: &Path) -> Result<()> {
    let at = |e: io::Error| fault(files, "clear", root, &e);
    if let Some(holder) = lock::holder(files, root) {
        let (pid, host) = (holder.pid, holder.host);
        return Err(Error::recipe(format!("{} is in use by process {pid} on {host}", root.display()))
            .help("choose another folder with `--out`"));
    }
    let listed: BTreeSet<String> = match Manifest::read(files, root) {
        Ok(Some(manifest)) => manifest.files.into_iter().map(|f| f.path).collect(),
        _ => checkpoint::read(files, root)
            .ok()
            .and_then(|found| found.checkpoint)
            .map_or(BTreeSet::new(), |c| c.files.into_iter().map(|f| f.path).collect()),
    };
    let (mut names, mut folders) = (vec![], vec![]);
    walk(files, root, "", &mut |path, entry| {
        if entry.folder { &mut folders } else { &mut names }.push(path.to_owned());
    })
    .map_err(at)?;
    let ours = |path: &str| {
        listed.contains(path)
            || [RUN, LOG, MANIFEST].contains(&path)
            || path.starts_with(".isard/")
            || path.contains(PART)
    };
    if let Some(stranger) = names.iter().find(|p| !ours(p)) {
        return Err(Error::recipe(format!(
            "{} holds `{stranger}`, which no finished or checkpointed run wrote",
            root.display()
        ))
        .help("choose another `--out`, or remove that file yourself"));
    }
    // The manifest goes first: what is left halfway must not look like a finished run.
    names.sort_by_key(|p| p != MANIFEST);
    names.iter().try_for_each(|p| files.remove(&root.join(p))).map_err(at)?;
    folders.iter().rev().try_for_each(|p| files.remove_dir(&root.join(p))).map_err(at)?;
    files.sync_dir(root).map_err(at)
}

/// Visits everything below a folder, a folder before what it holds.
pub(crate) fn walk(
    files: &dyn Files,
    root: &Path,
    below: &str,
    visit: &mut dyn FnMut(&str, &Entry),
) -> io::Result<()> {
    for entry in files.list(&root.join(below))? {
        let path = if below.is_empty() { entry.name.clone() } else { format!("{below}/{}", entry.name) };
        visit(&path, &entry);
        if entry.folder {
            walk(files, root, &path, visit)?;
        }
    }
    Ok(())
}
