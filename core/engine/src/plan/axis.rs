//! What travels on a stream: its axis, the stages whose keys are on it, and those it has lost.

use crate::plan::make::{Draft, Maker};
use crate::plan::{NodeId, Stream, What};
use crate::registry::Role;
use crate::stage::Lag;

/// What the records of a stream count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Axis {
    /// Detector frames.
    Frame,
    /// Records of a stage's own axis.
    Own(String),
    /// Results that are revised until the last.
    Snapshot,
}

impl Axis {
    pub(crate) fn word(&self) -> &str {
        match self {
            Axis::Frame => "frame",
            Axis::Own(name) => name,
            Axis::Snapshot => "snapshot",
        }
    }
}

/// A stream behind a stage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    /// What its records count.
    pub axis: Axis,
    /// The stage that opened the axis.
    pub root: NodeId,
    /// The stages whose keys are on it, oldest first.
    pub stages: Vec<NodeId>,
    /// The stages whose keys were on it, and where they were lost.
    pub lost: Vec<(NodeId, NodeId)>,
    /// The stages that each side of the last join brought in alone.
    pub sides: Option<(Vec<NodeId>, Vec<NodeId>)>,
}

/// What a stage reads; none for a stage without a stream, or one whose stream is not known.
pub(crate) fn read(maker: &Maker<'_>, id: NodeId) -> Option<Flow> {
    let flow = |stream: &Stream| {
        let (Stream::Live(node) | Stream::Kept(node)) = *stream;
        maker.flows.get(node).cloned().flatten()
    };
    match maker.drafts[id].from.as_slice() {
        [one] => flow(one),
        [a, b] => Some(joined(flow(a)?, flow(b)?, id)),
        _ => None,
    }
}

fn joined(a: Flow, b: Flow, id: NodeId) -> Flow {
    let only_a = a.stages.iter().filter(|s| !b.stages.contains(s)).copied().collect();
    let only_b: Vec<NodeId> = b.stages.iter().filter(|s| !a.stages.contains(s)).copied().collect();
    let mut stages = a.stages;
    stages.extend(&only_b);
    let mut lost = a.lost;
    lost.extend(b.lost);
    lost.retain(|(node, _)| !stages.contains(node));
    let root = if a.root == b.root { a.root } else { id };
    Flow { axis: a.axis, root, stages, lost, sides: Some((only_a, only_b)) }
}

/// What a stage gives, from what it reads.
pub(crate) fn give(draft: &Draft<'_>, id: NodeId, input: Option<Flow>) -> Option<Flow> {
    if let Some(What::Join(_)) = draft.what {
        return input;
    }
    let opens = |axis: Axis| {
        let mut lost = vec![];
        if let Some(flow) = &input {
            lost.extend(flow.lost.iter().copied());
            lost.extend(flow.stages.iter().map(|stage| (*stage, id)));
        }
        Some(Flow { axis, root: id, stages: vec![id], lost, sides: None })
    };
    match (draft.role()?, &draft.lag) {
        (Role::Source, _) => opens(Axis::Frame),
        (Role::Fold, Some(Lag::Merged { axis })) => opens(Axis::Own((*axis).to_owned())),
        (Role::Map | Role::Fold, _) => {
            let mut flow = input?;
            flow.stages.push(id);
            Some(flow)
        }
        (Role::Reduce | Role::Fit | Role::Task, _) => opens(Axis::Snapshot),
        (Role::Writer, _) => None,
    }
}

impl Maker<'_> {
    /// The stages, each after those it depends on; a circle is a fault and its stages come last.
    pub(crate) fn order(&mut self) -> Vec<NodeId> {
        let needs: Vec<Vec<NodeId>> = (0..self.drafts.len()).map(|id| self.needs(id)).collect();
        let mut order: Vec<NodeId> = vec![];
        let mut by_pass: Vec<NodeId> = (0..self.drafts.len()).collect();
        by_pass.sort_by_key(|id| self.drafts[*id].pass);
        loop {
            let ready = by_pass.iter().position(|id| needs[*id].iter().all(|n| order.contains(n)));
            match ready {
                Some(at) => order.push(by_pass.remove(at)),
                None if by_pass.is_empty() => return order,
                None => {
                    let circle = circle(&by_pass, &needs);
                    self.report(&circle);
                    // The others are still to be looked at: the circle counts as done.
                    by_pass.retain(|id| !circle.contains(id));
                    order.extend(circle);
                }
            }
        }
    }

    /// The stages of the same pass that one depends on.
    fn needs(&self, id: NodeId) -> Vec<NodeId> {
        use crate::plan::names::Given;
        let draft = &self.drafts[id];
        let streams = draft.from.iter().filter_map(|s| if let Stream::Live(n) = s { Some(*n) } else { None });
        let ports = draft.given.iter().filter_map(|(_, _, given)| match given {
            Given::Port(node, _) | Given::Head(node, _) => Some(*node),
            _ => None,
        });
        streams.chain(ports.filter(|n| self.drafts[*n].pass == draft.pass)).collect()
    }

    fn report(&mut self, circle: &[NodeId]) {
        use crate::diagnostic::Diagnostic;
        let mut names: Vec<&str> = circle.iter().map(|id| self.drafts[*id].name()).collect();
        names.extend(names.first().copied());
        let Some(&first) = circle.first() else { return };
        let text = self.drafts[first].text;
        let at = text.from.first().map_or(text.name.at, |w| w.at);
        self.faults.push(
            Diagnostic::error("E0131", "stages read each other in a circle")
                .at(at, "the circle goes through here")
                .note(names.join(" -> "))
                .help("what a later turn should use is carried by a loop of passes"),
        );
        for id in circle {
            self.drafts[*id].what = None;
        }
    }
}

/// One circle among stages that wait for each other, in the order of reading.
fn circle(left: &[NodeId], needs: &[Vec<NodeId>]) -> Vec<NodeId> {
    let mut path: Vec<NodeId> = vec![];
    let mut here = left[0];
    loop {
        if let Some(start) = path.iter().position(|id| *id == here) {
            let mut found = path.split_off(start);
            // From the one that is read to the one that reads it.
            found.reverse();
            return found;
        }
        path.push(here);
        match needs[here].iter().find(|n| left.contains(n)) {
            Some(next) => here = *next,
            None => return path,
        }
    }
}
