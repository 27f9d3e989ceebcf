//! Preparation, propagators, patterns and tables against vectors written by PtyPy 0.9.0.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{apart, floats, json, reals, reference, waves};
use isard_h5::File;
use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::propagate::Propagator;
use isard_ptycho::scan::balance::Balance;
use isard_ptycho::scan::pattern::{Model, Pattern};
use isard_ptycho::scan::prepare::{Grid, Orientation, Preparation, RebinMode, mass_centre};
use serde_json::Value;

fn pair(v: &Value) -> Option<[f64; 2]> {
    match v {
        Value::Null => None,
        Value::Array(a) => Some([a[0].as_f64().unwrap(), a[1].as_f64().unwrap()]),
        v => Some([v.as_f64().unwrap(); 2]),
    }
}

#[test]
fn all_34_preparations_agree() {
    let Some(path) = reference("preparations", "prep_vectors.h5") else { return };
    let file = File::open(path).unwrap();
    let (shape, raw) = reals(&file, "raw");
    let frame = |k: usize| {
        let data: Vec<i32> = raw[k * 1440..(k + 1) * 1440].iter().map(|v| *v as i32).collect();
        Grid { shape: [shape[1], shape[2]], data }
    };
    let weight = Grid { shape: [40, 36], data: reals(&file, "weight").1 };
    for case in 0..34 {
        let at = format!("{case:02}");
        let p = json(&file, &at, "params");
        let orientation = match &p["orientation"] {
            Value::Array(b) => Orientation {
                transpose: b[0].as_bool().unwrap(),
                rows: b[1].as_bool().unwrap(),
                columns: b[2].as_bool().unwrap(),
            },
            v => Orientation::numbered(v.as_u64().unwrap_or(0) as u8),
        };
        let centre = match &p["center"] {
            Value::String(s) if s == "fftshift" => Some([Centre::Fftshift; 2]),
            Value::String(s) if s == "geometric" => Some([Centre::Geometric; 2]),
            v => pair(v).map(|c| c.map(Centre::At)),
        };
        let prep = Preparation {
            shape: pair(&p["shape"]).map(|s| s.map(|n| n as usize)),
            centre,
            auto_centre: p["auto_center"].as_bool(),
            force_auto: false,
            orientation,
            rebin: p["rebin"].as_u64().unwrap_or(1) as usize,
            mode: RebinMode::Mean,
            psize: [172e-6; 2],
        };
        let automatic = || {
            let each: Vec<[f64; 2]> =
                (0..3).map(|k| mass_centre(&frame(k), |i| weight.data[i] > 0.0).unwrap()).collect();
            Ok([0, 1].map(|k| each.iter().map(|c| c[k]).sum::<f64>() / 3.0))
        };
        let resolved = prep.resolve([40, 36], automatic);
        if file.attribute(&at, "error").unwrap().is_some() {
            assert!(resolved.unwrap_err().message().contains("bins of 5"), "{at}");
            continue;
        }
        let resolved = resolved.unwrap();
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8);
        assert!(near(&resolved.centre, &floats(&file, &at, "center")), "{at}: {resolved:?}");
        assert!(near(&resolved.raw_centre, &floats(&file, &at, "info_center")), "{at}: {resolved:?}");
        assert!(near(&resolved.psize, &floats(&file, &at, "psize")), "{at}: {resolved:?}");
        assert_eq!(resolved.shape.map(|n| n as f64).to_vec(), floats(&file, &at, "shape"), "{at}");
        let dtype = common::text(&file, &at, "dtype");
        assert_eq!(prep.keeps_type(&resolved), dtype == "int32", "{at}: {dtype}");
        let (_, data) = reals(&file, &format!("{at}/data"));
        let (_, mask) = reals(&file, &format!("{at}/mask"));
        let n = resolved.shape[0] * resolved.shape[1];
        for k in 0..3 {
            let out = prep.bin(&prep.place(&frame(k), &resolved));
            assert_eq!(out.shape, resolved.shape, "{at}");
            // Means of bins are summed in another order there.
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 4e-16 * b.abs();
            assert!(out.data.iter().zip(&data[k * n..(k + 1) * n]).all(close), "{at}: frame {k}");
            let weights = prep.weights(&weight, &resolved);
            let good: Vec<f64> = weights.data.iter().map(|w| f64::from(u8::from(*w > 0.0))).collect();
            assert_eq!(good, mask[k * n..(k + 1) * n], "{at}: mask");
        }
    }
}

#[test]
fn sums_of_bins_keep_the_counts() {
    let frame = Grid { shape: [4, 4], data: (0u16..16).collect() };
    let mut prep = Preparation {
        shape: None,
        centre: None,
        auto_centre: Some(false),
        force_auto: false,
        orientation: Orientation::default(),
        rebin: 2,
        mode: RebinMode::Sum,
        psize: [1e-4; 2],
    };
    // By hand: 0 + 1 + 4 + 5 and so on.
    let sums = prep.bin(&frame).data;
    assert_eq!(sums, [10.0, 18.0, 42.0, 50.0]);
    prep.mode = RebinMode::Mean;
    assert_eq!(prep.bin(&frame).data, [2.5, 4.5, 10.5, 12.5]);
}

#[test]
fn propagators_agree() {
    let Some(path) = reference("propagators", "propagators.h5") else { return };
    let file = File::open(path).unwrap();
    for case in 0..4 {
        let p = json(&file, &case.to_string(), "params");
        let number = |key: &str| p[key].as_f64().unwrap();
        let centre = match p["center"].as_str() {
            Some("geometric") => Centre::Geometric,
            None => Centre::Fftshift,
            other => panic!("{other:?}"),
        };
        let geometry = Geometry {
            energy: number("energy"),
            distance: number("distance"),
            psize: number("psize"),
            n: p["shape"].as_u64().unwrap() as usize,
            propagation: match p["propagation"].as_str() {
                Some("nearfield") => Propagation::Nearfield,
                _ => Propagation::Farfield,
            },
            centre: [centre; 2],
            pixel: None,
        };
        let propagator = Propagator::<f64>::new(&geometry);
        let get = |what: &str| waves(&file, &format!("{case}/{what}")).1;
        let (w, fw, bw) = (get("w"), get("fw"), get("bw"));
        assert!(apart(&propagator.to_detector(&w), &fw) < 1e-10, "{case}");
        assert!(apart(&propagator.to_sample(&w), &bw) < 1e-10, "{case}");
    }
}

#[test]
fn patterns_tables_and_wavelengths_agree() {
    let Some(path) = reference("vectors", "vectors.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in all["xy"].as_array().unwrap() {
        let p = &case["pars"];
        let pattern = Pattern {
            model: match p["model"].as_str().unwrap() {
                "round" => Model::Round,
                "spiral" => Model::Spiral,
                _ => Model::Raster,
            },
            extent: pair(&p["extent"]),
            spacing: pair(&p["spacing"]),
            steps: pair(&p["steps"]).map(|s| s.map(|n| n as usize)),
            offset: p["offset"].as_f64().unwrap_or(0.0),
            count: p["count"].as_u64().map(|n| n as usize),
        };
        let found = pattern.positions().unwrap();
        let wanted = case["pos"].as_array().unwrap();
        assert_eq!(found.len(), wanted.len(), "{p}");
        for (a, b) in found.iter().zip(wanted) {
            let b = pair(b).unwrap();
            assert!((a[0] - b[0]).abs() < 1e-15 && (a[1] - b[1]).abs() < 1e-15, "{p}: {a:?} is not {b:?}");
        }
    }
    for table in all["loadmanager"].as_array().unwrap() {
        let mut balance = Balance::new(table["size"].as_u64().unwrap() as usize);
        for call in table["calls"].as_array().unwrap() {
            let dealt = balance.assign(call["n"].as_u64().unwrap() as usize);
            assert_eq!(serde_json::json!(dealt), call["assign"], "{table}");
            assert_eq!(serde_json::json!(balance.load()), call["load"], "{table}");
        }
    }
    let a: Vec<Vec<f64>> = serde_json::from_value(all["mass_center"]["a"].clone()).unwrap();
    let grid = Grid { shape: [a.len(), a[0].len()], data: a.concat() };
    let (found, wanted) = (mass_centre(&grid, |_| true).unwrap(), pair(&all["mass_center"]["c"]).unwrap());
    assert!((found[0] - wanted[0]).abs() < 1e-12 && (found[1] - wanted[1]).abs() < 1e-12);
    for case in all["geometry"].as_array().unwrap() {
        let p = &case["pars"];
        let geometry = Geometry {
            energy: p["energy"].as_f64().unwrap(),
            distance: p["distance"].as_f64().unwrap(),
            psize: p["psize"].as_f64().unwrap(),
            n: pair(&p["shape"]).unwrap()[0] as usize,
            propagation: match p["propagation"].as_str() {
                Some("nearfield") => Propagation::Nearfield,
                _ => Propagation::Farfield,
            },
            centre: [Centre::Fftshift; 2],
            pixel: None,
        };
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
        assert!(near(geometry.wavelength(), case["lam"].as_f64().unwrap()), "{p}");
        assert!(near(geometry.resolution(), pair(&case["resolution"]).unwrap()[0]), "{p}");
    }
}
