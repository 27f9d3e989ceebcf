//! `isard repair`.

use std::path::PathBuf;

use clap::Args;
use isard_core::run::{self, Out};
use isard_core::store::{Provenance, RealFiles};

use crate::command::resume::recipe_of;
use crate::command::{DAMAGED, Done, Plugins, planned, run_folder, run_options};
use crate::show::style;

/// Arguments of `isard repair`.
#[derive(Args)]
pub struct RepairArguments {
    /// The output folder of the run.
    folder: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: Plugins,
}

/// Makes whole what the recorders of a run had taken.
pub fn run(arguments: &RepairArguments) -> Done {
    run_folder(&arguments.folder)?;
    let record = Provenance::read(&RealFiles, &arguments.folder)?;
    let mut recipe = recipe_of(&record, None, &arguments.plugins);
    // The recipe as it was then: its file may have changed or gone.
    recipe.texts = record.written.iter().map(|(path, text)| (path.into(), text.clone())).collect();
    let (_, plan, _) = planned(&recipe, arguments.json)?;
    let mut options = run_options(Out::Folder { path: arguments.folder.clone(), overwrite: false });
    options.said = crate::command::run::said(&recipe);
    let made = run::repair(&plan, options)?;
    match arguments.json {
        true => {
            let json = serde_json::to_value(&made).map_err(|e| isard_core::Error::internal(e.to_string()))?;
            style::print(&format!("{json:#}\n"));
        }
        false => style::print(&format!("{made}\n")),
    }
    Ok(if made.recorders.iter().any(|r| !r.damage.is_empty()) { DAMAGED } else { 0 })
}
