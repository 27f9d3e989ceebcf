//! Where engines of pyFAI differ from each other and from what doubles give, isard has the numbers of each.
//!
//! Literals are those of pyFAI 2026.9.0 for pixels `7919 k mod 1009` of a square of 60 by 60, found by comparing random
//! geometries, units and corrections.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use isard_core::prelude::{Array, Dict};
use serde_json::{Value as Json, json};

// Linked so that its stages are declared.
use isard_azimuthal as _;

use common::{apply, floats};

const SMALL: &str = "poni_version: 2.1\nDetector: Detector\nDetector_config: {\"pixel1\": 1e-4, \"pixel2\": 1e-4, \
    \"max_shape\": [60, 60], \"orientation\": 3}\nDistance: 0.1\nPoni1: 0.003\nPoni2: 0.003\nRot1: 0\nRot2: 0\nRot3: 0\n\
    Wavelength: 1e-10\n";

fn run(stage: &str, poni: &str, mask: Option<&[u8]>, set: Json) -> Dict {
    let pixels: Vec<i32> = (0..3600).map(|k| k * 7919 % 1009).collect();
    let mut input = Dict::new().with("image", Array::of(&[1, 60, 60], &pixels).unwrap()).with("poni", poni);
    if let Some(mask) = mask {
        input = input.with("mask", Array::of(&[60, 60], mask).unwrap());
    }
    apply(stage, set, input, 1)
}

fn near(what: &str, found: &[f64], wanted: &[f64], allowed: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (f, w) in found.iter().zip(wanted) {
        assert!((f - w).abs() <= allowed * w.abs(), "{what}: {found:?} for {wanted:?}");
    }
}

// The solid angle follows from places in single precision: with doubles the last bins differ by 3e-7.
#[test]
fn solid_angles_near_grazing_incidence() {
    let poni = SMALL.replace("Distance: 0.1", "Distance: 0.0011").replace("Poni2: 0.003", "Poni2: -0.0041");
    let poni = poni.replace("Rot1: 0\n", "Rot1: 0.2\n");
    let set = json!({ "unit": "r_mm", "bins": 8, "splitting": "no" });
    let found = run("azimuthal.integrate1d", &poni, None, set);
    let wanted = [
        40_530.992_187_5,
        59_654.238_281_25,
        91_214.664_062_5,
        130_613.695_312_5,
        177_056.093_75,
        236_735.875,
        307_819.625,
        385_111.75,
    ];
    near("intensity", &floats(&found, "intensity"), &wanted, 1e-7);
    let wanted = [
        3.972_688_405_774_533_7,
        4.155_295_750_591_904,
        2.770_080_868_620_425_5,
        1.908_658_911_474_049,
        1.387_131_065_130_233_8,
        1.026_249_172_980_897_1,
        0.788_614_471_792_243_4,
        0.447_480_491_129_681_47,
    ];
    near("norm", &floats(&found, "norm"), &wanted, 2e-8);
}

// `radial_range=(0.6, 1.8)` with methods ("bbox", "csr", "cython") and ("bbox", "histogram", "cython").
#[test]
fn what_is_left_of_a_box_below_the_range() {
    let counts = |histogram: bool| {
        let set = json!({
            "bins": 6, "splitting": "bbox", "radial_range": [0.6, 1.8], "histogram": histogram,
        });
        floats(&run("azimuthal.integrate1d", SMALL, None, set), "count")
    };
    let rest = [286.077_323_049, 350.542_334_433, 414.476_527_227, 477.986_117_218, 669.085_282_221];
    for (histogram, first) in [(false, 405.832_415_125), (true, 253.832_414_914)] {
        let found = counts(histogram);
        near("first", &found[..1], &[first], 1e-8);
        near("rest", &found[1..], &rest, 1e-8);
    }
}

// A mask of the upper half and of all beyond 25 pixels from the middle: the last radius and the first azimuth.
#[test]
fn limits_over_masked_pixels() {
    let masked = |k: i32| {
        let (y, x) = (f64::from(k / 60) - 29.5, f64::from(k % 60) - 29.5);
        u8::from(y * y + x * x > 625.0 || k < 1800)
    };
    let mask: Vec<u8> = (0..3600).map(masked).collect();
    for (splitting, histogram, map, curve) in [
        ("no", false, [1.417_263_335_913_49, 23.376_857_160_718], 1.417_263_335_913_49),
        ("bbox", false, [1.449_099_320_065_87, 15.386_162_652_733], 1.449_099_320_065_87),
        ("full", false, [1.449_099_320_065_87, 22.500_003_308_329], 1.449_099_320_065_87),
        ("no", true, [1.417_263_335_913_49, 23.376_857_160_718], 2.362_075_930_581_81),
        ("bbox", true, [1.449_099_320_065_87, 15.386_162_652_733], 1.449_099_320_065_87),
        ("full", true, [2.397_539_591_495_91, -133.329_485_360_137], 1.449_099_320_065_87),
    ] {
        let what = format!("{splitting}, histogram {histogram}");
        let set = json!({ "bins": 5, "splitting": splitting, "histogram": histogram });
        let found = run("azimuthal.integrate1d", SMALL, Some(&mask), set.clone());
        near(&what, &floats(&found, "radial")[4..], &[curve], 1e-7);
        let mut set = set;
        set["azimuthal_bins"] = 4.into();
        let found = run("azimuthal.integrate2d", SMALL, Some(&mask), set);
        let ends = [floats(&found, "radial")[4], floats(&found, "azimuthal")[0]];
        near(&what, &ends, &map, 1e-7);
    }
}
