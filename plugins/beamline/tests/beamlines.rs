//! The plugins of ID27 and ID02 on simulated scans, against arithmetic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::{array, attribute, badly, edf, numbers, poni, stack, text, well};
use isard_core::Value;
use serde_json::json;

const SHAPE: [usize; 2] = [30, 40];

#[test]
fn scans_at_high_pressure_are_summed_and_converted() {
    let root = tempfile::tempdir().unwrap();
    let raw = root.path().join("visitor/RAW_DATA/sample");
    // Frame k of a file holds the pixel's number times k + 1; one pixel knows nothing in the second frame.
    let frames: Vec<Vec<u32>> = (0..20)
        .map(|k| (0..1200).map(|p| if (p, k) == (5, 1) { u32::MAX } else { p * (k + 1) }).collect())
        .collect();
    let file = stack(&raw.join("scan0001/eiger_0000.h5"), SHAPE, &frames);
    let other = stack(&raw.join("scan0001/eiger_0001.h5"), SHAPE, &frames[..2]);
    let input =
        json!({ "file_path": raw, "scan_number": "scan0001", "job_id": 3, "plugin_name": "id27.Average" });
    let done = root.path().join("visitor/PROCESSED_DATA/sample/scan0001");
    let out = well("id27.average", &input);
    for (file, frames) in [(&file, 20), (&other, 2)] {
        let Some(Value::Dict(told)) = out.get(file) else { panic!("{out:?}") };
        assert_eq!(told.get("returncode"), Some(&Value::Int(0)));
        let stem = Path::new(file).file_stem().unwrap().to_string_lossy();
        let (shape, sum) = array(&done.join(format!("average/{stem}_sum.edf")).display().to_string());
        assert_eq!(shape[shape.len() - 2..], SHAPE);
        let times = (frames * (frames + 1) / 2) as f64;
        for (p, v) in sum.iter().enumerate() {
            assert_eq!(*v, if p == 5 { -1.0 } else { p as f64 * times }, "{file} {p}");
        }
    }
    let out = well("id27.xdiconversion", &input);
    assert!(out.get(&other).is_some());
    let (_, page) = array(&done.join("xdi/eiger_0000_0003.tif").display().to_string());
    assert_eq!(page, frames[2].iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(done.join("xdi")).unwrap().count(), 22);
    let astray = json!({ "file_path": done, "scan_number": "xdi" });
    assert!(badly("id27.average", &astray).contains("eiger_????.h5"));
}

#[test]
fn a_raster_becomes_a_map_of_curves() {
    let root = tempfile::tempdir().unwrap();
    let raw = root.path().join("RAW_DATA/sample");
    // Point k of 2 x 3 has 100 (k + 1) counts in every pixel.
    let frames: Vec<Vec<u32>> = (1..=6).map(|k| vec![100 * k; 1200]).collect();
    stack(&raw.join("scan0002/eiger_0000.h5"), SHAPE, &frames[..4]);
    stack(&raw.join("scan0002/eiger_0001.h5"), SHAPE, &frames[4..]);
    let input = |slow: usize| {
        json!({
            "ponifile": poni(root.path(), SHAPE, 10.0), "maskfile": null, "unit": "r_mm", "npt": 12,
            "file_path": raw, "scan_number": "scan0002", "fast_scan": 3, "slow_scan": slow,
        })
    };
    well("id27.diffmap", &input(2));
    let file = root.path().join("PROCESSED_DATA/sample/scan0002/diff_map.h5");
    let results = "/entry_0000/pyFAI/results";
    let at = |name: &str| format!("{}::{results}/{name}", file.display());
    let (shape, data) = array(&at("data"));
    let (_, errors) = array(&at("data_errors"));
    assert_eq!(shape, [2, 3, 12]);
    // Ten metres away solid angle and polarisation are 1, but for parts of a hundred thousand.
    for (k, v) in data.iter().enumerate() {
        assert!((v / (100.0 * (k / 12 + 1) as f64) - 1.0).abs() < 1e-4, "{k}: {v}");
    }
    // Counts: four times as many have twice the error.
    for bin in 0..12 {
        assert!((errors[3 * 12 + bin] / errors[bin] - 2.0).abs() < 1e-5, "{bin}");
    }
    assert_eq!(attribute(&file, results, "axes"), ". fast radial");
    assert_eq!(attribute(&file, results, "signal"), "data");
    assert_eq!(attribute(&file, &format!("{results}/radial"), "unit"), "mm");
    assert_eq!(attribute(&file, "/entry_0000/pyFAI", "NX_class"), "NXprocess");
    assert!(text(&file, "/entry_0000/pyFAI/configuration/data").contains("\"fast_scan\":3"));
    assert!(badly("id27.diffmap", &input(3)).contains("has 6 frames, wanted 3 x 3"));
}

#[test]
fn small_angle_frames_go_through_every_step() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    // Two frames of 110 and 210; pixel 3 is marked by the dummy, pixel 4 by the mask.
    let frames: Vec<Vec<u32>> =
        [110, 210].iter().map(|v| (0..1200).map(|p| if p == 3 { 9999 } else { *v }).collect()).collect();
    let image = stack(&root.path().join("saxs_00001_raw.h5"), SHAPE, &frames);
    let darks: Vec<Vec<u32>> = [10, 10, 4000].iter().map(|v| vec![*v; 1200]).collect();
    let dark = stack(&root.path().join("dark.h5"), SHAPE, &darks);
    let mask: Vec<u32> = (0..1200).map(|p| if p == 4 { 77 } else { 1 }).collect();
    let mask = edf(&root.path().join("mask.edf"), SHAPE, &mask, &[("Dummy", "77"), ("DDummy", "0.1")]);
    let flat = edf(&root.path().join("flat.edf"), SHAPE, &vec![2; 1200], &[]);
    let mut counters = isard_h5::Image::new().unwrap();
    let slot = counters
        .dataset("/entry/id02/MCS/Intensity1ShutCor", &isard_h5::Spec::new(isard_h5::Dtype::F64, &[]));
    let bytes: Vec<u8> = [4.0f64, 8.0].iter().flat_map(|v| v.to_ne_bytes()).collect();
    counters.append(slot.unwrap(), &bytes, 2).unwrap();
    std::fs::write(at("c216.h5"), counters.into_bytes().unwrap()).unwrap();
    let products = "raw sub flat solid dist norm azim ave ave_r_mm";
    let input = json!({
        "image_file": image, "output_dir": at("out"), "c216_filename": at("c216.h5"), "to_save": products,
        "npt1_rad": 10, "npt2_rad": 8, "npt2_azim": 4, "Center_1": 20.0, "Center_2": 15.0, "PSize_1": 1e-4,
        "PSize_2": 1e-4, "BSize_1": 1, "BSize_2": 1, "SampleDistance": 10.0, "WaveLength": 1e-10, "Dummy": 9999,
        "DDummy": 0.5, "dark_filename": dark, "dark_filter": "median", "flat_filename": flat,
        "regrouping_mask_filename": mask, "scaling_factor": 2.0, "variance_formula": "data + 0.1*dark**2",
        "plugin_name": "id02.singledetector", "job_id": 8, "dark_filter_quantil_lower": 0.1,
    });
    let out = well("id02.SingleDetector", &input);
    let Some(Value::Dict(files)) = out.get("files") else { panic!("{out:?}") };
    let data = |name: &str, what: &str| {
        let file = files.get(name).and_then(Value::text).unwrap();
        assert_eq!(file, at(&format!("out/saxs_00001_{name}.h5")));
        array(&format!("{file}::/entry_0000/PyFAI/result_{name}/{what}"))
    };
    let (shape, raw) = data("raw", "data");
    assert_eq!((shape, raw[3], raw[1200]), (vec![2, 30, 40], 9999.0, 210.0));
    // By hand: 100 and 200 above the dark, over a flat of 2, over I1 / 2 of 2 and 4; all 25 in the end.
    for (name, wanted, factor) in [
        ("sub", [100.0, 200.0], [1.0; 2]),
        ("flat", [50.0, 100.0], [2.0; 2]),
        ("solid", [50.0, 100.0], [2.0; 2]),
        ("dist", [50.0, 100.0], [2.0; 2]),
        ("norm", [25.0, 25.0], [4.0, 8.0]),
    ] {
        let (shape, found) = data(name, "data");
        let (_, errors) = data(name, "data_errors");
        assert_eq!(shape, [2, 30, 40], "{name}");
        for frame in 0..2 {
            let pixel = |v: &[f64], p: usize| v[frame * 1200 + p];
            assert!(
                (pixel(&found, 700) / wanted[frame] - 1.0).abs() < 1e-4,
                "{name} {frame}: {}",
                pixel(&found, 700)
            );
            assert_eq!((pixel(&found, 3), pixel(&found, 4)), (9999.0, 9999.0), "{name}");
            // The variance is data + 0.1 * 10^2.
            let error = ([110.0f64, 210.0][frame] + 10.0).sqrt() / factor[frame];
            assert!((pixel(&errors, 700) / error - 1.0).abs() < 1e-4, "{name}: {}", pixel(&errors, 700));
        }
    }
    // Absolute: over the solid angle of a pixel, (1e-4 / 10)^2, too.
    for (name, record) in [("azim", vec![4, 8]), ("ave", vec![10]), ("ave_r_mm", vec![10])] {
        let (shape, found) = data(name, "data");
        assert_eq!(shape, [vec![2], record].concat(), "{name}");
        let full: Vec<f64> = found.into_iter().filter(|v| *v != 0.0).collect();
        assert!(full.len() > 15, "{name}");
        full.iter().for_each(|v| assert!((v / 25e10 - 1.0).abs() < 1e-4, "{name}: {v}"));
    }
    let file = at("out/saxs_00001_azim.h5");
    let results = "/entry_0000/PyFAI/result_azim";
    assert_eq!(attribute(file.as_ref(), results, "axes"), "t chi q");
    assert_eq!(
        (numbers(&format!("{file}::{results}/chi")).len(), numbers(&format!("{file}::{results}/q")).len()),
        (4, 8)
    );
    let far = numbers(&format!("{}::/entry_0000/PyFAI/result_ave_r_mm/q", at("out/saxs_00001_ave_r_mm.h5")));
    // The corner is 2.5 mm from the beam, and the last bin's middle half a bin before it.
    assert!((far[9] - 2.5 * 9.5 / 10.0).abs() < 0.02, "{far:?}");
    let fault = |key: &str, value: serde_json::Value| {
        let mut input = input.clone();
        input[key] = value;
        badly("id02.singledetector", &input)
    };
    assert!(fault("to_save", json!(["raw", "magic"])).contains("`magic`, which is not known"));
    assert!(fault("variance_formula", json!("import os")).contains("the formula"));
    assert!(fault("I1", json!([1.0])).contains("1 readings for 2 frames"));
    assert!(fault("distortion_filename", json!("spline.dat")).contains("distortion files are not known"));
}

/// A file of the older server, run again as its users do.
#[test]
fn an_input_of_the_older_server_is_run_again() {
    let root = tempfile::tempdir().unwrap();
    let image = edf(&root.path().join("f_0001.edf"), SHAPE, &vec![5; 1200], &[]);
    let old = format!(
        "{{\n    \"poni_file\": {:?},\n    \"input_files\": [\n        {image:?}\n    ],\n    \"npt\": 10,\n    \
         \"do_SA\": false,\n    \"mask\": null,\n    \"plugin_name\": \"id15v2.IntegrateManyFrames\",\n    \"job_id\": 77\n}}",
        poni(root.path(), SHAPE, 0.2)
    );
    std::fs::write(root.path().join("00077_id15v2.IntegrateManyFrames.inp"), old).unwrap();
    let how = isard_serve::reprocess::Reprocess {
        out: root.path().join("dahu_2026-01-31T12h00m59"),
        set: isard_core::Dict::new().with("npt", 16),
        ignore: vec![],
        at_once: 1,
    };
    let files = [root.path().join("00077_id15v2.IntegrateManyFrames.inp")];
    let done =
        isard_serve::reprocess::reprocess(&isard_serve::Config::default(), &how, &files, |_| ()).unwrap();
    assert!(done[0].error.is_none(), "{:?}", done[0].error);
    let (shape, found) = array(&format!(
        "{}::/entry_0000/PyFAI/process_integrate1d/I",
        root.path().join("output.h5").display()
    ));
    assert_eq!(shape, [1, 16]);
    assert!(found.iter().filter(|v| **v != 0.0).all(|v| (v - 5.0).abs() < 1e-5), "{found:?}");
    assert!(how.out.join("00000_integratemanyframes.out").is_file());
}
