//! Tasks: run once, when everything they read is there.

use crate::error::{Error, Result};
use crate::run::edge::{Inbox, Item};
use crate::run::node::Post;
use crate::span::{Chunk, Ranges, SNAPSHOT, Span};
use crate::stage::AnyTask;
use crate::value::{Dict, Value};

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
                Item::Poke | Item::Fault(_) => return Err(Error::internal("an edge gave a bare token")),
            }
        }
        for part in &parts {
            match &part.covers {
                Some(set) => set.iter().for_each(|r| covers.add(r.clone())),
                None => covers.add(part.span.range()),
            }
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

/// The values of a one-record chunk without their leading axis.
pub fn unlead(data: &Dict) -> Result<Dict> {
    data.iter().map(|(key, value)| Ok((key.clone(), value.unlead(0)?))).collect()
}
