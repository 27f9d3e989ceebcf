//! One stage on one input, and sources opened without a run: for trying things out.

use std::collections::BTreeMap;

use crate::error::{Context, Error, Result};
use crate::plan::{Feed, NodeId, Plan, What};
use crate::registry::Role;
use crate::run::options::Options;
use crate::span::Span;
use crate::stage::{Built, Cx, Opened, Position, RunCx, Shape, Slice, Slots};
use crate::value::{Dict, Value};

/// Gives a stage all its input at once and returns what it comes to.
///
/// `frames` lead with the frame axis, `fixed` are one value each. A source is read to its end.
pub fn once(name: &str, stage: Built, run: &RunCx, frames: &Dict, fixed: &Dict) -> Result<Dict> {
    let cx = Cx::new(run, name);
    let count = frames.values().find_map(Value::records).unwrap_or(0) as u64;
    let span = Span::frames(0, count);
    let mut input = frames.clone();
    fixed.iter().for_each(|(key, value)| input.set(key.clone(), value.clone()));
    let wanted = || match count {
        0 => Err(Error::recipe(format!("`{name}` needs input")).help("give it with --in")),
        _ => Ok(()),
    };
    match stage {
        Built::Task(mut task) => task.run(&cx, input),
        Built::Map(map) => {
            wanted()?;
            map.apply(&cx, &span, input)
        }
        Built::Reduce(reduce) => {
            wanted()?;
            let mut part = reduce.part(&cx)?;
            reduce.add(&cx, &mut part, &span, input)?;
            reduce.finish(&cx, part)
        }
        Built::Fit(mut fit) => {
            wanted()?;
            fit.absorb(&cx, &span, input)?;
            fit.complete(&cx)?;
            while fit.refine(&cx, &Slice::one_step())?.more {}
            fit.snapshot(&cx)?
                .ok_or_else(|| Error::data(format!("`{name}` has nothing to show for this input")))
        }
        Built::Fold(mut fold) => {
            wanted()?;
            let mut emit = crate::stage::Emit::default();
            fold.push(&cx, &span, input, &mut emit)?;
            fold.finish(&cx, &mut emit)?;
            let (mut items, _) = emit.take();
            items.sort_by_key(|(span, _)| span.start);
            joined(items.into_iter().map(|(_, output)| output).collect(), run)
        }
        Built::Source(mut source) => {
            source.open(&cx, input, Position { next: 0 })?;
            let mut outputs = vec![];
            let mut next = 0;
            loop {
                let mut slots = Slots::<Dict>::new(16, next);
                let pulled = source.pull(&cx, &mut slots)?;
                for arrival in slots.take() {
                    if let crate::stage::Arrival::Frames { first, count, data } = arrival {
                        next = next.max(first + count);
                        outputs.push(data);
                    }
                }
                match pulled {
                    crate::stage::Pull::End => return joined(outputs, run),
                    crate::stage::Pull::Wait(pause) => std::thread::sleep(pause),
                    crate::stage::Pull::Ready => (),
                }
            }
        }
        Built::Writer(_) => {
            Err(Error::recipe(format!("`{name}` is a writer"))
                .help("writers are tried in a recipe: isard run"))
        }
    }
}

/// Outputs one after the other.
fn joined(outputs: Vec<Dict>, run: &RunCx) -> Result<Dict> {
    let Some(first) = outputs.first() else { return Ok(Dict::new()) };
    let mut all = Dict::new();
    for (key, _) in first.iter() {
        let values: Vec<Value> = outputs.iter().filter_map(|o| o.get(key.as_str()).cloned()).collect();
        all.set(key.clone(), Value::concat(&values, &run.pool).at(|| format!("`{key}`"))?);
    }
    Ok(all)
}

/// The shapes of what files hold that inputs of the first pass name, by their path in the recipe.
pub fn files(plan: &Plan, options: &Options) -> Result<BTreeMap<String, Shape>> {
    let run = RunCx { reader: options.reader.clone(), seed: plan.run.seed, ..RunCx::default() };
    let mut all = BTreeMap::new();
    let tasks = |id: &&NodeId| plan.nodes[**id].role() == Some(Role::Task);
    for &id in plan.passes.first().map_or(&[][..], |p| &p.nodes).iter().filter(|id| !tasks(id)) {
        for (_, feed) in &plan.nodes[id].inputs {
            if let Feed::File(path) = feed {
                let value = Cx::new(&run, "input").read(path).at(|| plan.place(id))?;
                all.insert(path.clone(), Shape::of(&value));
            }
        }
    }
    Ok(all)
}

/// Opens the sources of the first pass that need no other stage; nothing runs.
pub fn open(plan: &Plan, options: &Options) -> Result<BTreeMap<NodeId, Opened>> {
    let run = RunCx { reader: options.reader.clone(), seed: plan.run.seed, ..RunCx::default() };
    let mut all = BTreeMap::new();
    for &id in plan.passes.first().map_or(&[][..], |p| &p.nodes) {
        let node = &plan.nodes[id];
        let What::Stage(declaration) = &node.what else { continue };
        if let Built::Source(mut source) = (declaration.build)(node.set.clone())?
            && node.inputs.is_empty()
        {
            let cx = Cx::new(&run, &node.name);
            let opened = source.open(&cx, Dict::new(), Position { next: 0 });
            all.insert(id, opened.at(|| plan.place(id))?);
        }
    }
    Ok(all)
}
