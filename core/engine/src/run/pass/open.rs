//! Building the stages of a pass, opening its sources, running its early tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Blame, Context, Error, Result};
use crate::plan::{Feed, NodeId, Plan, Step, What};
use crate::registry::Role;
use crate::run::control::Meter;
use crate::run::edge::Item;
use crate::run::graph::none;
use crate::run::node::{BLOCK, last_chunk};
use crate::run::per::{self, SCAN};
use crate::run::scope::{Given, KeptAt};
use crate::run::wire::Scatter;
use crate::span::{Chunk, Ranges, SNAPSHOT, Span};
use crate::stage::{Built, Cx, Opened, Position, RunCx, Shape, Turns};
use crate::store::ContentDigest;
use crate::value::{Dict, Key, Value};

use super::edges::FRAME;
use super::{Builder, FileShapes, GRACE, Names};

impl Builder<'_, '_> {
    pub(super) fn build(&mut self) -> Result<()> {
        let (plan, nodes) = (self.s.plan, self.graph.nodes.clone());
        self.s.finals.begin(&nodes);
        for &id in &self.s.plan.passes[self.s.step.pass].nodes {
            let meter = Meter::traced(&self.s.plan.nodes[id].name, self.s.trace.clone());
            if let Some((ledger, records)) = self.s.scope.accounts.get(&id) {
                meter.book(|l| *l = ledger.clone());
                meter.took(*records);
            }
            self.meters.insert(id, meter);
        }
        for (id, opened) in &self.s.scope.opened {
            if self.s.plan.nodes[*id].pass == self.s.step.pass {
                self.put_opened(*id, opened.clone());
            }
        }
        for (node, port) in &self.graph.latched {
            self.latches.insert((*node, port.clone()), Arc::default());
        }
        // Stages in order of dependence: what a source or an early task gives at once is there for those behind it.
        let mut built: HashMap<NodeId, Built> = HashMap::new();
        for &id in &nodes {
            if let What::Stage(declaration) = &self.s.plan.nodes[id].what
                && !self.s.scope.plays(id)
            {
                let set = self.parameters(id);
                let name = &self.s.plan.nodes[id].name;
                built.insert(id, (declaration.build)(set).at(|| format!("stage `{name}`"))?);
            }
        }
        let mut early: BTreeMap<NodeId, Dict> = BTreeMap::new();
        for &id in &nodes {
            if let Some(Given::Stream(kept)) = self.s.scope.given.get(&id)
                && self.is_task(id)
            {
                let output = self.given_task(id, kept)?;
                early.insert(id, output);
                continue;
            }
            match built.get_mut(&id) {
                Some(Built::Source(_)) => {
                    self.open(id, &mut built).at(|| plan.files.locate(plan.nodes[id].at))?
                }
                Some(Built::Task(_))
                    if self.s.plan.nodes[id].from.is_empty() && self.waits(id).is_empty() =>
                {
                    let output = self.run_early(id, &mut built);
                    let output = output.at(|| plan.files.locate(plan.nodes[id].at))?;
                    early.insert(id, output);
                }
                _ => (),
            }
        }
        (self.s.budget)(&self.sized(), &early, &self.file_shapes(&nodes)?)?;
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
    pub(super) fn parameters(&self, id: NodeId) -> serde_json::Value {
        parameters(self.s.plan, id, self.s.step, self.s.names)
    }

    /// The inputs of a stage that do not come with its stream; none for what is not known yet.
    pub(super) fn fixed(&self, id: NodeId) -> Result<Dict> {
        let mut fixed = Dict::new();
        for (port, feed) in &self.s.plan.nodes[id].inputs {
            if let Some(value) = self.feed(feed, self.s.step.turn.map(|(_, turn)| turn))? {
                fixed.set(port.clone(), value);
            }
        }
        Ok(fixed)
    }

    pub(super) fn feed(&self, feed: &Feed, turn: Option<usize>) -> Result<Option<Value>> {
        let plan = self.s.plan;
        Ok(match feed {
            Feed::Stream(_) | Feed::Latched { .. } => None,
            Feed::Head { node, key } => {
                let name = &plan.nodes[*node].name;
                let found = match self.opened.get(node) {
                    Some(opened) => opened.head.need(key.as_str()).cloned(),
                    // The source was opened in an earlier pass, which kept what it said.
                    None => self.s.finals.get(*node, &format!("head.{key}")).ok_or_else(|| {
                        Error::data(format!("no `{key}`")).help("a stage of the pass before may pass it on")
                    }),
                };
                Some(found.at(|| format!("head of `{name}`"))?)
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
                // Read once for its shape and once taken, unless several stages want it: a stack may be large.
                if let Some(value) = self.read.borrow_mut().remove(path) {
                    return Ok(Some(value));
                }
                Some(Cx::new(&self.s.run, "input").read(path)?)
            }
        })
    }

    /// Reads the files that inputs name, and says what shapes they hold.
    fn file_shapes(&self, nodes: &[NodeId]) -> Result<FileShapes> {
        let mut shapes = FileShapes::new();
        // Sources are open by now, and tasks of constants have run.
        let done = |id: &NodeId| self.s.plan.nodes[*id].role() == Some(Role::Source) || self.is_task(*id);
        for id in nodes.iter().filter(|id| !self.s.scope.plays(**id) && !done(id)) {
            for (_, feed) in &self.s.plan.nodes[*id].inputs {
                if let Feed::File(path) = feed
                    && let Some(value) = self.feed(feed, None).at(|| self.s.plan.place(*id))?
                {
                    shapes.insert(path.clone(), Shape::of(&value));
                    self.read.borrow_mut().insert(path.clone(), value);
                }
            }
        }
        Ok(shapes)
    }

    pub(super) fn open(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
        let input = self.fixed(id)?;
        let state = self.resume_of(id);
        let next = state.as_ref().and_then(|s| s.get("next")).and_then(Value::number).unwrap_or(0.0) as u64;
        let Some(Built::Source(mut source)) = built.remove(&id) else { return Ok(()) };
        let (again, part) = (input.clone(), self.s.scope.part);
        let (mut source, mut opened) = self.apart(id, "open", move |cx| {
            let opened = source.open(cx, input, Position { next })?;
            Ok((source, opened))
        })?;
        // Played at a rate, files are a detector: their frames come at their own pace.
        opened.live |= self.s.plan.nodes[id].run.pace.is_some();
        if let Some(part) = part {
            let frames = self.frames(&opened).ok_or_else(|| self.unknown(id))?;
            let own = part.frames(frames, BLOCK);
            // Only now is it known where the part begins; a source that has been opened once may not like it twice.
            if next < own.start
                && let What::Stage(declaration) = &self.s.plan.nodes[id].what
                && let Built::Source(mut fresh) = (declaration.build)(self.parameters(id))?
            {
                let from = Position { next: own.start };
                source = self.apart(id, "open", move |cx| {
                    fresh.open(cx, again, from)?;
                    Ok(fresh)
                })?;
            }
            self.ranges.insert(id, own);
        }
        built.insert(id, Built::Source(source));
        self.put_opened(id, opened);
        Ok(())
    }

    /// The sources as the budget sees them: a part is weighed by its own frames, and keeps about what the stages that
    /// it leaves out would write.
    fn sized(&self) -> BTreeMap<NodeId, Opened> {
        let mut sized = self.opened.clone();
        for (id, own) in &self.ranges {
            if let Some(opened) = sized.get_mut(id) {
                opened.frames = Some(own.end - own.start);
            }
        }
        sized
    }

    fn unknown(&self, id: NodeId) -> Error {
        let name = &self.s.plan.nodes[id].name;
        Error::recipe(format!(
            "source `{name}` does not say how many frames it has: they cannot be cut into parts"
        ))
        .help("say it by `[scan] axes`, or run the recipe in one go")
    }

    /// What a task gave elsewhere: it has run already, whatever it waits for here.
    fn given_task(&mut self, id: NodeId, kept: &[KeptAt]) -> Result<Dict> {
        let name = &self.s.plan.nodes[id].name;
        let chunk = last_chunk(&*self.s.files, kept)?;
        let chunk = chunk.ok_or_else(|| Error::data(format!("nothing was kept of `{name}`")))?;
        let mut output = Dict::new();
        for (key, value) in chunk.data.iter() {
            let port = key.as_str().strip_prefix(name.as_str()).and_then(|k| k.strip_prefix('.'));
            if let Some(port) = port {
                output.set(Key::from(port.to_owned()), value.unlead(0)?);
            }
        }
        for (port, value) in output.iter() {
            self.s.finals.set(id, port.clone(), value.clone());
        }
        self.s.finals.end(id);
        Ok(output)
    }

    /// Whether a stage is a task without a stream.
    pub(super) fn is_task(&self, id: NodeId) -> bool {
        let node = &self.s.plan.nodes[id];
        node.from.is_empty() && node.role() == Some(Role::Task)
    }

    /// Books what a source said when it was opened, here or elsewhere.
    fn put_opened(&mut self, id: NodeId, opened: Opened) {
        // A later pass may read the head of a source that it does not open itself.
        for (key, value) in opened.head.iter() {
            self.s.finals.set(id, Key::from(format!("head.{key}")), value.clone());
        }
        if !opened.scan.is_empty() {
            // A later pass that plays a stream of it again counts by the same axes.
            self.s.finals.set(id, Key::Static(SCAN), per::keep_axes(&opened.scan));
        }
        // So do the queues behind it.
        self.s.finals.set(id, Key::Static(FRAME), Value::Int(opened.shapes.bytes() as i64));
        self.opened.insert(id, opened);
    }

    pub(super) fn run_early(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<Dict> {
        let input = self.fixed(id)?;
        let Some(Built::Task(mut task)) = built.remove(&id) else { return Ok(Dict::new()) };
        let (task, output) = self.apart(id, "run", move |cx| {
            let output = task.run(cx, input)?;
            Ok((task, output))
        })?;
        built.insert(id, Built::Task(task));
        // Checked before anybody reads it.
        if let What::Stage(declaration) = &self.s.plan.nodes[id].what {
            Scatter::new(&self.s.plan.nodes[id].name, &declaration.outputs).check(None, &output)?;
        }
        for (port, value) in output.iter() {
            self.s.finals.set(id, port.clone(), value.clone());
        }
        self.s.finals.end(id);
        Ok(output)
    }

    /// Runs one operation before the pass begins, on a thread that can be left behind when it hangs.
    pub(super) fn apart<T: Send + 'static>(
        &self,
        id: NodeId,
        what: &'static str,
        work: impl FnOnce(&Cx) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tx, rx) = crossbeam_channel::bounded(1);
        let meter = self.meters[&id].clone();
        // A source that waits for its first frame has nothing on its way: to stop it is to cancel it.
        let ends = Arc::new(AtomicBool::new(false));
        let run = RunCx { cancel: ends.clone(), ..(*self.s.run).clone() };
        let mut turns = Turns::new();
        let thread = std::thread::Builder::new().name(format!("isard {what}")).spawn(move || {
            let result = meter.call(what, &none(), || work(&Cx::watched(&run, &meter.name, &meter.beat)));
            // Nobody listens any more when this took too long.
            let _ = tx.send(result);
        });
        thread.map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread: {e}")))?;
        let mut since: Option<Instant> = None;
        loop {
            if let Ok(result) = rx.recv_timeout(Duration::from_millis(20)) {
                return result;
            }
            if let Some((_, error)) = self.hanging(self.s.plan.run.hang_s, &mut turns).into_iter().next() {
                self.control.fail(error.clone());
                return Err(error);
            }
            let stopped = what == "open" && self.s.stop.load(Ordering::Relaxed);
            if !stopped && !self.control.cancelled() {
                continue;
            }
            ends.store(true, Ordering::Release);
            if since.get_or_insert_with(Instant::now).elapsed() > GRACE {
                return Err(Error::cancelled());
            }
        }
    }

    /// What a task without a stream waits for: stages of its own pass that end only when their streams do.
    pub(super) fn waits(&self, id: NodeId) -> Vec<(Key, NodeId, Key)> {
        let inputs = self.s.plan.nodes[id].inputs.iter().filter(|_| !self.s.scope.plays(id));
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
    pub(super) fn emit_early(&mut self, id: NodeId, output: Dict) -> Result<()> {
        let What::Stage(declaration) = &self.s.plan.nodes[id].what else { return Ok(()) };
        let data = Scatter::new(&self.s.plan.nodes[id].name, &declaration.outputs).lead(0, output)?;
        let span = Span { axis: SNAPSHOT, start: 0, len: 1 };
        let covers = Some(Arc::new(Ranges::default()));
        let chunk = Chunk { span, data, covers, last: true };
        let mut digest = ContentDigest::default();
        digest.add(&chunk)?;
        self.early_content.insert(id, digest.finish());
        if let Some(tap) = self.tap(id) {
            tap.put(&chunk);
        }
        let Some(mut outlet) = self.outlets.remove(&id) else { return Ok(()) };
        // A queue holds at least two items: nothing blocks here before the threads run.
        outlet.send(Item::Chunk(chunk))?;
        outlet.send(Item::End)
    }
}

/// The parameters of a stage in a step: those of the turn, placeholders filled in.
pub fn parameters(plan: &Plan, id: NodeId, step: &Step, names: &Names) -> serde_json::Value {
    let mut set = plan.nodes[id].set.clone();
    if let Some((which, turn)) = step.turn {
        for (node, parameter, values) in &plan.loops[which].vary {
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
    names.fill(&mut set, step);
    set
}
