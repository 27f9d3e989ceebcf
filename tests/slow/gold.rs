//! The gold example from coarse to fine, as its parameter file has it.

#[path = "../../plugins/hedm/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isard_hedm::bits::{BitWriter, Painter};
use isard_hedm::files::{Fitted, read_text_mic};
use isard_hedm::model::Rules;
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::nearfield::well;

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
    let _turn = crate::beside_others();
    let name = "no_voxel_of_the_gold_example_gets_worse_from_turn_to_turn";
    let Some(params) = crate::shared::reference(name, "data/nf-hedm/ps_au.txt") else { return };
    let (refine, turns) = if crate::full() { ("10 2 2", 2) } else { ("20 2 1", 1) };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    laid(&params, at, refine);
    well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
    let begun = Instant::now();
    well(at, &["run", "map.toml", "--out", "whole", "--quiet"]);
    let takes = begun.elapsed();
    println!("coarse to fine in {:.1} s", takes.as_secs_f64());

    let last = at.join(format!("whole/Au_txt_Reconstructed-{}", turns - 1));
    bettered(&last, turns);
    right(&last, &truth(&params));
    for part in ["1", "2"] {
        well(at, &["run", "map.toml", "--part", &format!("{part}/2"), "--out", part, "--quiet"]);
    }
    well(at, &["merge", "merged", "2", "1", "--quiet"]);
    alike(at, "merged", turns);
    if crate::full() {
        cut_off(at, turns, takes);
        begun_again(at, turns);
        second_layer(at, &params, turns);
    }
}

/// The voxels of the published microstructure that count as truth.
fn truth(params: &Path) -> Vec<Fitted> {
    let text = std::fs::read_to_string(params.with_file_name("Au_txt.mic")).unwrap();
    let (_, truth) = read_text_mic(&text).unwrap();
    let truth: Vec<Fitted> = truth.into_iter().filter(|t| t.confidence >= 0.7).collect();
    assert_eq!(truth.len(), 1514);
    truth
}

/// No voxel of the maps of any turn is worse than its seeded one.
fn bettered(map: &Path, turns: usize) {
    let file = isard_h5::File::open(format!("{}_consolidated.h5", map.display())).unwrap();
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
}

/// The voxel of a map that is nearest to one of the truth has its orientation.
fn right(map: &Path, truth: &[Fitted]) {
    let mic = std::fs::read_to_string(format!("{}.mic", map.display())).unwrap();
    let (_, found) = read_text_mic(&mic).unwrap();
    let cell = Cell::new([4.08, 4.08, 4.08, 90.0, 90.0, 90.0]).unwrap();
    let symmetry = Symmetry::of(&SpaceGroup::of(225, &cell).unwrap(), &cell).unwrap();
    let size = if crate::full() { 2.5 } else { 10.0 };
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
    assert!(all > 500 && right * 100 >= 99 * all, "{right} of {all}");
}

/// Whether a run ended as the whole one, to the bit: what its stages gave, and the files of its maps.
fn alike(at: &Path, run: &str, turns: usize) {
    assert_eq!(content(at, run), content(at, "whole"), "{run}");
    for turn in 0..turns {
        for name in [format!("Au_txt_Reconstructed-{turn}.mic"), format!("Au_txt_Reconstructed-{turn}.bin")] {
            let [found, wanted] = [run, "whole"].map(|r| std::fs::read(at.join(r).join(&name)).unwrap());
            assert!(found == wanted, "{run}: {name} differs");
        }
    }
}

/// Kills runs, and some of what goes on from them, at random moments.
fn cut_off(at: &Path, turns: usize, takes: Duration) {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    // Whether it was over before.
    let mut killed = |arguments: &[&str]| -> bool {
        let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
            .args(arguments)
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(takes.mul_f64(rng.random_range(0.0..1.0)));
        child.kill().unwrap();
        child.wait().unwrap().success()
    };
    let (mut cuts, mut again) = (0, 0);
    for round in 0..6 {
        let out = format!("cut{round}");
        let mut over = killed(&["run", "map.toml", "--out", &out, "--quiet"]);
        cuts += u32::from(!over);
        let there = at.join(&out).join("run.json").exists();
        if !over && there && round % 2 == 1 {
            over = killed(&["resume", &out, "--quiet"]);
            again += u32::from(!over);
        }
        match (over, there) {
            (true, _) => {}
            (false, true) => drop(well(at, &["resume", &out, "--quiet"])),
            (false, false) => drop(well(at, &["run", "map.toml", "--out", &out, "--quiet"])),
        }
        alike(at, &out, turns);
        well(at, &["verify", &out]);
        std::fs::remove_dir_all(at.join(&out)).unwrap();
    }
    println!("6 runs, {cuts} killed, {again} of them twice: each ended as the whole one");
    assert!(cuts > 0);
}

/// Begins the whole run again at each of its named points.
fn begun_again(at: &Path, turns: usize) {
    std::fs::create_dir(at.join("kept")).unwrap();
    let copied = Command::new("cp").args(["-r", "whole/.", "kept"]).current_dir(at).status().unwrap();
    assert!(copied.success());
    let passes =
        (1..=turns).flat_map(|n| ["seeded", "unseeded", "merged"].map(|p| format!("refine.{n}.{p}")));
    for point in std::iter::once("coarse".to_owned()).chain(passes) {
        let begun = Instant::now();
        well(at, &["resume", "kept", "--restart-from", &point, "--quiet"]);
        println!("again from {point} in {:.1} s", begun.elapsed().as_secs_f64());
        alike(at, "kept", turns);
    }
}

/// Maps two layers, the second of which begins with the grains of the first.
fn second_layer(at: &Path, params: &Path, turns: usize) {
    // The same grains, a little further along: spots of a layer that was cut elsewhere.
    let moved: Vec<Fitted> = truth(params)
        .into_iter()
        .map(|mut t| {
            t.voxel.x += 3.0;
            t
        })
        .collect();
    let projector = common::projector(params.parent().unwrap(), Rules::Right);
    let mut painter = Painter::new(&projector);
    moved.iter().for_each(|t| painter.add(&projector, &t.voxel, &Quat::from_euler(t.euler)));
    (1..=2).for_each(|n| std::fs::create_dir(at.join(format!("LayerNr_{n}"))).unwrap());
    std::fs::hard_link(at.join("SpotsInfo.bin"), at.join("LayerNr_1/SpotsInfo.bin")).unwrap();
    let bits = std::fs::File::create(at.join("LayerNr_2/SpotsInfo.bin")).unwrap();
    let bits = std::io::BufWriter::with_capacity(1 << 20, bits);
    BitWriter::new(bits, [2048, 2048]).volume(&painter.volume().unwrap()).unwrap();

    well(at, &["import", "midas", "ps.txt", "--layers", "1-2", "--out", "layers.toml"]);
    well(at, &["run", "layers.toml", "--out", "layers", "--quiet"]);
    for (layer, truth) in [truth(params), moved].into_iter().enumerate() {
        println!("layer {}", layer + 1);
        let map = at.join(format!("layers/turn-{layer}/Au_txt_Reconstructed-{}", turns - 1));
        bettered(&map, turns);
        right(&map, &truth);
    }
}
