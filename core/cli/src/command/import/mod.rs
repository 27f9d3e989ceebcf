//! `isard import`: recipes from the parameter files of other programs.

mod dct;
mod midas;

use clap::{Args, Subcommand};

use super::Done;

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
}

/// Makes the recipe.
pub fn run(arguments: &ImportArguments) -> Done {
    match &arguments.what {
        What::Dct(dct) => dct::run(dct),
        What::Midas(midas) => midas::run(midas),
    }
}
