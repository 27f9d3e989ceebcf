//! Files in memory that forget at a power cut what was not synced.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::files::{Entry, Files};

/// Files in memory with a disk behind them that holds only what was synced.
///
/// Harsher than any real disk: at a crash each change of a name that was not synced happened or did not, in no order,
/// and each file that was not synced holds its old bytes, its new ones, a part of them, or zeros at its end.
#[derive(Default)]
pub struct ForgetfulFiles {
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Default)]
struct State {
    /// What a running process sees.
    live: BTreeMap<PathBuf, Node>,
    /// What the disk holds.
    safe: BTreeMap<PathBuf, Node>,
    /// Changes of names that the disk may or may not hold.
    pending: Vec<Change>,
    /// Bytes by file: seen, and on the disk.
    bytes: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone)]
enum Change {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    /// Whether the change is one of names in this folder.
    fn is_in(&self, folder: &Path) -> bool {
        let parent = |path: &PathBuf| path.parent() == Some(folder);
        match self {
            Change::Add(path, _) | Change::Remove(path) => parent(path),
            Change::Rename(from, to) => parent(from) || parent(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Change::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            // A folder that comes under the same name later is another one.
            Change::Remove(path) => {
                let below = names.range(path.clone()..).map(|(name, _)| name);
                let gone: Vec<PathBuf> = below.take_while(|name| name.starts_with(path)).cloned().collect();
                for name in &gone {
                    names.remove(name);
                }
            }
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl ForgetfulFiles {
    /// An empty disk with the folder `/`.
    pub fn new() -> ForgetfulFiles {
        let files = ForgetfulFiles::default();
        files.lock().live.insert("/".into(), Node::Folder);
        files.lock().safe.insert("/".into(), Node::Folder);
        files
    }

    /// Cuts the power: what was not synced is forgotten or torn, as the seed decides.
    pub fn crash(&self, seed: u64) {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        let mut roll = |n: usize| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (dice >> 33) as usize % n
        };
        let mut state = self.lock();
        let pending = std::mem::take(&mut state.pending);
        let mut names = std::mem::take(&mut state.safe);
        for change in pending.iter().filter(|_| roll(2) == 0) {
            change.apply(&mut names);
        }
        // A name whose folder was forgotten is forgotten with it; a folder comes before what it holds.
        let mut found = BTreeMap::new();
        for (path, node) in names {
            if path.parent().is_none_or(|above| found.contains_key(above)) {
                found.insert(path, node);
            }
        }
        let names = found;
        for (seen, disk) in &mut state.bytes {
            if seen != disk {
                // What was synced before more was appended stays.
                let safe = if seen.starts_with(disk) { disk.len() } else { 0 };
                let keep = safe + roll(seen.len() - safe + 1);
                match roll(4) {
                    0 => *seen = disk.clone(),
                    1 => seen.truncate(keep),
                    2 => seen[keep..].fill(0),
                    _ => {}
                }
            }
            *disk = seen.clone();
        }
        state.live = names.clone();
        state.safe = names;
    }

    /// Changes the bytes of a file as a failing disk does, behind everybody's back.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        if let Some(Node::File(file)) = state.live.get(path).copied() {
            change(&mut state.bytes[file].0);
            state.bytes[file].1 = state.bytes[file].0.clone();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.live.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Folder) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Sees that a name is free and its folder there.
    fn room(&self, path: &Path) -> io::Result<()> {
        if self.live.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        match path.parent().and_then(|above| self.live.get(above)) {
            Some(Node::Folder) => Ok(()),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn below<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Node)> {
        self.live.iter().filter(move |(path, _)| path.parent() == Some(folder))
    }
}

impl Files for ForgetfulFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.room(path)?;
        state.change(Change::Add(path.to_owned(), Node::Folder));
        Ok(())
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.room(path)?;
        state.bytes.push((bytes.to_vec(), vec![]));
        let node = Node::File(state.bytes.len() - 1);
        state.change(Change::Add(path.to_owned(), node));
        Ok(())
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if !self.exists(path)? {
            return self.write_new(path, bytes);
        }
        let mut state = self.lock();
        let file = state.file(path)?;
        state.bytes[file].0.extend(bytes);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.file(path)?;
        state.bytes[file].1 = state.bytes[file].0.clone();
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.live.get(path) != Some(&Node::Folder) {
            return Err(ErrorKind::NotFound.into());
        }
        let (done, left): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut state.pending).into_iter().partition(|change| change.is_in(path));
        state.pending = left;
        done.iter().for_each(|change| change.apply(&mut state.safe));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.file(from)?;
        match state.room(to) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            Err(_) => {
                state.file(to)?;
            }
            Ok(()) => {}
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.file(from)?;
        state.room(to)?;
        state.change(Change::Add(to.to_owned(), Node::File(file)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.file(path)?;
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.below(path).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let state = self.lock();
        Ok(Box::new(Cursor::new(state.bytes[state.file(path)?].0.clone())))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        if state.live.get(path) != Some(&Node::Folder) {
            return Err(ErrorKind::NotFound.into());
        }
        let entry = |(path, node): (&PathBuf, &Node)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match node {
                Node::Folder => Entry { name, folder: true, bytes: 0 },
                Node::File(file) => Entry { name, folder: false, bytes: state.bytes[*file].0.len() as u64 },
            }
        };
        Ok(state.below(path).map(entry).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lock().live.contains_key(path))
    }

    /// Nothing to wait for: the files belong to one run at a time.
    fn guard(&self, _: &Path) -> io::Result<Box<dyn Send>> {
        Ok(Box::new(()))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
