//! The integrating plugins against pyFAI's own numbers and against arithmetic, through jobs from JSON.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::{array, attribute, badly, edf, numbers, poni, reference, text, well};
use isard_core::Value;
use serde_json::json;

/// The columns of a `.dat` file.
fn columns(path: &str) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.split_whitespace().map(|v| v.parse().unwrap()).collect()).collect()
}

/// Compares where there are pixels: the largest difference, as a part of the value.
fn near(found: &[f64], wanted: &[f64], within: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let top = wanted.iter().copied().fold(0.0, f64::max);
    for (k, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= within * b.abs().max(1e-3 * top), "{what} {k}: {a} is not {b}");
    }
}

// pyFAI 2026.9, method (bbox, csr, cython): `expected` of the case.
#[test]
fn simple_integrations_agree_with_pyfai() {
    let Some(folder) = reference("simple_integrations_agree_with_pyfai", "pilatus2m_cdte_cbf") else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let curve = |name: &str| root.path().join(name).display().to_string();
    let expected = |name: &str| {
        numbers(&format!("{}::{name}", folder.join("expected/2th_deg_bbox_csr_cython.npz").display()))
    };
    let input = |curve: &str| json!({ "poni_file": folder.join("geometry.poni"), "image_file": folder.join("frame.cbf"), "curve_file": curve });
    let mut fine = input(&curve("fine.dat"));
    fine["nbins"] = 2000.into();
    let output = well("ID31.Integrate_Simple", &fine);
    let Some(Value::Dict(result)) = output.get("result") else { panic!("{output:?}") };
    assert_eq!(result.get("out_file").and_then(Value::text), Some(&*curve("fine.dat")));
    let found = columns(&curve("fine.dat"));
    near(&found.iter().map(|c| c[0]).collect::<Vec<_>>(), &expected("radial"), 1e-6, "radial");
    near(&found.iter().map(|c| c[1]).collect::<Vec<_>>(), &expected("intensity"), 2e-6, "intensity");
    // Half as many bins over the same range hold the sums of two each.
    well("pyfai.integrate_simple", &input(&curve("coarse.dat")));
    let (signal, norm) = (expected("sum_signal"), expected("sum_normalization"));
    let halves = |v: &[f64]| v.chunks(2).map(|p| p[0] + p[1]).collect::<Vec<f64>>();
    let wanted: Vec<f64> =
        halves(&signal).iter().zip(halves(&norm)).map(|(s, n)| if n > 0.0 { s / n } else { 0.0 }).collect();
    let found: Vec<f64> = columns(&curve("coarse.dat")).iter().map(|c| c[1]).collect();
    near(&found, &wanted, 5e-6, "coarse");
    let head = std::fs::read_to_string(curve("coarse.dat")).unwrap();
    for line in [
        "# Mask applied: None",
        "# Polarization factor: None",
        "#      2th_deg               I",
        "\"dist\": 0.9",
    ] {
        assert!(head.contains(line), "{line}");
    }
}

// pyFAI 2026.9, methods (full or no, csr, cython): `expected` of the case; monitors by division.
#[test]
fn scans_of_both_versions_agree_with_pyfai_and_have_their_layout() {
    let Some(folder) = reference("scans_of_both_versions_agree_with_pyfai", "pilatus2m_cdte_cbf") else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    for k in [2, 1] {
        std::fs::copy(folder.join("frame.cbf"), root.path().join(format!("scan_{k:04}.cbf"))).unwrap();
    }
    let input = |output: &str| {
        json!({
            "poni_file": folder.join("geometry.poni"), "input_files": root.path().join("scan_*.cbf"),
            "output_file": root.path().join(output), "npt": 2000, "unit": "2th_deg", "do_SA": true,
            "monitor_values": [2.0, 0.5], "norm": 10.0, "dummy": null,
            "plugin_name": "id15.IntegrateManyFrames", "job_id": 12, "foreign": 1,
        })
    };
    for (plugin, output, process, case) in [
        ("id15.integratemanyframes", "first", "process_integrate1d", "full"),
        ("id15v2.integratemanyframes", "second.h5", "process_integrate1d", "no"),
    ] {
        let mut input = input(output);
        let expected = folder.join(format!("expected/2th_deg_{case}_csr_cython.npz"));
        let wanted = numbers(&format!("{}::intensity", expected.display()));
        let out = well(plugin, &input);
        let file = out.get("output_file").and_then(Value::text).unwrap().to_owned();
        assert!(file.ends_with(if output == "first" { "first.h5" } else { output }), "{file}");
        let log = format!("{:?}", out.get("logging"));
        assert!(log.contains("`foreign`") && !log.contains("`dummy`"), "{log}");
        let (at, data) = (Path::new(&file), format!("/entry_0000/PyFAI/{process}"));
        let (shape, found) = array(&format!("{file}::{data}/I"));
        assert_eq!(shape, [2, 2000]);
        for (frame, factor) in [(0, 20.0), (1, 5.0)] {
            let scaled: Vec<f64> = wanted.iter().map(|v| v / factor).collect();
            near(&found[frame * 2000..(frame + 1) * 2000], &scaled, 5e-5, plugin);
        }
        near(
            &numbers(&format!("{file}::{data}/2th")),
            &numbers(&format!("{}::radial", expected.display())),
            1e-6,
            "2th",
        );
        assert_eq!(attribute(at, &format!("{data}/2th"), "unit"), "deg");
        assert_eq!(
            (attribute(at, &data, "signal"), attribute(at, &data, "axes")),
            ("I".into(), ". 2th".into())
        );
        assert_eq!(attribute(at, &data, "NX_class"), "NXdata");
        assert_eq!(attribute(at, &format!("{data}/I"), "interpretation"), "spectrum");
        assert_eq!(attribute(at, &format!("{data}/I"), "signal"), "1");
        assert_eq!(attribute(at, "/entry_0000/PyFAI", "NX_class"), "NXprocess");
        assert_eq!(text(at, "/entry_0000/PyFAI/processing_type"), "integrate1d");
        assert_eq!(attribute(at, "/entry_0000", "NX_class"), "NXentry");
        assert_eq!(text(at, "/entry_0000/program_name"), "dahu");
        assert!(attribute(at, "/entry_0000/program_name", "version").starts_with("isard "));
        assert_eq!(attribute(at, "/entry_0000/input", "format"), "json");
        let kept: serde_json::Value = serde_json::from_str(&text(at, "/entry_0000/input")).unwrap();
        assert_eq!((kept["npt"].as_i64(), kept["do_SA"].as_bool()), (Some(2000), Some(true)));
        assert!(text(at, &format!("{data}/parameters/geometry")).contains("\"dist\": 0.9"));
        // A second call adds an entry; the first stays as it was.
        input["npt"] = 100.into();
        well(plugin, &input);
        assert_eq!(array(&format!("{file}::/entry_0001/PyFAI/{process}/I")).0, [2, 100]);
        assert_eq!(array(&format!("{file}::{data}/I")), (shape, found));
    }
    let mut few = input("few.h5");
    few["monitor_values"] = json!([1.0]);
    assert!(badly("id15.integratemanyframes", &few).contains("has 1 values for 2 frames"));
}

/// Every way of integrating makes a constant of a constant, and copies of the frames are what they were.
#[test]
fn every_way_keeps_a_constant() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let geometry = poni(root.path(), [40, 50], 0.1);
    let files: Vec<String> = (0..3u32)
        .map(|k| edf(&root.path().join(format!("f{k}.edf")), [40, 50], &vec![7 + k; 2000], &[]))
        .collect();
    for (way, group, record) in [
        ("integrate1d", "integrate1d", vec![20]),
        ("integrate2d", "integrate2d", vec![6, 20]),
        ("integrate_radial", "integrate_radial", vec![20]),
        ("sigma_clip", "sigma_clip", vec![20]),
        ("medfilt1d", "medfilt1d", vec![20]),
    ] {
        let input = json!({
            "poni_file": geometry, "input_files": files, "output_file": at(&format!("{way}.h5")), "npt": 20,
            "npt_azim": 6, "integration_method": way, "save_raw": at(&format!("{way}_raw.h5")),
            "raw_compression": "bitshuffle",
        });
        let out = well("id15v2.integratemanyframes", &input);
        let data = format!("{}::/entry_0000/PyFAI/process_{group}", at(&format!("{way}.h5")));
        let (shape, found) = array(&format!("{data}/I"));
        assert_eq!(shape, [vec![3], record].concat(), "{way}");
        let each = found.len() / 3;
        for (frame, part) in found.chunks(each).enumerate() {
            let full = part.iter().filter(|v| **v != 0.0);
            assert!(full.clone().count() * 2 > each, "{way}: {part:?}");
            full.for_each(|v| assert!((v - 7.0 - frame as f64).abs() < 1e-5, "{way}: {v}"));
        }
        if way == "sigma_clip" {
            assert!(numbers(&format!("{data}/errors")).iter().all(|v| v.abs() < 1e-5));
        }
        if way == "integrate_radial" {
            let chi = numbers(&format!("{data}/chi"));
            assert!(chi[0] < -160.0 && chi[19] > 160.0, "{chi:?}");
        }
        let raw = out.get("save_raw").and_then(Value::text).unwrap().to_owned();
        let (shape, pixels) = array(&format!("{raw}::/entry_0000/measurement/data"));
        assert_eq!(shape, [3, 40, 50]);
        assert!(pixels.iter().enumerate().all(|(k, v)| *v == (7 + k / 2000) as f64));
    }
    // Inputs go only when all is written, and not before a fault is found.
    let gone = json!({
        "poni_file": geometry, "input_files": files, "output_file": at("gone.h5"), "npt": 20, "delete_incoming": true,
        "monitor_values": [1, 2],
    });
    assert!(badly("id15.integratemanyframes", &gone).contains("2 values for 3 frames"));
    assert!(files.iter().all(|f| Path::new(f).exists()));
    let mut gone = gone;
    gone["monitor_values"] = json!([1, 2, 4]);
    well("id15.integratemanyframes", &gone);
    assert!(files.iter().all(|f| !Path::new(f).exists()));
}

// By hand: at 60 keV silicon has 0.1434 cm2/g (NISTIR 5632), so 1e6 pA are 3.817346e10 photons a second.
#[test]
fn images_are_divided_by_the_photons_of_their_diode() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let geometry = poni(root.path(), [40, 50], 0.1);
    let counters = [("counter_mne", "sec mondio det"), ("counter_pos", "1.0 1e6 3")];
    let first = edf(&root.path().join("a_0001.edf"), [40, 50], &vec![500; 2000], &counters);
    let second = edf(
        &root.path().join("b.edf"),
        [40, 50],
        &vec![900; 2000],
        &[counters[0], ("counter_pos", "1.0 2e6 3")],
    );
    let wavelength = 12.398_419_843_320_026e-10 / 60.0;
    let config = json!({
        "poni": geometry, "npt": 25, "unit": "q_nm^-1", "wavelength": wavelength, "do_SA": false, "norm": 1e9,
        "method": "full_ocl_csr", "do_polarziation": false,
    });
    std::fs::write(root.path().join("config.json"), config.to_string()).unwrap();
    let input = |files: serde_json::Value| json!({ "output_dir": at("out"), "json": at("config.json"), "input_files": files });
    let out = well("id31.integrate", &input(json!([first, second])));
    let Some(Value::List(written)) = out.get("output_files") else { panic!("{out:?}") };
    let written: Vec<&str> = written.iter().map(|v| v.text().unwrap()).collect();
    assert_eq!(written, [at("out/a_0001.dat"), at("out/b.dat")]);
    for (path, wanted) in written.iter().zip([500.0 / 38.173_46, 900.0 / 76.346_93]) {
        let found = columns(path);
        assert_eq!(found.len(), 25);
        found.iter().for_each(|c| assert!((c[1] / wanted - 1.0).abs() < 1e-6, "{} is not {wanted}", c[1]));
    }
    let bare = edf(&root.path().join("bare.edf"), [40, 50], &vec![1; 2000], &[]);
    assert!(badly("id31.integrate", &input(json!([bare]))).contains("has no counter `mondio`"));
}
