//! The quickstart over many seeds: are the stated uncertainties true?

use isard_core::registry::Role;
use isard_core::run::{self, Outcome, Report};
use isard_core::value::Value;

use crate::shared::{options, shipped};

/// The truth: what stands under `[stage.detector.set]` of the quickstart.
const TRUTH: [(&str, f64); 5] =
    [("distance", 80.0), ("row", 262.3), ("column", 247.8), ("rot1", 1.2), ("rot2", -1.7)];

fn calibrate(seed: usize, frames: usize) -> Report {
    let (seed, frames) = (format!("run.seed={seed}"), format!("detector.frames={frames}"));
    let mut plan = shipped("quickstart.toml", &["detector.rate=0", &seed, &frames]);
    // Only the numbers are wanted: pictures and files have tests of their own.
    let nodes = &plan.nodes;
    plan.passes[0].nodes.retain(|id| nodes[*id].role() != Some(Role::Writer));
    let folder = tempfile::tempdir().unwrap();
    let report = run::run(&plan, options(&folder.path().join("out"))).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "seed {seed}: {:?}", report.outcome.message());
    report
}

fn number(report: &Report, key: &str) -> f64 {
    let fit = report.stages.iter().find(|s| s.name == "fit").unwrap();
    fit.results.get(key).and_then(Value::number).unwrap_or_else(|| panic!("the fit gives no `{key}`"))
}

#[test]
fn pulls_of_the_quickstart_have_unit_width() {
    let _turn = crate::beside_others();
    let seeds = if super::full() { 100 } else { 8 };
    let (mut squares, mut sums) = ([0.0; 5], [0.0; 5]);
    let mut worst = 0.0f64;
    for seed in 0..seeds {
        let report = calibrate(seed, 600);
        for ((square, sum), (key, truth)) in squares.iter_mut().zip(&mut sums).zip(TRUTH) {
            let pull = (number(&report, key) - truth) / number(&report, &format!("{key}_sigma"));
            *square += pull * pull;
            *sum += pull;
            worst = worst.max(pull.abs());
        }
        assert!(number(&report, "distance_sigma") / 80.0 < 2e-4);
        assert!(number(&report, "row_sigma") < 0.05 && number(&report, "column_sigma") < 0.05);
        // The first tenth of the frames already leads to the geometry.
        let first = calibrate(seed, 60);
        for (key, truth) in &TRUTH[..3] {
            assert!((number(&first, key) - truth).abs() < 0.01 * truth, "first {key} of seed {seed}");
        }
    }
    let rms = squares.map(|s| (s / seeds as f64).sqrt());
    let mean = sums.map(|s| s / seeds as f64);
    let all = (squares.iter().sum::<f64>() / (5 * seeds) as f64).sqrt();
    println!(
        "{seeds} seeds: mean of the pulls {mean:.2?}, rms {rms:.2?}, together {all:.2}, worst {worst:.1}"
    );
    assert!(worst < 5.0);
    if super::full() {
        assert!(rms.iter().all(|r| (0.8..=1.25).contains(r)), "{rms:?}");
        // What leans to one side must be small beside what scatters; the mean of a hundred is known to 0.1.
        assert!(mean.iter().all(|m| m.abs() < 0.75), "{mean:?}");
    } else {
        // Forty pulls scatter by 11 percent in their rms: three times that is allowed.
        assert!((0.66..=1.34).contains(&all), "{all}");
    }
}
