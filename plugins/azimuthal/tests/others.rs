//! Stages beside the two integrations: profiles, images of curves, filled frames, means that do not weigh.
//!
//! Literals are those of pyFAI 2026.9.0 for the frame of the reference case `cake_and_ranges` and its mask.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::PathBuf;

use isard_core::prelude::{Array, Dict};
use serde_json::json;

// Linked so that its stages are declared.
use isard_azimuthal as _;

use common::{apply, array, floats, reference};

/// The frame of the case, its geometry and mask, as input.
fn input(test: &str) -> Option<(Dict, PathBuf)> {
    let folder = reference(test, "cake_and_ranges")?;
    let poni = std::fs::read_to_string(folder.join("geometry.poni")).unwrap();
    let image = array(&folder.join("frame.npy"), None).lead();
    let mask = array(&folder.join("mask.npy"), None);
    Some((Dict::new().with("image", image).with("poni", poni).with("mask", mask), folder))
}

fn near(what: &str, found: &[f64], wanted: &[f64], allowed: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (f, w) in found.iter().zip(wanted) {
        assert!((f - w).abs() <= allowed * w.abs(), "{what}: {found:?} for {wanted:?}");
    }
}

// `integrate_radial(img, 12, npt_rad=40, radial_range=(1, 5.5), polarization_factor=0.9, method=("bbox", "csr", "cython"))`.
#[test]
fn a_profile_goes_around_the_rings() {
    let Some((input, _)) = input("a_profile_goes_around_the_rings") else { return };
    let set = json!({ "bins": 40, "azimuthal_bins": 12, "radial_range": [1.0, 5.5], "polarisation": 0.9 });
    let found = apply("azimuthal.profile", set, input, 1);
    let wanted = [
        16.663_545_404,
        17.161_039_758,
        16.949_152_139,
        16.977_461_414,
        17.011_340_417,
        18.834_262_558,
        19.133_412_285,
        20.867_015_828,
        20.239_302_415,
        20.068_534_815,
        19.149_188_982,
        16.833_857_881,
    ];
    near("intensity", &floats(&found, "intensity"), &wanted, 3e-7);
    let counts = [51.993_603_503, 101.228_440_025, 162.935_142_2, 233.735_827_948];
    near("count", &floats(&found, "count")[..4], &counts, 3e-7);
    let chi = floats(&found, "azimuthal");
    near("chi", &[chi[0], chi[11]], &[-161.539_867_46, -10.141_083_78], 1e-8);
}

// `calcfrom1d` of five points, with mask, solid angle, polarisation, a flat of 1.5 and a dark of 2.
#[test]
fn a_curve_becomes_an_image() {
    let Some((input, _)) = input("a_curve_becomes_an_image") else { return };
    let constant = |value: f32| Array::of(&[90, 110], &[value; 90 * 110]).unwrap();
    let curve = Dict::new()
        .with("intensity", Array::of(&[1, 5], &[10.0, 20.0, 15.0, 40.0, 5.0]).unwrap())
        .with("radial", Array::of(&[1, 5], &[0.0, 1.0, 2.5, 3.0, 7.0]).unwrap())
        .with("poni", input.need("poni").unwrap().clone())
        .with("mask", input.need("mask").unwrap().clone())
        .with("flat", constant(1.5))
        .with("dark", constant(2.0));
    let set = json!({ "polarisation": 0.9, "empty": -1.0 });
    let image = floats(&apply("azimuthal.image", set, curve, 1), "image");
    let wanted = [
        ([0, 0], 9.270_228_939_283_948),
        ([45, 55], 9.470_657_275_595_846),
        ([89, 109], 9.075_262_802_713_67),
        ([10, 100], 9.176_646_081_848_633),
        ([80, 3], 56.092_771_079_007_41),
    ];
    for ([row, column], wanted) in wanted {
        near("pixel", &[image[row * 110 + column]], &[wanted], 3e-7);
    }
    assert_eq!(image.iter().filter(|v| **v == -1.0).count(), 325);
}

// `method.unweighted` of ("bbox", "csr", "cython"), Poisson errors, polarisation 0.9, a normalisation factor of 2.
#[test]
fn means_that_do_not_weigh() {
    let Some((input, _)) = input("means_that_do_not_weigh") else { return };
    let set = json!({ "bins": 8, "polarisation": 0.9, "weighted": false, "errors": "poisson", "normalisation": 2.0 });
    let found = apply("azimuthal.integrate1d", set, input, 1);
    let wanted =
        [12.204_452_5, 7.008_841_5, 8.226_006, 4.020_012_4, 5.949_997, 2.897_407_8, 7.051_079_8, 13.583_569];
    near("intensity", &floats(&found, "intensity"), &wanted, 3e-7);
    let wanted = [
        0.117_698_35,
        0.056_806_564,
        0.054_544_363,
        0.034_690_395,
        0.038_716_104,
        0.026_363_418,
        0.064_481_07,
        0.166_989_39,
    ];
    near("sigma", &floats(&found, "sigma"), &wanted, 3e-7);
    let sums = [floats(&found, "signal")[0], floats(&found, "norm")[0]];
    near("sums", &sums, &[5_360.668_291_857, 439.238_739_835], 3e-7);
}

// `azimuth_range=(200, 250)` with the cut at pi: the same angles as -160 to -110.
#[test]
fn a_sector_behind_the_cut_is_the_one_before_it() {
    let Some((input, _)) = input("a_sector_behind_the_cut_is_the_one_before_it") else { return };
    for range in [[200.0, 250.0], [-160.0, -110.0], [560.0, 610.0]] {
        let set = json!({ "bins": 8, "splitting": "no", "azimuth_range": range });
        let found = apply("azimuthal.integrate1d", set, input.clone(), 1);
        assert_eq!(floats(&found, "count"), [157.0, 300.0, 193.0, 98.0, 18.0, 0.0, 0.0, 0.0], "{range:?}");
        let wanted = [22.265_173, 14.104_84, 15.031_586, 8.235_368, 6.605_356, 0.0, 0.0, 0.0];
        near("intensity", &floats(&found, "intensity"), &wanted, 3e-7);
    }
}

// The truth is the image of a curve, made before pixels are taken out of it.
#[test]
fn holes_take_what_their_ring_has() {
    let Some((input, _)) = input("holes_take_what_their_ring_has") else { return };
    let radial: Vec<f64> = (0..400).map(|k| f64::from(k) * 0.04).collect();
    let values: Vec<f32> = radial.iter().map(|q| (100.0 + 40.0 * (1.5 * q).sin()) as f32).collect();
    let poni = input.need("poni").unwrap().clone();
    let curve = Dict::new()
        .with("intensity", Array::of(&[1, 400], &values).unwrap())
        .with("radial", Array::of(&[1, 400], &radial).unwrap())
        .with("poni", poni.clone());
    let truth = floats(&apply("azimuthal.image", json!({ "polarisation": 0.9 }), curve, 1), "image");
    // A band of rows and scattered pixels are masked, some more are marked.
    let mask: Vec<u8> =
        (0..90 * 110).map(|k| u8::from((40..44).contains(&(k / 110)) || k % 97 == 0)).collect();
    let bad = |k: usize| mask[k] != 0 || k.is_multiple_of(89);
    let frame: Vec<f32> =
        truth.iter().enumerate().map(|(k, v)| if bad(k) { -9.0 } else { *v as f32 }).collect();
    let input = Dict::new()
        .with("image", Array::of(&[1, 90, 110], &frame).unwrap())
        .with("mask", Array::of(&[90, 110], &mask).unwrap())
        .with("poni", poni);
    let set = json!({
        "bins": 200, "azimuthal_bins": 180, "splitting": "full", "polarisation": 0.9, "dummy": -9.0, "delta_dummy": 0.5,
    });
    let found = apply("azimuthal.inpaint", set, input, 1);
    let (image, filled) = (floats(&found, "image"), floats(&found, "filled"));
    let (mut worst, mut square, mut n) = (0.0f64, 0.0, 0.0);
    for k in 0..90 * 110 {
        assert_eq!(filled[k] != 0.0, bad(k), "{k}");
        match bad(k) {
            true => {
                let off = image[k] / truth[k] - 1.0;
                (worst, square, n) = (worst.max(off.abs()), square + off * off, n + 1.0);
            }
            false => assert_eq!(image[k], f64::from(frame[k]), "{k}"),
        }
    }
    // A cell takes the value of a pixel that only reaches into it: half a pixel of the curve's slope, 4 %.
    let rms = f64::sqrt(square / n);
    assert!(rms < 0.03 && worst < 0.1, "{rms} {worst}");
}

const SMALL: &str = "poni_version: 2.1\nDetector: Detector\nDetector_config: {\"pixel1\": 1e-4, \"pixel2\": 1e-4, \
    \"max_shape\": [60, 60], \"orientation\": 3}\nDistance: 0.1\nPoni1: 0.003\nPoni2: 0.003\nRot1: 0\nRot2: 0\nRot3: 0\n\
    Wavelength: 1e-10\n";

// All engines of pyFAI count 3600 pixels where half of the dark is the dummy, 2700 where a quarter of the flat is; and
// the variances of its sparse maps without splitting and by bounding boxes, and no others, have the dark in them.
#[test]
fn what_a_dark_and_a_flat_may_hold() {
    let image = |value: i32| Array::of(&[1, 60, 60], &[value; 3600]).unwrap();
    let plane = |bad: fn(usize) -> bool, good: f32| -> Array {
        let pixels: Vec<f32> = (0..3600).map(|k| if bad(k) { -2.0 } else { good }).collect();
        Array::of(&[60, 60], &pixels).unwrap()
    };
    let input = || Dict::new().with("image", image(50)).with("poni", SMALL);
    let total = |stage: &str, more: serde_json::Value, input: Dict, port: &str| -> f64 {
        let mut set = json!({ "bins": 20, "splitting": "no", "dummy": -2, "delta_dummy": 0.5 });
        more.as_object().unwrap().iter().for_each(|(k, v)| set[k] = v.clone());
        floats(&apply(stage, set, input, 1), port).iter().sum()
    };
    for stage in ["azimuthal.integrate1d", "azimuthal.integrate2d"] {
        let dark = input().with("dark", plane(|k| k < 1800, 3.0));
        assert_eq!(total(stage, json!({}), dark, "count"), 3600.0);
        let flat = input().with("flat", plane(|k| k % 60 < 15, 1.0));
        assert_eq!(total(stage, json!({}), flat, "count"), 2700.0);
    }
    let dark = || input().with("dark", plane(|_| false, 3.0));
    let maps = json!({ "errors": "poisson", "sums": true, "azimuthal_bins": 10 });
    let set = |on: bool| {
        let mut set = maps.clone();
        set["dark_variance"] = on.into();
        set
    };
    assert_eq!(total("azimuthal.integrate2d", set(true), dark(), "variance"), 3600.0 * 53.0);
    assert_eq!(total("azimuthal.integrate2d", set(false), dark(), "variance"), 3600.0 * 50.0);
    assert_eq!(total("azimuthal.integrate2d", maps.clone(), dark(), "variance"), 3600.0 * 53.0);
    let outlines = |on: bool| {
        let mut set = maps.clone();
        set["splitting"] = "full".into();
        set["dark_variance"] = on.into();
        total("azimuthal.integrate2d", set, dark(), "variance")
    };
    let mut set = maps.clone();
    set["splitting"] = "full".into();
    assert_eq!(total("azimuthal.integrate2d", set, dark(), "variance"), outlines(false));
    assert!(outlines(true) > 1.05 * outlines(false));
    assert_eq!(
        total("azimuthal.integrate1d", json!({ "errors": "poisson" }), dark(), "variance"),
        3600.0 * 50.0
    );
}

// The marker of a Pilatus is -2: it counts in means, and as in pyFAI not in means between quantiles, unless a recipe says so.
#[test]
fn a_detectors_own_marker_may_be_left_out() {
    let mut pixels = vec![5i32; 195 * 487];
    pixels[1000] = -2;
    let poni = SMALL.replace("Detector: Detector\n", "Detector: Pilatus100k\n");
    let poni = poni.replace("\"pixel1\": 1e-4, \"pixel2\": 1e-4, \"max_shape\": [60, 60], ", "");
    let all = json!([0.0, 1.0]);
    let cases = [
        (json!({ "own_dummy": true, "quantiles": all }), 94964.0),
        (json!({ "own_dummy": false, "quantiles": all }), 94965.0),
        (json!({ "quantiles": all }), 94965.0),
        (json!({}), 94964.0),
        (json!({ "own_dummy": false }), 94965.0),
    ];
    for (mut set, wanted) in cases {
        let image = Array::of(&[1, 195, 487], &pixels).unwrap();
        let input = Dict::new().with("image", image).with("poni", poni.as_str());
        set["bins"] = 9.into();
        set["splitting"] = "no".into();
        let count: f64 = floats(&apply("azimuthal.integrate1d", set, input, 1), "count").iter().sum();
        assert_eq!(count, wanted);
    }
}
