//! Random geometries, frames and settings, against what pyFAI 2026.9 makes of them in the same minute.
//!
//! The Python of `ISARD_PYTHON` has it; where there is none nothing is compared. `ISARD_SLOW=full` compares four hundred
//! runs, `ISARD_SEED=8` others than usual.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::common::runs::{configured, differences, set};
use crate::common::{array, case};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/runs.py");

/// Names of what differs in a run.
fn compare(folder: &Path) -> Vec<String> {
    let case = case(folder);
    let run: &Json = &case["runs"][0];
    let frame = array(&folder.join("frame.npy"), None);
    let poni = std::fs::read_to_string(folder.join("geometry.poni")).unwrap();
    let ways = [set(run, "usual"), configured(run, &poni, "usual")];
    ways.into_iter().flat_map(|set| differences(folder, &frame, run, set)).collect()
}

#[test]
fn random_runs() {
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let folder = tempfile::tempdir().unwrap();
    let full = std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full");
    let (runs, seed) = if full { ("400", "7") } else { ("40", "1") };
    let seed = std::env::var("ISARD_SEED").unwrap_or_else(|_| seed.to_owned());
    let made = Command::new(python).arg(SCRIPT).arg(folder.path()).args([runs, &seed]).output();
    let made = match made {
        Ok(made) if made.status.success() => made,
        _ => {
            let _ = writeln!(std::io::stderr(), "skipped: random_runs (no pyFAI 2026.9)");
            return;
        }
    };
    eprint!("{}", String::from_utf8_lossy(&made.stdout));
    let mut folders: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut bad = vec![];
    for folder in &folders {
        let off = compare(folder);
        if !off.is_empty() {
            bad.push(format!("{}\n    {}", case(folder)["runs"][0], off.join("\n    ")));
        }
    }
    assert!(bad.is_empty(), "{} of {} runs:\n  {}", bad.len(), folders.len(), bad.join("\n  "));
}
