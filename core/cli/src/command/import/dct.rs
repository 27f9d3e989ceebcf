//! `isard import dct`: a recipe from the parameter files of the DCT pipeline.

use std::path::PathBuf;

use clap::Args;
use isard_core::error::Error;

use crate::command::Done;
use crate::show::style;

/// Parameter files, and where the recipe goes.
#[derive(Args)]
pub struct DctArguments {
    /// The parameter files; where two give the same parameter the later one wins.
    #[arg(required = true, value_name = "FILE.yml")]
    files: Vec<PathBuf>,
    /// The recipe; printed when it is not given.
    #[arg(long, short, value_name = "RECIPE.toml")]
    out: Option<PathBuf>,
}

/// Makes the recipe.
pub fn run(arguments: &DctArguments) -> Done {
    let mut files = vec![];
    for path in &arguments.files {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        files.push((path.as_path(), text));
    }
    let imported = isard_dct::import::recipe(&files)?;
    style::complain(&imported.notes.iter().map(|n| format!("{n}\n")).collect::<String>());
    super::put(arguments.out.as_deref(), &imported.recipe)?;
    Ok(0)
}
