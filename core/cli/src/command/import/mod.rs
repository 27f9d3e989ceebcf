//! `isard import`: recipes from the parameter files of other programs.

mod dct;
mod midas;
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
    /// A parameter file of the MIDAS near-field programs.
    Midas(midas::MidasArguments),
    /// The geometry of a detector from a PONI file.
    Poni(poni::PoniArguments),
}

/// Imports what was asked for.
pub fn run(arguments: &ImportArguments) -> Done {
    match &arguments.what {
        What::Midas(arguments) => midas::run(arguments),
        What::Dct(arguments) => dct::run(arguments),
        What::Poni(arguments) => poni::run(arguments),
    }
}
