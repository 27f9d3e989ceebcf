//! Curves and maps against those of pyFAI 2026.9.0, run by run, through the stages that recipes name.
//!
//! Every run of the cases in the reference data, at the tolerances that its description states: 1e-7 for the axis, 2e-7
//! without splitting and by bounding boxes, 5e-5 by outlines, 1e-4 for errors from the scatter. What is let through is
//! counted and named in `common/runs.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "cases/random.rs"]
mod random;

use isard_core::prelude::Dict;
use serde_json::json;

// Linked so that its stages are declared.
use isard_azimuthal as _;

use common::runs::{configured, differences, set};
use common::{apply, array, case, floats, numbers, reference};

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
