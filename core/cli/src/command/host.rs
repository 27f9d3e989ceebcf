//! `isard host`: the child process that an isolated plugin runs in.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `isard host`.
#[derive(Args)]
pub struct HostArguments {
    /// The plugin library.
    library: PathBuf,
}

/// Serves the stages of a library to the isard that started this process; gives the exit code.
pub fn run(arguments: &HostArguments) -> i32 {
    isard_core::load::isolate::serve(&arguments.library)
}
