//! Runs of pyFAI as the reference cases describe them, and what isard makes of the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use isard_core::prelude::{Array, Dict, Value};
use serde_json::{Value as Json, json};

use super::{apply, array, floats, numbers, optional};

/// The parameters of a stage for a run of a case.
pub fn set(run: &Json, places: &str) -> Json {
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
fn spare(run: &Json) -> usize {
    let splitting = run["method"][0].as_str().unwrap();
    match run["kind"].as_str().unwrap() {
        // The reference shares the first pixel of a map by outlines among two cells by what an earlier call left in its
        // memory: the same call gives one of several answers, also within one process.
        "integrate2d" if splitting == "full" => 2,
        // At a quantile it takes pixels of equal value in the order that an unstable sort left them: with splitting they
        // have different shares.
        "medfilt1d" if splitting != "no" => 20,
        _ => 0,
    }
}

/// The same by way of a configuration as pyFAI's programs write it, which `isard import pyfai` makes a recipe of.
pub fn configured(run: &Json, poni: &str, places: &str) -> Json {
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
pub fn differences(folder: &Path, frames: &Array, run: &Json, mut set: Json) -> Vec<String> {
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
        // The reference tells three pixels where clipping leaves fewer.
        let few = |f: f64, w: f64| run["kind"] == "sigma_clip" && name == "count" && w == 3.0 && f < 3.0;
        let far =
            |f: f64, w: f64| (f - w).abs() > allowed * w.abs() && !(f.is_nan() && w.is_nan()) && !few(f, w);
        let each = found.iter().zip(wanted.iter().cycle()).enumerate();
        let off: Vec<_> = each
            .filter(|(k, (f, w))| (axis || !blurred(*k)) && far(**f, **w))
            .map(|(k, (f, w))| (k, *f, *w))
            .collect();
        if off.len() > spare(run) {
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
