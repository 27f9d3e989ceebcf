//! Real frames: the geometry of a real detector, and the peaks of a real scan.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/shared.rs"]
mod shared;

use isard as _;
use isard_core::run::{self, Outcome};
use isard_core::stage::RunCx;
use isard_core::value::Value;

use shared::{options, reference, shipped};

/// The CeO2 frame of the HEXRD examples: its folder names 740 mm and the Yb K edge, 0.202153 Å.
#[test]
fn a_real_detector_is_calibrated_without_a_hint() {
    let name = "a_real_detector_is_calibrated_without_a_hint";
    let Some(_) = reference(name, "data/frames/hedm/ceria_50x30_740mm_000005_Pilatus2M.hdf5") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let report = run::run(&shipped("calibrate.toml", &[]), options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let fit = report.stages.iter().find(|s| s.name == "fit").unwrap();
    let number = |key: &str| fit.results.get(key).and_then(Value::number).unwrap();
    let near = |key: &str, wanted: f64, within: f64| {
        let found = number(key);
        assert!((found - wanted).abs() <= within, "{key}: found {found}, wanted {wanted} ± {within}");
    };
    near("distance", 740.0, 2.0);
    near("row", 807.0, 1.0);
    near("column", 775.0, 1.0);
    assert!(number("rms") < 0.5, "rings within {} pixel", number("rms"));
    assert!(number("rings_used") >= 10.0);
    let picture = std::fs::read(out.join("rings.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000);
    let poni = std::fs::read_to_string(out.join("geometry.poni")).unwrap();
    assert!(poni.contains("Distance: 0.739"), "{poni}");
}

/// Counts of 8-connected components above 50 in the alpha-zirconium series, by `scipy.ndimage.label` on the sparse
/// original of the same frames: 2416 in all, and these in five frames.
#[test]
fn peaks_of_a_real_scan_are_counted_as_others_count_them() {
    let name = "peaks_of_a_real_scan_are_counted_as_others_count_them";
    let Some(frames) = reference(name, "data/frames/hedm/alpha_zr_ge2_dense.h5") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let plan = shipped("peaks.toml", &["find.above=50", "find.min_pixels=1"]);
    let report = run::run(&plan, options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());

    let run = RunCx::default();
    let read = |path: String| match isard_files::input::read_path(&run, &path).unwrap() {
        Value::Array(array) => array,
        other => panic!("found {}", other.describe()),
    };
    let counts = read(format!("{}::/entry/data/count", out.join("peaks.nxs").display())).to_f64().unwrap();
    assert_eq!(counts.iter().sum::<f64>(), 2416.0);
    for (frame, count) in [(0, 8.0), (1, 12.0), (49, 29.0), (50, 12.0), (99, 24.0)] {
        assert_eq!(counts[frame], count, "frame {frame}");
    }

    // And by a flood fill that shares nothing with the stage, over every tenth frame.
    let stack = read(format!("{}::/entry/measurement/frames", frames.display()));
    for frame in (0..100).step_by(10) {
        let image = stack.record(frame).unwrap();
        let found = flood(image.as_slice::<u16>().unwrap(), image.shape()[1], 50);
        assert_eq!(counts[frame], found as f64, "frame {frame}");
    }
}

/// How many 8-connected sets of pixels are above a threshold.
fn flood(pixels: &[u16], columns: usize, above: u16) -> usize {
    let mut open: Vec<bool> = pixels.iter().map(|p| *p > above).collect();
    let rows = pixels.len() / columns;
    let mut found = 0;
    for start in 0..open.len() {
        if !open[start] {
            continue;
        }
        found += 1;
        let mut stack = vec![start];
        while let Some(at) = stack.pop() {
            if !std::mem::replace(&mut open[at], false) {
                continue;
            }
            let (row, column) = (at / columns, at % columns);
            for r in row.saturating_sub(1)..rows.min(row + 2) {
                for c in column.saturating_sub(1)..columns.min(column + 2) {
                    if open[r * columns + c] {
                        stack.push(r * columns + c);
                    }
                }
            }
        }
    }
    found
}
