//! Where the plugin of a job runs.

use isard_core::error::{Error, Result};
use isard_core::port::check_output;
use isard_core::registry::Declaration;
use isard_core::stage::{Built, Cx, Fault, RunCx};
use isard_core::value::Dict;

use crate::abort::Abort;

/// One call of a plugin: everything that an executor needs to know.
pub struct Call<'a> {
    /// The job.
    pub id: u64,
    /// The plugin.
    pub declaration: &'a Declaration,
    /// Its checked parameters, defaults filled in.
    pub set: serde_json::Value,
    /// Its input ports.
    pub input: Dict,
    /// What it may ask for: buffers, threads, files, prepared set-up.
    pub run: &'a RunCx,
    /// The wish that it ends.
    pub abort: &'a Abort,
}

/// Runs plugins: in this process, or where they can be killed.
///
/// `run` is called on a worker's thread and comes back when the plugin has ended. It should come back soon after
/// [`Abort::asked`]; an executor in front of a child process registers the kill with [`Abort::on_abort`].
pub trait Executor: Send + Sync {
    /// Runs a plugin to its end.
    fn run(&self, call: Call) -> Result<Dict>;
}

/// Runs plugins in this process; an abort asks them to end, and nothing can force them.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

impl Executor for InProcess {
    fn run(&self, call: Call) -> Result<Dict> {
        let name = &call.declaration.name;
        let mut task = match (call.declaration.build)(call.set)? {
            Built::Task(task) => task,
            _ => return Err(Error::plugin(format!("`{name}` declares a task and builds something else"))),
        };
        let faults: Vec<String> = task.check().into_iter().map(fault).collect();
        if !faults.is_empty() {
            return Err(Error::recipe(format!("parameters of `{name}`: {}", faults.join("; "))));
        }
        let cx = Cx::new(call.run, name);
        let output = task.run(&cx, call.input)?;
        check_output(&call.declaration.outputs, None, &output)?;
        Ok(output)
    }
}

fn fault(Fault { parameter, message, help }: Fault) -> String {
    let help = help.map_or_else(String::new, |help| format!(" (help: {help})"));
    format!("`{parameter}` {message}{help}")
}
