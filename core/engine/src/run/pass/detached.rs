//! Branches that ended by themselves, across a resume.
//!
//! A branch is gone on with from a checkpoint that has the state of all its stages. One that had ended before the mark of
//! the checkpoint stays ended: what it had taken is lost, and a result that begins in the middle of a stream would look
//! like one of the whole. A restart from a pass boundary runs it again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::plan::NodeId;
use crate::stage::Built;
use crate::value::{Dict, Value};

use super::Builder;

/// Under this key a saved state says that its stage had ended with its branch, and why.
const DETACHED: &str = "detached";

impl Builder<'_, '_> {
    /// The states of a checkpoint that say of a stage that it had ended with its branch.
    pub(super) fn gone(&self) -> Dict {
        let saved = self.s.resume.iter().flat_map(|states| states.iter());
        saved.filter(|(_, state)| why(state).is_some()).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Whether a stage had ended with its branch before the checkpoint; then it is not begun again.
    pub(super) fn is_gone(&self, id: NodeId) -> bool {
        self.resume_of(id).is_some_and(|state| why(&Value::Dict(state)).is_some())
    }

    /// Leaves a stage that is gone as it was found.
    pub(super) fn leave(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
        let state = self.resume_of(id).unwrap_or_default();
        let mut head = id;
        self.meters[&head].detached.store(true, Ordering::Release);
        built.remove(&head);
        // The maps of a chain share one thread: those before the last ended with it.
        while let Some(before) = self.graph.fuses(head) {
            head = before;
            self.meters[&head].detached.store(true, Ordering::Release);
            built.remove(&head);
        }
        self.inboxes.remove(&head);
        self.outlets.remove(&id);
        self.meters[&id].resume(&state)?;
        if let Some(error) = state.get(DETACHED).and_then(Value::text).filter(|text| !text.is_empty()) {
            let said = if error.ends_with(BEFORE) { "" } else { BEFORE };
            self.gone_before.push((id, Error::data(format!("{error}{said}"))));
        }
        Ok(())
    }

    /// What ended the branch that a stage is in; none for one that goes on.
    pub(super) fn cause<'e>(
        &self,
        id: NodeId,
        detached: &'e [(NodeId, Error)],
    ) -> Option<&'e (NodeId, Error)> {
        detached.iter().find(|(cause, _)| *cause == id || self.branch(*cause).contains(&id))
    }

    /// Whether the state of any stage of a branch is not there: then none is of use.
    pub(super) fn lacks<'s>(
        &self,
        cause: NodeId,
        expected: &[NodeId],
        state: impl Fn(NodeId) -> Option<&'s Dict>,
    ) -> bool {
        let branch = self.branch(cause);
        let mut of_branch = expected.iter().filter(|id| branch.contains(id));
        of_branch.any(|id| state(*id).is_none())
    }

    /// The state of a stage that ended with its branch.
    pub(super) fn given_up(&self, id: NodeId, error: &str) -> Dict {
        let meter = &self.meters[&id];
        let mut state = Dict::new().with(DETACHED, error);
        if let Some(ledger) = meter.account() {
            state.set("ledger", ledger.save());
        }
        state.set("records", meter.records.load(Ordering::Relaxed) as i64);
        state
    }
}

/// What a report says of a branch that had ended before the run was resumed.
const BEFORE: &str = " (before the run was resumed)";

fn why(state: &Value) -> Option<&str> {
    match state {
        Value::Dict(state) => state.get(DETACHED).and_then(Value::text),
        _ => None,
    }
}
