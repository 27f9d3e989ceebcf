//! Engines against vectors written by PtyPy 0.9.0 in double precision.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{apart, floats, json, reals, reference, text, waves};
use isard_h5::File;
use isard_ptycho::engine::{Engine, Settings};
use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::model::{Frame, Model};
use isard_ptycho::num::{Complex, alone};
use isard_ptycho::propagate::Propagator;

fn check(name: &str, tolerance: f64, last: u64) {
    let Some(path) = reference(name, "engine_vectors.h5") else { return };
    let file = File::open(path).unwrap();
    let number = |key: &str| reals(&file, &format!("input/{key}")).1[0];
    let n = 32;
    let geometry = Geometry {
        energy: number("energy"),
        distance: number("distance"),
        psize: number("psize"),
        n,
        propagation: Propagation::Farfield,
        centre: [Centre::Fftshift; 2],
        pixel: None,
    };
    let resolution = geometry.resolution();
    let propagator = Propagator::<f64>::new(&geometry);
    let positions = reals(&file, "input/positions").1;
    let (data, mask) = (reals(&file, "input/data").1, reals(&file, "input/mask").1);
    let frames: Vec<Frame<f64>> = (0..19)
        .map(|k| {
            let at = [positions[2 * k] / resolution, positions[2 * k + 1] / resolution];
            Frame::new(&propagator, k as u64, at, |i| data[k * n * n + i], |i| mask[i] > 0.0).0
        })
        .collect();
    let (_, probe) = waves(&file, &format!("{name}/probe0"));
    let probe: Vec<Vec<Complex<f64>>> = probe.chunks(n * n).map(|p| propagator.plain(p)).collect();
    let (shape, object) = waves(&file, &format!("{name}/object0"));
    let mut model = Model::new(propagator, probe, 1, object[0]);
    model.add(frames).unwrap();
    assert_eq!([model.object.rows, model.object.columns], shape[1..]);
    let centre = floats(&file, name, "object_center");
    assert!((0..2).all(|k| (model.centre[k] - centre[k]).abs() < 1e-9), "{:?}", model.centre);
    model.object.modes = vec![object];
    let corners = reals(&file, &format!("{name}/view_topleft")).1;
    for k in 0..19 {
        let c = model.corner(k);
        assert_eq!([c.y as f64, c.x as f64], corners[2 * k..2 * k + 2]);
    }
    for (found, key) in [
        (model.powers().mean, "mean_power"),
        (model.powers().total, "tot_power"),
        (model.powers().bound, "pbound_stub"),
    ] {
        assert!((found / floats(&file, name, key)[0] - 1.0).abs() < 1e-12, "{key}");
    }
    let mut set = json(&file, name, "params");
    set["name"] = text(&file, name, "engine").into();
    set["numiter"] = 8.into();
    let settings: Settings = serde_json::from_value(set).unwrap();
    assert!(settings.faults().is_empty());
    let mut engine = Engine::new(&settings, n, resolution, 0).comparable();
    engine.added(&mut model, &[true; 19]).unwrap();
    let (_, errors) = reals(&file, &format!("{name}/error"));
    let iterations = reals(&file, &format!("{name}/iterations")).1;
    let (_, probes) = waves(&file, &format!("{name}/probe"));
    let (_, objects) = waves(&file, &format!("{name}/object"));
    for iteration in 1..=last {
        let told = engine.iterate(&mut model, &alone, true).unwrap().errors();
        let wanted = &errors[3 * (iteration as usize - 1)..3 * iteration as usize];
        for (a, b) in told.iter().zip(wanted) {
            let far = (a - b).abs() / b.abs().max(1e-300);
            assert!(*b == 0.0 && *a == 0.0 || far < tolerance, "{name} {iteration}: {told:?}, {wanted:?}");
        }
        let Some(at) = iterations.iter().position(|i| *i as u64 == iteration) else { continue };
        let object = &model.object.modes[0];
        let far = apart(object, &objects[at * object.len()..(at + 1) * object.len()]);
        assert!(far < tolerance, "{name} {iteration}: object {far:.1e}");
        let probe: Vec<_> = model.probe.modes.iter().flat_map(|p| model.propagator.dressed(p)).collect();
        let far = apart(&probe, &probes[at * probe.len()..(at + 1) * probe.len()]);
        assert!(far < tolerance, "{name} {iteration}: probe {far:.1e}");
    }
}

macro_rules! settings {
    ($($test:ident: $name:literal, $last:literal;)*) => { $(
        #[test]
        fn $test() {
            check($name, 1e-6, $last);
        }
    )* };
}

settings! {
    alternating_projections_agree: "AP", 8;
    difference_map_agrees: "DM", 8;
    difference_map_with_two_modes_agrees: "DM_2modes", 8;
    difference_map_with_options_agrees: "DM_relaxed", 8;
    epie_agrees: "EPIE", 8;
    epie_with_the_norm_of_all_agrees: "EPIE_globalnorm", 8;
    epie_with_steps_agrees: "EPIE_steps", 8;
    ml_with_all_coefficients_agrees: "ML_allcoeffs", 8;
    ml_with_a_prior_agrees: "ML_del2", 8;
    ml_of_amplitudes_agrees: "ML_euclid", 8;
    ml_with_floating_intensities_agrees: "ML_floating", 8;
    ml_gaussian_agrees: "ML_gaussian", 8;
    ml_poisson_agrees: "ML_poisson", 8;
    ml_smooth_and_scaled_agrees: "ML_smooth_scale", 8;
    ml_with_wavefield_agrees: "ML_wavefield", 8;
    raar_agrees: "RAAR", 8;
    sdr_agrees_until_chaos: "SDR", 3;
    sdr_relaxed_agrees: "SDR_relaxed", 8;
}
