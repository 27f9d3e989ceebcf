//! Reference data beside the project, and recipes that ship with it.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};

use isard_core::plan::{self, Plan};
use isard_core::recipe::{self, Overrides};
use isard_core::registry::Registry;
use isard_core::run::{Options, Out};

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the project is where it was built")
}

/// Says that a test is skipped. It goes past the harness, which keeps what passing tests print.
pub fn skipped(test: &str, why: &str) {
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "skipped: {test} ({why})");
}

/// A file of the reference data; none, with a printed line, where the data are absent.
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    let shared = root().join("../shared");
    if !shared.exists() {
        skipped(test, "no reference data");
        return None;
    }
    let path = shared.join(path);
    assert!(path.exists(), "the reference data are there, but {} is not", path.display());
    Some(path)
}

/// The plan of a shipped recipe with some parameters set.
pub fn shipped(name: &str, set: &[&str]) -> Plan {
    let overrides = Overrides { set: set.iter().map(|s| (*s).to_owned()).collect(), ..Overrides::default() };
    let path = root().join("recipes").join(name);
    let recipe = recipe::load(&path, &overrides).unwrap_or_else(|faults| panic!("{faults}"));
    let registry = Registry::built_in().expect("stages have different names");
    plan::make(&recipe, &registry).unwrap_or_else(|faults| panic!("{faults}")).0
}

/// Options that write into a folder of the test, with the files family as reader.
pub fn options(out: &Path) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: false });
    options.reader = Some(std::sync::Arc::new(isard_files::input::read_path));
    options
}
