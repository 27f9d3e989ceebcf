//! Runs for many scans as a user starts them, with real files and processes: `watch`, `run --each-series`, `replay`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use isard_h5::{Dtype, Image, Spec};
use serde_json::Value as Json;
use tempfile::TempDir;

const MEAN: &str = r#"
isard = "0.1"
name = "mean"
[stage.frames]
use = "hdf5.dataset"
set = { path = "raw/any.h5::/entry/data" }
[stage.mean]
use = "image.mean"
from = "frames"
[stage.save]
use = "hdf5.write"
from = "mean"
set = { path = "{scan}_mean.h5" }
"#;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    output.expect("isard starts")
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isard"));
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("isard starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks a process to end as a service manager does, and gives its exit code and what it printed.
fn terminate(child: Child) -> (Option<i32>, String) {
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout))
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The record of a run; none while there is no whole one.
fn record(folder: &Path) -> Option<Json> {
    serde_json::from_slice(&std::fs::read(folder.join("run.json")).ok()?).ok()
}

fn status(folder: &Path) -> String {
    record(folder).map_or_else(String::new, |r| r["status"].as_str().unwrap_or_default().to_owned())
}

/// The JSON lines that a command printed, those of scans by the last name of the scan.
fn outcomes(printed: &str) -> Vec<(String, String)> {
    let lines = printed.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let scans = lines.filter_map(|line| {
        let scan = line["scan"].as_str()?.rsplit('/').next()?.to_owned();
        Some((scan, line["outcome"].as_str()?.to_owned()))
    });
    scans.collect()
}

/// A file of four frames of 2 x 2 pixels that all hold `value`.
fn scan(value: u16) -> Vec<u8> {
    let mut image = Image::new().unwrap();
    let data = image.dataset("/entry/data", &Spec::new(Dtype::U16, &[2, 2])).unwrap();
    image.append(data, &[value.to_ne_bytes(); 16].concat(), 4).unwrap();
    image.into_bytes().unwrap()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mean.toml"), MEAN).unwrap();
    std::fs::create_dir_all(folder.path().join("raw/night")).unwrap();
    folder
}

/// The mean image that a run wrote: the value of its first pixel.
fn mean(run: &Path, scan: &str) -> f64 {
    let path = format!("{}/{scan}_mean.h5::/entry/result/image", run.display());
    let value = isard_files::input::read_path(&isard_core::stage::RunCx::default(), &path).unwrap();
    let isard_core::Value::Array(array) = value else { panic!("no array") };
    array.to_f64().unwrap()[0]
}

#[test]
fn every_scan_that_appears_is_run_once_and_a_bad_one_does_not_stop_the_others() {
    let folder = folder();
    let (raw, runs) = (folder.path().join("raw"), folder.path().join("out"));
    std::fs::write(raw.join("scan1.h5"), scan(1)).unwrap();
    std::fs::write(raw.join("dark.h5"), scan(9)).unwrap();
    let watch = ["watch", "mean.toml", "raw/**/scan*.h5", "--out", "out", "--json", "--poll", "0.02"];
    let child = start(folder.path(), &[watch.as_slice(), &["--settle", "0.5"]].concat());
    wait("the first scan", || status(&runs.join("scan1")) == "done");
    // A file that is being written: its second half comes while it has not yet rested.
    let (whole, path) = (scan(2), raw.join("night/scan2.h5"));
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(raw.join("scan3.h5"), b"no file of this format").unwrap();
    std::fs::write(raw.join(".scan4.h5"), scan(4)).unwrap();
    wait("the second scan", || status(&runs.join("night-scan2")) == "done");
    wait("the bad scan", || status(&runs.join("scan3")) == "failed");
    let (code, printed) = terminate(child);
    let mut found = outcomes(&printed);
    found.sort();
    let wanted = [("scan1.h5", "done"), ("scan2.h5", "done"), ("scan3.h5", "failed")];
    assert_eq!(found, wanted.map(|(scan, outcome)| (scan.to_owned(), outcome.to_owned())));
    // The code of the scan that failed: its data are not right.
    assert_eq!(code, Some(4), "{printed}");
    assert_eq!((mean(&runs.join("scan1"), "scan1"), mean(&runs.join("night-scan2"), "scan2")), (1.0, 2.0));

    // What is done stays; the bad one is run again only when asked for, and then is right.
    let before = std::fs::read(runs.join("scan1/run.json")).unwrap();
    std::fs::write(raw.join("scan3.h5"), scan(3)).unwrap();
    std::fs::write(raw.join("scan5.h5"), scan(5)).unwrap();
    let again = [watch.as_slice(), &["--once", "--settle", "0"]].concat();
    let output = isard(folder.path(), &again);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let word = |output: &Output, name: &str| {
        let found = outcomes(&text(&output.stdout));
        found.into_iter().find(|(scan, _)| scan == name).map(|(_, outcome)| outcome)
    };
    assert_eq!(word(&output, "scan1.h5").as_deref(), Some("done before"));
    assert_eq!(word(&output, "scan3.h5").as_deref(), Some("failed before"));
    assert_eq!(word(&output, "scan5.h5").as_deref(), Some("done"));
    let output = isard(folder.path(), &[again.as_slice(), &["--retry"]].concat());
    assert_eq!(word(&output, "scan3.h5").as_deref(), Some("done"), "{}", text(&output.stdout));
    assert_eq!(mean(&runs.join("scan3"), "scan3"), 3.0);
    assert_eq!(std::fs::read(runs.join("scan1/run.json")).unwrap(), before);
    assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 4, "one folder for each scan");
}

#[test]
fn a_watch_that_is_terminated_leaves_a_run_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = MEAN
        .replace("hdf5.dataset", "raw.stack")
        .replace(
            r#"path = "raw/any.h5::/entry/data""#,
            r#"path = "raw/any.raw", dtype = "u16", shape = [1, 2], follow = { marker = "end" }"#,
        )
        .replace("[stage.mean]", "[run]\nchunk = 1\nlatency_ms = 1\ncheckpoint_frames = 1\n[stage.mean]");
    std::fs::write(folder.path().join("mean.toml"), recipe).unwrap();
    let raw = folder.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    let frames = |n: u16| (0..n).flat_map(|i| [i, i].map(u16::to_ne_bytes)).flatten().collect::<Vec<u8>>();
    std::fs::write(raw.join("scan1.raw"), frames(3)).unwrap();
    let run = folder.path().join("runs/mean/scan1");
    let watch = ["watch", "mean.toml", "raw/scan*.raw", "--json", "--poll", "0.02"];
    let child = start(folder.path(), &watch);
    // The scan has not ended: it is followed, and its frames are on their way.
    wait("a checkpoint", || std::fs::read_dir(run.join(".isard")).is_ok_and(|d| d.count() > 1));
    let (code, printed) = terminate(child);
    assert_eq!((code, status(&run).as_str()), (Some(7), "stopped"), "{printed}");
    assert_eq!(outcomes(&printed), [("scan1.raw".to_owned(), "stopped".to_owned())]);

    std::fs::write(raw.join("scan1.raw"), frames(5)).unwrap();
    std::fs::write(raw.join("end"), "").unwrap();
    let output = isard(folder.path(), &[watch.as_slice(), &["--scans", "1"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(record(&run).unwrap()["resumed"].as_array().unwrap().len(), 1);
    assert_eq!(mean(&run, "scan1"), 2.0, "the mean of 0, 1, 2, 3, 4");
}

#[test]
fn what_cannot_be_watched_is_said_at_once() {
    let folder = folder();
    let refused = |arguments: &[&str], wanted: &str| {
        let output = isard(folder.path(), arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(wanted), "{arguments:?}: {said}");
    };
    refused(&["watch", "mean.toml", "raw/**"], "names no scans");
    refused(&["watch", "mean.toml", "raw/*.h5", "--source", "nobody"], "`--source nobody`");
    refused(&["watch", "mean.toml", "raw/*.h5", "--poll=-1"], "no time in seconds");
    refused(&["watch", "mean.toml", "raw/*.h5", "--set", "mean.bogus=1"], "`bogus`");
    let two = format!("{MEAN}[stage.dark]\nuse = \"npy.stack\"\nset = {{ path = \"mean.toml\" }}\n");
    std::fs::write(folder.path().join("two.toml"), two).unwrap();
    refused(&["watch", "two.toml", "raw/*.h5"], "`frames.path` and `dark.path`");
}

#[test]
fn each_series_of_a_file_gets_a_run_of_its_own() {
    let folder = folder();
    let mut image = Image::new().unwrap();
    for n in [1u16, 2, 10] {
        let path = format!("/{n}.1/measurement/eiger");
        let data = image.dataset(&path, &Spec::new(Dtype::U16, &[1, 2])).unwrap();
        image.append(data, &[n.to_ne_bytes(); 6].concat(), 3).unwrap();
    }
    image.text("/1.1/title", "no frames").unwrap();
    std::fs::write(folder.path().join("raw/all.h5"), image.into_bytes().unwrap()).unwrap();
    let set = "frames.path=raw/all.h5::/*/measurement/eiger";
    let run = ["run", "mean.toml", "--each-series", "--out", "out", "--json", "--set", set];
    let output = isard(folder.path(), &run);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), 4, "{printed}");
    for n in [1, 2, 10] {
        let name = format!("all-{n}.1-measurement-eiger");
        assert_eq!(mean(&folder.path().join("out").join(&name), &name), f64::from(n));
    }
    let again = text(&isard(folder.path(), &run).stdout);
    assert!(again.contains(r#""before":3"#) && again.contains(r#""done":0"#), "{again}");
    let none =
        isard(folder.path(), &["run", "mean.toml", "--each-series", "--set", "frames.path=raw/all.h5::/*/x"]);
    assert!(none.status.code() == Some(4) && text(&none.stderr).contains("fits no series"));
}

#[test]
fn series_of_a_detector_follow_one_another_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = r#"
isard = "0.1"
name = "live"
[stage.detector]
use = "powder.simulate"
set = { frames = 10, shape = [32, 32], rate = 200.0 }
[stage.sum]
use = "image.sum"
from = "detector"
[stage.save]
use = "hdf5.write"
from = "sum"
set = { path = "sum.h5" }
"#;
    std::fs::write(folder.path().join("live.toml"), recipe).unwrap();
    let child = start(folder.path(), &["run", "live.toml", "--each-series", "--json"]);
    let run = |n: u32| folder.path().join(format!("runs/live-{n:03}"));
    wait("the third series", || status(&run(3)) == "done");
    let (code, printed) = terminate(child);
    // It was stopped in the middle of a series, or between two.
    assert!(matches!(code, Some(0 | 7)), "{code:?}: {printed}");
    assert_eq!(status(&run(1)), "done");
    let content = |n: u32| record(&run(n)).unwrap()["content"].clone();
    assert_eq!(content(1), content(3), "the simulated detector plays the same series each time");
}

#[test]
fn a_replay_comes_to_the_same_digests_although_the_recipe_is_gone_and_finds_changed_data() {
    let folder = folder();
    let data = folder.path().join("raw/any.h5");
    std::fs::write(&data, scan(7)).unwrap();
    std::fs::write(folder.path().join("base.toml"), MEAN).unwrap();
    let over = "isard = \"0.1\"\ninclude = \"base.toml\"\n[stage.save]\nset = { title = \"seven\" }\n";
    std::fs::write(folder.path().join("over.toml"), over).unwrap();
    let run = isard(folder.path(), &["run", "over.toml", "--out", "first", "--set", "frames.frame_axes=2"]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    for name in ["over.toml", "base.toml"] {
        std::fs::write(folder.path().join(name), "nonsense [").unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let first: PathBuf = folder.path().join("first");
    let replay =
        |out: &str| isard(elsewhere.path(), &["replay", first.to_str().unwrap(), "--out", out, "--json"]);
    let output = replay("second");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stderr), text(&output.stdout));
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["same"], said["content"].as_object().unwrap().len()), (&Json::Bool(true), 2), "{said}");
    assert_eq!(said["notes"], serde_json::json!([]));
    assert_eq!(mean(&elsewhere.path().join("second"), "mean"), 7.0);

    std::fs::write(&data, scan(8)).unwrap();
    // Times are recorded to the second.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&data).unwrap().set_modified(old).unwrap();
    let output = replay("third");
    assert_eq!(output.status.code(), Some(10));
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["same"], &said["content"]["mean"]["same"]), (&Json::Bool(false), &Json::Bool(false)));
    assert!(said["notes"][0].as_str().is_some_and(|note| note.contains("any.h5 was changed at")), "{said}");

    // What is not finished has nothing to be compared with.
    let path = first.join("run.json");
    let stopped =
        std::fs::read_to_string(&path).unwrap().replace("\"status\": \"done\"", "\"status\": \"stopped\"");
    std::fs::write(&path, stopped).unwrap();
    let output = replay("fourth");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("isard resume"), "{}", text(&output.stderr));
}
