//! Joins: two streams meet by number, or by time within a tolerance; order is the engine's business.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::select;

use crate::error::{Error, Result};
use crate::plan::Join;
use crate::run::edge::{Inbox, Item};
use crate::run::kept::{chunk_dict, chunk_of};
use crate::run::node::Post;
use crate::span::{Chunk, Gap, Reason, Span};
use crate::value::{Dict, Value};

/// A join and its thread.
pub struct JoinNode {
    /// The common part.
    pub post: Post,
    /// Its rule.
    pub rule: Join,
    /// The two streams; numbers are those of the first.
    pub inboxes: [Inbox; 2],
    /// The names of the stages they come from.
    pub names: [String; 2],
}

/// One side of a join.
#[derive(Default)]
struct Side {
    /// What waits for its other half, in order.
    waiting: VecDeque<(Chunk, Instant)>,
    /// Gaps that have not been passed on, in order.
    gaps: VecDeque<Gap>,
    /// The record after the newest.
    next: u64,
    /// The newest time seen.
    time: f64,
    /// The mark it stands at until the other side is there too.
    marked: Option<u64>,
    ended: bool,
}

impl JoinNode {
    /// Runs the join until both streams have ended.
    pub fn run(mut self) -> Result<Dict> {
        let mut sides = [Side::default(), Side::default()];
        if let Some(state) = self.post.resumed()? {
            for (side, key) in sides.iter_mut().zip(["left", "right"]) {
                if let Some(Value::Dict(saved)) = state.get(key) {
                    side.load(saved)?;
                }
            }
        }
        while !(sides[0].ended && sides[1].ended) {
            if let Some((at, item)) = self.next(&sides)? {
                match item {
                    Item::Chunk(chunk) => {
                        self.post.meter.took(chunk.span.len);
                        sides[at].take(chunk, at, &self.rule)?;
                    }
                    Item::Gap(gap) => {
                        sides[at].next = gap.span.end();
                        sides[at].gaps.push_back(gap);
                    }
                    Item::Mark(mark) => {
                        sides[at].marked = Some(mark);
                        self.pass_mark(&mut sides)?;
                        continue;
                    }
                    Item::End => sides[at].ended = true,
                    Item::Corrupt(..) | Item::Poke(_) | Item::Aside | Item::Fault(_) => {
                        return Err(Error::internal("an edge gave a bare token"));
                    }
                }
            }
            match self.rule.time {
                None => self.match_numbers(&mut sides)?,
                Some(_) => self.match_times(&mut sides)?,
            }
            // The end of one side may be what the other stood waiting for.
            self.pass_mark(&mut sides)?;
        }
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }

    /// Passes a mark on when both sides stand at it; a mark that one side has skipped is let go.
    fn pass_mark(&mut self, sides: &mut [Side; 2]) -> Result<()> {
        let newest = sides.iter().filter_map(|s| s.marked).max();
        let Some(mark) = newest else { return Ok(()) };
        sides.iter_mut().filter(|s| s.marked.is_some_and(|m| m < mark)).for_each(|s| s.marked = None);
        if sides.iter().all(|s| s.marked.is_some() || s.ended) {
            sides.iter_mut().for_each(|s| s.marked = None);
            let state = Dict::new().with("left", sides[0].save()).with("right", sides[1].save());
            self.post.mark(mark, state)?;
        }
        Ok(())
    }

    /// The next item of either side; a side that stands at a mark waits for the other.
    fn next(&self, sides: &[Side; 2]) -> Result<Option<(usize, Item)>> {
        let open = |i: usize| !sides[i].ended && sides[i].marked.is_none();
        let pause = Duration::from_millis(if self.rule.wait_s.is_some() { 10 } else { 200 });
        for at in [0, 1] {
            if let Some(item) = self.inboxes[at].follows() {
                return Ok(Some((at, item)));
            }
        }
        let never = crossbeam_channel::never();
        let left = if open(0) { self.inboxes[0].receiver() } else { &never };
        let right = if open(1) { self.inboxes[1].receiver() } else { &never };
        let (at, item) = select! {
            recv(left) -> item => (0, item),
            recv(right) -> item => (1, item),
            default(pause) => {
                self.post.check()?;
                return Ok(None);
            }
        };
        let item = item.map_err(|_| Error::cancelled())?;
        match self.inboxes[at].open(item) {
            Some(Item::Fault(error)) => Err(error),
            Some(item) => Ok(Some((at, item))),
            None => Ok(None),
        }
    }

    /// Emits what both sides have, in order of number; gives up halves that are alone.
    fn match_numbers(&mut self, sides: &mut [Side; 2]) -> Result<()> {
        loop {
            let starts = [0, 1].map(|i| sides[i].waiting.front().map(|(c, _)| c.span.start));
            let (at, start) = match starts {
                [Some(a), Some(b)] if a == b => {
                    self.gaps_before(sides, a)?;
                    let len = [0, 1].map(|i| sides[i].waiting[0].0.span.len).into_iter().min().unwrap_or(0);
                    let left = sides[0].split(len)?;
                    let right = sides[1].split(len)?;
                    self.post.meter.book(|l| l.done(left.span.range()));
                    sides.iter_mut().for_each(|s| s.gaps.retain(|g| g.span.start >= left.span.end()));
                    self.pair(left, right.data)?;
                    continue;
                }
                [Some(a), Some(b)] => {
                    if a < b {
                        (0, a)
                    } else {
                        (1, b)
                    }
                }
                [Some(a), None] => (0, a),
                [None, Some(b)] => (1, b),
                [None, None] => return self.gaps_on_both(sides),
            };
            let other = &sides[1 - at];
            let reached = other.waiting.front().map_or(other.next, |(c, _)| c.span.start);
            let (chunk, since) = &sides[at].waiting[0];
            let end = chunk.span.end();
            let newest = sides[at].next;
            let mut alone_to =
                if other.ended && other.waiting.is_empty() { end } else { reached.clamp(start, end) };
            let mut why = format!("no partner in `{}`", self.names[1 - at]);
            if alone_to == start && newest > self.rule.wait_frames {
                let limit = (newest - self.rule.wait_frames).clamp(start, end);
                if limit > start {
                    alone_to = limit;
                    why = format!(
                        "no partner in `{}` within {} frames",
                        self.names[1 - at],
                        self.rule.wait_frames
                    );
                }
            }
            if alone_to == start && self.rule.wait_s.is_some_and(|s| since.elapsed().as_secs_f64() > s) {
                alone_to = end;
                why = format!(
                    "no partner in `{}` within {} s",
                    self.names[1 - at],
                    self.rule.wait_s.unwrap_or(0.0)
                );
            }
            if alone_to == start {
                return Ok(());
            }
            if let Some(gap) = other.gaps.iter().find(|g| g.span.range().contains(&start)) {
                why = format!("`{}` was {}: {}", self.names[1 - at], gap.reason.word(), gap.why);
                alone_to = alone_to.min(gap.span.end());
            }
            let lonely = sides[at].split(alone_to - start)?;
            self.gaps_before(sides, start)?;
            // Whatever the other half is when it comes, its partner is gone.
            let other = &mut sides[1 - at];
            other.next = other.next.max(lonely.span.end());
            self.give_up(Gap { span: lonely.span, reason: Reason::Missing, why: why.into() })?;
        }
    }

    /// Frames that neither side has: the gap of the first side travels on.
    fn gaps_on_both(&mut self, sides: &mut [Side; 2]) -> Result<()> {
        let reached = [0, 1]
            .map(|i| if sides[i].ended { u64::MAX } else { sides[i].next })
            .into_iter()
            .min()
            .unwrap_or(0);
        self.gaps_before(sides, reached)
    }

    /// Frames of the first side's gaps before a frame, unless the other side has had them given up already.
    fn gaps_before(&mut self, sides: &mut [Side; 2], frame: u64) -> Result<()> {
        while let Some(gap) = sides[0].gaps.pop_front() {
            if gap.span.end() > frame {
                sides[0].gaps.push_front(gap);
                break;
            }
            let mut fresh: Vec<u64> = gap.span.range().collect();
            self.post.meter.book(|l| fresh.retain(|n| !l.done.has(*n) && !l.missing.has(*n)));
            for number in fresh {
                self.give_up(Gap { span: Span::frames(number, 1), ..gap.clone() })?;
            }
        }
        Ok(())
    }

    /// Emits each record of the first side with the nearest one of the second.
    fn match_times(&mut self, sides: &mut [Side; 2]) -> Result<()> {
        let Some((left_key, right_key)) = self.rule.time.clone() else { return Ok(()) };
        while let Some((chunk, since)) = sides[0].waiting.front() {
            let time = first_time(chunk, left_key.as_str())?;
            let other = &sides[1];
            let late = self.rule.wait_s.is_some_and(|s| since.elapsed().as_secs_f64() > s);
            if other.time <= time + self.rule.within && !other.ended && !late {
                return Ok(());
            }
            let mut best: Option<(usize, f64)> = None;
            for (at, (candidate, _)) in other.waiting.iter().enumerate() {
                let apart = (first_time(candidate, right_key.as_str())? - time).abs();
                if apart <= self.rule.within && best.is_none_or(|(_, b)| apart < b) {
                    best = Some((at, apart));
                }
            }
            let left = sides[0].split(1)?;
            match best {
                Some((at, _)) => {
                    let data = sides[1].waiting[at].0.data.clone();
                    sides[1].waiting.drain(..at);
                    self.post.meter.book(|l| l.done(left.span.range()));
                    self.pair(left, data)?;
                }
                None => {
                    let (name, within) = (&self.names[1], self.rule.within);
                    let why = format!("nothing in `{name}` within {within} s of {time}").into();
                    self.give_up(Gap { span: left.span, reason: Reason::Missing, why })?;
                }
            }
        }
        while let Some(gap) = sides[0].gaps.pop_front() {
            self.give_up(gap)?;
        }
        Ok(())
    }

    fn pair(&mut self, left: Chunk, right: Dict) -> Result<()> {
        let mut data = left.data;
        for (key, value) in right {
            // Keys that both branches of one source carried are the same values.
            data.set(key, value);
        }
        self.post.outlet.send(Item::Chunk(Chunk { data, ..Chunk::new(left.span, Dict::new()) }))
    }

    fn give_up(&mut self, gap: Gap) -> Result<()> {
        self.post.meter.book(|l| l.gap(&gap));
        self.post.outlet.send(Item::Gap(gap))
    }
}

impl Side {
    fn take(&mut self, chunk: Chunk, at: usize, rule: &Join) -> Result<()> {
        let now = Instant::now();
        if let Some((left, right)) = &rule.time {
            // Times are matched one by one.
            let key = if at == 0 { left } else { right };
            for number in chunk.span.range() {
                let one = chunk.cut(number, number + 1)?;
                self.time = self.time.max(first_time(&one, key.as_str())?);
                self.waiting.push_back((one, now));
            }
            return Ok(());
        }
        if chunk.span.end() <= self.next {
            // Its partner was given up already and the gap has gone out.
            return Ok(());
        }
        let chunk = chunk.cut(chunk.span.start.max(self.next), chunk.span.end())?;
        self.next = chunk.span.end();
        self.waiting.push_back((chunk, now));
        Ok(())
    }

    /// Takes the first `len` records of what waits first.
    fn split(&mut self, len: u64) -> Result<Chunk> {
        let (chunk, since) =
            self.waiting.pop_front().ok_or_else(|| Error::internal("nothing waits in the join"))?;
        let (start, end) = (chunk.span.start, chunk.span.end());
        if start + len < end {
            self.waiting.push_front((chunk.cut(start + len, end)?, since));
        }
        chunk.cut(start, start + len)
    }

    fn save(&self) -> Dict {
        let waiting: Vec<Value> = self.waiting.iter().map(|(c, _)| Value::Dict(chunk_dict(c))).collect();
        let gaps = self.gaps.iter().filter_map(|g| crate::run::kept::item_dict(&Item::Gap(g.clone())));
        Dict::new()
            .with("waiting", waiting)
            .with("gaps", gaps.map(Value::Dict).collect::<Vec<_>>())
            .with("next", self.next as i64)
            .with("time", self.time)
            .with("ended", self.ended)
    }

    fn load(&mut self, state: &Dict) -> Result<()> {
        let list = |key: &str| -> Result<Vec<Dict>> {
            let Value::List(list) = state.need(key)? else { return Err(Error::data("a damaged saved join")) };
            Ok(list
                .iter()
                .filter_map(|v| if let Value::Dict(d) = v { Some(d.clone()) } else { None })
                .collect())
        };
        for dict in list("waiting")? {
            self.waiting.push_back((chunk_of(&dict)?, Instant::now()));
        }
        for dict in list("gaps")? {
            if let Item::Gap(gap) = crate::run::kept::item_of(&dict)? {
                self.gaps.push_back(gap);
            }
        }
        self.next = state.need("next")?.number().unwrap_or(0.0) as u64;
        self.time = state.need("time")?.number().unwrap_or(0.0);
        Ok(())
    }
}

/// The time of a chunk's first record.
fn first_time(chunk: &Chunk, key: &str) -> Result<f64> {
    let value = chunk.data.need(key)?.unlead(0)?;
    value
        .number()
        .ok_or_else(|| Error::data(format!("`{key}` holds {}, wanted a time in seconds", value.describe())))
}
