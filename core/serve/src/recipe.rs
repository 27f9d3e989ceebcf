//! A recipe as a job: its `[in]` from the input, its `[out]` as the output.

use std::path::Path;
use std::sync::Arc;

use isard_core::error::{Error, Result};
use isard_core::plan;
use isard_core::recipe::{self, Overrides};
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_core::stage::{Prepared, Reader};
use isard_core::store;
use isard_core::value::{Dict, Value};

use crate::abort::Abort;
use crate::bind::ADDED;
use crate::catalog::RecipeFile;
use crate::confine::Confine;

/// Where and with what the run of a recipe goes on.
pub struct Surroundings<'a> {
    /// The stages that it may use.
    pub registry: &'a Registry,
    /// The folder of the run; it is there if the run goes on.
    pub out: &'a Path,
    /// The paths that its arguments may name.
    pub confine: &'a Confine,
    /// Reads what paths name.
    pub reader: Option<Arc<Reader>>,
    /// Costly set-up, shared with other jobs.
    pub prepared: Arc<Prepared>,
    /// The wish that it ends.
    pub abort: &'a Abort,
    /// Goes on with what is in the folder.
    pub resume: bool,
}

/// Runs a recipe to its end; its results and the folder of the run.
pub fn run(recipe: &RecipeFile, input: &Dict, around: &Surroundings) -> Result<Dict> {
    around.confine.check(input)?;
    let mut over = Overrides { folder: around.confine.base().to_owned(), ..Overrides::default() };
    for (key, value) in input.iter().filter(|(key, _)| !ADDED.contains(&key.as_str())) {
        over.arguments.insert(key.to_string(), value.clone());
    }
    let loaded = recipe::load(&recipe.path, &over)?;
    let (plan, warnings) = plan::make(&loaded, around.registry)?;
    if !warnings.is_empty() {
        tracing::warn!("{}", warnings.render(false).trim_end());
    }
    let mut options = Options::new(Out::Folder { path: around.out.to_owned(), overwrite: false });
    options.reader = around.reader.clone();
    options.prepared = around.prepared.clone();
    options.cancel = around.abort.flag().clone();
    options.said.insert("job".into(), around.out.display().to_string().into());
    let output = |mut results: Dict, out: &Path| {
        results.set("run_folder", out.display().to_string());
        results
    };
    let report = match around.resume && has_begun(around.out) {
        true => {
            // Its run may have ended well, and the server before it could note that.
            if let Some(results) = run::results(&*options.files, around.out)? {
                return Ok(output(results, around.out));
            }
            run::resume(&plan, options)?
        }
        false => run::run(&plan, options)?,
    };
    match report.outcome {
        Outcome::Done | Outcome::Detached => Ok(output(report.results, &report.out)),
        Outcome::Failed(error) => Err(error),
        Outcome::Stopped => Err(Error::cancelled()),
        Outcome::Limits(limits) => {
            Err(Error::data(format!("more frames went wrong than the recipe allows: {}", limits.join("; ")))
                .help(format!("{} says which", around.out.join("run.json").display())))
        }
    }
}

/// Whether a folder holds what there is to go on from.
pub fn has_begun(out: &Path) -> bool {
    out.join(store::INNER).is_dir()
}

/// The last lines of the log of a run.
pub fn log(out: &Path, lines: usize) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("log.txt")).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| Value::from(*line)).collect()
}
