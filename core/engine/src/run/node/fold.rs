//! Folds: ordered state; keys that travel on are held until the fold emits their frames.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Blame, Context, Error, Result};
use crate::run::edge::{Inbox, Item};
use crate::run::graph::none;
use crate::run::kept::{chunk_dict, chunk_of};
use crate::run::node::Post;
use crate::run::wire::wants;
use crate::span::{Chunk, Gap, Ranges, Span};
use crate::stage::{AnyFold, Emit, Lag};
use crate::value::{Array, Dict, Key, Value};

/// A fold and its thread.
pub struct FoldNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Box<dyn AnyFold>,
    /// The stream.
    pub inbox: Inbox,
    /// The keys of the stream that are read behind the fold.
    pub carry: Vec<Key>,
}

/// What is remembered between calls.
struct Held {
    lag: Lag,
    /// Frames whose other keys wait, in order of arrival.
    waiting: VecDeque<Chunk>,
    /// Gaps that travel on when the frames before them have been emitted.
    gaps: VecDeque<Gap>,
    covers: Ranges,
    /// The next record on an axis of its own.
    next: u64,
}

impl FoldNode {
    /// Runs the fold to the end of its stream.
    pub fn run(mut self) -> Result<Dict> {
        let mut held = Held {
            lag: self.stage.lag(),
            waiting: VecDeque::new(),
            gaps: VecDeque::new(),
            covers: Ranges::default(),
            next: 0,
        };
        if let Some(state) = self.post.resumed()? {
            held.load(&state)?;
            if let Some(Value::Dict(stage)) = state.get("stage") {
                self.post.meter.call("load", &none(), || self.stage.load(stage.clone()))?;
            }
        }
        loop {
            match self.post.next(&self.inbox)? {
                Item::Chunk(chunk) => {
                    self.post.meter.took(chunk.span.len);
                    let post = &self.post;
                    let stage = &mut self.stage;
                    let mut emit = Emit { items: vec![], gaps: vec![] };
                    let input = post.gather.input(&chunk.span, &chunk.data)?;
                    let cx = post.cx();
                    post.meter
                        .call("push", &chunk.span, || stage.push(&cx, &chunk.span, input, &mut emit))?;
                    emit.gaps.extend(cx.take_gaps());
                    if chunk.span.is_frames() {
                        post.meter.book(|l| l.done(chunk.span.range()));
                        held.covers.add(chunk.span.range());
                    }
                    held.hold(chunk, &self.carry);
                    self.emit(&mut held, emit, false)?;
                }
                Item::Gap(gap) => {
                    let post = &self.post;
                    let stage = &mut self.stage;
                    let mut emit = Emit { items: vec![], gaps: vec![] };
                    post.meter.book(|l| l.gap(&gap));
                    post.meter.call("gap", &gap.span, || stage.gap(&post.cx(), &gap, &mut emit))?;
                    match held.lag {
                        Lag::Merged { .. } => (),
                        Lag::Kept { .. } => held.gaps.push_back(gap),
                        // Frames behind a window that wraps around have no order that a gap could wait for; told at
                        // once, whoever comes next knows all gaps before the first frames, which come last.
                        Lag::Rotated => self.post.outlet.send(Item::Gap(gap))?,
                    }
                    self.emit(&mut held, emit, false)?;
                }
                Item::Mark(mark) => {
                    let stage = self.post.meter.call("save", &none(), || self.stage.save())?;
                    let state = held.save().with("stage", stage);
                    self.post.mark(mark, state)?;
                }
                Item::End => break,
                Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                    return Err(Error::internal("an edge gave a bare token"));
                }
            }
        }
        let post = &self.post;
        let stage = &mut self.stage;
        let mut emit = Emit { items: vec![], gaps: vec![] };
        match post.meter.call("finish", &Span::frames(0, 0), || stage.finish(&post.cx(), &mut emit)) {
            // The resumed run has the rest of the stream and another end.
            Err(error)
                if matches!(error.blame(), Blame::Data | Blame::Recipe) && post.control.was_cut_short() =>
            {
                tracing::warn!(stage = %post.meter.name, %error, "What came before the stop cannot be finished.");
                return self.post.end(Dict::new());
            }
            finished => finished?,
        }
        self.emit(&mut held, emit, true)?;
        if let Some(chunk) = held.waiting.front()
            && !matches!(held.lag, Lag::Merged { .. })
        {
            let (name, span) = (&self.post.meter.name, &chunk.span);
            return Err(Error::plugin(format!("stage `{name}` ended without emitting {span}")));
        }
        while let Some(gap) = held.gaps.pop_front() {
            self.post.outlet.send(Item::Gap(gap))?;
        }
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }

    fn emit(&mut self, held: &mut Held, emit: Emit<Dict>, last: bool) -> Result<()> {
        for gap in emit.gaps {
            held.give_up(&gap.span)?;
            match held.lag {
                Lag::Rotated => self.post.outlet.send(Item::Gap(gap))?,
                _ => held.gaps.push_back(gap),
            }
        }
        for (span, output) in emit.items {
            if !matches!(held.lag, Lag::Merged { .. }) {
                self.post.scatter.check(Some(&span), &output)?;
            }
            match held.lag {
                Lag::Merged { axis } => {
                    let span = Span { axis: Key::Static(axis), start: held.next, len: span.len };
                    held.next += span.len;
                    let mut data = Dict::with_capacity(output.len());
                    self.post.scatter.add(&span, renumber(output, &span)?, &mut data)?;
                    let covers = Some(Arc::new(held.covers.clone()));
                    self.post.outlet.send(Item::Chunk(Chunk { span, data, covers, last: true }))?;
                }
                _ => {
                    if matches!(held.lag, Lag::Kept { .. }) {
                        self.send_gaps_before(held, span.start)?;
                    }
                    let released = held.release(&span).at(|| format!("stage `{}`", self.post.meter.name));
                    for (part, carried) in released? {
                        let mut data = carried;
                        let mut cut = Dict::with_capacity(output.len());
                        for (key, value) in output.iter() {
                            cut.push(key.clone(), value.cut(span.start, part.start, part.end())?);
                        }
                        self.post.scatter.add(&part, cut, &mut data)?;
                        self.post.outlet.send(Item::Chunk(Chunk::new(part, data)))?;
                    }
                }
            }
        }
        if let Lag::Kept { .. } = held.lag {
            let next = held.waiting.front().map_or(u64::MAX, |c| c.span.start);
            // A gap leaves as soon as every frame before it has left.
            self.send_gaps_before(held, if last { u64::MAX } else { next })?;
        }
        Ok(())
    }

    fn send_gaps_before(&mut self, held: &mut Held, frame: u64) -> Result<()> {
        while held.gaps.front().is_some_and(|g| g.span.start < frame) {
            if let Some(gap) = held.gaps.pop_front() {
                self.post.outlet.send(Item::Gap(gap))?;
            }
        }
        Ok(())
    }
}

/// Tables on an axis of their own are numbered by the engine: row by row when they are the records themselves.
fn renumber(output: Dict, span: &Span) -> Result<Dict> {
    let mut out = Dict::with_capacity(output.len());
    for (key, value) in output {
        let value = match value {
            Value::Table(table) if table.rows() as u64 == span.len => {
                let records: Vec<u64> = span.range().collect();
                Value::Table(table.with_records(&records)?)
            }
            Value::Table(table) => {
                let relative: Vec<u64> = table.records().iter().map(|r| span.start + r).collect();
                Value::Table(table.with_records(&relative)?)
            }
            other => other,
        };
        out.push(key, value);
    }
    Ok(out)
}

impl Held {
    fn hold(&mut self, chunk: Chunk, carry: &[Key]) {
        if matches!(self.lag, Lag::Merged { .. }) {
            return;
        }
        let mut data = chunk.data;
        data.retain(|key| wants(carry, key));
        self.waiting.push_back(Chunk { data, ..chunk });
    }

    /// Lets go of the carried keys of frames that the stage gives up.
    fn give_up(&mut self, span: &Span) -> Result<()> {
        let mut left = VecDeque::new();
        for chunk in std::mem::take(&mut self.waiting) {
            let (a, b) = (chunk.span.start.max(span.start), chunk.span.end().min(span.end()));
            if a >= b {
                left.push_back(chunk);
                continue;
            }
            for (from, to) in [(chunk.span.start, a), (b, chunk.span.end())] {
                if from < to {
                    left.push_back(chunk.cut(from, to)?);
                }
            }
        }
        self.waiting = left;
        Ok(())
    }

    /// Takes the carried keys of emitted frames, piece by piece as they were held.
    fn release(&mut self, span: &Span) -> Result<Vec<(Span, Dict)>> {
        let (mut parts, mut left) = (vec![], VecDeque::new());
        let mut found = 0;
        while let Some(chunk) = self.waiting.pop_front() {
            let (a, b) = (chunk.span.start.max(span.start), chunk.span.end().min(span.end()));
            if a >= b {
                left.push_back(chunk);
                continue;
            }
            found += b - a;
            parts.push((chunk.span.part(a, b), chunk.cut(a, b)?.data));
            for (from, to) in [(chunk.span.start, a), (b, chunk.span.end())] {
                if from < to {
                    left.push_back(chunk.cut(from, to)?);
                }
            }
        }
        self.waiting = left;
        if found != span.len {
            return Err(Error::plugin(format!(
                "{span} was emitted, but only {found} of these frames are waiting"
            )));
        }
        parts.sort_by_key(|(part, _)| part.start);
        Ok(parts)
    }

    fn save(&self) -> Dict {
        let gaps: Vec<Value> = self
            .gaps
            .iter()
            .filter_map(|g| super::super::kept::item_dict(&Item::Gap(g.clone())))
            .map(Value::Dict)
            .collect();
        let waiting: Vec<Value> = self.waiting.iter().map(|c| Value::Dict(chunk_dict(c))).collect();
        Dict::new()
            .with("waiting", waiting)
            .with("gaps", gaps)
            .with("covers", Array::from_slice(&self.covers.bounds()))
            .with("next", self.next as i64)
    }

    fn load(&mut self, state: &Dict) -> Result<()> {
        if let Value::List(list) = state.need("waiting")? {
            for entry in list.iter() {
                if let Value::Dict(dict) = entry {
                    self.waiting.push_back(chunk_of(dict)?);
                }
            }
        }
        if let Value::List(list) = state.need("gaps")? {
            for entry in list.iter() {
                if let Value::Dict(dict) = entry
                    && let Item::Gap(gap) = crate::run::kept::item_of(dict)?
                {
                    self.gaps.push_back(gap);
                }
            }
        }
        if let Value::Array(bounds) = state.need("covers")? {
            self.covers = Ranges::from_bounds(bounds.as_slice()?);
        }
        self.next = state.need("next")?.number().unwrap_or(0.0) as u64;
        Ok(())
    }
}
