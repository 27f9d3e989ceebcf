//! One thread per stage: each role's way of taking items, working and sending on.

mod aside;
mod chain;
mod fit;
mod fold;
mod join;
mod merge;
mod pace;
mod reduce;
mod replay;
mod source;
mod task;
mod tree;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use aside::{CaptureNode, EndedNode, Finals, LatchNode};
pub use chain::{Chain, Link};
pub use fit::FitNode;
pub use fold::FoldNode;
pub use join::JoinNode;
pub use merge::MergeNode;
pub use reduce::{KeepTree, ReduceNode};
pub use replay::{KEPT, KeepNode, ReplayNode, last_chunk};

pub use pace::Pace;
pub use source::SourceNode;
pub use task::{LateTask, TaskNode};
pub use tree::BLOCK;
pub use writer::{Committed, WriterNode};

use crate::error::{Error, Result};
use crate::plan::NodeId;
use crate::run::control::{Control, Event, Meter};
use crate::run::edge::{Inbox, Item, Nothing, Outlet};
use crate::run::wire::{Gather, Scatter};
use crate::span::{Chunk, Gap, Ranges, SNAPSHOT, Span};
use crate::stage::{Cx, RunCx};
use crate::value::{Dict, Value};

/// How long a stage waits for its stream before it looks whether the run is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// What every stage's thread has.
pub struct Post {
    /// The place in the plan.
    pub id: NodeId,
    /// What all threads share.
    pub control: Arc<Control>,
    /// What all stages share.
    pub run: Arc<RunCx>,
    /// The stage's own counts.
    pub meter: Arc<Meter>,
    /// How its input is made.
    pub gather: Gather,
    /// How its outputs are named.
    pub scatter: Scatter,
    /// Where they go.
    pub outlet: Outlet,
    /// The state at the checkpoint that the run goes on from.
    pub resume: Option<Dict>,
}

impl Post {
    /// The stage's view of the engine.
    pub fn cx(&self) -> Cx<'_> {
        Cx::watched(&self.run, &self.meter.name, &self.meter.beat)
    }

    /// The next item of a stream.
    pub fn next(&self, inbox: &Inbox) -> Result<Item> {
        loop {
            if let Some(item) = self.soon(inbox)? {
                return Ok(item);
            }
        }
    }

    /// The next item of a stream, unless none comes for a while.
    pub fn soon(&self, inbox: &Inbox) -> Result<Option<Item>> {
        match inbox.recv_timeout(PATIENCE) {
            Ok(Item::Fault(error)) => Err(error),
            Ok(item) => Ok(Some(item)),
            // A producer that hangs neither sends nor goes away: whoever waits for it looks up now and then.
            Err(Nothing::Yet) => self.check().map(|()| None),
            Err(Nothing::Broken) => Err(Error::cancelled()),
        }
    }

    /// An error when the run or this branch of it is over.
    pub fn check(&self) -> Result<()> {
        match self.meter.detached.load(std::sync::atomic::Ordering::Acquire) {
            true => Err(Error::cancelled()),
            false => self.cx().check(),
        }
    }

    /// Waits, unless the run is cancelled meanwhile.
    pub fn pause(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        self.check()
    }

    /// Reports the state at a mark and sends the mark on.
    pub fn mark(&mut self, mark: u64, state: Dict) -> Result<()> {
        self.control.tell(Event::Saved(self.id, mark, self.with_ledger(state)));
        self.outlet.send(Item::Mark(mark))
    }

    /// Ends the stream; gives the last state.
    pub fn end(&mut self, state: Dict) -> Result<Dict> {
        self.outlet.send(Item::End)?;
        Ok(self.with_ledger(state))
    }

    /// A state together with the account of frames.
    pub fn with_ledger(&self, mut state: Dict) -> Dict {
        if let Some(ledger) = self.meter.account() {
            state.set("ledger", ledger.save());
        }
        state.set("records", self.meter.records.load(std::sync::atomic::Ordering::Relaxed) as i64);
        state
    }

    /// The saved state of an earlier run, with its account put back.
    pub fn resumed(&mut self) -> Result<Option<Dict>> {
        let Some(state) = self.resume.take() else { return Ok(None) };
        self.meter.resume(&state)?;
        Ok(Some(state))
    }

    /// A result that is revised until the last: one record on the snapshot axis.
    pub fn snapshot(&mut self, number: u64, output: Dict, covers: &Ranges, last: bool) -> Result<()> {
        let span = Span { axis: SNAPSHOT, start: number, len: 1 };
        let data = self.scatter.lead(number, output)?;
        self.meter.snapshots.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.outlet.send(Item::Chunk(Chunk { span, data, covers: Some(Arc::new(covers.clone())), last }))
    }

    /// A result so far for the viewer alone: nobody behind the stage hears of it.
    pub fn look(&self, number: u64, output: Dict, covers: &Ranges) -> Result<()> {
        let Some(tap) = &self.outlet.tap else { return Ok(()) };
        let span = Span { axis: SNAPSHOT, start: number, len: 1 };
        let data = self.scatter.lead(number, output)?;
        tap.put(&Chunk { span, data, covers: Some(Arc::new(covers.clone())), last: false });
        Ok(())
    }
}

/// Whether a saved state says that the stage had ended before the mark.
pub fn has_ended(state: &Option<Dict>) -> bool {
    state.as_ref().is_some_and(|s| s.get("ended") == Some(&Value::Bool(true)))
}

/// Cuts a chunk at frames that were given up.
pub fn cut_at(chunk: Chunk, gaps: Vec<Gap>) -> Result<Vec<Item>> {
    let mut gaps: Vec<Gap> =
        gaps.into_iter().filter(|g| chunk.span.range().contains(&g.span.start)).collect();
    if gaps.is_empty() {
        return Ok(vec![Item::Chunk(chunk)]);
    }
    gaps.sort_by_key(|g| g.span.start);
    gaps.dedup_by_key(|g| g.span.start);
    let (mut items, mut at) = (vec![], chunk.span.start);
    for gap in gaps {
        if gap.span.start > at {
            items.push(Item::Chunk(chunk.cut(at, gap.span.start)?));
        }
        at = gap.span.end();
        items.push(Item::Gap(gap));
    }
    if at < chunk.span.end() {
        items.push(Item::Chunk(chunk.cut(at, chunk.span.end())?));
    }
    Ok(items)
}
