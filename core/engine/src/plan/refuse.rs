//! Faults of wiring, in words: what was wanted, what there is, and where to look for it.

use crate::diagnostic::{Diagnostic, Place};
use crate::error::nearest;
use crate::plan::axis::Axis;
use crate::plan::wire::Wiring;
use crate::plan::{Feed, NodeId};
use crate::port::Port;
use crate::recipe::Word;
use crate::registry::Role;

impl Wiring<'_, '_> {
    pub(super) fn no_port(&mut self, word: &Word, ports: &[Port]) {
        let name = self.name();
        let all: Vec<String> = ports.iter().map(|p| format!("`{}` ({})", p.name, p.kind)).collect();
        let all = if all.is_empty() { "none".into() } else { all.join(", ") };
        let near = nearest(&word.text, ports.iter().map(|p| &*p.name));
        self.fault(
            Diagnostic::error("E0133", format!("stage `{name}` has no input `{}`", word.text))
                .at(word.at, "")
                .similar(near)
                .note(format!("inputs of `{name}`: {all}")),
        );
    }

    pub(super) fn missing(&mut self, port: &Port, at: Place) -> Option<Feed> {
        if port.optional {
            return None;
        }
        let name = self.name();
        let drafts = &self.maker.drafts;
        let mut fault = Diagnostic::error("E0130", format!("stage `{name}` gets no `{}`", port.name))
            .at(at, format!("wanted {}", wanted(port)))
            .note(format!("`{}`: {}", port.name, port.doc.lines().next().unwrap_or_default()));
        if let Some(flow) = self.input {
            let mut keys = vec![];
            for node in &flow.stages {
                let outputs = drafts[*node].declaration().into_iter().flat_map(|d| &d.outputs);
                keys.extend(outputs.map(|p| format!("`{}.{}`", drafts[*node].name(), p.name)));
            }
            let all = if keys.is_empty() { "nothing".into() } else { keys.join(", ") };
            fault = fault.note(format!("on the stream: {all}"));
            if port.fixed && flow.axis != Axis::Snapshot {
                fault = fault.note(format!(
                    "`{}` is one value for the whole run, not one for each {}",
                    port.name,
                    flow.axis.word()
                ));
            }
            if let Some((_, at)) = flow.lost.iter().find(|(n, _)| drafts[*n].output(&port.name).is_some()) {
                let lost = drafts[*at].name();
                fault = fault.note(format!(
                    "a `{}` was on the stream until `{lost}`, which opens an axis of its own",
                    port.name
                ));
            }
        }
        let source =
            drafts.iter().enumerate().find(|(id, d)| *id != self.id && d.output(&port.name).is_some());
        let hint = match (source, drafts.iter().find(|d| d.role() == Some(Role::Source))) {
            (Some((_, d)), _) if self.input.is_none() || d.role() == Some(Role::Task) => {
                format!("{}.{}", d.name(), port.name)
            }
            (_, Some(source)) if port.fixed => format!("{}.head.{}", source.name(), port.name),
            _ => "stage.port".into(),
        };
        fault = fault.help(format!("name it: `in = {{ {} = \"{hint}\" }}`", port.name));
        self.fault(fault);
        None
    }

    pub(super) fn per_frame(&mut self, at: Place, full: &str, port: Option<&Port>) -> Option<Feed> {
        let what = port.map_or_else(|| format!("`{full}`"), |p| format!("input `{}`", p.name));
        let axis = self.input.map_or("frame".into(), |f| f.axis.word().to_owned());
        let fault = Diagnostic::error(
            "E0144",
            format!("{what} of stage `{}` is one value for the whole run", self.name()),
        )
        .at(at, format!("`{full}` has a value for each {axis}"))
        .help(
            "reduce it first, or take a constant: `stage.head.key`, a task, { file = .. } or { value = .. }",
        );
        self.fault(fault);
        None
    }

    pub(super) fn constant(&mut self, at: Place, full: &str, port: Option<&Port>) -> Option<Feed> {
        let what = port.map_or_else(|| format!("`{full}`"), |p| format!("input `{}`", p.name));
        let axis = self.input.map_or("frame".into(), |f| f.axis.word().to_owned());
        let fault = Diagnostic::error(
            "E0144",
            format!("{what} of stage `{}` takes a value for each {axis}", self.name()),
        )
        .at(at, format!("`{full}` is not on the stage's stream"))
        .help("read a stage on the stream, or put the stage behind the one it should read");
        self.fault(fault);
        None
    }

    pub(super) fn lost(&mut self, at: Place, full: &str, lost: NodeId) -> Option<Feed> {
        let draft = &self.maker.drafts[lost];
        let (name, axis) =
            (draft.name(), self.maker.flows[lost].as_ref().map_or("record", |f| f.axis.word()));
        let role = draft.role().map_or("stage".to_owned(), |r| r.to_string());
        let fault = Diagnostic::error("E0137", format!("`{full}` is read after a merge"))
            .at(at, format!("gone since `{name}`"))
            .at(draft.text.name.at, format!("this {role} opens the axis `{axis}`; keys of before end here"))
            .help(format!("read it before `{name}`, or bring the streams together with `flow.join`"));
        self.fault(fault);
        None
    }

    pub(super) fn branch(&mut self, at: Place, full: &str, node: NodeId) -> Option<Feed> {
        let other = self.maker.drafts[node].name();
        let from = self.maker.drafts[self.id].text.from.first().map_or("..", |w| &w.text);
        let fault = Diagnostic::error("E0138", format!("`{full}` is on another branch than stage `{}`", self.name()))
            .at(at, "not on the stage's stream")
            .help(format!(
                "bring them together: a stage with `use = \"flow.join\"`, `from = [\"{from}\", \"{other}\"]`, and read that"
            ));
        self.fault(fault);
        None
    }

    pub(super) fn as_stream(&mut self, at: Place, full: &str, node: NodeId) -> Option<Feed> {
        let draft = &self.maker.drafts[node];
        let pass = &self.maker.passes[draft.pass].name.text;
        let own = self.maker.drafts[self.id].pass == draft.pass;
        let from = if own { draft.name().to_owned() } else { format!("{pass}.{}", draft.name()) };
        let fault = Diagnostic::error("E0144", format!("`{full}` has a value for each frame"))
            .at(at, "wanted a single value")
            .help(format!("read it as a stream: `from = \"{from}\"`"));
        self.fault(fault);
        None
    }

    pub(super) fn too_late(&mut self, at: Place, full: &str) -> Option<Feed> {
        let fault = Diagnostic::error("E0146", format!("`{full}` is there only when the stream has ended"))
            .at(at, "needed before the first frame")
            .help("put this stage into a later pass: `run = { pass = \"..\" }`");
        self.fault(fault);
        None
    }
}

fn wanted(port: &Port) -> String {
    let unit = port.unit.as_ref().map(|u| format!(" in {u}")).unwrap_or_default();
    format!("{}{unit}", port.kind)
}
