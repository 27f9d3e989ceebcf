//! What stages report at marks, and which mark makes the next checkpoint.

use std::collections::{BTreeMap, HashMap};

use crate::plan::NodeId;
use crate::value::Dict;

/// The states of a pass: at marks that are not safe yet, and at the end of stages.
#[derive(Default)]
pub struct Marks {
    saved: BTreeMap<u64, HashMap<NodeId, Dict>>,
    ended: HashMap<NodeId, Dict>,
}

impl Marks {
    /// Books the state of a stage at a mark.
    pub fn passed(&mut self, id: NodeId, mark: u64, state: Dict) {
        self.saved.entry(mark).or_default().insert(id, state);
    }

    /// Books the last state of a stage.
    pub fn ended(&mut self, id: NodeId, state: Dict) {
        self.ended.insert(id, state);
    }

    /// Whether no mark is under way.
    pub fn are_settled(&self) -> bool {
        self.saved.is_empty()
    }

    /// The newest mark at which each stage has a state or is let go.
    pub fn complete(&self, stages: &[NodeId], let_go: impl Fn(&NodeId) -> bool) -> Option<u64> {
        let whole = |mark: &&u64| stages.iter().all(|id| self.state(**mark, *id).is_some() || let_go(id));
        self.saved.keys().rev().find(whole).copied()
    }

    /// The state of a stage at a mark: the last one when it ended without passing it.
    pub fn state(&self, mark: u64, id: NodeId) -> Option<&Dict> {
        self.saved.get(&mark).and_then(|states| states.get(&id)).or_else(|| self.ended.get(&id))
    }

    /// Forgets all up to a mark whose checkpoint is safe.
    ///
    /// A stage may have skipped that mark, passed a later one and ended. A checkpoint that took it as ended lists the
    /// files of its end, and so do those after it: its state at a later mark knows too few of them.
    pub fn settle(&mut self, mark: u64) {
        let later = self.saved.split_off(&(mark + 1));
        let states = std::mem::replace(&mut self.saved, later).remove(&mark).unwrap_or_default();
        for later in self.saved.values_mut() {
            later.retain(|id, _| states.contains_key(id) || !self.ended.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(n: i64) -> Dict {
        Dict::new().with("files", n)
    }

    #[test]
    fn the_newest_mark_that_all_have_passed_counts() {
        let mut marks = Marks::default();
        marks.passed(0, 1, state(1));
        assert_eq!(marks.complete(&[0, 1], |_| false), None);
        assert_eq!(marks.complete(&[0, 1], |id| *id == 1), Some(1));
        marks.passed(1, 1, state(1));
        marks.passed(0, 2, state(2));
        assert_eq!(marks.complete(&[0, 1], |_| false), Some(1));
        marks.ended(1, state(9));
        assert_eq!(marks.complete(&[0, 1], |_| false), Some(2));
        assert_eq!((marks.state(1, 1), marks.state(2, 1)), (Some(&state(1)), Some(&state(9))));
        marks.settle(2);
        assert!(marks.are_settled());
    }

    #[test]
    fn a_stage_that_a_checkpoint_has_as_ended_stays_ended() {
        let mut marks = Marks::default();
        // Stage 1 skips mark 1: it passes mark 2 and ends before stage 2 has passed mark 1.
        marks.passed(0, 1, state(1));
        marks.passed(1, 2, state(4));
        marks.ended(1, state(5));
        marks.ended(0, state(2));
        marks.passed(2, 1, state(1));
        assert_eq!(marks.complete(&[0, 1, 2], |_| false), Some(1));
        marks.settle(1);
        // Stage 2 ends without mark 2, which is whole with that.
        marks.ended(2, state(3));
        assert_eq!(marks.complete(&[0, 1, 2], |_| false), Some(2));
        assert_eq!(marks.state(2, 1), Some(&state(5)));
    }
}
