//! Starting the threads of a pass and watching them to the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::error::{Blame, Error, Result};
use crate::plan::{Feed, NodeId, Stream};
use crate::registry::Role;
use crate::run::control::Event;
use crate::run::scope::Given;
use crate::stage::Turns;
use crate::value::Value;

use super::marks::Marks;
use super::{Builder, GRACE, PassEnd, Watched};

/// Seconds that an isolated stage is given beyond `run.hang_s` before it is taken for hanging all the same.
const ISOLATED_S: f64 = 5.0;

impl Builder<'_, '_> {
    /// Starts all threads and watches them to the end.
    pub(super) fn watch(mut self, events: &Receiver<Event>) -> Result<PassEnd> {
        let mut stages: Vec<Watched> = vec![];
        let there = |id: &&NodeId| self.graph.nodes.contains(id) || self.s.scope.accounts.contains_key(id);
        for &id in self.s.plan.passes[self.s.step.pass].nodes.iter().filter(there) {
            let expected = self.extent(id).filter(|_| self.on_frames(id));
            stages.push(Watched {
                node: id,
                meter: self.meters[&id].clone(),
                expected,
                queue: self.queues.get(&id).cloned(),
                live: self.graph.sources(id).iter().filter_map(|s| self.opened.get(s)).any(|o| o.live),
            });
        }
        let mut end = PassEnd {
            stages,
            detached: std::mem::take(&mut self.gone_before),
            content: std::mem::take(&mut self.early_content),
            latched: vec![],
            failure: None,
            cut_short: false,
            live: self.opened.values().any(|o| o.live),
            delays: BTreeMap::new(),
            scans: self.scans(),
        };
        let steering = self.steering();
        let mut turns = Turns::new();
        let mut alive = 0;
        let mut expected: Vec<NodeId> = vec![];
        for (id, detach, work) in std::mem::take(&mut self.work) {
            let (control, meter) = (self.control.clone(), self.meters[&id].clone());
            let behind = self.flags_behind(id);
            let hold = self.holds.remove(&id);
            let name = format!("isard {}", self.names[&id]);
            let thread = std::thread::Builder::new().name(name.chars().take(15).collect()).spawn(move || {
                let result = crate::stage::guard("its thread", work);
                match result {
                    Ok(state) => {
                        meter.end();
                        control.tell(Event::Ended(id, state));
                    }
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
        let mut marks = Marks::default();
        let options = &self.s.plan.run;
        let (mut marked, mut watched) = (Instant::now(), Instant::now());
        let mut giving_up: Option<Instant> = None;
        let mut broken: Vec<NodeId> = vec![];
        let mut left_behind: Vec<NodeId> = vec![];
        let mut gone: Vec<NodeId> = vec![];
        let mut grace = GRACE;
        while alive > 0 {
            match events.recv_timeout(Duration::from_millis(20)) {
                Ok(Event::Saved(id, mark, state)) => marks.passed(id, mark, state),
                Ok(Event::Ended(id, state)) => {
                    if let Some(digest) = state.get("content").and_then(Value::text) {
                        end.content.insert(self.owner(id), digest.to_owned());
                    }
                    // What a stop cut short has not ended: it goes on from a mark, or begins again.
                    if !self.is_short(id, &self.control.were_cut_short()) {
                        marks.ended(id, state.with("ended", true));
                    }
                }
                Ok(Event::Detached(id, error)) => {
                    tracing::error!(stage = %self.names[&id], %error, "A branch has ended; the run goes on.");
                    end.detached.push((id, error));
                }
                Ok(Event::Broken(id)) => broken.push(id),
                Ok(Event::Gone(id)) => {
                    alive -= usize::from(!left_behind.contains(&id));
                    gone.push(id);
                    if expected.iter().all(|id| gone.contains(id) || steering.contains(id)) {
                        let release = |id: &NodeId| self.meters[id].released.store(true, Ordering::Relaxed);
                        steering.iter().for_each(release);
                    }
                }
                Err(_) => (),
            }
            let detached = |id: &NodeId| self.meters[id].detached.load(Ordering::Relaxed);
            let complete = marks.complete(&expected, detached);
            // A branch that has just ended tells why in a moment.
            let told = || {
                expected.iter().filter(|id| detached(id)).all(|id| self.cause(*id, &end.detached).is_some())
            };
            if let Some(mark) = complete.filter(|_| told()) {
                let mut stages = self.gone();
                for id in &expected {
                    let state = match self.cause(*id, &end.detached) {
                        Some((cause, error)) if self.lacks(*cause, &expected, |id| marks.state(mark, id)) => {
                            let error = if cause == id { error.to_string() } else { String::new() };
                            Some(self.given_up(*id, &error))
                        }
                        _ => marks.state(mark, *id).cloned(),
                    };
                    if let Some(state) = state {
                        stages.set(self.names[id].clone(), state);
                    }
                }
                if let Err(error) = (self.s.save)(mark, stages) {
                    self.control.fail(error);
                }
                marks.settle(mark);
                marked = Instant::now();
            }
            let due = options.checkpoint_s > 0.0 && marked.elapsed().as_secs_f64() >= options.checkpoint_s;
            if due && marks.are_settled() {
                self.control.ask_mark(self.control.mark());
                marked = Instant::now();
            }
            if watched.elapsed() >= Duration::from_millis(100) {
                watched = Instant::now();
                (self.s.watch)(&end.stages);
                for (id, error) in self.hanging(options.hang_s, &mut turns) {
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
        end.delays = self.delays();
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

    /// Seconds from the last frame until each writer had written everything.
    fn delays(&self) -> BTreeMap<NodeId, f64> {
        let begins = self.opened.keys().chain(&self.players);
        let Some(last) = begins.filter_map(|id| self.meters[id].last()).max() else { return BTreeMap::new() };
        let nodes = self.s.plan.nodes.iter().enumerate();
        let writers = nodes.filter(|(_, node)| node.role() == Some(Role::Writer));
        let ended = |id: NodeId| self.meters.get(&id)?.ended().map(|e| e.saturating_duration_since(last));
        writers.filter_map(|(id, _)| Some((id, ended(id)?.as_secs_f64()))).collect()
    }

    /// The scan axes of the sources, where they have any.
    fn scans(&self) -> Vec<(NodeId, Vec<(String, u64)>)> {
        let axes = |(id, opened): (&NodeId, &crate::stage::Opened)| {
            let scan = if opened.scan.is_empty() { &self.s.plan.scan } else { &opened.scan };
            (!scan.is_empty()).then(|| (*id, scan.clone()))
        };
        self.opened.iter().filter_map(axes).collect()
    }

    /// Sources that nobody reads as a stream, and their listeners: they steer others, and end with them.
    fn steering(&self) -> Vec<NodeId> {
        let steers = |id: &NodeId| {
            self.graph.consumers(*id).is_empty()
                && self.opened.contains_key(id)
                && self.graph.latched.iter().any(|(node, _)| node == id)
        };
        let sources: Vec<NodeId> = self.graph.nodes.iter().copied().filter(steers).collect();
        let listeners =
            self.helpers.iter().filter(|(_, of)| sources.contains(of)).map(|(listener, _)| *listener);
        let listeners: Vec<NodeId> = listeners.collect();
        sources.into_iter().chain(listeners).collect()
    }

    /// The stages that have not come back for too long, with the error for it; ends a turn of whoever watches.
    pub(super) fn hanging(&self, limit: f64, turns: &mut Turns) -> Vec<(NodeId, Error)> {
        let calls = self.meters.iter().filter_map(|(id, meter)| {
            let call = meter.longest()?;
            let still = meter.beat.still(call.since);
            Some((id, meter, call, still))
        });
        let calls: Vec<_> = calls.collect();
        // Only now, so that a stop that those times hold is known.
        let slept = turns.slept();
        let mut found = vec![];
        for (id, meter, call, still) in calls {
            meter.beat.forgive(call.since, slept);
            // A stage in a host process is killed there, and its call comes back with the error.
            let limit = if self.is_isolated(*id) { limit + ISOLATED_S } else { limit };
            if still.saturating_sub(slept).as_secs_f64() > limit {
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

    fn is_isolated(&self, id: NodeId) -> bool {
        self.s.plan.nodes.get(id).is_some_and(|node| node.run.isolate)
    }

    /// Whether a stage or listener ended because a stream that it needs was cut short.
    pub(super) fn is_short(&self, id: NodeId, cut: &[NodeId]) -> bool {
        let plan = self.s.plan;
        if cut.is_empty() || cut.contains(&id) {
            return !cut.is_empty();
        }
        if matches!(self.s.scope.given.get(&id), Some(Given::Trees(_))) {
            return false;
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
    pub(super) fn worker(&self, id: NodeId) -> NodeId {
        let next = self.graph.consumers(id).iter().find(|c| self.graph.fuses(**c) == Some(id));
        next.map_or(id, |next| self.worker(*next))
    }

    /// The flags that say of a stage and all behind it that their branch has ended.
    ///
    /// The maps of a chain share one thread: those before the last end with it.
    pub(super) fn flags_behind(&self, id: NodeId) -> Vec<Arc<AtomicBool>> {
        let branch = self.branch(id);
        branch.iter().filter_map(|n| self.meters.get(n)).map(|m| m.detached.clone()).collect()
    }

    /// A stage and all that end with it; nothing for a listener.
    pub(super) fn branch(&self, id: NodeId) -> Vec<NodeId> {
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
        let listeners: Vec<NodeId> = listeners.collect();
        stages.into_iter().chain(listeners).collect()
    }

    /// The stage that a listener listens to; a stage itself otherwise.
    pub(super) fn owner(&self, id: NodeId) -> NodeId {
        let name = &self.names[&id];
        match name.strip_prefix("final.") {
            Some(stage) if id >= self.s.plan.nodes.len() => {
                self.s.plan.nodes.iter().position(|n| n.name == stage).unwrap_or(id)
            }
            _ => id,
        }
    }
}
