//! A host for the tests: what `isard host` does, and on demand what a host must not do.

use std::path::PathBuf;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(word), Some(library)) = (arguments.next(), arguments.next()) else { std::process::exit(2) };
    assert_eq!(word, "host");
    std::process::exit(isard_core::load::isolate::serve(&PathBuf::from(library)));
}
