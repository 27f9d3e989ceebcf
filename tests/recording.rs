//! Recordings as a user meets them: killed, repaired, damaged, listed to be taken again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use isard_h5::File;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A live detector of a scan, recorded; most of it is between checkpoints.
fn recipe(rate: f64) -> String {
    format!(
        r#"
isard = "0.1"
name = "recording"
[run]
chunk = 4
checkpoint_s = 0.0
checkpoint_frames = 150
seed = 11
limits = {{ missing = 3, corrupt = 2 }}
[scan]
axes = [{{ name = "y", n = 20 }}, {{ name = "x", n = 20 }}]
[stage.frames]
use = "powder.simulate"
set = {{ frames = 400, shape = [32, 40], rate = {rate:?}, lose = [7, 8, 300], corrupt = [41, 222] }}
[stage.raw]
use = "hdf5.write"
from = "frames"
in = {{ image = "frames.image" }}
set = {{ path = "raw.nxs", part_bytes = 50000 }}
run = {{ lane = "record", sync_s = 0.05 }}
[stage.sum]
use = "image.sum"
from = "frames"
"#
    )
}

/// The frame numbers, pixels and verdicts of a recording.
///
/// One that was killed before its first part was written has none: then no part may lie about.
fn recorded(out: &Path) -> (Vec<u64>, Vec<u8>, Vec<u8>) {
    let file = out.join("raw.nxs").exists().then(|| File::open(out.join("raw.nxs")).unwrap());
    let Some(file) = file.filter(|file| file.dataset("/entry/data/frame").is_ok()) else {
        let parts = std::fs::read_dir(out.join("raw.parts")).map_or(0, Iterator::count);
        assert_eq!(parts, 0, "{}: parts that no frame is read from", out.display());
        return (vec![], vec![], vec![]);
    };
    let all = |path: &str| file.dataset(path).unwrap().read_all().unwrap();
    let numbers =
        all("/entry/data/frame").as_chunks::<8>().0.iter().map(|b| u64::from_ne_bytes(*b)).collect();
    let verdicts = file.dataset("/entry/data/verdict").map_or(vec![], |d| d.read_all().unwrap());
    (numbers, all("/entry/data/image"), verdicts)
}

/// Moments are drawn from a seed that is printed; `ISARD_SEED` draws the same ones.
fn seeded() -> impl FnMut(u64) -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = std::env::var("ISARD_SEED").ok().and_then(|s| s.parse().ok());
    let mut state: u64 = seed.unwrap_or(clock.as_nanos() as u64 | 1);
    eprintln!("seed {state}: ISARD_SEED={state} draws the same moments");
    move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % n.max(1)
    }
}

#[test]
fn a_recording_killed_by_the_clock_is_repaired_to_the_frames_it_had() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), recipe(0.0)).unwrap();
    good(&isard(folder.path(), &["run", "r.toml", "--out", "whole", "-q"]));
    let (numbers, pixels, _) = recorded(&folder.path().join("whole"));
    assert_eq!(numbers.len(), 397);
    std::fs::write(folder.path().join("r.toml"), recipe(1000.0)).unwrap();
    let times = if std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full") { 50 } else { 12 };
    let (mut roll, mut kept, mut struck, mut turn) = (seeded(), 0, 0, 0);
    while struck < times {
        // Some moments fall behind the end of the run.
        turn += 1;
        assert!(turn <= 3 * times, "{struck} of {turn} kills struck");
        let name = format!("out{turn}");
        let out = folder.path().join(&name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
            .args(["run", "r.toml", "--out", &name, "-q"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !out.join(".isard/journal").exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(roll(420)));
        let _ = child.kill();
        struck += u64::from(!child.wait().unwrap().success());
        good(&isard(folder.path(), &["verify", &name]));
        good(&isard(folder.path(), &["repair", &name]));
        let verdict = good(&isard(folder.path(), &["verify", &name]));
        assert!(verdict.starts_with("good") || verdict.contains("\ngood"), "{verdict}");
        // What there is are the first frames, each as in the run that nobody disturbed.
        let (found, bytes, verdicts) = recorded(&out);
        assert_eq!(found, numbers[..found.len()], "turn {turn}");
        assert_eq!(bytes, pixels[..bytes.len()], "turn {turn}");
        let marked: Vec<u64> =
            found.iter().zip(&verdicts).filter(|(_, v)| **v != 0).map(|(n, _)| *n).collect();
        let wanted: Vec<u64> = [41, 222].into_iter().filter(|n| found.contains(n)).collect();
        assert_eq!(marked, wanted, "turn {turn}");
        kept += found.len();
    }
    eprintln!("{struck} kills struck in {turn} runs; {kept} frames were kept");
    assert!(kept > 0);
}

#[test]
fn a_flipped_byte_of_a_recording_is_named_with_file_and_frame() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), recipe(0.0)).unwrap();
    good(&isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]));
    let part = folder.path().join("out/raw.parts/000002.h5");
    let mut bytes = std::fs::read(&part).unwrap();
    // The second half of a part is pixels.
    let at = bytes.len() * 3 / 4;
    bytes[at] ^= 16;
    std::fs::write(&part, &bytes).unwrap();
    let verify = isard(folder.path(), &["verify", "out"]);
    let printed = text(&verify.stdout);
    assert_eq!(verify.status.code(), Some(10), "{printed}");
    assert!(printed.contains("raw.parts/000002.h5: changed"), "{printed}");
    assert!(printed.contains("do not match their checksums"), "{printed}");
    let frame: u64 =
        printed.split(" frames ").nth(1).unwrap().split([' ', '-']).next().unwrap().parse().unwrap();
    // A part of 50000 bytes holds 19 frames of 2568.
    assert!((38..=62).contains(&frame), "{printed}");
}

#[test]
fn lost_scan_points_are_listed_to_be_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), recipe(0.0)).unwrap();
    good(&isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]));
    // By hand: frame n is at line n / 20, point n % 20.
    let wanted = "frame,y,x,reason\n7,0,7,missing\n8,0,8,missing\n41,2,1,corrupt\n222,11,2,corrupt\n300,15,0,missing\n";
    assert_eq!(good(&isard(folder.path(), &["rescan", "out"])), wanted);
    good(&isard(folder.path(), &["rescan", "out", "--csv", "again.csv"]));
    assert_eq!(std::fs::read_to_string(folder.path().join("again.csv")).unwrap(), wanted);
    let json: serde_json::Value =
        serde_json::from_str(&good(&isard(folder.path(), &["rescan", "out", "--json"]))).unwrap();
    assert_eq!(json["frames"][3], serde_json::json!({ "frame": 222, "point": [11, 2], "reason": "corrupt" }));
    // A list that is there is not written over.
    assert_eq!(isard(folder.path(), &["rescan", "out", "--csv", "again.csv"]).status.code(), Some(5));
}

#[test]
fn what_was_recorded_is_not_written_over_and_run_json_says_how_it_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), recipe(0.0)).unwrap();
    good(&isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]));
    let before = std::fs::read(folder.path().join("out/raw.parts/000000.h5")).unwrap();
    let again = isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("holds"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(folder.path().join("out/raw.parts/000000.h5")).unwrap(), before);
    let record = std::fs::read(folder.path().join("out/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["recording"][0]["stage"], "raw");
    assert_eq!(record["recording"][0]["sync_s"], 0.05);
    assert_eq!(record["scans"]["frames"][1], serde_json::json!(["x", 20]));
    // Nothing to repair is no error, and changes nothing.
    let printed = good(&isard(folder.path(), &["repair", "out"]));
    assert!(printed.contains("nothing to repair"), "{printed}");
    good(&isard(folder.path(), &["verify", "out"]));
}

/// The list of the run's own digests is one that other programs check too.
#[test]
fn the_manifest_is_checked_by_sha256sum() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), recipe(0.0)).unwrap();
    good(&isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]));
    let manifest = std::fs::read(folder.path().join("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let lines: Vec<String> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| format!("{}  {}", f["sha256"].as_str().unwrap(), f["path"].as_str().unwrap()))
        .collect();
    assert!(lines.len() > 10);
    std::fs::write(folder.path().join("sums"), lines.join("\n") + "\n").unwrap();
    let check = Command::new("sha256sum")
        .args(["-c", "--quiet", "../sums"])
        .current_dir(folder.path().join("out"))
        .output();
    let Ok(check) = check else { return eprintln!("no sha256sum on this machine") };
    assert!(check.status.success(), "{}", text(&check.stdout));
}
