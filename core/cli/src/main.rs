//! The `isard` command.

use clap::Parser;

fn main() {
    let arguments = isard::command::Arguments::parse();
    std::process::exit(isard::command::run(arguments));
}
