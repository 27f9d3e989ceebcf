//! `isard merge`.

use std::path::PathBuf;

use clap::Args;
use isard_core::error::Error;
use isard_core::run::{self, Out};
use isard_core::store::{Provenance, RealFiles};

use crate::command::resume::{changed, recipe_of};
use crate::command::run::{ShowArguments, go, said};
use crate::command::{Done, Plugins, planned, run_folder};

/// Arguments of `isard merge`.
#[derive(Args)]
pub struct MergeArguments {
    /// The output folder of the whole run.
    out: PathBuf,
    /// The output folders of all parts, in any order.
    #[arg(required = true, value_name = "PART_DIR")]
    parts: Vec<PathBuf>,
    /// The recipe, when it is not where the first part found it.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Remove what an earlier run left in the output folder.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    plugins: Plugins,
    #[command(flatten)]
    show: ShowArguments,
}

/// Makes one run of its parts.
pub fn run(arguments: &MergeArguments) -> Done {
    arguments.parts.iter().try_for_each(|part| run_folder(part))?;
    let Some(first) = arguments.parts.first() else {
        return Err(Error::recipe("there are no parts to merge").into());
    };
    let record = Provenance::read(&RealFiles, first)?;
    let recipe = recipe_of(&record, arguments.recipe.as_deref(), &arguments.plugins);
    let (_, plan, _) = planned(&recipe, arguments.show.json)
        .map_err(|stop| changed(&record, &recipe.recipe, stop, "merge with the recipe that the parts had"))?;
    let said = said(&recipe);
    let out = Out::Folder { path: arguments.out.clone(), overwrite: arguments.overwrite };
    go(&plan, out, &arguments.show, |plan, mut options| {
        options.said = said;
        run::merge(plan, options, &arguments.parts)
    })
}
