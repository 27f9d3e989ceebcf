//! Parts of a run, made one: what they kept is checked, their accounts are added, the rest of the recipe runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Context, Error, Result};
use crate::plan::{NodeId, Plan};
use crate::run::index::{self, Index};
use crate::run::ledger::Ledger;
use crate::run::report::StageReport;
use crate::run::scope::{Given, KeptAt, Scope};
use crate::store::{
    Files, Folder, INNER, MANIFEST, Part, PartUsed, Provenance, Verdict, difference, sha256, verify,
};
use crate::value::{Dict, Key, Value};

/// The accounts of a part, below the folder of kept streams; no step can be called so.
const ACCOUNTS: &str = "part.accounts";

/// One part of a run, found whole.
struct Found {
    part: Part,
    folder: PathBuf,
    record: Provenance,
    manifest: String,
}

/// The parts in order, and what is left to run when all of them are there and fit together.
pub fn scope(
    plan: &Plan,
    now: &Provenance,
    files: &dyn Files,
    folders: &[PathBuf],
) -> Result<(Scope, Vec<PartUsed>)> {
    let mut found = vec![];
    for folder in folders {
        found.push(look(now, files, folder)?);
    }
    let all = complete(found)?;
    for found in &all {
        whole(files, found)?;
    }
    let part = Scope::of_part(plan, all[0].part)?;
    let step = &plan.steps[0].name;
    let indexes = |id: NodeId| -> Result<Vec<(PathBuf, Index)>> {
        let below = |f: &Found| f.folder.join(format!("{INNER}/streams/{step}/{}", plan.nodes[id].name));
        let read = |f: &Found| Ok((below(f), Index::read(files, &below(f)).at(|| named(f))?));
        all.iter().map(read).collect()
    };
    let mut opened = BTreeMap::new();
    let mut scope = Scope::of_merge(plan, &part, |id| {
        let mut list = indexes(id)?;
        fit(&plan.nodes[id].name, &all, &list)?;
        for (name, said) in list[0].1.sources.drain(..) {
            if let Some(source) = plan.nodes.iter().position(|n| n.name == name) {
                opened.insert(source, said);
            }
        }
        if list.iter().any(|(_, index)| index.tree.is_some()) {
            let trees: Option<Vec<Dict>> = list.into_iter().map(|(_, index)| index.tree).collect();
            return trees.map(Given::Trees).ok_or_else(|| Error::data("a part kept no tree of a reduction"));
        }
        let kept = |(folder, index): (PathBuf, Index)| KeptAt { folder, files: index.files.len() as u64 };
        Ok(Given::Stream(list.into_iter().map(kept).collect()))
    })?;
    scope.opened = opened;
    scope.accounts = accounts(plan, files, &all)?;
    let used = |f: Found| PartUsed { path: f.folder.display().to_string(), manifest: f.manifest };
    Ok((scope, all.into_iter().map(used).collect()))
}

/// Reads the record of a part, and sees that it is one of this recipe.
fn look(now: &Provenance, files: &dyn Files, folder: &Path) -> Result<Found> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let record = Provenance::read(files, &folder)?;
    let Some(part) = record.part else {
        return Err(Error::recipe(format!("{} is not a part of a run", folder.display()))
            .help("parts are made by `isard run RECIPE --part i/n`"));
    };
    let list = folder.join(MANIFEST);
    let manifest = match files.exists(&list).unwrap_or(false) {
        true => sha256(&files.read(&list).map_err(|e| Error::io("read", &list, &e))?),
        false => String::new(),
    };
    let found = Found { part, folder, record, manifest };
    let (before, after) = (identity(&found.record), identity(now));
    if before != after {
        let shown = difference(&before, &after);
        return Err(Error::recipe(format!(
            "the recipe of {} is another (-) than this one (+)\n{shown}",
            named(&found)
        ))
        .help("all parts and the merge need the same recipe, plugins and seed"));
    }
    // A part may exceed limits: they are weighed over all frames, here.
    if found.manifest.is_empty() || !["done", "limits"].contains(&found.record.status.as_str()) {
        let (place, status) = (found.folder.display(), &found.record.status);
        let error = Error::recipe(format!("{} is not done, it is `{status}`", named(&found)));
        return Err(match status.as_str() {
            "detached" => error.help(format!("{place}/log.txt says which branch ended; run the part again")),
            _ => error.help(format!("`isard resume {place}` goes on with a part that was cut off")),
        });
    }
    Ok(found)
}

/// What has to be the same in all parts, as text.
fn identity(record: &Provenance) -> String {
    let plugin =
        |p: &crate::store::PluginUsed| json!({ "name": p.name, "version": p.version, "sha256": p.sha256 });
    let plugins: Vec<_> = record.plugins.iter().map(plugin).collect();
    let all =
        json!({ "isard": record.isard, "seed": record.seed, "plugins": plugins, "recipe": record.resolved });
    serde_json::to_string_pretty(&all).unwrap_or_default()
}

/// The parts in order; each must be there once.
fn complete(mut found: Vec<Found>) -> Result<Vec<Found>> {
    found.sort_by_key(|f| f.part.number);
    let Some(of) = found.first().map(|f| f.part.of) else {
        return Err(Error::recipe("there are no parts to merge").help("name the folders of all parts"));
    };
    if let Some(other) = found.iter().find(|f| f.part.of != of) {
        return Err(Error::recipe(format!("{} does not go with {}", named(other), named(&found[0])))
            .help("merge the parts of one cut"));
    }
    if let Some([a, b]) = found.windows(2).find(|w| w[0].part == w[1].part) {
        return Err(Error::recipe(format!("{} is there twice, also in {}", named(a), b.folder.display()))
            .help("name each part once"));
    }
    let missing: Vec<u64> = (1..=of).filter(|n| !found.iter().any(|f| f.part.number == *n)).collect();
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(u64::to_string).collect();
        let (word, verb) = if missing.len() == 1 { ("part", "is") } else { ("parts", "are") };
        return Err(Error::recipe(format!("{word} {} of {of} {verb} missing", list.join(", ")))
            .help(format!("`isard run RECIPE --part {}/{of}` makes it", missing[0])));
    }
    Ok(found)
}

/// Reads all files of a part again.
fn whole(files: &dyn Files, found: &Found) -> Result<()> {
    let report = verify(files, &found.folder)?;
    if report.verdict == Verdict::Good {
        return Ok(());
    }
    let list: Vec<String> = report.findings.iter().map(|f| format!("{}: {}", f.path, f.text)).collect();
    Err(Error::data(format!("{} is damaged: {}", named(found), list.join("; ")))
        .help("run that part again: the others can stay as they are"))
}

/// Sees that what the parts kept of a stage comes from the same series and leaves no frame out.
fn fit(stage: &str, parts: &[Found], list: &[(PathBuf, Index)]) -> Result<()> {
    let extent = |index: &Index| -> Vec<_> {
        index.sources.iter().map(|(name, o)| (name.clone(), o.frames, o.scan.clone())).collect()
    };
    let mut next = 0;
    for (found, (_, index)) in parts.iter().zip(list) {
        if extent(index) != extent(&list[0].1) {
            return Err(Error::data(format!(
                "{} had another series than {}: `{stage}` has {:?} there and {:?} here",
                named(found),
                named(&parts[0]),
                extent(index),
                extent(&list[0].1)
            )));
        }
        match &index.range {
            Some(range) if range.start == next => next = range.end,
            range => {
                return Err(Error::data(format!(
                    "{}: `{stage}` covers {range:?}, wanted frames from {next} on",
                    named(found)
                )));
            }
        }
    }
    Ok(())
}

/// The accounts of all frames, stage by stage.
fn accounts(plan: &Plan, files: &dyn Files, parts: &[Found]) -> Result<BTreeMap<NodeId, (Ledger, u64)>> {
    let mut all: BTreeMap<NodeId, (Vec<Ledger>, u64)> = BTreeMap::new();
    for found in parts {
        let saved = index::open(files, &found.folder.join(format!("{INNER}/streams/{ACCOUNTS}")))?;
        for (name, entry) in saved.iter() {
            let (Some(id), Value::Dict(entry)) =
                (plan.nodes.iter().position(|n| n.name == name.as_str()), entry)
            else {
                return Err(Error::data(format!("no stage `{name}` for an account of {}", named(found))));
            };
            let Value::Dict(ledger) = entry.need("ledger")? else { continue };
            let (ledgers, records) = all.entry(id).or_default();
            ledgers.push(Ledger::load(ledger)?);
            *records += entry.need("records")?.number().unwrap_or(0.0) as u64;
        }
    }
    Ok(all.into_iter().map(|(id, (ledgers, records))| (id, (Ledger::sum(ledgers), records))).collect())
}

/// Leaves the accounts of a part where its merge looks for them.
pub fn leave_accounts(folder: &std::sync::Arc<Folder>, stages: &[StageReport]) -> Result<()> {
    let mut saved = Dict::new();
    for stage in stages {
        if let Some(ledger) = &stage.ledger {
            let entry = Dict::new().with("ledger", ledger.save()).with("records", stage.records as i64);
            saved.set(Key::from(stage.name.clone()), entry);
        }
    }
    folder.inner("isard").seal(ACCOUNTS, &index::seal(&saved))
}

fn named(found: &Found) -> String {
    format!("{} in {}", found.part, found.folder.display())
}
