//! Scans that a pattern stands for, as they appear.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use isard_core::error::Error;
use isard_files::input::{datasets, fits, natural};

/// A folder that was changed so recently may change again within the same tick of the clock.
const TICK: Duration = Duration::from_secs(3);
/// Listing a folder takes at most this share of the time.
const SHARE: u32 = 20;

/// Finds what a pattern stands for, again and again.
pub(super) struct Finder {
    /// What the pattern begins with before anything in it stands for many.
    root: PathBuf,
    /// The names below it: patterns, `**` for any folders.
    parts: Vec<String>,
    /// The dataset behind the pattern.
    inside: Option<String>,
    seen: HashSet<PathBuf>,
    known: HashMap<PathBuf, Known>,
}

/// What a folder held when it was last listed.
struct Known {
    changed: Option<SystemTime>,
    listed: Instant,
    took: Duration,
    /// The folder was at rest when it was listed.
    settled: bool,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    name: String,
    folder: bool,
    link: bool,
}

impl Finder {
    /// A finder of a pattern such as `raw/**/scan*.h5::/entry/data`.
    pub fn new(pattern: &str) -> Result<Finder, Error> {
        let (files, inside) = match pattern.split_once("::") {
            Some((files, inside)) => (files, Some(inside.to_owned())),
            None => (pattern, None),
        };
        let mut root = PathBuf::from(if files.starts_with('/') { "/" } else { "" });
        let names: Vec<&str> = files.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let fixed = names.iter().take_while(|name| !name.contains(['*', '?', '#'])).count();
        // A name without a pattern is looked for like any other.
        let fixed = fixed.min(names.len().saturating_sub(1));
        names[..fixed].iter().for_each(|name| root.push(name));
        let parts: Vec<String> = names[fixed..].iter().map(|name| (*name).to_owned()).collect();
        if parts.is_empty() || parts.last().is_some_and(|last| last == "**") {
            let error = Error::recipe(format!("`{pattern}` names no scans"));
            return Err(error.help("write a pattern in quotes, such as 'raw/**/scan*.h5'"));
        }
        Ok(Finder { root, parts, inside, seen: HashSet::new(), known: HashMap::new() })
    }

    /// What has appeared since the last look, in natural order.
    pub fn look(&mut self) -> Result<Vec<PathBuf>, Error> {
        let mut found = vec![];
        let (root, parts) = (self.root.clone(), self.parts.clone());
        self.walk(&root, &parts, &mut found)?;
        found.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
        // `**` may lead to one file on two ways.
        found.dedup();
        found.retain(|path| self.seen.insert(path.clone()));
        Ok(found)
    }

    fn walk(&mut self, folder: &Path, parts: &[String], found: &mut Vec<PathBuf>) -> Result<(), Error> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        let entries = self.entries(folder)?;
        if part == "**" {
            self.walk(folder, rest, found)?;
            // A link may lead back up.
            for entry in entries.iter().filter(|entry| entry.folder && !entry.link) {
                self.walk(&folder.join(&entry.name), parts, found)?;
            }
            return Ok(());
        }
        for entry in entries.iter().filter(|entry| fits(part, &entry.name)) {
            let path = folder.join(&entry.name);
            match rest.is_empty() {
                true => found.push(path),
                false if entry.folder => self.walk(&path, rest, found)?,
                false => (),
            }
        }
        Ok(())
    }

    /// The entries of a folder, listed anew only when it has changed.
    fn entries(&mut self, folder: &Path) -> Result<Vec<Entry>, Error> {
        let at = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let io = |e: std::io::Error| Error::io("cannot look into", at, &e);
        let changed = match std::fs::metadata(at) {
            Ok(about) => about.modified().ok(),
            // It may yet be made.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(io(e)),
        };
        if let Some(known) = self.known.get(folder)
            && (known.settled && known.changed == changed || known.listed.elapsed() < known.took * SHARE)
        {
            return Ok(known.entries.clone());
        }
        let listed = Instant::now();
        let mut entries = vec![];
        for entry in std::fs::read_dir(at).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(io)?;
            let link = kind.is_symlink();
            let folder = if link { entry.path().is_dir() } else { kind.is_dir() };
            // Hidden files are the leavings of editors and copies.
            if !name.starts_with('.') {
                entries.push(Entry { name, folder, link });
            }
        }
        let age = changed.and_then(|time| SystemTime::now().duration_since(time).ok());
        let settled = age.is_some_and(|age| age > TICK);
        let known = Known { changed, listed, took: listed.elapsed(), settled, entries: entries.clone() };
        self.known.insert(folder.to_owned(), known);
        Ok(entries)
    }

    /// The scans of a path: itself, or the datasets in it that the pattern fits.
    pub fn scans(&self, path: &Path) -> Result<Vec<String>, Error> {
        let full = std::path::absolute(path).map_err(|e| Error::io("cannot find", path, &e))?;
        let full = full.display();
        match &self.inside {
            None => Ok(vec![full.to_string()]),
            Some(inside) => datasets(&format!("{full}::{inside}")),
        }
    }

    /// The name of a scan's folder: what the pattern leaves open.
    pub fn name(&self, scan: &str) -> String {
        let (file, inside) = scan.split_once("::").unwrap_or((scan, ""));
        let root = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        let near = Path::new(file).strip_prefix(&root).unwrap_or(Path::new(file)).with_extension("");
        let names = near.iter().map(|name| name.to_string_lossy().into_owned());
        let open = self.inside.as_ref().is_some_and(|inside| inside.contains(['*', '?', '#']));
        let below = inside.split('/').filter(|name| open && !name.is_empty()).map(str::to_owned);
        names.chain(below).collect::<Vec<_>>().join("-")
    }
}

/// Scans that have appeared and may still be written.
pub(super) struct Settling {
    rest: Duration,
    waiting: Vec<(PathBuf, Stamp, Instant)>,
}

/// How large a file is and when it was changed.
type Stamp = Option<(u64, Option<SystemTime>)>;

impl Settling {
    /// Nothing yet; scans are ready when they have not changed for so long.
    pub fn new(rest: Duration) -> Settling {
        Settling { rest, waiting: vec![] }
    }

    /// Adds a scan.
    pub fn add(&mut self, path: PathBuf) {
        let stamp = stamp(&path);
        self.waiting.push((path, stamp, Instant::now()));
    }

    /// Takes those that rest; one that has gone is forgotten.
    pub fn ready(&mut self) -> Vec<PathBuf> {
        let mut ready = vec![];
        let rest = self.rest;
        self.waiting.retain_mut(|(path, before, since)| {
            let now = stamp(path);
            if now != *before {
                (*before, *since) = (now, Instant::now());
            }
            let Some((_, changed)) = now else { return false };
            let age = changed.and_then(|time| SystemTime::now().duration_since(time).ok());
            let rests = since.elapsed() >= rest || age.is_some_and(|age| age >= rest);
            if rests {
                ready.push(path.clone());
            }
            !rests
        });
        ready
    }

    /// Whether none is waited for.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    fn names(finder: &mut Finder) -> Vec<String> {
        finder.look().unwrap().iter().map(|path| finder.name(&finder.scans(path).unwrap()[0])).collect()
    }

    /// The names of the next look that finds any: a folder that took long to list is left alone for a while.
    fn next(finder: &mut Finder) -> Vec<String> {
        let since = Instant::now();
        loop {
            let found = names(finder);
            if !found.is_empty() {
                return found;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "nothing was found");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_pattern_finds_each_scan_once_in_natural_order() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        for name in ["raw/scan10.h5", "raw/scan9.h5", "raw/a/b/scan1.h5", "raw/dark.h5", "raw/.scan3.h5"] {
            put(name);
        }
        let pattern = |text: &str| format!("{}/{text}", folder.path().display());
        let mut finder = Finder::new(&pattern("raw/**/scan*.h5")).unwrap();
        assert_eq!(names(&mut finder), ["a-b-scan1", "scan9", "scan10"]);
        put("raw/a/scan2.h5");
        assert_eq!(next(&mut finder), ["a-scan2"]);
        assert!(names(&mut finder).is_empty());
        let mut folders = Finder::new(&pattern("raw/?")).unwrap();
        assert_eq!(names(&mut folders), ["a"]);
        let mut later = Finder::new(&pattern("new/scan*.h5")).unwrap();
        assert!(names(&mut later).is_empty());
        put("new/scan1.h5");
        assert_eq!(next(&mut later), ["scan1"]);
        assert!(Finder::new("raw/**").is_err() && Finder::new("").is_err());
    }

    #[test]
    fn a_file_that_is_written_to_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.h5");
        std::fs::write(&path, "a").unwrap();
        let mut settling = Settling::new(Duration::from_secs(3600));
        settling.add(path.clone());
        assert!(settling.ready().is_empty() && !settling.is_empty());
        // A file of long ago rests already.
        let old = SystemTime::now() - Duration::from_secs(7200);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(settling.ready(), std::slice::from_ref(&path));
        assert!(settling.is_empty());
        settling.add(path.clone());
        std::fs::remove_file(&path).unwrap();
        assert!(settling.ready().is_empty() && settling.is_empty());
    }
}
