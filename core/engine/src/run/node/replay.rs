//! Streams between passes: kept on disk by one thread, played again by another.
//!
//! A kept stream is a row of numbered files, each whole and never touched again, like any output: a run that goes on
//! from inside the pass finds the files it had at the mark, and one that restarts the pass writes them anew.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::plan::NodeId;
use crate::run::edge::{Inbox, Item};
use crate::run::kept::{item_dict, item_of};
use crate::run::node::{Committed, Finals, Post};
use crate::stage::Output;
use crate::store::Files;
use crate::value::{Dict, Key, Value, decode, encode};

/// Under this name the final values of a stage say where its stream is kept; no port can be called so.
pub const KEPT: &str = "kept stream";

/// Bytes to a file, about: large enough that syncing costs little, small enough to hold in memory.
const BLOCK: usize = 8 << 20;

/// Keeps a stream for a later pass.
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
}

impl KeepNode {
    /// Keeps the stream to its end.
    pub fn run(mut self) -> Result<Dict> {
        let mut files = 0;
        if let Some(state) = self.post.resumed()? {
            files = whole(&state, "files");
        }
        let mut block: Vec<u8> = vec![];
        loop {
            let item = self.post.next(&self.inbox)?;
            if let Some(dict) = item_dict(&item) {
                let mut bytes = vec![];
                encode(&Value::Dict(dict), &mut bytes);
                block.extend((bytes.len() as u64).to_le_bytes());
                block.extend(bytes);
            }
            let full = block.len() >= BLOCK;
            let commits = matches!(item, Item::Mark(_) | Item::End);
            if full || (commits && !block.is_empty()) {
                let path = format!("{}/{files:08}", self.path);
                let (meter, output) = (&self.post.meter, &self.output);
                meter.call("keep", &crate::run::graph::none(), || output.seal(&path, &block))?;
                files += 1;
                block.clear();
            }
            match item {
                Item::Mark(mark) => {
                    (self.committed)(Some(mark));
                    self.post.mark(mark, Dict::new().with("files", files as i64))?;
                }
                Item::End => break,
                Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
                Item::Chunk(_) | Item::Gap(_) => (),
            }
        }
        (self.committed)(None);
        let kept = Dict::new().with("path", self.path.as_str()).with("files", files as i64);
        self.finals.set(self.of, Key::Static(KEPT), Value::Dict(kept.clone()));
        Ok(Dict::new().with("values", Dict::new().with(KEPT, kept)))
    }
}

/// Plays a kept stream again.
pub struct ReplayNode {
    /// The common part.
    pub post: Post,
    /// The door to the files.
    pub files: Arc<dyn Files>,
    /// The folder of kept streams.
    pub folder: PathBuf,
    /// Where the stream is kept, as [`KeepNode`] left word of it.
    pub kept: Option<Value>,
}

impl ReplayNode {
    /// Plays the stream to its end.
    pub fn run(mut self) -> Result<Dict> {
        let Some(Value::Dict(kept)) = self.kept.take() else {
            let error = Error::recipe("the stream that is played again was not kept: its pass was skipped");
            return Err(error.at(format!("`{}`", self.post.meter.name)));
        };
        let folder = self.folder.join(kept.need("path")?.text().unwrap_or_default());
        let state = self.post.resumed()?.unwrap_or_default();
        let (mut file, mut at) = (whole(&state, "file"), whole(&state, "at") as usize);
        let last = whole(&kept, "files");
        // Also one that was asked for before this thread began: all have to pass the same marks.
        let mut seen_mark = self.post.control.first_mark;
        while file < last {
            let path = folder.join(format!("{file:08}"));
            let bytes =
                self.files.read(&path).map_err(|e| Error::io("play a kept stream from", &path, &e))?;
            while at < bytes.len() {
                if self.stands_still(&mut seen_mark, file, at)? {
                    return self.end(file, at);
                }
                let (item, next) = read_item(&bytes, at).map_err(|e| e.at(path.display().to_string()))?;
                at = next;
                if let Item::Chunk(chunk) = &item {
                    self.post.meter.took(chunk.span.len);
                }
                self.post.outlet.send(item)?;
            }
            (file, at) = (file + 1, 0);
        }
        self.end(file, at)
    }

    /// Passes a mark on when one is asked for; says whether the run was stopped.
    fn stands_still(&mut self, seen_mark: &mut u64, file: u64, at: usize) -> Result<bool> {
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
            self.post.mark(wanted, place(file, at))?;
        }
        Ok(stopped)
    }

    fn end(mut self, file: u64, at: usize) -> Result<Dict> {
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(place(file, at)))
    }
}

fn place(file: u64, at: usize) -> Dict {
    Dict::new().with("file", file as i64).with("at", at as i64)
}

fn whole(state: &Dict, key: &str) -> u64 {
    state.get(key).and_then(Value::number).unwrap_or(0.0) as u64
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
