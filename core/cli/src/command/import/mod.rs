//! `isard import`: recipes from the parameter files of other programs.

mod dct;
mod midas;
mod poni;
mod ptypy;
mod pyfai;

use std::path::Path;

use clap::{Args, Subcommand};
use isard_core::error::{Error, Result};
use isard_core::store::{Files, RealFiles};

use crate::command::Done;
use crate::show::style;

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
    /// A parameter tree of PtyPy, in JSON or YAML.
    Ptypy(ptypy::PtypyArguments),
    /// An integration configuration of pyFAI, in JSON.
    Pyfai(pyfai::PyfaiArguments),
}

/// Imports what was asked for.
pub fn run(arguments: &ImportArguments) -> Done {
    match &arguments.what {
        What::Dct(arguments) => dct::run(arguments),
        What::Midas(arguments) => midas::run(arguments),
        What::Poni(arguments) => poni::run(arguments),
        What::Ptypy(arguments) => ptypy::run(arguments),
        What::Pyfai(arguments) => pyfai::run(arguments),
    }
}

/// Prints a text, or writes it to a file that is not there yet.
fn put(out: Option<&Path>, text: &str) -> Result<()> {
    let Some(path) = out else {
        style::print(text);
        return Ok(());
    };
    let written = RealFiles.write_new(path, text.as_bytes());
    written.map_err(|e| Error::io("cannot write", path, &e).help("a file that exists is not replaced"))?;
    style::print(&format!("wrote {}\n", path.display()));
    Ok(())
}
