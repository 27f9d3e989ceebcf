//! Spans of record numbers, chunks, gaps, and sets of frame numbers.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::value::{Dict, Key, Pool, Value};

/// The axis that detectors count on.
pub const FRAME: Key = Key::Static("frame");
/// The axis of results that are revised until the last one.
pub const SNAPSHOT: Key = Key::Static("snapshot");

/// A range of record numbers on one axis.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// The axis.
    pub axis: Key,
    /// The first record.
    pub start: u64,
    /// How many records.
    pub len: u64,
}

impl Span {
    /// A span on the frame axis.
    pub fn frames(start: u64, len: u64) -> Span {
        Span { axis: FRAME, start, len }
    }

    /// The record after the last.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The record numbers.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// Whether it counts detector frames.
    pub fn is_frames(&self) -> bool {
        self.axis == FRAME
    }

    /// The part `from..to` of it.
    pub fn part(&self, from: u64, to: u64) -> Span {
        Span { axis: self.axis.clone(), start: from, len: to - from }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            1 => write!(f, "{} {}", self.axis, self.start),
            _ => write!(f, "{}s {}..{}", self.axis, self.start, self.end()),
        }
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A span and the values of its records.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Which records.
    pub span: Span,
    /// The values; each leads with the axis of the span.
    pub data: Dict,
    /// Off the frame axis: which frames went into it.
    pub covers: Option<Arc<Ranges>>,
    /// Off the frame axis: whether it will not be revised.
    pub last: bool,
}

impl Chunk {
    /// A chunk of frames; frames are never revised.
    pub fn new(span: Span, data: Dict) -> Chunk {
        Chunk { span, data, covers: None, last: true }
    }

    /// Records `from..to` of it; arrays are not copied.
    pub fn cut(&self, from: u64, to: u64) -> Result<Chunk> {
        if (from, to) == (self.span.start, self.span.end()) {
            return Ok(self.clone());
        }
        let mut data = Dict::with_capacity(self.data.len());
        for (key, value) in self.data.iter() {
            data.push(
                key.clone(),
                value.cut(self.span.start, from, to).map_err(|e| e.at(format!("`{key}`")))?,
            );
        }
        Ok(Chunk { span: self.span.part(from, to), data, covers: self.covers.clone(), last: self.last })
    }

    /// Joins neighbouring chunks.
    pub fn concat(parts: &[Chunk], pool: &Pool) -> Result<Chunk> {
        let [first, rest @ ..] = parts else { return Err(Error::internal("no chunks to join")) };
        if rest.is_empty() {
            return Ok(first.clone());
        }
        let mut data = Dict::with_capacity(first.data.len());
        for (key, _) in first.data.iter() {
            let values: Vec<Value> =
                parts.iter().map(|c| c.data.need(key.as_str()).cloned()).collect::<Result<_>>()?;
            data.push(key.clone(), Value::concat(&values, pool).map_err(|e| e.at(format!("`{key}`")))?);
        }
        let len = parts.iter().map(|c| c.span.len).sum();
        Ok(Chunk { span: Span { len, ..first.span.clone() }, data, ..first.clone() })
    }
}

/// Why frames do not come as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It never came, or nobody can give it.
    Missing,
    /// It came damaged.
    Corrupt,
    /// The recipe or a stage chose not to use it.
    Skipped,
    /// It was let go by a declared overflow.
    Dropped,
}

impl Reason {
    /// The word used in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Corrupt => "corrupt",
            Reason::Skipped => "skipped",
            Reason::Dropped => "dropped",
        }
    }
}

/// Frames that do not come as data, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Which frames.
    pub span: Span,
    /// The class they fall in.
    pub reason: Reason,
    /// What happened, in words.
    pub why: Arc<str>,
}

/// A set of frame numbers, kept as sorted ranges that do not touch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds numbers; those that are in already are not counted twice.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Frames arrive in order nearly always: the end is where they go.
        if let Some(last) = self.0.last_mut()
            && range.start >= last.start
            && range.start <= last.end
        {
            last.end = last.end.max(range.end);
            return;
        }
        let first = self.0.partition_point(|r| r.end < range.start);
        let after = self.0.partition_point(|r| r.start <= range.end);
        let mut joined = range;
        if first < after {
            joined.start = joined.start.min(self.0[first].start);
            joined.end = joined.end.max(self.0[after - 1].end);
        }
        self.0.splice(first..after, [joined]);
    }

    /// Takes numbers out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut left = vec![];
        for r in self.0.drain(..) {
            for part in [r.start..r.end.min(range.start), r.start.max(range.end)..r.end] {
                if part.start < part.end {
                    left.push(part);
                }
            }
        }
        self.0 = left;
    }

    /// Whether a number is in.
    pub fn has(&self, n: u64) -> bool {
        let at = self.0.partition_point(|r| r.end <= n);
        self.0.get(at).is_some_and(|r| r.contains(&n))
    }

    /// How many numbers are in.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// The numbers in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().cloned().flatten()
    }

    /// The flat list of bounds: start, end, start, end ...
    pub fn bounds(&self) -> Vec<u64> {
        self.0.iter().flat_map(|r| [r.start, r.end]).collect()
    }

    /// The set of a flat list of bounds.
    pub fn from_bounds(bounds: &[u64]) -> Ranges {
        let mut ranges = Ranges::default();
        for pair in bounds.chunks_exact(2) {
            ranges.add(pair[0]..pair[1]);
        }
        ranges
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            match r.end - r.start {
                1 => write!(f, "{comma}{}", r.start)?,
                _ => write!(f, "{comma}{}-{}", r.start, r.end - 1)?,
            }
        }
        Ok(())
    }
}
impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_a_plain_set() {
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let (mut ranges, mut plain) = (Ranges::default(), std::collections::BTreeSet::new());
        for _ in 0..500 {
            let start = next(100);
            let range = start..start + next(6);
            if next(3) == 0 {
                ranges.remove(range.clone());
                for n in range {
                    plain.remove(&n);
                }
            } else {
                ranges.add(range.clone());
                plain.extend(range);
            }
            assert!(ranges.numbers().eq(plain.iter().copied()));
            assert!(ranges.0.windows(2).all(|w| w[0].end < w[1].start), "{ranges}");
            assert_eq!(Ranges::from_bounds(&ranges.bounds()), ranges);
        }
    }

    #[test]
    fn cut_and_concat_are_inverse() {
        let data = Dict::new().with("i", crate::Array::from_slice(&[5u16, 6, 7, 8]));
        let chunk = Chunk::new(Span::frames(10, 4), data);
        let parts = [chunk.cut(10, 11).unwrap(), chunk.cut(11, 14).unwrap()];
        let joined = Chunk::concat(&parts, &Pool::new(0)).unwrap();
        assert_eq!((joined.span, joined.data), (chunk.span, chunk.data));
    }
}
