//! Simulated frames through accumulator and calibration, against the simulation's own geometry.

use isard_geometry::Calibrant;
use isard_powder::accumulate::Accumulator;
use isard_powder::calibrate::{Calibration, CalibrationError, Estimate, Setup, Step};
use isard_powder::simulate::{Field, frame_rng};

mod common;

/// Largest difference of two answers in standard deviations of the first.
fn apart(a: &Estimate, b: &Estimate) -> f64 {
    let centre = [0, 1].map(|k| (a.centre[k] - b.centre[k]) / a.centre_sigma[k]);
    let sigma = a.sigma();
    let rest = [
        (a.pose.dist - b.pose.dist) / sigma[0],
        (a.pose.rot1 - b.pose.rot1) / sigma[3],
        (a.pose.rot2 - b.pose.rot2) / sigma[4],
    ];
    centre.into_iter().chain(rest).fold(0.0, |m, v: f64| m.max(v.abs()))
}

#[test]
fn frames_lead_to_the_geometry_early_and_late_from_any_start() {
    let (model, setup) = common::experiment(512);
    let field = Field::new(&model.expect());
    let mut acc = Accumulator::new([512, 512]);
    let mut frame = vec![0u16; 512 * 512];
    let mut add = |acc: &mut Accumulator, n: u64| {
        assert_eq!(field.draw(&mut frame_rng(5, n), &mut frame), 0);
        acc.add(&frame, None);
    };
    // Two frames already give the distance to a hundredth.
    (0..2).for_each(|n| add(&mut acc, n));
    let early = Calibration::refine(&setup, &acc, None).unwrap();
    assert!((early.pose.dist / model.pose.dist - 1.0).abs() < 0.01, "{early:?}");

    (2..20).for_each(|n| add(&mut acc, n));
    let late = Calibration::refine(&setup, &acc, None).unwrap();
    let from_early = Calibration::refine(&setup, &acc, Some(&early)).unwrap();
    let by = apart(&late, &from_early);
    assert!(by < 0.1, "a warm start differs by {by} sigma");
    let truth = model.pose.centre().map(|c| c / 75e-6);
    assert!((late.pose.dist - model.pose.dist).abs() < 5.0 * late.sigma()[0]);
    assert!((0..2).all(|k| (late.centre[k] - truth[k]).abs() < 5.0 * late.centre_sigma[k]), "{late:?}");
    assert!((0.8..1.2).contains(&late.chi2_dof) && late.frames == 20 && late.rings >= 6, "{late:?}");

    // Step by step, and asked again after the end, it is the same answer to the last bit.
    let mut steps = Calibration::new(&setup, &acc, None).unwrap();
    let mut taken = 0;
    let by_steps = loop {
        taken += 1;
        if let Step::Done(found) = steps.step().unwrap() {
            break *found;
        }
    };
    assert!(taken > 5, "{taken}");
    assert_eq!(by_steps, late);
    assert_eq!(steps.step().unwrap(), Step::Done(Box::new(late.clone())));

    // A start from nonsense is noticed, and searched anew.
    let mut wrong = early;
    wrong.pose.dist *= 1.9;
    wrong.pose.poni1 += 2e-3;
    let rescued = Calibration::refine(&setup, &acc, Some(&wrong)).unwrap();
    assert_eq!(rescued, late);
}

#[test]
fn gaps_hot_and_dead_pixels_and_a_beam_stop_do_no_harm() {
    let (model, setup) = common::experiment(256);
    let means: Vec<f32> = model.expect().iter().map(|v| v * 200.0).collect();
    let mut counts = vec![0u32; means.len()];
    Field::new(&means).draw(&mut frame_rng(8, 0), &mut counts);
    let mut frame: Vec<i32> = counts.iter().map(|&c| c as i32).collect();
    for (i, v) in frame.iter_mut().enumerate() {
        let (row, col) = (i / 256, i % 256);
        if (100..108).contains(&row) || (150..153).contains(&col) {
            *v = -1;
        } else if row.abs_diff(133) < 9 && col.abs_diff(120) < 9 {
            *v /= 20;
        } else if i % 997 == 0 {
            *v = 0;
        } else if i % 1009 == 0 {
            *v = 900_000;
        } else if i % 2003 == 0 {
            *v = i32::MAX;
        }
    }
    let mut acc = Accumulator::new([256, 256]);
    acc.add(&frame, Some(1e6));
    let got = Calibration::refine(&setup, &acc, None).unwrap();
    let truth = model.pose.centre().map(|c| c / 75e-6);
    assert!((got.pose.dist - model.pose.dist).abs() < 5.0 * got.sigma()[0], "{got:?}");
    assert!((0..2).all(|k| (got.centre[k] - truth[k]).abs() < 5.0 * got.centre_sigma[k]), "{got:?}");
    assert!(got.chi2_dof < 1.3, "{got:?}");
}

#[test]
fn what_is_no_powder_or_another_one_is_refused() {
    let (model, setup) = common::experiment(256);
    let mut flat = Accumulator::new([256, 256]);
    let mut counts = vec![0u32; 256 * 256];
    Field::new(&vec![50.0; 256 * 256]).draw(&mut frame_rng(1, 0), &mut counts);
    flat.add(&counts, None);
    let error = Calibration::refine(&setup, &flat, None).unwrap_err();
    assert!(matches!(error, CalibrationError::NoCentre | CalibrationError::NoMatch(..)), "{error}");

    let rings = common::summed(&model, &model.expect(), 100, 1);
    let lanthanum = Setup::new(model.grid, &Calibrant::named("LaB6").unwrap(), model.wavelength);
    let error = Calibration::refine(&lanthanum, &rings, None).unwrap_err().to_string();
    assert!(error.contains("check calibrant"), "{error}");

    let error = Calibration::refine(&setup, &Accumulator::new([256, 255]), None).unwrap_err().to_string();
    assert_eq!(error, "frames are 256 x 255, the detector is 256 x 256");
}
