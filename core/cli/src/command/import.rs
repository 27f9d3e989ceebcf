//! `isard import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use isard_core::error::{Context, Error};

use crate::command::Done;
use crate::show::style;

/// Arguments of `isard import`.
#[derive(Args)]
pub struct ImportArguments {
    /// The program that the parameters are for.
    what: What,
    /// The file of parameters.
    path: PathBuf,
}

/// Programs whose parameters can be taken over.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// A parameter tree of PtyPy, in JSON or YAML.
    Ptypy,
}

/// Prints the recipe that does what the parameters of another program ask for; names what it cannot take.
pub fn run(arguments: &ImportArguments) -> Done {
    let What::Ptypy = arguments.what;
    let path = &arguments.path;
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let made = isard_ptycho::import::import(&text).at(|| path.display().to_string())?;
    style::print(&made.recipe);
    for left in made.left {
        style::complain(&format!("not taken: {left}\n"));
    }
    Ok(0)
}
