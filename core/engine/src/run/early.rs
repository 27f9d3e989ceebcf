//! Tasks that are cheap and pure run in `check`: what they find is a fault before any frame is taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::error::{Error, Result};
use crate::plan::{Feed, NodeId, Plan, What};
use crate::port::check_output;
use crate::registry::Declaration;
use crate::run::options::Options;
use crate::stage::{Beat, Built, Cx, RunCx, Turns, guard};
use crate::value::Dict;

/// Runs the tasks declared `early` whose inputs are constants or come from such tasks; gives what they gave.
///
/// Constants are values and parameters of the recipe. What stands in files, in the head of a source or under `carry`
/// is data, and `check` needs none. In a loop a task runs as in the first turn.
pub fn early(plan: &Plan, options: &Options) -> std::result::Result<BTreeMap<NodeId, Dict>, Diagnostics> {
    let run = Arc::new(RunCx {
        seed: plan.run.seed,
        cancel: options.cancel.clone(),
        prepared: options.prepared.clone(),
        hang_s: plan.run.hang_s,
        ..RunCx::default()
    });
    let mut given = BTreeMap::new();
    let mut faults = vec![];
    for &id in plan.passes.iter().flat_map(|pass| &pass.nodes) {
        let node = &plan.nodes[id];
        let What::Stage(declaration) = &node.what else { continue };
        if !declaration.early || !node.from.is_empty() {
            continue;
        }
        let Some(input) = constants(plan, id, &given) else { continue };
        match one(plan, id, declaration, &run, input) {
            Ok(output) => drop(given.insert(id, output)),
            Err(error) => {
                let fault = Diagnostic::error("E0163", format!("task `{}` finds a fault", node.name))
                    .at(node.at, error.message())
                    .note(format!("`{}` is cheap and pure: it has run already", declaration.name));
                faults.push(error.advice().map_or(fault.clone(), |help| fault.help(help)));
            }
        }
    }
    if faults.is_empty() { Ok(given) } else { Err(Diagnostics::new(plan.files.clone(), faults)) }
}

/// The input of a task, when all of it is known before the run.
fn constants(plan: &Plan, id: NodeId, given: &BTreeMap<NodeId, Dict>) -> Option<Dict> {
    let mut input = Dict::new();
    for (port, feed) in &plan.nodes[id].inputs {
        let value = match feed {
            Feed::Value(value) => value.clone(),
            Feed::Argument(name) => plan.arguments.get(name)?.clone(),
            Feed::Final { node, port } => given.get(node)?.get(port.as_str())?.clone(),
            Feed::Stream(_)
            | Feed::Head { .. }
            | Feed::Latched { .. }
            | Feed::Carry { .. }
            | Feed::File(_) => return None,
        };
        input.set(port.clone(), value);
    }
    Some(input)
}

/// Runs one task, on a thread that can be left behind when it hangs.
fn one(
    plan: &Plan,
    id: NodeId,
    declaration: &Arc<Declaration>,
    run: &Arc<RunCx>,
    input: Dict,
) -> Result<Dict> {
    let (tx, rx) = crossbeam_channel::bounded(1);
    let (name, set) = (plan.nodes[id].name.clone(), plan.nodes[id].set.clone());
    let (declaration, run) = (declaration.clone(), run.clone());
    let (beat, begun, mut turns) = (Arc::new(Beat::default()), Instant::now(), Turns::new());
    let strike = beat.clone();
    let work = move || {
        let result = guard("run", || match (declaration.build)(set)? {
            Built::Task(mut task) => {
                let output = task.run(&Cx::watched(&run, &name, &strike), input)?;
                check_output(&declaration.outputs, None, &output)?;
                Ok(output)
            }
            _ => Err(Error::plugin(format!("`{}` is declared early and is no task", declaration.name))),
        });
        // Nobody listens any more when this took too long.
        let _ = tx.send(result);
    };
    let thread = std::thread::Builder::new().name("isard early".into()).spawn(work);
    thread.map_err(|e| Error::new(crate::Blame::Resources, format!("cannot start a thread: {e}")))?;
    let limit = Duration::try_from_secs_f64(plan.run.hang_s).unwrap_or(Duration::MAX);
    let still = || beat.still(begun);
    loop {
        let answer = rx.recv_timeout(limit.saturating_sub(still()).min(Duration::from_millis(100)));
        let waited = still();
        let slept = turns.slept();
        beat.forgive(begun, slept);
        match answer {
            Ok(result) => return result,
            // There is time left, or a piece of the work was done meanwhile.
            Err(RecvTimeoutError::Timeout) if waited.saturating_sub(slept) < limit => (),
            Err(_) => {
                let error = Error::plugin(format!("it has not come back for {} s", plan.run.hang_s));
                return Err(error.help("raise `run.hang_s` if it needs that long"));
            }
        }
    }
}
