//! Wiring: where each input port gets its value.

use crate::diagnostic::{Diagnostic, Place};
use crate::error::nearest;
use crate::plan::axis::{self, Axis, Flow};
use crate::plan::make::Maker;
use crate::plan::names::Given;
use crate::plan::{Feed, NodeId, Stream, What, port};
use crate::port::Port;
use crate::recipe::Word;
use crate::registry::Role;
use crate::value::Key;

/// Wires every stage, each after those it depends on.
pub(crate) fn all(maker: &mut Maker<'_>, order: &[NodeId]) {
    maker.flows = vec![None; maker.drafts.len()];
    for &id in order {
        let input = axis::read(maker, id);
        if let Some(What::Stage(declaration)) = maker.drafts[id].what.clone() {
            // A stream that is at fault itself has been reported; what would come over it is not known.
            let alone =
                matches!(declaration.role, Role::Source | Role::Task) && maker.drafts[id].from.is_empty();
            let meant = declaration.role == Role::Source || maker.drafts[id].text.from_at.is_none();
            if (alone && meant) || input.is_some() {
                let mut wiring = Wiring { maker: &mut *maker, id, input: input.as_ref() };
                let inputs = wiring.stage(&declaration.inputs);
                maker.drafts[id].inputs = inputs;
                takes(maker, id, input.as_ref());
                per(maker, id, input.as_ref());
            }
        }
        let flow = axis::give(&maker.drafts[id], id, input);
        maker.flows[id] = flow;
    }
}

/// `run.take` chooses among snapshots, so there must be some.
fn takes(maker: &mut Maker<'_>, id: NodeId, input: Option<&Flow>) {
    let text = maker.drafts[id].text;
    if let Some((word, _)) = text.run.entry("take")
        && let Some(flow) = input
        && flow.axis != Axis::Snapshot
    {
        let message = format!("`run.take` does not go with stage `{}`", text.name.text);
        let found = format!("a stream of {}s", flow.axis.word());
        maker.faults.push(
            Diagnostic::error("E0141", message)
                .at(word.at, "")
                .found(found, "a stream of snapshots".to_owned()),
        );
    }
}

/// `run.per` tells the values of an axis by the numbers of frames.
fn per(maker: &mut Maker<'_>, id: NodeId, input: Option<&Flow>) {
    let text = maker.drafts[id].text;
    if let Some((word, _)) = text.run.entry("per")
        && let Some(flow) = input
        && flow.axis != Axis::Frame
    {
        let message = format!("`run.per` does not go with stage `{}`", text.name.text);
        let found = format!("a stream of {}s", flow.axis.word());
        maker.faults.push(
            Diagnostic::error("E0141", message)
                .at(word.at, "")
                .found(found, "a stream of frames".to_owned())
                .help("put `per` on the stage that turns the frames into them"),
        );
    }
}

/// One stage while it is wired.
pub(super) struct Wiring<'m, 'a> {
    pub(super) maker: &'m mut Maker<'a>,
    pub(super) id: NodeId,
    pub(super) input: Option<&'m Flow>,
}

impl Wiring<'_, '_> {
    pub(super) fn name(&self) -> String {
        self.maker.drafts[self.id].name().to_owned()
    }

    pub(super) fn fault(&mut self, fault: Diagnostic) {
        self.maker.faults.push(fault);
    }

    fn stage(&mut self, ports: &[Port]) -> Vec<(Key, Feed)> {
        let given = self.maker.drafts[self.id].given.clone();
        let open = ports.iter().any(|p| p.open);
        let mut inputs = vec![];
        for port in ports.iter().filter(|p| !p.open) {
            let feed = match given.iter().find(|(word, ..)| word.text == port.name) {
                Some((word, at, given)) => self.explicit(word, *at, given, Some(port)),
                None => self.automatic(port),
            };
            inputs.extend(feed.map(|feed| (Key::from(port.name.clone()), feed)));
        }
        let mut named = false;
        for (word, at, one) in &given {
            if ports.iter().any(|p| !p.open && p.name == word.text) {
                continue;
            }
            if !open {
                self.no_port(word, ports);
                continue;
            }
            named = true;
            let feed = self.explicit(word, *at, one, None);
            inputs.extend(feed.map(|feed| (Key::from(word.text.clone()), feed)));
        }
        if open && !named {
            self.rest(ports, &mut inputs);
        }
        inputs
    }

    /// An open port without names takes everything that the stage before gives.
    fn rest(&mut self, ports: &[Port], inputs: &mut Vec<(Key, Feed)>) {
        let Some(flow) = self.input else { return };
        let drafts = &self.maker.drafts;
        let from: Vec<NodeId> = match drafts[self.id].from.as_slice() {
            [Stream::Live(node) | Stream::Kept(node)]
                if matches!(drafts[*node].what, Some(What::Stage(_))) =>
            {
                vec![*node]
            }
            // A join gives nothing of its own: what it brought together is meant.
            _ => flow.stages.clone(),
        };
        for node in from {
            let draft = &drafts[node];
            for port in draft.declaration().into_iter().flat_map(|d| &d.outputs) {
                let full = format!("{}.{}", draft.name(), port.name);
                if port.open {
                    let feed = Feed::Stream(format!("{}.*", draft.name()).into());
                    inputs.push((Key::Static("*"), feed));
                    continue;
                }
                if ports.iter().any(|p| p.name == port.name) {
                    continue;
                }
                let taken = inputs.iter().any(|(key, _)| key.as_str() == port.name);
                let key = if taken { Key::from(full.clone()) } else { Key::from(port.name.clone()) };
                inputs.push((key, Feed::Stream(full.into())));
            }
        }
    }

    /// A port that `in` does not name takes the nearest port of its name on the stream.
    fn automatic(&mut self, port: &Port) -> Option<Feed> {
        let at = self.maker.drafts[self.id].text.from.first().map(|w| w.at);
        let at = at.unwrap_or(self.maker.drafts[self.id].text.name.at);
        let Some(flow) = self.input else {
            return self.missing(port, at);
        };
        let from = flow
            .stages
            .iter()
            .rev()
            .copied()
            .find(|node| self.maker.drafts[*node].output(&port.name).is_some());
        let Some(node) = from else {
            let guess = flow.stages.iter().rev().copied().find(|node| self.maker.drafts[*node].gives_open());
            if let (Some(node), false) = (guess, port.optional) {
                return Some(Feed::Stream(
                    format!("{}.{}", self.maker.drafts[node].name(), port.name).into(),
                ));
            }
            return self.missing(port, at);
        };
        if let Some(twin) = self.twin(flow, node, &port.name) {
            let (a, b) = (self.maker.drafts[node].name(), self.maker.drafts[twin].name());
            let fault = Diagnostic::error(
                "E0130",
                format!("input `{}` of stage `{}` could be two", port.name, self.name()),
            )
            .at(at, format!("`{a}.{p}` or `{b}.{p}`", p = port.name))
            .help(format!("name the one: `in = {{ {p} = \"{a}.{p}\" }}`", p = port.name));
            self.fault(fault);
            return None;
        }
        if port.fixed && flow.axis != Axis::Snapshot {
            // One value for the whole run is never taken from a frame unasked.
            return if port.optional { None } else { self.missing(port, at) };
        }
        self.compare(node, port, at);
        Some(Feed::Stream(format!("{}.{}", self.maker.drafts[node].name(), port.name).into()))
    }

    /// The stage on the other side of a join that gives a port of the same name.
    fn twin(&self, flow: &Flow, node: NodeId, port: &str) -> Option<NodeId> {
        let (a, b) = flow.sides.as_ref()?;
        let other = if a.contains(&node) {
            b
        } else if b.contains(&node) {
            a
        } else {
            return None;
        };
        other.iter().copied().find(|twin| self.maker.drafts[*twin].output(port).is_some())
    }

    /// What `in` says; the port is none for an entry of an open port.
    fn explicit(&mut self, word: &Word, at: Place, given: &Given, port: Option<&Port>) -> Option<Feed> {
        match given {
            Given::Wrong => None,
            Given::File(path) => Some(Feed::File(path.clone())),
            Given::Argument(name) => Some(Feed::Argument(name.clone())),
            Given::Value(value) => {
                if let Some(port) = port
                    && !port::holds(&port.kind, value)
                {
                    let message =
                        format!("input `{}` of stage `{}` has the wrong kind", word.text, self.name());
                    let fault = Diagnostic::error("E0134", message).at(at, "");
                    self.fault(fault.found(value.describe(), port.kind.to_string()));
                }
                Some(Feed::Value(value.clone()))
            }
            Given::Head(node, key) => Some(Feed::Head { node: *node, key: key.clone().into() }),
            Given::Scan(axis) => match self.input {
                Some(flow) if flow.axis == Axis::Frame && !port.is_some_and(|p| p.fixed) => {
                    Some(Feed::Stream(format!("scan.{axis}").into()))
                }
                _ => self.per_frame(at, &format!("scan.{axis}"), port),
            },
            Given::Carry(key) => self.carry(at, key, port),
            Given::Port(node, name) => self.port(at, *node, name, port),
        }
    }

    fn carry(&mut self, at: Place, key: &str, port: Option<&Port>) -> Option<Feed> {
        let pass = self.maker.drafts[self.id].pass;
        let Some(in_loop) = self.maker.loop_of(pass) else {
            let name = &self.maker.passes[pass].name.text;
            let fault = Diagnostic::error("E0152", format!("`carry.{key}` outside a loop"))
                .at(at, format!("pass `{name}` is in no loop"))
                .help("after a loop, read its last turn: `pass.stage.port`");
            self.fault(fault);
            return None;
        };
        let carried = &self.maker.carried[in_loop];
        let Some((_, ports)) = carried.iter().find(|(k, _)| k.as_str() == key) else {
            let names: Vec<String> = carried.iter().map(|(k, _)| k.to_string()).collect();
            let near = nearest(key, names.iter().map(String::as_str));
            let name = &self.maker.loops[in_loop].name;
            let fault = Diagnostic::error("E0152", format!("loop `{name}` carries no `{key}`"))
                .at(at, "")
                .similar(near);
            let fault =
                fault.help(format!("add `carry = {{ {key} = {{ first = .., then = .. }} }}` to the loop"));
            self.fault(fault);
            return None;
        };
        for given in ports.clone() {
            if let Some(port) = port
                && let Some(fault) = port::differ(&given, &format!("carry.{key}"), port, &self.name())
            {
                self.fault(fault.at(at, ""));
            }
        }
        Some(Feed::Carry { in_loop, key: key.to_owned().into() })
    }

    fn port(&mut self, at: Place, node: NodeId, name: &str, port: Option<&Port>) -> Option<Feed> {
        let own = &self.maker.drafts[self.id];
        let full = format!("{}.{name}", self.maker.drafts[node].name());
        let (role, same) = (own.role(), self.maker.drafts[node].pass == own.pass);
        let fixed = port.is_some_and(|p| p.fixed);
        let per_record =
            port.is_some_and(|p| !p.fixed) && role != Some(Role::Task) && role != Some(Role::Source);
        if let Some(port) = port {
            self.compare_named(node, name, port, at);
        }
        let fin = Some(Feed::Final { node, port: name.to_owned().into() });
        if let Some(flow) = self.input {
            if flow.stages.contains(&node) {
                if fixed && flow.axis != Axis::Snapshot {
                    return self.per_frame(at, &full, port);
                }
                return Some(Feed::Stream(full.into()));
            }
            if let Some((_, lost)) = flow.lost.iter().find(|(n, _)| *n == node) {
                let after_task = self.maker.drafts[flow.root].role() == Some(Role::Task);
                let ended = self.maker.flows[node].as_ref().is_some_and(|f| f.axis != Axis::Frame);
                if ended && !per_record && (after_task || role == Some(Role::Task)) {
                    return fin;
                }
                return self.lost(at, &full, *lost);
            }
        }
        let Some(theirs) = self.maker.flows[node].clone() else {
            // A writer gives nothing; an unknown stage has been reported.
            return None;
        };
        let is_task = self.maker.drafts[node].role() == Some(Role::Task);
        if !same {
            if theirs.axis == Axis::Frame {
                return self.as_stream(at, &full, node);
            }
            return if per_record { self.constant(at, &full, port) } else { fin };
        }
        if is_task && (role == Some(Role::Task) || !self.streams(node) || self.follows_task()) {
            return if per_record { self.constant(at, &full, port) } else { fin };
        }
        if role == Some(Role::Source) || is_task {
            return self.too_late(at, &full);
        }
        if role == Some(Role::Task) {
            return if theirs.axis == Axis::Frame { self.as_stream(at, &full, node) } else { fin };
        }
        let own_root = self.input.map(|f| f.root);
        if theirs.axis == Axis::Frame && (Some(theirs.root) == own_root || !fixed) {
            return self.branch(at, &full, node);
        }
        if per_record {
            return self.constant(at, &full, port);
        }
        Some(Feed::Latched { node, port: name.to_owned().into() })
    }

    /// Whether a task waits for a stream to end.
    fn streams(&self, node: NodeId) -> bool {
        let draft = &self.maker.drafts[node];
        if draft.from.iter().any(|s| matches!(s, Stream::Live(_))) {
            return true;
        }
        draft.given.iter().any(|(_, _, given)| match given {
            Given::Port(other, _) if self.maker.drafts[*other].pass == draft.pass && *other != node => {
                self.maker.drafts[*other].role() != Some(Role::Task) || self.streams(*other)
            }
            _ => false,
        })
    }

    fn follows_task(&self) -> bool {
        self.input.is_some_and(|flow| self.maker.drafts[flow.root].role() == Some(Role::Task))
    }

    fn compare(&mut self, node: NodeId, port: &Port, at: Place) {
        self.compare_named(node, &port.name, port, at);
    }

    fn compare_named(&mut self, node: NodeId, name: &str, port: &Port, at: Place) {
        let draft = &self.maker.drafts[node];
        let Some(given) = draft.output(name) else { return };
        let full = format!("{}.{name}", draft.name());
        if let Some(fault) = port::differ(given, &full, port, &self.name()) {
            self.fault(fault.at(at, ""));
        }
    }
}
