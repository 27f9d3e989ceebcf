//! From a built stage to its thread.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::plan::{Feed, NodeId, RunOptions, Stream, What};
use crate::registry::Declaration;
use crate::run::edge::{Inbox, Item};
use crate::run::index::{INDEX, Index};
use crate::run::node::{
    CaptureNode, Chain, EndedNode, FitNode, FoldNode, JoinNode, KeepNode, KeepTree, LatchNode, LateTask,
    Link, MergeNode, Pace, Post, ReduceNode, SourceNode, TaskNode, WriterNode, has_ended,
};
use crate::run::per::{self, Axes, Per, SCAN};
use crate::run::recorder::Recorder;
use crate::run::scope::{Given, upstream};
use crate::run::wire::{Gather, Latch, Scatter, full_key};
use crate::stage::{Built, Lag, Opened};
use crate::value::{Key, Value};

use super::Builder;
use super::units::Measured;

impl Builder<'_, '_> {
    /// Makes the thread of a stage, and of the engine's listeners behind it.
    pub(super) fn node(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
        let fused_into_next = self.graph.consumers(id).iter().any(|c| self.graph.fuses(*c) == Some(id));
        if self.is_gone(id) {
            return self.leave(id, built);
        }
        if !fused_into_next {
            self.listeners(id);
        }
        let plan = self.s.plan;
        if let Some(Given::Stream(kept)) = self.s.scope.given.get(&id) {
            if !self.is_task(id) {
                self.play(id, Some(kept.clone()), None);
            }
            return Ok(());
        }
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
            let part = self.range(id);
            if !self.s.scope.accounts.contains_key(&id) {
                self.meters[&id].book(|l| (l.expected, l.part) = (frames, part));
            }
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
                let own = self.ranges.get(&id).cloned();
                let first = own.as_ref().map_or(0, |own| own.start);
                let next = post.resume.as_ref().and_then(|s| s.get("next")).and_then(Value::number);
                let from = next.map_or(first, |n| n as u64);
                let chunk = plan.run.chunk_of(opened.shapes.bytes());
                let options = RunOptions { chunk: Some(chunk), ..plan.run.clone() };
                let scan = if opened.scan.is_empty() { plan.scan.clone() } else { opened.scan.clone() };
                let behind = self.graph.behind(id);
                let scan_keys = behind.iter().filter(|k| k.as_str().starts_with("scan.")).cloned().collect();
                let frames = self.frames(&opened);
                let summed = self.graph.summed(id);
                let shapes = opened.shapes;
                let pace = node.run.pace.map(Pace::new);
                self.push(id, move || {
                    let node = SourceNode {
                        post,
                        stage,
                        from,
                        frames,
                        own,
                        options,
                        scan,
                        scan_keys,
                        summed,
                        shapes,
                        pace,
                    };
                    node.run()
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
                        tap: if *link == id { None } else { self.tap(*link) },
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
                if let Some(Given::Trees(parts)) = self.s.scope.given.get(&id) {
                    let parts = parts.clone();
                    let post = self.post(id, Gather::default(), scatter);
                    self.push(id, move || MergeNode { post, stage, parts }.run());
                    return Ok(());
                }
                let keep = self.s.scope.part.map(|_| self.keep_tree(id));
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let (options, parallel) = (node.run.clone(), 2 * self.threads());
                let post = self.post(id, gather, scatter);
                self.push(id, move || ReduceNode { post, stage, inbox, options, parallel, keep }.run());
            }
            Built::Fit(stage) => {
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let options = node.run.clone();
                let live = self.graph.sources(id).iter().filter_map(|s| self.opened.get(s)).any(|o| o.live);
                let live = live || self.paced(id);
                let post = self.post(id, gather, scatter);
                self.push(id, move || FitNode { post, stage, inbox, options, live }.run());
            }
            Built::Writer(stage) => {
                let inbox = self.inbox(id, id)?;
                let gather = self.gather(id)?;
                let ((output, committed), retry) = ((self.s.output)(&node.name), plan.run.retry);
                let live = self.graph.sources(id).iter().filter_map(|s| self.opened.get(s)).any(|o| o.live);
                let output = match node.run.record && node.run.read_back.unwrap_or(live) {
                    true => self.s.folder.checked(&node.name),
                    false => output,
                };
                let output = Measured::over(output, plan, id, self.meters[&id].clone());
                let recorder = match node.run.record {
                    true => {
                        let scan = node.run.per.as_ref().map(|_| self.scan(id)).transpose()?;
                        Some(Recorder::new(&self.s.folder, node, &self.s.step.name, frames, scan)?)
                    }
                    false => None,
                };
                let post = self.post(id, gather, scatter);
                let node = WriterNode { post, stage, inbox, output, committed, retry, recorder };
                self.push(id, move || node.run());
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
    pub(super) fn per(&self, id: NodeId, axis: &str, declaration: &Arc<Declaration>) -> Result<Per> {
        let node = &self.s.plan.nodes[id];
        let place = || format!("stage `{}`", node.name);
        let scan = self.scan(id).at(place)?;
        Per::of(node, axis, declaration, self.parameters(id), &scan).at(place)
    }

    /// Whether a stage's stream comes from what is played at a rate.
    fn paced(&self, id: NodeId) -> bool {
        let node = &self.s.plan.nodes[id];
        node.run.pace.is_some()
            || node.from.iter().any(|stream| matches!(stream, Stream::Live(from) if self.paced(*from)))
    }

    /// The axes of the scan that a stage's stream counts by, and how many frames there are, when that is known.
    pub(super) fn scan(&self, id: NodeId) -> Result<(Axes, Option<u64>)> {
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
    pub(super) fn ended(&mut self, id: NodeId, built: &mut HashMap<NodeId, Built>) -> Result<()> {
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

    pub(super) fn join(&mut self, id: NodeId, rule: crate::plan::Join) -> Result<()> {
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
    pub(super) fn listeners(&mut self, id: NodeId) {
        let plan = self.s.plan;
        let node = &plan.nodes[id];
        if self.graph.kept.contains(&id) {
            let name = format!("keep.{}", node.name);
            let keeper = self.helper(name.clone(), id);
            let keys = self.graph.kept_keys(id);
            let index = Index { keys: keys.to_vec(), ..self.index(id) };
            if let Some((post, inbox)) = self.listen(id, keeper, keys, None) {
                let (output, committed) = (self.s.keep)(&name);
                let path = format!("{}/{}", self.s.step.name, node.name);
                let (finals, behind) = (self.s.finals.clone(), self.cutters(id));
                self.push(keeper, move || {
                    KeepNode { post, inbox, of: id, path, output, committed, finals, index, behind }.run()
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

    /// What stands beside the kept stream of a stage, before there is a stream.
    fn index(&self, id: NodeId) -> Index {
        let plan = self.s.plan;
        let sources = upstream(plan, id).into_iter();
        let sources =
            sources.filter_map(|s| Some((plan.nodes[s].name.clone(), self.opened.get(&s)?.clone())));
        Index {
            stage: plan.nodes[id].name.clone(),
            sources: sources.collect(),
            range: self.range(id),
            ..Index::default()
        }
    }

    /// Where a part keeps the unmerged nodes of a reduction.
    fn keep_tree(&self, id: NodeId) -> KeepTree {
        let name = &self.s.plan.nodes[id].name;
        let (output, committed) = (self.s.keep)(&format!("keep.{name}"));
        let path = format!("{}/{name}/{INDEX}", self.s.step.name);
        KeepTree { path, output, committed, index: self.index(id), behind: self.cutters(id) }
    }

    /// The frames of a stage's stream in a part of a run.
    fn range(&self, id: NodeId) -> Option<Range<u64>> {
        self.graph.sources(id).first().and_then(|s| self.ranges.get(s)).cloned()
    }

    /// The sources and players whose stop would cut a stage's stream short.
    fn cutters(&self, id: NodeId) -> Vec<NodeId> {
        let players = self.helpers.iter().map(|(player, _)| *player);
        let all = self.graph.nodes.iter().copied().chain(players);
        all.filter(|n| self.is_short(id, &[*n])).collect()
    }

    /// Connects a listener; none when it had ended before the checkpoint and only has to put back what it found.
    pub(super) fn listen(
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
    pub(super) fn wanted_later(&self, id: NodeId) -> bool {
        let plan = self.s.plan;
        let feeds = plan.nodes.iter().flat_map(|n| n.inputs.iter().map(|(_, f)| f));
        let carried = plan.loops.iter().flat_map(|l| l.carry.iter().flat_map(|(_, a, b)| [a, b]));
        feeds.chain(carried).any(|f| matches!(f, Feed::Final { node, .. } if *node == id))
            || plan.results.iter().any(|(_, node, _)| *node == id)
            || plan.passes.iter().any(|p| p.needs.as_ref().is_some_and(|(node, _)| *node == id))
    }

    pub(super) fn threads(&self) -> usize {
        self.s.run.threads.as_ref().map_or(1, |t| t.current_num_threads())
    }

    /// How many frames a stage's stream has, when its source knows.
    pub(super) fn extent(&self, id: NodeId) -> Option<u64> {
        let sources = self.graph.sources(id);
        let opened = sources.first().and_then(|s| self.opened.get(s))?;
        self.frames(opened)
    }

    /// How many frames a source has, by its own word or by the scan's.
    pub(super) fn frames(&self, opened: &Opened) -> Option<u64> {
        let scan = if opened.scan.is_empty() { &self.s.plan.scan } else { &opened.scan };
        opened.frames.or_else(|| (!scan.is_empty()).then(|| scan.iter().map(|(_, n)| n).product()))
    }

    /// Whether what a stage takes counts detector frames.
    pub(super) fn on_frames(&self, id: NodeId) -> bool {
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
}
