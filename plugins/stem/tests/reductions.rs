//! Reductions against the expected results of the reference cases, which numpy computed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{
    apply, array, data, flat, image, near, noted, npy, numbers, parts, reduce, scan_centre, scan_shape,
};
use isard_core::prelude::*;

/// The frames of the scan.
fn scan() -> Array {
    flat(&npy("scan.npy"))
}

/// The size of the scan as a parameter.
fn size() -> String {
    let [y, x, ..] = scan_shape();
    format!("scan = [{y}, {x}]\n")
}

/// The centre as a parameter.
fn centre() -> String {
    format!("centre = {:?}\n", scan_centre())
}

/// The radii of disk and ring of the cases.
fn radii() -> [f64; 3] {
    let (disk, ring) = (noted("exp_disk.npy"), noted("exp_ring.npy"));
    [disk[2], ring[0], ring[1]]
}

#[test]
fn virtual_detectors_are_exact() {
    let Some(folder) = data("virtual detectors") else { return };
    let ([disk, inner, outer], [y, x, ..]) = (radii(), scan_shape());
    let set = format!(
        "{}{}[detectors]\ndisk = {{ disk = {disk:?} }}\nring = {{ ring = [{inner:?}, {outer:?}] }}\nall = {{ all = true }}\nfour = {{ file = {:?} }}",
        size(),
        centre(),
        folder.join("masks4.npy").to_str().unwrap()
    );
    let out = reduce("stem.detect", &set, image(scan()), &Dict::new()).unwrap();
    for (port, name) in [("disk", "exp_disk.npy"), ("ring", "exp_ring.npy"), ("all", "exp_navsum.npy")] {
        assert_eq!(numbers(&out, port), npy(name).to_f64().unwrap(), "{name}");
        assert_eq!(array(&out, port).shape(), [y, x]);
    }
    assert!(numbers(&out, "valid").iter().all(|v| *v == 1.0));
    // Expected [y x m], given [m y x].
    let wanted = npy("exp_masks4.npy").to_f64().unwrap();
    let n = npy("masks4.npy").shape()[0];
    let wanted: Vec<f64> = (0..n).flat_map(|m| wanted.iter().skip(m).step_by(n).copied()).collect();
    assert_eq!(array(&out, "four").shape(), [n, y, x]);
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
    let [y, x, ..] = scan_shape();
    let n = y * x * 5 / 6;
    let frames = scan().records(0..n).unwrap();
    let set = format!("{}[detectors]\nall = {{ all = true }}", size());
    let out = reduce("stem.detect", &set, image(frames.clone()), &Dict::new()).unwrap();
    let wanted = npy("exp_navsum.npy").to_f64().unwrap();
    let found = numbers(&out, "all");
    assert!(found[..n] == wanted[..n] && found[n..].iter().all(|x| x.is_nan()));
    assert_eq!(numbers(&out, "valid").iter().sum::<f64>(), n as f64);
    let out = reduce("stem.com", &size(), image(frames), &Dict::new()).unwrap();
    assert!(numbers(&out, "raw")[2 * n..].iter().all(|x| x.is_nan()));
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
    let turned = noted("exp_com_field.npy")[2];
    let set = format!("{}{}flip = true\nrotation = {turned:?}\n", size(), centre());
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
        let out = reduce("stem.com", &size(), image(other.clone()), &Dict::new()).unwrap();
        near(other.dtype().name(), &numbers(&out, "raw"), &wanted, 1e-10);
        let [_, inner, outer] = radii();
        let set = format!("{}{}[detectors]\nring = {{ ring = [{inner:?}, {outer:?}] }}", size(), centre());
        let out = reduce("stem.detect", &set, image(other.clone()), &Dict::new()).unwrap();
        near(other.dtype().name(), &numbers(&out, "ring"), &npy("exp_ring.npy").to_f64().unwrap(), 1e-6);
    }
}

#[test]
fn a_disk_limits_the_centre_of_mass() {
    if data("limited centre of mass").is_none() {
        return;
    }
    let set = format!("{}centre = [15.0, 11.0]\nradius = 6.0\ninner = 1.0", size());
    let out = reduce("stem.com", &set, image(scan()), &Dict::new()).unwrap();
    // The definition, pixel by pixel.
    let columns = scan_shape()[3];
    let frame = scan().record(17).unwrap().to_f64().unwrap();
    let (mut s, mut y, mut x) = (0.0, 0.0, 0.0);
    for (i, p) in frame.iter().enumerate() {
        let (dy, dx) = ((i / columns) as f64 - 15.0, (i % columns) as f64 - 11.0);
        let d = dy * dy + dx * dx;
        if d > 1.0 && d <= 36.0 {
            (s, y, x) = (s + p, y + p * (dy + 15.0), x + p * (dx + 11.0));
        }
    }
    near("limited", &numbers(&out, "raw")[34..36], &[y / s, x / s], 1e-12);
}

/// Dark, gain and dead pixels of the cases.
fn fixed() -> Dict {
    let [.., rows, columns] = scan_shape();
    let mut dead = vec![0u8; rows * columns];
    for place in npy("dead.npy").to_f64().unwrap().chunks(2) {
        dead[place[0] as usize * columns + place[1] as usize] = 1;
    }
    let dead = Array::of(&[rows, columns], &dead).unwrap();
    Dict::new().with("dark", npy("dark.npy")).with("gain", npy("gain.npy")).with("dead", dead)
}

#[test]
fn corrections_of_frames_and_folded_into_masks() {
    let Some(_) = data("corrections") else { return };
    let mut input = fixed();
    input.set("image", scan());
    let out = apply("stem.correct", "dtype = \"f64\"", input).unwrap();
    let all = numbers(&out, "image");
    // The name of the case says which frame it is.
    let [_, points, rows, columns] = scan_shape();
    let pixels = rows * columns;
    let index = common::index();
    let name = index.as_object().unwrap().keys().find(|k| k.starts_with("exp_corrected_frame_")).unwrap();
    let place: Vec<usize> =
        name.trim_end_matches(".npy").rsplit('_').take(2).map(|n| n.parse().unwrap()).collect();
    let at = place[1] * points + place[0];
    near(name, &all[at * pixels..(at + 1) * pixels], &npy(name).to_f64().unwrap(), 1e-12);
    let mut sum = vec![0.0; pixels];
    all.chunks(pixels).for_each(|f| sum.iter_mut().zip(f).for_each(|(s, x)| *s += x));
    near("exp_corrected_sum", &sum, &npy("exp_corrected_sum.npy").to_f64().unwrap(), 1e-10);
    // The same sums by masks into which the correction is folded.
    let set =
        format!("{}precise = true\n[detectors]\nring = {{ ring = [5, 9] }}\nall = {{ all = true }}", size());
    let corrected = array(&out, "image");
    let wanted = reduce("stem.detect", &set, image(corrected.clone()), &Dict::new()).unwrap();
    let found = reduce("stem.detect", &set, image(scan()), &fixed()).unwrap();
    for port in ["ring", "all"] {
        near(port, &numbers(&found, port), &numbers(&wanted, port), 1e-9);
    }
    let wanted = reduce("stem.com", &size(), image(corrected), &Dict::new()).unwrap();
    let found = reduce("stem.com", &size(), image(scan()), &fixed()).unwrap();
    near("raw", &numbers(&found, "raw"), &numbers(&wanted, "raw"), 1e-7);
}

#[test]
fn radial_fourier_series() {
    if data("radial fourier").is_none() {
        return;
    }
    // The bins of the case: from 4, 6 and 8 on, below 10.
    let set = format!("{}{}edges = [4, 6, 8, 10]\norders = 4\n", size(), centre());
    let out = reduce("stem.radial", &set, image(scan()), &Dict::new()).unwrap();
    assert_eq!(array(&out, "coefficient").shape(), npy("exp_radial_fourier.npy").shape());
    let [y, x, ..] = scan_shape();
    let points = y * x;
    let (found, wanted) = (parts(&array(&out, "coefficient")), parts(&npy("exp_radial_fourier.npy")));
    near("exp_radial_fourier", &found, &wanted, 1e-10);
    let magnitude = numbers(&out, "magnitude");
    let dominant = numbers(&out, "dominant");
    for (i, d) in dominant.iter().enumerate().filter(|(_, d)| **d > 0.0) {
        let of = |n: usize| magnitude[(i / points * 4 + n) * points + i % points];
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
    let frames = npy("ssb_data.npy");
    // The voltage at which the wavelength of the case, in metres, is ours: physical constants of another year than
    // CODATA 2018 change it by some parts in 1e9. `U (U + 2 m c^2) = (h c / lambda)^2`, in eV.
    let (rest, energy) = (510_998.95f64, 1.239_841_984_332e-6 / number("wavelength_m"));
    let voltage = energy * energy / (rest + rest.hypot(energy));
    assert!((voltage / (number("kv") * 1e3) - 1.0).abs() < 1e-7, "{voltage} V");
    let set = format!(
        "scan = {:?}\nvoltage = {voltage:?}\nsemiangle = {:?}\nradius = {:?}\nstep = [{step:?}, {step:?}]\ncentre = {}",
        &frames.shape()[..2],
        number("semiconv"),
        number("semiconv_px"),
        case["centre"],
        step = number("dpix"),
    );
    let out = reduce("stem.ssb", &set, image(flat(&frames)), &Dict::new()).unwrap();
    let (found, wanted) = (numbers(&out, "phase"), npy("exp_ssb_phase.npy").to_f64().unwrap());
    let worst = found.iter().zip(&wanted).fold(0f64, |m, (f, w)| m.max((f - w).abs()));
    assert!(worst < 1e-9, "{worst} rad apart");
    let object = npy("ssb_object_phase.npy").to_f64().unwrap();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (a, b) = (mean(&found), mean(&object));
    let dot = |f: &dyn Fn(usize) -> f64| (0..found.len()).map(f).sum::<f64>();
    let both = dot(&|i| (found[i] - a) * (object[i] - b));
    let own = (dot(&|i| (found[i] - a).powi(2)) * dot(&|i| (object[i] - b).powi(2))).sqrt();
    assert!((both / own - number("corr_with_object")).abs() < 1e-6);
}
