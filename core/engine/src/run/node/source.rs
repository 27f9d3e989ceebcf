//! Sources: pull, sort, account, chunk.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};
use crate::plan::RunOptions;
use crate::run::edge::Item;
use crate::run::node::{Pace, Post};
use crate::run::sorter::{Sorted, Sorter};
use crate::run::sums;
use crate::span::{Chunk, Span};
use crate::stage::{AnySource, Arrival, Pull, Shapes, Slots};
use crate::value::{Array, Dict, Key, Value};

/// A source that has been opened.
pub struct SourceNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Box<dyn AnySource>,
    /// The frame it was opened at.
    pub from: u64,
    /// How many frames it has.
    pub frames: Option<u64>,
    /// Its frames in a part of a run; none takes all.
    pub own: Option<Range<u64>>,
    /// How the recipe runs.
    pub options: RunOptions,
    /// The scan's axes, slowest first.
    pub scan: Vec<(String, u64)>,
    /// The `scan.` keys that somebody reads.
    pub scan_keys: Vec<Key>,
    /// The keys whose frames a recorder sums again.
    pub summed: Vec<Key>,
    /// What a frame looks like, as far as the source says.
    pub shapes: Shapes,
    /// The rate it is played at, when the recipe says one.
    pub pace: Option<Pace>,
}

/// How often progress sees a new account: copying one takes time where many frames are lost.
const BOOKED: Duration = Duration::from_millis(50);

impl SourceNode {
    /// Runs the source to its end.
    pub fn run(mut self) -> Result<Dict> {
        let latency = Duration::from_millis(self.options.latency_ms);
        let (chunk, reorder) = (self.options.chunk_of(0), self.options.reorder);
        let mut sorter =
            Sorter::new(self.from, self.frames, chunk, reorder, latency, self.post.run.pool.clone());
        if let Some(own) = &self.own {
            sorter.only(own.clone());
        }
        if self.post.resumed()?.is_some()
            && let Some(saved) = self.post.meter.account()
        {
            sorter.ledger = saved;
        }
        let streamed = self.stream(&mut sorter);
        // However it ended: a run that failed has an account too.
        self.book(&sorter);
        if let Some(pace) = &self.pace {
            pace.report(&self.post.meter.name, sorter.next());
        }
        streamed?;
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new().with("next", sorter.next() as i64)))
    }

    fn stream(&mut self, sorter: &mut Sorter) -> Result<()> {
        let mut booked = Instant::now();
        // Also one that was asked for before this thread began: all have to pass the same marks.
        let mut seen_mark = self.post.control.first_mark;
        let mut marked_at = self.from;
        let why = loop {
            self.post.cx().check()?;
            let stopped = self.post.control.stop.load(std::sync::atomic::Ordering::Relaxed);
            if stopped {
                // Whoever stops a run wants to go on later: the last thing before the end is a mark.
                self.post.control.ask_mark(seen_mark);
            }
            let wanted = self.post.control.mark();
            if wanted > seen_mark {
                sorter.close()?;
                self.send(sorter)?;
                seen_mark = wanted;
                marked_at = sorter.next();
                self.mark(wanted, sorter)?;
            }
            if stopped {
                self.post.control.cut_short(self.post.id);
                break "the run was stopped before it";
            }
            if sorter.is_full() {
                break "the part ended before it";
            }
            if self.post.meter.released.load(std::sync::atomic::Ordering::Relaxed) {
                break "everybody who used it had ended before it";
            }
            let pulled = self.pull(sorter)?;
            let left = sorter.close_if_old()?;
            self.send(sorter)?;
            if booked.elapsed() >= BOOKED {
                self.book(sorter);
                booked = Instant::now();
            }
            if self.options.checkpoint_frames.is_some_and(|n| sorter.next() - marked_at >= n) {
                self.post.control.ask_mark(seen_mark);
            }
            match pulled {
                Pull::Ready => (),
                Pull::Wait(pause) => {
                    let pause = left.map_or(pause, |left| pause.min(left));
                    std::thread::sleep(pause.min(Duration::from_millis(20)));
                }
                Pull::End => break "the source ended before it",
            }
        };
        sorter.finish(why)?;
        if let Some(first) = sorter.repeats.first {
            tracing::warn!(
                stage = %self.post.meter.name,
                frames = sorter.repeats.differ,
                first,
                "Frames came twice with another content: the first of each was taken."
            );
        }
        self.send(sorter)
    }

    /// One pull, tried again after errors that may pass.
    fn pull(&mut self, sorter: &mut Sorter) -> Result<Pull> {
        let mut tries = 0;
        let due = match &mut self.pace {
            None => u64::MAX,
            Some(pace) => match pace.due(sorter.next()) {
                Ok(due) => due,
                Err(left) => return Ok(Pull::Wait(left)),
            },
        };
        loop {
            let mut slots = Slots::new(sorter.room().min(due), sorter.next());
            let span = Span::frames(sorter.next(), 0);
            let post = &self.post;
            let stage = &mut self.stage;
            let result = post.meter.call("pull", &span, || stage.pull(&post.cx(), &mut slots));
            // What was put before an error counts: the source will not give it again.
            for mut arrival in slots.take() {
                self.weigh(&mut arrival)?;
                sorter.push(arrival).at(|| format!("stage `{}`", self.post.meter.name))?;
            }
            match result {
                Err(error) if error.is_transient() && tries < self.options.retry => {
                    tries += 1;
                    let pause = Duration::from_millis(50 << tries.min(6));
                    tracing::warn!(stage = %self.post.meter.name, %error, tries, "The source is tried again.");
                    self.post.pause(pause)?;
                }
                other => return other,
            }
        }
    }

    /// Refuses frames that are not what was promised, before they are put together with others.
    ///
    /// Takes damaged bytes away that nobody would keep, or that would not fit among good frames.
    fn weigh(&self, arrival: &mut Arrival) -> Result<()> {
        let scatter = &self.post.scatter;
        match arrival {
            Arrival::Frames { first, count, data } => {
                let span = Span::frames(*first, *count);
                scatter.check(Some(&span), data)?;
                let kept = scatter.keeps_word(data, &self.shapes, false);
                kept.map_err(|e| {
                    Error::plugin(e.message()).at(format!("stage `{}`, {span}", self.post.meter.name))
                })
            }
            Arrival::Lost { data, .. } if !self.post.outlet.records() => {
                *data = None;
                Ok(())
            }
            Arrival::Lost { number, why, data, .. } => {
                let frame = data.as_ref();
                let fits = frame.map(|frame| scatter.fits(&Span::frames(*number, 1), frame, &self.shapes));
                if let Some(Err(error)) = fits {
                    *why = format!("{why}; its bytes are not kept: {error}").into();
                    *data = None;
                }
                Ok(())
            }
        }
    }

    /// The values of frames under their full keys.
    fn full(&self, span: &Span, given: Dict) -> Result<Dict> {
        let mut data = Dict::with_capacity(given.len() + self.scan_keys.len());
        self.post.scatter.add(span, given, &mut data)?;
        for key in &self.scan_keys {
            data.set(key.clone(), scan_values(key, &self.scan, span));
        }
        sums::add(&self.summed, &mut data);
        Ok(data)
    }

    /// Sends what the sorter let go.
    fn send(&mut self, sorter: &mut Sorter) -> Result<()> {
        for sorted in sorter.take() {
            match sorted {
                Sorted::Gap(gap) => self.post.outlet.send(Item::Gap(gap))?,
                Sorted::Corrupt(gap, data) => {
                    let data = self.full(&gap.span, data)?;
                    self.post.outlet.send(Item::Corrupt(gap, data))?;
                }
                Sorted::Chunk(chunk) => {
                    self.post.meter.took(chunk.span.len);
                    self.post.meter.gave();
                    let data = self.full(&chunk.span, chunk.data)?;
                    self.post.outlet.send(Item::Chunk(Chunk::new(chunk.span, data)))?;
                }
            }
        }
        Ok(())
    }

    /// Reports the state at a mark: what the reorder buffer holds will come again from `next` on.
    fn mark(&mut self, mark: u64, sorter: &Sorter) -> Result<()> {
        let ledger = sorter.ledger_at_mark();
        self.post.meter.book(|l| *l = ledger);
        self.post.mark(mark, Dict::new().with("next", sorter.next() as i64))
    }

    /// Publishes the account. The reorder buffer's own view runs ahead by what it holds, never behind.
    fn book(&self, sorter: &Sorter) {
        let ledger = sorter.ledger.clone();
        self.post.meter.book(|l| *l = ledger);
    }
}

/// The values of `scan.index` or `scan.AXIS` for a span of frames.
fn scan_values(key: &Key, scan: &[(String, u64)], span: &Span) -> Value {
    let name = key.as_str().strip_prefix("scan.").unwrap_or_default();
    let mut step = 1;
    let mut extent = u64::MAX;
    if let Some(at) = scan.iter().position(|(axis, _)| axis == name) {
        step = scan[at + 1..].iter().map(|(_, n)| n).product();
        extent = scan[at].1.max(1);
    }
    let values: Vec<u64> = span.range().map(|n| n / step % extent).collect();
    Array::from_slice(&values).into()
}
