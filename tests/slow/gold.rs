//! The gold example from coarse to fine, as its parameter file has it.

#[path = "../support/nearfield.rs"]
mod nearfield;

use std::path::Path;
use std::process::Command;

use isard_hedm::files::{Fitted, read_text_mic};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};
use nearfield::well;

/// The example's parameters, seeds and reduced frames in a folder.
fn laid(params: &Path, at: &Path, refine: &str) {
    let text = std::fs::read_to_string(params).unwrap();
    std::fs::write(at.join("ps.txt"), format!("{text}\nGridRefactor {refine}\n")).unwrap();
    let from = params.parent().unwrap();
    for name in ["seedOrientations.txt", "grs.csv"] {
        std::fs::copy(from.join(name), at.join(name)).unwrap();
    }
    let bits = std::fs::File::create(at.join("SpotsInfo.bin")).unwrap();
    let status =
        Command::new("xz").arg("-dc").arg(from.join("SpotsInfo.bin.xz")).stdout(bits).status().unwrap();
    assert!(status.success());
}

fn content(at: &Path, run: &str) -> serde_json::Value {
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at.join(run).join("run.json")).unwrap()).unwrap();
    assert!(record["content"].as_object().is_some_and(|c| c.len() > 3), "{record}");
    record["content"].clone()
}

#[test]
fn no_voxel_of_the_gold_example_gets_worse_from_turn_to_turn() {
    let name = "no_voxel_of_the_gold_example_gets_worse_from_turn_to_turn";
    let Some(params) = crate::shared::reference(name, "data/nf-hedm/ps_au.txt") else { return };
    let (refine, turns) = if crate::full() { ("10 2 2", 2) } else { ("20 2 1", 1) };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    laid(&params, at, refine);
    well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
    well(at, &["run", "map.toml", "--out", "whole", "--quiet"]);

    let path = at.join(format!("whole/Au_txt_Reconstructed-{}_consolidated.h5", turns - 1));
    let file = isard_h5::File::open(path).unwrap();
    let read = |turn: usize, trial: &str, what: &str| -> Vec<f64> {
        let path = format!("multi_resolution/loop_{turn}_{trial}/voxels/{what}");
        let bytes = file.dataset(&path).unwrap().read_all().unwrap();
        bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect()
    };
    assert!(!read(0, "unseeded", "confidence").is_empty());
    for turn in 1..=turns {
        assert_eq!(read(turn, "seeded", "position"), read(turn, "merged", "position"));
        let (seeded, merged) = (read(turn, "seeded", "confidence"), read(turn, "merged", "confidence"));
        assert!(seeded.iter().zip(&merged).all(|(a, b)| b >= a), "turn {turn}");
        let better = seeded.iter().zip(&merged).filter(|(a, b)| b > a).count();
        println!("turn {turn}: {} voxels, {better} bettered", merged.len());
    }

    // The voxel of the last map that is nearest to one of the truth has its orientation.
    let (_, truth) =
        read_text_mic(&std::fs::read_to_string(params.with_file_name("Au_txt.mic")).unwrap()).unwrap();
    let mic = std::fs::read_to_string(at.join(format!("whole/Au_txt_Reconstructed-{}.mic", turns - 1)));
    let (_, found) = read_text_mic(&mic.unwrap()).unwrap();
    let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
    let symmetry = Symmetry::of(&SpaceGroup::of(225, &cell).unwrap(), &cell).unwrap();
    let size = if crate::full() { 2.5 } else { 10.0 };
    let truth: Vec<Fitted> = truth.into_iter().filter(|t| t.confidence >= 0.7).collect();
    let apart = |a: &Fitted, b: &Fitted| (a.voxel.x - b.voxel.x).hypot(a.voxel.y - b.voxel.y);
    let differ = |a: &Fitted, b: &Fitted| {
        let [a, b] = [a.euler, b.euler].map(Quat::from_euler);
        symmetry.misorientation(&a, &b).to_degrees() >= 1.0
    };
    let (mut right, mut all) = (0, 0);
    // At a border the nearest voxel of a coarse map may lie on the other side.
    let inside = |t: &&Fitted| truth.iter().all(|o| apart(t, o) > size || !differ(t, o));
    for t in truth.iter().filter(inside) {
        let near = found.iter().min_by(|a, b| apart(a, t).total_cmp(&apart(b, t))).unwrap();
        all += 1;
        right += usize::from(!differ(near, t));
    }
    println!("{right} of {all} inner voxels of the truth have their orientation beside them");
    assert!(truth.len() == 1514 && all > 500 && right * 100 >= 99 * all, "{right} of {all}");

    for part in ["1", "2"] {
        well(at, &["run", "map.toml", "--part", &format!("{part}/2"), "--out", part, "--quiet"]);
    }
    well(at, &["merge", "merged", "2", "1", "--quiet"]);
    assert_eq!(content(at, "merged"), content(at, "whole"));
}
