//! Coarse-to-fine maps that were shared out in parts, killed, or begun again at a pass come out as those of one run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/shared.rs"]
mod shared;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    output.expect("isard starts")
}

fn well(folder: &Path, arguments: &[&str]) {
    let output = isard(folder, arguments);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {printed}");
}

fn content(folder: &Path, run: &str) -> Value {
    let record = std::fs::read(folder.join(run).join("run.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let content = record["content"].clone();
    assert!(content.as_object().is_some_and(|c| c.len() > 3), "{content}");
    content
}

fn recipe() -> String {
    shared::root().join("recipes/small/nf-hedm-multires.toml").to_str().unwrap().to_owned()
}

#[test]
fn parts_of_the_frames_merge_to_the_same_maps() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    well(at, &["run", &recipe(), "--out", "whole", "--quiet"]);
    for part in ["1", "2", "3"] {
        well(at, &["run", &recipe(), "--part", &format!("{part}/3"), "--out", part, "--quiet"]);
    }
    well(at, &["merge", "merged", "2", "1", "3", "--quiet"]);
    assert_eq!(content(at, "merged"), content(at, "whole"));
    well(at, &["verify", "merged"]);
}

#[test]
fn every_named_pass_can_be_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    well(at, &["run", &recipe(), "--out", "whole", "--quiet"]);
    let wanted = content(at, "whole");
    let turns =
        ["1", "2"].iter().flat_map(|n| ["seeded", "unseeded", "merged"].map(|p| format!("refine.{n}.{p}")));
    for point in std::iter::once("coarse".to_owned()).chain(turns) {
        let point = point.as_str();
        well(at, &["resume", "whole", "--restart-from", point, "--quiet"]);
        assert_eq!(content(at, "whole"), wanted, "{point}");
    }
    let unknown = isard(at, &["resume", "whole", "--restart-from", "refine.3.seeded"]);
    let printed = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(2) && printed.contains("refine.2.merged"), "{printed}");
}

#[test]
fn reduced_frames_are_taken_again_by_another_fit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = format!(
        "isard = \"0.1\"\nname = \"kept\"\ninclude = {:?}\n[stage.reduce]\nrun = {{ keep = true }}\n",
        recipe()
    );
    std::fs::write(at.join("kept.toml"), text).unwrap();
    let run = |out: &str, more: &[&str]| {
        well(at, &[&["run", "kept.toml", "--out", out, "--quiet"], more].concat());
    };
    let finer = ["--set", "fit.tolerance=1.0"];
    run("first", &[]);
    run("wanted", &finer);
    run("again", &[&["--reuse", "reduce=first"], &finer[..]].concat());
    assert_eq!(content(at, "again"), content(at, "wanted"));
    assert_ne!(content(at, "again"), content(at, "first"));
    let record: Value = serde_json::from_slice(&std::fs::read(at.join("again/run.json")).unwrap()).unwrap();
    assert_eq!(record["reused"][0]["stage"], "reduce");
}

#[test]
fn a_killed_run_goes_on_to_the_same_maps() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let begun = Instant::now();
    well(at, &["run", &recipe(), "--out", "whole", "--quiet"]);
    let takes = begun.elapsed().as_millis() as u64;
    let wanted = content(at, "whole");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let rounds = if std::env::var("ISARD_SLOW").is_ok_and(|s| s == "full") { 50 } else { 5 };
    println!("seed {seed:#x}, {rounds} kills within {takes} ms");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut cut, mut ended) = (0, 0);
    for round in 0..rounds {
        let out = format!("cut{round}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
            .args(["run", &recipe(), "--out", &out, "--quiet"])
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(rng.random_range(0..takes)));
        child.kill().unwrap();
        // A run that was over, or had not begun its record, has nothing to resume.
        let done = child.wait().unwrap().success();
        let there = at.join(&out).join("run.json").exists();
        ended += u32::from(done);
        cut += u32::from(there && !done);
        match (done, there) {
            (true, _) => {}
            (false, true) => well(at, &["resume", &out, "--quiet"]),
            (false, false) => well(at, &["run", &recipe(), "--out", &out, "--quiet"]),
        }
        assert_eq!(content(at, &out), wanted, "round {round} of seed {seed:#x}");
        well(at, &["verify", &out]);
    }
    println!("{cut} were cut off with something to go on from, {ended} were over before");
}
