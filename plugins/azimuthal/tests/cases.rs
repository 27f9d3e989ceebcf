//! Curves and maps against those of pyFAI 2026.9.0, run by run, through the stages that recipes name.
//!
//! Every run of the cases in the reference data, at the tolerances that its description states: 1e-7 for the axis, 2e-7
//! without splitting and by bounding boxes, 5e-5 by outlines, 1e-4 for errors from the scatter. What is let through is
//! counted and named in [`spare`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use isard_core::prelude::{Array, Dict, Value};
use serde_json::{Value as Json, json};

// Linked so that its stages are declared.
use isard_azimuthal as _;

use common::{apply, array, case, floats, numbers, optional, reference};

/// The parameters of a stage for a run of a case.
fn set(run: &Json, places: &str) -> Json {
    let splitting = run["method"][0].as_str().unwrap();
    let errors = match run["error_model"].as_str() {
        _ if run["use_variance"] == true => "variance",
        Some(model) => model,
        None => "none",
    };
    let mut set = json!({
        "unit": run["unit"], "bins": run["npt"], "splitting": splitting, "errors": errors, "places": places,
        "histogram": run["method"][1] == "histogram",
        "solid_angle": run["correctSolidAngle"] != false, "cut_at_zero": run["chi_disc_at_pi"] == false,
    });
    let mut give = |name: &str, value: &Json| {
        if !value.is_null() {
            set[name] = value.clone();
        }
    };
    give("azimuthal_bins", &run["npt_azim"]);
    give("radial_range", &run["radial_range"]);
    give("azimuth_range", &run["azimuth_range"]);
    give("polarisation", &run["polarization_factor"]);
    give("normalisation", &run["normalization_factor"]);
    give("dummy", &run["dummy"]);
    give("delta_dummy", &run["delta_dummy"]);
    give("empty", &run["empty_used"]);
    match run["kind"].as_str().unwrap() {
        "integrate2d" => give("sums", &true.into()),
        "sigma_clip" => give("clip", &json!({ "threshold": run["thres"], "rounds": run["max_iter"] })),
        "medfilt1d" => {
            let part = |k: usize| run["percentile"][k].as_f64().unwrap() / 100.0;
            give("quantiles", &json!([part(0), part(1)]));
        }
        other => assert_eq!(other, "integrate1d"),
    }
    set
}

/// How many bins of a run may differ, and why.
fn spare(run: &Json, name: &str) -> usize {
    let splitting = run["method"][0].as_str().unwrap();
    match run["kind"].as_str().unwrap() {
        // The reference shares the first pixel of a map by outlines among two cells by what an earlier call left in its
        // memory: the same call gives one of several answers, also within one process.
        "integrate2d" if splitting == "full" => 2,
        // At a quantile it takes pixels of equal value in the order that an unstable sort left them: with splitting they
        // have different shares.
        "medfilt1d" if splitting != "no" => 20,
        // Its count is one round late where a round of clipping leaves less than three.
        "sigma_clip" if name == "count" => 3,
        _ => 0,
    }
}

/// The same by way of a configuration as pyFAI's programs write it, which `isard import pyfai` makes a recipe of.
fn configured(run: &Json, poni: &str, places: &str) -> Json {
    let mut geometry = json!({});
    for (key, value) in poni.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(": ")) {
        let key = if key == "Distance" { "dist".into() } else { key.to_lowercase() };
        geometry[key] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    let variance = run["use_variance"] == true;
    let mut config = json!({
        "application": "pyfai-integrate", "version": 4, "poni": geometry, "do_2D": run["kind"] == "integrate2d",
        "nbpt_rad": run["npt"], "nbpt_azim": run["npt_azim"], "unit": run["unit"], "method": run["method"],
        "do_solid_angle": run["correctSolidAngle"] != false,
        "chi_discontinuity_at_0": run["chi_disc_at_pi"] == false,
        "do_polarization": !run["polarization_factor"].is_null(), "polarization_factor": run["polarization_factor"],
        "do_dummy": !run["dummy"].is_null(), "val_dummy": run["dummy"], "delta_dummy": run["delta_dummy"],
        "normalization_factor": run["normalization_factor"],
        "error_model": if variance { json!("variance") } else { run["error_model"].clone() },
    });
    for (name, switch, of) in
        [("radial_range", "radial", "radial"), ("azimuth_range", "azimuthal", "azimuth")]
    {
        config[format!("do_{switch}_range")] = (!run[name].is_null()).into();
        config[format!("{of}_range_min")] = run[name][0].clone();
        config[format!("{of}_range_max")] = run[name][1].clone();
    }
    match run["kind"].as_str().unwrap() {
        "sigma_clip" => {
            config["integrator_method"] = "sigma_clip_ng".into();
            config["extra_options"] = json!({ "thres": run["thres"], "max_iter": run["max_iter"] });
        }
        "medfilt1d" => {
            config["integrator_method"] = "medfilt1d_ng".into();
            config["extra_options"] = json!({ "percentile": run["percentile"] });
        }
        _ => (),
    }
    let made = isard_azimuthal::import::recipe(&config.to_string(), "frame.npy").unwrap();
    let notes = made.notes.iter().filter(|note| !note.contains("variance")).collect::<Vec<_>>();
    assert!(notes.is_empty(), "{notes:?}");
    let table: toml::Table = made.recipe.parse().unwrap();
    let mut set = serde_json::to_value(&table["stage"]["result"]["set"]).unwrap();
    // Not in a configuration: what the integrator was told, and what it had been asked before.
    if !run["empty_used"].is_null() {
        set["empty"] = run["empty_used"].clone();
    }
    set["places"] = places.into();
    if run["kind"] == "integrate2d" {
        set["sums"] = true.into();
    }
    set
}

/// Names of what differs by more than it may.
fn differences(folder: &Path, frames: &Array, run: &Json, mut set: Json) -> Vec<String> {
    let image = if frames.shape().len() == 2 { frames.lead() } else { frames.clone() };
    let n = image.shape()[0];
    let poni = std::fs::read_to_string(folder.join("geometry.poni")).unwrap();
    let mut input = Dict::new().with("image", image);
    if set.get("poni").is_none() {
        input = input.with("poni", poni);
    }
    for (key, name) in [("use_mask", "mask"), ("use_dark", "dark"), ("use_flat", "flat")] {
        if run[key] == true {
            input = input.with(name, array(&folder.join(format!("{name}.npy")), None));
        }
    }
    if run["use_variance"] == true {
        input = input.with("variance", array(&folder.join("variance.npy"), None).lead());
    }
    let map = run["kind"] == "integrate2d";
    let stage = if map { "azimuthal.integrate2d" } else { "azimuthal.integrate1d" };
    let found = apply(stage, set.take(), input, n as u64);

    let file = folder.join(run["expected"].as_str().unwrap());
    let full = run["method"][0] == "full";
    let close = if full { 5e-5 } else { 2e-7 };
    let several = n > 1;
    // Cells that hold a hundredth of a pixel hold the reference's rounding in single precision as well.
    let counts = if several { vec![] } else { numbers(&file, Some("count")) };
    let blurred = |k: usize| full && counts.get(k).is_some_and(|c| c.abs() < 0.01);
    let mut out = vec![];
    let mut check = |port: &str, name: &str, allowed: f64| {
        // Some engines of the reference do not give all sums.
        let always = ["radial", "azimuthal", "intensity", "sigma"].contains(&name);
        let wanted = if always { Some(numbers(&file, Some(name))) } else { optional(&file, name) };
        let (found, Some(wanted)) = (floats(&found, port), wanted) else { return };
        let axis = ["radial", "azimuthal"].contains(&port);
        assert_eq!(found.len(), wanted.len() * if axis { n } else { 1 }, "{name}");
        let far = |f: f64, w: f64| (f - w).abs() > allowed * w.abs() && !(f.is_nan() && w.is_nan());
        let each = found.iter().zip(wanted.iter().cycle()).enumerate();
        let off: Vec<_> = each
            .filter(|(k, (f, w))| (axis || !blurred(*k)) && far(**f, **w))
            .map(|(k, (f, w))| (k, *f, *w))
            .collect();
        if off.len() > spare(run, name) {
            let some = &off[..off.len().min(4)];
            out.push(format!("{name} beyond {allowed:.1e} in {} bins: {some:?}", off.len()));
        }
    };
    check("radial", "radial", 1e-7);
    check("intensity", "intensity", close);
    if map {
        check("azimuthal", "azimuthal", 1e-7);
    }
    if !several {
        check("signal", "sum_signal", 2.0 * close);
        check("norm", "sum_normalization", 2.0 * close);
        // Squares of shares.
        check("norm2", "sum_normalization2", 4.0 * close);
        check("count", "count", 2.0 * close);
    }
    let errors = found.get("sigma").is_some_and(|s| *s != Value::None);
    assert_eq!(errors, run["use_variance"] == true || !run["error_model"].is_null());
    if errors {
        let close = if run["error_model"] == "azimuthal" { 1e-4 } else { close };
        check("sigma", "sigma", close);
        if !several {
            check("std", "std", close);
            check("variance", "sum_variance", 4.0 * close);
        }
    }
    out
}

fn check(test: &str) {
    let Some(folder) = reference(test, test) else { return };
    let poni = std::fs::read_to_string(folder.join("geometry.poni")).unwrap();
    let case = case(&folder);
    let frames = match case["frame"].as_str() {
        Some(file) => array(&folder.join(file), None),
        None => {
            let master = case["master"].as_str().unwrap();
            let data = master.replace("_master", "_data_000001");
            array(&folder.join(data), Some("/entry/data/data"))
        }
    };
    let (mut bad, mut places) = (vec![], "usual");
    for run in case["runs"].as_array().unwrap() {
        let name = run["name"].as_str().unwrap_or_else(|| run["expected"].as_str().unwrap());
        for (way, set) in [("", set(run, places)), (" by a configuration", configured(run, &poni, places))] {
            let off = differences(&folder, &frames, run, set);
            if !off.is_empty() {
                bad.push(format!("{name}{way}: {}", off.join(", ")));
            }
        }
        // The runs were made one after the other: once this unit had made a table of corners, all others used it.
        if name.ends_with("full_csr_cython") && run["unit"] == "d*2_nm^-2" {
            places = "single";
        }
    }
    assert!(bad.is_empty(), "{test}:\n  {}", bad.join("\n  "));
}

#[test]
fn flat_generic() {
    check("flat_generic");
}

#[test]
fn tilted_pilatus300k() {
    check("tilted_pilatus300k");
}

#[test]
fn cake_and_ranges() {
    check("cake_and_ranges");
}

#[test]
fn robust() {
    check("robust");
}

#[test]
fn orientations() {
    (1..=4).for_each(|n| check(&format!("orientation_{n}")));
}

#[test]
fn pilatus2m_cdte_cbf() {
    check("pilatus2m_cdte_cbf");
}

#[test]
fn eiger500k_h5() {
    check("eiger500k_h5");
}

// The frames of a scan and their curves, as sinogram [omega, x, bin].
#[test]
fn xrdct_mini() {
    let Some(folder) = reference("xrdct_mini", "xrdct_mini") else { return };
    let case = case(&folder);
    let frames = array(&folder.join("frames.npz"), Some("frames"));
    let n = frames.shape()[0] * frames.shape()[1];
    let image = frames.reshape(&[n, 40, 40]).unwrap();
    let poni = std::fs::read_to_string(folder.join("geometry.poni")).unwrap();
    let set = json!({ "unit": case["unit"], "bins": case["npt"], "splitting": case["method"][0] });
    let input = Dict::new().with("image", image).with("poni", poni);
    let found = floats(&apply("azimuthal.integrate1d", set, input, n as u64), "intensity");
    let wanted = numbers(&folder.join("expected/sinogram.npz"), Some("sinogram"));
    assert_eq!(found.len(), wanted.len());
    let far = found.iter().zip(&wanted).filter(|(f, w)| (*f - *w).abs() > 2e-7 * w.abs()).count();
    assert_eq!(far, 0, "of {} values", wanted.len());
}
