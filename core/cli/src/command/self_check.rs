//! The `[[test]]` blocks of a recipe: each runs the recipe and compares what it comes to.

use std::path::Path;

use isard_core::diagnostic::Diagnostics;
use isard_core::error::Error;
use isard_core::plan;
use isard_core::recipe::{self, Overrides, TestText};
use isard_core::registry::Registry;
use isard_core::run::{self, Out, Report};
use isard_core::value::Value;

use crate::command::run_options;

/// Why a test of a recipe could not be judged.
pub enum Trouble {
    /// The recipe has faults once the test's parameters are set.
    Faults(Diagnostics),
    /// The run did not start.
    Error(Error),
}

/// Runs one test of a recipe in a scratch folder; what differs, in words.
pub fn differences(
    path: &Path,
    over: &Overrides,
    test: &TestText,
    registry: &Registry,
    scratch: &Path,
) -> Result<Vec<String>, Trouble> {
    let mut over = over.clone();
    over.set.extend(test.set.iter().cloned());
    let recipe = recipe::load(path, &over).map_err(Trouble::Faults)?;
    let (plan, _) = plan::make(&recipe, registry).map_err(Trouble::Faults)?;
    let options = run_options(Out::Folder { path: scratch.to_owned(), overwrite: true });
    let report = run::run(&plan, options).map_err(Trouble::Error)?;
    let mut differ = vec![];
    if report.outcome.exit_code() != 0 {
        differ.push(format!(
            "the run is {}: {}",
            report.outcome.word(),
            report.outcome.message().unwrap_or_default()
        ));
    }
    for expect in &test.expect {
        let what = &expect.what.text;
        match found(&report, what) {
            None => differ.push(format!("`{what}` came to nothing")),
            Some(value) => {
                let same = match (value.number(), expect.value.as_f64()) {
                    (Some(x), Some(wanted)) => (x - wanted).abs() <= expect.within,
                    _ => value.to_json() == expect.value,
                };
                if !same {
                    let within = if expect.within > 0.0 {
                        format!(" within {}", expect.within)
                    } else {
                        String::new()
                    };
                    differ.push(format!("`{what}` is {}, wanted {}{within}", value.to_json(), expect.value));
                }
            }
        }
    }
    Ok(differ)
}

/// What a run came to under `stage.port`, or `ledger.CLASS` for the account of its first source.
fn found(report: &Report, what: &str) -> Option<Value> {
    let (stage, port) = what.split_once('.')?;
    if stage == "ledger" {
        let ledger = report.stages.iter().find_map(|s| s.ledger.as_ref())?;
        return match port {
            "expected" => ledger.expected.map(|n| Value::Int(n as i64)),
            "extra" => Some(Value::Int(ledger.extra as i64)),
            "balanced" => Some(Value::Bool(ledger.balance().is_ok())),
            class => ledger
                .classes()
                .iter()
                .find(|(word, _)| *word == class)
                .map(|(_, set)| Value::Int(set.count() as i64)),
        };
    }
    let last = report.stages.iter().rev().find(|s| s.name == stage)?;
    last.results.get(port).cloned()
}
