//! What the end-to-end tests share: stages that behave and misbehave on demand, and short ways to run recipes.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test uses its own part, and one that cannot go on fails"
)]

pub mod analysis;
pub mod kill;
pub mod moody;
pub mod set;
pub mod source;
pub mod writer;

use std::path::Path;
use std::sync::Arc;

use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Report};

/// The plan of a recipe given as text; a fault fails the test with its rendering.
pub fn plan(text: &str) -> Plan {
    let registry = Registry::built_in().expect("stages have different names");
    let recipe = match recipe::parse(text, Path::new("test.toml")) {
        Ok(recipe) => recipe,
        Err(faults) => panic!("{faults}"),
    };
    match plan::make(&recipe, &registry) {
        Ok((plan, _)) => plan,
        Err(faults) => panic!("{faults}"),
    }
}

/// Options that write into a folder of the test.
pub fn options(out: &Path) -> Options {
    Options::new(Out::Folder { path: out.to_owned(), overwrite: true })
}

/// Runs a recipe given as text into a fresh folder.
pub fn run(text: &str) -> Report {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run::run(&plan(text), options(&folder.path().join("out"))).expect("the run starts")
}

/// Runs a recipe and insists that all went well.
pub fn run_well(text: &str) -> Report {
    let report = run(text);
    assert_eq!(report.outcome, run::Outcome::Done, "{:?}", report.outcome.message());
    report
}

/// The account of frames of a stage.
pub fn ledger(report: &Report, stage: &str) -> String {
    let found = report.stages.iter().rev().find(|s| s.name == stage).and_then(|s| s.ledger.as_ref());
    found.map_or_else(|| "none".into(), ToString::to_string)
}

/// A value that several threads of a test count in.
pub type Counter = Arc<std::sync::atomic::AtomicU64>;
