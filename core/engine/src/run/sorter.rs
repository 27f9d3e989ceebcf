//! The reorder buffer of a source: numbers come in any order, chunks leave in order, gaps in band.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::run::ledger::Ledger;
use crate::run::repeat::Repeats;
use crate::span::{Chunk, Gap, Reason, Span};
use crate::stage::Arrival;
use crate::value::{Dict, Pool};

/// What leaves the sorter.
#[derive(Debug)]
pub enum Sorted {
    /// Frames without a hole.
    Chunk(Chunk),
    /// Frames that will not come.
    Gap(Gap),
    /// A frame that came damaged, with its bytes.
    Corrupt(Gap, Dict),
}

enum Held {
    Frames(u64, Dict),
    Lost(Reason, Arc<str>, Option<Dict>),
}

/// Sorts arrivals, closes chunks, keeps the source's ledger.
pub struct Sorter {
    /// The next number to be placed.
    next: u64,
    /// The numbers that belong here: all, or those of a part. The last part also books strangers.
    own: Range<u64>,
    /// The newest number that came and belongs to a later part: it says how far behind this one is.
    beyond: u64,
    /// Frames to a chunk; chunks end at multiples of it.
    chunk: u64,
    /// How far behind a frame may be.
    reorder: u64,
    latency: Duration,
    held: BTreeMap<u64, Held>,
    /// Frames in order that wait for their chunk to close.
    open: Vec<Chunk>,
    opened: Instant,
    out: Vec<Sorted>,
    pool: Pool,
    /// The account of the source.
    pub ledger: Ledger,
    /// What came twice.
    pub repeats: Repeats,
}

impl Sorter {
    /// A sorter that begins at `next`.
    pub fn new(
        next: u64,
        frames: Option<u64>,
        chunk: u64,
        reorder: u64,
        latency: Duration,
        pool: Pool,
    ) -> Self {
        let ledger = Ledger { expected: frames, ..Ledger::default() };
        let opened = Instant::now();
        Sorter {
            next,
            own: 0..u64::MAX,
            beyond: 0,
            chunk,
            reorder,
            latency,
            held: BTreeMap::new(),
            open: vec![],
            opened,
            out: vec![],
            pool,
            ledger,
            repeats: Repeats::default(),
        }
    }

    /// Takes the frames of a part only; the others are for other parts to book.
    ///
    /// A part ends when its frames are placed or given up: one that would have come later still stays missing, where a
    /// single run would have called it late. No frame differs.
    pub fn only(&mut self, own: Range<u64>) {
        let frames = self.ledger.expected;
        self.ledger.part = Some(own.clone());
        // Numbers outside the scan belong to no part: the last one counts them.
        let end = if frames == Some(own.end) { u64::MAX } else { own.end };
        self.own = own.start..end;
    }

    /// Whether all frames of its part have been placed or given up.
    pub fn is_full(&self) -> bool {
        self.next >= self.own.end
    }

    /// The number that is waited for.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Frames until the chunk is full.
    pub fn room(&self) -> u64 {
        let room = self.chunk - self.next % self.chunk;
        room.min(self.own.end.saturating_sub(self.next)).max(1)
    }

    /// Takes what a source put.
    pub fn push(&mut self, arrival: Arrival) -> Result<()> {
        match arrival {
            Arrival::Frames { first, count, data } => {
                self.frames(Chunk::new(Span::frames(first, count), data))?
            }
            Arrival::Lost { number, reason, why, data } => {
                if self.is_new(number) {
                    self.held.insert(number, Held::Lost(reason, why, data));
                }
            }
        }
        self.drain()
    }

    /// Whether a number is waited for; repeats, late ones and strangers are booked here.
    fn is_new(&mut self, number: u64) -> bool {
        if !self.own.contains(&number) {
            if number >= self.own.end && self.ledger.expected.is_none_or(|n| number < n) {
                self.beyond = self.beyond.max(number);
            }
            return false;
        }
        if self.ledger.expected.is_some_and(|n| number >= n) {
            self.ledger.extra(number);
            return false;
        }
        if number < self.next {
            if self.ledger.missing.has(number) {
                self.ledger.late(number);
            } else {
                self.ledger.extra(number);
            }
            return false;
        }
        let before = self.held.range(..=number).next_back();
        let taken = before.is_some_and(|(first, held)| match held {
            Held::Frames(count, _) => number < first + count,
            Held::Lost(..) => *first == number,
        });
        if taken {
            self.ledger.extra(number);
        }
        !taken
    }

    fn frames(&mut self, block: Chunk) -> Result<()> {
        let span = block.span.clone();
        // The usual case, a block that is waited for and nothing held, costs no look-up per frame.
        let inside = self.ledger.expected.is_none_or(|n| span.end() <= n) && span.end() <= self.own.end;
        if span.start == self.next && inside && self.held.is_empty() {
            self.repeats.note(&block, span.range());
            self.place(block)?;
            return Ok(());
        }
        let mut start = span.start;
        for number in span.range() {
            if !self.is_new(number) {
                self.repeats.compare(&block, number);
                self.hold(&block, start, number)?;
                start = number + 1;
            }
        }
        self.hold(&block, start, span.end())
    }

    fn hold(&mut self, block: &Chunk, from: u64, to: u64) -> Result<()> {
        if from < to {
            self.repeats.note(block, from..to);
            self.held.insert(from, Held::Frames(to - from, block.cut(from, to)?.data));
        }
        Ok(())
    }

    /// Places what is in order; gives up what is too far behind.
    fn drain(&mut self) -> Result<()> {
        loop {
            while let Some(entry) = self.held.first_entry()
                && *entry.key() == self.next
            {
                match entry.remove() {
                    Held::Frames(count, data) => {
                        self.place(Chunk::new(Span::frames(self.next, count), data))?
                    }
                    Held::Lost(reason, why, data) => self.lose(self.next + 1, reason, why, data)?,
                }
            }
            let first = match self.held.first_key_value() {
                Some((&first, _)) => first,
                None if self.beyond > 0 => self.own.end,
                None => return Ok(()),
            };
            let newest = self.held.last_key_value().map_or(0, |(n, held)| match held {
                Held::Frames(count, _) => n + count - 1,
                Held::Lost(..) => *n,
            });
            let newest = newest.max(self.beyond);
            if first <= self.next || newest - self.next <= self.reorder {
                return Ok(());
            }
            // Only as far as the limit demands: a frame that may still come in time is waited for.
            let to = first.min(newest - self.reorder);
            // The frame that happened to tell is not named: another order of arrival makes the same record.
            let why = format!("not there when a frame beyond the reorder limit {} had come", self.reorder);
            self.lose(to, Reason::Missing, why.into(), None)?;
        }
    }

    /// Adds frames to the open chunk, closing it at every multiple of the chunk length.
    fn place(&mut self, block: Chunk) -> Result<()> {
        let (mut at, end) = (block.span.start, block.span.end());
        self.ledger.done(at..end);
        while at < end {
            let to = end.min((at / self.chunk + 1) * self.chunk);
            if self.open.is_empty() {
                self.opened = Instant::now();
            }
            self.open.push(block.cut(at, to)?);
            self.next = to;
            at = to;
            if to.is_multiple_of(self.chunk) {
                self.close()?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, to: u64, reason: Reason, why: Arc<str>, data: Option<Dict>) -> Result<()> {
        self.close()?;
        let gap = Gap { span: Span::frames(self.next, to - self.next), reason, why };
        self.ledger.gap(&gap);
        self.next = to;
        self.out.push(match data {
            Some(data) => Sorted::Corrupt(gap, data),
            None => Sorted::Gap(gap),
        });
        Ok(())
    }

    /// Closes the open chunk whatever its length.
    pub fn close(&mut self) -> Result<()> {
        if !self.open.is_empty() {
            let chunk = Chunk::concat(&self.open, &self.pool)?;
            self.open.clear();
            self.out.push(Sorted::Chunk(chunk));
        }
        Ok(())
    }

    /// Closes the open chunk when it has waited long enough; says how long it may still wait.
    pub fn close_if_old(&mut self) -> Result<Option<Duration>> {
        if self.open.is_empty() {
            return Ok(None);
        }
        let left = self.latency.saturating_sub(self.opened.elapsed());
        if left.is_zero() {
            self.close()?;
            return Ok(None);
        }
        Ok(Some(left))
    }

    /// Ends the series: what was not there by now is missing.
    pub fn finish(&mut self, why: &str) -> Result<()> {
        while let Some((&first, _)) = self.held.first_key_value() {
            if first > self.next {
                self.lose(first, Reason::Missing, "never came".into(), None)?;
            }
            self.drain()?;
        }
        if let Some(frames) = self.ledger.expected.map(|n| n.min(self.own.end))
            && self.next < frames
        {
            self.lose(frames, Reason::Missing, why.into(), None)?;
        }
        self.close()
    }

    /// The account as a mark keeps it: repeats of frames that are still held will be counted when they come again.
    pub fn ledger_at_mark(&self) -> Ledger {
        let mut ledger = self.ledger.clone();
        let before = ledger.extra_numbers.len();
        let again = |n: &u64| *n >= self.next && ledger.expected.is_none_or(|frames| *n < frames);
        ledger.extra_numbers.retain(|n| !again(n));
        ledger.extra -= (before - ledger.extra_numbers.len()) as u64;
        ledger
    }

    /// What is ready to leave, in order.
    pub fn take(&mut self) -> Vec<Sorted> {
        std::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Array;

    fn frames(first: u64, count: u64) -> Arrival {
        let numbers: Vec<u64> = (first..first + count).collect();
        Arrival::Frames { first, count, data: Dict::new().with("n", Array::from_slice(&numbers)) }
    }

    fn sorter(frames: u64, chunk: u64, reorder: u64) -> Sorter {
        Sorter::new(0, Some(frames), chunk, reorder, Duration::from_secs(9), Pool::new(0))
    }

    /// The numbers that left, checking that every chunk carries its own.
    fn left(sorter: &mut Sorter) -> (Vec<u64>, Vec<String>) {
        let (mut numbers, mut gaps) = (vec![], vec![]);
        for sorted in sorter.take() {
            match sorted {
                Sorted::Chunk(chunk) => {
                    let Some(crate::Value::Array(n)) = chunk.data.get("n") else {
                        panic!("chunks carry `n`")
                    };
                    assert!(chunk.span.range().eq(n.as_slice::<u64>().unwrap().iter().copied()));
                    numbers.extend(chunk.span.range());
                }
                Sorted::Gap(gap) => gaps.push(format!("{} {}", gap.reason.word(), gap.span)),
                Sorted::Corrupt(gap, data) => {
                    gaps.push(format!("{} {} with {:?}", gap.reason.word(), gap.span, data.get("n")));
                }
            }
        }
        (numbers, gaps)
    }

    #[test]
    fn shuffled_within_the_limit_comes_out_in_order() {
        let mut sorter = sorter(100, 7, 10);
        let order: Vec<u64> = (0..100).map(|i| if i % 10 < 5 { i + 5 } else { i - 5 }).collect();
        order.into_iter().for_each(|n| sorter.push(frames(n, 1)).unwrap());
        sorter.finish("").unwrap();
        assert_eq!(left(&mut sorter), ((0..100).collect(), vec![]));
        assert_eq!(sorter.ledger.to_string(), "100 of 100 done");
    }

    #[test]
    fn lost_late_repeated_corrupt_and_strange_frames_are_booked() {
        let mut sorter = sorter(40, 8, 4);
        for n in (0..40).filter(|n| ![3, 20, 33].contains(n)) {
            if n == 12 {
                sorter
                    .push(Arrival::Lost {
                        number: 12,
                        reason: Reason::Corrupt,
                        why: "bad".into(),
                        data: None,
                    })
                    .unwrap();
                continue;
            }
            sorter.push(frames(n, 1)).unwrap();
        }
        sorter.push(frames(20, 1)).unwrap();
        sorter.push(frames(7, 1)).unwrap();
        sorter.push(frames(44, 1)).unwrap();
        sorter.finish("").unwrap();
        let (numbers, gaps) = left(&mut sorter);
        assert_eq!(numbers.len(), 36);
        assert_eq!(gaps, ["missing frame 3", "corrupt frame 12", "missing frame 20", "missing frame 33"]);
        assert_eq!(sorter.ledger.to_string(), "36 of 40 done, 2 missing, 1 corrupt, 1 late, 2 extra");
        sorter.ledger.balance().unwrap();
    }

    #[test]
    fn blocks_that_overlap_count_their_repeats() {
        let mut sorter = sorter(20, 4, 30);
        for (first, count) in [(8, 6), (0, 10), (12, 8)] {
            sorter.push(frames(first, count)).unwrap();
        }
        sorter.finish("").unwrap();
        assert_eq!(left(&mut sorter).0, (0..20).collect::<Vec<_>>());
        assert_eq!(sorter.ledger.to_string(), "20 of 20 done, 4 extra");
    }

    #[test]
    fn a_part_takes_its_own_frames_and_leaves_the_others_to_others() {
        let mut sorter = Sorter::new(8, Some(40), 6, 4, Duration::from_secs(9), Pool::new(0));
        sorter.only(8..16);
        // A block that reaches over both ends, one frame short; later ones show how far behind the lost one is.
        sorter.push(frames(5, 5)).unwrap();
        assert_eq!(sorter.room(), 2);
        sorter.push(frames(11, 8)).unwrap();
        assert!(sorter.is_full());
        sorter.push(frames(50, 1)).unwrap();
        sorter.finish("the source ended").unwrap();
        let (numbers, gaps) = left(&mut sorter);
        assert_eq!((numbers, gaps), (vec![8, 9, 11, 12, 13, 14, 15], vec!["missing frame 10".to_owned()]));
        assert_eq!(sorter.ledger.to_string(), "7 of 8 done, 1 missing");
        sorter.ledger.balance().unwrap();

        let mut last = Sorter::new(32, Some(40), 6, 4, Duration::from_secs(9), Pool::new(0));
        last.only(32..40);
        [frames(30, 10), frames(50, 1)].into_iter().for_each(|f| last.push(f).unwrap());
        last.finish("").unwrap();
        assert_eq!(last.ledger.to_string(), "8 of 8 done, 1 extra");
    }

    #[test]
    fn an_early_end_leaves_the_rest_missing() {
        let mut sorter = sorter(10, 4, 4);
        sorter.push(frames(0, 6)).unwrap();
        sorter.finish("the source ended").unwrap();
        assert_eq!(left(&mut sorter).1, ["missing frames 6..10"]);
    }
}
