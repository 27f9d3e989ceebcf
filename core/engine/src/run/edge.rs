//! Bounded edges between stages, and what happens when they are full.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{
    Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded, unbounded,
};

use crate::error::{Error, Result};
use crate::plan::{Overflow, Take};
use crate::run::spill::Spill;
use crate::run::view::Tap;
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
    /// A frame that came damaged, with its bytes: on the way from a source to a recorder, and nowhere else.
    Corrupt(Gap, Dict),
    /// A mark: every stage saves its state when it passes.
    Mark(u64),
    /// Something waits in this slot of a `latest` edge.
    Poke(Slot),
    /// The next chunk was put aside on disk.
    Aside,
    /// What was put aside could not be read back.
    Fault(Error),
    /// The stream is complete.
    End,
}

/// A slot of a `latest` edge: only the newest chunk between two other items.
pub type Slot = Arc<Mutex<Option<Newest>>>;

/// The newest chunk, and the frames that were let go before it.
#[derive(Debug)]
pub struct Newest {
    gap: Option<Gap>,
    chunk: Chunk,
}

/// The producer's end of an edge.
pub struct Edge {
    tx: Sender<Item>,
    overflow: Overflow,
    take: Take,
    /// The keys that somebody behind this edge still reads.
    keep: Arc<[Key]>,
    /// Set by a consumer that ends its own branch.
    detached: Arc<AtomicBool>,
    /// Whether only the newest chunk is kept.
    latest: bool,
    /// The slot that the next chunk goes to, until something else is sent after it.
    slot: Option<Slot>,
    /// Chunks and gaps that may wait.
    queue: usize,
    /// A gap that waits until the edge has room again.
    let_go: Option<Gap>,
    spill: Option<Arc<Spill>>,
    gauge: Gauge,
    /// Whether it leads to a recorder, which may keep the bytes of damaged frames.
    recorder: bool,
}

/// How long a full edge waits before it looks whether its branch was given up.
const PATIENCE: Duration = Duration::from_millis(100);

/// How many items wait in an edge.
pub type Gauge = Arc<AtomicUsize>;

/// The consumer's end of an edge.
pub struct Inbox {
    rx: Receiver<Item>,
    spill: Option<Arc<Spill>>,
    gauge: Gauge,
    /// The chunk that follows the gap just given.
    next: Cell<Option<Chunk>>,
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
    let queue = queue.max(2);
    // Marks and gaps must never wait for a consumer whose chunks may be let go or put aside. Slots hold the chunks of
    // a `latest` edge, `drop` counts before it sends, and a spill bounds its own memory.
    let free = latest || spill.is_some() || overflow == Overflow::Drop;
    let (tx, rx) = if free { unbounded() } else { bounded(queue) };
    let gauge = Gauge::default();
    let inbox = Inbox { rx, spill: spill.clone(), gauge: gauge.clone(), next: Cell::default() };
    let (slot, let_go) = (None, None);
    let recorder = false;
    (Edge { tx, overflow, take, keep, detached, latest, slot, queue, let_go, spill, gauge, recorder }, inbox)
}

impl Edge {
    /// The edge, leading to a recorder or not.
    pub fn for_recorder(self, recorder: bool) -> Edge {
        Edge { recorder, ..self }
    }

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
            Item::Corrupt(gap, data) if self.recorder => {
                let data = self.projected(data);
                self.block(Item::Corrupt(gap.clone(), data))
            }
            // A damaged frame reaches stages as a gap, never as data.
            Item::Corrupt(gap, _) => self.send(&Item::Gap(gap.clone())),
            other => {
                // What is in the slot belongs before this item, what comes next belongs behind it.
                self.slot = None;
                self.flush_let_go()?;
                self.block(other.clone())
            }
        }
    }

    fn send_chunk(&mut self, chunk: Chunk) -> Result<()> {
        if self.latest {
            if let Some(slot) = &self.slot {
                let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(Newest { gap, chunk: old }) = held.take() {
                    *held = Some(Newest { gap: widen(gap, &old), chunk });
                    return Ok(());
                }
            }
            let slot = Slot::new(Mutex::new(Some(Newest { gap: None, chunk })));
            self.slot = Some(slot.clone());
            return self.block(Item::Poke(slot));
        }
        if let Some(spill) = &self.spill {
            return match spill.put(chunk)? {
                Some(chunk) => self.block(Item::Chunk(chunk)),
                None => self.block(Item::Aside),
            };
        }
        if self.overflow == Overflow::Drop {
            if self.tx.len() >= self.queue {
                self.let_go(&chunk);
                return Ok(());
            }
            self.flush_let_go()?;
        }
        self.block(Item::Chunk(chunk))
    }

    fn let_go(&mut self, chunk: &Chunk) {
        self.let_go = widen(self.let_go.take(), chunk);
    }

    /// Tells the consumer what it was not given, in order, before it is given more.
    fn flush_let_go(&mut self) -> Result<()> {
        self.let_go.take().map_or(Ok(()), |gap| self.block(Item::Gap(gap)))
    }

    fn block(&self, item: Item) -> Result<()> {
        self.gauge.fetch_add(1, Ordering::Relaxed);
        let mut item = item;
        loop {
            item = match self.tx.send_timeout(item, PATIENCE) {
                Ok(()) => return Ok(()),
                // A consumer that hangs neither takes nor goes away; its branch is given up meanwhile.
                Err(SendTimeoutError::Timeout(_)) if self.detached.load(Ordering::Acquire) => return Ok(()),
                Err(SendTimeoutError::Timeout(item)) => item,
                Err(SendTimeoutError::Disconnected(_)) => return self.gone(),
            };
        }
    }

    /// The consumer is gone: by its own choice, or because the run is ending.
    fn gone(&self) -> Result<()> {
        if self.detached.load(Ordering::Relaxed) { Ok(()) } else { Err(Error::cancelled()) }
    }

    /// The chunk with only the keys that are read behind this edge; a final snapshot alone is record 0.
    fn project(&self, chunk: &Chunk) -> Chunk {
        let data = self.projected(&chunk.data);
        let mut span = chunk.span.clone();
        if self.take == Take::Final && span.axis == SNAPSHOT {
            // How many snapshots came before depends on timing; what is final must not.
            span = Span { start: 0, ..span };
        }
        Chunk { span, data, covers: chunk.covers.clone(), last: chunk.last }
    }

    /// The values that are read behind this edge.
    fn projected(&self, all: &Dict) -> Dict {
        let mut data = Dict::with_capacity(self.keep.len());
        for (key, value) in all.iter() {
            if wants(&self.keep, key.as_str()) {
                data.push(key.clone(), value.clone());
            }
        }
        data
    }
}

/// A gap and the frames of a chunk that is let go right after it; between two other items there are no holes.
fn widen(gap: Option<Gap>, chunk: &Chunk) -> Option<Gap> {
    if !chunk.span.is_frames() {
        return gap;
    }
    let why = "the consumer was busy and its recipe lets frames go";
    let mut gap = gap.unwrap_or_else(|| Gap {
        span: Span { len: 0, ..chunk.span.clone() },
        reason: Reason::Dropped,
        why: why.into(),
    });
    gap.span.len = chunk.span.end() - gap.span.start;
    Some(gap)
}

/// Whether a chunk is off the frame axis, where revisions happen.
fn off_frames(chunk: &Chunk) -> bool {
    !chunk.span.is_frames()
}

/// All edges that leave a stage; the recording lane first.
#[derive(Default)]
pub struct Outlet {
    edges: Vec<Edge>,
    /// Where a viewer looks.
    pub tap: Option<Arc<Tap>>,
}

impl Outlet {
    /// The edges that a stage has so far, and where a viewer looks.
    pub fn with_tap(edges: Option<Outlet>, tap: Option<Arc<Tap>>) -> Outlet {
        Outlet { tap, ..edges.unwrap_or_default() }
    }

    /// Adds an edge; recorders are added first.
    pub fn add(&mut self, edge: Edge) {
        self.edges.push(edge);
    }

    /// Whether a recorder listens.
    pub fn records(&self) -> bool {
        self.edges.iter().any(|edge| edge.recorder)
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Sends to every consumer.
    pub fn send(&mut self, item: Item) -> Result<()> {
        if let (Some(tap), Item::Chunk(chunk)) = (&self.tap, &item) {
            tap.put(chunk);
        }
        self.edges.iter_mut().try_for_each(|edge| edge.send(&item))
    }
}

impl Inbox {
    /// The next item if it comes in time.
    pub fn recv_timeout(&self, time: Duration) -> std::result::Result<Item, Nothing> {
        if let Some(item) = self.follows() {
            return Ok(item);
        }
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
        if let Some(item) = self.follows() {
            return Ok(item);
        }
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

    /// What follows at once on the item before; to be asked before the receiver is.
    pub fn follows(&self) -> Option<Item> {
        self.next.take().map(Item::Chunk)
    }

    /// The receiver, for waiting on two at once; what it gives goes through `open`.
    pub fn receiver(&self) -> &Receiver<Item> {
        &self.rx
    }

    /// Fetches what a poke stands for.
    pub fn open(&self, item: Item) -> Option<Item> {
        self.gauge.fetch_sub(1, Ordering::Relaxed);
        match (item, &self.spill) {
            (Item::Poke(slot), _) => {
                let Newest { gap, chunk } = slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                let Some(gap) = gap else { return Some(Item::Chunk(chunk)) };
                self.next.set(Some(chunk));
                Some(Item::Gap(gap))
            }
            (Item::Aside, Some(spill)) => Some(spill.get().map_or_else(Item::Fault, Item::Chunk)),
            (Item::Chunk(chunk), Some(spill)) => {
                spill.taken(&chunk);
                Some(Item::Chunk(chunk))
            }
            (item, _) => Some(item),
        }
    }
}
