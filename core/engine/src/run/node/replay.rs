//! Streams between passes: kept on disk by one thread, played again by another.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::run::edge::{Inbox, Item};
use crate::run::kept::{item_dict, item_of};
use crate::run::node::Post;
use crate::value::{Dict, Value, decode, encode};

/// Keeps a stream for a later pass.
///
/// The file belongs to its pass: a run that goes on from inside the pass continues it at the length it had at the
/// mark, and one that restarts the pass writes it anew.
pub struct KeepNode {
    /// The common part.
    pub post: Post,
    /// The stream.
    pub inbox: Inbox,
    /// The file.
    pub path: PathBuf,
}

impl KeepNode {
    /// Keeps the stream to its end.
    pub fn run(mut self) -> Result<Dict> {
        let io = |e: std::io::Error, path: &Path| Error::io("cannot keep a stream in", path, &e);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|e| io(e, folder))?;
        }
        let mut length = 0;
        if let Some(state) = self.post.resumed()? {
            length = state.get("length").and_then(Value::number).unwrap_or(0.0) as u64;
        }
        let file = File::options().create(true).append(false).write(true).truncate(false).open(&self.path);
        let mut file = file.map_err(|e| io(e, &self.path))?;
        file.set_len(length).map_err(|e| io(e, &self.path))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(|e| io(e, &self.path))?;
        let mut out = BufWriter::new(file);
        loop {
            let item = self.post.next(&self.inbox)?;
            if let Some(dict) = item_dict(&item) {
                let mut bytes = vec![];
                encode(&Value::Dict(dict), &mut bytes);
                out.write_all(&(bytes.len() as u64).to_le_bytes()).map_err(|e| io(e, &self.path))?;
                out.write_all(&bytes).map_err(|e| io(e, &self.path))?;
                length += 8 + bytes.len() as u64;
                continue;
            }
            out.flush().and_then(|()| out.get_ref().sync_all()).map_err(|e| io(e, &self.path))?;
            match item {
                Item::Mark(mark) => self.post.mark(mark, Dict::new().with("length", length as i64))?,
                _ => return Ok(Dict::new()),
            }
        }
    }
}

/// Plays a kept stream again.
pub struct ReplayNode {
    /// The common part.
    pub post: Post,
    /// The file.
    pub path: PathBuf,
}

impl ReplayNode {
    /// Plays the stream to its end.
    pub fn run(mut self) -> Result<Dict> {
        let io = |e: std::io::Error, path: &Path| Error::io("cannot play a kept stream from", path, &e);
        let mut done =
            self.post.resumed()?.and_then(|s| s.get("items").and_then(Value::number)).unwrap_or(0.0) as u64;
        let file = File::open(&self.path).map_err(|e| io(e, &self.path))?;
        let mut input = BufReader::new(file);
        let mut seen_mark = self.post.control.mark();
        let mut played = 0;
        loop {
            self.post.cx().check()?;
            let wanted = self.post.control.mark();
            if wanted > seen_mark && played >= done {
                seen_mark = wanted;
                self.post.mark(wanted, Dict::new().with("items", played as i64))?;
            }
            if self.post.control.stop.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            let mut length = [0u8; 8];
            match input.read_exact(&mut length) {
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
                other => other.map_err(|e| io(e, &self.path))?,
            }
            let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
            input.read_exact(&mut bytes).map_err(|e| io(e, &self.path))?;
            played += 1;
            if played <= done {
                continue;
            }
            done = played;
            let Value::Dict(dict) = decode(&bytes)? else {
                return Err(Error::data("a kept item is no dict"));
            };
            let item = item_of(&dict)?;
            if let Item::Chunk(chunk) = &item {
                self.post.meter.took(chunk.span.len);
            }
            self.post.outlet.send(item)?;
        }
        self.post.outlet.send(Item::End)?;
        Ok(Dict::new().with("items", played as i64))
    }
}
