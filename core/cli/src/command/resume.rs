//! `isard resume`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use isard_core::error::Error;
use isard_core::run::{self, Out};
use isard_core::store::{Provenance, RealFiles, difference};

use crate::command::run::{ShowArguments, go, said};
use crate::command::{Done, Plugins, RecipeArguments, Stop, planned, run_folder};
use crate::show::style;

/// Arguments of `isard resume`.
#[derive(Args)]
pub struct ResumeArguments {
    /// The output folder of the run.
    folder: PathBuf,
    /// The recipe, when it has moved since.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Go back to the beginning of this pass first.
    #[arg(long, value_name = "PASS")]
    restart_from: Option<String>,
    /// List the passes a run can be restarted from.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    plugins: Plugins,
    #[command(flatten)]
    show: ShowArguments,
}

/// Goes on with a run.
pub fn run(arguments: &ResumeArguments) -> Done {
    run_folder(&arguments.folder)?;
    if arguments.list {
        let names = run::restart_names(&RealFiles, &arguments.folder)?;
        style::print(&names.iter().map(|n| format!("{n}\n")).collect::<String>());
        return Ok(0);
    }
    let record = Provenance::read(&RealFiles, &arguments.folder)?;
    let recipe = recipe_of(&record, arguments.recipe.as_deref(), &arguments.plugins);
    let (_, plan, _) = planned(&recipe, arguments.show.json)
        .map_err(|stop| changed(&record, &recipe.recipe, stop, "resume with the recipe as it was"))?;
    let said = said(&recipe);
    let out = Out::Folder { path: arguments.folder.clone(), overwrite: false };
    match &arguments.restart_from {
        Some(step) => go(&plan, out, &arguments.show, |plan, mut options| {
            options.said = said;
            run::restart(plan, options, step)
        }),
        None => go(&plan, out, &arguments.show, |plan, mut options| {
            options.said = said;
            run::resume(plan, options)
        }),
    }
}

/// The recipe that a run had, and what the command line changed in it.
pub fn recipe_of(record: &Provenance, moved: Option<&Path>, plugins: &Plugins) -> RecipeArguments {
    let written = record.written.first().map(|(path, _)| PathBuf::from(path)).unwrap_or_default();
    let texts = |key: &str| -> Vec<String> {
        let list = record.options.get(key).and_then(|v| v.as_array()).cloned().unwrap_or_default();
        list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    RecipeArguments {
        recipe: moved.map_or(written, Path::to_owned),
        set: texts("set"),
        arguments: texts("in"),
        site: texts("site").first().map(PathBuf::from),
        folder: texts("folder").first().map(PathBuf::from).unwrap_or_default(),
        scan: texts(run::SCAN_OPTION).first().cloned(),
        texts: BTreeMap::new(),
        plugins: plugins.clone(),
    }
}

/// Faults of a recipe that had none when its run began come from a change, and the change says more than they do.
pub fn changed(record: &Provenance, recipe: &Path, stop: Stop, cure: &str) -> Stop {
    let (Stop::Faults(..), Some((_, before)), Ok(now)) =
        (&stop, record.written.first(), std::fs::read_to_string(recipe))
    else {
        return stop;
    };
    if *before == now {
        return stop;
    }
    let shown = difference(before, &now);
    Error::recipe(format!("the recipe has changed since the run began\n{shown}"))
        .help(format!("{cure}, or start anew with another `--out`"))
        .into()
}
