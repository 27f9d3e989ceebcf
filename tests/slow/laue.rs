//! Maps of crystals of every Laue class come back from noisy frames.

#[path = "../../plugins/hedm/tests/common/closed_loop.rs"]
mod closed_loop;

use closed_loop::{Case, recovered};

const WHOLE: &[[f64; 2]] = &[[-90.0, 90.0]];
const TWO: &[[f64; 2]] = &[[-90.0, -10.0], [15.0, 90.0]];

fn case(name: &'static str, group: i64, cell: [f64; 6]) -> Case {
    Case {
        name,
        cell,
        group,
        distances: &[3000.0, 4000.0],
        size: [300, 200],
        step: 0.5,
        windows: WHOLE,
        wedge: 0.0,
        tilt: [0.0; 3],
    }
}

#[test]
fn every_laue_class_comes_back_from_noisy_frames() {
    // Cells of kyanite, gypsum, olivine, scheelite, rutile, dolomite, corundum, apatite, titanium, pyrite, gold.
    let cases = [
        Case { wedge: 0.1, ..case("-1", 2, [7.126, 7.852, 5.572, 89.99, 101.11, 106.03]) },
        Case { tilt: [0.3, -0.2, 0.1], ..case("2/m", 15, [6.284, 15.2, 6.52, 90.0, 127.4, 90.0]) },
        Case { windows: TWO, wedge: 0.1, ..case("mmm", 62, [4.76, 10.2, 5.98, 90.0, 90.0, 90.0]) },
        Case { step: -0.5, ..case("4/m", 88, [5.243, 5.243, 11.376, 90.0, 90.0, 90.0]) },
        Case { size: [260, 240], ..case("4/mmm", 136, [4.594, 4.594, 2.959, 90.0, 90.0, 90.0]) },
        Case {
            distances: &[3000.0, 3500.0, 4000.0],
            ..case("-3", 148, [4.808, 4.808, 16.01, 90.0, 90.0, 120.0])
        },
        Case { tilt: [0.0, 0.4, -0.4], ..case("-3m", 167, [4.759, 4.759, 12.99, 90.0, 90.0, 120.0]) },
        Case { wedge: -0.1, ..case("6/m", 176, [9.42, 9.42, 6.88, 90.0, 90.0, 120.0]) },
        Case { step: -0.5, windows: TWO, ..case("6/mmm", 194, [2.95, 2.95, 4.68, 90.0, 90.0, 120.0]) },
        Case { tilt: [0.2, 0.2, 0.2], ..case("m-3", 205, [5.416, 5.416, 5.416, 90.0, 90.0, 90.0]) },
        case("m-3m", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0]),
        Case {
            distances: &[3500.0],
            ..case("m-3m, one distance", 225, [4.08, 4.08, 4.08, 90.0, 90.0, 90.0])
        },
    ];
    let shares: Vec<(&str, f64)> = cases.iter().map(|case| (case.name, recovered(case))).collect();
    println!("share of inner voxels within 0.25 degrees: {shares:.3?}");
    let poor: Vec<_> = shares.iter().filter(|(_, share)| *share < 0.95).collect();
    assert!(poor.is_empty(), "{poor:?}");
}
