//! The commands as a user meets them: what they print, and their exit codes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    output.expect("isard starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

const RECIPE: &str = r#"
isard = "0.1"
name = "small"
[run]
chunk = 8
checkpoint_frames = 16
[stage.detector]
use = "powder.simulate"
set = { frames = 40, shape = [64, 64] }
[stage.sum]
use = "image.sum"
from = "detector"
[stage.save]
use = "hdf5.write"
from = "sum"
set = { path = "sum.h5" }
[stage.raw]
use = "hdf5.write"
from = "detector"
set = { path = "raw.h5", part_bytes = 65536 }
"#;

fn with_recipe(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small.toml"), text).unwrap();
    folder
}

#[test]
fn a_run_ends_with_outputs_that_verify_and_a_flipped_byte_is_found() {
    let folder = with_recipe(RECIPE);
    let run = isard(folder.path(), &["run", "small.toml", "--out", "out"]);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    let printed = text(&run.stdout);
    assert!(printed.contains("40 of 40 done") && printed.contains("outputs in out"), "{printed}");
    let verify = isard(folder.path(), &["verify", "out"]);
    assert_eq!(code(&verify), Some(0), "{}", text(&verify.stdout));

    // A second run into the same folder is refused, and says what to try.
    let again = isard(folder.path(), &["run", "small.toml", "--out", "out"]);
    assert_ne!(code(&again), Some(0));
    assert!(text(&again.stderr).contains("--overwrite"), "{}", text(&again.stderr));

    let part = folder.path().join("out/raw.parts/000000.h5");
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let verify = isard(folder.path(), &["verify", "out"]);
    assert_eq!(code(&verify), Some(10));
    assert!(text(&verify.stdout).contains("raw.parts/000000.h5"), "{}", text(&verify.stdout));
}

#[test]
fn faults_of_a_recipe_are_all_shown_with_their_places() {
    let folder = with_recipe(&RECIPE.replace("part_bytes", "part_byte").replace("image.sum", "image.som"));
    for command in ["check", "run"] {
        let output = isard(folder.path(), &[command, "small.toml"]);
        assert_eq!(code(&output), Some(2));
        let printed = text(&output.stderr);
        assert!(
            printed.contains("small.toml:")
                && printed.contains("`image.sum`")
                && printed.contains("`part_bytes`")
                && printed.contains("isard describe E0"),
            "{printed}"
        );
    }
    let json = isard(folder.path(), &["check", "--json", "small.toml"]);
    let faults: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(faults.as_array().is_some_and(|f| f.len() >= 2), "{faults}");
    assert!(!folder.path().join("runs").exists(), "a recipe with faults leaves nothing behind");
}

#[test]
fn a_source_that_knows_its_frames_is_reckoned_alike_before_it_is_opened() {
    let folder =
        with_recipe(&RECIPE.replace("shape = [64, 64]", "shape = [2048, 2048]").replace("chunk = 8", ""));
    let needs = |arguments: &[&str]| {
        let printed = text(&isard(folder.path(), arguments).stdout);
        let line = printed.lines().find(|l| l.starts_with("needs about")).map(str::to_owned).unwrap();
        line.trim_start_matches("needs about ").split(" of memory").next().unwrap().to_owned()
    };
    assert_eq!(needs(&["check", "small.toml"]), needs(&["check", "--open", "small.toml"]));
}

#[test]
fn a_terminated_run_drains_and_is_resumed_to_the_same_digests() {
    let paced = RECIPE.replace("frames = 40", "frames = 400, rate = 100.0");
    let folder = with_recipe(&paced);
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "small.toml", "--out", "cut", "--quiet"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !folder.path().join("cut/raw.parts/000000.h5").exists() {
        assert!(Instant::now() < deadline, "no part after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let resumed = isard(folder.path(), &["resume", "cut", "--quiet"]);
    assert_eq!(code(&resumed), Some(0), "{}", text(&resumed.stderr));
    let whole =
        isard(folder.path(), &["run", "small.toml", "--out", "whole", "--quiet", "--set", "detector.rate=0"]);
    assert_eq!(code(&whole), Some(0), "{}", text(&whole.stderr));
    let content = |run: &str| {
        let record = std::fs::read(folder.path().join(run).join("run.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&record).unwrap()["content"].clone()
    };
    assert_eq!(content("cut"), content("whole"));
    assert_eq!(code(&isard(folder.path(), &["verify", "cut"])), Some(0));
}

#[test]
fn a_run_that_waits_for_its_first_frame_can_be_stopped_and_resumed() {
    let folder = with_recipe(
        r#"
isard = "0.1"
name = "small"
[stage.frames]
use = "npy.stack"
set = { path = "frames.npy", follow = { frames = 2 } }
[stage.sum]
use = "image.sum"
from = "frames"
[stage.save]
use = "hdf5.write"
from = "sum"
set = { path = "sum.h5" }
"#,
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "small.toml", "--out", "cut", "--quiet"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !folder.path().join("cut/run.json").exists() {
        assert!(Instant::now() < deadline, "no record after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Until its source has been asked to open, the run would end of itself.
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the run did not wait for its first frame");
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let stopped = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    // The first frame alone is waited for half a minute.
    assert!(stopped.elapsed() < Duration::from_secs(15), "stopped after {:?}", stopped.elapsed());
    std::fs::write(folder.path().join("frames.npy"), npy([1, 2, 3, 4])).unwrap();
    let resumed = isard(folder.path(), &["resume", "cut", "--quiet"]);
    assert_eq!(code(&resumed), Some(0), "{}", text(&resumed.stderr));
    assert_eq!(code(&isard(folder.path(), &["verify", "cut"])), Some(0));
}

#[test]
fn lists_descriptions_and_schema_are_readable_by_programs() {
    let folder = tempfile::tempdir().unwrap();
    let list = isard(folder.path(), &["list", "--json"]);
    let stages: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let names: Vec<&str> = stages.as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
    assert!(names.contains(&"powder.simulate") && names.contains(&"image.sum"), "{names:?}");
    for name in names {
        let page = isard(folder.path(), &["describe", name]);
        assert!(code(&page) == Some(0) && text(&page.stdout).contains(name));
    }
    let fault = isard(folder.path(), &["describe", "E0115"]);
    assert!(
        text(&fault.stdout).starts_with("# E0115: a parameter is out of range"),
        "{}",
        text(&fault.stderr)
    );
    let schema = isard(folder.path(), &["schema"]);
    serde_json::from_slice::<serde_json::Value>(&schema.stdout).unwrap();
    let near = isard(folder.path(), &["describe", "image.peks"]);
    assert_eq!(code(&near), Some(2));
    assert!(text(&near.stderr).contains("did you mean `image.peaks`"), "{}", text(&near.stderr));
}

/// Bytes of an NPY file of version 1.0, written by hand from the format's specification: 2 frames of 1 x 2 pixels.
fn npy(pixels: [u16; 4]) -> Vec<u8> {
    let mut file =
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<u2', 'fortran_order': False, 'shape': (2, 1, 2), }".to_vec();
    file.resize(127, b' ');
    file.push(b'\n');
    pixels.iter().for_each(|pixel| file.extend(pixel.to_le_bytes()));
    file
}

#[test]
fn a_given_path_starts_from_the_working_directory_also_when_resumed_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (recipes, data) = (folder.path().join("recipes"), folder.path().join("data"));
    for path in [&recipes, &data] {
        std::fs::create_dir(path).unwrap();
    }
    let recipe = "name = \"given\"\n[stage.read]\nuse = \"npy.stack\"\nset = { path = { in = \"frames\" } }\n\
                  [stage.sum]\nuse = \"image.sum\"\nfrom = \"read\"\n[out]\nsum = \"sum.image\"\n\
                  [in]\nframes = \"default.npy\"\n";
    std::fs::write(recipes.join("given.toml"), recipe).unwrap();
    std::fs::write(recipes.join("default.npy"), npy([1, 2, 3, 4])).unwrap();
    std::fs::write(data.join("given.npy"), npy([5, 6, 7, 8])).unwrap();
    let default = isard(&data, &["run", "../recipes/given.toml", "--out", "default", "--quiet"]);
    assert_eq!(code(&default), Some(0), "{}", text(&default.stderr));
    let given = ["run", "../recipes/given.toml", "--out", "given", "--quiet", "--in", "frames=given.npy"];
    assert_eq!(code(&isard(&data, &given)), Some(0));
    let record = |run: &str| {
        let record = std::fs::read(data.join(run).join("run.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&record).unwrap()
    };
    assert_ne!(record("default")["content"]["sum"], record("given")["content"]["sum"]);
    // Resumed from another folder it means the same file: what it says is that the run is done.
    let resumed = isard(&recipes, &["resume", "../data/given"]);
    assert!(text(&resumed.stderr).contains("is done"), "{}", text(&resumed.stderr));
}

#[test]
fn one_stage_is_tried_on_one_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.npy"), npy([1, 2, 10, 20])).unwrap();
    let sum = isard(folder.path(), &["try", "image.sum", "--in", "in.npy", "--out", "image=sum.npy"]);
    assert_eq!(code(&sum), Some(0), "{}", text(&sum.stderr));
    let written = std::fs::read(folder.path().join("sum.npy")).unwrap();
    assert!(written.ends_with(&[11u64.to_le_bytes(), 22u64.to_le_bytes()].concat()));
    let bad = isard(folder.path(), &["try", "image.crop", "--in", "in.npy", "--set", "rows=many"]);
    assert_eq!(code(&bad), Some(2));
    assert!(text(&bad.stderr).contains("rows"), "{}", text(&bad.stderr));
}

#[test]
fn nobody_reading_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["describe", "--all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn units_of_ports_reach_the_files_of_a_run() {
    let folder = with_recipe(RECIPE);
    let run = isard(folder.path(), &["run", "small.toml", "--out", "out", "--quiet"]);
    assert_eq!(code(&run), Some(0), "{}", text(&run.stderr));
    let unit = |file: &str, path: &str| {
        let file = isard_h5::File::open(folder.path().join("out").join(file)).unwrap();
        file.attribute(path, "units").unwrap()
    };
    // As `isard describe powder.simulate` shows its port `image`; that of `image.sum` states no unit, for it takes any.
    assert_eq!(unit("raw.h5", "/entry/data/image"), Some(isard_h5::Attr::Text("count".into())));
    assert_eq!(unit("sum.h5", "/entry/result/image"), None);
}
