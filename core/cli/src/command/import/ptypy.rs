//! `isard import ptypy`: a recipe from a parameter tree of PtyPy.

use std::path::PathBuf;

use clap::Args;
use isard_core::error::{Context, Error};

use crate::command::Done;
use crate::show::style;

/// A parameter tree, and where the recipe goes.
#[derive(Args)]
pub struct PtypyArguments {
    /// The parameter tree, in JSON or YAML.
    file: PathBuf,
    /// The recipe; printed when it is not given.
    #[arg(long, short, value_name = "RECIPE.toml")]
    out: Option<PathBuf>,
}

/// Makes the recipe; names what it cannot take.
pub fn run(arguments: &PtypyArguments) -> Done {
    let path = &arguments.file;
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let made = isard_ptycho::import::import(&text).at(|| path.display().to_string())?;
    super::put(arguments.out.as_deref(), &made.recipe)?;
    for left in made.left {
        style::complain(&format!("not taken: {left}\n"));
    }
    Ok(0)
}
