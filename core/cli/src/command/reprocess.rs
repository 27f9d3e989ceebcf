//! `isard reprocess`: jobs run again from their files, without a server.

use std::path::PathBuf;

use clap::Args;
use isard_core::error::Error;
use isard_serve::reprocess::{Done as Job, Reprocess, reprocess};
use isard_serve::{Config, Folder, State};

use crate::command::{Done, Plugins, jobs, serve};
use crate::show::style;

/// Arguments of `isard reprocess`.
#[derive(Args)]
pub struct ReprocessArguments {
    /// Inputs of jobs: `.inp` files, or any JSON with a `plugin_name`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where outputs go: into a new dated folder below, or into this one if it is named like one.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Set a key of every input anew.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leave a key of every input out.
    #[arg(long, value_name = "KEY")]
    ignore: Vec<String>,
    /// So many jobs at once.
    #[arg(short = 'j', long = "jobs", value_name = "N", default_value_t = 1)]
    at_once: usize,
    /// Print what the jobs log, too.
    #[arg(short, long)]
    debug: bool,
    /// A folder of recipes: `NAME.toml` is `recipe.NAME`.
    #[arg(long, value_name = "DIR")]
    recipes: Vec<PathBuf>,
    #[command(flatten)]
    plugins: Plugins,
}

/// Runs jobs again.
pub fn run(arguments: &ReprocessArguments) -> Done {
    let config = Config { recipe_folders: arguments.recipes.clone(), ..serve::base(&arguments.plugins) };
    let set: serde_json::Map<_, _> = jobs::keys(&arguments.set)?.into_iter().collect();
    let how = Reprocess {
        out: Folder::dated(&arguments.out),
        set: isard_serve::dictionary(&set.into())?,
        ignore: arguments.ignore.clone(),
        at_once: arguments.at_once,
    };
    let all = reprocess(&config, &how, &arguments.files, |job| report(job, arguments.debug))?;
    style::note(&format!("outputs in {}", how.out.display()));
    let some = |state: Option<State>| all.iter().any(|job| job.state == state);
    Ok(match (some(Some(State::Failure)), some(None)) {
        (true, _) => 3,
        (false, true) => 5,
        (false, false) => 0,
    })
}

fn report(job: &Job, debug: bool) {
    let mut text = format!("Processing #{}: {}\n", job.index, job.file.display());
    for key in &job.ignored {
        style::note(&format!("#{}: `{key}` makes no sense here and is left out", job.index));
    }
    let Some(state) = job.state else {
        let error = Error::data(format!("no file {}", job.file.display()));
        style::note(&format!("warning: {} is skipped: {}", job.file.display(), error.message()));
        return style::print(&text);
    };
    text += &format!("Finished with state: {state}\n");
    let mut output = job.output.clone();
    if !debug {
        output.take("logging");
    }
    if job.error.is_none() {
        let json = isard_serve::json::object(&output, isard_serve::json::NotNumbers::Text);
        text += &format!("{}\n", isard_serve::json::indented(&json));
    }
    style::print(&text);
    if let Some(error) = &job.error {
        style::error(error);
    }
}
