//! The only door to output files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::error::{Blame, Error};
use crate::store::hex;

/// The kinds of operation on files; tests count them and stop at any one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Make one folder.
    CreateDir,
    /// Make a file and write all of it.
    WriteNew,
    /// Write at the end of a file.
    Append,
    /// Put a file's bytes on the disk.
    Sync,
    /// Put a folder's names on the disk.
    SyncDir,
    /// Give a file another name.
    Rename,
    /// Give a file a second name.
    Link,
    /// Take a file's name away.
    Remove,
    /// Take an empty folder away.
    RemoveDir,
    /// Read a file.
    Read,
    /// List a folder.
    List,
    /// Ask whether a name is taken.
    Exists,
    /// Ask for free space.
    FreeBytes,
}

impl Op {
    /// Whether it changes what is on the disk.
    pub fn writes(self) -> bool {
        !matches!(self, Op::Read | Op::List | Op::Exists | Op::FreeBytes)
    }
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Its bytes; 0 for a folder.
    pub bytes: u64,
}

/// Operations on files, each as small as a power cut can see.
pub trait Files: Send + Sync {
    /// Makes one folder; it must not exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file and writes all bytes; it must not exist.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Writes at the end of a file, which is made when it does not exist.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the bytes of a file are on the disk.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in a folder are on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in one step; what had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; it must not be taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Takes an empty folder away.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file to read it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Whether a name is taken.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Waits until no other run of this machine has the guard of that name; it is held until dropped.
    fn guard(&self, path: &Path) -> io::Result<Box<dyn Send>>;
    /// Bytes that can still be written below a folder.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Returns when the bytes of all these files are on the disk.
    fn sync_many(&self, paths: &[std::path::PathBuf]) -> io::Result<()> {
        paths.iter().try_for_each(|path| self.sync(path))
    }

    /// Opens a file to read what is on the disk, not what is remembered of it; as far as the system can tell them apart.
    fn open_disk(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.open(path)
    }

    /// Reads all of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Files of this size are written past the page cache.
#[cfg(target_os = "linux")]
const DIRECT: usize = 16 << 20;

/// What direct writes must be aligned to, in the file and in memory; no disk in use wants more.
#[cfg(target_os = "linux")]
const BLOCK: usize = 4 << 10;

/// Writes as many whole blocks as the system takes past the page cache, and says how many bytes those are.
///
/// Large files are synced as soon as they are written: through the page cache that takes two to four times as long and
/// pushes out what others read. A file system that does not know of it takes nothing, and the rest goes the usual way.
#[cfg(target_os = "linux")]
fn write_direct(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    const PIECE: usize = 256 * BLOCK;
    let usual = fcntl_getfl(&*file)?;
    if fcntl_setfl(&*file, usual | OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let mut memory = vec![0; PIECE + BLOCK];
    let first = memory.as_ptr().align_offset(BLOCK);
    let mut done = 0;
    while bytes.len() - done >= BLOCK {
        let n = (bytes.len() - done).min(PIECE) / BLOCK * BLOCK;
        let piece = &mut memory[first..first + n];
        piece.copy_from_slice(&bytes[done..done + n]);
        match file.write(piece) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // It wants another alignment than this one, or half a block was taken.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => break,
            Err(e) => return Err(e),
        }
    }
    fcntl_setfl(&*file, usual)?;
    Ok(done)
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        #[cfg(target_os = "linux")]
        let bytes = if bytes.len() >= DIRECT { &bytes[write_direct(&mut file, bytes)?..] } else { bytes };
        file.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).create(true).open(path)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_many(&self, paths: &[std::path::PathBuf]) -> io::Result<()> {
        // One call for the whole file system: a thousand small files take as long as one, some 10 ms.
        #[cfg(target_os = "linux")]
        if paths.len() > 8 {
            return Ok(rustix::fs::syncfs(File::open(&paths[0])?)?);
        }
        paths.iter().try_for_each(|path| self.sync(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_disk(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(path)?;
        // Synced pages are let go, so that the read below comes from the disk. A system that keeps them is no error.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(Box::new(file))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = std::fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().into_string().map_err(|name| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("name {name:?} is not UTF-8"))
                })?;
                let folder = entry.file_type()?.is_dir();
                // A link into nowhere has no bytes, but it is there.
                let bytes = if folder { 0 } else { std::fs::metadata(entry.path()).map_or(0, |m| m.len()) };
                Ok(Entry { name, folder, bytes })
            })
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn guard(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.lock() {
            // A file system without locks leaves the care to files that must not exist.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
            other => other?,
        }
        Ok(Box::new(file))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let room = rustix::fs::statvfs(path)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// The error of an operation on an output file, with what to try.
pub(crate) fn fault(files: &dyn Files, what: &str, path: &Path, error: &io::Error) -> Error {
    use io::ErrorKind as K;
    let fault = Error::io(what, path, error);
    if fault.blame() == Blame::Resources {
        let parent = path.ancestors().skip(1).find(|p| files.exists(p).unwrap_or(false));
        let free = parent.and_then(|p| files.free_bytes(p).ok());
        let free = free.map_or(String::new(), |n| format!("{} MB are free; ", n / 1_000_000));
        return fault.help(format!(
            "{free}make room or raise the quota, then `isard resume` goes on from the last checkpoint"
        ));
    }
    match error.kind() {
        K::Interrupted | K::TimedOut | K::WouldBlock | K::ResourceBusy | K::StaleNetworkFileHandle => {
            fault.transient()
        }
        K::PermissionDenied => fault.help("check who may write there, or choose another folder with `--out`"),
        K::ReadOnlyFilesystem => fault.help("choose another folder with `--out`"),
        _ => fault,
    }
}

/// Makes a folder and those above it, each name put on the disk; what exists is left alone.
///
/// One at a time: a folder that another stage has just made may not be on the disk yet.
pub(crate) fn create_all(files: &dyn Files, path: &Path) -> io::Result<()> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    create_below(files, path)
}

fn create_below(files: &dyn Files, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || files.exists(path)? {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    create_below(files, above)?;
    match files.create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => files.sync_dir(above),
    }
}

/// Compares a file on the disk with the digest of what was written to it.
pub(crate) fn digest_back(files: &dyn Files, path: &Path, sha256: &str) -> Result<(), Error> {
    let at = |e: io::Error| fault(files, "read back", path, &e);
    let (_, found) = digest_of(files.open_disk(path).map_err(at)?).map_err(at)?;
    if found == sha256 {
        return Ok(());
    }
    let text =
        format!("{} is not what was written to it: its SHA-256 is {found}, wanted {sha256}", path.display());
    Err(Error::new(Blame::Io, text).help("the disk or the way to it changes bytes: record to another one"))
}

/// Length and SHA-256 of what a reader gives.
pub(crate) fn digest_of(mut reader: Box<dyn Read + Send>) -> io::Result<(u64, String)> {
    let mut buffer = vec![0; 1 << 20];
    let (mut bytes, mut digest) = (0, Sha256::new());
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex(&digest.finalize()))),
            Ok(n) => {
                bytes += n as u64;
                digest.update(&buffer[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Compares a file on the disk with what was written to it.
pub(crate) fn read_back(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let at = |e: io::Error| fault(files, "read back", path, &e);
    let mut reader = files.open_disk(path).map_err(at)?;
    let (mut buffer, mut seen) = (vec![0; 1 << 20], 0);
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(at(e)),
        };
        let wanted = &bytes[seen..bytes.len().min(seen + n)];
        if n == 0 && seen == bytes.len() {
            return Ok(());
        }
        if n == 0 || buffer[..n] != *wanted {
            let first = buffer[..n].iter().zip(wanted).take_while(|(a, b)| a == b).count();
            let text = format!(
                "{} is not what was written to it: it differs from byte {} of {} on",
                path.display(),
                seen + first,
                bytes.len()
            );
            return Err(Error::new(Blame::Io, text)
                .help("the disk or the way to it changes bytes: record to another one"));
        }
        seen += n;
    }
}
