//! Outputs of earlier runs, taken instead of running their stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::error::{Context, Error, Result, nearest};
use crate::plan::{NodeId, Plan, Step, What};
use crate::run::graph::Graph;
use crate::run::index::{INDEX, Index};
use crate::run::options::Reuse;
use crate::run::scope::{Given, KeptAt, Scope, upstream};
use crate::run::wire::wants;
use crate::store::{Files, INNER, PluginUsed, Provenance, RUN, Reused, difference};

/// What is left to run in each step, and what is taken from where.
pub fn scopes(
    plan: &Plan,
    now: &Provenance,
    files: &dyn Files,
    reuse: &[Reuse],
) -> Result<(Vec<Scope>, Vec<Reused>)> {
    let mut stages: Vec<(NodeId, PathBuf)> = vec![];
    let mut reused = vec![];
    for one in reuse {
        let names = plan.nodes.iter().map(|n| n.name.as_str());
        let id = names.clone().position(|n| n == one.stage).ok_or_else(|| {
            let error = Error::recipe(format!("no stage `{}` to reuse an output for", one.stage));
            match nearest(&one.stage, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("`--reuse STAGE=PATH` names a stage of the recipe"),
            }
        })?;
        if stages.iter().any(|(other, _)| *other == id) {
            return Err(Error::recipe(format!("two outputs to reuse for stage `{}`", one.stage)));
        }
        let root = root(files, &one.path)?;
        if !one.anyway {
            same(plan, id, now, &Provenance::read(files, &root)?)
                .at(|| format!("reuse {} for stage `{}`", root.display(), one.stage))?;
        }
        let (stage, path) = (one.stage.clone(), root.display().to_string());
        reused.push(Reused { stage, path, content: BTreeMap::new(), anyway: one.anyway });
        stages.push((id, root));
    }
    // What the sources said is needed before it is known what runs, so kept streams are looked at first.
    let mut kept: BTreeMap<(usize, NodeId), (PathBuf, Index)> = BTreeMap::new();
    for (at, step) in plan.steps.iter().enumerate() {
        for (n, (id, root)) in stages.iter().enumerate() {
            if plan.nodes[*id].pass == step.pass {
                let (folder, index) = find(plan, *id, step, files, root)?;
                reused[n].content.insert(step.name.clone(), index.content.clone());
                kept.insert((at, *id), (folder, index));
            }
        }
    }
    let given: BTreeSet<NodeId> = stages.iter().map(|(id, _)| *id).collect();
    let mut opened = BTreeMap::new();
    for (_, index) in kept.values() {
        for (name, said) in &index.sources {
            if let Some(source) = plan.nodes.iter().position(|n| n.name == *name) {
                opened.insert(source, said.clone());
            }
        }
    }
    let absent = Scope::useless(plan, &given, &opened.keys().copied().collect());
    opened.retain(|source, _| absent.contains(source) || given.contains(source));
    let mut scopes = vec![];
    for (at, step) in plan.steps.iter().enumerate() {
        let mut scope = Scope { absent: absent.clone(), opened: opened.clone(), ..Scope::default() };
        for ((_, id), (folder, index)) in kept.iter().filter(|((n, _), _)| *n == at) {
            let place = KeptAt { folder: folder.clone(), files: index.files.len() as u64 };
            scope.given.insert(*id, Given::Stream(vec![place]));
        }
        carries(
            plan,
            step,
            &scope,
            kept.iter().filter(|((n, _), _)| *n == at).map(|((_, id), k)| (*id, &k.1)),
        )?;
        scopes.push(scope);
    }
    Ok((scopes, reused))
}

/// The folder of the run that a path names: the folder itself, or a kept output in it.
fn root(files: &dyn Files, path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut at = path.as_path();
    loop {
        if files.exists(&at.join(RUN)).unwrap_or(false) {
            return Ok(at.to_owned());
        }
        match at.parent() {
            Some(above) => at = above,
            None => break,
        }
    }
    Err(Error::recipe(format!("{} is not the folder of a run, nor in one", path.display()))
        .help("name the folder that holds run.json"))
}

/// The kept stream of a stage in a step of an earlier run, with every byte compared.
fn find(plan: &Plan, id: NodeId, step: &Step, files: &dyn Files, root: &Path) -> Result<(PathBuf, Index)> {
    let name = &plan.nodes[id].name;
    let folder = root.join(format!("{INNER}/streams/{}/{name}", step.name));
    if !files.exists(&folder.join(INDEX)).unwrap_or(false) {
        return Err(Error::recipe(format!("the run in {} kept no whole output of `{name}`", root.display()))
            .help(format!("a run keeps it when the recipe says `run = {{ keep = true }}` for `{name}`")));
    }
    let index = Index::read(files, &folder)?;
    if index.tree.is_some() || index.range.is_some() {
        return Err(Error::recipe(format!("{} holds a part of a run", root.display()))
            .help("`isard merge` makes one run of all parts; reuse from that"));
    }
    index.verify(files, &folder)?;
    Ok((folder, index))
}

/// Sees that the kept streams of a step carry all that is read from them.
fn carries<'a>(
    plan: &Plan,
    step: &Step,
    scope: &Scope,
    kept: impl Iterator<Item = (NodeId, &'a Index)>,
) -> Result<()> {
    let graph = Graph::new(plan, step.pass, scope);
    for (id, index) in kept {
        let behind = graph.behind(id);
        let own = graph.own_keys(id);
        // Outputs that may be left out are read when they are there.
        let missing = behind.iter().find(|k| !own.contains(k) && !wants(&index.keys, k.as_str()));
        if let Some(key) = missing {
            let held: Vec<&str> = index.keys.iter().map(|k| k.as_str()).collect();
            let name = &plan.nodes[id].name;
            return Err(Error::recipe(format!(
                "the kept output of `{name}` does not carry `{key}`, found `{}`",
                held.join("`, `")
            ))
            .help("keep it in a run whose stages behind it read the same keys"));
        }
    }
    Ok(())
}

/// An error with the difference unless an earlier run made a stage's output by the same recipe.
fn same(plan: &Plan, id: NodeId, now: &Provenance, before: &Provenance) -> Result<()> {
    let text =
        |record: &Provenance| serde_json::to_string_pretty(&made_by(plan, id, record)).unwrap_or_default();
    let (old, new) = (text(before), text(now));
    if old == new {
        return Ok(());
    }
    Err(Error::recipe(format!(
        "it was made by another recipe (-) than this one (+)\n{}",
        difference(&old, &new)
    ))
    .help("`--reuse-anyway` takes it all the same, and says so in run.json"))
}

/// What an output depends on: the stage and all before it, their versions, the seed and what frame numbers mean.
fn made_by(plan: &Plan, id: NodeId, record: &Provenance) -> Json {
    let version = |what: &str| {
        let used = |p: &&PluginUsed| p.name == what;
        record.plugins.iter().find(used).map(|p| json!([p.version, p.sha256]))
    };
    let (mut stages, mut loops) = (Map::new(), Map::new());
    for node in upstream(plan, id) {
        let node = &plan.nodes[node];
        let mut stage = record.resolved["stage"][&node.name].clone();
        // How a stage runs changes no number; which frames it takes, and in which pass, does.
        if let Some(words) = stage.get_mut("run").and_then(Json::as_object_mut) {
            words.retain(|word, _| ["per", "pass", "overflow", "take"].contains(&word.as_str()));
        }
        if let What::Stage(declaration) = &node.what
            && stage.is_object()
        {
            stage["version"] = version(&declaration.name).unwrap_or_default();
        }
        stages.insert(node.name.clone(), stage);
        for (which, one) in plan.loops.iter().enumerate() {
            if plan.loops[which].passes.contains(&node.pass) {
                loops.insert(one.name.clone(), record.resolved["loop"][&one.name].clone());
            }
        }
    }
    json!({
        "seed": record.seed, "scan": record.resolved["scan"], "in": record.resolved["in"], "stage": stages,
        "loop": loops,
    })
}
