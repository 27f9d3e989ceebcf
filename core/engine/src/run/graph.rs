//! Who reads what from whom: worked out from a plan for one pass.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::plan::{Feed, NodeId, Overflow, Plan, Stream, What};
use crate::registry::Role;
use crate::run::scope::Scope;
use crate::run::sums::sum_key;
use crate::run::wire::full_key;
use crate::span::Span;
use crate::value::Key;

/// The wiring of one pass.
pub struct Graph<'a> {
    plan: &'a Plan,
    scope: &'a Scope,
    /// The stages of the pass that run here, or whose streams are played here.
    pub nodes: Vec<NodeId>,
    consumers: HashMap<NodeId, Vec<NodeId>>,
    /// Stages whose stream a later pass plays again.
    pub kept: BTreeSet<NodeId>,
    /// Stages whose final values are wanted: by a later pass, by the report, by a digest.
    pub captured: BTreeSet<NodeId>,
    /// Stages whose snapshots somebody latches, with the ports.
    pub latched: BTreeSet<(NodeId, String)>,
    needs: HashMap<NodeId, Arc<[Key]>>,
}

impl<'a> Graph<'a> {
    /// The wiring of a pass, as far as it runs here.
    pub fn new(plan: &'a Plan, pass: usize, scope: &'a Scope) -> Graph<'a> {
        let all = plan.passes[pass].nodes.as_slice();
        let nodes: Vec<NodeId> = all.iter().copied().filter(|id| !scope.absent.contains(id)).collect();
        let mut graph = Graph {
            plan,
            scope,
            nodes: nodes.clone(),
            consumers: HashMap::new(),
            kept: BTreeSet::new(),
            captured: BTreeSet::new(),
            latched: BTreeSet::new(),
            needs: HashMap::new(),
        };
        let mut read: BTreeSet<NodeId> = BTreeSet::new();
        for &id in all {
            for stream in &plan.nodes[id].from {
                let Stream::Live(from) = stream else { continue };
                read.insert(*from);
                if scope.reads(id) {
                    graph.consumers.entry(*from).or_default().push(id);
                }
            }
        }
        for (reader, node) in plan.nodes.iter().enumerate() {
            for stream in &node.from {
                if let Stream::Kept(from) = stream
                    && nodes.contains(from)
                    && scope.reads(reader)
                {
                    graph.kept.insert(*from);
                }
            }
            for (_, feed) in &node.inputs {
                if let Feed::Latched { node, port } = feed
                    && nodes.contains(node)
                {
                    graph.latched.insert((*node, port.to_string()));
                }
            }
        }
        let mut wanted: BTreeSet<NodeId> = BTreeSet::new();
        let feeds = plan.nodes.iter().flat_map(|n| n.inputs.iter().map(|(_, f)| f));
        let carried = plan.loops.iter().flat_map(|l| l.carry.iter().flat_map(|(_, a, b)| [a, b]));
        for feed in feeds.chain(carried) {
            if let Feed::Final { node, .. } = feed {
                wanted.insert(*node);
            }
        }
        wanted.extend(plan.results.iter().map(|(_, node, _)| *node));
        wanted.extend(plan.passes.iter().filter_map(|p| p.needs.as_ref()).map(|(node, _)| *node));
        graph.kept.extend(nodes.iter().filter(|id| plan.nodes[**id].run.keep));
        for &id in &nodes {
            let role = plan.nodes[id].role();
            let settles = matches!(role, Some(Role::Fit | Role::Reduce | Role::Task));
            let leaf = !read.contains(&id) && role != Some(Role::Writer);
            if settles || leaf || wanted.contains(&id) {
                graph.captured.insert(id);
            }
        }
        if scope.part.is_some() {
            // Final values, digests and what later passes read come from the merge: a part keeps what it needs for them.
            graph.kept = scope.keep.keys().copied().collect();
            graph.captured.clear();
            graph.latched.clear();
        }
        for &id in &nodes {
            graph.need(id);
        }
        graph
    }

    /// The stages of the pass that read a stage's stream.
    pub fn consumers(&self, id: NodeId) -> &[NodeId] {
        self.consumers.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The keys that are read from the stream a stage takes, by it or by anyone behind it.
    pub fn needs(&self, id: NodeId) -> Arc<[Key]> {
        self.needs.get(&id).cloned().unwrap_or_else(|| Arc::from([]))
    }

    /// The keys of a source that a recorder right behind it takes: they are summed on the way.
    pub fn summed(&self, id: NodeId) -> Vec<Key> {
        let records = |c: &&NodeId| self.plan.nodes[**c].run.record;
        let mut keys: Vec<Key> = vec![];
        for recorder in self.consumers(id).iter().filter(records) {
            let own = self.needs(*recorder);
            keys.extend(
                own.iter()
                    .filter(|k| crate::run::graph::own(self.plan, id, k) && !keys.contains(k))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
        keys
    }

    /// The keys that travel from one stage to another.
    pub fn carried(&self, from: NodeId, to: NodeId) -> Arc<[Key]> {
        let needs = self.needs(to);
        if !self.plan.nodes[to].run.record || self.plan.nodes[from].role() != Some(Role::Source) {
            return needs;
        }
        let sums = self.summed(from).into_iter().filter(|k| needs.contains(k)).map(|k| sum_key(&k));
        needs.iter().cloned().chain(sums).collect()
    }

    /// The keys that are read behind a stage, from what it sends.
    pub fn behind(&self, id: NodeId) -> Arc<[Key]> {
        let mut keys: Vec<Key> = vec![];
        let mut add = |key: &Key| {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        };
        for consumer in self.consumers(id) {
            self.needs(*consumer).iter().for_each(&mut add);
        }
        self.kept_keys(id).iter().for_each(&mut add);
        if self.captured.contains(&id) {
            self.own_keys(id).iter().for_each(&mut add);
        }
        for (node, port) in &self.latched {
            if *node == id {
                add(&full_key(&self.plan.nodes[id].name, port));
            }
        }
        keys.into()
    }

    /// The keys that a kept stream carries: those that its players read, here or in a later run.
    pub fn kept_keys(&self, id: NodeId) -> Arc<[Key]> {
        if let Some(keys) = self.scope.keep.get(&id) {
            return keys.clone();
        }
        let mut keys = vec![];
        if self.plan.nodes[id].run.keep {
            keys.extend(self.own_keys(id));
            for (reader, node) in self.plan.nodes.iter().enumerate() {
                if node.from.contains(&Stream::Live(id)) {
                    collect_needs(self.plan, reader, &mut keys);
                }
            }
        }
        for (pass, _) in self.plan.passes.iter().enumerate() {
            for &reader in &self.plan.passes[pass].nodes {
                if self.plan.nodes[reader].from.contains(&Stream::Kept(id)) {
                    collect_needs(self.plan, reader, &mut keys);
                }
            }
        }
        keys.into()
    }

    /// The keys a stage adds itself.
    pub fn own_keys(&self, id: NodeId) -> Vec<Key> {
        let node = &self.plan.nodes[id];
        match &node.what {
            What::Stage(d) if d.outputs.iter().any(|p| p.open) => vec![full_key(&node.name, "*")],
            What::Stage(d) => d.outputs.iter().map(|p| full_key(&node.name, &p.name)).collect(),
            What::Join(_) => vec![],
        }
    }

    fn need(&mut self, id: NodeId) -> Arc<[Key]> {
        if let Some(known) = self.needs.get(&id) {
            return known.clone();
        }
        let mut keys = vec![];
        collect_needs(self.plan, id, &mut keys);
        // What later passes and captures want of this stage or of one behind it travels through here too.
        for key in self.wanted_behind(id) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let keys: Arc<[Key]> = keys.into();
        self.needs.insert(id, keys.clone());
        keys
    }

    fn wanted_behind(&self, id: NodeId) -> Vec<Key> {
        let mut keys: Vec<Key> = self.kept_keys(id).to_vec();
        for consumer in self.consumers(id) {
            keys.extend(self.wanted_behind(*consumer));
        }
        keys
    }

    /// Whether a map may run in the job of the map before it.
    pub fn fuses(&self, id: NodeId) -> Option<NodeId> {
        let node = &self.plan.nodes[id];
        let [Stream::Live(from)] = node.from[..] else { return None };
        if self.scope.plays(from) || !self.scope.reads(id) {
            return None;
        }
        let plain = node.run.overflow == Overflow::Block && node.run.queue.is_none() && !node.run.detach;
        let maps = node.role() == Some(Role::Map) && self.plan.nodes[from].role() == Some(Role::Map);
        let alone =
            self.consumers(from) == [id] && !self.kept.contains(&from) && !self.captured.contains(&from);
        let latched = self.latched.iter().any(|(n, _)| *n == from);
        (plain && maps && alone && !latched).then_some(from)
    }

    /// The stages that cannot go on without a stage, itself included: whose stream begins at it, who wait for its end.
    pub fn downstream(&self, id: NodeId) -> BTreeSet<NodeId> {
        let mut all = BTreeSet::from([id]);
        let waits = |other: &&NodeId| {
            let inputs = self.plan.nodes[**other].inputs.iter();
            **other != id
                && inputs.into_iter().any(|(_, f)| matches!(f, Feed::Final { node, .. } if *node == id))
        };
        for next in self.consumers(id).iter().chain(self.nodes.iter().filter(waits)) {
            all.extend(self.downstream(*next));
        }
        all
    }

    /// Whether a stage stands in a branch that may end by itself.
    pub fn detachable(&self, id: NodeId) -> bool {
        let node = &self.plan.nodes[id];
        node.run.detach || node.from.iter().any(|s| matches!(s, Stream::Live(from) if self.detachable(*from)))
    }

    /// The source stages that a stage's stream comes from.
    pub fn sources(&self, id: NodeId) -> Vec<NodeId> {
        let node = &self.plan.nodes[id];
        if node.from.is_empty() {
            return vec![id];
        }
        let live =
            node.from.iter().filter_map(|s| if let Stream::Live(from) = s { Some(*from) } else { None });
        live.flat_map(|from| self.sources(from)).collect()
    }
}

/// The keys a stage and those behind it read from the stage's stream.
pub fn collect_needs(plan: &Plan, id: NodeId, keys: &mut Vec<Key>) {
    let node = &plan.nodes[id];
    let mut add = |key: &Key| {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    };
    for (_, feed) in &node.inputs {
        if let Feed::Stream(key) = feed {
            add(key);
        }
    }
    if let What::Join(join) = &node.what
        && let Some((a, b)) = &join.time
    {
        add(a);
        add(b);
    }
    // A stage that opens an axis of its own ends all older keys.
    if opens_axis(plan, id) {
        return;
    }
    for (next, other) in plan.nodes.iter().enumerate() {
        if other.from.contains(&Stream::Live(id)) {
            let mut behind = vec![];
            collect_needs(plan, next, &mut behind);
            behind.iter().filter(|k| !own(plan, id, k)).for_each(&mut add);
        }
    }
}

fn own(plan: &Plan, id: NodeId, key: &Key) -> bool {
    key.as_str().rsplit_once('.').is_some_and(|(stage, _)| stage == plan.nodes[id].name)
}

/// Whether what a stage sends is off the axis of what it takes.
fn opens_axis(plan: &Plan, id: NodeId) -> bool {
    let node = &plan.nodes[id];
    match node.role() {
        Some(Role::Reduce | Role::Fit | Role::Task | Role::Writer) => true,
        Some(Role::Fold) => node.opens.is_some(),
        _ => false,
    }
}

/// An empty span, for calls without records.
pub fn none() -> Span {
    Span::frames(0, 0)
}
