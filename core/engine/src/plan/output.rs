//! What comes out: paths of outputs, the recipe's results, stages nobody reads, the resolved recipe.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::diagnostic::Diagnostic;
use crate::plan::make::Maker;
use crate::plan::names::{Given, Scope};
use crate::plan::{Feed, Node, NodeId, Pass, RunOptions, Stream, What, path};
use crate::recipe::{Recipe, Word};
use crate::registry::Role;
use crate::value::Key;

/// Two outputs of one path, and paths that would be written again by every turn or value.
pub(crate) fn paths(maker: &mut Maker<'_>) {
    let mut faults = vec![];
    let mut seen: BTreeMap<String, (crate::diagnostic::Place, usize)> = BTreeMap::new();
    for draft in &maker.drafts {
        for (text, at) in &draft.outputs {
            let name = draft.name();
            if let Err(error) = crate::store::tidy(text, false) {
                let fault = Diagnostic::error("E0119", error.message().to_owned()).at(*at, "");
                faults.push(match error.advice() {
                    Some(help) => fault.help(help),
                    None => fault,
                });
            }
            if let Some((first, pass)) = seen.get(text)
                && !(path::has(text, "pass") && *pass != draft.pass)
            {
                faults.push(
                    Diagnostic::error("E0139", format!("two outputs are written to `{text}`"))
                        .at(*at, "the second")
                        .at(*first, "the first")
                        .help("give them different paths"),
                );
            }
            seen.entry(text.clone()).or_insert((*at, draft.pass));
            if draft.run.per.is_some() && !path::has(text, "per") {
                let fault = Diagnostic::error(
                    "E0142",
                    format!("every value of `run.per` of stage `{name}` writes `{text}`"),
                );
                faults.push(fault.at(*at, "no `{per}` in the path").help("put `{per}` into the path"));
            }
            if maker.loop_of(draft.pass).is_some() && !path::has(text, "turn") {
                let fault = Diagnostic::error("E0139", format!("every turn of the loop writes `{text}`"));
                faults.push(
                    fault
                        .at(*at, "no `{turn}` in the path")
                        .help("put `{turn}` into the path, or write from a pass after the loop"),
                );
            }
        }
    }
    maker.faults.append(&mut faults);
}

/// The recipe's results, and what its tests look at.
pub(crate) fn results(maker: &mut Maker<'_>) -> Vec<(String, NodeId, Key)> {
    let recipe = maker.recipe;
    let mut results = vec![];
    for (name, word) in &recipe.results {
        if let Some((node, port)) = port(maker, word, "a result") {
            results.push((name.text.clone(), node, port));
        }
    }
    for expect in recipe.tests.iter().flat_map(|t| &t.expect) {
        if let Some(rest) = expect.what.text.strip_prefix("ledger.") {
            const CLASSES: [&str; 9] =
                ["expected", "done", "skipped", "dropped", "missing", "corrupt", "late", "extra", "balanced"];
            let class = rest.rsplit('.').next().unwrap_or_default();
            if !CLASSES.contains(&class) {
                let fault =
                    Diagnostic::error("E0133", format!("the ledger has no `{class}`")).at(expect.what.at, "");
                let near = crate::error::nearest(class, CLASSES);
                maker.faults.push(fault.similar(near).note(format!("it counts {}", CLASSES.join(", "))));
            }
        } else {
            port(maker, &expect.what, "a test");
        }
    }
    results
}

fn port(maker: &mut Maker<'_>, word: &Word, what: &str) -> Option<(NodeId, Key)> {
    match maker.reference(word, Scope::Whole) {
        Given::Port(node, port) => Some((node, port.into())),
        Given::Wrong => None,
        _ => {
            let fault = Diagnostic::error("E0133", format!("`{}` cannot be {what}", word.text));
            maker.faults.push(fault.at(word.at, "wanted a port: `stage.port`"));
            None
        }
    }
}

/// Warns of stages whose result nobody reads.
pub(crate) fn unread(maker: &mut Maker<'_>, results: &[(String, NodeId, Key)]) {
    // With faults about, a stage may be read by one that is not understood.
    if maker.faults.iter().any(|f| f.severity == crate::diagnostic::Severity::Error) {
        return;
    }
    let mut read = vec![false; maker.drafts.len()];
    let mut keys: Vec<String> = vec![];
    for draft in &maker.drafts {
        for stream in &draft.from {
            let (Stream::Live(node) | Stream::Kept(node)) = *stream;
            read[node] = true;
        }
        for (_, feed) in &draft.inputs {
            match feed {
                Feed::Final { node, .. } | Feed::Latched { node, .. } | Feed::Head { node, .. } => {
                    read[*node] = true
                }
                Feed::Stream(key) => keys.extend(key.as_str().split('.').next().map(str::to_owned)),
                _ => (),
            }
        }
        if let Some(What::Join(join)) = &draft.what {
            let times = join.time.iter().flat_map(|(a, b)| [a, b]);
            keys.extend(times.filter_map(|k| k.as_str().split('.').next().map(str::to_owned)));
        }
    }
    for (_, node, _) in results {
        read[*node] = true;
        keys.push(maker.drafts[*node].name().to_owned());
    }
    for one in &maker.loops {
        for (_, begin, again) in &one.carry {
            for feed in [begin, again] {
                if let Feed::Final { node, .. } | Feed::Head { node, .. } = feed {
                    read[*node] = true;
                }
            }
        }
    }
    // Names in tests and in `needs` have been resolved already: here it is enough that one part of them fits.
    let tests = maker.recipe.tests.iter().flat_map(|t| &t.expect).map(|e| &e.what);
    for word in tests.chain(maker.passes.iter().filter_map(|p| p.needs.as_ref())) {
        for (node, draft) in maker.drafts.iter().enumerate() {
            if word.text.split('.').any(|part| part == draft.name()) {
                read[node] = true;
                keys.push(draft.name().to_owned());
            }
        }
    }
    let mut faults = vec![];
    for (node, draft) in maker.drafts.iter().enumerate() {
        let name = draft.name();
        let passed_over = draft.role() == Some(Role::Map)
            && draft.declaration().is_some_and(|d| !d.outputs.is_empty())
            && !keys.iter().any(|k| k == name);
        if draft.role() != Some(Role::Writer) && (!read[node] || passed_over) {
            faults.push(
                Diagnostic::warning("W0201", format!("nobody reads what stage `{name}` gives"))
                    .at(draft.text.name.at, "its result is thrown away")
                    .help("read it by `from` or `in`, name it in `[out]`, or leave it out"),
            );
        }
    }
    maker.faults.append(&mut faults);
}

/// The name of a recipe that does not say one: that of its file.
pub(crate) fn stem(recipe: &Recipe) -> String {
    let path = recipe.files.get(0).map(|f| f.path.clone()).unwrap_or_default();
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The recipe as resolved: includes, overrides and defaults filled in.
pub(crate) fn resolved(
    recipe: &Recipe,
    run: &RunOptions,
    scan: &[(String, u64)],
    nodes: &[Node],
    passes: &[Pass],
) -> Json {
    let mut stages = Map::new();
    for (node, text) in nodes.iter().zip(&recipe.stages) {
        let mut one = Map::new();
        let plugin = text.plugin.as_ref().map(|w| w.text.as_str()).unwrap_or_default();
        one.insert("use".into(), Json::from(plugin));
        let from: Vec<&str> = text.from.iter().map(|w| w.text.as_str()).collect();
        match from.as_slice() {
            [] => (),
            [only] => drop(one.insert("from".into(), Json::from(*only))),
            more => drop(one.insert("from".into(), json!(more))),
        }
        let entries = text.inputs.0.iter().map(|(word, item)| (word.text.clone(), item.to_json()));
        let inputs: Map<String, Json> = entries.collect();
        if !inputs.is_empty() {
            one.insert("in".into(), Json::Object(inputs));
        }
        let join = matches!(node.what, What::Join(_));
        let set = if join { table(&text.set) } else { node.set.clone() };
        one.insert("set".into(), set);
        let mut words = table(&text.run);
        if !recipe.passes.is_empty() {
            words["pass"] = Json::from(passes[node.pass].name.as_str());
        }
        one.insert("run".into(), words);
        stages.insert(node.name.clone(), Json::Object(one));
    }
    let axes: Vec<Json> = scan.iter().map(|(name, n)| json!({ "name": name, "n": n })).collect();
    let loops: Map<String, Json> = recipe
        .loops
        .iter()
        .map(|l| {
            let passes: Vec<&str> = l.passes.iter().map(|w| w.text.as_str()).collect();
            let repeat = l.repeat.as_ref().map(|i| i.to_json());
            let one = json!({ "passes": passes, "repeat": repeat, "vary": table(&l.vary), "carry": table(&l.carry) });
            (l.name.text.clone(), one)
        })
        .collect();
    let needs: Map<String, Json> = recipe
        .passes
        .iter()
        .map(|p| (p.name.text.clone(), json!({ "needs": p.needs.as_ref().map(|w| w.text.as_str()) })))
        .collect();
    let out: Map<String, Json> =
        recipe.results.iter().map(|(n, w)| (n.text.clone(), Json::from(w.text.as_str()))).collect();
    let mut arguments = table(&recipe.parameters);
    for (name, value) in &recipe.arguments {
        arguments[name] = value.to_json();
    }
    json!({
        "isard": env!("CARGO_PKG_VERSION"), "name": recipe.name, "run": run, "scan": { "axes": axes },
        "shared": table(&recipe.shared), "stage": stages, "pass": needs, "loop": loops, "in": arguments, "out": out,
    })
}

fn table(table: &crate::recipe::Table) -> Json {
    Json::Object(table.0.iter().map(|(word, item)| (word.text.clone(), item.to_json())).collect())
}
