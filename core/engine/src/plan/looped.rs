//! Passes and loops: their order, what turns vary, what they carry forward.

use crate::diagnostic::{Diagnostic, Place};
use crate::error::nearest;
use crate::plan::axis::Axis;
use crate::plan::make::Maker;
use crate::plan::names::{Given, Scope};
use crate::plan::parameters::{Check, Owner};
use crate::plan::{Feed, Loop, NodeId, Pass, Stream, schema};
use crate::recipe::{Item, LoopText, Recipe, Typed, Word};
use crate::value::Key;

/// The first value that loops set for the parameters of a stage.
pub(crate) fn first_values(recipe: &Recipe, stage: &str) -> Vec<(Word, Item)> {
    let mut found = vec![];
    for (word, item) in recipe.loops.iter().flat_map(|l| &l.vary.0) {
        let mut parts: Vec<&str> = word.text.split('.').collect();
        let Some(parameter) = parts.pop() else { continue };
        if parts.last() == Some(&stage)
            && let Typed::List(list) = &item.value
            && let Some(first) = list.first()
        {
            found.push((Word { text: parameter.to_owned(), at: word.at }, first.clone()));
        }
    }
    found
}

/// The loops with their passes and turns, before any stage is known.
pub(crate) fn skeleton(maker: &mut Maker<'_>) {
    for text in &maker.recipe.loops {
        let name = &text.name.text;
        let mut passes = vec![];
        for word in &text.passes {
            let known = maker.passes.iter().position(|p| p.name.text == word.text);
            match known {
                Some(pass) if passes.contains(&pass) || maker.loop_of(pass).is_some() => {
                    let fault =
                        Diagnostic::error("E0151", format!("pass `{}` is in a loop already", word.text));
                    maker.faults.push(fault.at(word.at, ""));
                }
                Some(pass) => passes.push(pass),
                None => {
                    let near = nearest(&word.text, maker.passes.iter().map(|p| p.name.text.as_str()));
                    let fault =
                        Diagnostic::error("E0150", format!("no pass `{}`", word.text)).at(word.at, "");
                    maker.faults.push(fault.similar(near).help(format!("add `[pass.{}]`", word.text)));
                }
            }
        }
        if text.passes.is_empty() {
            let fault =
                Diagnostic::error("E0151", format!("loop `{name}` has no passes")).at(text.name.at, "");
            maker.faults.push(fault.help("add `passes = [..]`"));
        } else if passes.windows(2).any(|w| w[1] != w[0] + 1) {
            let fault =
                Diagnostic::error("E0151", format!("the passes of loop `{name}` do not follow each other"));
            maker.faults.push(
                fault
                    .at(text.passes[0].at, "")
                    .help("name them in the order in which `[pass.NAME]` stand, none left out"),
            );
        }
        let repeat = repeat(maker, text);
        maker.loops.push(Loop { name: name.clone(), passes, repeat, vary: vec![], carry: vec![] });
        maker.carried.push(vec![]);
    }
}

fn repeat(maker: &mut Maker<'_>, text: &LoopText) -> usize {
    let name = &text.name.text;
    let (at, found) = match text.repeat.as_ref().map(|i| (&i.value, i)) {
        Some((Typed::Int(n), _)) if (1..=100_000).contains(n) => return *n as usize,
        Some((_, item)) => (item.at, item.describe()),
        // The values that it varies say how often it runs.
        None => match text.vary.0.first().map(|(_, item)| &item.value) {
            Some(Typed::List(list)) if !list.is_empty() => return list.len(),
            _ => (text.name.at, "nothing".into()),
        },
    };
    let fault =
        Diagnostic::error("E0151", format!("loop `{name}` does not say how often it runs")).at(at, "");
    maker.faults.push(fault.found(format!("`repeat`: {found}"), "an integer from 1 to 100000"));
    1
}

/// What loops vary and carry, and what passes need.
pub(crate) fn values(maker: &mut Maker<'_>) {
    for (at, text) in maker.recipe.loops.iter().enumerate() {
        for (word, item) in &text.vary.0 {
            vary(maker, at, word, item);
        }
        for (word, item) in &text.carry.0 {
            carry(maker, at, word, item);
        }
    }
}

fn vary(maker: &mut Maker<'_>, at: usize, word: &Word, item: &Item) {
    let name = maker.loops[at].name.clone();
    let parts: Vec<&str> = word.text.split('.').collect();
    let Some((node, used)) = maker.stage(&parts, word, Scope::Whole) else { return };
    let parameter = parts[used..].join(".");
    let (draft, repeat) = (&maker.drafts[node], maker.loops[at].repeat);
    if !maker.loops[at].passes.contains(&draft.pass) {
        let message =
            format!("loop `{name}` varies stage `{}`, which is in none of its passes", draft.name());
        maker.faults.push(Diagnostic::error("E0151", message).at(word.at, ""));
        return;
    }
    let Typed::List(list) = &item.value else {
        let fault = Diagnostic::error("E0151", format!("`{}` is {}", word.text, item.describe()));
        maker.faults.push(fault.at(item.at, format!("wanted a list of {repeat} values, one for each turn")));
        return;
    };
    if list.len() != repeat {
        let fault = Diagnostic::error(
            "E0151",
            format!("`{}` has {} values for {repeat} turns", word.text, list.len()),
        );
        maker.faults.push(fault.at(item.at, "").help("give one value for each turn, or change `repeat`"));
        return;
    }
    let Some(declaration) = draft.declaration().cloned() else { return };
    let owner = Owner {
        noun: "parameter",
        name: format!("stage `{}`", draft.name()),
        unknown: "E0112",
        writes: false,
        without: vec![],
    };
    let root = schema::flat(&declaration.schema, &declaration.schema);
    let Some(part) = root.pointer(&format!("/properties/{parameter}")) else {
        let known = root.get("properties").and_then(|p| p.as_object());
        let near = nearest(&parameter, known.into_iter().flatten().map(|(n, _)| n.as_str()));
        let fault = Diagnostic::error(
            "E0112",
            format!("unknown parameter `{parameter}` in stage `{}`", draft.name()),
        );
        maker.faults.push(fault.at(word.at, "").similar(near));
        return;
    };
    let mut check = Check::new(&owner, &declaration.schema, &maker.recipe.files);
    let values: Vec<_> = list.iter().filter_map(|one| check.value(part, one, &parameter)).collect();
    let mut faults = check.faults;
    // Each turn's stage is built and looks at its parameters, as the first one's did.
    if faults.is_empty() {
        for (value, one) in values.iter().zip(list) {
            let mut json = draft.set.clone();
            json[&parameter] = value.clone();
            let set = &draft.text.set;
            if let Err(more) = maker.build(&declaration, &json, set, one.at, draft.name()) {
                faults.extend(more.into_iter().map(|mut fault| {
                    if let Some(label) = fault.labels.first_mut() {
                        label.0 = one.at;
                    }
                    fault
                }));
            }
        }
    }
    maker.faults.append(&mut faults);
    maker.loops[at].vary.push((node, parameter, values));
}

fn carry(maker: &mut Maker<'_>, at: usize, word: &Word, item: &Item) {
    let key = &word.text;
    let parts = item.table().map(|t| (t.get("first"), t.get("then"), t.0.len()));
    let Some((Some(first), Some(then), 2)) = parts else {
        let fault =
            Diagnostic::error("E0152", format!("`{key}` does not say what is carried")).at(word.at, "");
        maker
            .faults
            .push(fault.help(format!("write `{key} = {{ first = \"..\", then = \"pass.stage.port\" }}`")));
        return;
    };
    let mut ports = vec![];
    let begin = source(maker, at, first, &mut ports, true);
    let again = source(maker, at, then, &mut ports, false);
    if let (Some(begin), Some(again)) = (begin, again) {
        maker.loops[at].carry.push((Key::from(key.clone()), begin, again));
    }
    // What is at fault here is not reported again where it is read.
    maker.carried[at].push((Key::from(key.clone()), ports));
}

fn source(
    maker: &mut Maker<'_>,
    at: usize,
    item: &Item,
    ports: &mut Vec<crate::port::Port>,
    first: bool,
) -> Option<Feed> {
    let (given, name) = (maker.given(item, Scope::Whole), maker.loops[at].name.clone());
    let nobody = |why: String| {
        Diagnostic::error("E0152", format!("loop `{name}` carries what nobody makes")).at(item.at, why)
    };
    match given {
        Given::Wrong => None,
        Given::Port(node, port) => {
            let draft = &maker.drafts[node];
            let inside = maker.loops[at].passes.contains(&draft.pass);
            let begin = maker.loops[at].passes.first().copied().unwrap_or(0);
            let pass = &maker.passes[draft.pass].name.text;
            if first && draft.pass >= begin {
                let why = format!("pass `{pass}` does not run before the loop");
                let fault =
                    nobody(why).help("`first` is a port of an earlier pass, { file = .. } or { value = .. }");
                maker.faults.push(fault);
                return None;
            }
            if !first && !inside {
                let fault = nobody(format!("pass `{pass}` is not in the loop"));
                maker.faults.push(fault.help("`then` is a port of a stage in one of the loop's passes"));
                return None;
            }
            ports.extend(draft.output(&port).cloned());
            Some(Feed::Final { node, port: port.into() })
        }
        Given::Head(node, key) if first => Some(Feed::Head { node, key: key.into() }),
        Given::Argument(name) if first => Some(Feed::Argument(name)),
        Given::File(path) if first => Some(Feed::File(path)),
        Given::Value(value) if first => Some(Feed::Value(value)),
        _ => {
            let help = "`then` is a port of a stage in one of the loop's passes: \"pass.stage.port\"";
            maker.faults.push(nobody("not made by a stage of the loop".into()).help(help));
            None
        }
    }
}

/// The passes with their stages in order, what they need, and who reads what may be skipped.
pub(crate) fn passes(maker: &mut Maker<'_>, order: &[NodeId]) -> Vec<Pass> {
    frames(maker);
    let mut passes = vec![];
    for (i, text) in maker.passes.clone().into_iter().enumerate() {
        let nodes: Vec<NodeId> = order.iter().copied().filter(|id| maker.drafts[*id].pass == i).collect();
        if nodes.is_empty() && !maker.recipe.passes.is_empty() {
            let fault = Diagnostic::error("E0150", format!("pass `{}` has no stage", text.name.text));
            let help = format!("put stages into it: `run = {{ pass = \"{}\" }}`", text.name.text);
            maker.faults.push(fault.at(text.name.at, "").help(help));
        }
        let needs = text.needs.as_ref().and_then(|word| needs(maker, i, word));
        passes.push(Pass { name: text.name.text.clone(), nodes, needs });
    }
    skipped(maker, &passes);
    passes
}

/// What is carried must be a single value.
fn frames(maker: &mut Maker<'_>) {
    let mut faults = vec![];
    for (one, text) in maker.loops.iter().zip(&maker.recipe.loops) {
        for (key, begin, again) in &one.carry {
            let item = text.carry.get(key.as_str()).and_then(|i| i.table());
            for (feed, word) in [(begin, "first"), (again, "then")] {
                let Feed::Final { node, port } = feed else { continue };
                let axis = maker.flows[*node].as_ref().map(|f| &f.axis);
                if axis == Some(&Axis::Frame) {
                    let at = item.and_then(|t| t.get(word)).map_or(text.name.at, |i| i.at);
                    let full = format!("{}.{port}", maker.drafts[*node].name());
                    let fault = Diagnostic::error("E0144", format!("`{full}` has a value for each frame"));
                    faults.push(fault.at(at, "a loop carries a single value").help("reduce it first"));
                }
            }
        }
    }
    maker.faults.append(&mut faults);
}

fn needs(maker: &mut Maker<'_>, pass: usize, word: &Word) -> Option<(NodeId, Key)> {
    match maker.reference(word, Scope::Whole) {
        Given::Port(node, port) if maker.drafts[node].pass < pass => Some((node, port.into())),
        Given::Port(node, _) => {
            let name = maker.drafts[node].name();
            let fault =
                Diagnostic::error("E0153", format!("`{name}` does not run before the pass that needs it"));
            maker.faults.push(fault.at(word.at, "").help("`needs` is a port of an earlier pass"));
            None
        }
        Given::Wrong => None,
        _ => {
            let fault = Diagnostic::error("E0150", format!("a pass cannot need `{}`", word.text));
            maker.faults.push(fault.at(word.at, "wanted a port of an earlier pass"));
            None
        }
    }
}

/// Who reads a port of a pass that may be skipped must be able to do without.
fn skipped(maker: &mut Maker<'_>, passes: &[Pass]) {
    let mut faults = vec![];
    for draft in &maker.drafts {
        for (key, feed) in &draft.inputs {
            let node = match feed {
                Feed::Final { node, .. } => Some(*node),
                Feed::Stream(full) => {
                    let kept = draft.from.iter().any(|s| matches!(s, Stream::Kept(_)));
                    let stage = full.as_str().split('.').next().unwrap_or_default();
                    maker.drafts.iter().position(|d| d.name() == stage).filter(|_| kept)
                }
                _ => None,
            };
            let Some(node) = node else { continue };
            let (there, here) = (maker.drafts[node].pass, draft.pass);
            let Some(needs) = &passes[there].needs else { continue };
            // Skipped for the same reason, the reader is not there either.
            if there == here || passes[here].needs.as_ref() == Some(needs) {
                continue;
            }
            let port = draft.declaration().and_then(|d| d.inputs.iter().find(|p| p.name == key.as_str()));
            if port.is_some_and(|p| !p.optional) {
                let at: Place = draft
                    .text
                    .inputs
                    .get(key.as_str())
                    .map(|i| i.at)
                    .unwrap_or_else(|| draft.text.from.first().map_or(draft.text.name.at, |w| w.at));
                let (pass, name) = (&passes[there].name, draft.name());
                let fault = Diagnostic::error(
                    "E0154",
                    format!("pass `{pass}` may be skipped, and stage `{name}` needs `{key}`"),
                );
                faults.push(fault.at(at, "this input is not optional").help(format!(
                    "give the reader's pass the same `needs`, or read a stage of before `{pass}`"
                )));
            }
        }
    }
    maker.faults.append(&mut faults);
}
