//! Stated uncertainties against true errors, over a hundred simulated runs of 600 frames each.
//!
//! The truth is the simulation's input.

use isard_powder::calibrate::Calibration;

mod common;

const SEEDS: u64 = 100;

/// Root mean square and largest of (found - true) / sigma for distance, centre row, centre column, rot1 and rot2.
fn pulls(size: usize) -> ([f64; 5], [f64; 5]) {
    let (model, setup) = common::experiment(size);
    let expected = model.expect();
    let truth = model.pose.centre().map(|c| c / 75e-6);
    let (mut square, mut worst) = ([0.0; 5], [0.0f64; 5]);
    for seed in 0..SEEDS {
        let acc = common::summed(&model, &expected, 600, seed);
        let got = Calibration::refine(&setup, &acc, None).expect("a good experiment is calibrated");
        let sigma = got.sigma();
        assert!(sigma[0] / got.pose.dist < 2e-4, "seed {seed}: {got:?}");
        assert!(got.centre_sigma.iter().all(|s| *s < 0.05), "seed {seed}: centre to {:?}", got.centre_sigma);
        let pull = [
            (got.pose.dist - model.pose.dist) / sigma[0],
            (got.centre[0] - truth[0]) / got.centre_sigma[0],
            (got.centre[1] - truth[1]) / got.centre_sigma[1],
            (got.pose.rot1 - model.pose.rot1) / sigma[3],
            (got.pose.rot2 - model.pose.rot2) / sigma[4],
        ];
        for k in 0..5 {
            square[k] += pull[k] * pull[k] / SEEDS as f64;
            worst[k] = worst[k].max(pull[k].abs());
        }
    }
    (square.map(f64::sqrt), worst)
}

#[test]
fn errors_are_what_the_stated_uncertainties_promise() {
    let (rms, worst) = pulls(256);
    println!("rms {rms:.3?}, worst {worst:.2?}");
    assert!(rms.iter().all(|r| (0.8..1.25).contains(r)), "{rms:?}");
    assert!(worst.iter().all(|w| *w < 5.0), "{worst:?}");
}
