//! Repair: the outputs of recorders made whole after a run was cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::error::{Context, Error, Result};
use crate::plan::{Plan, What};
use crate::run::control::Meter;
use crate::run::options::{Options, Out};
use crate::run::pass::{Measured, Names, parameters};
use crate::run::per::{Per, kept_axes};
use crate::run::record::provenance;
use crate::run::recorder::Taken;
use crate::span::{Chunk, Ranges};
use crate::stage::{AnyWriter, Built, Cx, RunCx};
use crate::store::journal::{Found, journals};
use crate::store::rollback::standing;
use crate::store::{self, Checkpoint, Folder, GapList, Head, Provenance, Repaired, Sealed, checkpoint};
use crate::value::{Dict, Value};

/// What a repair made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Recorder by recorder.
    pub recorders: Vec<Repaired>,
    /// Files that are not listed anywhere and were moved below `.isard/aside/`.
    pub aside: Vec<String>,
    /// Whether the run had nothing to repair.
    pub whole: bool,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole {
            return write!(f, "nothing to repair: the run is finished");
        }
        for r in &self.recorders {
            let frames = Ranges::from_bounds(&r.frames);
            write!(f, "`{}`: {} frames ({frames}), ", r.stage, frames.count())?;
            writeln!(f, "{} blocks of its journal, {} bytes cut off", r.blocks, r.cut)?;
            r.damage.iter().try_for_each(|damage| writeln!(f, "`{}`: damaged: {damage}", r.stage))?;
        }
        match self.aside.len() {
            0 => {}
            n => writeln!(f, "{n} files that no checkpoint lists are in .isard/aside")?,
        }
        write!(f, "repaired: `isard verify` checks the folder")
    }
}

/// Makes whole what the recorders of a run had taken when it was cut off, up to their last commit.
///
/// The outputs of other stages go back to the last checkpoint. The run is over then: it is not resumed.
pub fn repair(plan: &Plan, options: Options) -> Result<Repair> {
    let Out::Folder { path, .. } = &options.out else {
        return Err(Error::internal("a run is repaired in its own folder"));
    };
    let opened = Folder::open(options.files.clone(), path)?;
    if let Some((_, why)) = &opened.stale {
        tracing::warn!(%why, "The lock of an earlier run was taken over.");
    }
    let folder = opened.folder;
    let files = &**folder.files();
    let mut record = Provenance::read(files, folder.root())?;
    if files.exists(&folder.path(store::MANIFEST)).unwrap_or(false) {
        return Ok(Repair { whole: true, ..Repair::default() });
    }
    record.same_recipe(&provenance(plan, &options))?;
    let found = journals(files, folder.root())?;
    let heads: Vec<Head> = found.iter().map(|f| Head::of(&f.head)).collect::<Result<_>>()?;
    let mut damage: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let listed = listed(&folder, &found, &heads, &mut damage)?;
    let back = folder.rollback(&Checkpoint { files: listed, ..Checkpoint::default() })?;

    let mut made = Repair { aside: back.aside, ..Repair::default() };
    record.status = "repaired".into();
    record.ended.get_or_insert_with(store::utc_now);
    record.gaps.clear();
    folder.set_record(record.to_json());
    for (found, head) in found.iter().zip(&heads) {
        let stage = &found.stage;
        let covers =
            again(plan, &options, &folder, &record, found, head).at(|| format!("stage `{stage}`"))?;
        let mut missing = Ranges::default();
        missing.add(0..head.expected.unwrap_or(0));
        covers.iter().for_each(|r| missing.remove(r.clone()));
        if !missing.is_empty() {
            record.gaps.push(GapList::new(stage, "missing", &missing));
        }
        let mut damage = damage.remove(stage).unwrap_or_default();
        damage.extend(found.damage.iter().cloned());
        made.recorders.push(Repaired {
            stage: stage.clone(),
            frames: covers.bounds(),
            blocks: found.blocks.iter().filter(|b| b.whole).count() as u64,
            cut: found.cut,
            damage,
        });
    }
    record.repaired.clone_from(&made.recorders);
    folder.log(&format!("{} repaired: {}\n", store::utc_now(), made.to_string().replace('\n', "; ")))?;
    folder.put_run(&record.to_json())?;
    // The journals go when all they hold is listed.
    store::finish(&folder, &record.content)?;
    folder.close();
    Ok(made)
}

/// The files that stay: whole parts of recorders, and what the last checkpoint lists of other stages.
fn listed(
    folder: &Folder,
    found: &[Found],
    heads: &[Head],
    damage: &mut BTreeMap<String, Vec<String>>,
) -> Result<Vec<Sealed>> {
    let files = &**folder.files();
    let recorders: BTreeSet<&str> = found.iter().map(|f| f.stage.as_str()).collect();
    let mut listed: Vec<Sealed> = vec![];
    match checkpoint::load(folder) {
        Ok(loaded) => {
            let of_others = loaded.checkpoint.into_iter().flat_map(|c| c.files);
            listed.extend(of_others.filter(|f| !recorders.contains(f.stage.as_str())));
        }
        // The recorders do not depend on it, and they are what a repair is for.
        Err(error) => tracing::warn!(%error, "No checkpoint can be read: only recorders are repaired."),
    }
    listed.extend(heads.iter().flat_map(Head::standing).cloned());
    listed.retain(|file| {
        let stands = standing(files, folder.root(), file);
        if let Err(lost) = &stands {
            damage.entry(file.stage.clone()).or_default().push(format!("`{}` {lost}", file.path));
        }
        stands.is_ok()
    });
    Ok(listed)
}

/// Gives a writer its journal again, from where its whole files end; what it covers then.
fn again(
    plan: &Plan,
    options: &Options,
    folder: &std::sync::Arc<Folder>,
    record: &Provenance,
    found: &Found,
    head: &Head,
) -> Result<Ranges> {
    let mut covers = head.covers.clone();
    if head.ended {
        return Ok(covers);
    }
    let id = plan.nodes.iter().position(|n| n.name == found.stage);
    let step = plan.steps.iter().find(|s| s.name == head.step);
    let (Some(id), Some(step)) = (id, step) else {
        return Err(Error::data(format!("the recipe has no such stage in step `{}`", head.step)));
    };
    let What::Stage(declaration) = &plan.nodes[id].what else {
        return Err(Error::internal("a join was journaled"));
    };
    let (node, set) = (&plan.nodes[id], parameters(plan, id, step, &Names::of(record)));
    let mut built = (declaration.build)(set.clone())?;
    if let Some(axis) = &node.run.per {
        let (axes, frames) =
            head.scan.clone().ok_or_else(|| Error::data("its journal knows no scan axes"))?;
        built = Per::of(node, axis, declaration, set, &(kept_axes(Some(axes)), frames))?.wrap(built);
    }
    let Built::Writer(mut stage) = built else {
        return Err(Error::internal("a recorder was built as another role"));
    };
    let run = RunCx { seed: plan.run.seed, reader: options.reader.clone(), ..RunCx::default() };
    let cx = Cx::new(&run, &found.stage);
    let output = Measured::over(folder.output(&found.stage), plan, id, Meter::new(&found.stage));
    stage.open(&cx, output, head.state.clone())?;
    for block in found.blocks.iter().filter(|b| b.whole) {
        let taken = found.value(block).and_then(|value| Taken::of(&value));
        give(&mut *stage, &cx, taken?, &head.fixed, &mut covers).at(|| format!("block {}", block.number))?;
    }
    stage.finish(&cx, &covers)?;
    Ok(covers)
}

/// Gives a writer what a block holds.
fn give(stage: &mut dyn AnyWriter, cx: &Cx, taken: Taken, fixed: &Dict, covers: &mut Ranges) -> Result<()> {
    let with_fixed = |mut data: Dict| {
        fixed.iter().for_each(|(port, value): (&_, &Value)| data.set(port.clone(), value.clone()));
        data
    };
    match taken {
        Taken::Chunk(Chunk { span, data, covers: behind, .. }) => {
            stage.write(cx, &span, with_fixed(data))?;
            if span.is_frames() {
                covers.add(span.range());
            } else if let Some(behind) = behind {
                behind.iter().for_each(|r| covers.add(r.clone()));
            }
            Ok(())
        }
        Taken::Gap(gap) => stage.gap(cx, &gap),
        Taken::Corrupt(gap, frame) => stage.corrupt(cx, &gap, with_fixed(frame)).map(drop),
    }
}
