//! `isard import pyfai`: a recipe from an integration configuration (JSON).

use std::path::PathBuf;

use clap::Args;
use isard_core::error::{Context, Error};

use crate::command::Done;
use crate::show::style;

/// A configuration, and where the recipe goes.
#[derive(Args)]
pub struct PyfaiArguments {
    /// The configuration, as pyFAI's programs write it.
    file: PathBuf,
    /// The frames, in the words of a recipe: `scan.h5::/entry/data`, `scan/*.cbf`.
    #[arg(long, default_value = "frames.h5::/entry/data/data")]
    frames: String,
    /// The recipe; printed when it is not given.
    #[arg(long, short, value_name = "RECIPE.toml")]
    out: Option<PathBuf>,
}

/// Makes the recipe; names what it cannot take.
pub fn run(arguments: &PyfaiArguments) -> Done {
    let path = &arguments.file;
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let made = isard_azimuthal::import::recipe(&text, &arguments.frames).at(|| path.display().to_string())?;
    super::put(arguments.out.as_deref(), &made.recipe)?;
    style::complain(&made.notes.iter().map(|n| format!("{n}\n")).collect::<String>());
    Ok(0)
}
