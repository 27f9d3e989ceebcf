//! Finding reference data and Python.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the reference data, or nothing with a line that says so.
#[allow(dead_code, reason = "not every test binary uses it")]
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../shared"));
    let root = std::env::var_os("ISARD_SHARED").map_or(beside, PathBuf::from);
    let file = root.join("data").join(path);
    if file.exists() {
        return Some(file);
    }
    skipped(&format!("{test} (no reference data)"));
    None
}

/// Runs a script with h5py in a folder; nothing if h5py is not there.
#[allow(dead_code, reason = "not every test binary uses it")]
pub fn h5py(test: &str, folder: &Path, script: &str) -> Option<String> {
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import h5py, numpy"]).output();
    if !there.is_ok_and(|out| out.status.success()) {
        skipped(&format!("{test} (python3 with h5py not found)"));
        return None;
    }
    let out = Command::new(&python).args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

/// Says that a test is skipped, past the harness, which keeps what passing tests print.
pub fn skipped(what: &str) {
    use std::io::Write;
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}
