//! The gold example: its folder, its parameters and its files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use isard_hedm::files::{Params, read_reflections};
use isard_hedm::model::{Detector, Predictor, Projector, Rules, Scan, Window};

/// A file of the near-field reference data, or nothing with a line that says so.
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    use std::io::Write;
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let root = std::env::var_os("ISARD_SHARED").map_or(beside, PathBuf::from);
    let file = root.join("data/nf-hedm").join(path);
    if file.exists() {
        return Some(file);
    }
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
    None
}

pub fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

pub fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// The bytes of a file packed by xz.
pub fn unpacked(path: &Path) -> Vec<u8> {
    let out = Command::new("xz").args(["-dc", path.to_str().unwrap()]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// The experiment of a folder with the gold example's files.
pub fn projector(folder: &Path, rules: Rules) -> Projector {
    let (p, _) = Params::parse(&text(folder, "ps_au.txt"));
    let column = |key| p.rows::<1>(key).unwrap().into_iter().map(|[x]| x).collect::<Vec<f64>>();
    let tilt = ["tx", "ty", "tz"].map(|k| p.need(k).unwrap());
    let size = [p.need("NrPixels").unwrap() as usize; 2];
    let detector =
        Detector::new(&column("Lsd"), &p.rows::<2>("BC").unwrap(), tilt, p.need("px").unwrap(), size);
    let areas = p.rows::<4>("BoxSize").unwrap();
    let windows = p.rows::<2>("OmegaRange").unwrap().into_iter().zip(areas);
    let scan = Scan {
        start: p.need("OmegaStart").unwrap(),
        step: p.need("OmegaStep").unwrap(),
        frames: (p.need("EndNr").unwrap() - p.need("StartNr").unwrap()) as usize + 1,
        windows: windows.map(|(omega, area)| Window { omega, area }).collect(),
        exclude_pole: p.need("ExcludePoleAngle").unwrap(),
        wedge: p.number("Wedge").unwrap().unwrap_or(0.0),
        rules,
    };
    let reflections = read_reflections(&text(folder, "hkls.csv")).unwrap();
    let lsd = detector.lsd[0];
    Projector {
        predictor: Predictor::new(reflections, scan, lsd),
        detector,
        wavelength: p.need("Wavelength").unwrap(),
        rules,
    }
}
