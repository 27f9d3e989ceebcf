//! The journal of a recorder: what it has taken and no whole file holds yet.
//!
//! It is the unsealed part of a set. A file `.isard/journal/STAGE.NUMBER` grows at its end only: a head, then blocks,
//! each with its checksum and its frames in front and a commit behind it. A commit says how much of the file was known
//! to be on the disk when it was written, so that damage can be told from what a power cut was free to forget.
//! A new journal is safely there before the old one goes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::store::INNER;
use crate::store::files::{Files, create_all, fault};
use crate::value::{Dict, Value, decode, encode};

/// The folder of journals, below that of a run.
pub(crate) const JOURNAL: &str = "journal";

const MAGIC: &[u8; 4] = b"isrj";
/// Magic, kind, bytes and frames of what follows, its checksum, and the checksum of all this.
const HEADER: usize = 4 + 4 + 8 + 8 + 8 + 4 + 4;
const HEAD: u32 = 1;
const BLOCK: u32 = 2;
const COMMIT: u32 = 3;

/// When what a recorder has taken is put on the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyncPolicy {
    /// After this many seconds at the latest.
    pub seconds: f64,
    /// After this many bytes at the latest.
    pub bytes: u64,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        SyncPolicy { seconds: 1.0, bytes: 256 << 20 }
    }
}

/// The journal that a recorder writes.
pub(crate) struct Journal {
    files: Arc<dyn Files>,
    folder: PathBuf,
    stage: String,
    policy: SyncPolicy,
    /// The number of the open file, and those of older ones that have not gone yet.
    number: u64,
    old: Vec<PathBuf>,
    open: bool,
    bytes: u64,
    synced: u64,
    /// Since when there are bytes that a power cut would take.
    since: Option<Instant>,
    buffer: Vec<u8>,
}

impl Journal {
    /// The journal of a stage below a run's folder; nothing is written yet.
    pub fn new(files: Arc<dyn Files>, root: &Path, stage: &str, policy: SyncPolicy) -> Result<Journal> {
        let folder = root.join(INNER).join(JOURNAL);
        let old: Vec<(u64, PathBuf)> = named(&*files, &folder)?
            .into_iter()
            .filter(|(of, _, _)| of == stage)
            .map(|(_, number, path)| (number, path))
            .collect();
        let number = old.iter().map(|(n, _)| *n).max().unwrap_or(0);
        Ok(Journal {
            files,
            folder,
            stage: stage.to_owned(),
            policy,
            number,
            old: old.into_iter().map(|(_, path)| path).collect(),
            open: false,
            bytes: 0,
            synced: 0,
            since: None,
            buffer: vec![],
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.{:08}", self.stage, self.number))
    }

    /// Begins anew: `head` says what the whole files hold, blocks come after it.
    pub fn begin(&mut self, head: &Dict) -> Result<()> {
        let files = self.files.clone();
        if self.open {
            self.old.push(self.path());
        }
        self.number += 1;
        let path = self.path();
        self.buffer.clear();
        record(&mut self.buffer, HEAD, 0..0, |out| encode(&Value::Dict(head.clone()), out));
        commit(&mut self.buffer, 0);
        create_all(&*files, &self.folder).map_err(|e| fault(&*files, "make folder", &self.folder, &e))?;
        let at = |what: &'static str| {
            let (files, path) = (files.clone(), path.clone());
            move |e: std::io::Error| fault(&*files, what, &path, &e)
        };
        files.write_new(&path, &self.buffer).map_err(at("write"))?;
        files.sync(&path).map_err(at("sync"))?;
        files.sync_dir(&self.folder).map_err(at("sync folder of"))?;
        (self.open, self.since) = (true, None);
        self.bytes = self.buffer.len() as u64;
        self.synced = self.bytes;
        // Nobody needs the old one now; one that stays is passed over for its number.
        self.old.drain(..).for_each(|old| drop(files.remove(&old)));
        Ok(())
    }

    /// Whether there is a head to add blocks to.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Adds a block with the frames it holds, and commits it.
    pub fn add(&mut self, frames: Range<u64>, block: &Value) -> Result<()> {
        self.buffer.clear();
        record(&mut self.buffer, BLOCK, frames, |out| encode(block, out));
        commit(&mut self.buffer, self.synced);
        let path = self.path();
        self.files.append(&path, &self.buffer).map_err(|e| self.lasting("write", &path, &e))?;
        self.bytes += self.buffer.len() as u64;
        self.since.get_or_insert_with(Instant::now);
        self.sync_if_due()
    }

    /// An error that is not tried again: half a block may be there, and what came behind it would be lost.
    fn lasting(&self, what: &str, path: &Path, error: &std::io::Error) -> Error {
        let fault = fault(&*self.files, what, path, error);
        if fault.is_transient() { Error::io(what, path, error) } else { fault }
    }

    /// Puts what there is on the disk when the policy says so.
    pub fn sync_if_due(&mut self) -> Result<()> {
        let Some(since) = self.since else { return Ok(()) };
        let late = since.elapsed() >= Duration::from_secs_f64(self.policy.seconds.clamp(0.0, 1e9));
        if late || self.bytes - self.synced >= self.policy.bytes {
            let path = self.path();
            self.files.sync(&path).map_err(|e| self.lasting("sync", &path, &e))?;
            (self.synced, self.since) = (self.bytes, None);
        }
        Ok(())
    }
}

/// Appends a record.
fn record(out: &mut Vec<u8>, kind: u32, frames: Range<u64>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.resize(at + HEADER, 0);
    body(out);
    let length = (out.len() - at - HEADER) as u64;
    let sum = crc32fast::hash(&out[at + HEADER..]);
    let head = &mut out[at..at + HEADER];
    head[..4].copy_from_slice(MAGIC);
    head[4..8].copy_from_slice(&kind.to_le_bytes());
    head[8..16].copy_from_slice(&length.to_le_bytes());
    head[16..24].copy_from_slice(&frames.start.to_le_bytes());
    head[24..32].copy_from_slice(&(frames.end - frames.start).to_le_bytes());
    head[32..36].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&head[..36]);
    head[36..].copy_from_slice(&sum.to_le_bytes());
}

fn commit(out: &mut Vec<u8>, synced: u64) {
    record(out, COMMIT, 0..0, |out| out.extend(synced.to_le_bytes()));
}

/// A block of a journal that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its number in the journal, counted from 0.
    pub number: u64,
    /// Its frames.
    pub frames: Range<u64>,
    /// Where its value stands.
    body: Range<usize>,
    /// Whether its bytes are those that were written.
    pub whole: bool,
}

/// A journal as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The file.
    pub path: PathBuf,
    /// The stage that wrote it.
    pub stage: String,
    /// What the whole files held when it began.
    pub head: Dict,
    /// The blocks up to the last commit.
    pub blocks: Vec<Block>,
    /// Bytes behind the last commit, which a repair cuts off.
    pub cut: u64,
    /// What is not as it was written although it had been on the disk, in words.
    pub damage: Vec<String>,
    bytes: Vec<u8>,
}

impl Found {
    /// The value of a block.
    pub fn value(&self, block: &Block) -> Result<Value> {
        decode(&self.bytes[block.body.clone()]).map_err(|e| e.at(self.path.display().to_string()))
    }
}

/// The journals of a folder, the newest of each stage that has a head.
pub(crate) fn journals(files: &dyn Files, root: &Path) -> Result<Vec<Found>> {
    let folder = root.join(INNER).join(JOURNAL);
    let mut names = named(files, &folder)?;
    names.sort();
    let mut found: Vec<Found> = vec![];
    for (stage, _, path) in names.into_iter().rev() {
        if found.iter().any(|f| f.stage == stage) {
            continue;
        }
        let bytes = files.read(&path).map_err(|e| fault(files, "read", &path, &e))?;
        // One without a head was cut off while it began: the one before it counts.
        found.extend(scan(path, stage, bytes));
    }
    found.reverse();
    Ok(found)
}

/// Removes all journals: what they hold is in whole files, or is not wanted.
pub(crate) fn drop_journals(files: &dyn Files, root: &Path) -> Result<()> {
    let folder = root.join(INNER).join(JOURNAL);
    let names = named(files, &folder)?;
    if names.is_empty() {
        return Ok(());
    }
    let at = |e: std::io::Error| fault(files, "remove journals in", &folder, &e);
    names.iter().try_for_each(|(_, _, path)| files.remove(path)).map_err(at)?;
    files.sync_dir(&folder).map_err(at)
}

/// Stage, number and path of each journal.
fn named(files: &dyn Files, folder: &Path) -> Result<Vec<(String, u64, PathBuf)>> {
    let at = |e: std::io::Error| fault(files, "look for journals in", folder, &e);
    if !files.exists(folder).map_err(at)? {
        return Ok(vec![]);
    }
    let entries = files.list(folder).map_err(at)?;
    let split = |name: &str| {
        let (stage, number) = name.rsplit_once('.')?;
        Some((stage.to_owned(), number.parse().ok()?))
    };
    Ok(entries
        .iter()
        .filter_map(|e| split(&e.name).map(|(stage, number)| (stage, number, folder.join(&e.name))))
        .collect())
}

/// One record of a journal's bytes.
struct Record {
    kind: u32,
    frames: Range<u64>,
    body: Range<usize>,
    whole: bool,
}

/// The record that begins at a byte, if its header is whole.
fn read(bytes: &[u8], at: usize) -> Option<Record> {
    let head = bytes.get(at..at + HEADER)?;
    let word = |from: usize| u32::from_le_bytes(head[from..from + 4].try_into().expect("four bytes"));
    let long = |from: usize| u64::from_le_bytes(head[from..from + 8].try_into().expect("eight bytes"));
    if head[..4] != *MAGIC || crc32fast::hash(&head[..36]) != word(36) {
        return None;
    }
    let end = (at + HEADER).checked_add(usize::try_from(long(8)).ok()?)?;
    let body = at + HEADER..end;
    let whole = bytes.get(body.clone()).is_some_and(|body| crc32fast::hash(body) == word(32));
    let frames = long(16)..long(16).saturating_add(long(24));
    Some(Record { kind: word(4), frames, body: body.start..body.end.min(bytes.len()), whole })
}

/// What the bytes of a journal hold; none when its head is not whole.
fn scan(path: PathBuf, stage: String, bytes: Vec<u8>) -> Option<Found> {
    let first = read(&bytes, 0).filter(|r| r.kind == HEAD && r.whole)?;
    let Ok(Value::Dict(head)) = decode(&bytes[first.body.clone()]) else { return None };
    let (mut at, mut committed, mut synced) = (first.body.end, first.body.end, first.body.end);
    let (mut blocks, mut waiting): (Vec<Block>, Vec<Block>) = (vec![], vec![]);
    // Places where no record begins, and where the next one does.
    let mut holes: Vec<Range<usize>> = vec![];
    let mut number = 0;
    while at < bytes.len() {
        let Some(record) = read(&bytes, at) else {
            let next = (at + 1..bytes.len()).find(|p| read(&bytes, *p).is_some());
            let next = next.unwrap_or(bytes.len());
            holes.push(at..next);
            at = next;
            continue;
        };
        let (start, end) = (at, record.body.end);
        at = end;
        match record.kind {
            COMMIT if record.whole && record.body.len() == 8 => {
                let said = bytes[record.body.clone()].try_into().expect("eight bytes");
                synced = synced.max(u64::from_le_bytes(said) as usize);
                blocks.append(&mut waiting);
                committed = end;
            }
            BLOCK => {
                let (frames, body, whole) = (record.frames, record.body, record.whole);
                waiting.push(Block { number, frames, body, whole });
                number += 1;
            }
            _ => holes.push(start..end),
        }
    }
    // Up to the first fault that a power cut may have made; what it was not free to forget is damage.
    let bad = blocks.iter().filter(|b| !b.whole).map(|b| b.body.clone()).chain(holes.iter().cloned());
    let first_torn = bad.map(|r| r.start).filter(|start| *start >= synced).min();
    if let Some(torn) = first_torn {
        blocks.retain(|b| b.body.end <= torn);
        committed = committed.min(torn);
    }
    let mut damage: Vec<String> = vec![];
    for block in blocks.iter().filter(|b| !b.whole) {
        let frames = crate::span::Span::frames(block.frames.start, block.frames.end - block.frames.start);
        damage.push(format!("block {} with {frames} does not match its checksum", block.number));
    }
    for hole in holes.iter().filter(|h| h.start < committed) {
        damage.push(format!("bytes {} to {} are no block", hole.start, hole.end));
    }
    let cut = bytes.len().saturating_sub(committed) as u64;
    Some(Found { path, stage, head, blocks, cut, damage, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::ForgetfulFiles;
    use crate::value::Array;

    const NEVER: SyncPolicy = SyncPolicy { seconds: 1e9, bytes: u64::MAX };

    fn begun(policy: SyncPolicy) -> (Arc<ForgetfulFiles>, Journal) {
        let disk = Arc::new(ForgetfulFiles::new());
        let mut journal = Journal::new(disk.clone(), Path::new("/out"), "raw", policy).unwrap();
        journal.begin(&Dict::new().with("state", 7)).unwrap();
        (disk, journal)
    }

    fn block(n: u64) -> Value {
        Array::from_slice(&[n; 40]).into()
    }

    fn one(disk: &ForgetfulFiles) -> Found {
        journals(disk, Path::new("/out")).unwrap().pop().expect("a journal")
    }

    fn numbers(found: &Found) -> Vec<u64> {
        found.blocks.iter().filter(|b| b.whole).map(|b| b.frames.start).collect()
    }

    #[test]
    fn blocks_come_back_and_a_new_journal_takes_the_place_of_the_old() {
        let (disk, mut journal) = begun(NEVER);
        (0..5).for_each(|n| journal.add(n..n + 1, &block(n)).unwrap());
        let found = one(&disk);
        assert_eq!((numbers(&found), found.cut, found.damage.len()), (vec![0, 1, 2, 3, 4], 0, 0));
        assert_eq!(found.head.get("state"), Some(&Value::Int(7)));
        assert_eq!(found.value(&found.blocks[3]).unwrap(), block(3));
        journal.begin(&Dict::new().with("state", 8)).unwrap();
        journal.add(5..6, &block(5)).unwrap();
        let found = one(&disk);
        assert_eq!((numbers(&found), found.head.get("state")), (vec![5], Some(&Value::Int(8))));
        assert_eq!(disk.list(Path::new("/out/.isard/journal")).unwrap().len(), 1);
        drop_journals(&*disk, Path::new("/out")).unwrap();
        assert!(journals(&*disk, Path::new("/out")).unwrap().is_empty());
    }

    #[test]
    fn a_journal_cut_anywhere_is_cut_back_to_a_commit() {
        let (disk, mut journal) = begun(NEVER);
        (0..3).for_each(|n| journal.add(n..n + 1, &block(n)).unwrap());
        let (path, whole) = (journal.path(), disk.read(&journal.path()).unwrap());
        let head = (0..whole.len()).rfind(|at| read(&whole[..*at], 0).is_none_or(|r| !r.whole)).unwrap() + 1;
        for length in head..whole.len() {
            disk.damage(&path, |b| *b = whole[..length].to_vec());
            let found = one(&disk);
            assert!(found.damage.is_empty() && found.blocks.iter().all(|b| b.whole), "{length}: {found:?}");
            // Block and commit take the same room each time.
            let room = (whole.len() - head) as f64 - 48.0;
            let wanted = ((length as f64 - head as f64 - 48.0) / (room / 3.0)).max(0.0) as usize;
            assert_eq!(found.blocks.len(), wanted, "cut at {length} of {}", whole.len());
        }
        disk.damage(&path, |b| b.truncate(head - 1));
        assert!(journals(&*disk, Path::new("/out")).unwrap().is_empty(), "half a head is none");
    }

    #[test]
    fn damage_of_what_was_on_the_disk_is_named_and_the_rest_is_kept() {
        let (disk, mut journal) = begun(SyncPolicy { seconds: 0.0, bytes: 1 });
        (0..5).for_each(|n| journal.add(n * 2..n * 2 + 2, &block(n)).unwrap());
        let found = one(&disk);
        let (body, header) = (found.blocks[1].body.start + 9, found.blocks[2].body.start - 9);
        disk.damage(&journal.path(), |b| b[body] ^= 4);
        let found = one(&disk);
        assert_eq!(numbers(&found), [0, 4, 6, 8]);
        assert_eq!(found.damage, ["block 1 with frames 2..4 does not match its checksum"]);
        disk.damage(&journal.path(), |b| b[header] ^= 4);
        let found = one(&disk);
        assert_eq!((numbers(&found), found.damage.len()), (vec![0, 6, 8], 2), "{found:?}");
        // Without a sync in between the same could be a power cut, and all behind it goes.
        let (disk, mut journal) = begun(NEVER);
        (0..5).for_each(|n| journal.add(n * 2..n * 2 + 2, &block(n)).unwrap());
        disk.damage(&journal.path(), |b| b[body] ^= 4);
        let found = one(&disk);
        assert_eq!((numbers(&found), found.damage.len()), (vec![0], 0));
        assert!(found.cut > 0);
    }

    #[test]
    fn a_power_cut_takes_only_what_was_not_synced() {
        for seed in 0..200 {
            let (disk, mut journal) = begun(SyncPolicy { seconds: 1e9, bytes: 2000 });
            let mut safe = 0;
            for n in 0..23 {
                journal.add(n..n + 1, &block(n)).unwrap();
                if journal.synced == journal.bytes {
                    safe = n + 1;
                }
            }
            disk.crash(seed);
            let found = one(&disk);
            let kept = numbers(&found);
            assert!(kept.iter().copied().eq(0..kept.len() as u64), "{kept:?}");
            assert!(kept.len() as u64 >= safe && safe >= 8, "seed {seed}: {} of {safe}", kept.len());
            assert!(found.damage.is_empty(), "seed {seed}: {:?}", found.damage);
        }
    }
}
