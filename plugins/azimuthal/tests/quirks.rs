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

/// The pixels, each made another, and the geometry.
fn frame(of: impl Fn(i32) -> i32) -> Dict {
    let pixels: Vec<i32> = (0..3600).map(|k| of(k * 7919 % 1009)).collect();
    Dict::new().with("image", Array::of(&[1, 60, 60], &pixels).unwrap()).with("poni", SMALL)
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

// Pixels that count where the marker is 0 within 1.5, where there is none and empty bins get 1, and where they get 2 and a
// quarter of the flat is 2: histograms look for it in a flat of 1 where none is given, all but one.
#[test]
fn markers_that_a_flat_could_hold() {
    let flat: Vec<f32> = (0..3600).map(|k| if k % 4 == 0 { 2.0 } else { 1.0 }).collect();
    for (splitting, maps, wanted) in [
        ("no", false, [3592.0, 3600.0, 3600.0]),
        ("no", true, [0.0, 0.0, 2700.0]),
        ("bbox", false, [0.0, 0.0, 2700.0]),
        ("bbox", true, [0.0, 0.0, 2700.0]),
        ("full", false, [0.0, 0.0, 2700.0]),
        ("full", true, [0.0, 0.0, 2700.0]),
    ] {
        let sets = [json!({ "dummy": 0, "delta_dummy": 1.5 }), json!({ "empty": 1 }), json!({ "empty": 2 })];
        for (k, (mut set, wanted)) in sets.into_iter().zip(wanted).enumerate() {
            for (name, value) in
                [("bins", json!(5)), ("splitting", json!(splitting)), ("histogram", json!(true))]
            {
                set[name] = value;
            }
            let mut input = frame(|value| value);
            if k == 2 {
                input = input.with("flat", Array::of(&[60, 60], &flat).unwrap());
            }
            let stage = match maps {
                true => {
                    set["azimuthal_bins"] = 4.into();
                    set["sums"] = true.into();
                    "azimuthal.integrate2d"
                }
                false => "azimuthal.integrate1d",
            };
            let count: f64 = floats(&apply(stage, set, input, 1), "count").iter().sum();
            assert!(
                (count - wanted).abs() < 1e-3,
                "{splitting}, maps {maps}, case {k}: {count} for {wanted}"
            );
        }
    }
}

// The first and the last place and the first count of `integrate1d(img, 5, unit="qx_nm^-1")`.
#[test]
fn units_below_zero() {
    for (splitting, histogram, wanted) in [
        ("no", true, [-1.482_348_069_335_803_8, 1.482_348_290_222_882_6, 720.0]),
        ("no", false, [-1.482_348_069_335_803_8, 1.482_348_290_222_882_6, 720.0]),
        ("bbox", true, [0.188_432_115_681_074_93, 1.695_889_041_129_674_5, 419.883_420_722_746_56]),
        ("bbox", false, [-1.507_456_615_994_534_8, 1.507_456_959_832_384_6, 720.233_295_969_665]),
        ("full", true, [-1.507_455_803_342_821_8, 1.507_456_027_971_244_3, 720.231_934_707_599_4]),
        ("full", false, [-1.507_455_803_342_821_8, 1.507_456_027_971_244_3, 720.231_934_707_379]),
    ] {
        let set = json!({ "unit": "qx_nm^-1", "bins": 5, "splitting": splitting, "histogram": histogram });
        let found = run("azimuthal.integrate1d", SMALL, None, set);
        let (radial, count) = (floats(&found, "radial"), floats(&found, "count"));
        let what = format!("{splitting}, histogram {histogram}");
        near(&what, &[radial[0], radial[4], count[0]], &wanted, 1e-7);
    }
}

// A histogram's first bin is at 0 at least: beside the camera on the one side all of it lies below.
#[test]
fn boxes_wholly_below_the_first_bin_of_a_histogram() {
    let beside = |histogram: bool| {
        let frame = frame(|n| n).with("poni", SMALL.replace("Poni2: 0.003", "Poni2: 0.02"));
        let set = json!({ "unit": "qx_nm^-1", "bins": 5, "splitting": "bbox", "histogram": histogram });
        common::try_apply("azimuthal.integrate1d", set, frame, 1)
    };
    let error = beside(true).unwrap_err().to_string();
    assert!(error.contains("`qx_nm^-1` ends at -") && error.contains("below its first bin at 0"), "{error}");
    assert!(error.contains("leave `histogram` out"), "{error}");
    let counted: f64 = floats(&beside(false).unwrap(), "count").iter().sum();
    assert!((counted - 3600.0).abs() < 0.01, "{counted}");
}

// `sigma_clip_ng(numpy.minimum(img, 300) + (img > 990) * 3000, 6, thres=2, max_iter=5)` on one thread: what one ring drops is
// in none behind it.
#[test]
fn a_pixel_that_two_rings_share_is_dropped_from_both() {
    for (splitting, errors, intensity, count) in [
        (
            "bbox",
            "azimuthal",
            [
                285.505_462_646,
                255.271_896_362,
                252.366_561_89,
                255.010_223_389,
                257.577_575_684,
                247.253_204_346,
            ],
            [
                135.591_678_291,
                460.725_437_81,
                768.844_847_402,
                1_081.711_396,
                855.249_627_998,
                212.877_012_27,
            ],
        ),
        (
            "bbox",
            "poisson",
            [
                298.705_902_1,
                298.387_481_689,
                298.326_660_156,
                297.994_476_318,
                299.298_065_186,
                298.887_207_031,
            ],
            [
                118.391_050_24,
                345.132_365_609,
                565.109_471_872,
                821.960_431_854,
                644.730_038_092,
                149.474_009_642,
            ],
        ),
        (
            "full",
            "poisson",
            [
                298.324_737_549,
                298.403_320_313,
                298.223_449_707,
                297.979_980_469,
                299.309_783_936,
                298.879_394_531,
            ],
            [
                118.905_751_992,
                345.806_903_682,
                565.525_893_618,
                822.218_881_662,
                646.084_163_567,
                148.379_851_461,
            ],
        ),
    ] {
        let set = json!({
            "bins": 6, "splitting": splitting, "errors": errors, "clip": { "threshold": 2, "rounds": 5 },
        });
        let input = frame(|value| value.min(300) + if value > 990 { 3000 } else { 0 });
        let found = apply("azimuthal.integrate1d", set, input, 1);
        let allowed = if splitting == "full" { 5e-5 } else { 2e-7 };
        near(errors, &floats(&found, "intensity"), &intensity, allowed);
        near(errors, &floats(&found, "count"), &count, allowed);
    }
}

// Counts of cells of `integrate2d(img, 6, 50, unit="arcsinh(q.nm)_None", method=("bbox", "csr", "cython"))` for a tilted
// detector: azimuths come from the table of corners in single precision, which another unit than q, 2theta and r has made.
#[test]
fn azimuths_of_boxes_in_units_with_a_table() {
    let poni = SMALL.replace("Poni2: 0.003", "Poni2: -0.0017").replace("Rot1: 0", "Rot1: 0.31");
    let poni = poni.replace("1e-4", "1.7e-4");
    let set = json!({
        "unit": "arcsinh(q.nm)_None", "bins": 6, "azimuthal_bins": 50, "splitting": "bbox", "sums": true,
    });
    let count = floats(&run("azimuthal.integrate2d", &poni, None, set), "count");
    let found = [(2, 5), (46, 3), (49, 1), (1, 3)].map(|(row, column)| count[row * 6 + column]);
    let wanted = [0.007_829_125_039_28, 0.151_484_649_628, 0.159_150_748_514, 0.312_554_983_422];
    near("counts", &found, &wanted, 2e-6);
}
