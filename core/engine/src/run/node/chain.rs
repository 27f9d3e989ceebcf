//! Chains of maps: consecutive maps run as one job per chunk, chunks in parallel, order restored.
//!
//! Fusing neighbours saves a queue and a wake-up per stage and chunk, and the chunk stays in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use crate::error::{Error, Result};
use crate::run::control::Meter;
use crate::run::edge::{Inbox, Item};
use crate::run::node::{Post, cut_at};
use crate::run::view::Tap;
use crate::run::wire::{Gather, Scatter, wants};
use crate::span::Chunk;
use crate::stage::{AnyMap, Cx, RunCx};
use crate::value::{Dict, Key};

/// One map of a chain.
pub struct Link {
    /// The stage.
    pub stage: Arc<dyn AnyMap>,
    /// Its own counts.
    pub meter: Arc<Meter>,
    /// How its input is made.
    pub gather: Gather,
    /// How its outputs are named.
    pub scatter: Scatter,
    /// The keys that are read behind it.
    pub keep: Arc<[Key]>,
    /// Where a viewer looks; the last map has it at the outlet of the chain.
    pub tap: Option<Arc<Tap>>,
}

impl Link {
    fn apply(&self, run: &RunCx, chunk: Chunk) -> Result<Vec<Item>> {
        let cx = Cx::watched(run, &self.meter.name, &self.meter.beat);
        let output = self.meter.call("apply", &chunk.span, || {
            self.stage.apply(&cx, &chunk.span, self.gather.input(&chunk.span, &chunk.data)?)
        })?;
        self.meter.took(chunk.span.len);
        let mut chunk = chunk;
        self.scatter.add(&chunk.span, output, &mut chunk.data)?;
        if let Some(tap) = &self.tap {
            tap.put(&chunk);
        }
        chunk.data.retain(|key| wants(&self.keep, key));
        cut_at(chunk, cx.take_gaps())
    }
}

/// A chain and its thread.
pub struct Chain {
    /// The common part, under the name of the last map.
    pub post: Post,
    /// The maps in order.
    pub links: Arc<Vec<Link>>,
    /// The stream.
    pub inbox: Inbox,
    /// Chunks worked on at once.
    pub parallel: usize,
}

/// A chunk's work below this is done on the chain's own thread: a hand-over costs about 10 µs.
const HAND_OVER: Duration = Duration::from_micros(60);

impl Chain {
    /// Runs the chain to the end of its stream.
    pub fn run(mut self) -> Result<Dict> {
        self.post.resumed()?;
        let (done_tx, done_rx) = unbounded();
        let mut ring = Ring { next_in: 0, next_out: 0, ready: BTreeMap::new(), mean: Duration::ZERO };
        loop {
            let item = match self.next(&mut ring, &done_rx)? {
                Some(item) => item,
                None => continue,
            };
            match item {
                Item::Chunk(chunk) => match self.post.run.threads.clone() {
                    Some(threads) if ring.mean > HAND_OVER || ring.next_in < 2 => {
                        let job = Job {
                            links: self.links.clone(),
                            run: self.post.run.clone(),
                            sequence: ring.next_in,
                            done: done_tx.clone(),
                        };
                        ring.next_in += 1;
                        threads.spawn(move || job.run(chunk));
                        ring.mean = ring.mean.max(HAND_OVER + Duration::from_nanos(1));
                    }
                    _ => {
                        // Work that is done here must not overtake what was handed over before.
                        self.settle(&mut ring, &done_rx)?;
                        let begun = Instant::now();
                        let items = through(&self.links, &self.post.run, chunk)?;
                        ring.settle(begun.elapsed());
                        for item in items {
                            self.post.outlet.send(item)?;
                        }
                    }
                },
                other => {
                    self.settle(&mut ring, &done_rx)?;
                    match other {
                        Item::Mark(mark) => self.pass(mark)?,
                        Item::End => {
                            self.post.outlet.send(Item::End)?;
                            return Ok(Dict::new());
                        }
                        item => self.post.outlet.send(item)?,
                    }
                }
            }
            while let Ok(done) = done_rx.try_recv() {
                ring.take(done)?;
            }
            self.flush(&mut ring)?;
        }
    }

    /// The next item, or none after a finished job was put into the ring.
    fn next(&mut self, ring: &mut Ring, done: &Receiver<Done>) -> Result<Option<Item>> {
        if ring.working() == 0 {
            return self.post.next(&self.inbox).map(Some);
        }
        // What is done waits for what came before: one slow job must not let results pile up behind it.
        if ring.working() >= self.parallel || ring.held() >= 2 * self.parallel {
            ring.take(done.recv().map_err(|_| Error::cancelled())?)?;
            self.flush(ring)?;
            return Ok(None);
        }
        if let Some(item) = self.inbox.follows() {
            return Ok(Some(item));
        }
        select! {
            recv(self.inbox.receiver()) -> item => {
                let item = item.map_err(|_| Error::cancelled())?;
                match self.inbox.open(item) {
                    Some(Item::Fault(error)) => Err(error),
                    item => Ok(item),
                }
            }
            recv(done) -> finished => {
                ring.take(finished.map_err(|_| Error::cancelled())?)?;
                self.flush(ring)?;
                Ok(None)
            }
        }
    }

    /// Waits for everything that was handed over, and sends it on.
    fn settle(&mut self, ring: &mut Ring, done: &Receiver<Done>) -> Result<()> {
        while ring.working() > 0 {
            ring.take(done.recv().map_err(|_| Error::cancelled())?)?;
        }
        self.flush(ring)
    }

    fn flush(&mut self, ring: &mut Ring) -> Result<()> {
        while let Some(items) = ring.ready.remove(&ring.next_out) {
            ring.next_out += 1;
            for item in items {
                self.post.outlet.send(item)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, mark: u64) -> Result<()> {
        self.post.mark(mark, Dict::new())
    }
}

type Done = (u64, Duration, Result<Vec<Item>>);

/// What is being worked on, by order of arrival.
struct Ring {
    next_in: u64,
    next_out: u64,
    ready: BTreeMap<u64, Vec<Item>>,
    /// The mean cost of a chunk.
    mean: Duration,
}

impl Ring {
    /// Chunks that were handed over and not sent on.
    fn held(&self) -> usize {
        (self.next_in - self.next_out) as usize
    }

    fn working(&self) -> usize {
        self.held() - self.ready.len()
    }

    fn take(&mut self, (sequence, took, items): Done) -> Result<()> {
        self.settle(took);
        self.ready.insert(sequence, items?);
        Ok(())
    }

    /// Moves the mean; it falls slowly, so that one quick chunk does not end parallel work.
    fn settle(&mut self, took: Duration) {
        self.mean = (self.mean * 7 + took) / 8;
    }
}

struct Job {
    links: Arc<Vec<Link>>,
    run: Arc<RunCx>,
    sequence: u64,
    done: Sender<Done>,
}

impl Job {
    fn run(self, chunk: Chunk) {
        let begun = Instant::now();
        let items = crate::stage::guard("apply", || through(&self.links, &self.run, chunk));
        // The chain is gone only when the run is being torn down.
        let _ = self.done.send((self.sequence, begun.elapsed(), items));
    }
}

/// Takes a chunk through all maps; what is given up on the way cuts it.
fn through(links: &[Link], run: &RunCx, chunk: Chunk) -> Result<Vec<Item>> {
    let mut items = vec![Item::Chunk(chunk)];
    for link in links {
        let mut next = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Chunk(chunk) => next.extend(link.apply(run, chunk)?),
                other => next.push(other),
            }
        }
        items = next;
    }
    Ok(items)
}
