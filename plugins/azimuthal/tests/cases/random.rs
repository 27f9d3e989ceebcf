//! Random geometries, frames and settings, against what pyFAI 2026.9 makes of them in the same minute.
//!
//! The Python of `ISARD_PYTHON` has it; where there is none nothing is compared. `ISARD_SLOW=full` compares four hundred
//! runs, `ISARD_SEED=8` others than usual.

use std::io::Write;
use std::path::{Path, PathBuf};
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

/// What pyFAI makes of the runs of a seed, each in a folder of its own; nothing where there is no pyFAI.
fn asked(runs: &str, seed: &str) -> Option<(tempfile::TempDir, Vec<PathBuf>)> {
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(python).arg(SCRIPT).arg(folder.path()).args([runs, seed]).output();
    let made = made.ok().filter(|made| made.status.success())?;
    eprint!("{}", String::from_utf8_lossy(&made.stdout));
    let mut folders: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    Some((folder, folders))
}

/// Whether pyFAI, asked again, contradicts itself and agrees now: once in a hundred times it leaves bins empty that it
/// fills otherwise.
fn wavers(first: &Path, again: &Path) -> bool {
    let answer = |folder: &Path| std::fs::read(folder.join("expected.npz")).unwrap();
    answer(first) != answer(again) && compare(again).is_empty()
}

#[test]
fn random_runs() {
    let full = std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full");
    let (runs, seed) = if full { ("400", "7") } else { ("40", "1") };
    let seed = std::env::var("ISARD_SEED").unwrap_or_else(|_| seed.to_owned());
    let Some((_kept, folders)) = asked(runs, &seed) else {
        let _ = writeln!(std::io::stderr(), "skipped: random_runs (no pyFAI 2026.9)");
        return;
    };
    let differs = |folder: &PathBuf| {
        let off = compare(folder);
        (!off.is_empty()).then(|| (folder.clone(), off.join("\n    ")))
    };
    let mut bad: Vec<_> = folders.iter().filter_map(differs).collect();
    if !bad.is_empty() {
        let (kept, _) = asked(runs, &seed).unwrap();
        bad.retain(|(folder, off)| {
            let wavers = wavers(folder, &kept.path().join(folder.file_name().unwrap()));
            if wavers {
                eprintln!("pyFAI gives another answer when asked again: {}\n    {off}", folder.display());
            }
            !wavers
        });
    }
    let bad: Vec<_> =
        bad.iter().map(|(folder, off)| format!("{}\n    {off}", case(folder)["runs"][0])).collect();
    assert!(bad.is_empty(), "{} of {} runs:\n  {}", bad.len(), folders.len(), bad.join("\n  "));
}
