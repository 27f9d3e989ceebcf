//! How a run begins: anew, as the merge of parts, where an earlier one ended, at the beginning of a pass.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::run::execute::Execution;
use crate::run::options::{Options, Out, Reuse};
use crate::run::record::provenance;
use crate::run::report::Report;
use crate::run::scope::Scope;
use crate::run::{parts, reuse};
use crate::store::{self, Files, Folder, Provenance, Reused, checkpoint, journal};

/// Runs a plan from its beginning.
pub fn run(plan: &Plan, options: Options) -> Result<Report> {
    let mut record = provenance(plan, &options);
    let mut scopes = vec![];
    if record.part.is_some() && !options.reuse.is_empty() {
        return Err(
            Error::recipe("a part of a run cannot reuse outputs").help("reuse them in a run of all frames")
        );
    }
    if let Some(part) = record.part {
        scopes.push(Scope::of_part(plan, part)?);
    } else if !options.reuse.is_empty() {
        (scopes, record.reused) = reuse::scopes(plan, &record, &*options.files, &options.reuse)?;
    }
    begin(plan, options, record, scopes)
}

/// Makes one run of its parts: adds up what they kept and runs everything that parts leave out.
pub fn merge(plan: &Plan, options: Options, folders: &[PathBuf]) -> Result<Report> {
    let mut record = provenance(plan, &options);
    let (scope, used) = parts::scope(plan, &record, &*options.files, folders)?;
    record.parts = used;
    begin(plan, options, record, vec![scope])
}

/// Runs in a folder of its own what is known to be possible.
fn begin(plan: &Plan, options: Options, record: Provenance, scopes: Vec<Scope>) -> Result<Report> {
    let files = options.files.clone();
    if let Out::Folder { path, .. } = &options.out {
        // With `overwrite` it would be cleared before it is read.
        let out = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let read = record.parts.iter().map(|p| &p.path).chain(record.reused.iter().map(|r| &r.path));
        if let Some(read) =
            read.map(std::path::Path::new).find(|read| read.starts_with(&out) || out.starts_with(read))
        {
            return Err(Error::recipe(format!("{} is read and cannot be written to", read.display()))
                .help("choose another output folder"));
        }
    }
    let folder = match &options.out {
        Out::Numbered(base) => Folder::numbered(files, base, &plan.name)?,
        Out::Folder { path, overwrite } => Folder::create(files, path, *overwrite)?,
    };
    Execution::new(plan, folder, record, scopes, options)?.go(None)
}

/// The scopes of a run that goes on: as at its beginning, from parts and outputs that must be what they were.
fn scopes_of(plan: &Plan, record: &Provenance, files: &dyn Files) -> Result<Vec<Scope>> {
    let changed = |what: &str| {
        Error::data(format!("{what} changed since the run began"))
            .help("start anew with another `--out`, or bring back what was there")
    };
    if let Some(part) = record.part {
        return Ok(vec![Scope::of_part(plan, part)?]);
    }
    if !record.parts.is_empty() {
        let folders: Vec<PathBuf> = record.parts.iter().map(|p| p.path.clone().into()).collect();
        let (scope, used) = parts::scope(plan, record, files, &folders)?;
        return if used == record.parts { Ok(vec![scope]) } else { Err(changed("a part that is merged")) };
    }
    let again = |r: &Reused| Reuse { stage: r.stage.clone(), path: r.path.clone().into(), anyway: r.anyway };
    let list: Vec<Reuse> = record.reused.iter().map(again).collect();
    if list.is_empty() {
        return Ok(vec![]);
    }
    let (scopes, reused) = reuse::scopes(plan, record, files, &list)?;
    if reused == record.reused { Ok(scopes) } else { Err(changed("an output that is reused")) }
}

/// Goes on with the run of a folder from its last checkpoint; refuses a changed recipe.
pub fn resume(plan: &Plan, options: Options) -> Result<Report> {
    let Out::Folder { path, .. } = &options.out else {
        return Err(Error::internal("a run is resumed in its own folder"));
    };
    let opened = Folder::open(options.files.clone(), path)?;
    if let Some((_, why)) = &opened.stale {
        tracing::warn!(%why, "The lock of an earlier run was taken over.");
    }
    let folder = opened.folder;
    let now = provenance(plan, &options);
    // A run that was cut off before it wrote its record has nothing to go on from but its beginning.
    let mut record = match Provenance::read(&**folder.files(), folder.root()) {
        Ok(before) => {
            before.same_recipe(&now)?;
            // A run that was cut off between its record and its manifest has its last part to do again.
            let whole = folder.files().exists(&folder.path(store::MANIFEST)).unwrap_or(false);
            if before.status == "repaired" && whole {
                return Err(Error::recipe(format!("the run in {} was repaired", folder.root().display()))
                    .help("what its recorders had taken is whole: `isard run` starts another run"));
            }
            if before.status == "done" && whole {
                return Err(Error::recipe(format!("the run in {} is done", folder.root().display()))
                    .help("`isard verify` checks it, `isard run` starts another"));
            }
            before
        }
        Err(_) => now,
    };
    goes_on(&mut record);
    let scopes = scopes_of(plan, &record, &**folder.files())?;
    let loaded = checkpoint::load(&folder)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let checkpoint = loaded.checkpoint.unwrap_or_default();
    forget_journals(&folder)?;
    folder.rollback(&checkpoint)?;
    let from = (!checkpoint.step.is_empty()).then_some(checkpoint);
    Execution::new(plan, folder, record, scopes, options)?.go(from)
}

/// The names a run can be restarted from, in order: the passes that it began.
pub fn restart_names(files: &dyn Files, root: &std::path::Path) -> Result<Vec<String>> {
    Ok(checkpoint::boundaries(files, root)?.into_iter().map(|c| c.step).collect())
}

/// Goes back to the beginning of a pass, and runs on from there.
pub fn restart(plan: &Plan, options: Options, step: &str) -> Result<Report> {
    let Out::Folder { path, .. } = &options.out else {
        return Err(Error::internal("a run is restarted in its own folder"));
    };
    let folder = Folder::open(options.files.clone(), path)?.folder;
    let mut record = Provenance::read(&**folder.files(), folder.root())?;
    record.same_recipe(&provenance(plan, &options))?;
    let kept = checkpoint::boundaries(&**folder.files(), folder.root())?;
    let names: Vec<&str> = kept.iter().map(|c| c.step.as_str()).collect();
    let Some(from) = kept.iter().find(|c| c.step == step) else {
        let names = names.join("`, `");
        return Err(
            Error::recipe(format!("no pass `{step}` to restart from")).help(format!("there are `{names}`"))
        );
    };
    let scopes = scopes_of(plan, &record, &**folder.files())?;
    checkpoint::restart(&folder, from)?;
    forget_journals(&folder)?;
    folder.rollback(from)?;
    goes_on(&mut record);
    Execution::new(plan, folder, record, scopes, options)?.go(Some(from.clone()))
}

/// Lets go of what recorders had taken since their last commits: the run takes those frames again.
fn forget_journals(folder: &Folder) -> Result<()> {
    for found in journal::journals(&**folder.files(), folder.root())? {
        let frames: u64 = found.blocks.iter().map(|b| b.frames.end - b.frames.start).sum();
        if frames > 0 {
            tracing::warn!(stage = %found.stage, frames, "Frames recorded since the checkpoint are let go: a source that can gives them again.");
        }
    }
    journal::drop_journals(&**folder.files(), folder.root())
}

/// Takes back what a record says of the end of a run.
fn goes_on(record: &mut Provenance) {
    record.resumed.push(store::utc_now());
    record.status = "running".into();
    (record.ended, record.exit, record.error) = (None, None, None);
}
