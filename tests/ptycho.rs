//! What can be wrong with a ptychographic scan, with the command: clear errors, or a stated treatment; never a picture
//! of nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

/// Frames of the scan, and their edge.
const FRAMES: usize = 24;
const N: usize = 32;

fn isard(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

/// An array as numpy writes it.
fn npy(path: &Path, kind: &str, shape: &[usize], bytes: &[u8]) {
    let dims: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut head = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}");
    while !(11 + head.len()).is_multiple_of(64) {
        head.push(' ');
    }
    head.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((head.len() as u16).to_le_bytes());
    file.extend(head.as_bytes());
    file.extend(bytes);
    std::fs::write(path, file).unwrap();
}

/// A scan in arrays that are to be spoilt.
struct Scan {
    counts: Vec<f32>,
    places: Vec<[f64; 2]>,
    bad: Vec<u8>,
    probe: Vec<f32>,
}

impl Scan {
    /// Frames of an even disc on a flat object, with some texture; their positions lie on a square.
    fn new() -> Scan {
        let pixel = |k: usize, i: usize| {
            let (y, x) = ((i / N) as f64 - 16.0, (i % N) as f64 - 16.0);
            (2000.0 / (1.0 + y * y + x * x) + ((i * 7 + k * 13) % 5) as f64).round() as f32
        };
        let counts = (0..FRAMES).flat_map(|k| (0..N * N).map(move |i| pixel(k, i))).collect();
        // Some five pixels of the object apart: 6.2 keV, 7 m, 172 um and 32 pixels make 254 nm.
        let places = (0..FRAMES).map(|k| [(k / 5) as f64 * 1.3e-6, (k % 5) as f64 * 1.3e-6]).collect();
        let lit = |i: usize| f32::from(u8::from((i / N).abs_diff(16) < 6 && (i % N).abs_diff(16) < 6));
        let probe = (0..N * N).flat_map(|i| [10.0 * lit(i), 0.0]).collect();
        Scan { counts, places, bad: vec![0; N * N], probe }
    }

    fn write(&self, folder: &Path) {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        npy(&folder.join("counts.npy"), "<f4", &[FRAMES, N, N], &bytes(&self.counts));
        let places: Vec<u8> = self.places.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        npy(&folder.join("places.npy"), "<f8", &[self.places.len(), 2], &places);
        let side = self.bad.len().isqrt();
        npy(&folder.join("bad.npy"), "|u1", &[side, side], &self.bad);
        npy(&folder.join("probe.npy"), "<c8", &[1, N, N], &bytes(&self.probe));
    }
}

const RECIPE: &str = r#"
isard = "0.1"
name = "spoilt"
[run]
seed = 1
[stage.raw]
use = "npy.stack"
set = { path = "counts.npy" }
[stage.places]
use = "scan.positions"
from = "raw"
in = { image = "raw.image" }
set = { path = "places.npy" }
[stage.fit]
use = "ptycho.reconstruct"
from = "places"
in = { image = "raw.image", bad = { file = "bad.npy" }, probe = { file = "probe.npy" } }
set = { engines = [{ name = "DM", numiter = 4 }, { name = "EPIE", numiter = 3 }, { name = "ML", numiter = 3 }], energy = 6.2, distance = 7.0, psize = 172e-6 }
[stage.amplitude]
use = "npy.write"
from = "fit"
in = { image = "fit.amplitude" }
set = { path = "amplitude.npy" }
[stage.told]
use = "csv.write"
from = "fit"
in = { frames = "fit.frames", refused = "fit.refused", dark = "fit.dark", r_factor = "fit.r_factor" }
set = { path = "told.csv" }
"#;

/// Runs a spoilt scan in a folder of its own: the exit code, all that was printed, and the record of the run.
fn ran(spoil: impl Fn(&mut Scan)) -> (tempfile::TempDir, Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut scan = Scan::new();
    spoil(&mut scan);
    scan.write(folder.path());
    std::fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    let (code, text) = isard(folder.path(), &["run", "recipe.toml", "--out", "out", "--quiet"]);
    (folder, code, text)
}

/// The run ends well, its picture holds numbers only, and it says so much of frames, refused pixels and dark frames.
fn treated(what: &str, spoil: impl Fn(&mut Scan), wanted: [f64; 3]) {
    let (folder, code, text) = ran(spoil);
    assert_eq!(code, Some(0), "{what}: {text}");
    let table = std::fs::read_to_string(folder.path().join("out/told.csv")).unwrap();
    let lines: Vec<Vec<&str>> =
        table.lines().filter(|l| !l.starts_with('#')).map(|l| l.split(',').collect()).collect();
    let (names, last) = (&lines[0], &lines[lines.len() - 1]);
    let said = |key: &str| -> f64 {
        let column = names.iter().position(|name| name.trim() == key);
        column.and_then(|k| last[k].trim().parse().ok()).unwrap_or_else(|| panic!("{what}: {key}: {table}"))
    };
    assert_eq!([said("frames"), said("refused"), said("dark")], wanted, "{what}");
    assert!((0.0..1.0).contains(&said("r_factor")), "{what}: {}", said("r_factor"));
    let picture = std::fs::read(folder.path().join("out/amplitude.npy")).unwrap();
    let head = 10 + usize::from(u16::from_le_bytes([picture[8], picture[9]]));
    let (pixels, _) = picture[head..].as_chunks::<4>();
    assert!(!pixels.is_empty() && pixels.iter().all(|p| f32::from_le_bytes(*p).is_finite()), "{what}");
}

/// The run fails and says why, and leaves no picture.
fn refused(what: &str, spoil: impl Fn(&mut Scan), says: &str) {
    let (folder, code, text) = ran(spoil);
    assert!(code != Some(0) && text.contains(says), "{what}: {code:?} {text}");
    assert!(!folder.path().join("out/amplitude.npy").exists(), "{what}");
}

#[test]
fn a_sound_scan_is_taken_as_it_is() {
    treated("sound", |_| (), [24.0, 0.0, 0.0]);
}

#[test]
fn pixels_and_frames_that_hold_nothing_do_not_count() {
    treated("a negative count", |s| s.counts[7] = -3.0, [24.0, 1.0, 0.0]);
    treated("counts that are no numbers", |s| s.counts[2000..2003].fill(f32::NAN), [24.0, 3.0, 0.0]);
    treated("endless counts", |s| s.counts[5] = f32::INFINITY, [24.0, 1.0, 0.0]);
    treated("a frame of no numbers", |s| s.counts[N * N..2 * N * N].fill(f32::NAN), [23.0, 1024.0, 1.0]);
    treated("a frame without light", |s| s.counts[N * N..2 * N * N].fill(0.0), [24.0, 0.0, 0.0]);
    treated("bad columns", |s| (0..N).for_each(|y| s.bad[y * N + 3] = 1), [24.0, 0.0, 0.0]);
}

#[test]
fn scans_that_say_nothing_are_refused() {
    refused("all pixels bad", |s| s.bad.fill(1), "none of 24 frames has a good pixel");
    refused("no light at all", |s| s.counts.fill(0.0), "no frame holds any count");
    refused("nothing but negative counts", |s| s.counts.fill(-1.0), "none of 24 frames has a good pixel");
    refused("a probe without light", |s| s.probe.fill(0.0), "the probe to begin with has the power 0");
    refused("a probe of no numbers", |s| s.probe.fill(f32::NAN), "the probe to begin with has the power NaN");
    refused("a mask of another size", |s| s.bad = vec![0; 256], "a mask of 256 pixels, wanted 1024");
}

#[test]
fn positions_that_cannot_be_are_refused() {
    // Chunks run side by side; only the last one lacks positions, so its first such frame is named.
    refused(
        "fewer positions than frames",
        |s| s.places.truncate(20),
        "frame 20 has no position, there are 20",
    );
    refused("a position far away", |s| s.places[4][1] = 0.1, "check the positions and their unit");
    refused("an endless position", |s| s.places[4][1] = f64::INFINITY, "frame 4: its position is");
    refused("a position that is no number", |s| s.places[3][0] = f64::NAN, "frame 3: its position is");
}

#[test]
fn frames_of_mixed_shapes_are_refused_with_the_file_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let scan = Scan::new();
    scan.write(at);
    std::fs::create_dir(at.join("frames")).unwrap();
    for (k, frame) in scan.counts.chunks(N * N).enumerate() {
        let bytes: Vec<u8> = frame.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (side, bytes) = if k == 9 { (16, &bytes[..1024]) } else { (N, &bytes[..]) };
        npy(&at.join(format!("frames/{k:02}.npy")), "<f4", &[side, side], bytes);
    }
    std::fs::write(at.join("recipe.toml"), RECIPE.replace("counts.npy", "frames")).unwrap();
    let (code, text) = isard(at, &["run", "recipe.toml", "--out", "out", "--quiet"]);
    assert!(code != Some(0) && text.contains("09.npy") && text.contains("wanted f32 [32, 32]"), "{text}");
    assert!(!at.join("out/amplitude.npy").exists());
}

#[test]
fn a_chunk_file_that_vanished_is_told_and_shifts_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let write = r#"
        isard = "0.1"
        name = "write"
        [run]
        seed = 1
        [stage.frames]
        use = "ptycho.simulate"
        set = { num_frames = 24, shape = 32, photons = 1e6, density = 0.12 }
        [stage.save]
        use = "ptyd.write"
        from = "frames"
        in = { energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize", num_frames = "frames.head.num_frames" }
        set = { path = "scan.ptyd", frames = 6 }
    "#;
    let read = r#"
        isard = "0.1"
        name = "read"
        [run]
        seed = 1
        [stage.frames]
        use = "ptyd.read"
        set = { path = "scan/scan.ptyd" }
        [stage.fit]
        use = "ptycho.reconstruct"
        from = "frames"
        in = { mask = "frames.mask", energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize" }
        set = { engines = [{ name = "EPIE", numiter = 3 }] }
        [stage.places]
        use = "csv.write"
        from = "fit"
        in = { table = "fit.positions" }
        set = { path = "places.csv" }
    "#;
    std::fs::write(at.join("write.toml"), write).unwrap();
    std::fs::write(at.join("read.toml"), read).unwrap();
    let (code, text) = isard(at, &["run", "write.toml", "--out", "scan", "--quiet"]);
    assert_eq!(code, Some(0), "{text}");
    std::fs::remove_file(at.join("scan/scan.ptyd.part002")).unwrap();
    let (code, text) = isard(at, &["run", "read.toml", "--out", "strict", "--quiet"]);
    assert!(code != Some(0) && text.contains("missing"), "{text}");
    let record = std::fs::read_to_string(at.join("strict/run.json")).unwrap();
    assert!(record.contains("chunk 2 cannot be read"), "{record}");
    let lax = ["run", "read.toml", "--out", "lax", "--quiet", "--set", "run.limits.missing=6"];
    let (code, text) = isard(at, &lax);
    assert_eq!(code, Some(0), "{text}");
    let table = std::fs::read_to_string(at.join("lax/places.csv")).unwrap();
    let numbers = table.lines().filter(|l| !l.starts_with('#'));
    let indices: Vec<u64> =
        numbers.filter_map(|l| l.split(',').find_map(|c| c.trim().parse().ok())).collect();
    let wanted: Vec<u64> = (0..24).filter(|k| !(12..18).contains(k)).collect();
    assert_eq!(indices, wanted, "{table}");
}
