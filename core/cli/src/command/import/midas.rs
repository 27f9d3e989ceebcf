//! `isard import midas`: a recipe from a parameter file of the MIDAS near-field programs.

use std::path::{Path, PathBuf};

use clap::Args;
use isard_core::error::Error;

use crate::command::Done;
use crate::show::style;

/// A parameter file, and where the recipe goes.
#[derive(Args)]
pub struct MidasArguments {
    /// The parameter file; its paths count from its folder.
    #[arg(value_name = "PARAMS.txt")]
    file: PathBuf,
    /// The recipe; printed when it is not given.
    #[arg(long, short, value_name = "RECIPE.toml")]
    out: Option<PathBuf>,
}

/// Makes the recipe.
pub fn run(arguments: &MidasArguments) -> Done {
    let path = &arguments.file;
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| Error::io("cannot find", folder, &e))?;
    let imported =
        isard_hedm::import::import(&text, &folder).map_err(|e| e.at(path.display().to_string()))?;
    style::complain(&imported.notes.iter().map(|n| format!("{n}\n")).collect::<String>());
    super::put(arguments.out.as_deref(), &imported.recipe)?;
    Ok(0)
}
