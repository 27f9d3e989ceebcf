//! Reductions against the expected results of the reference cases, which numpy computed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{apply, array, data, flat, image, near, npy, numbers, parts, reduce};
use isard_core::prelude::*;

/// The frames of the scan of 12 x 10.
fn scan() -> Array {
    flat(&npy("scan.npy"))
}

const SCAN: &str = "scan = [12, 10]\n";

#[test]
fn virtual_detectors_are_exact() {
    let Some(folder) = data("virtual detectors") else { return };
    let set = format!(
        "{SCAN}centre = [15.5, 11.5]\n[detectors]\ndisk = {{ disk = 5 }}\nring = {{ ring = [5, 9] }}\nall = {{ all = true }}\nfour = {{ file = {:?} }}",
        folder.join("masks4.npy").to_str().unwrap()
    );
    let out = reduce("stem.detect", &set, image(scan()), &Dict::new()).unwrap();
    for (port, name) in [("disk", "exp_disk.npy"), ("ring", "exp_ring.npy"), ("all", "exp_navsum.npy")] {
        assert_eq!(numbers(&out, port), npy(name).to_f64().unwrap(), "{name}");
        assert_eq!(array(&out, port).shape(), [12, 10]);
    }
    assert!(numbers(&out, "valid").iter().all(|v| *v == 1.0));
    // Expected [y x m], given [m y x].
    let wanted = npy("exp_masks4.npy").to_f64().unwrap();
    let wanted: Vec<f64> = (0..4).flat_map(|m| wanted.iter().skip(m).step_by(4).copied()).collect();
    assert_eq!(array(&out, "four").shape(), [4, 12, 10]);
    near("exp_masks4", &numbers(&out, "four"), &wanted, 1e-5);
    let out =
        reduce("stem.detect", &set.replace("scan =", "precise = true\nscan ="), image(scan()), &Dict::new());
    near("exp_masks4", &numbers(&out.unwrap(), "four"), &wanted, 1e-10);
}

#[test]
fn points_without_a_frame_are_nan() {
    if data("missing frames").is_none() {
        return;
    }
    let frames = scan().records(0..100).unwrap();
    let set = format!("{SCAN}[detectors]\nall = {{ all = true }}");
    let out = reduce("stem.detect", &set, image(frames.clone()), &Dict::new()).unwrap();
    let wanted = npy("exp_navsum.npy").to_f64().unwrap();
    let found = numbers(&out, "all");
    assert!(found[..100] == wanted[..100] && found[100..].iter().all(|x| x.is_nan()));
    assert_eq!(numbers(&out, "valid").iter().sum::<f64>(), 100.0);
    let out = reduce("stem.com", SCAN, image(frames), &Dict::new()).unwrap();
    assert!(numbers(&out, "raw")[200..].iter().all(|x| x.is_nan()));
    assert!(numbers(&out, "phase").iter().all(|x| x.is_finite()));
    let short = "scan = [3, 3]\n[detectors]\nall = { all = true }";
    let error = reduce("stem.detect", short, image(scan()), &Dict::new()).unwrap_err();
    assert!(error.message().contains("beyond the 3 x 3 points"), "{error}");
}

#[test]
fn centre_of_mass_and_what_is_made_of_it() {
    if data("centre of mass").is_none() {
        return;
    }
    let set = format!("{SCAN}centre = [15.5, 11.5]\nflip = true\nrotation = 30.0\n");
    let out = reduce("stem.com", &set, image(scan()), &Dict::new()).unwrap();
    let check = |out: &Dict, port: &str, name: &str| {
        near(name, &numbers(out, port), &npy(name).to_f64().unwrap(), 1e-10);
    };
    check(&out, "raw", "exp_com_raw.npy");
    check(&out, "field", "exp_com_field.npy");
    check(&out, "magnitude", "exp_com_mag.npy");
    check(&out, "divergence", "exp_com_div.npy");
    check(&out, "curl", "exp_com_curl.npy");
    check(&out, "phase", "exp_idpc.npy");
    assert_eq!(numbers(&out, "sum"), npy("exp_navsum.npy").to_f64().unwrap());
    let empty = npy("exp_navsum.npy")
        .to_f64()
        .unwrap()
        .iter()
        .map(|s| f64::from(u8::from(*s == 0.0)))
        .collect::<Vec<_>>();
    assert_eq!(numbers(&out, "empty"), empty);
    let mean =
        reduce("stem.com", &format!("{set}regression = \"mean\""), image(scan()), &Dict::new()).unwrap();
    check(&mean, "field", "exp_com_mean_sub.npy");
    let plane =
        reduce("stem.com", &format!("{set}regression = \"plane\""), image(scan()), &Dict::new()).unwrap();
    check(&plane, "field", "exp_com_reg1.npy");
    check(&plane, "coefficients", "exp_com_reg1_coeff.npy");
    // The descan of a reference scan, given.
    let fixed = Dict::new().with("descan", npy("exp_com_reg1_coeff.npy"));
    let given = reduce("stem.com", &set, image(scan()), &fixed).unwrap();
    check(&given, "field", "exp_com_reg1.npy");
}

#[test]
fn every_pixel_type_has_the_same_centre_of_mass() {
    if data("pixel types").is_none() {
        return;
    }
    let frames = scan();
    let pixels = frames.to_f64().unwrap();
    let wanted = npy("exp_com_raw.npy").to_f64().unwrap();
    let double = Array::of(frames.shape(), &pixels).unwrap();
    let long: Vec<u32> = pixels.iter().map(|p| *p as u32).collect();
    let single: Vec<f32> = pixels.iter().map(|p| *p as f32).collect();
    for other in
        [double, Array::of(frames.shape(), &long).unwrap(), Array::of(frames.shape(), &single).unwrap()]
    {
        let out = reduce("stem.com", SCAN, image(other.clone()), &Dict::new()).unwrap();
        near(other.dtype().name(), &numbers(&out, "raw"), &wanted, 1e-10);
        let set = format!("{SCAN}centre = [15.5, 11.5]\n[detectors]\nring = {{ ring = [5, 9] }}");
        let out = reduce("stem.detect", &set, image(other.clone()), &Dict::new()).unwrap();
        near(other.dtype().name(), &numbers(&out, "ring"), &npy("exp_ring.npy").to_f64().unwrap(), 1e-6);
    }
}

#[test]
fn a_disk_limits_the_centre_of_mass() {
    if data("limited centre of mass").is_none() {
        return;
    }
    let set = format!("{SCAN}centre = [15.0, 11.0]\nradius = 6.0\ninner = 1.0");
    let out = reduce("stem.com", &set, image(scan()), &Dict::new()).unwrap();
    // The definition, pixel by pixel.
    let frame = scan().record(17).unwrap().to_f64().unwrap();
    let (mut s, mut y, mut x) = (0.0, 0.0, 0.0);
    for (i, p) in frame.iter().enumerate() {
        let (dy, dx) = ((i / 24) as f64 - 15.0, (i % 24) as f64 - 11.0);
        let d = dy * dy + dx * dx;
        if d > 1.0 && d <= 36.0 {
            (s, y, x) = (s + p, y + p * (dy + 15.0), x + p * (dx + 11.0));
        }
    }
    near("limited", &numbers(&out, "raw")[34..36], &[y / s, x / s], 1e-12);
}

/// Dark, gain and dead pixels of the cases.
fn fixed() -> Dict {
    let mut dead = vec![0u8; 32 * 24];
    for place in npy("dead.npy").to_f64().unwrap().chunks(2) {
        dead[place[0] as usize * 24 + place[1] as usize] = 1;
    }
    let dead = Array::of(&[32, 24], &dead).unwrap();
    Dict::new().with("dark", npy("dark.npy")).with("gain", npy("gain.npy")).with("dead", dead)
}

#[test]
fn corrections_of_frames_and_folded_into_masks() {
    let Some(_) = data("corrections") else { return };
    let mut input = fixed();
    input.set("image", scan());
    let out = apply("stem.correct", "dtype = \"f64\"", input).unwrap();
    let all = numbers(&out, "image");
    let at = 2 * 10 + 3;
    let frame = npy("exp_corrected_frame_2_3.npy").to_f64().unwrap();
    near("exp_corrected_frame_2_3", &all[at * 768..(at + 1) * 768], &frame, 1e-12);
    let mut sum = vec![0.0; 768];
    all.chunks(768).for_each(|f| sum.iter_mut().zip(f).for_each(|(s, x)| *s += x));
    near("exp_corrected_sum", &sum, &npy("exp_corrected_sum.npy").to_f64().unwrap(), 1e-10);
    // The same sums by masks into which the correction is folded.
    let set =
        format!("{SCAN}precise = true\n[detectors]\nring = {{ ring = [5, 9] }}\nall = {{ all = true }}");
    let corrected = array(&out, "image");
    let wanted = reduce("stem.detect", &set, image(corrected.clone()), &Dict::new()).unwrap();
    let found = reduce("stem.detect", &set, image(scan()), &fixed()).unwrap();
    for port in ["ring", "all"] {
        near(port, &numbers(&found, port), &numbers(&wanted, port), 1e-9);
    }
    let wanted = reduce("stem.com", SCAN, image(corrected), &Dict::new()).unwrap();
    let found = reduce("stem.com", SCAN, image(scan()), &fixed()).unwrap();
    near("raw", &numbers(&found, "raw"), &numbers(&wanted, "raw"), 1e-7);
}

#[test]
fn radial_fourier_series() {
    if data("radial fourier").is_none() {
        return;
    }
    // The bins of the case: from 4, 6 and 8 on, below 10.
    let set = format!("{SCAN}edges = [4, 6, 8, 10]\norders = 4\ncentre = [15.5, 11.5]");
    let out = reduce("stem.radial", &set, image(scan()), &Dict::new()).unwrap();
    assert_eq!(array(&out, "coefficient").shape(), [3, 4, 12, 10]);
    let (found, wanted) = (parts(&array(&out, "coefficient")), parts(&npy("exp_radial_fourier.npy")));
    near("exp_radial_fourier", &found, &wanted, 1e-10);
    let magnitude = numbers(&out, "magnitude");
    let dominant = numbers(&out, "dominant");
    for (i, d) in dominant.iter().enumerate().filter(|(_, d)| **d > 0.0) {
        let of = |n: usize| magnitude[(i / 120 * 4 + n) * 120 + i % 120];
        assert!((1..4).all(|n| of(n) <= of(*d as usize)));
    }
}

#[test]
fn sums_over_the_scan() {
    if data("sums").is_none() {
        return;
    }
    let none = Dict::new();
    let out = reduce("image.sum", "", image(scan()), &none).unwrap();
    assert_eq!(array(&out, "image"), npy("exp_sum.npy"));
    let out = reduce("image.max", "", image(scan()), &none).unwrap();
    assert_eq!(array(&out, "image"), npy("exp_max.npy"));
    let out = reduce("image.mean", "", image(scan()), &none).unwrap();
    near("exp_mean", &numbers(&out, "image"), &npy("exp_mean.npy").to_f64().unwrap(), 1e-10);
    let out = reduce("image.std", "ddof = 0", image(scan()), &none).unwrap();
    near("exp_std", &numbers(&out, "image"), &npy("exp_std.npy").to_f64().unwrap(), 1e-10);
}

#[test]
fn the_phase_of_single_side_band() {
    if data("single side band").is_none() {
        return;
    }
    let case = &common::index()["ssb"];
    let number = |name: &str| case[name].as_f64().unwrap();
    let set = format!(
        "scan = [16, 16]\nvoltage = {:?}\nsemiangle = {:?}\nradius = {:?}\nstep = [{step:?}, {step:?}]\ncentre = [16.0, 16.0]",
        number("kv") * 1e3,
        number("semiconv"),
        number("semiconv_px"),
        step = number("dpix"),
    );
    let out = reduce("stem.ssb", &set, image(flat(&npy("ssb_data.npy"))), &Dict::new()).unwrap();
    let (found, wanted) = (numbers(&out, "phase"), npy("exp_ssb_phase.npy").to_f64().unwrap());
    let worst = found.iter().zip(&wanted).fold(0f64, |m, (f, w)| m.max((f - w).abs()));
    assert!(worst < 1e-9, "{worst} rad apart");
    let object = npy("ssb_object_phase.npy").to_f64().unwrap();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (a, b) = (mean(&found), mean(&object));
    let dot = |f: &dyn Fn(usize) -> f64| (0..256).map(f).sum::<f64>();
    let both = dot(&|i| (found[i] - a) * (object[i] - b));
    let own = (dot(&|i| (found[i] - a).powi(2)) * dot(&|i| (object[i] - b).powi(2))).sqrt();
    assert!((both / own - number("corr_with_object")).abs() < 1e-6);
}
