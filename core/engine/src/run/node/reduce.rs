//! Reductions: blocks of 64 frame numbers in parallel, merged along a fixed tree.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::error::{Error, Result};
use crate::plan::{NodeId, StageOptions};
use crate::run::control::Meter;
use crate::run::edge::{Inbox, Item};
use crate::run::graph::none;
use crate::run::index::Index;
use crate::run::node::tree::{BLOCK, Tree};
use crate::run::node::{Committed, Post};
use crate::run::view::Looks;
use crate::span::{Chunk, Ranges, Span};
use crate::stage::{AnyPart, AnyReduce, Cx, Output, RunCx};
use crate::value::{Array, Dict, Value};

/// A reduction and its thread.
pub struct ReduceNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Arc<dyn AnyReduce>,
    /// The stream.
    pub inbox: Inbox,
    /// How it runs.
    pub options: StageOptions,
    /// Pieces worked on at once.
    pub parallel: usize,
    /// In a part of a run: where the unmerged nodes of the tree go instead of a result.
    pub keep: Option<KeepTree>,
}

/// Where the unmerged nodes of a reduction's tree go.
pub struct KeepTree {
    /// The path of the file.
    pub path: String,
    /// Takes the file.
    pub output: Arc<dyn Output>,
    /// Told after the commit.
    pub committed: Committed,
    /// What stands in the file beside the nodes.
    pub index: Index,
    /// The sources whose stop would cut the stream short.
    pub behind: Vec<NodeId>,
}

/// One block that still takes frames.
struct Block {
    number: u64,
    shared: Arc<Shared>,
}

/// What the jobs of a block share: its part and the pieces that wait for it, in order.
struct Shared {
    stage: Arc<dyn AnyReduce>,
    run: Arc<RunCx>,
    meter: Arc<Meter>,
    done: Sender<Done>,
    state: Mutex<State>,
}

struct State {
    part: Option<AnyPart>,
    pieces: VecDeque<(Span, Dict)>,
    running: bool,
}

/// Work below this per piece is done on the node's own thread: a hand-over costs about 10 µs.
const HAND_OVER: Duration = Duration::from_micros(60);

impl ReduceNode {
    /// Runs the reduction to the end of its stream.
    pub fn run(mut self) -> Result<Dict> {
        let (done_tx, done_rx) = unbounded();
        let mut work = Work {
            tree: Tree::from_nodes(self.first_block(), vec![]),
            blocks: VecDeque::new(),
            covers: Ranges::default(),
            going: 0,
            mean: Duration::ZERO,
        };
        let mut shown = 0;
        if let Some(state) = self.post.resumed()? {
            shown = state.get("shown").and_then(Value::number).unwrap_or(0.0) as u64;
            self.load(&mut work, &state, &done_tx)?;
        }
        let mut looks = Looks::new();
        let (mut shown_at, mut frames_shown) = (Instant::now(), work.covers.count());
        loop {
            match self.post.next(&self.inbox)? {
                Item::Chunk(chunk) => {
                    self.post.meter.took(chunk.span.len);
                    if chunk.span.is_frames() {
                        self.post.meter.book(|l| l.done(chunk.span.range()));
                    }
                    match &chunk.covers {
                        Some(set) => set.iter().for_each(|r| work.covers.add(r.clone())),
                        None => work.covers.add(chunk.span.range()),
                    }
                    let mut at = chunk.span.start;
                    while at < chunk.span.end() {
                        let to = chunk.span.end().min((at / BLOCK + 1) * BLOCK);
                        self.add(&mut work, chunk.cut(at, to)?, &done_tx, &done_rx)?;
                        at = to;
                    }
                }
                Item::Gap(gap) => self.post.meter.book(|l| l.gap(&gap)),
                Item::Mark(mark) => {
                    work.wait(&done_rx)?;
                    self.retire(&mut work, u64::MAX, false)?;
                    let state = self.save(&work)?.with("shown", shown as i64);
                    if let Some(keep) = &self.keep {
                        (keep.committed)(Some(mark));
                    }
                    self.post.mark(mark, state)?;
                }
                Item::End => break,
                Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
            }
            let due = self.options.snapshot_s.is_some_and(|s| shown_at.elapsed().as_secs_f64() >= s)
                || self.options.snapshot_frames.is_some_and(|n| work.covers.count() - frames_shown >= n);
            if due && !self.post.outlet.is_empty() {
                work.wait(&done_rx)?;
                if let Some(output) = self.peek(&work)? {
                    self.post.snapshot(shown, output, &work.covers, false)?;
                    shown += 1;
                }
                (shown_at, frames_shown) = (Instant::now(), work.covers.count());
            } else if looks.due(self.post.outlet.tap.as_deref()) {
                let begun = Instant::now();
                work.wait(&done_rx)?;
                match self.peek(&work) {
                    Ok(Some(output)) => self.post.look(shown, output, &work.covers)?,
                    Ok(None) => (),
                    Err(error) => {
                        tracing::warn!(stage = %self.post.meter.name, %error, "There is nothing to look at.");
                        looks.stop();
                        continue;
                    }
                }
                looks.took(begun.elapsed());
            }
        }
        work.wait(&done_rx)?;
        self.retire(&mut work, u64::MAX, true)?;
        if work.covers.is_empty() && self.post.control.was_cut_short() {
            // A stop came before the first frame; the resumed run will have it.
            return self.post.end(Dict::new());
        }
        if let Some(mut keep) = self.keep.take() {
            if !self.post.control.were_cut_short().iter().any(|id| keep.behind.contains(id)) {
                keep.index.tree = Some(self.save(&work)?);
                let (path, bytes) = (&keep.path, keep.index.pack());
                self.post.meter.call("keep", &none(), || keep.output.seal(path, &bytes))?;
            }
            (keep.committed)(None);
            return self.post.end(Dict::new());
        }
        let tree = std::mem::take(&mut work.tree);
        let part = tree.finish(&mut |a, b| self.merge(a, b))?;
        let output = self.post.meter.call("finish", &none(), || {
            let cx = self.post.cx();
            let part = part.map_or_else(|| self.stage.part(&cx), Ok)?;
            self.stage.finish(&cx, part)
        })?;
        self.post.snapshot(shown, output, &work.covers, true)?;
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }

    /// The block that the reduction begins with: another than the first in a part of a run.
    fn first_block(&self) -> u64 {
        let range = self.keep.as_ref().and_then(|k| k.index.range.as_ref());
        range.map_or(0, |r| r.start.div_ceil(BLOCK))
    }

    /// Hands a piece of one block to its part, here or on the pool.
    fn add(
        &self,
        work: &mut Work,
        piece: Chunk,
        done: &Sender<Done>,
        finished: &Receiver<Done>,
    ) -> Result<()> {
        let number = piece.span.start / BLOCK;
        self.retire(work, number, true)?;
        if work.blocks.back().is_none_or(|b| b.number != number) {
            let part = self.post.meter.call("part", &piece.span, || self.stage.part(&self.post.cx()))?;
            work.blocks.push_back(self.block(number, part, done));
        }
        let shared = work.blocks.back().expect("a block was just opened").shared.clone();
        let input = self.post.gather.input(&piece.span, &piece.data)?;
        match &self.post.run.threads {
            Some(threads) if work.mean > HAND_OVER => {
                let mut state = shared.lock();
                state.pieces.push_back((piece.span, input));
                work.going += 1;
                if !state.running {
                    state.running = true;
                    let job = shared.clone();
                    threads.spawn(move || job.work());
                }
                drop(state);
                // Pieces wait in memory, so only a few may: as many as there are threads to take them.
                while work.going > self.parallel {
                    work.take(finished.recv().map_err(|_| Error::cancelled())?)?;
                }
                while let Ok(done) = finished.try_recv() {
                    work.take(done)?;
                }
            }
            _ => {
                // Pieces that were handed over before come first.
                work.wait(finished)?;
                let begun = Instant::now();
                let mut state = shared.lock();
                let part = state.part.as_mut().ok_or_else(|| Error::internal("a block lost its part"))?;
                let cx = self.post.cx();
                self.post.meter.call("add", &piece.span, || self.stage.add(&cx, part, &piece.span, input))?;
                drop(state);
                work.settle(begun.elapsed());
            }
        }
        Ok(())
    }

    fn block(&self, number: u64, part: AnyPart, done: &Sender<Done>) -> Block {
        let state = State { part: Some(part), pieces: VecDeque::new(), running: false };
        let shared = Shared {
            stage: self.stage.clone(),
            run: self.post.run.clone(),
            meter: self.post.meter.clone(),
            done: done.clone(),
            state: Mutex::new(state),
        };
        Block { number, shared: Arc::new(shared) }
    }

    /// Merges blocks before `number` whose pieces are all in; the newest stays open unless `all`.
    fn retire(&self, work: &mut Work, number: u64, all: bool) -> Result<()> {
        while let Some(block) = work.blocks.front() {
            let open = block.number >= number || (!all && work.blocks.len() == 1);
            let mut state = block.shared.lock();
            if open || state.running {
                return Ok(());
            }
            let part = state.part.take().ok_or_else(|| Error::internal("a block lost its part"))?;
            drop(state);
            let at = block.number;
            work.blocks.pop_front();
            work.tree.put(at, part, &mut |a, b| self.merge(a, b))?;
        }
        Ok(())
    }

    fn merge(&self, part: &mut AnyPart, later: AnyPart) -> Result<()> {
        self.post.meter.call("merge", &Span::frames(0, 0), || self.stage.merge(&self.post.cx(), part, later))
    }

    /// The result so far: copies of all parts, merged. Parts are copied by saving them, which they all can.
    fn peek(&self, work: &Work) -> Result<Option<Dict>> {
        let cx = self.post.cx();
        let mut all: Option<AnyPart> = None;
        let open = work.blocks.iter().map(|b| b.shared.lock());
        let open: Vec<_> = open.collect();
        let parts =
            work.tree.nodes().filter_map(|(_, p)| p).chain(open.iter().filter_map(|s| s.part.as_ref()));
        for part in parts {
            let copy = self.stored(part).and_then(|saved| self.fetched(&cx, saved))?;
            match &mut all {
                Some(all) => self.merge(all, copy)?,
                None => all = Some(copy),
            }
        }
        match all {
            Some(part) => self.post.meter.call("peek", &Span::frames(0, 0), || self.stage.peek(&cx, &part)),
            None => Ok(None),
        }
    }

    fn stored(&self, part: &AnyPart) -> Result<Dict> {
        self.post.meter.call("save", &none(), || self.stage.save(part))
    }

    fn fetched(&self, cx: &Cx, saved: Dict) -> Result<AnyPart> {
        self.post.meter.call("load", &none(), || self.stage.load(cx, saved))
    }

    fn save(&self, work: &Work) -> Result<Dict> {
        let mut nodes = vec![];
        for (level, part) in work.tree.nodes() {
            let part = part.map(|p| self.stored(p)).transpose()?.map_or(Value::None, Value::Dict);
            nodes.push(Value::from(vec![Value::Int(i64::from(level)), part]));
        }
        let mut blocks = vec![];
        for block in &work.blocks {
            let state = block.shared.lock();
            if let Some(part) = &state.part {
                blocks.push(Value::from(vec![Value::Int(block.number as i64), self.stored(part)?.into()]));
            }
        }
        Ok(Dict::new()
            .with("tree", nodes)
            .with("next", work.tree.next() as i64)
            .with("blocks", blocks)
            .with("covers", Array::from_slice(&work.covers.bounds())))
    }

    fn load(&self, work: &mut Work, state: &Dict, done: &Sender<Done>) -> Result<()> {
        let cx = self.post.cx();
        let saved = Saved::of(state, &mut |part| self.fetched(&cx, part))?;
        (work.tree, work.covers) = (saved.tree, saved.covers);
        for (number, part) in saved.blocks {
            work.blocks.push_back(self.block(number, part, done));
        }
        Ok(())
    }
}

/// A reduction as it was saved.
pub struct Saved {
    pub tree: Tree<AnyPart>,
    pub blocks: Vec<(u64, AnyPart)>,
    pub covers: Ranges,
}

impl Saved {
    /// Reads a saved reduction; `fetch` loads one part.
    pub fn of(state: &Dict, fetch: &mut dyn FnMut(Dict) -> Result<AnyPart>) -> Result<Saved> {
        let damaged = || Error::data("a damaged saved reduction");
        let mut pairs = |key: &str| -> Result<Vec<(i64, Option<AnyPart>)>> {
            let Value::List(list) = state.need(key)? else { return Err(damaged()) };
            let mut out = vec![];
            for entry in list.iter() {
                let Value::List(pair) = entry else { return Err(damaged()) };
                match &**pair {
                    [Value::Int(n), Value::Dict(part)] => out.push((*n, Some(fetch(part.clone())?))),
                    [Value::Int(n), Value::None] => out.push((*n, None)),
                    _ => return Err(damaged()),
                }
            }
            Ok(out)
        };
        let next = state.need("next")?.number().unwrap_or(0.0) as u64;
        let nodes = pairs("tree")?.into_iter().map(|(level, part)| (level as u32, part)).collect();
        let blocks = pairs("blocks")?.into_iter().map(|(number, part)| Some((number as u64, part?)));
        let blocks = blocks.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        let covers = match state.need("covers")? {
            Value::Array(bounds) => Ranges::from_bounds(bounds.as_slice()?),
            _ => Ranges::default(),
        };
        Ok(Saved { tree: Tree::from_nodes(next, nodes), blocks, covers })
    }
}

/// A reduction's state.
struct Work {
    tree: Tree<AnyPart>,
    /// Blocks that are not merged yet, in order.
    blocks: VecDeque<Block>,
    covers: Ranges,
    /// Pieces that wait or are being worked on.
    going: usize,
    /// The mean cost of a piece.
    mean: Duration,
}

/// What a piece cost on the pool.
type Done = Result<Duration>;

impl Work {
    fn wait(&mut self, finished: &Receiver<Done>) -> Result<()> {
        while self.going > 0 {
            self.take(finished.recv().map_err(|_| Error::cancelled())?)?;
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> Result<()> {
        self.settle(done?);
        self.going -= 1;
        Ok(())
    }

    fn settle(&mut self, took: Duration) {
        self.mean = (self.mean * 3 + took) / 4;
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the pieces that wait, in order, until there are none.
    fn work(self: Arc<Self>) {
        let (mut part, mut piece) = {
            let mut state = self.lock();
            (state.part.take(), state.pieces.pop_front())
        };
        while let Some((span, input)) = piece.take() {
            let begun = Instant::now();
            let cx = Cx::watched(&self.run, &self.meter.name, &self.meter.beat);
            let result = match &mut part {
                Some(part) => self.meter.call("add", &span, || self.stage.add(&cx, part, &span, input)),
                None => Err(Error::internal("a block lost its part")),
            };
            // The part is back before its last piece is said to be done: the node may merge it at once.
            let mut state = self.lock();
            if result.is_ok() {
                piece = state.pieces.pop_front();
            }
            if piece.is_none() {
                state.part = part.take();
                state.running = false;
            }
            drop(state);
            // The node is gone only when the run is being torn down.
            let _ = self.done.send(result.map(|()| begun.elapsed()));
        }
    }
}
