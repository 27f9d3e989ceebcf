//! Tasks: run once, when everything they read is there.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::plan::NodeId;
use crate::run::edge::{Inbox, Item};
use crate::run::node::{Finals, Post};
use crate::span::{Chunk, Ranges, SNAPSHOT, Span};
use crate::stage::AnyTask;
use crate::value::{Dict, Key, Value};

/// A task behind a stream, and its thread.
pub struct TaskNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Box<dyn AnyTask>,
    /// The stream.
    pub inbox: Inbox,
}

impl TaskNode {
    /// Waits for what is final, then runs.
    pub fn run(mut self) -> Result<Dict> {
        let mut parts: Vec<Chunk> = vec![];
        if let Some(state) = self.post.resumed()?
            && let Some(Value::List(list)) = state.get("parts")
        {
            for entry in list.iter() {
                if let Value::Dict(dict) = entry {
                    parts.push(crate::run::kept::chunk_of(dict)?);
                }
            }
        }
        let mut covers = Ranges::default();
        loop {
            match self.post.next(&self.inbox)? {
                Item::Chunk(chunk) if chunk.last => {
                    self.post.meter.took(chunk.span.len);
                    if chunk.span.is_frames() {
                        self.post.meter.book(|l| l.done(chunk.span.range()));
                    }
                    parts.push(chunk);
                }
                Item::Chunk(_) => (),
                Item::Gap(gap) => self.post.meter.book(|l| l.gap(&gap)),
                Item::Mark(mark) => {
                    let saved: Vec<Value> =
                        parts.iter().map(|c| Value::Dict(crate::run::kept::chunk_dict(c))).collect();
                    self.post.mark(mark, Dict::new().with("parts", saved))?;
                }
                Item::End => break,
                Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
            }
        }
        for part in &parts {
            match &part.covers {
                Some(set) => set.iter().for_each(|r| covers.add(r.clone())),
                None => covers.add(part.span.range()),
            }
        }
        if parts.is_empty() && self.post.control.was_cut_short() {
            // A stop came before there was anything to run on; the resumed run will have it.
            return self.post.end(Dict::new());
        }
        let span = parts.first().map_or(Span::frames(0, 0), |c| c.span.clone());
        let data = match parts.last() {
            Some(last) if last.span.axis == SNAPSHOT => unlead(&last.data)?,
            Some(_) => Chunk::concat(&parts, &self.post.run.pool)?.data,
            None => Dict::new(),
        };
        let input = self.post.gather.input(&span, &data)?;
        let none = Span::frames(0, 0);
        let (post, stage) = (&self.post, &mut self.stage);
        let output = post.meter.call("run", &none, || stage.run(&post.cx(), input))?;
        self.post.snapshot(0, output, &covers, true)?;
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }
}

/// A task that reads what other stages of its pass end with, and its thread.
pub struct LateTask {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Box<dyn AnyTask>,
    /// Final values.
    pub finals: Arc<Finals>,
    /// Port by port: the stage and its port.
    pub waits: Vec<(Key, NodeId, Key)>,
}

impl LateTask {
    /// Waits for the others to end, then runs.
    pub fn run(mut self) -> Result<Dict> {
        self.post.resumed()?;
        // Also one that was asked for before this thread began: all have to pass the same marks.
        let mut seen_mark = self.post.control.first_mark;
        while !self.waits.iter().all(|(_, node, _)| self.finals.has_ended(*node)) {
            self.post.check()?;
            let wanted = self.post.control.mark();
            if wanted > seen_mark {
                seen_mark = wanted;
                self.post.mark(wanted, Dict::new())?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let none = Span::frames(0, 0);
        let mut input = self.post.gather.input(&none, &Dict::new())?;
        for (port, node, key) in &self.waits {
            if let Some(value) = self.finals.get(*node, key.as_str()) {
                input.set(port.clone(), value);
            }
        }
        let (post, stage) = (&self.post, &mut self.stage);
        let output = post.meter.call("run", &none, || stage.run(&post.cx(), input))?;
        self.post.snapshot(0, output, &Ranges::default(), true)?;
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }
}

/// The values of a one-record chunk without their leading axis.
pub fn unlead(data: &Dict) -> Result<Dict> {
    data.iter().map(|(key, value)| Ok((key.clone(), value.unlead(0)?))).collect()
}
