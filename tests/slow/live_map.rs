//! A map that is made while the sample turns, against the map of the same frames from disk.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use isard_hedm::files::{Fitted, read_text_mic};
use isard_orientation::{Cell, Quat, SpaceGroup, Symmetry};

use crate::nearfield::{self, Case, isard, well};

/// Frames per second, and what the stages are given beside the experiment.
const RATE: f64 = 120.0;

fn recipe(case: &Case, source: &str) -> String {
    format!(
        "isard = \"0.1\"\nname = \"map\"\n[run]\nseed = 5\nlatency_ms = 100\n{}\n{source}\n\
         [stage.reduce]\nuse = \"hedm.reduce\"\nfrom = \"frames\"\nset = {{ background = 60, blanket = 20 }}\n\
         [stage.grid]\nuse = \"hedm.grid\"\nset = {{ radius = {:?}, size = {:?}, edge = {:?} }}\n\
         [stage.seeds]\nuse = \"hedm.seeds\"\nset = {{ list = \"seeds.txt\" }}\n\
         [stage.fit]\nuse = \"hedm.fit\"\nfrom = \"reduce\"\n\
         in = {{ voxels = \"grid.voxels\", seeds = \"seeds.seeds\" }}\nrun = {{ snapshot_s = 0.3 }}\n\
         [stage.map]\nuse = \"hedm.mic\"\nfrom = \"fit\"\nset = {{ path = \"map\" }}\nrun = {{ take = \"every\" }}\n",
        case.experiment(),
        case.radius,
        case.grid,
        case.edge
    )
}

fn map(file: &std::path::Path) -> Vec<Fitted> {
    read_text_mic(&std::fs::read_to_string(file).unwrap()).unwrap().1
}

#[test]
fn a_live_map_is_there_early_and_ends_as_the_one_from_disk() {
    let _turn = crate::alone();
    let size = if crate::full() { 10.0 } else { 18.0 };
    let case = Case { white: 0, grid: size, edge: size, ..Case::hexagonal() };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    case.record(at, 0);
    let first = nearfield::FIRST;
    let source = format!(
        "[stage.frames]\nuse = \"hedm.frames\"\nset = {{ path = \"raw/ex_######.tif\", first = {first} }}\n"
    );
    std::fs::write(at.join("disk.toml"), recipe(&case, &source)).unwrap();
    let begun = Instant::now();
    well(at, &["run", "disk.toml", "--out", "disk", "--quiet"]);
    let offline = begun.elapsed().as_secs_f64();

    let source = format!(
        "[stage.frames]\nuse = \"hedm.simulate\"\n\
         set = {{ truth = \"truth.mic\", hot = 1e-4, zingers = 3.0, rate = {RATE:?} }}\n"
    );
    std::fs::write(at.join("live.toml"), recipe(&case, &source)).unwrap();
    let frames = (case.lsd.len() * case.frames) as f64;
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "live.toml", "--out", "live", "--quiet"])
        .current_dir(at)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut early = None;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if early.is_none() && at.join("live/map_ipf.png").exists() {
            // Frames come at their rate, so no more than these are in.
            let passed = begun.elapsed().as_secs_f64();
            early = Some((passed * RATE / frames, map(&at.join("live/map.mic")).len()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
    let (share, solved) = early.expect("a map was there before the end");
    // What the run itself measured: the simulator may be slower than its rate where other work is done.
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at.join("live/run.json")).unwrap()).unwrap();
    let rest = record["delays"]["map"].as_f64().expect("the delay of the map's writer");
    println!(
        "first map of {solved} voxels at {:.1} % of the frames; last frame to final map {rest:.2} s; offline {offline:.2} s",
        100.0 * share
    );
    assert!(share < 1.0 / 3.0 && solved > 0, "{share}, {solved} voxels");
    assert!(rest <= 5.0 + 0.5 * offline, "{rest} s behind the last frame, {offline} s from disk");

    let (live, disk) = (map(&at.join("live/map.mic")), map(&at.join("disk/map.mic")));
    assert_eq!(live.len(), disk.len());
    let cell = Cell::new(case.cell).unwrap();
    let symmetry = Symmetry::of(&SpaceGroup::of(case.group, &cell).unwrap(), &cell).unwrap();
    let angle = |a: &Fitted, b: &Fitted| {
        let [a, b] = [a.euler, b.euler].map(Quat::from_euler);
        symmetry.misorientation(&a, &b).to_degrees()
    };
    let far = live.iter().zip(&disk).map(|(a, b)| (a.confidence - b.confidence).abs()).fold(0.0, f64::max);
    let near = live.iter().zip(&disk).filter(|(a, b)| angle(a, b) < 0.05).count() as f64 / live.len() as f64;
    println!("{} voxels: confidences within {far:.4}, {:.2} % within 0.05 degrees", live.len(), 100.0 * near);
    assert!(far <= 0.01 && near >= 0.99, "{far}, {near}");
    let (code, text) = isard(at, &["verify", "live"]);
    assert_eq!(code, Some(0), "{text}");
}
