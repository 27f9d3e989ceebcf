//! Near-field scans as users have them: frames and a MIDAS parameter file lead to the right maps.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/nearfield.rs"]
mod nearfield;

use nearfield::{Case, well};

/// Import, run with some parameters changed, and compare the map with the truth.
fn mapped(case: &Case, set: &[&str]) -> nearfield::Quality {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    case.record(at, 0);
    std::fs::write(at.join("ps.txt"), case.params()).unwrap();
    let told = well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
    assert!(told.contains("`NrOrientations` is not used") && !told.contains("is known to read it"), "{told}");
    let set = set.iter().flat_map(|s| ["--set", *s]);
    let run: Vec<&str> = ["run", "map.toml", "--out", "run", "--quiet"].into_iter().chain(set).collect();
    well(at, &run);
    for name in
        ["case.bin", "case.mic.AllMatches", "case_consolidated.h5", "case_ipf.png", "case_completeness.png"]
    {
        assert!(at.join("run").join(name).exists(), "{name}");
    }
    let quality = case.quality(&at.join("run/case.mic"), 0);
    println!("{}: {quality:?}", case.name);
    quality
}

/// The accuracy of the existing program on the gold example: 0.0233 degrees in the median, 99.2 % below 0.25.
fn good(quality: &nearfield::Quality) {
    assert!(quality.median <= 0.023 && quality.quarter >= 0.992, "{quality:?}");
}

#[test]
fn a_hexagonal_scan_of_three_distances_is_mapped() {
    let quality = mapped(&Case::hexagonal(), &[]);
    good(&quality);
    assert!(quality.wrong <= 1, "{quality:?}");
}

#[test]
fn an_orthorhombic_scan_with_a_wedge_and_two_windows_is_mapped() {
    // Spots of a few pixels lose their ends in the median of neighbours that the file asks for, and with them voxels at
    // borders between grains; a filter of the camera's shape keeps them.
    let median = mapped(&Case::orthorhombic(), &[]);
    assert!(median.median <= 0.023 && median.quarter >= 0.975, "{median:?}");
    let set = ["reduce.noise=4.0", "reduce.matched=0.6", "reduce.min_pixels=2"];
    let quality = mapped(&Case::orthorhombic(), &set);
    good(&quality);
    assert!(quality.wrong <= 2 && quality.wrong <= median.wrong, "{quality:?}");
}

#[test]
fn layers_of_a_parameter_file_are_mapped_one_after_the_other() {
    let case = Case::small();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    for layer in 0..2 {
        case.record(at, layer);
    }
    let layers = "startLayerNr 1\nendLayerNr 2\nGlobalPositionFirstLayer 100\nLayerThickness 5\n";
    std::fs::write(at.join("ps.txt"), case.params() + layers).unwrap();
    well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
    well(at, &["run", "map.toml", "--out", "run", "--quiet"]);
    for layer in 0..2 {
        let mic = at.join(format!("run/turn-{layer}/case.mic"));
        let head = std::fs::read_to_string(&mic).unwrap();
        assert!(head.contains(&format!("%GlobalPosition {}.000000", [100, 105][layer])), "{head:.80}");
        let quality = case.quality(&mic, layer);
        println!("layer {}: {quality:?}", layer + 1);
        assert!(quality.quarter >= 0.8 && quality.wrong <= quality.voxels / 20, "{quality:?}");
    }
    // One layer by itself is the same map.
    well(at, &["import", "midas", "ps.txt", "--layers", "2", "--out", "second.toml"]);
    well(at, &["run", "second.toml", "--out", "second", "--quiet"]);
    assert!(case.quality(&at.join("second/case.mic"), 1).quarter >= 0.8);
}

#[test]
fn a_grid_is_refined_as_a_parameter_file_says() {
    let case = Case::small();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    case.record(at, 0);
    std::fs::write(at.join("ps.txt"), case.params() + "GridRefactor 40 2 1\nMinConfidence 0.6\n").unwrap();
    well(at, &["import", "midas", "ps.txt", "--out", "map.toml"]);
    well(at, &["run", "map.toml", "--out", "run", "--quiet"]);
    let quality = case.quality(&at.join("run/case-0.mic"), 0);
    println!("{quality:?}");
    assert!(quality.quarter >= 0.8 && at.join("run/case-coarse.mic").exists(), "{quality:?}");
    // All maps of the run stand in one file, and the merged one is nowhere worse than the seeded one.
    let file = isard_h5::File::open(at.join("run/case-0_consolidated.h5")).unwrap();
    let confidences = |label: &str| -> Vec<f64> {
        let bytes =
            file.dataset(&format!("multi_resolution/{label}/voxels/confidence")).unwrap().read_all().unwrap();
        bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect()
    };
    let (coarse, seeded, merged) =
        (confidences("loop_0_unseeded"), confidences("loop_1_seeded"), confidences("loop_1_merged"));
    // Halving the grid makes four voxels of each.
    assert!(seeded.len() == 4 * coarse.len() && merged.len() == seeded.len());
    assert!(seeded.iter().zip(&merged).all(|(a, b)| b >= a));
    assert!(at.join("run/case-0_pipeline.h5").exists());
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at.join("run/run.json")).unwrap()).unwrap();
    assert!(record["content"].as_object().is_some_and(|c| c.len() > 3));
}

#[test]
fn a_parameter_file_leads_to_the_geometry() {
    let case = Case::small();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    case.seeds(at);
    case.record(at, 0);
    let wrong = Case { lsd: vec![3008.0, 4006.0], beam: vec![[64.5, 5.6], [63.6, 6.3]], ..case.clone() };
    let wishes = "LsdTol 30\nLsdRelativeTol 10\nBCTol 1.5 1.5\nTiltsTol 0.5\nNumIterations 1\n";
    std::fs::write(at.join("ps.txt"), wrong.params() + wishes).unwrap();
    well(at, &["import", "midas", "ps.txt", "--geometry", "--out", "find.toml"]);
    let set = [
        "--set",
        "geometry.points=40",
        "--set",
        "geometry.population=4",
        "--set",
        "geometry.evaluations=200",
    ];
    let run: Vec<&str> = ["run", "find.toml", "--out", "run"].into_iter().chain(set).collect();
    let text = well(at, &run);
    let number = |name: &str| {
        let line =
            text.lines().find(|l| l.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().nth(1).and_then(|w| w.parse::<f64>().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    let (before, after) = (number("before"), number("confidence"));
    println!("confidence {before} to {after}");
    assert!(after > before + 0.02, "{text}");
}
