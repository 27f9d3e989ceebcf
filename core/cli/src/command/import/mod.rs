//! `isard import`: recipes from the parameter files of other programs.

mod dct;
mod poni;

use clap::{Args, Subcommand};

use crate::command::Done;

/// What is imported.
#[derive(Args)]
pub struct ImportArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Parameter files (YAML) of the DCT pipeline.
    Dct(dct::DctArguments),
    /// The geometry of a detector from a PONI file.
    Poni(poni::PoniArguments),
}

/// Imports what was asked for.
pub fn run(arguments: &ImportArguments) -> Done {
    match &arguments.what {
        What::Dct(arguments) => dct::run(arguments),
        What::Poni(arguments) => poni::run(arguments),
    }
}
