//! Pixelated STEM as a user meets it: files of all kinds, sizes of all kinds, a detector that is moved, a program that is small.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use isard_core::stage::RunCx;
use isard_core::value::{Array, Value};
use isard_h5::File;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output().unwrap()
}

fn good(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The reference data; none, with a printed line, where they are absent.
fn reference(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("ISARD_SHARED").map_or(beside, Into::into).join("data/stem4d");
    if path.exists() {
        return Some(path);
    }
    // Past the harness, which keeps what passing tests print.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {test} (no reference data)\n").as_bytes(),
    );
    None
}

/// Frames [n y x] of small numbers in an NPY file.
fn frames(path: &Path, shape: [usize; 3]) -> Vec<u16> {
    let header = format!(
        "{{'descr': '<u2', 'fortran_order': False, 'shape': ({}, {}, {}), }}",
        shape[0], shape[1], shape[2]
    );
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(118u16.to_le_bytes());
    bytes.extend(format!("{header:<117}\n").as_bytes());
    let pixels: Vec<u16> = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 251) as u16).collect();
    bytes.extend(pixels.iter().flat_map(|p| p.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
    pixels
}

fn array(path: &str) -> Array {
    match isard_files::input::read_path(&RunCx::default(), path).unwrap() {
        Value::Array(array) => array,
        other => panic!("{path} is {}", other.describe()),
    }
}

/// The scan in every format that is read becomes the same pixels in every format that is written.
#[test]
fn scans_are_converted_pixel_by_pixel() {
    let Some(data) = reference("scans_are_converted_pixel_by_pixel") else { return };
    let folder = tempfile::tempdir().unwrap();
    let scan = std::fs::read(data.join("scan.raw")).unwrap();
    let pixels: Vec<f64> =
        scan.as_chunks::<2>().0.iter().map(|b| f64::from(u16::from_le_bytes(*b))).collect();
    for from in ["scan.dm4", "scan_mode6.mrc", "scan_mode2.mrc", "scan_emd02.emd"] {
        let path = data.join(from).display().to_string();
        for to in ["npy", "h5", "emd", "mib"] {
            // A Merlin counts; the pixels of this file are floats.
            if to == "mib" && from == "scan_mode2.mrc" {
                continue;
            }
            let stem = format!("{}_{to}", from.replace('.', "_"));
            let out = format!("{stem}.{to}");
            good(&isard(folder.path(), &["convert", &path, &out]));
            let back = folder.path().join(&out).display().to_string();
            let found = match to {
                "npy" => array(&back),
                "h5" => array(&format!("{back}::/entry/data/image")),
                "emd" => array(&format!("{back}::/{stem}/image/data")),
                _ => {
                    good(&isard(folder.path(), &["convert", &out, &format!("{out}.npy")]));
                    array(&format!("{back}.npy"))
                }
            };
            assert!(found.to_f64().unwrap() == pixels, "{from} as {to}: {:?}", found.shape());
        }
    }
    for name in ["single_u16.mib", "scan.dm4", "scan_mode6.mrc", "scan_emd02.emd"] {
        let path = data.join(name).display().to_string();
        let said = good(&isard(folder.path(), &["info", &path]));
        assert!(said.contains("read by stem.") && said.contains("[stage.frames]"), "{name}: {said}");
        let json: serde_json::Value =
            serde_json::from_str(&good(&isard(folder.path(), &["info", &path, "--json"]))).unwrap();
        assert!(json["frames"].as_u64().is_some_and(|n| n > 0), "{name}: {json}");
    }
}

const REDUCE: &str = r#"
isard = "0.1"
name = "reduce"
[stage.frames]
use = "stem.npy"
set = { path = "scan.npy" }
[stage.pictures]
use = "stem.detect"
from = "frames"
set = { scan = [4, 6], detectors = { all = { all = true } } }
[stage.save]
use = "npy.write"
from = "pictures"
in = { image = "pictures.all" }
set = { path = "all.npy" }
"#;

#[test]
fn one_recipe_takes_frames_of_any_size() {
    for side in [[4, 4], [64, 48], [256, 256]] {
        let folder = tempfile::tempdir().unwrap();
        let pixels = frames(&folder.path().join("scan.npy"), [24, side[0], side[1]]);
        std::fs::write(folder.path().join("r.toml"), REDUCE).unwrap();
        good(&isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]));
        let found = array(&folder.path().join("out/all.npy").display().to_string()).to_f64().unwrap();
        let sums: Vec<f64> =
            pixels.chunks_exact(side[0] * side[1]).map(|f| f.iter().map(|p| f64::from(*p)).sum()).collect();
        assert_eq!(found, sums, "{side:?}");
    }
}

#[test]
fn inputs_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.npy");
    frames(&path, [24, 8, 8]);
    std::fs::write(folder.path().join("r.toml"), REDUCE).unwrap();
    let state = || (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
    let before = state();
    good(&isard(folder.path(), &["run", "r.toml", "--out", "out", "-q"]));
    assert!(state() == before);
    // The same name for output and input is refused, and the input is still there.
    let over = isard(folder.path(), &["convert", "scan.npy", "scan.npy"]);
    assert_eq!(over.status.code(), Some(2));
    assert!(state() == before);
}

#[test]
fn raw_and_reduced_are_kept_as_the_recipe_says() {
    let folder = tempfile::tempdir().unwrap();
    frames(&folder.path().join("scan.npy"), [24, 16, 16]);
    std::fs::write(folder.path().join("reduced.toml"), REDUCE).unwrap();
    let raw = "[stage.raw]\nuse = \"hdf5.write\"\nfrom = \"frames\"\nset = { path = \"raw.nxs\", compression = \"bitshuffle\" }\nrun = { lane = \"record\" }\n";
    std::fs::write(folder.path().join("both.toml"), format!("{REDUCE}{raw}")).unwrap();
    for name in ["reduced", "both"] {
        good(&isard(folder.path(), &["run", &format!("{name}.toml"), "--out", name, "-q"]));
    }
    let all = |name: &str| std::fs::read(folder.path().join(name).join("all.npy")).unwrap();
    assert!(all("reduced") == all("both"));
    assert!(!folder.path().join("reduced/raw.nxs").exists());
    let raw = array(&format!("{}::/entry/data/image", folder.path().join("both/raw.nxs").display()));
    assert!(raw.bytes() == array(&folder.path().join("scan.npy").display().to_string()).bytes());
}

#[test]
fn the_program_starts_at_once_and_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let fastest = (0..30).map(|_| {
        let begun = Instant::now();
        good(&isard(folder.path(), &["--version"]));
        begun.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    // 400 MB of frames within 300 MB of memory that belongs to the program alone: mapped files do not count.
    let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (3200, 256, 256), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(118u16.to_le_bytes());
    bytes.extend(format!("{header:<117}\n").as_bytes());
    std::fs::write(folder.path().join("scan.npy"), bytes).unwrap();
    let file = std::fs::File::options().write(true).open(folder.path().join("scan.npy")).unwrap();
    file.set_len(128 + 3200 * 256 * 256 * 2).unwrap();
    std::fs::write(folder.path().join("r.toml"), REDUCE.replace("[4, 6]", "[40, 80]")).unwrap();
    let limited = format!("ulimit -d 300000; exec {} run r.toml --out out -q", env!("CARGO_BIN_EXE_isard"));
    let run = Command::new("sh").args(["-c", &limited]).current_dir(folder.path()).output().unwrap();
    good(&run);
}

/// The centre jumps from one corner to the other while frames come; what was summed where is worked out by hand.
#[test]
fn a_detector_is_moved_while_frames_come() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = frames(&folder.path().join("scan.npy"), [600, 8, 8]);
    let knob = folder.path().join("centre.toml");
    std::fs::write(&knob, "centre = [0.0, 0.0]\n").unwrap();
    let recipe = "isard = \"0.1\"\nname = \"moved\"\n[run]\nchunk = 4\n[stage.frames]\nuse = \"stem.npy\"\nset = { path = \"scan.npy\" }\nrun = { pace = 200.0 }\n\
        [stage.knob]\nuse = \"live.settings\"\nset = { path = \"centre.toml\", poll = 0.01 }\n\
        [stage.pictures]\nuse = \"stem.detect\"\nfrom = \"frames\"\nin = { centre = \"knob.centre\" }\n\
        set = { scan = [20, 30], detectors = { spot = { disk = 0.5 } } }\n\
        [stage.save]\nuse = \"npy.write\"\nfrom = \"pictures\"\nin = { image = \"pictures.spot\" }\nset = { path = \"spot.npy\" }\n";
    std::fs::write(folder.path().join("r.toml"), recipe).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "r.toml", "--out", "out", "-q"])
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !folder.path().join("out/.isard/checkpoint-00000001").exists() {
        assert!(Instant::now() < deadline, "the run does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(1200));
    std::fs::write(folder.path().join("new"), "centre = [7.0, 6.0]\n").unwrap();
    std::fs::rename(folder.path().join("new"), &knob).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let record = std::fs::read(folder.path().join("out/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let changes = record["options"]["latched pictures.centre"].as_array().unwrap();
    let values: Vec<&serde_json::Value> = changes.iter().map(|c| &c[2]).collect();
    assert_eq!(values.last().unwrap().to_string(), "[7.0,6.0]", "{changes:?}");
    let at = changes.last().unwrap()[0].as_u64().unwrap() as usize;
    assert!((4..600).contains(&at), "{changes:?}");
    let begins = changes[0][0].as_u64().unwrap() as usize;
    let found = array(&folder.path().join("out/spot.npy").display().to_string()).to_f64().unwrap();
    for (n, sum) in found.iter().enumerate() {
        // Before the first value the middle of the detector counts, where no pixel is that near.
        let pixel = |y: usize, x: usize| f64::from(pixels[n * 64 + y * 8 + x]);
        let wanted = if n >= at {
            pixel(7, 6)
        } else if n >= begins {
            pixel(0, 0)
        } else {
            0.0
        };
        assert_eq!(*sum, wanted, "frame {n}: {changes:?}");
    }
}

#[test]
fn the_selftest_passes() {
    let folder = tempfile::tempdir().unwrap();
    // All families with `ISARD_SLOW=full`; else the wire and the recorder, which nothing else tries as a whole.
    let full = std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full");
    let words: &[&str] = if full { &[""] } else { &["Merlin", "Timepix3", "recording"] };
    for word in words {
        let begun = Instant::now();
        let printed = good(&isard(folder.path(), &["selftest", "--only", word, "--json"]));
        let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(json["ok"], true, "{printed}");
        assert!(!json["trials"].as_array().unwrap().is_empty());
        assert!(begun.elapsed() < Duration::from_secs(120));
    }
    let unknown = isard(folder.path(), &["selftest", "--only", "alchemy"]);
    assert_eq!(unknown.status.code(), Some(2));
}

/// A recording of a Merlin over TCP is whole, each frame at its scan point.
#[test]
fn a_simulated_scan_goes_over_the_wire_into_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    good(&isard(folder.path(), &["selftest", "--only", "Merlin", "--keep", "kept"]));
    let raw = folder.path().join("kept/06/0/raw.nxs");
    let file = File::open(&raw).unwrap();
    let numbers = file.dataset("/entry/data/frame").unwrap().read_all().unwrap();
    let numbers: Vec<u64> = numbers.as_chunks::<8>().0.iter().map(|b| u64::from_ne_bytes(*b)).collect();
    let wanted: Vec<u64> = (0..144).filter(|n| *n != 77).collect();
    assert_eq!(numbers, wanted);
}
