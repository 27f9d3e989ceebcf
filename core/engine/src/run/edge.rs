//! Bounded edges between stages, and what happens when they are full.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded, unbounded};

use crate::error::{Error, Result};
use crate::plan::{Overflow, Take};
use crate::run::spill::Spill;
use crate::run::wire::wants;
use crate::span::{Chunk, Gap, Reason, SNAPSHOT, Span};
use crate::value::{Dict, Key};

/// What flows along an edge.
#[derive(Clone, Debug)]
pub enum Item {
    /// Records.
    Chunk(Chunk),
    /// Frames that will not come.
    Gap(Gap),
    /// A mark: every stage saves its state when it passes.
    Mark(u64),
    /// Something waits in the slot of a `latest` edge.
    Poke,
    /// What was put aside could not be read back.
    Fault(Error),
    /// The stream is complete.
    End,
}

/// The slot of a `latest` edge: only the newest chunk.
type Slot = Arc<Mutex<Option<Chunk>>>;

/// The producer's end of an edge.
pub struct Edge {
    tx: Sender<Item>,
    overflow: Overflow,
    take: Take,
    /// The keys that somebody behind this edge still reads.
    keep: Arc<[Key]>,
    /// Set by a consumer that ends its own branch.
    detached: Arc<AtomicBool>,
    slot: Option<Slot>,
    /// A gap that waits until the edge has room again.
    let_go: Vec<Gap>,
    spill: Option<Arc<Spill>>,
    gauge: Gauge,
}

/// How many items wait in an edge.
pub type Gauge = Arc<AtomicUsize>;

/// The consumer's end of an edge.
pub struct Inbox {
    rx: Receiver<Item>,
    slot: Option<Slot>,
    spill: Option<Arc<Spill>>,
    gauge: Gauge,
}

/// Why nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// The time is over.
    Yet,
    /// The producer is gone without an end: it failed.
    Broken,
}

/// Makes an edge.
pub fn edge(
    queue: usize,
    overflow: Overflow,
    take: Take,
    keep: Arc<[Key]>,
    detached: Arc<AtomicBool>,
    spill: Option<Arc<Spill>>,
) -> (Edge, Inbox) {
    let latest = overflow == Overflow::Latest || take == Take::Latest;
    let slot = latest.then(Slot::default);
    // A slot holds one chunk itself, so its channel carries only marks and pokes; a spill bounds its own memory.
    let (tx, rx) = if latest || spill.is_some() { unbounded() } else { bounded(queue.max(2)) };
    let gauge = Gauge::default();
    let inbox = Inbox { rx, slot: slot.clone(), spill: spill.clone(), gauge: gauge.clone() };
    (Edge { tx, overflow, take, keep, detached, slot, let_go: vec![], spill, gauge }, inbox)
}

impl Edge {
    /// Sends an item, as the edge's overflow rule says.
    fn send(&mut self, item: &Item) -> Result<()> {
        if self.detached.load(Ordering::Relaxed) {
            return Ok(());
        }
        match item {
            Item::Chunk(chunk) if self.take == Take::Final && off_frames(chunk) && !chunk.last => Ok(()),
            Item::Chunk(chunk) => {
                let chunk = self.project(chunk);
                self.send_chunk(chunk)
            }
            other => {
                self.flush_let_go()?;
                self.block(other.clone())
            }
        }
    }

    fn send_chunk(&mut self, chunk: Chunk) -> Result<()> {
        if let Some(slot) = &self.slot {
            let old = slot.lock().unwrap_or_else(PoisonError::into_inner).replace(chunk);
            match old {
                Some(old) => self.let_go(&old),
                None => self.block(Item::Poke)?,
            }
            return Ok(());
        }
        if let Some(spill) = &self.spill {
            return match spill.put(chunk)? {
                Some(chunk) => self.block(Item::Chunk(chunk)),
                None => self.block(Item::Poke),
            };
        }
        if self.overflow == Overflow::Drop {
            if !self.let_go.is_empty() && self.tx.is_full() {
                self.let_go(&chunk);
                return Ok(());
            }
            self.flush_let_go()?;
            return match self.tx.try_send(Item::Chunk(chunk)) {
                Ok(()) => {
                    self.gauge.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                Err(TrySendError::Full(Item::Chunk(chunk))) => {
                    self.let_go(&chunk);
                    Ok(())
                }
                Err(_) => self.gone(),
            };
        }
        self.block(Item::Chunk(chunk))
    }

    fn let_go(&mut self, chunk: &Chunk) {
        if !chunk.span.is_frames() {
            return;
        }
        let why = "the consumer was busy and its recipe lets frames go";
        match self.let_go.last_mut() {
            Some(gap) if gap.span.end() == chunk.span.start => gap.span.len += chunk.span.len,
            _ => self.let_go.push(Gap { span: chunk.span.clone(), reason: Reason::Dropped, why: why.into() }),
        }
    }

    /// Tells the consumer what it was not given, in order, before it is given more.
    fn flush_let_go(&mut self) -> Result<()> {
        for gap in std::mem::take(&mut self.let_go) {
            self.block(Item::Gap(gap))?;
        }
        Ok(())
    }

    fn block(&self, item: Item) -> Result<()> {
        self.gauge.fetch_add(1, Ordering::Relaxed);
        self.tx.send(item).or_else(|_| self.gone())
    }

    /// The consumer is gone: by its own choice, or because the run is ending.
    fn gone(&self) -> Result<()> {
        if self.detached.load(Ordering::Relaxed) { Ok(()) } else { Err(Error::cancelled()) }
    }

    /// The chunk with only the keys that are read behind this edge; a final snapshot alone is record 0.
    fn project(&self, chunk: &Chunk) -> Chunk {
        let mut data = Dict::with_capacity(self.keep.len());
        for (key, value) in chunk.data.iter() {
            if wants(&self.keep, key.as_str()) {
                data.push(key.clone(), value.clone());
            }
        }
        let mut span = chunk.span.clone();
        if self.take == Take::Final && span.axis == SNAPSHOT {
            // How many snapshots came before depends on timing; what is final must not.
            span = Span { start: 0, ..span };
        }
        Chunk { span, data, covers: chunk.covers.clone(), last: chunk.last }
    }
}

/// Whether a chunk is off the frame axis, where revisions happen.
fn off_frames(chunk: &Chunk) -> bool {
    !chunk.span.is_frames()
}

/// All edges that leave a stage; the recording lane first.
#[derive(Default)]
pub struct Outlet {
    edges: Vec<Edge>,
}

impl Outlet {
    /// Adds an edge; recorders are added first.
    pub fn add(&mut self, edge: Edge) {
        self.edges.push(edge);
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Sends to every consumer.
    pub fn send(&mut self, item: Item) -> Result<()> {
        self.edges.iter_mut().try_for_each(|edge| edge.send(&item))
    }
}

impl Inbox {
    /// The next item, waiting as long as it takes.
    pub fn recv(&self) -> std::result::Result<Item, Nothing> {
        loop {
            let item = self.rx.recv().map_err(|_| Nothing::Broken)?;
            if let Some(item) = self.open(item) {
                return Ok(item);
            }
        }
    }

    /// The next item if it comes in time.
    pub fn recv_timeout(&self, time: Duration) -> std::result::Result<Item, Nothing> {
        loop {
            let item = self.rx.recv_timeout(time).map_err(|e| match e {
                RecvTimeoutError::Timeout => Nothing::Yet,
                RecvTimeoutError::Disconnected => Nothing::Broken,
            })?;
            if let Some(item) = self.open(item) {
                return Ok(item);
            }
        }
    }

    /// The next item if it is there.
    pub fn try_recv(&self) -> std::result::Result<Item, Nothing> {
        loop {
            let item = self.rx.try_recv().map_err(|e| match e {
                TryRecvError::Empty => Nothing::Yet,
                TryRecvError::Disconnected => Nothing::Broken,
            })?;
            if let Some(item) = self.open(item) {
                return Ok(item);
            }
        }
    }

    /// Counts the items that wait.
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// The receiver, for waiting on two at once; what it gives goes through `open`.
    pub fn receiver(&self) -> &Receiver<Item> {
        &self.rx
    }

    /// Fetches what a poke stands for.
    pub fn open(&self, item: Item) -> Option<Item> {
        self.gauge.fetch_sub(1, Ordering::Relaxed);
        match (item, &self.slot, &self.spill) {
            (Item::Poke, Some(slot), _) => {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take().map(Item::Chunk)
            }
            (Item::Poke, None, Some(spill)) => Some(spill.get().map_or_else(Item::Fault, Item::Chunk)),
            (Item::Chunk(chunk), _, Some(spill)) => {
                spill.taken(&chunk);
                Some(Item::Chunk(chunk))
            }
            (item, ..) => Some(item),
        }
    }
}
