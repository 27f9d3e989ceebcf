//! What of a step runs here, what is given to it, and what it keeps for elsewhere.
//!
//! A whole run has an empty scope. A part of a run has [`Scope::of_part`]: whatever works frame by frame, and the
//! blocks of the reductions behind it. A merge has the rest, and plays what the parts kept. A work that is handed out
//! in other units than frames (the voxels of a fit, say) would be one more kind of stage to tell apart here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::plan::{Feed, NodeId, Plan, Stream};
use crate::registry::Role;
use crate::run::graph::{Graph, collect_needs};
use crate::run::ledger::Ledger;
use crate::run::wire::full_key;
use crate::stage::Opened;
use crate::store::Part;
use crate::value::{Dict, Key};

/// What of a step runs here, what is given to it, and what it keeps for elsewhere.
#[derive(Default)]
pub struct Scope {
    /// The part of the frames that runs here; none takes all.
    pub part: Option<Part>,
    /// Stages that do not run and whose streams nobody here reads.
    pub absent: BTreeSet<NodeId>,
    /// Stages that do not run because what they gave is there.
    pub given: BTreeMap<NodeId, Given>,
    /// The streams that a part keeps for the merge, with their keys.
    pub keep: BTreeMap<NodeId, Arc<[Key]>>,
    /// What the sources that do not run said when they were opened.
    pub opened: BTreeMap<NodeId, Opened>,
    /// The accounts of stages that ran elsewhere, with the records they took.
    pub accounts: BTreeMap<NodeId, (Ledger, u64)>,
}

/// What a stage gave elsewhere.
#[derive(Clone)]
pub enum Given {
    /// Its stream, as kept in these places one after the other.
    Stream(Vec<KeptAt>),
    /// The unmerged nodes of its tree, part by part.
    Trees(Vec<Dict>),
}

/// Where a stream is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAt {
    /// The folder of its files.
    pub folder: PathBuf,
    /// How many files there are.
    pub files: u64,
}

impl Scope {
    /// Whether a stage's stream is played here instead of running the stage.
    pub fn plays(&self, id: NodeId) -> bool {
        matches!(self.given.get(&id), Some(Given::Stream(_)))
    }

    /// Whether a stage takes its input from a stream of this run.
    pub fn reads(&self, id: NodeId) -> bool {
        !self.absent.contains(&id) && !self.given.contains_key(&id)
    }

    /// What runs in one part of the frames: sources, maps behind them, and the blocks of reductions behind those.
    ///
    /// Everything else waits for the merge. What it reads from here is kept.
    pub fn of_part(plan: &Plan, part: Part) -> Result<Scope> {
        let Some(step) = plan.steps.first() else { return Err(no_frames(plan)) };
        let whole = Scope::default();
        let graph = Graph::new(plan, step.pass, &whole);
        let (mut front, mut trees) = (BTreeSet::new(), BTreeSet::new());
        for &id in &plan.passes[step.pass].nodes {
            let node = &plan.nodes[id];
            // A value of the moment depends on when it is read: such a stage runs where all its frames do.
            let latched = node.inputs.iter().any(|(_, f)| matches!(f, Feed::Latched { .. }));
            let behind = matches!(node.from[..], [Stream::Live(from)] if front.contains(&from)) && !latched;
            match node.role() {
                Some(Role::Source) => drop(front.insert(id)),
                Some(Role::Map) if behind => drop(front.insert(id)),
                Some(Role::Reduce) if behind => drop(trees.insert(id)),
                _ => (),
            }
        }
        if front.is_empty() {
            return Err(no_frames(plan));
        }
        let here: BTreeSet<NodeId> = front.union(&trees).copied().collect();
        let mut scope = Scope { part: Some(part), ..Scope::default() };
        for &id in &front {
            let mut keys: Vec<Key> = graph.kept_keys(id).to_vec();
            let mut wanted = graph.kept.contains(&id);
            for &consumer in graph.consumers(id).iter().filter(|c| !here.contains(c)) {
                wanted = true;
                collect_needs(plan, consumer, &mut keys);
            }
            if graph.captured.contains(&id) {
                wanted = true;
                keys.extend(graph.own_keys(id));
            }
            for (_, port) in graph.latched.iter().filter(|(node, _)| *node == id) {
                wanted = true;
                keys.push(full_key(&plan.nodes[id].name, port));
            }
            if wanted {
                keys.sort_by(|a, b| a.as_str().cmp(b.as_str()));
                keys.dedup();
                scope.keep.insert(id, keys.into());
            }
        }
        // Tasks that a stage of the part reads the result of run in every part, and once more in the merge.
        let mut needed: Vec<NodeId> = here.iter().copied().collect();
        let mut runs = here;
        while let Some(id) = needed.pop() {
            for (_, feed) in &plan.nodes[id].inputs {
                for node in in_feed(plan, feed) {
                    if plan.nodes[node].pass == step.pass && runs.insert(node) {
                        needed.push(node);
                    }
                }
            }
        }
        scope.absent = plan.passes[step.pass].nodes.iter().copied().filter(|id| !runs.contains(id)).collect();
        Ok(scope)
    }

    /// What runs in a merge of parts: all that [`Scope::of_part`] leaves out.
    ///
    /// `kept` gives what the parts kept of a stage.
    pub fn of_merge(
        plan: &Plan,
        part: &Scope,
        mut kept: impl FnMut(NodeId) -> Result<Given>,
    ) -> Result<Scope> {
        let mut scope = Scope::default();
        for &id in plan.passes[plan.steps[0].pass].nodes.iter().filter(|id| !part.absent.contains(id)) {
            match plan.nodes[id].role() {
                Some(Role::Reduce) => drop(scope.given.insert(id, kept(id)?)),
                Some(Role::Source | Role::Map) if part.keep.contains_key(&id) => {
                    scope.given.insert(id, kept(id)?);
                }
                Some(Role::Source | Role::Map) => drop(scope.absent.insert(id)),
                _ => (),
            }
        }
        Ok(scope)
    }

    /// The stages that a run has no use for when it is given the outputs of some.
    pub fn useless(plan: &Plan, given: &BTreeSet<NodeId>, heads: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let carried = plan.loops.iter().flat_map(|l| l.carry.iter().flat_map(|(_, a, b)| [a, b]));
        let mut read: BTreeSet<NodeId> = carried.flat_map(|f| in_feed(plan, f)).collect();
        read.extend(plan.results.iter().map(|(_, node, _)| *node));
        read.extend(plan.passes.iter().filter_map(|p| p.needs.as_ref()).map(|(node, _)| *node));
        let all: BTreeSet<NodeId> = (0..plan.nodes.len()).flat_map(|id| reads(plan, id)).collect();
        // What nobody reads is what the run is for.
        let ends = (0..plan.nodes.len()).filter(|id| !all.contains(id) || plan.nodes[*id].run.keep);
        let mut needed: BTreeSet<NodeId> = read.into_iter().chain(ends).collect();
        let mut ahead: Vec<NodeId> = needed.iter().copied().collect();
        while let Some(id) = ahead.pop() {
            if given.contains(&id) {
                continue;
            }
            for (_, feed) in &plan.nodes[id].inputs {
                if matches!(feed, Feed::Head { node, .. } if heads.contains(node)) {
                    continue;
                }
                ahead.extend(in_feed(plan, feed).into_iter().filter(|n| needed.insert(*n)));
            }
            ahead.extend(streams(plan, id).filter(|n| needed.insert(*n)));
        }
        (0..plan.nodes.len()).filter(|id| !needed.contains(id) && !given.contains(id)).collect()
    }
}

/// The stages that a stage's streams and inputs come from.
fn reads(plan: &Plan, id: NodeId) -> Vec<NodeId> {
    let inputs = plan.nodes[id].inputs.iter().flat_map(|(_, feed)| in_feed(plan, feed));
    inputs.chain(streams(plan, id)).collect()
}

/// A stage and all that it depends on, through streams and inputs.
pub fn upstream(plan: &Plan, id: NodeId) -> BTreeSet<NodeId> {
    let mut all = BTreeSet::from([id]);
    let mut ahead = vec![id];
    while let Some(at) = ahead.pop() {
        ahead.extend(reads(plan, at).into_iter().filter(|n| all.insert(*n)));
    }
    all
}

fn streams(plan: &Plan, id: NodeId) -> impl Iterator<Item = NodeId> {
    plan.nodes[id].from.iter().map(|stream| match stream {
        Stream::Live(from) | Stream::Kept(from) => *from,
    })
}

/// The stages that an input comes from beside the stream.
fn in_feed(plan: &Plan, feed: &Feed) -> Vec<NodeId> {
    match feed {
        Feed::Head { node, .. } | Feed::Final { node, .. } | Feed::Latched { node, .. } => vec![*node],
        Feed::Carry { in_loop, key } => {
            let carry = plan.loops[*in_loop].carry.iter().filter(|(name, ..)| name == key);
            carry.flat_map(|(_, a, b)| [a, b]).filter(|f| *f != feed).flat_map(|f| in_feed(plan, f)).collect()
        }
        Feed::Stream(_) | Feed::Argument(_) | Feed::Value(_) | Feed::File(_) => vec![],
    }
}

fn no_frames(plan: &Plan) -> Error {
    let pass = plan.steps.first().map_or("main", |s| s.name.as_str());
    Error::recipe(format!(
        "the frames of `{}` cannot be cut: its first pass, `{pass}`, has no source",
        plan.name
    ))
    .help("run the recipe in one go: the frames of the first pass are what parts share")
}
