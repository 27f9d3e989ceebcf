//! Which values of an axis have had all their frames.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::run::per::{PerAxis, damaged};
use crate::span::{Ranges, Span};
use crate::value::{Array, Dict, Value};

/// Counts the frames of each value, be they data or gaps, in whatever order they come.
///
/// A fold may have put the first frames last: only a count says that a value can no longer come.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    /// Frames accounted for, of values that still wait for some.
    counts: BTreeMap<u64, u64>,
    /// Values that have had all.
    full: Ranges,
}

impl Tally {
    /// Counts frames of a value; says whether these were its last.
    pub fn took(&mut self, axis: &PerAxis, value: u64, span: &Span) -> Result<bool> {
        let count = self.counts.entry(value).or_default();
        *count += span.len;
        let (found, wanted) = (*count, axis.expected(value));
        if found > wanted || self.full.has(value) {
            let name = &axis.name;
            return Err(Error::internal(format!(
                "{span} came when all {wanted} frames of {name} {value} were accounted for"
            )));
        }
        if found == wanted {
            self.counts.remove(&value);
            self.full.add(value..value + 1);
        }
        Ok(found == wanted)
    }

    /// Whether a value has had all its frames.
    pub fn is_full(&self, value: u64) -> bool {
        self.full.has(value)
    }

    /// The counts as they were before the last `n` frames of a value that still waits for some.
    pub fn less(&self, value: u64, n: u64) -> Tally {
        let (mut counts, full) = (self.counts.clone(), self.full.clone());
        if let Some(count) = counts.get_mut(&value) {
            *count = count.saturating_sub(n);
        }
        Tally { counts, full }
    }

    /// The counts, for a checkpoint.
    pub fn save(&self, state: Dict) -> Dict {
        let counts: Vec<u64> = self.counts.iter().flat_map(|(value, n)| [*value, *n]).collect();
        state.with("counts", Array::from_slice(&counts)).with("full", Array::from_slice(&self.full.bounds()))
    }

    /// The counts of a checkpoint.
    pub fn load(state: &Dict) -> Result<Tally> {
        let (Value::Array(counts), Value::Array(full)) = (state.need("counts")?, state.need("full")?) else {
            return Err(damaged());
        };
        let counts = counts.as_slice::<u64>()?.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(Tally { counts, full: Ranges::from_bounds(full.as_slice()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_full_when_every_frame_of_it_has_passed_in_any_order() {
        let axis = PerAxis::of(&[("y".into(), 2), ("x".into(), 3)], "y", None).unwrap();
        let mut tally = Tally::default();
        let took = |tally: &mut Tally, value, at, n| tally.took(&axis, value, &Span::frames(at, n)).unwrap();
        assert!(!took(&mut tally, 0, 2, 1));
        assert!(took(&mut tally, 1, 3, 3));
        let mut tally = Tally::load(&tally.save(Dict::new())).unwrap();
        assert!(tally.is_full(1) && !tally.is_full(0));
        assert!(took(&mut tally, 0, 0, 2));
        let error = tally.took(&axis, 0, &Span::frames(9, 1)).unwrap_err().to_string();
        assert!(error.contains("all 3 frames of y 0"), "{error}");
    }

    #[test]
    fn the_frames_of_a_value_are_counted_by_hand() {
        // 10 frames over an axis of 3 values with 2 neighbours each: 0 0 1 1 2 2 0 0 1 1.
        let axis = PerAxis::of(&[("a".into(), 3), ("b".into(), 2)], "a", Some(10)).unwrap();
        assert_eq!([0, 1, 2].map(|v| axis.expected(v)), [4, 4, 2]);
        let axis = PerAxis::of(&[("a".into(), 3), ("b".into(), 2)], "a", Some(3)).unwrap();
        assert_eq!([0, 1, 2].map(|v| axis.expected(v)), [2, 1, 0]);
    }
}
