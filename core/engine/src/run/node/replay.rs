//! Streams between passes: kept on disk by one thread, played again by another.
//!
//! A kept stream is a row of numbered files, each whole and never touched again, like any output: a run that goes on
//! from inside the pass finds the files it had at the mark, and one that restarts the pass writes them anew.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::plan::NodeId;
use crate::run::edge::{Inbox, Item};
use crate::run::index::{INDEX, Index, file};
use crate::run::kept::{item_dict, item_of};
use crate::run::node::{Committed, Finals, Pace, Post};
use crate::run::scope::KeptAt;
use crate::span::{Chunk, SNAPSHOT};
use crate::stage::Output;
use crate::store::{ContentDigest, Files, sha256};
use crate::value::{Dict, Key, Value, decode, encode};

/// Under this name the final values of a stage say where its stream is kept; no port can be called so.
pub const KEPT: &str = "kept stream";

/// Bytes to a file, about: large enough that syncing costs little, small enough to hold in memory.
const BLOCK: usize = 8 << 20;

/// Keeps a stream for a later pass, a merge or a later run.
pub struct KeepNode {
    /// The common part.
    pub post: Post,
    /// The stream.
    pub inbox: Inbox,
    /// The stage listened to.
    pub of: NodeId,
    /// Where the files go, below the folder of kept streams.
    pub path: String,
    /// Takes the files.
    pub output: Arc<dyn Output>,
    /// Told after each commit.
    pub committed: Committed,
    /// Where later passes look for the stream.
    pub finals: Arc<Finals>,
    /// What stands beside the stream, as far as it is known before the stream.
    pub index: Index,
    /// The sources and players whose stop would cut the stream short.
    pub behind: Vec<NodeId>,
}

impl KeepNode {
    /// Keeps the stream to its end.
    pub fn run(mut self) -> Result<Dict> {
        let mut content = ContentDigest::default();
        if let Some(state) = self.post.resumed()? {
            if let Some(Value::List(digests)) = state.get("sha256") {
                self.index.files = digests.iter().filter_map(|d| d.text().map(str::to_owned)).collect();
            }
            if let Some(Value::Dict(saved)) = state.get("content") {
                content = ContentDigest::load(saved)?;
            }
        }
        let mut block: Vec<u8> = vec![];
        loop {
            let item = self.post.next(&self.inbox)?;
            digest(&mut content, &item)?;
            if let Some(dict) = item_dict(&item) {
                let mut bytes = vec![];
                encode(&Value::Dict(dict), &mut bytes);
                block.extend((bytes.len() as u64).to_le_bytes());
                block.extend(bytes);
            }
            let full = block.len() >= BLOCK;
            let commits = matches!(item, Item::Mark(_) | Item::End);
            if full || (commits && !block.is_empty()) {
                self.seal(&format!("{:08}", self.index.files.len()), &block)?;
                self.index.files.push(sha256(&block));
                block.clear();
            }
            match item {
                Item::Mark(mark) => {
                    (self.committed)(Some(mark));
                    let digests: Vec<Value> =
                        self.index.files.iter().map(|d| Value::from(d.as_str())).collect();
                    self.post
                        .mark(mark, Dict::new().with("sha256", digests).with("content", content.save()))?;
                }
                Item::End => break,
                Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
                Item::Chunk(_) | Item::Gap(_) => (),
            }
        }
        if !self.post.control.were_cut_short().iter().any(|id| self.behind.contains(id)) {
            // Only a whole stream may be taken for the stage's output by others than this run.
            self.index.content = content.finish();
            self.seal(INDEX, &self.index.pack())?;
        }
        (self.committed)(None);
        let kept = Dict::new().with("path", self.path.as_str()).with("files", self.index.files.len() as i64);
        self.finals.set(self.of, Key::Static(KEPT), Value::Dict(kept.clone()));
        Ok(Dict::new().with("values", Dict::new().with(KEPT, kept)))
    }

    fn seal(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = format!("{}/{name}", self.path);
        self.post.meter.call("keep", &crate::run::graph::none(), || self.output.seal(&path, bytes))
    }
}

/// Adds what is final of an item: how many snapshots came before depends on timing.
fn digest(content: &mut ContentDigest, item: &Item) -> Result<()> {
    match item {
        Item::Chunk(chunk) if chunk.span.axis != SNAPSHOT => content.add(chunk),
        Item::Chunk(chunk) if chunk.last => {
            let mut last: Chunk = chunk.clone();
            last.span.start = 0;
            content.add(&last)
        }
        Item::Gap(gap) => {
            content.gap(gap);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Plays a kept stream again.
pub struct ReplayNode {
    /// The common part.
    pub post: Post,
    /// The door to the files.
    pub files: Arc<dyn Files>,
    /// Where the stream is kept, place after place; none when it was not.
    pub kept: Option<Vec<KeptAt>>,
    /// The rate it is played at, when the recipe says one.
    pub pace: Option<Pace>,
    /// For how long frames that are due wait for others of their chunk.
    pub latency: Duration,
}

/// Where a player is in a kept stream.
#[derive(Clone, Copy)]
struct Place {
    file: u64,
    /// The byte at which the next item begins.
    at: usize,
    /// Frames of it that were given already.
    given: u64,
}

/// The longest time that a player waits before it looks up.
const NAP: Duration = Duration::from_millis(20);

impl ReplayNode {
    /// Plays the stream to its end.
    pub fn run(mut self) -> Result<Dict> {
        let Some(kept) = self.kept.take() else {
            let error = Error::recipe("the stream that is played again was not kept: its pass was skipped");
            return Err(error.at(format!("`{}`", self.post.meter.name)));
        };
        let state = self.post.resumed()?.unwrap_or_default();
        // The files of all places are counted through.
        let whole = |key: &str| state.get(key).and_then(Value::number).unwrap_or(0.0) as u64;
        let mut place = Place { file: whole("file"), at: whole("at") as usize, given: whole("given") };
        let paths: Vec<_> = kept.iter().flat_map(|k| (0..k.files).map(|n| file(&k.folder, n))).collect();
        // Also one that was asked for before this thread began: all have to pass the same marks.
        let mut seen_mark = self.post.control.first_mark;
        let mut last = 0;
        while let Some(path) = paths.get(place.file as usize) {
            let bytes = self.files.read(path).map_err(|e| Error::io("play a kept stream from", path, &e))?;
            while place.at < bytes.len() {
                if self.stands_still(&mut seen_mark, place)? {
                    return self.end(place);
                }
                let (item, next) =
                    read_item(&bytes, place.at).map_err(|e| e.at(path.display().to_string()))?;
                match item {
                    Item::Chunk(chunk) => {
                        last = chunk.span.end();
                        if !self.give(&chunk, &mut place, &mut seen_mark)? {
                            return self.end(place);
                        }
                    }
                    item => self.post.outlet.send(item)?,
                }
                place = Place { at: next, given: 0, ..place };
            }
            place = Place { file: place.file + 1, at: 0, given: 0 };
        }
        if let Some(pace) = &self.pace {
            pace.report(&self.post.meter.name, last);
        }
        self.end(place)
    }

    /// Gives a chunk; at a rate as a detector would, no frame before its time. Says whether all of it went.
    fn give(&mut self, chunk: &Chunk, place: &mut Place, seen_mark: &mut u64) -> Result<bool> {
        // Since when a frame that is due waits for the others.
        let mut waits: Option<Instant> = None;
        loop {
            let (start, left) = (chunk.span.start + place.given, chunk.span.len - place.given);
            let ready = match &mut self.pace {
                None => Ok(left),
                Some(pace) => match pace.due(start) {
                    Err(pause) => Err(pause),
                    // Other records than frames have no time of their own.
                    Ok(due) if due >= left || !chunk.span.is_frames() => Ok(left),
                    Ok(due) => {
                        let waited = waits.get_or_insert_with(Instant::now).elapsed();
                        let whole = pace.due(chunk.span.end() - 1).err().unwrap_or_default();
                        match self.latency.checked_sub(waited).filter(|rest| !rest.is_zero()) {
                            Some(rest) => Err(whole.min(rest)),
                            None => Ok(due),
                        }
                    }
                },
            };
            match ready {
                // A chunk without records goes, too: it says which frames it covers.
                Ok(count) => {
                    self.post.meter.took(count);
                    self.post.meter.gave();
                    self.post.outlet.send(Item::Chunk(chunk.cut(start, start + count)?))?;
                    (place.given, waits) = (place.given + count, None);
                    if count == left {
                        return Ok(true);
                    }
                }
                Err(pause) => {
                    std::thread::sleep(pause.min(NAP));
                    if self.stands_still(seen_mark, *place)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Passes a mark on when one is asked for; says whether the run was stopped.
    fn stands_still(&mut self, seen_mark: &mut u64, at: Place) -> Result<bool> {
        self.post.check()?;
        let stopped = self.post.control.stop.load(std::sync::atomic::Ordering::Relaxed);
        if stopped {
            // Whoever stops a run wants to go on later: the last thing before the end is a mark.
            self.post.control.ask_mark(*seen_mark);
            self.post.control.cut_short(self.post.id);
        }
        let wanted = self.post.control.mark();
        if wanted > *seen_mark {
            *seen_mark = wanted;
            self.post.mark(wanted, at.to_dict())?;
        }
        Ok(stopped)
    }

    fn end(mut self, at: Place) -> Result<Dict> {
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(at.to_dict()))
    }
}

impl Place {
    fn to_dict(self) -> Dict {
        Dict::new().with("file", self.file as i64).with("at", self.at as i64).with("given", self.given as i64)
    }
}

/// The last chunk of a kept stream.
pub fn last_chunk(files: &dyn Files, kept: &[KeptAt]) -> Result<Option<Chunk>> {
    let mut last = None;
    for path in kept.iter().flat_map(|k| (0..k.files).map(|n| file(&k.folder, n))) {
        for item in items(files, &path)? {
            if let Item::Chunk(chunk) = item {
                last = Some(chunk);
            }
        }
    }
    Ok(last)
}

fn items(files: &dyn Files, path: &Path) -> Result<Vec<Item>> {
    let bytes = files.read(path).map_err(|e| Error::io("play a kept stream from", path, &e))?;
    let (mut at, mut items) = (0, vec![]);
    while at < bytes.len() {
        let (item, next) = read_item(&bytes, at).map_err(|e| e.at(path.display().to_string()))?;
        items.push(item);
        at = next;
    }
    Ok(items)
}

/// The item that begins at a byte, and where the next one does.
fn read_item(bytes: &[u8], at: usize) -> Result<(Item, usize)> {
    let short = || Error::data(format!("a kept item is cut off at byte {at} of {}", bytes.len()));
    let length = bytes.get(at..at + 8).ok_or_else(short)?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let body = bytes.get(at + 8..at + 8 + length).ok_or_else(short)?;
    match decode(body)? {
        Value::Dict(dict) => Ok((item_of(&dict)?, at + 8 + length)),
        other => Err(Error::data(format!("a kept item is {}", other.describe()))),
    }
}
