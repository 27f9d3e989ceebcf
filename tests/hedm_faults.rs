//! What can go wrong with a near-field scan: clear errors, or a stated lesser result where the user allows it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/nearfield.rs"]
mod nearfield;

use std::path::Path;

use isard_hedm::files::read_text_mic;
use nearfield::{Case, FIRST, isard, well};

/// A recorded scan in a folder, with its imported recipe.
fn scan(case: &Case) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    case.record(at, 0);
    std::fs::write(at.join("ps.txt"), case.params()).unwrap();
    well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
    let recipe = std::fs::read_to_string(at.join("map.toml")).unwrap();
    (folder, recipe)
}

fn file(at: &Path, frame: usize) -> std::path::PathBuf {
    at.join(format!("raw/ex_{:06}.tif", FIRST + frame))
}

#[test]
fn a_missing_frame_shifts_no_other_and_must_be_allowed() {
    let case = Case::small();
    let (folder, _) = scan(&case);
    let at = folder.path();
    std::fs::remove_file(file(at, 100)).unwrap();
    let (code, text) = isard(at, &["run", "map.toml", "--out", "strict"]);
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("missing"), "{text}");
    well(at, &["run", "map.toml", "--out", "run", "--quiet", "--set", "run.limits.missing=1"]);
    let quality = case.quality(&at.join("run/case.mic"), 0);
    println!("{quality:?}");
    assert!(quality.quarter >= 0.8, "{quality:?}");
    let record = std::fs::read_to_string(at.join("run/run.json")).unwrap();
    assert!(record.contains("\"missing\""), "{record}");
}

#[test]
fn a_frame_of_the_wrong_size_is_told_and_left_out() {
    let case = Case::small();
    let (folder, _) = scan(&case);
    let at = folder.path();
    // A page of 2 x 3 pixels: a header, a directory of nine entries, and twelve bytes.
    let mut writer = isard_files::tiff::Writer::new(isard_h5::Dtype::U16, [2, 3], false).unwrap();
    writer.page(&[7; 12]).unwrap();
    std::fs::write(file(at, 7), writer.into_bytes().unwrap()).unwrap();
    let (code, text) = isard(at, &["run", "map.toml", "--out", "strict"]);
    assert!(code != Some(0) && text.contains("corrupt"), "{text}");
    let record = std::fs::read_to_string(at.join("strict/run.json")).unwrap();
    assert!(record.contains("found [2, 3]") && record.contains("wanted [128, 128]"), "{record}");
    well(at, &["run", "map.toml", "--out", "run", "--quiet", "--set", "run.limits.corrupt=1"]);
    assert!(case.quality(&at.join("run/case.mic"), 0).quarter >= 0.8);
    // Where the experiment itself has another size, no frame fits.
    let (code, text) =
        isard(at, &["run", "map.toml", "--out", "size", "--set", "shared.experiment.size=[100, 128]"]);
    assert!(code != Some(0) && text.contains("no picture can be taken"), "{text}");
    assert!(text.contains("found [128, 128] of uint16, wanted [128, 100]"), "{text}");
}

#[test]
fn a_distance_that_was_not_recorded_is_told_or_left_out() {
    let case = Case::small();
    let (folder, _) = scan(&case);
    let at = folder.path();
    for frame in case.frames..2 * case.frames {
        std::fs::remove_file(file(at, frame)).unwrap();
    }
    let limits = format!("run.limits.missing={}", case.frames);
    let (code, text) = isard(at, &["run", "map.toml", "--out", "strict", "--set", &limits]);
    assert!(code != Some(0) && text.contains("distance 2 (4000 um): found none of the files"), "{text}");
    assert!(text.contains("partial = true"), "{text}");
    let partial = ["--set", "frames.partial=true"];
    let run = ["run", "map.toml", "--out", "run", "--quiet", "--set", &limits];
    well(at, &[&run[..], &partial].concat());
    let (_, found) = read_text_mic(&std::fs::read_to_string(at.join("run/case.mic")).unwrap()).unwrap();
    assert!(found.len() > 50);
    // The map says on how many distances it rests.
    let file = isard_h5::File::open(at.join("run/case_consolidated.h5")).unwrap();
    let bytes = file.dataset("voxels/distances").unwrap().read_all().unwrap();
    let rests: Vec<f64> = bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect();
    assert!(rests.iter().all(|d| *d == 0.0 || *d == 1.0) && rests.contains(&1.0), "{rests:?}");
}

#[test]
fn a_group_of_another_lattice_and_a_rotation_beyond_the_scan_are_told_before_it_runs() {
    let case = Case::small();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    std::fs::create_dir(at.join("raw")).unwrap();
    let told = |params: String| {
        std::fs::write(at.join("ps.txt"), params).unwrap();
        let _ = std::fs::remove_file(at.join("map.toml"));
        well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
        let (code, text) = isard(at, &["check", "map.toml"]);
        assert_ne!(code, Some(0), "{text}");
        text
    };
    let group = told(Case { group: 194, ..case.clone() }.params());
    assert!(group.contains("space_group") && group.contains("194"), "{group}");
    let outside = Case { windows: vec![[100.0, 140.0, -600.0, 600.0, 50.0, 900.0]], ..case.clone() };
    let omega = told(outside.params());
    assert!(omega.contains("omega from 100 to 140, the scan goes from -90 to 90"), "{omega}");
    let nowhere = Case { windows: vec![[-90.0, 90.0, -600.0, 600.0, 5000.0, 9000.0]], ..case.clone() };
    let boxes = told(nowhere.params());
    assert!(boxes.contains("falls in the box of a window"), "{boxes}");
}

#[test]
fn seeds_that_are_no_orientations_are_told_with_their_line() {
    let case = Case::small();
    let (folder, _) = scan(&case);
    let at = folder.path();
    for (line, wanted) in [
        ("0.5 0 0 0", "line 2: found a quaternion of length 0.5"),
        ("1 0 0", "line 2: found 3 numbers"),
        ("1 0 zero 0", "line 2"),
    ] {
        std::fs::write(at.join("seeds.txt"), format!("1 0 0 0\n{line}\n")).unwrap();
        let (code, text) = isard(at, &["run", "map.toml", "--out", "run", "--overwrite"]);
        assert!(code != Some(0) && text.contains(wanted) && text.contains("seeds.txt"), "{line}: {text}");
    }
    std::fs::write(at.join("seeds.txt"), "").unwrap();
    let (code, text) = isard(at, &["run", "map.toml", "--out", "run", "--overwrite"]);
    assert!(code != Some(0) && text.contains("the input `seeds` is empty"), "{text}");
}
