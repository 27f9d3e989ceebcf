//! `isard run --part`, `isard merge` and `isard run --reuse` as a user meets them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Frames that go wrong on both sides of the cuts at 64, 128 and 192, sums whose bits depend on the order of adding,
/// a set of frames, a table of peaks.
const RECIPE: &str = r#"
isard = "0.1"
name = "shared"
[run]
chunk = 6
checkpoint_frames = 16
limits = { missing = 2, corrupt = 1, extra = 1 }
[stage.detector]
use = "powder.simulate"
set = { frames = 250, shape = [48, 40], lose = [63, 130], corrupt = [128], double = [64], late = [127], late_by = 5 }
[stage.clean]
use = "image.mask"
from = "detector"
in = { image = "detector.image", mask = "detector.head.mask" }
set = { below = 0 }
[stage.mean]
use = "image.mean"
from = "clean"
[stage.std]
use = "image.std"
from = "clean"
[stage.peaks]
use = "image.peaks"
from = "clean"
in = { image = "clean.image" }
set = { above = 9 }
[stage.raw]
use = "hdf5.write"
from = "detector"
set = { path = "raw.h5", part_bytes = 65536 }
[stage.table]
use = "csv.write"
from = "peaks"
in = { peaks = "peaks.peaks" }
set = { path = "peaks.csv" }
[stage.result]
use = "hdf5.write"
from = "std"
set = { path = "std.h5" }
"#;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    output.expect("isard starts")
}

/// Runs a command that must succeed; gives what it printed.
fn well(folder: &Path, arguments: &[&str]) -> String {
    let output = isard(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must end with an exit code and say all of some words.
fn refused(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = isard(folder, arguments);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {printed}");
    words.iter().for_each(|word| assert!(printed.contains(word), "{word}: {printed}"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn with_recipe(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shared.toml"), text).unwrap();
    folder
}

fn record(folder: &Path, run: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join(run).join("run.json")).unwrap()).unwrap()
}

fn parts(folder: &Path, of: usize) -> Vec<String> {
    let one = |n: usize| {
        let (name, part) = (format!("part{n}"), format!("{n}/{of}"));
        well(folder, &["run", "shared.toml", "--part", &part, "--out", &name, "--quiet"]);
        name
    };
    (1..=of).map(one).collect()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn four_parts_merge_to_the_single_run_bit_for_bit() {
    let folder = with_recipe(RECIPE);
    let at = folder.path();
    well(at, &["run", "shared.toml", "--out", "whole", "--quiet"]);
    let parts = parts(at, 4);
    for part in &parts {
        well(at, &["verify", part]);
        assert!(!at.join(part).join("raw.h5").exists() && !at.join(part).join("peaks.csv").exists());
    }
    let printed = well(at, &["merge", "merged", "part3", "part1", "part4", "part2", "--quiet"]);
    assert!(printed.contains("247 of 250 done"), "{printed}");
    well(at, &["verify", "merged"]);
    let (whole, merged) = (record(at, "whole"), record(at, "merged"));
    let names: Vec<&String> = whole["content"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["mean", "raw", "result", "std", "table"]);
    for key in ["content", "ledger", "gaps", "seed", "resolved"] {
        assert_eq!(merged[key], whole[key], "{key}");
    }
    // 1 to 4 again: what was given in another order stands in order.
    let used = merged["parts"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap());
    assert!(used.zip(&parts).all(|(path, part)| path.ends_with(part.as_str())));
    let csv = |run: &str| std::fs::read(at.join(run).join("peaks.csv")).unwrap();
    assert!(csv("whole").len() > 1000 && csv("whole") == csv("merged"));

    // Merged once; another time only where nothing is.
    refused(at, &["merge", "merged", "part1", "part2", "part3", "part4"], 2, &["--overwrite"]);
    refused(at, &["resume", "merged"], 2, &["is done"]);
}

#[test]
fn a_killed_part_is_resumed() {
    let folder = with_recipe(RECIPE);
    let at = folder.path();
    well(at, &["run", "shared.toml", "--out", "whole", "--quiet", "--set", "detector.rate=150"]);
    well(
        at,
        &["run", "shared.toml", "--part", "1/2", "--out", "part1", "--quiet", "--set", "detector.rate=150"],
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args([
            "run",
            "shared.toml",
            "--part",
            "2/2",
            "--out",
            "part2",
            "--quiet",
            "--set",
            "detector.rate=150",
        ])
        .current_dir(at)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !at.join("part2/.isard/streams/main/detector/00000001").exists() {
        assert!(Instant::now() < deadline, "no kept stream after a minute");
        assert!(child.try_wait().unwrap().is_none(), "the part is over before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    refused(at, &["merge", "merged", "part1", "part2"], 2, &["part 2 of 2", "is not done", "isard resume"]);
    well(at, &["resume", "part2", "--quiet"]);
    well(at, &["verify", "part2"]);
    assert!(record(at, "part2")["resumed"].as_array().is_some_and(|list| list.len() == 1));
    well(at, &["merge", "merged", "part1", "part2", "--quiet"]);
    assert_eq!(record(at, "merged")["content"], record(at, "whole")["content"]);
    assert_eq!(record(at, "merged")["ledger"], record(at, "whole")["ledger"]);
}

#[test]
fn parts_that_are_missing_changed_or_damaged_are_refused() {
    let folder = with_recipe(RECIPE);
    let at = folder.path();
    parts(at, 2);
    refused(at, &["run", "shared.toml", "--part", "3/2"], 2, &["3/2"]);
    refused(at, &["merge", "merged", "part1"], 2, &["part 2 of 2 is missing", "--part 2/2"]);
    refused(at, &["merge", "merged", "part1", "nothing"], 2, &["nothing", "no such folder"]);
    refused(at, &["merge", "merged"], 2, &["PART_DIR"]);
    std::fs::write(at.join("other.toml"), RECIPE.replace("above = 9", "above = 8")).unwrap();
    let words = ["-            \"above\": 9.0", "+            \"above\": 8.0", "the same recipe"];
    let arguments = ["merge", "merged", "part1", "part2", "--recipe", "other.toml"];
    refused(at, &arguments, 2, &words.map(|w| w.trim_start_matches(['-', '+', ' '])));
    flip(&at.join("part2/.isard/streams/main/mean/index"));
    let verify = isard(at, &["verify", "part2"]);
    assert_eq!(verify.status.code(), Some(10), "{}", text(&verify.stdout));
    refused(at, &["merge", "merged", "part1", "part2"], 4, &["part 2 of 2", "damaged", "mean/index"]);
    assert!(!at.join("merged").exists());
}

#[test]
fn a_kept_output_is_reused() {
    let folder =
        with_recipe(&RECIPE.replace("set = { below = 0 }", "set = { below = 0 }\nrun = { keep = true }"));
    let at = folder.path();
    well(at, &["run", "shared.toml", "--out", "first", "--quiet"]);
    let arguments = ["run", "shared.toml", "--out", "again", "--quiet", "--reuse", "clean=first"];
    well(at, &arguments);
    let (first, again) = (record(at, "first"), record(at, "again"));
    assert_eq!(first["content"], again["content"]);
    assert_eq!(again["reused"][0]["stage"], "clean");
    assert_eq!(again["reused"][0]["content"]["main"].as_str().map(str::len), Some(64));
    // Another threshold behind what is kept is no difference, another detector is.
    let mut more = vec!["run", "shared.toml", "--out", "more", "--quiet", "--reuse", "clean=first"];
    more.extend(["--set", "peaks.above=8"]);
    well(at, &more);
    let mut other = vec!["run", "shared.toml", "--out", "other", "--quiet", "--reuse", "clean=first"];
    other.extend(["--set", "detector.counts=9"]);
    refused(at, &other, 2, &["\"counts\": 8.0", "\"counts\": 9.0", "--reuse-anyway"]);
    other.push("--reuse-anyway");
    well(at, &other);
    assert_eq!(record(at, "other")["reused"][0]["anyway"], true);
    refused(at, &["run", "shared.toml", "--reuse", "clean"], 2, &["--reuse stage=runs/NAME-001"]);
    refused(
        at,
        &["run", "shared.toml", "--reuse", "peaks=first"],
        2,
        &["kept no whole output of `peaks`", "keep = true"],
    );
}
