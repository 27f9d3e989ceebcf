//! Maps of crystals of every Laue class come back from noisy frames.

#[path = "../../plugins/hedm/tests/common/closed_loop.rs"]
mod closed_loop;

use closed_loop::{classes, recovered};

#[test]
fn every_laue_class_comes_back_from_noisy_frames() {
    let _turn = crate::beside_others();
    let shares: Vec<(String, f64)> =
        classes().iter().map(|case| (case.name.clone(), recovered(case).share())).collect();
    println!("share of inner voxels within 0.25 degrees: {shares:.3?}");
    let poor: Vec<_> = shares.iter().filter(|(_, share)| *share < 0.95).collect();
    assert!(poor.is_empty(), "{poor:?}");
}
