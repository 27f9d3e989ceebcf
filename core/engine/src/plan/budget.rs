//! What a plan will take of memory and disk, from the shapes of what its sources give.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::{Feed, NodeId, Plan, Stream, What};
use crate::registry::Role;
use crate::stage::{Cost, Opened, Shape, Shapes, guard};
use crate::value::Dict;

/// What one stage takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The stage.
    pub node: NodeId,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes on disk; none when the number of frames is not known.
    pub disk: Option<u64>,
}

/// What a plan takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// The shares, stage by stage.
    pub shares: Vec<Share>,
    /// The shapes of what each stage gives.
    pub shapes: Vec<Shapes>,
    /// Bytes of memory of the pass that takes most.
    pub memory: u64,
    /// Bytes on disk, as far as known.
    pub disk: u64,
    /// Core-seconds, as far as known.
    pub seconds: f64,
}

/// What a plan takes, or the faults of a plan that takes more than there is.
///
/// `opened` holds what the opened sources said, `early` what tasks gave that have run, `files` the shapes of what files
/// hold that inputs name; `memory` and `disk` are what the machine has, and the recipe's own limits come before them.
pub fn budget(
    plan: &Plan,
    opened: &BTreeMap<NodeId, Opened>,
    early: &BTreeMap<NodeId, Dict>,
    files: &BTreeMap<String, Shape>,
    memory: Option<u64>,
    disk: Option<u64>,
) -> Result<Budget, Diagnostics> {
    let mut work = Work {
        plan,
        opened,
        early,
        files,
        budget: Budget::default(),
        frames: vec![None; plan.nodes.len()],
        faults: vec![],
    };
    work.budget.shapes = vec![Shapes::default(); plan.nodes.len()];
    for pass in &plan.passes {
        for &id in &pass.nodes {
            work.stage(id);
        }
    }
    work.kept();
    work.total();
    let small = [
        ("E0160", "memory", plan.run.memory.or(memory), work.budget.memory),
        ("E0161", "disk", plan.run.disk.or(disk), work.budget.disk),
    ];
    for (code, what, limit, needed) in small {
        if let Some(limit) = limit.filter(|l| needed > *l) {
            let fault = work.over(code, what, limit, needed);
            work.faults.push(fault);
        }
    }
    if work.faults.is_empty() {
        Ok(work.budget)
    } else {
        Err(Diagnostics::new(plan.files.clone(), work.faults))
    }
}

struct Work<'a> {
    plan: &'a Plan,
    opened: &'a BTreeMap<NodeId, Opened>,
    early: &'a BTreeMap<NodeId, Dict>,
    files: &'a BTreeMap<String, Shape>,
    budget: Budget,
    frames: Vec<Option<u64>>,
    faults: Vec<Diagnostic>,
}

impl Work<'_> {
    fn stage(&mut self, id: NodeId) {
        let node = &self.plan.nodes[id];
        let before = node.from.first().map(|s| {
            let (Stream::Live(n) | Stream::Kept(n)) = *s;
            n
        });
        self.frames[id] = match (node.role(), self.opened.get(&id)) {
            (Some(Role::Source), Some(opened)) => opened.frames,
            (Some(Role::Reduce | Role::Fit | Role::Task), _) => Some(1),
            _ => before.and_then(|n| self.frames[n]),
        };
        let input = self.inputs(id).with_records(before.and_then(|n| self.frames[n]));
        let queue = node.run.queue.map_or_else(|| self.queue(id, before), |q| q as u64);
        // What waits in the queue is shared with the other readers of the same chunk; one reader's worth is counted
        // at the reader, so the sum is an upper bound.
        let waiting =
            if node.from.is_empty() { 0 } else { self.records(before, queue) * stream_bytes(node, &input) };
        let mut share = Share { node: id, memory: waiting, disk: Some(0) };
        let What::Stage(declaration) = &node.what else {
            self.budget.shares.push(share);
            return;
        };
        let built = guard("build", || (declaration.build)(node.set.clone()));
        let (shapes, cost) = match &built {
            Ok(built) => (built.stage().shapes(&input), built.stage().cost(&input)),
            Err(error) => (Err(error.clone()), Cost::default()),
        };
        match (shapes, self.opened.get(&id)) {
            (_, Some(opened)) if node.role() == Some(Role::Source) => {
                self.budget.shapes[id] = opened.shapes.clone()
            }
            (Ok(shapes), _) => self.budget.shapes[id] = shapes,
            (Err(error), _) => {
                let fault =
                    Diagnostic::error("E0162", format!("stage `{}` cannot take these shapes", node.name));
                let fault = fault.at(node.at, error.message().to_owned()).note(list(&input));
                self.faults.push(error.advice().map_or(fault.clone(), |help| fault.help(help)));
            }
        }
        if let Some(output) = self.early.get(&id) {
            let known = output.iter().map(|(port, value)| (port.as_str(), Shape::of(value)));
            self.budget.shapes[id] =
                known.fold(Shapes::default(), |all, (port, shape)| all.with(port, shape));
        }
        let values = self.values(id);
        if let Some(values) = values
            && matches!(node.role(), Some(Role::Reduce | Role::Fit))
        {
            let stacked =
                self.budget.shapes[id].iter().map(|(port, shape)| (port.to_owned(), front(shape, values)));
            self.budget.shapes[id] =
                stacked.fold(Shapes::default(), |all, (port, shape)| all.with(&port, shape));
        }
        share.memory = share.memory.saturating_add(cost.memory.saturating_mul(values.unwrap_or(1)));
        if node.role() == Some(Role::Source) {
            let bytes = self.budget.shapes[id].bytes() as u64;
            let buffered = self.plan.run.reorder.saturating_add(self.chunk());
            share.memory = share.memory.saturating_add(buffered.saturating_mul(bytes));
        }
        let records = before.map_or(Some(1), |n| self.frames[n]);
        share.disk = records.map(|n| n.saturating_mul(cost.disk_per_record));
        if cost.disk_per_record == 0 {
            share.disk = Some(0);
        }
        self.budget.seconds += cost.seconds + cost.seconds_per_record * records.unwrap_or(0) as f64;
        self.budget.shares.push(share);
    }

    /// How many instances `run.per` gives a stage; none when it has one, or the scan is not known yet.
    fn values(&self, id: NodeId) -> Option<u64> {
        let axis = self.plan.nodes[id].run.per.as_ref()?;
        let scans = self.opened.values().map(|o| &o.scan).chain([&self.plan.scan]);
        scans.flatten().find(|(name, _)| name == axis).map(|(_, n)| *n)
    }

    /// Frames to a chunk: those of the source with the smallest frames.
    fn chunk(&self) -> u64 {
        let sources = self.plan.nodes.iter().enumerate().filter(|(_, n)| n.role() == Some(Role::Source));
        let chunks = sources.filter_map(|(id, _)| self.given(id)).map(|bytes| self.plan.run.chunk_of(bytes));
        chunks.max().unwrap_or_else(|| self.plan.run.chunk_of(0))
    }

    /// Bytes of a frame as a source gives it; none before it is opened, unless its parameters say so.
    fn given(&self, source: NodeId) -> Option<usize> {
        match self.opened.get(&source) {
            Some(opened) => Some(opened.shapes.bytes()),
            None => Some(self.budget.shapes[source].bytes()).filter(|bytes| *bytes > 0),
        }
    }

    /// Chunks in a queue that the recipe says nothing about.
    fn queue(&self, id: NodeId, before: Option<NodeId>) -> u64 {
        let node = &self.plan.nodes[id];
        let live = before.is_some_and(|n| self.opened.get(&n).is_some_and(|o| o.live));
        self.plan.run.queue_of(self.frame(id), live || node.run.pace.is_some(), node.run.overflow)
    }

    /// Bytes of a frame as the sources give it that a stage's stream comes from.
    fn frame(&self, id: NodeId) -> usize {
        self.plan.origins(id).into_iter().filter_map(|n| self.given(n)).sum()
    }

    /// Records that may wait before a stage.
    fn records(&self, before: Option<NodeId>, queue: u64) -> u64 {
        let single = before.is_some_and(|n| {
            matches!(self.plan.nodes[n].role(), Some(Role::Reduce | Role::Fit | Role::Task))
        });
        if single { queue } else { queue.saturating_mul(self.chunk()) }
    }

    /// The shapes of a stage's inputs, port by port.
    fn inputs(&self, id: NodeId) -> Shapes {
        let mut shapes = Shapes::default();
        for (port, feed) in &self.plan.nodes[id].inputs {
            let shape = match feed {
                Feed::Stream(key) => self.of_key(key.as_str()),
                Feed::Final { node, port } | Feed::Latched { node, port } => {
                    self.budget.shapes[*node].get(port.as_str())
                }
                Feed::Head { node, key } => {
                    let value = self.opened.get(node).and_then(|o| o.head.get(key.as_str()));
                    value.map(Shape::of).unwrap_or_default()
                }
                Feed::Argument(name) => self.plan.arguments.get(name).map(Shape::of).unwrap_or_default(),
                Feed::Value(value) => Shape::of(value),
                Feed::Carry { in_loop, key } => {
                    let carried = self.plan.loops[*in_loop].carry.iter().find(|(k, ..)| k == key);
                    match carried.map(|(_, first, _)| first) {
                        Some(Feed::Final { node, port }) => self.budget.shapes[*node].get(port.as_str()),
                        _ => Shape::default(),
                    }
                }
                Feed::File(path) => self.files.get(path).cloned().unwrap_or_default(),
            };
            shapes = shapes.with(port.as_str(), shape);
        }
        shapes
    }

    fn of_key(&self, key: &str) -> Shape {
        let Some((stage, port)) = key.split_once('.') else { return Shape::default() };
        match self.plan.nodes.iter().position(|n| n.name == stage) {
            Some(node) => self.budget.shapes[node].get(port),
            None => Shape::default(),
        }
    }

    /// What later passes play again is kept on disk, and what the recipe says is to be kept.
    fn kept(&mut self) {
        let plan = self.plan;
        let streams = plan.nodes.iter().flat_map(|n| &n.from);
        let mut kept: Vec<NodeId> =
            streams.filter_map(|s| if let Stream::Kept(node) = s { Some(*node) } else { None }).collect();
        kept.extend((0..plan.nodes.len()).filter(|id| plan.nodes[*id].run.keep));
        kept.sort_unstable();
        kept.dedup();
        for node in kept {
            let bytes = self.budget.shapes[node].bytes() as u64;
            let more = self.frames[node].map(|n| n.saturating_mul(bytes));
            if let Some(share) = self.budget.shares.iter_mut().find(|s| s.node == node) {
                share.disk = share.disk.zip(more).map(|(a, b)| a.saturating_add(b));
            }
        }
    }

    fn total(&mut self) {
        let plan = self.plan;
        let in_pass = |pass: usize| {
            self.budget
                .shares
                .iter()
                .filter(|s| plan.nodes[s.node].pass == pass)
                .map(|s| s.memory)
                .sum::<u64>()
        };
        self.budget.memory = (0..plan.passes.len()).map(in_pass).max().unwrap_or(0);
        // A pass of a loop writes as often as it runs.
        let runs = |pass: usize| plan.steps.iter().filter(|s| s.pass == pass).count() as u64;
        let disk = self
            .budget
            .shares
            .iter()
            .map(|s| s.disk.unwrap_or(0).saturating_mul(runs(plan.nodes[s.node].pass)));
        self.budget.disk = disk.fold(0, u64::saturating_add);
    }

    fn over(&self, code: &'static str, what: &str, limit: u64, needed: u64) -> Diagnostic {
        let size = |s: &Share| if code == "E0160" { s.memory } else { s.disk.unwrap_or(0) };
        let mut largest: Vec<&Share> = self.budget.shares.iter().filter(|s| size(s) > 0).collect();
        largest.sort_by_key(|s| std::cmp::Reverse(size(s)));
        let mut fault = Diagnostic::error(code, format!("the plan takes more {what} than there is"))
            .found(bytes(needed), format!("{} or less", bytes(limit)));
        for share in largest.iter().take(3) {
            let node = &self.plan.nodes[share.node];
            fault = fault.at(node.at, format!("stage `{}` takes {}", node.name, bytes(size(share))));
        }
        match code {
            "E0160" => fault.help(
                "make `run.chunk`, `run.reorder` or a stage's `run.queue` smaller, or give `run.memory` more",
            ),
            _ => fault.help("write fewer or smaller values, compress them, or give `run.disk` more"),
        }
    }
}

/// A shape with one more extent in front.
fn front(shape: &Shape, n: u64) -> Shape {
    let dims = shape.dims.as_ref().map(|dims| [&[n as usize], dims.as_slice()].concat());
    Shape { dims, ..shape.clone() }
}

/// Bytes of one record of what a stage reads from its stream.
fn stream_bytes(node: &crate::plan::Node, input: &Shapes) -> u64 {
    let on_stream = node.inputs.iter().filter(|(_, feed)| matches!(feed, Feed::Stream(_)));
    on_stream.map(|(port, _)| input.get(port.as_str()).bytes().unwrap_or(0) as u64).sum()
}

fn list(shapes: &Shapes) -> String {
    let each = shapes.iter().map(|(port, shape)| match (&shape.dtype, &shape.dims) {
        (Some(dtype), Some(dims)) => format!("`{port}` {dtype} {dims:?}"),
        _ => format!("`{port}` of unknown shape"),
    });
    format!("it is given {}", each.collect::<Vec<_>>().join(", "))
}

/// Bytes as a person reads them.
fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        _ if n >= 1e12 => format!("{:.1} TB", n / 1e12),
        _ if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        _ if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        _ if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        _ => format!("{n} B"),
    }
}
