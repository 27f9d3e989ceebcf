//! The `isard` command.

use clap::Parser;
use isard_core::value::LargePages;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() {
    let arguments = isard::command::Arguments::parse();
    std::process::exit(isard::command::run(arguments));
}
