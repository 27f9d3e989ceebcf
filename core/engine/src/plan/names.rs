//! Names: which stage, port, head or carried value a recipe means.

use crate::diagnostic::{Diagnostic, Place};
use crate::error::nearest;
use crate::plan::make::Maker;
use crate::plan::{NodeId, Stream, What, path};
use crate::recipe::{Item, Typed, Word};
use crate::registry::Role;
use crate::value::Value;

/// What an entry of `in` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    /// A port of a stage.
    Port(NodeId, String),
    /// A constant of a series.
    Head(NodeId, String),
    /// A value that a loop carries.
    Carry(String),
    /// One of the recipe's own parameters.
    Argument(String),
    /// A position in the scan.
    Scan(String),
    /// The contents of a file.
    File(String),
    /// A value written in the recipe.
    Value(Value),
    /// At fault, and said so already.
    Wrong,
}

/// From where a name is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scope {
    /// From a stage of a pass: other passes are named in full.
    Pass(usize),
    /// From outside all passes.
    Whole,
}

impl Maker<'_> {
    fn stage_named(&self, name: &str) -> Option<NodeId> {
        self.drafts.iter().position(|d| d.name() == name)
    }

    /// Resolves the `from` and `in` of every stage.
    pub(crate) fn references(&mut self) {
        for id in 0..self.drafts.len() {
            let (text, pass) = (self.drafts[id].text, self.drafts[id].pass);
            let streams: Vec<Stream> =
                text.from.iter().filter_map(|word| self.stream(id, pass, word)).collect();
            self.drafts[id].from = streams;
            self.roles(id);
            self.paced(id);
            for (word, item) in &text.inputs.0 {
                let given = self.given(item, Scope::Pass(pass));
                self.drafts[id].given.push((word.clone(), item.at, given));
            }
        }
    }

    fn stream(&mut self, reader: NodeId, pass: usize, word: &Word) -> Option<Stream> {
        let parts: Vec<&str> = word.text.split('.').collect();
        let (node, used) = self.stage(&parts, word, Scope::Pass(pass))?;
        if used < parts.len() {
            let name = parts[..used].join(".");
            let fault = Diagnostic::error("E0111", format!("`from` names a stage, found `{}`", word.text));
            self.faults.push(
                fault
                    .at(word.at, "")
                    .help(format!("write `from = \"{name}\"`, and take single ports with `in`")),
            );
        }
        if self.drafts[node].role() == Some(Role::Writer) {
            let fault =
                Diagnostic::error("E0132", format!("`{}` is a writer and gives no stream", word.text));
            self.faults.push(fault.at(word.at, "").help("read what the writer reads"));
            return None;
        }
        if node == reader {
            let fault = Diagnostic::error("E0131", format!("stage `{}` reads itself", word.text));
            self.faults.push(fault.at(word.at, ""));
            return None;
        }
        Some(if self.drafts[node].pass == pass { Stream::Live(node) } else { Stream::Kept(node) })
    }

    /// Whether what `run.pace` is to play comes from a source or from disk: others cannot be slowed down.
    fn paced(&mut self, id: NodeId) {
        let (text, draft) = (self.drafts[id].text, &self.drafts[id]);
        let plays = draft.from.iter().any(|s| matches!(s, Stream::Kept(_)));
        if let Some((key, _)) = text.run.entry("pace")
            && draft.role() != Some(Role::Source)
            && !plays
        {
            let what = draft.role().map_or("a join".to_owned(), |r| format!("a {r}"));
            let message = format!("`run.pace` does not go with stage `{}`", draft.name());
            let wanted = "a source, or a stage that reads what an earlier pass kept";
            self.faults.push(Diagnostic::error("E0141", message).at(key.at, "").found(what, wanted));
        }
    }

    /// Whether the number of streams goes with the role.
    fn roles(&mut self, id: NodeId) {
        let (text, draft) = (self.drafts[id].text, &self.drafts[id]);
        let name = draft.name();
        let fault = match (&draft.what, draft.role()) {
            (None, _) => return,
            // What is wrong with the form of `from` has been said.
            _ if text.from.is_empty() && text.from_at.is_some() => return,
            (Some(What::Join(_)), _) if text.from.len() != 2 => {
                Diagnostic::error("E0143", format!("join `{name}` reads {} streams", text.from.len()))
                    .at(text.from.first().map_or(text.name.at, |w| w.at), "wanted two")
                    .help("write `from = [\"a\", \"b\"]`")
            }
            (_, Some(Role::Source)) if !text.from.is_empty() => {
                Diagnostic::error("E0132", format!("`{name}` is a source and reads no stream"))
                    .at(text.from[0].at, "")
                    .help("leave out `from`; single values come in by `in`")
            }
            (_, Some(role)) if text.from.is_empty() && !matches!(role, Role::Source | Role::Task) => {
                let others =
                    self.drafts.iter().filter(|d| d.role() != Some(Role::Writer) && d.name() != name);
                let all = others.map(|d| format!("`{}`", d.name())).collect::<Vec<_>>().join(", ");
                Diagnostic::error("E0132", format!("stage `{name}` does not say `from`"))
                    .at(text.name.at, format!("a {role} reads a stream"))
                    .help(format!("add `from = ..`; stages to read: {all}"))
            }
            (_, Some(_)) if text.from.len() > 1 => {
                Diagnostic::error("E0132", format!("stage `{name}` reads {} streams", text.from.len()))
                    .at(text.from[1].at, "one too many")
                    .help("let a stage with `use = \"flow.join\"` bring them together, and read that")
            }
            _ => return,
        };
        self.faults.push(fault);
        if self.drafts[id].role() == Some(Role::Source) {
            self.drafts[id].from.clear();
        }
        self.drafts[id].from.truncate(2);
    }

    /// What an entry of `in` or `carry` says.
    pub(crate) fn given(&mut self, item: &Item, scope: Scope) -> Given {
        match &item.value {
            Typed::Text(text) => self.reference(&Word { text: text.clone(), at: item.at }, scope),
            Typed::Table(table) if table.0.len() == 1 => match (table.get("file"), table.get("value")) {
                (Some(file), None) if file.text().is_some() => {
                    let text = file.text().unwrap_or_default();
                    let folder = path::folder(&self.recipe.files, file.at);
                    Given::File(path::input(text, file.at, &folder, &mut self.faults))
                }
                (None, Some(value)) => match Value::from_json(&value.to_json()) {
                    Ok(value) => Given::Value(value),
                    Err(_) => self.formless(item),
                },
                _ => self.formless(item),
            },
            _ => self.formless(item),
        }
    }

    fn formless(&mut self, item: &Item) -> Given {
        self.faults.push(
            Diagnostic::error("E0104", format!("an input is {}", item.describe()))
                .at(item.at, "wanted the name of a port")
                .help("write \"stage.port\", \"stage.head.key\", { file = \"..\" } or { value = .. }"),
        );
        Given::Wrong
    }

    /// `stage.port`, `pass.stage.port`, `stage.head.key`, `carry.key`, `in.name` or `scan.axis`.
    pub(crate) fn reference(&mut self, word: &Word, scope: Scope) -> Given {
        let parts: Vec<&str> = word.text.split('.').collect();
        match parts.as_slice() {
            ["carry", key] => return Given::Carry((*key).to_owned()),
            ["in", name] => return self.own_parameter(name, word.at),
            ["scan", axis] => return self.axis(axis, word),
            _ => (),
        }
        let Some((node, used)) = self.stage(&parts, word, scope) else { return Given::Wrong };
        match &parts[used..] {
            [] => {
                let all = self.ports_of(node);
                let name = &word.text;
                self.faults.push(
                    Diagnostic::error("E0133", format!("`{name}` is a stage, wanted one of its ports"))
                        .at(word.at, "")
                        .help(format!("`{name}` gives {all}")),
                );
                Given::Wrong
            }
            ["head", key @ ..] if !key.is_empty() => match self.drafts[node].role() {
                Some(Role::Source) | None => Given::Head(node, key.join(".")),
                Some(role) => {
                    let name = self.drafts[node].name();
                    let fault = Diagnostic::error("E0145", format!("`{name}` is a {role} and has no head"));
                    self.faults
                        .push(fault.at(word.at, "").help("only sources have one: the series' constants"));
                    Given::Wrong
                }
            },
            port => self.port(node, &port.join("."), word.at),
        }
    }

    fn port(&mut self, node: NodeId, port: &str, at: Place) -> Given {
        let draft = &self.drafts[node];
        if draft.what.is_none() {
            return Given::Wrong;
        }
        if draft.output(port).is_some() || draft.gives_open() {
            return Given::Port(node, port.to_owned());
        }
        let names: Vec<&str> =
            draft.declaration().into_iter().flat_map(|d| &d.outputs).map(|p| &*p.name).collect();
        let near = nearest(port, names).map(str::to_owned);
        let (name, all) = (draft.name(), self.ports_of(node));
        self.faults.push(
            Diagnostic::error("E0133", format!("stage `{name}` gives no `{port}`"))
                .at(at, "")
                .similar(near.as_deref())
                .note(format!("`{name}` gives {all}")),
        );
        Given::Wrong
    }

    /// The outputs of a stage, for messages.
    pub(crate) fn ports_of(&self, node: NodeId) -> String {
        let ports = self.drafts[node].declaration().into_iter().flat_map(|d| &d.outputs);
        let all: Vec<String> = ports.map(|p| format!("`{}` ({})", p.name, p.kind)).collect();
        if all.is_empty() { "nothing".into() } else { all.join(", ") }
    }

    fn own_parameter(&mut self, name: &str, at: Place) -> Given {
        if self.recipe.parameters.get(name).is_some() {
            return Given::Argument(name.to_owned());
        }
        let known: Vec<&str> = self.recipe.parameters.names().collect();
        let fault = Diagnostic::error("E0122", format!("the recipe has no parameter `{name}`")).at(at, "");
        let near = nearest(name, known.iter().copied());
        self.faults.push(fault.similar(near).help(format!("add `{name} = ..` under `[in]`")));
        Given::Wrong
    }

    fn axis(&mut self, axis: &str, word: &Word) -> Given {
        let axes: Vec<&str> =
            self.recipe.scan.iter().map(|(a, _)| a.text.as_str()).chain(["index"]).collect();
        // Without `[scan]` the source says which axes there are.
        if !self.recipe.scan.is_empty() && !axes.contains(&axis) {
            let fault = Diagnostic::error("E0142", format!("the scan has no axis `{axis}`")).at(word.at, "");
            let all = axes.join(", ");
            self.faults.push(fault.similar(nearest(axis, axes)).note(format!("known are {all}")));
            return Given::Wrong;
        }
        Given::Scan(axis.to_owned())
    }

    /// The stage that a dotted name begins with, and how many of its parts name it.
    pub(crate) fn stage(&mut self, parts: &[&str], word: &Word, scope: Scope) -> Option<(NodeId, usize)> {
        let first = *parts.first()?;
        let pass = self.passes.iter().position(|p| p.name.text == first && !self.recipe.passes.is_empty());
        if let (Some(pass), Some(name)) = (pass, parts.get(1)) {
            let inside = self.drafts.iter().position(|d| d.pass == pass && d.name() == *name);
            if let Some(node) = inside {
                return self.in_time(node, word, scope).then_some((node, 2));
            }
            if self.stage_named(first).is_none() {
                let names = self.drafts.iter().filter(|d| d.pass == pass).map(|d| d.name());
                let near = nearest(name, names);
                let fault = Diagnostic::error("E0111", format!("pass `{first}` has no stage `{name}`"));
                self.faults.push(fault.at(word.at, "").similar(near));
                return None;
            }
        }
        let Some(node) = self.stage_named(first) else {
            let near = nearest(first, self.drafts.iter().map(|d| d.name()));
            let fault = Diagnostic::error("E0111", format!("no stage is named `{first}`")).at(word.at, "");
            let all = self.drafts.iter().map(|d| format!("`{}`", d.name())).collect::<Vec<_>>().join(", ");
            self.faults.push(match near {
                Some(_) => fault.similar(near),
                None => fault.help(format!("stages of the recipe: {all}")),
            });
            return None;
        };
        if !self.in_time(node, word, scope) {
            return None;
        }
        if let Scope::Pass(here) = scope
            && self.drafts[node].pass != here
        {
            let pass = &self.passes[self.drafts[node].pass].name.text;
            self.faults.push(
                Diagnostic::error("E0150", format!("stage `{first}` is in another pass"))
                    .at(word.at, "")
                    .help(format!("write `{pass}.{}`", word.text)),
            );
            return None;
        }
        Some((node, 1))
    }

    /// Whether a stage's pass runs before, or together with, the one that reads it.
    fn in_time(&mut self, node: NodeId, word: &Word, scope: Scope) -> bool {
        let Scope::Pass(here) = scope else { return true };
        let there = self.drafts[node].pass;
        if there <= here {
            return true;
        }
        let (name, pass) = (self.drafts[node].name(), &self.passes[there].name.text);
        let mut fault = Diagnostic::error("E0153", format!("`{name}` runs in the later pass `{pass}`"))
            .at(word.at, format!("read in pass `{}`", self.passes[here].name.text));
        fault = match self.loop_of(here) {
            Some(one) if self.loops[one].passes.contains(&there) => fault.help(
                "let the loop carry it: `carry = { key = { first = .., then = \"pass.stage.port\" } }`",
            ),
            _ => fault.help("passes run in the order written; put the reader into a later pass"),
        };
        self.faults.push(fault);
        false
    }
}
