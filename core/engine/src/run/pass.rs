//! One pass: open the sources, wire the stages, start a thread for each, watch them to the end.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use crate::error::{Blame, Context, Error, Result};
use crate::plan::{Feed, NodeId, Plan, RunOptions, Step, Stream, What};
use crate::registry::Declaration;
use crate::run::control::{Control, Event, Meter};
use crate::run::edge::{Edge, Gauge, Inbox, Item, Outlet, edge};
use crate::run::graph::{Graph, none};
use crate::run::node::{
    CaptureNode, Chain, Committed, EndedNode, Finals, FitNode, FoldNode, JoinNode, KEPT, KeepNode, LatchNode,
    LateTask, Link, Post, ReduceNode, ReplayNode, SourceNode, TaskNode, WriterNode, has_ended,
};
use crate::run::per::{self, Axes, Per, PerAxis, SCAN};
use crate::run::spill::Spill;
use crate::run::wire::{Changes, Gather, Latch, Latched, Scatter, full_key};
use crate::span::{Chunk, Ranges, SNAPSHOT, Span};
use crate::stage::{Built, Cx, Lag, Opened, Output, Position, RunCx};
use crate::store::ContentDigest;
use crate::store::Files;
use crate::value::{Dict, Key, Value};

/// What a pass needs from the run around it.
pub struct Surroundings<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The step.
    pub step: &'a Step,
    /// What all stages share.
    pub run: Arc<RunCx>,
    /// Set to let sources end and everything drain.
    pub stop: Arc<AtomicBool>,
    /// Final values of earlier steps; those of this one are added.
    pub finals: Arc<Finals>,
    /// The folder for what is put aside.
    pub scratch: PathBuf,
    /// The door to kept streams.
    pub files: Arc<dyn Files>,
    /// The folder of kept streams.
    pub streams: PathBuf,
    /// Makes the output of a writer, and what it calls after a commit.
    pub output: &'a MakeOutput<'a>,
    /// As `output`, for kept streams.
    pub keep: &'a MakeOutput<'a>,
    /// The newest mark of the steps before, or that of the checkpoint.
    pub first_mark: u64,
    /// Saves a checkpoint: the mark and every stage's state.
    pub save: &'a mut dyn FnMut(u64, Dict) -> Result<()>,
    /// Sees the meters now and then.
    pub watch: &'a mut dyn FnMut(&[Watched]),
    /// Checks memory and disk once the sources are open.
    pub budget: &'a dyn Fn(&BTreeMap<NodeId, Opened>) -> Result<()>,
    /// States of a checkpoint to go on from.
    pub resume: Option<Dict>,
}

/// Makes the output of a stage, and what is called after its commits.
pub type MakeOutput<'a> = dyn Fn(&str) -> (Arc<dyn Output>, Committed) + 'a;

/// First frame and version of a latched value, whenever it changed.
pub type Versions = Vec<(u64, u64)>;

/// A stage as progress sees it.
#[derive(Clone)]
pub struct Watched {
    /// The place in the plan.
    pub node: NodeId,
    /// Its counts.
    pub meter: Arc<Meter>,
    /// How many records are expected, when known.
    pub expected: Option<u64>,
    /// Items waiting in its queue.
    pub queue: Option<Gauge>,
}

/// What a pass came to.
pub struct PassEnd {
    /// The meters of its stages.
    pub stages: Vec<Watched>,
    /// Branches that ended by themselves.
    pub detached: Vec<(NodeId, Error)>,
    /// Content digests by stage.
    pub content: BTreeMap<NodeId, String>,
    /// What every latched input was, and from which frame on.
    pub latched: Vec<(NodeId, Key, Versions)>,
    /// The first failure.
    pub failure: Option<Error>,
    /// Whether a stream ended before its time because the run was stopped.
    pub cut_short: bool,
}

/// A stage's thread, ready to start.
type Work = Box<dyn FnOnce() -> Result<Dict> + Send>;

struct Builder<'a, 'b> {
    s: &'b mut Surroundings<'a>,
    graph: Graph<'a>,
    control: Arc<Control>,
    meters: HashMap<NodeId, Arc<Meter>>,
    outlets: HashMap<NodeId, Outlet>,
    inboxes: HashMap<NodeId, Vec<Inbox>>,
    opened: BTreeMap<NodeId, Opened>,
    latches: HashMap<(NodeId, String), Arc<Latch>>,
    queues: HashMap<NodeId, Gauge>,
    changes: Vec<(NodeId, Key, Changes)>,
    /// The engine's own listeners, with the stages they listen to.
    helpers: Vec<(NodeId, NodeId)>,
    /// Digests of what tasks gave before the threads began.
    early_content: BTreeMap<NodeId, String>,
    next_id: NodeId,
    names: HashMap<NodeId, String>,
    work: Vec<(NodeId, bool, Work)>,
    /// The consumers' ends of edges, held until it is known whether a branch ended by its own choice.
    holds: HashMap<NodeId, Vec<Receiver<Item>>>,
}

/// How long a stage that does not come back is waited for once the run is over.
const GRACE: Duration = Duration::from_secs(2);

/// Runs one pass.
pub fn run(s: &mut Surroundings) -> Result<PassEnd> {
    let (events_tx, events) = unbounded();
    let cancel = s.run.cancel.clone();
    let control = Arc::new(Control::new(cancel, s.stop.clone(), s.first_mark, events_tx));
    let graph = Graph::new(s.plan, s.step.pass);
    let names = s.plan.nodes.iter().enumerate().map(|(i, n)| (i, n.name.clone())).collect();
    let next_id = s.plan.nodes.len();
    let mut builder = Builder {
        s,
        graph,
        control,
        meters: HashMap::new(),
        outlets: HashMap::new(),
        inboxes: HashMap::new(),
        opened: BTreeMap::new(),
        latches: HashMap::new(),
        queues: HashMap::new(),
        changes: vec![],
        helpers: vec![],
        early_content: BTreeMap::new(),
        next_id,
        names,
        work: vec![],
        holds: HashMap::new(),
    };
    builder.build()?;
    builder.watch(&events)
}

impl Builder<'_, '_> {
    fn build(&mut self) -> Result<()> {
        let nodes = self.graph.nodes.to_vec();
        self.s.finals.begin(&nodes);
        for &id in &nodes {
            self.meters.insert(id, Meter::new(&self.s.plan.nodes[id].name));
        }
        for (node, port) in &self.graph.latched {
            self.latches.insert((*node, port.clone()), Arc::default());
        }
        // Stages in order of dependence: what a source or an early task gives at once is there for those behind it.
        let mut built: HashMap<NodeId, Built> = HashMap::new();
        for &id in &nodes {
            if let What::Stage(declaration) = &self.s.plan.nodes[id].what {
                let set = self.parameters(id);
                let name = &self.s.plan.nodes[id].name;
                built.insert(id, (declaration.build)(set).at(|| format!("stage `{name}`"))?);
            }
        }
        let mut early: Vec<(NodeId, Dict)> = vec![];
        for &id in &nodes {
            match built.get_mut(&id) {
                Some(Built::Source(_)) => self.open(id, &mut built)?,
                Some(Built::Task(_))
                    if self.s.plan.nodes[id].from.is_empty() && self.waits(id).is_empty() =>
                {
                    let output = self.run_early(id, &mut built)?;
                    early.push((id, output));
                }
                _ => (),
            }
        }
        (self.s.budget)(&self.opened)?;
        self.wire(&nodes);
        for &id in &nodes {
            self.node(id, &mut built)?;
        }
        for (id, output) in early {
            self.emit_early(id, output)?;
        }
        Ok(())
    }

    /// The parameters of a stage in this turn.
    fn parameters(&self, id: NodeId) -> serde_json::Value {
        let mut set = self.s.plan.nodes[id].set.clone();
        if let Some((which, turn)) = self.s.step.turn {
            for (node, parameter, values) in &self.s.plan.loops[which].vary {
                if *node == id
                    && let Some(value) = values.get(turn)
                {
                    let mut at = &mut set;
                    for part in parameter.split('.') {
                        at = &mut at[part];
                    }
                    *at = value.clone();
                }
            }
        }
        fill_placeholders(&mut set, self.s.step, &self.s.plan.name);
        set
    }

    /// The inputs of a stage that do not come with its stream; none for what is not known yet.
    fn fixed(&self, id: NodeId) -> Result<Dict> {
        let mut fixed = Dict::new();
        for (port, feed) in &self.s.plan.nodes[id].inputs {
            if let Some(value) = self.feed(feed, self.s.step.turn.map(|(_, turn)| turn))? {
                fixed.set(port.clone(), value);
            }
        }
        Ok(fixed)
    }

    fn feed(&self, feed: &Feed, turn: Option<usize>) -> Result<Option<Value>> {
        let plan = self.s.plan;
        Ok(match feed {
            Feed::Stream(_) | Feed::Latched { .. } => None,
            Feed::Head { node, key } => {
                let opened =
                    self.opened.get(node).ok_or_else(|| Error::internal("a head before its source"))?;
                let name = &plan.nodes[*node].name;
                Some(opened.head.need(key.as_str()).at(|| format!("head of `{name}`"))?.clone())
            }
            Feed::Final { node, port } => self.s.finals.get(*node, port.as_str()),
            Feed::Carry { in_loop, key } => {
                let carry = plan.loops[*in_loop].carry.iter().find(|(name, ..)| name == key);
                let (_, first, then) =
                    carry.ok_or_else(|| Error::internal(format!("nothing carried as `{key}`")))?;
                self.feed(if turn == Some(0) { first } else { then }, turn)?
            }
            Feed::Argument(name) => plan.arguments.get(name).cloned(),
            Feed::Value(value) => Some(value.clone()),
            Feed::File(path) => {
                let cx = Cx::new(&self.s.run, "input");
                Some(cx.read(path)?)
            }
        })
    }

    fn open(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
        let input = self.fixed(id)?;
        let state = self.resume_of(id);
        let next = state.as_ref().and_then(|s| s.get("next")).and_then(Value::number).unwrap_or(0.0) as u64;
        let Some(Built::Source(mut source)) = built.remove(&id) else { return Ok(()) };
        let (source, opened) = self.apart(id, "open", move |cx| {
            let opened = source.open(cx, input, Position { next })?;
            Ok((source, opened))
        })?;
        built.insert(id, Built::Source(source));
        // A later pass may read the head of a source that it does not open itself.
        for (key, value) in opened.head.iter() {
            self.s.finals.set(id, Key::from(format!("head.{key}")), value.clone());
        }
        if !opened.scan.is_empty() {
            // A later pass that plays a stream of it again counts by the same axes.
            self.s.finals.set(id, Key::Static(SCAN), per::keep_axes(&opened.scan));
        }
        self.opened.insert(id, opened);
        Ok(())
    }

    fn run_early(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<Dict> {
        let input = self.fixed(id)?;
        let Some(Built::Task(mut task)) = built.remove(&id) else { return Ok(Dict::new()) };
        let (task, output) = self.apart(id, "run", move |cx| {
            let output = task.run(cx, input)?;
            Ok((task, output))
        })?;
        built.insert(id, Built::Task(task));
        for (port, value) in output.iter() {
            self.s.finals.set(id, port.clone(), value.clone());
        }
        self.s.finals.end(id);
        Ok(output)
    }

    /// Runs one operation before the pass begins, on a thread that can be left behind when it hangs.
    fn apart<T: Send + 'static>(
        &self,
        id: NodeId,
        what: &'static str,
        work: impl FnOnce(&Cx) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tx, rx) = crossbeam_channel::bounded(1);
        let (run, meter) = (self.s.run.clone(), self.meters[&id].clone());
        let thread = std::thread::Builder::new().name(format!("isard {what}")).spawn(move || {
            let result = meter.call(what, &none(), || work(&Cx::new(&run, &meter.name)));
            // Nobody listens any more when this took too long.
            let _ = tx.send(result);
        });
        thread.map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread: {e}")))?;
        let mut since: Option<Instant> = None;
        loop {
            if let Ok(result) = rx.recv_timeout(Duration::from_millis(20)) {
                return result;
            }
            if let Some((_, error)) = self.hanging(self.s.plan.run.hang_s).into_iter().next() {
                self.control.fail(error.clone());
                return Err(error);
            }
            if self.control.cancelled() && since.get_or_insert_with(Instant::now).elapsed() > GRACE {
                return Err(Error::cancelled());
            }
        }
    }

    /// What a task without a stream waits for: stages of its own pass that end only when their streams do.
    fn waits(&self, id: NodeId) -> Vec<(Key, NodeId, Key)> {
        let inputs = self.s.plan.nodes[id].inputs.iter();
        let waits = inputs.filter_map(|(port, feed)| match feed {
            Feed::Final { node, port: key }
                if self.graph.nodes.contains(node) && !self.s.finals.has_ended(*node) =>
            {
                Some((port.clone(), *node, key.clone()))
            }
            _ => None,
        });
        waits.collect()
    }

    /// The result of an early task is a stream of one record.
    fn emit_early(&mut self, id: NodeId, output: Dict) -> Result<()> {
        let What::Stage(declaration) = &self.s.plan.nodes[id].what else { return Ok(()) };
        let data = Scatter::new(&self.s.plan.nodes[id].name, &declaration.outputs).lead(0, output)?;
        let span = Span { axis: SNAPSHOT, start: 0, len: 1 };
        let covers = Some(Arc::new(Ranges::default()));
        let chunk = Chunk { span, data, covers, last: true };
        let mut digest = ContentDigest::default();
        digest.add(&chunk)?;
        self.early_content.insert(id, digest.finish());
        let Some(mut outlet) = self.outlets.remove(&id) else { return Ok(()) };
        // A queue holds at least two items: nothing blocks here before the threads run.
        outlet.send(Item::Chunk(chunk))?;
        outlet.send(Item::End)
    }

    /// Makes all edges, recorders first.
    fn wire(&mut self, nodes: &[NodeId]) {
        let plan = self.s.plan;
        let mut order = nodes.to_vec();
        order.sort_by_key(|id| !plan.nodes[*id].run.record);
        for id in order {
            for stream in &plan.nodes[id].from {
                match stream {
                    Stream::Live(_) if self.graph.fuses(id).is_some() => (),
                    Stream::Live(from) => self.connect(*from, id, self.graph.needs(id)),
                    Stream::Kept(from) => {
                        let player = self
                            .helper(format!("play.{}.{}", plan.nodes[*from].name, plan.nodes[id].name), id);
                        self.connect(player, id, self.graph.needs(id));
                        let (files, folder) = (self.s.files.clone(), self.s.streams.clone());
                        let kept = self.s.finals.get(*from, KEPT);
                        let post = self.post(player, Gather::default(), Scatter::new("", &[]));
                        self.push(player, move || ReplayNode { post, files, folder, kept }.run());
                    }
                }
            }
        }
    }

    fn connect(&mut self, from: NodeId, to: NodeId, keep: Arc<[Key]>) {
        let plan = self.s.plan;
        let options = plan.nodes.get(to).map(|n| n.run.clone()).unwrap_or_default();
        let queue = options.queue.unwrap_or_else(|| self.queue_for(from));
        let detached = self.meters[&to].detached.clone();
        let spill = (options.overflow == crate::plan::Overflow::Replay).then(|| {
            let dir = self.s.scratch.join(format!("aside.{}", self.names[&to]));
            Spill::new(dir, 64 << 20)
        });
        let take = match plan.nodes.get(to) {
            Some(node)
                if matches!(
                    node.role(),
                    Some(crate::registry::Role::Writer | crate::registry::Role::Task)
                ) =>
            {
                options.take
            }
            _ => crate::plan::Take::Every,
        };
        let (tx, rx): (Edge, Inbox) = edge(queue, options.overflow, take, keep, detached, spill);
        self.queues.insert(to, rx.gauge().clone());
        self.outlets.entry(from).or_default().add(tx);
        self.inboxes.entry(to).or_default().push(rx);
    }

    /// Chunks in a queue that the recipe says nothing about.
    fn queue_for(&self, from: NodeId) -> usize {
        let sources = if from < self.s.plan.nodes.len() { self.graph.sources(from) } else { vec![] };
        let opened: Vec<&Opened> = sources.iter().filter_map(|s| self.opened.get(s)).collect();
        let frame = opened.iter().map(|o| o.shapes.bytes()).sum();
        self.s.plan.run.queue_of(frame, opened.iter().any(|o| o.live)) as usize
    }

    /// A listener of the engine's own to a stage; its number comes after those of the plan.
    fn helper(&mut self, name: String, of: NodeId) -> NodeId {
        let id = self.next_id;
        self.next_id += 1;
        self.meters.insert(id, Meter::new(&name));
        self.names.insert(id, name);
        self.helpers.push((id, of));
        id
    }

    fn resume_of(&self, id: NodeId) -> Option<Dict> {
        match self.s.resume.as_ref()?.get(&self.names[&id])? {
            Value::Dict(state) => Some(state.clone()),
            _ => None,
        }
    }

    fn post(&mut self, id: NodeId, gather: Gather, scatter: Scatter) -> Post {
        Post {
            id,
            control: self.control.clone(),
            run: self.s.run.clone(),
            meter: self.meters[&id].clone(),
            gather,
            scatter,
            outlet: self.outlets.remove(&id).unwrap_or_default(),
            resume: self.resume_of(id),
        }
    }

    fn push(&mut self, id: NodeId, work: impl FnOnce() -> Result<Dict> + Send + 'static) {
        let detach = id < self.s.plan.nodes.len() && self.graph.detachable(id);
        self.work.push((id, detach, Box::new(work)));
    }

    fn gather(&mut self, id: NodeId) -> Result<Gather> {
        let mut gather = Gather { fixed: self.fixed(id)?, ..Gather::default() };
        for (port, feed) in &self.s.plan.nodes[id].inputs {
            match feed {
                Feed::Stream(key) => gather.stream.push((port.clone(), key.clone())),
                Feed::Latched { node, port: from } => {
                    let latch = self.latches[&(*node, from.to_string())].clone();
                    let changes = Changes::default();
                    self.changes.push((id, port.clone(), changes.clone()));
                    gather.latched.push(Latched { port: port.clone(), latch, changes });
                }
                _ => (),
            }
        }
        Ok(gather)
    }

    /// A stream that a stage takes, for the thread of `owner`.
    fn inbox(&mut self, id: NodeId, owner: NodeId) -> Result<Inbox> {
        let inbox = self.inboxes.get_mut(&id).and_then(Vec::pop);
        let inbox =
            inbox.ok_or_else(|| Error::internal(format!("stage `{}` has no stream", self.names[&id])))?;
        self.holds.entry(owner).or_default().push(inbox.receiver().clone());
        Ok(inbox)
    }

    /// Makes the thread of a stage, and of the engine's listeners behind it.
    fn node(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
        let fused_into_next = self.graph.consumers(id).iter().any(|c| self.graph.fuses(*c) == Some(id));
        if !fused_into_next {
            self.listeners(id);
        }
        let plan = self.s.plan;
        let node = &plan.nodes[id];
        let declaration = match &node.what {
            What::Join(_) if has_ended(&self.resume_of(id)) => return self.ended(id, built),
            What::Join(rule) => return self.join(id, rule.clone()),
            What::Stage(declaration) => declaration.clone(),
        };
        let scatter = Scatter::new(&node.name, &declaration.outputs);
        let frames = self.extent(id);
        if !matches!(built.get(&id), Some(Built::Source(_) | Built::Map(_)))
            && frames.is_some()
            && self.on_frames(id)
        {
            self.meters[&id].book(|l| l.expected = frames);
        }
        let stage = match built.remove(&id) {
            // A fused map needs its stage when the last of its chain is made.
            Some(Built::Map(map)) if fused_into_next => {
                built.insert(id, Built::Map(map));
                return Ok(());
            }
            Some(stage) => stage,
            None => return Ok(()),
        };
        let ended = has_ended(&self.resume_of(id));
        if ended && !matches!(stage, Built::Task(_) if node.from.is_empty()) {
            return self.ended(id, built);
        }
        let stage = match &node.run.per {
            Some(axis) => self.per(id, axis, &declaration)?.wrap(stage),
            None => stage,
        };
        match stage {
            Built::Source(stage) => {
                let opened = self.opened[&id].clone();
                let gather = Gather::default();
                let post = self.post(id, gather, scatter);
                let from =
                    post.resume.as_ref().and_then(|s| s.get("next")).and_then(Value::number).unwrap_or(0.0)
                        as u64;
                let chunk = plan.run.chunk_of(opened.shapes.bytes());
                let options = RunOptions { chunk: Some(chunk), ..plan.run.clone() };
                let scan = if opened.scan.is_empty() { plan.scan.clone() } else { opened.scan.clone() };
                let behind = self.graph.behind(id);
                let scan_keys = behind.iter().filter(|k| k.as_str().starts_with("scan.")).cloned().collect();
                let frames = self.frames(&opened);
                self.push(id, move || {
                    SourceNode { post, stage, from, frames, options, scan, scan_keys }.run()
                });
            }
            Built::Map(stage) => {
                let mut chain = vec![(id, stage)];
                while let Some(before) = self.graph.fuses(chain[chain.len() - 1].0) {
                    let Some(Built::Map(map)) = built.remove(&before) else {
                        return Err(Error::internal("a map of a chain is not there"));
                    };
                    chain.push((before, map));
                }
                chain.reverse();
                let inbox = self.inbox(chain[0].0, id)?;
                let mut links = vec![];
                for (at, (link, stage)) in chain.iter().enumerate() {
                    let What::Stage(declaration) = &plan.nodes[*link].what else { continue };
                    let keep = match chain.get(at + 1) {
                        Some((next, _)) => self.graph.needs(*next),
                        None => self.graph.behind(*link),
                    };
                    links.push(Link {
                        stage: stage.clone(),
                        meter: self.meters[link].clone(),
                        gather: self.gather(*link)?,
                        scatter: Scatter::new(&plan.nodes[*link].name, &declaration.outputs),
                        keep,
                    });
                }
                let parallel = 2 * self.threads();
                let post = self.post(id, Gather::default(), scatter);
                self.push(id, move || Chain { post, links: Arc::new(links), inbox, parallel }.run());
            }
            Built::Fold(stage) => {
                let inbox = self.inbox(id, id)?;
                let carry = match stage.lag() {
                    Lag::Merged { .. } => vec![],
                    _ => self.graph.behind(id).to_vec(),
                };
                let gather = self.gather(id)?;
                let post = self.post(id, gather, scatter);
                self.push(id, move || FoldNode { post, stage, inbox, carry }.run());
            }
            Built::Reduce(stage) => {
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let (options, parallel) = (node.run.clone(), 2 * self.threads());
                let post = self.post(id, gather, scatter);
                self.push(id, move || ReduceNode { post, stage, inbox, options, parallel }.run());
            }
            Built::Fit(stage) => {
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let options = node.run.clone();
                let live = self.graph.sources(id).iter().filter_map(|s| self.opened.get(s)).any(|o| o.live);
                let post = self.post(id, gather, scatter);
                self.push(id, move || FitNode { post, stage, inbox, options, live }.run());
            }
            Built::Writer(stage) => {
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let ((output, committed), retry) = ((self.s.output)(&node.name), plan.run.retry);
                let post = self.post(id, gather, scatter);
                self.push(id, move || WriterNode { post, stage, inbox, output, committed, retry }.run());
            }
            Built::Task(stage) if node.from.is_empty() => {
                let waits = self.waits(id);
                if !waits.is_empty() {
                    let gather = self.gather(id)?;
                    let finals = self.s.finals.clone();
                    let post = self.post(id, gather, scatter);
                    self.push(id, move || LateTask { post, stage, finals, waits }.run());
                }
            }
            Built::Task(stage) => {
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let post = self.post(id, gather, scatter);
                self.push(id, move || TaskNode { post, stage, inbox }.run());
            }
        }
        Ok(())
    }

    /// What the instances of a stage with `run.per` have in common.
    fn per(&self, id: NodeId, axis: &str, declaration: &Arc<Declaration>) -> Result<Per> {
        let node = &self.s.plan.nodes[id];
        let place = || format!("stage `{}`", node.name);
        let (scan, frames) = self.scan(id).at(place)?;
        let fixed = node.inputs.iter().filter(|(_, feed)| !matches!(feed, Feed::Stream(_)));
        let (build, set) = (declaration.build.clone(), self.parameters(id));
        Ok(Per {
            axis: PerAxis::of(&scan, axis, frames).at(place)?,
            stage: node.name.clone(),
            build: Box::new(move |label| {
                let mut set = set.clone();
                per::fill(&mut set, label);
                build(set)
            }),
            fixed: fixed.map(|(port, _)| port.clone()).collect(),
            outputs: declaration.outputs.clone(),
        })
    }

    /// The axes of the scan that a stage's stream counts by, and how many frames there are, when that is known.
    fn scan(&self, id: NodeId) -> Result<(Axes, Option<u64>)> {
        let plan = self.s.plan;
        let (mut behind, mut found) = (vec![id], None::<(Axes, Option<u64>)>);
        while let Some(at) = behind.pop() {
            behind.extend(plan.nodes[at].from.iter().map(|stream| match stream {
                Stream::Live(from) | Stream::Kept(from) => *from,
            }));
            if !plan.nodes[at].from.is_empty() {
                continue;
            }
            let opened = self.opened.get(&at);
            let own = match opened {
                Some(opened) => opened.scan.clone(),
                None => per::kept_axes(self.s.finals.get(at, SCAN)),
            };
            let scan = if own.is_empty() { plan.scan.clone() } else { own };
            let frames = opened.and_then(|o| o.frames);
            match &mut found {
                None => found = Some((scan, frames)),
                Some((other, most)) if *other == scan => *most = (*most).max(frames),
                Some(_) => {
                    return Err(Error::recipe("`run.per`: its sources count by different scan axes"));
                }
            }
        }
        Ok(found.unwrap_or_default())
    }

    /// A stage that had ended before the checkpoint sends its end again and nothing else.
    fn ended(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
        let mut head = id;
        while let Some(before) = self.graph.fuses(head) {
            built.remove(&before);
            head = before;
        }
        let inboxes = self.inboxes.remove(&head).unwrap_or_default();
        let mut post = self.post(id, Gather::default(), Scatter::new("", &[]));
        self.push(id, move || {
            let state = post.resumed()?.unwrap_or_default();
            for inbox in inboxes {
                while !matches!(post.next(&inbox)?, Item::End) {}
            }
            post.outlet.send(Item::End)?;
            Ok(post.with_ledger(state))
        });
        Ok(())
    }

    fn join(&mut self, id: NodeId, rule: crate::plan::Join) -> Result<()> {
        let plan = self.s.plan;
        let name = |stream: &Stream| match stream {
            Stream::Live(from) | Stream::Kept(from) => plan.nodes[*from].name.clone(),
        };
        let [left, right] = &plan.nodes[id].from[..] else {
            return Err(Error::internal(format!("join `{}` needs two streams", plan.nodes[id].name)));
        };
        let names = [name(left), name(right)];
        let second = self.inbox(id, id)?;
        let first = self.inbox(id, id)?;
        let post = self.post(id, Gather::default(), Scatter::new("", &[]));
        self.push(id, move || JoinNode { post, rule, inboxes: [first, second], names }.run());
        Ok(())
    }

    /// The engine's own listeners behind a stage.
    fn listeners(&mut self, id: NodeId) {
        let plan = self.s.plan;
        let node = &plan.nodes[id];
        if self.graph.kept.contains(&id) {
            let name = format!("keep.{}", node.name);
            let keeper = self.helper(name.clone(), id);
            if let Some((post, inbox)) = self.listen(id, keeper, self.graph.kept_keys(id), None) {
                let (output, committed) = (self.s.keep)(&name);
                let path = format!("{}/{}", self.s.step.name, node.name);
                let finals = self.s.finals.clone();
                self.push(keeper, move || {
                    KeepNode { post, inbox, of: id, path, output, committed, finals }.run()
                });
            }
        }
        let task = node.from.is_empty() && node.role() == Some(crate::registry::Role::Task);
        let early = task && self.s.finals.has_ended(id);
        if self.graph.captured.contains(&id) && !early {
            let catcher = self.helper(format!("final.{}", node.name), id);
            let keys = self.graph.own_keys(id);
            if let Some((post, inbox)) = self.listen(id, catcher, keys.into(), None) {
                let name = node.name.clone();
                let whole = !self.graph.consumers(id).is_empty() || self.wanted_later(id);
                let finals = self.s.finals.clone();
                self.push(catcher, move || CaptureNode { post, inbox, of: id, name, whole, finals }.run());
            }
        }
        let ports: Vec<String> =
            self.graph.latched.iter().filter(|(n, _)| *n == id).map(|(_, p)| p.clone()).collect();
        for port in ports {
            let keeper = self.helper(format!("latch.{}.{port}", node.name), id);
            let key = full_key(&node.name, &port);
            let latch = self.latches[&(id, port)].clone();
            if let Some((post, inbox)) = self.listen(id, keeper, [key.clone()].into(), Some(&latch)) {
                self.push(keeper, move || LatchNode { post, inbox, key, latch }.run());
            }
        }
    }

    /// Connects a listener; none when it had ended before the checkpoint and only has to put back what it found.
    fn listen(
        &mut self,
        of: NodeId,
        listener: NodeId,
        keys: Arc<[Key]>,
        latch: Option<&Arc<Latch>>,
    ) -> Option<(Post, Inbox)> {
        self.connect(of, listener, keys);
        let inbox = self.inboxes.get_mut(&listener).and_then(Vec::pop)?;
        let ended = has_ended(&self.resume_of(listener));
        let post = self.post(listener, Gather::default(), Scatter::new("", &[]));
        if !ended {
            return Some((post, inbox));
        }
        let (finals, latch) = (self.s.finals.clone(), latch.cloned());
        self.push(listener, move || EndedNode { post, inbox, of, finals, latch }.run());
        None
    }

    /// Whether a later pass, a loop or the caller wants a stage's stream as one value.
    fn wanted_later(&self, id: NodeId) -> bool {
        let plan = self.s.plan;
        let feeds = plan.nodes.iter().flat_map(|n| n.inputs.iter().map(|(_, f)| f));
        let carried = plan.loops.iter().flat_map(|l| l.carry.iter().flat_map(|(_, a, b)| [a, b]));
        feeds.chain(carried).any(|f| matches!(f, Feed::Final { node, .. } if *node == id))
            || plan.results.iter().any(|(_, node, _)| *node == id)
            || plan.passes.iter().any(|p| p.needs.as_ref().is_some_and(|(node, _)| *node == id))
    }

    fn threads(&self) -> usize {
        self.s.run.threads.as_ref().map_or(1, |t| t.current_num_threads())
    }

    /// How many frames a stage's stream has, when its source knows.
    fn extent(&self, id: NodeId) -> Option<u64> {
        let sources = self.graph.sources(id);
        let opened = sources.first().and_then(|s| self.opened.get(s))?;
        self.frames(opened)
    }

    /// How many frames a source has, by its own word or by the scan's.
    fn frames(&self, opened: &Opened) -> Option<u64> {
        let scan = if opened.scan.is_empty() { &self.s.plan.scan } else { &opened.scan };
        opened.frames.or_else(|| (!scan.is_empty()).then(|| scan.iter().map(|(_, n)| n).product()))
    }

    /// Whether what a stage takes counts detector frames.
    fn on_frames(&self, id: NodeId) -> bool {
        let plan = self.s.plan;
        plan.nodes[id].from.iter().all(|stream| match stream {
            Stream::Live(from) => {
                use crate::registry::Role;
                let opens = plan.nodes[*from].opens.is_some()
                    || matches!(plan.nodes[*from].role(), Some(Role::Reduce | Role::Fit | Role::Task));
                !opens && self.on_frames(*from)
            }
            Stream::Kept(_) => false,
        })
    }

    /// Starts all threads and watches them to the end.
    fn watch(mut self, events: &Receiver<Event>) -> Result<PassEnd> {
        let mut stages: Vec<Watched> = vec![];
        for &id in self.graph.nodes {
            let expected = self.extent(id).filter(|_| self.on_frames(id));
            stages.push(Watched {
                node: id,
                meter: self.meters[&id].clone(),
                expected,
                queue: self.queues.get(&id).cloned(),
            });
        }
        let mut end = PassEnd {
            stages,
            detached: vec![],
            content: std::mem::take(&mut self.early_content),
            latched: vec![],
            failure: None,
            cut_short: false,
        };
        let mut alive = 0;
        let mut expected: Vec<NodeId> = vec![];
        for (id, detach, work) in std::mem::take(&mut self.work) {
            let control = self.control.clone();
            let behind = self.flags_behind(id);
            let hold = self.holds.remove(&id);
            let name = format!("isard {}", self.names[&id]);
            let thread = std::thread::Builder::new().name(name.chars().take(15).collect()).spawn(move || {
                let result = crate::stage::guard("its thread", work);
                match result {
                    Ok(state) => control.tell(Event::Ended(id, state)),
                    // An edge broke: whoever broke it has the error to tell, or a branch that may end has ended.
                    Err(error) if error.blame() == Blame::Cancelled => control.tell(Event::Broken(id)),
                    Err(error) if detach && !control.cancelled() => {
                        behind.iter().for_each(|flag| flag.store(true, Ordering::Release));
                        control.tell(Event::Detached(id, error));
                    }
                    Err(error) => control.fail(error),
                }
                // Only now may senders find this stage gone: the flags say whether by its own choice.
                drop(hold);
                control.tell(Event::Gone(id));
            });
            thread.map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread: {e}")))?;
            alive += 1;
            expected.push(id);
        }
        // The threads own the rest; what the builder still holds would keep edges open.
        self.outlets.clear();
        self.inboxes.clear();
        let mut saved: BTreeMap<u64, HashMap<NodeId, Dict>> = BTreeMap::new();
        let mut ended: HashMap<NodeId, Dict> = HashMap::new();
        let options = &self.s.plan.run;
        let (mut marked, mut watched) = (Instant::now(), Instant::now());
        let mut giving_up: Option<Instant> = None;
        let mut broken: Vec<NodeId> = vec![];
        let mut left_behind: Vec<NodeId> = vec![];
        let mut grace = GRACE;
        while alive > 0 {
            match events.recv_timeout(Duration::from_millis(20)) {
                Ok(Event::Saved(id, mark, state)) => {
                    saved.entry(mark).or_default().insert(id, state);
                }
                Ok(Event::Ended(id, state)) => {
                    if let Some(digest) = state.get("content").and_then(Value::text) {
                        end.content.insert(self.owner(id), digest.to_owned());
                    }
                    // What a stop cut short has not ended: it goes on from a mark, or begins again.
                    if !self.is_short(id, &self.control.were_cut_short()) {
                        ended.insert(id, state.with("ended", true));
                    }
                }
                Ok(Event::Detached(id, error)) => {
                    tracing::error!(stage = %self.names[&id], %error, "A branch has ended; the run goes on.");
                    end.detached.push((id, error));
                }
                Ok(Event::Broken(id)) => broken.push(id),
                Ok(Event::Gone(id)) if !left_behind.contains(&id) => alive -= 1,
                Ok(Event::Gone(_)) => (),
                Err(_) => (),
            }
            let detached = |id: &NodeId| self.meters[id].detached.load(Ordering::Relaxed);
            let complete = saved.iter().rev().find(|(_, states)| {
                expected.iter().all(|id| states.contains_key(id) || ended.contains_key(id) || detached(id))
            });
            if let Some((&mark, states)) = complete {
                let mut stages = Dict::new();
                for id in &expected {
                    if let Some(state) = states.get(id).or_else(|| ended.get(id)) {
                        stages.set(self.names[id].clone(), state.clone());
                    }
                }
                if let Err(error) = (self.s.save)(mark, stages) {
                    self.control.fail(error);
                }
                saved = saved.split_off(&(mark + 1));
                marked = Instant::now();
            }
            let due = options.checkpoint_s > 0.0 && marked.elapsed().as_secs_f64() >= options.checkpoint_s;
            if due && saved.is_empty() {
                self.control.ask_mark(self.control.mark());
                marked = Instant::now();
            }
            if watched.elapsed() >= Duration::from_millis(100) {
                watched = Instant::now();
                (self.s.watch)(&end.stages);
                for (id, error) in self.hanging(options.hang_s) {
                    let work = self.worker(id);
                    if self.control.cancelled() || left_behind.contains(&work) {
                        continue;
                    }
                    if work < self.s.plan.nodes.len() && self.graph.detachable(work) {
                        // Its thread is left behind with all it holds; nobody waits for it any more.
                        self.flags_behind(work).iter().for_each(|f| f.store(true, Ordering::Release));
                        tracing::error!(stage = %self.names[&id], %error, "A branch hangs and is given up.");
                        end.detached.push((id, error));
                        left_behind.push(work);
                        alive -= 1;
                    } else {
                        self.control.fail(error);
                        grace = GRACE / 4;
                    }
                }
            }
            if self.control.cancelled() {
                let since = *giving_up.get_or_insert_with(Instant::now);
                // A stage that does not come back is left behind: the process is about to end.
                if since.elapsed() > grace
                    && self.meters.values().any(|m| m.longest().is_some_and(|c| c.since.elapsed() > grace))
                {
                    break;
                }
            }
        }
        (self.s.watch)(&end.stages);
        end.failure = self.control.failure();
        end.cut_short = self.control.was_cut_short();
        let alone = broken.iter().any(|id| !self.meters[id].detached.load(Ordering::Relaxed));
        if end.failure.is_none() && alone {
            end.failure = Some(Error::cancelled());
        }
        for (node, port, changes) in &self.changes {
            let changes = changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            end.latched.push((*node, port.clone(), changes));
        }
        Ok(end)
    }

    /// The stages that have not come back for too long, with the error for it.
    fn hanging(&self, limit: f64) -> Vec<(NodeId, Error)> {
        let mut found = vec![];
        for (id, meter) in &self.meters {
            let Some(call) = meter.longest() else { continue };
            if call.since.elapsed().as_secs_f64() > limit {
                let place = if call.span.len > 0 { format!(" on {}", call.span) } else { String::new() };
                let error = Error::plugin(format!(
                    "stage `{}` hangs: `{}`{place} has not come back for {limit} s",
                    meter.name, call.what
                ));
                found.push((*id, error.help("raise `run.hang_s` if it needs that long, or run it isolated")));
            }
        }
        found
    }

    /// Whether a stage or listener ended because a stream that it needs was cut short.
    fn is_short(&self, id: NodeId, cut: &[NodeId]) -> bool {
        let plan = self.s.plan;
        if cut.is_empty() || cut.contains(&id) {
            return !cut.is_empty();
        }
        if id >= plan.nodes.len() {
            return self.helpers.iter().any(|(listener, of)| *listener == id && self.is_short(*of, cut));
        }
        let node = &plan.nodes[id];
        let streams =
            node.from.iter().filter_map(|s| if let Stream::Live(from) = s { Some(*from) } else { None });
        let finals = node.inputs.iter().filter_map(|(_, f)| match f {
            Feed::Final { node, .. } if self.graph.nodes.contains(node) && *node != id => Some(*node),
            _ => None,
        });
        self.helpers.iter().any(|(player, of)| *of == id && cut.contains(player))
            || streams.chain(finals).any(|from| self.is_short(from, cut))
    }

    /// The stage whose thread does the work of a stage: the last of its chain.
    fn worker(&self, id: NodeId) -> NodeId {
        let next = self.graph.consumers(id).iter().find(|c| self.graph.fuses(**c) == Some(id));
        next.map_or(id, |next| self.worker(*next))
    }

    /// The flags that say of a stage and all behind it that their branch has ended.
    ///
    /// The maps of a chain share one thread: those before the last end with it.
    fn flags_behind(&self, id: NodeId) -> Vec<Arc<AtomicBool>> {
        if id >= self.s.plan.nodes.len() {
            return vec![];
        }
        let mut head = id;
        while let Some(before) = self.graph.fuses(head) {
            head = before;
        }
        let stages = self.graph.downstream(head);
        let listeners =
            self.helpers.iter().filter(|(_, of)| stages.contains(of)).map(|(listener, _)| *listener);
        let all = stages.iter().copied().chain(listeners);
        all.filter_map(|n| self.meters.get(&n)).map(|m| m.detached.clone()).collect()
    }

    /// The stage that a listener listens to; a stage itself otherwise.
    fn owner(&self, id: NodeId) -> NodeId {
        let name = &self.names[&id];
        match name.strip_prefix("final.") {
            Some(stage) if id >= self.s.plan.nodes.len() => {
                self.s.plan.nodes.iter().position(|n| n.name == stage).unwrap_or(id)
            }
            _ => id,
        }
    }
}

/// Puts what is known into the placeholders of paths.
fn fill_placeholders(set: &mut serde_json::Value, step: &Step, run: &str) {
    match set {
        serde_json::Value::String(text) if text.contains('{') => {
            let turn = step.turn.map_or_else(|| "0".into(), |(_, turn)| turn.to_string());
            *text = text.replace("{pass}", &step.name).replace("{turn}", &turn).replace("{run}", run);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(|v| fill_placeholders(v, step, run)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|v| fill_placeholders(v, step, run)),
        _ => (),
    }
}
