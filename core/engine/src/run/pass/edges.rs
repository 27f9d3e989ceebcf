//! The edges of a pass and what every thread is given.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::plan::{Feed, NodeId, Overflow, Stream, What};
use crate::run::control::Meter;
use crate::run::edge::{Edge, Inbox, Outlet, edge};
use crate::run::node::{KEPT, Pace, Post, ReplayNode};
use crate::run::scope::KeptAt;
use crate::run::spill::Spill;
use crate::run::view::Tap;
use crate::run::wire::{Changes, Gather, Latched, Scatter};
use crate::value::{Dict, Key, Value};

use super::Builder;

/// Under this name the final values of a source say how many bytes a frame has; no port can be called so.
pub(super) const FRAME: &str = "bytes of a frame";

impl Builder<'_, '_> {
    /// Makes all edges, recorders first.
    pub(super) fn wire(&mut self, nodes: &[NodeId]) {
        let plan = self.s.plan;
        let mut order = nodes.to_vec();
        order.sort_by_key(|id| !plan.nodes[*id].run.record);
        order.retain(|id| self.s.scope.reads(*id));
        for id in order {
            for stream in &plan.nodes[id].from {
                match stream {
                    Stream::Live(_) if self.graph.fuses(id).is_some() => (),
                    Stream::Live(from) => self.connect(*from, id, self.graph.carried(*from, id)),
                    Stream::Kept(from) => {
                        let player = self
                            .helper(format!("play.{}.{}", plan.nodes[*from].name, plan.nodes[id].name), id);
                        self.connect(player, id, self.graph.needs(id));
                        let kept = self.s.finals.get(*from, KEPT).map(|kept| vec![self.kept_at(&kept)]);
                        self.play(player, kept, plan.nodes[id].run.pace.map(Pace::new));
                    }
                }
            }
        }
    }

    /// Where this run keeps a stream, as its keeper left word of it.
    fn kept_at(&self, kept: &Value) -> KeptAt {
        let entry = |key: &str| match kept {
            Value::Dict(kept) => kept.get(key).cloned().unwrap_or_default(),
            _ => Value::None,
        };
        let folder = self.s.streams.join(entry("path").text().unwrap_or_default());
        KeptAt { folder, files: entry("files").number().unwrap_or(0.0) as u64 }
    }

    /// A thread that plays a kept stream, at a rate when its reader says one.
    pub(super) fn play(&mut self, player: NodeId, kept: Option<Vec<KeptAt>>, pace: Option<Pace>) {
        let files = self.s.files.clone();
        self.players.push(player);
        let post = self.post(player, Gather::default(), Scatter::new("", &[]));
        let latency = Duration::from_millis(self.s.plan.run.latency_ms);
        self.push(player, move || ReplayNode { post, files, kept, pace, latency }.run());
    }

    pub(super) fn connect(&mut self, from: NodeId, to: NodeId, keep: Arc<[Key]>) {
        let plan = self.s.plan;
        let options = plan.nodes.get(to).map(|n| n.run.clone()).unwrap_or_default();
        let queue = options.queue.unwrap_or_else(|| self.queue_for(from, to));
        let detached = self.meters[&to].detached.clone();
        let spill = (options.overflow == Overflow::Replay).then(|| {
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
        let recorder = plan.nodes.get(to).is_some_and(|n| n.run.record);
        self.outlets.entry(from).or_default().add(tx.for_recorder(recorder));
        self.inboxes.entry(to).or_default().push(rx);
    }

    /// Chunks in a queue that the recipe says nothing about.
    fn queue_for(&self, from: NodeId, to: NodeId) -> usize {
        let plan = self.s.plan;
        // A player is no stage: what it plays is what its reader's stream begins with.
        let origins = plan.origins(if from < plan.nodes.len() { from } else { to });
        let frame = origins.iter().map(|source| self.frame_bytes(*source)).sum();
        let live = self.opened.get(&from).is_some_and(|o| o.live);
        let (paced, overflow) = match plan.nodes.get(to) {
            Some(node) => (node.run.pace.is_some(), node.run.overflow),
            None => (false, Overflow::Block),
        };
        plan.run.queue_of(frame, live || paced, overflow) as usize
    }

    /// Bytes of a frame of a source, opened in this pass or in an earlier one.
    fn frame_bytes(&self, source: NodeId) -> usize {
        match self.opened.get(&source) {
            Some(opened) => opened.shapes.bytes(),
            None => self.s.finals.get(source, FRAME).and_then(|v| v.number()).unwrap_or(0.0) as usize,
        }
    }

    /// A listener of the engine's own to a stage; its number comes after those of the plan.
    pub(super) fn helper(&mut self, name: String, of: NodeId) -> NodeId {
        let id = self.next_id;
        self.next_id += 1;
        self.meters.insert(id, Meter::new(&name));
        self.names.insert(id, name);
        self.helpers.push((id, of));
        id
    }

    pub(super) fn resume_of(&self, id: NodeId) -> Option<Dict> {
        match self.s.resume.as_ref()?.get(&self.names[&id])? {
            Value::Dict(state) => Some(state.clone()),
            _ => None,
        }
    }

    /// Where a viewer looks at a stage; the engine's own listeners give nothing of theirs.
    pub(super) fn tap(&self, id: NodeId) -> Option<Arc<Tap>> {
        let node = self.s.plan.nodes.get(id)?;
        self.s.taps.as_ref()?.tap(&node.name)
    }

    pub(super) fn post(&mut self, id: NodeId, gather: Gather, scatter: Scatter) -> Post {
        Post {
            id,
            control: self.control.clone(),
            run: self.s.run.clone(),
            meter: self.meters[&id].clone(),
            gather,
            scatter,
            outlet: Outlet::with_tap(self.outlets.remove(&id), self.tap(id)),
            resume: self.resume_of(id),
        }
    }

    pub(super) fn push(&mut self, id: NodeId, work: impl FnOnce() -> Result<Dict> + Send + 'static) {
        let detach = id < self.s.plan.nodes.len() && self.graph.detachable(id);
        self.work.push((id, detach, Box::new(work)));
    }

    pub(super) fn gather(&mut self, id: NodeId) -> Result<Gather> {
        let node = &self.s.plan.nodes[id];
        let mut gather = Gather { fixed: self.fixed(id)?, ..Gather::default() };
        if let What::Stage(declaration) = &node.what {
            let optional = declaration.inputs.iter().filter(|p| p.optional);
            gather.optional = optional.map(|p| Key::from(p.name.clone())).collect();
        }
        for (port, feed) in &node.inputs {
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
    pub(super) fn inbox(&mut self, id: NodeId, owner: NodeId) -> Result<Inbox> {
        let inbox = self.inboxes.get_mut(&id).and_then(Vec::pop);
        let inbox =
            inbox.ok_or_else(|| Error::internal(format!("stage `{}` has no stream", self.names[&id])))?;
        self.holds.entry(owner).or_default().push(inbox.receiver().clone());
        Ok(inbox)
    }
}
