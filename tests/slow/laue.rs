//! Maps of crystals of every Laue class come back from noisy frames.

#[path = "../../plugins/hedm/tests/common/closed_loop.rs"]
mod closed_loop;

use closed_loop::{Case, TWO, recovered};

/// A crystal of every Laue class, each with something of its own about the scan.
fn cases() -> Vec<Case> {
    let case = Case::plain;
    // Cells of kyanite, gypsum, olivine, scheelite, rutile, dolomite, corundum, apatite, titanium, pyrite, gold.
    vec![
        Case { wedge: 0.1, ..case("-1", 2, [7.126, 7.852, 5.572, 89.99, 101.11, 106.03]) },
        Case { tilt: [0.3, -0.2, 0.1], ..case("2/m", 15, [6.284, 15.2, 6.52, 90.0, 127.4, 90.0]) },
        Case { windows: TWO.to_vec(), wedge: 0.1, ..case("mmm", 62, [4.76, 10.2, 5.98, 90.0, 90.0, 90.0]) },
        Case { step: -0.5, ..case("4/m", 88, [5.243, 5.243, 11.376, 90.0, 90.0, 90.0]) },
        Case {
            size: [260, 240],
            beam: vec![[133.3, 6.2]],
            ..case("4/mmm", 136, [4.594, 4.594, 2.959, 90.0, 90.0, 90.0])
        },
        Case {
            distances: vec![3000.0, 3500.0, 4000.0],
            ..case("-3", 148, [4.808, 4.808, 16.01, 90.0, 90.0, 120.0])
        },
        Case { tilt: [0.0, 0.4, -0.4], ..case("-3m", 167, [4.759, 4.759, 12.99, 90.0, 90.0, 120.0]) },
        Case { wedge: -0.1, ..case("6/m", 176, [9.42, 9.42, 6.88, 90.0, 90.0, 120.0]) },
        Case {
            step: -0.5,
            windows: TWO.to_vec(),
            ..case("6/mmm", 194, [2.95, 2.95, 4.68, 90.0, 90.0, 120.0])
        },
        Case { tilt: [0.2, 0.2, 0.2], ..case("m-3", 205, [5.416, 5.416, 5.416, 90.0, 90.0, 90.0]) },
        case("m-3m", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0]),
        Case {
            distances: vec![3500.0],
            ..case("m-3m, one distance", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0])
        },
    ]
}

#[test]
fn every_laue_class_comes_back_from_noisy_frames() {
    let shares: Vec<(String, f64)> =
        cases().iter().map(|case| (case.name.clone(), recovered(case).share())).collect();
    println!("share of inner voxels within 0.25 degrees: {shares:.3?}");
    let poor: Vec<_> = shares.iter().filter(|(_, share)| *share < 0.95).collect();
    assert!(poor.is_empty(), "{poor:?}");
    if crate::full() {
        drawn();
    }
}

/// Twelve scans of each class that chance draws.
fn drawn() {
    let mut poor = vec![];
    for class in &cases()[..11] {
        for seed in 1..=12 {
            let case = class.drawn(seed);
            let r = recovered(&case);
            println!(
                "{} {seed}: {:.1} % of {} voxels, {} missed; {}",
                case.name,
                100.0 * r.share(),
                r.inner,
                r.missed,
                case.features()
            );
            if r.share() < 0.95 {
                r.told.iter().for_each(|line| println!("  {line}"));
                poor.push(format!("{} {seed}: {:.3}; {}", case.name, r.share(), case.features()));
            }
        }
    }
    poor.iter().for_each(|line| println!("{line}"));
    assert!(poor.is_empty(), "{} scans", poor.len());
}
