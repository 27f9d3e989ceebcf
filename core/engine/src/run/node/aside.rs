//! The engine's own listeners: final values, digests and latches.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::plan::NodeId;
use crate::run::edge::{Inbox, Item};
use crate::run::kept::{chunk_dict, chunk_of};
use crate::run::node::Post;
use crate::run::node::replay::KEPT;
use crate::run::wire::Latch;
use crate::span::{Chunk, SNAPSHOT};
use crate::store::ContentDigest;
use crate::value::{Dict, Key, Value};

/// Final values by stage and port.
#[derive(Default)]
pub struct Finals {
    values: Mutex<HashMap<(NodeId, Key), Value>>,
    ended: Mutex<HashSet<NodeId>>,
}

impl Finals {
    /// The final value of a port.
    pub fn get(&self, node: NodeId, port: &str) -> Option<Value> {
        self.lock().get(&(node, Key::from(port.to_owned()))).cloned()
    }

    /// Books the final value of a port.
    pub fn set(&self, node: NodeId, port: Key, value: Value) {
        self.lock().insert((node, port), value);
    }

    /// Says that a stage has given all it will.
    pub fn end(&self, node: NodeId) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
    }

    /// Whether a stage has given all it will.
    pub fn has_ended(&self, node: NodeId) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    /// Forgets that stages have ended: a pass that runs again gives new values.
    pub fn begin(&self, nodes: &[NodeId]) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|n| !nodes.contains(n));
    }

    /// All values of a stage.
    pub fn of(&self, node: NodeId) -> Dict {
        self.lock()
            .iter()
            .filter(|((n, k), _)| *n == node && k.as_str() != KEPT)
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Everything, for a checkpoint.
    pub fn save(&self) -> Dict {
        let mut entries: Vec<_> =
            self.lock().iter().map(|((n, k), v)| (format!("{n}:{k}"), v.clone())).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.into_iter().map(|(k, v)| (Key::from(k), v)).collect()
    }

    /// Everything, from a checkpoint.
    pub fn load(&self, state: &Dict) -> Result<()> {
        for (key, value) in state.iter() {
            let parts = key.as_str().split_once(':').and_then(|(n, k)| Some((n.parse().ok()?, k.to_owned())));
            let (node, port) =
                parts.ok_or_else(|| Error::data(format!("no stage and port in saved key `{key}`")))?;
            self.set(node, Key::from(port), value.clone());
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(NodeId, Key), Value>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Catches what a stage ends with, and digests it.
pub struct CaptureNode {
    /// The common part.
    pub post: Post,
    /// The stream.
    pub inbox: Inbox,
    /// The stage listened to.
    pub of: NodeId,
    /// Its name, which its keys begin with.
    pub name: String,
    /// Whether whole streams of frames are kept in memory, because a later pass wants them as one value.
    pub whole: bool,
    /// Where final values go.
    pub finals: Arc<Finals>,
}

impl CaptureNode {
    /// Listens to the end of the stream.
    pub fn run(mut self) -> Result<Dict> {
        let mut digest = ContentDigest::default();
        let mut parts: Vec<Chunk> = vec![];
        if let Some(state) = self.post.resumed()? {
            if let Some(Value::Dict(saved)) = state.get("digest") {
                digest = ContentDigest::load(saved)?;
            }
            if let Some(Value::List(list)) = state.get("parts") {
                for entry in list.iter() {
                    if let Value::Dict(dict) = entry {
                        parts.push(chunk_of(dict)?);
                    }
                }
            }
        }
        loop {
            match self.post.next(&self.inbox)? {
                Item::Chunk(chunk) => {
                    if !chunk.last {
                        continue;
                    }
                    let mut chunk = chunk;
                    if chunk.span.axis == SNAPSHOT {
                        // How many snapshots came before depends on timing; what is final must not.
                        chunk.span.start = 0;
                    }
                    digest.add(&chunk)?;
                    if chunk.span.axis == SNAPSHOT {
                        parts = vec![chunk];
                    } else if self.whole {
                        parts.push(chunk);
                    }
                }
                Item::Gap(gap) => digest.gap(&gap),
                Item::Mark(mark) => {
                    let saved: Vec<Value> = parts.iter().map(|c| Value::Dict(chunk_dict(c))).collect();
                    self.post.mark(mark, Dict::new().with("digest", digest.save()).with("parts", saved))?;
                }
                Item::End => break,
                Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
            }
        }
        let mut values = Dict::new();
        if let Some(last) = parts.last() {
            let snapshot = last.span.axis == SNAPSHOT;
            let all = if snapshot { last.clone() } else { Chunk::concat(&parts, &self.post.run.pool)? };
            for (key, value) in all.data.iter() {
                let port = key.as_str().strip_prefix(&self.name).and_then(|k| k.strip_prefix('.'));
                if let Some(port) = port {
                    let value = if snapshot { value.unlead(0)? } else { value.clone() };
                    values.set(Key::from(port.to_owned()), value.clone());
                    self.finals.set(self.of, Key::from(port.to_owned()), value);
                }
            }
        }
        self.finals.end(self.of);
        Ok(Dict::new().with("content", digest.finish()).with("values", values))
    }
}

/// Stands for a listener that had ended before the checkpoint: what it found is put back.
pub struct EndedNode {
    /// The common part.
    pub post: Post,
    /// The stream, which ends at once.
    pub inbox: Inbox,
    /// The stage listened to.
    pub of: NodeId,
    /// Where final values go.
    pub finals: Arc<Finals>,
    /// Where a latched value goes.
    pub latch: Option<Arc<Latch>>,
}

impl EndedNode {
    /// Puts back what was found and waits for the end of the stream.
    pub fn run(mut self) -> Result<Dict> {
        let state = self.post.resumed()?.unwrap_or_default();
        if let Some(Value::Dict(values)) = state.get("values") {
            values.iter().for_each(|(port, value)| self.finals.set(self.of, port.clone(), value.clone()));
        }
        if let (Some(latch), Some(value)) = (&self.latch, state.get("value")) {
            latch.set(value.clone());
        }
        while !matches!(self.post.next(&self.inbox)?, Item::End) {}
        if state.get("content").is_some() {
            self.finals.end(self.of);
        }
        Ok(state)
    }
}

/// Keeps a latch up to date.
pub struct LatchNode {
    /// The common part.
    pub post: Post,
    /// The stream.
    pub inbox: Inbox,
    /// The full key.
    pub key: Key,
    /// The latch.
    pub latch: Arc<Latch>,
}

impl LatchNode {
    /// Listens to the end of the stream.
    pub fn run(mut self) -> Result<Dict> {
        if let Some(state) = self.post.resumed()?
            && let Some(value) = state.get("value").filter(|v| **v != Value::None)
        {
            self.latch.set(value.clone());
        }
        loop {
            match self.post.next(&self.inbox)? {
                Item::Chunk(chunk) => {
                    let last = (chunk.span.len as usize).saturating_sub(1);
                    self.latch.set(chunk.data.need(self.key.as_str())?.unlead(last)?);
                }
                Item::Mark(mark) => {
                    let value = self.latch.get().1.unwrap_or_default();
                    self.post.mark(mark, Dict::new().with("value", value))?;
                }
                Item::End => {
                    let value = self.latch.get().1.unwrap_or_default();
                    return Ok(Dict::new().with("value", value));
                }
                Item::Gap(_) | Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => (),
            }
        }
    }
}
