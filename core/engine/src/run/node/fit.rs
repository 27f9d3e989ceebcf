//! Fitters: absorb first, refine in slices, on credit paced by data growth.

use std::time::{Duration, Instant};

use crate::error::{Blame, Error, Result};
use crate::plan::StageOptions;
use crate::run::edge::{Inbox, Item, Nothing};
use crate::run::graph::none;
use crate::run::node::Post;
use crate::run::view::Looks;
use crate::span::{Ranges, Span};
use crate::stage::{AnyFit, Fitness, Slice};
use crate::value::{Array, Dict, Value};

/// A fitter and its thread.
pub struct FitNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Box<dyn AnyFit>,
    /// The stream.
    pub inbox: Inbox,
    /// How it runs.
    pub options: StageOptions,
    /// Frames arrive at their own pace: refine while they do.
    pub live: bool,
}

/// How long a slice of refinement is.
const SLICE: Duration = Duration::from_millis(50);
/// Data have to grow by this part before a fit that had settled is refined again.
const GROWTH: f64 = 0.02;

struct Progress {
    covers: Ranges,
    /// Frames when refinement last began on new data.
    refined_at: u64,
    more: bool,
    shown: u64,
    shown_at: Option<Instant>,
    /// Whether anything was refined since the last snapshot.
    news: bool,
    looks: Looks,
}

impl FitNode {
    /// Runs the fitter: to the end of its stream, then until more would not help.
    pub fn run(mut self) -> Result<Dict> {
        let mut p = Progress {
            covers: Ranges::default(),
            refined_at: 0,
            more: true,
            shown: 0,
            shown_at: None,
            news: false,
            looks: Looks::new(),
        };
        if let Some(state) = self.post.resumed()? {
            if let Some(Value::Array(bounds)) = state.get("covers") {
                p.covers = Ranges::from_bounds(bounds.as_slice()?);
            }
            p.shown = state.get("shown").and_then(Value::number).unwrap_or(0.0) as u64;
            if let Some(Value::Dict(stage)) = state.get("stage") {
                self.post.meter.call("load", &none(), || self.stage.load(stage.clone()))?;
            }
        }
        loop {
            let due = self.live && (p.due() || self.stage.ripe());
            let item =
                if due { self.inbox.try_recv() } else { self.inbox.recv_timeout(Duration::from_millis(200)) };
            match item {
                Ok(Item::Chunk(chunk)) => {
                    let post = &self.post;
                    let stage = &mut self.stage;
                    post.meter.took(chunk.span.len);
                    let input = post.gather.input(&chunk.span, &chunk.data)?;
                    post.meter
                        .call("absorb", &chunk.span, || stage.absorb(&post.cx(), &chunk.span, input))?;
                    if chunk.span.is_frames() {
                        post.meter.book(|l| l.done(chunk.span.range()));
                    }
                    match &chunk.covers {
                        Some(set) => set.iter().for_each(|r| p.covers.add(r.clone())),
                        None => p.covers.add(chunk.span.range()),
                    }
                    self.ripen()?;
                }
                Ok(Item::Gap(gap)) => {
                    let post = &self.post;
                    let stage = &mut self.stage;
                    post.meter.book(|l| l.gap(&gap));
                    post.meter.call("gap", &gap.span, || stage.gap(&post.cx(), &gap))?;
                    self.ripen()?;
                }
                Ok(Item::Mark(mark)) => {
                    let state = Dict::new()
                        .with("covers", Array::from_slice(&p.covers.bounds()))
                        .with("shown", p.shown as i64)
                        .with("stage", self.post.meter.call("save", &none(), || self.stage.save())?);
                    self.post.mark(mark, state)?;
                }
                Ok(Item::End) => break,
                Ok(Item::Fault(error)) => return Err(error),
                Ok(Item::Corrupt(..) | Item::Poke(_) | Item::Aside) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
                // Absorb before refining: a slow fitter must not stop the detector.
                Err(Nothing::Yet) if due => {
                    let fitness = self.refine(Slice::of(SLICE))?;
                    p.refined(fitness);
                    self.show(&mut p)?;
                }
                Err(Nothing::Yet) => self.post.check()?,
                Err(Nothing::Broken) => return Err(Error::cancelled()),
            }
        }
        self.finish(p)
    }

    /// Finishes what can be finished, unless a detector must not be kept waiting: what is finished takes no memory.
    fn ripen(&mut self) -> Result<()> {
        while !self.live && self.stage.ripe() {
            self.post.check()?;
            self.refine(Slice::of(SLICE))?;
        }
        Ok(())
    }

    fn finish(mut self, mut p: Progress) -> Result<Dict> {
        let none = Span::frames(0, 0);
        let post = &self.post;
        let stage = &mut self.stage;
        post.meter.call("complete", &none, || stage.complete(&post.cx()))?;
        if !p.covers.is_empty() {
            loop {
                self.post.cx().check()?;
                let fitness = match self.refine(Slice::of(SLICE)) {
                    Err(error) if error.blame() == Blame::Data && self.post.control.was_cut_short() => {
                        tracing::warn!(stage = %self.post.meter.name, %error, "What came before the stop cannot be fitted.");
                        return self.post.end(Dict::new());
                    }
                    fitness => fitness?,
                };
                p.refined(fitness);
                if !fitness.more {
                    break;
                }
                self.show(&mut p)?;
            }
        }
        let output = self.post.meter.call("snapshot", &none, || self.stage.snapshot(&self.post.cx()))?;
        if output.is_none() && self.post.control.was_cut_short() {
            // A stop came before there was enough to fit; the resumed run will have it.
            return self.post.end(Dict::new());
        }
        let output = output.ok_or_else(|| {
            let name = &self.post.meter.name;
            Error::data(format!("stage `{name}` has nothing to show after {} frames", p.covers.count()))
        })?;
        self.post.snapshot(p.shown, output, &p.covers, true)?;
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }

    fn refine(&mut self, slice: Slice) -> Result<Fitness> {
        let post = &self.post;
        let stage = &mut self.stage;
        post.meter.call("refine", &Span::frames(0, 0), || stage.refine(&post.cx(), &slice))
    }

    /// Emits a snapshot when one is due and something changed.
    fn show(&mut self, p: &mut Progress) -> Result<()> {
        let Some(every) = self.options.snapshot_s else { return self.look(p) };
        let due = p.shown_at.is_none_or(|at| at.elapsed().as_secs_f64() >= every);
        if !due || !p.news {
            return Ok(());
        }
        let none = Span::frames(0, 0);
        if let Some(output) =
            self.post.meter.call("snapshot", &none, || self.stage.snapshot(&self.post.cx()))?
        {
            self.post.snapshot(p.shown, output, &p.covers, false)?;
            p.shown += 1;
            p.shown_at = Some(Instant::now());
            p.news = false;
        }
        Ok(())
    }

    /// A fit that shows no snapshots still shows one to a viewer who waits.
    fn look(&mut self, p: &mut Progress) -> Result<()> {
        if !p.news || !p.looks.due(self.post.outlet.tap.as_deref()) {
            return Ok(());
        }
        let begun = Instant::now();
        let none = Span::frames(0, 0);
        match self.post.meter.call("snapshot", &none, || self.stage.snapshot(&self.post.cx())) {
            Ok(Some(output)) => self.post.look(p.shown, output, &p.covers)?,
            Ok(None) => (),
            Err(error) => {
                tracing::warn!(stage = %self.post.meter.name, %error, "There is nothing to look at.");
                p.looks.stop();
                return Ok(());
            }
        }
        p.news = false;
        p.looks.took(begun.elapsed());
        Ok(())
    }
}

impl Progress {
    /// Whether a slice of refinement is worth its time now.
    fn due(&self) -> bool {
        let now = self.covers.count();
        now > 0 && (self.more || now as f64 > self.refined_at as f64 * (1.0 + GROWTH))
    }

    fn refined(&mut self, fitness: Fitness) {
        self.refined_at = self.covers.count();
        self.more = fitness.more;
        self.news = true;
    }
}
