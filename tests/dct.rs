//! Spots from end to end: files, numbers, a run that is cut off, and faults before the first frame.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/shared.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use isard as _;
use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_h5::{Attr, File};

use shared::{options, reference, shipped};

fn planned(text: &str) -> Plan {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    made.unwrap_or_else(|faults| panic!("{faults}")).0
}

/// The layout as the specification of the difspot files has it: names with dtypes and axes.
const LAYOUT: [(&str, &str, usize); 21] = [
    ("Area", "int64", 0),
    ("BoundingBox", "int64", 2),
    ("BoundingBoxOriginSize", "int64", 2),
    ("BoundingBoxXorigin", "int64", 0),
    ("BoundingBoxXsize", "int64", 0),
    ("BoundingBoxYorigin", "int64", 0),
    ("BoundingBoxYsize", "int64", 0),
    ("CentroidImage", "float64", 0),
    ("CentroidIndex", "float64", 1),
    ("CentroidX", "float64", 0),
    ("CentroidY", "float64", 0),
    ("Data", "float32", 3),
    ("DataMasked", "float32", 3),
    ("EndImage", "int64", 0),
    ("Integral", "float32", 0),
    ("Mask", "int8", 3),
    ("MaxImage", "int64", 0),
    ("MaxIntensityIndex", "int64", 1),
    ("Projection", "float32", 2),
    ("StartImage", "int64", 0),
    ("difspotID", "int64", 0),
];

fn numbers(file: &File, path: &str) -> Vec<f64> {
    let dataset = file.dataset(path).unwrap();
    let bytes = dataset.read_all().unwrap();
    let dtype = dataset.dtype().unwrap().to_string();
    match dtype.as_str() {
        "int64" => bytes.chunks_exact(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap()) as f64).collect(),
        "float64" => bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect(),
        "float32" => {
            bytes.chunks_exact(4).map(|b| f64::from(f32::from_ne_bytes(b.try_into().unwrap()))).collect()
        }
        "int8" => bytes.iter().map(|b| f64::from(*b as i8)).collect(),
        other => panic!("`{path}` is {other}"),
    }
}

fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(out.join("difspots")).unwrap();
    entries
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap()))
        .collect()
}

/// The same files; the format keeps the time in each object, so values are compared and not bytes.
fn same(wanted: &BTreeMap<String, Vec<u8>>, found: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in wanted {
        let [a, b] = [bytes, &found[name]].map(|bytes| File::from_bytes(bytes, name).unwrap());
        for (path, ..) in LAYOUT {
            assert_eq!(a.dataset(path).unwrap().shape(), b.dataset(path).unwrap().shape(), "{what}: {name}");
            let bits = |file: &File| numbers(file, path).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&a), bits(&b), "{what}: {name}: {path}");
        }
        assert_eq!(a.attributes("/").unwrap(), b.attributes("/").unwrap(), "{what}: {name}");
    }
}

#[test]
fn difspots_are_laid_out_as_specified() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let report = run::run(&shipped("small/dct.toml", &[]), options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let files = files(&out);
    assert!(files.len() >= 5, "found {:?}", files.keys());
    assert!(!out.join("difspots/live").exists() && !out.join(".isard/drafts").exists());
    let (mut wraps, mut outside) = (false, 0);
    for (id, name) in files.keys().enumerate() {
        assert_eq!(*name, format!("{id:06}.h5"));
        let file = File::open(out.join("difspots").join(name)).unwrap();
        for (path, dtype, axes) in LAYOUT {
            let dataset = file.dataset(path).unwrap();
            assert_eq!((dataset.dtype().unwrap().to_string().as_str(), dataset.shape().len()), (dtype, axes));
        }
        let one = |path: &str| numbers(&file, path)[0];
        assert_eq!(one("difspotID"), id as f64);
        assert_eq!(file.attribute("/", "interpretation").unwrap().unwrap(), Attr::Text("difspot".into()));
        let indexing = Attr::Text("starts with 1 (MATLAB)".into());
        assert_eq!(file.attribute("/", "notation_indexing").unwrap().unwrap(), indexing);
        let shape: Vec<f64> = file.dataset("Data").unwrap().shape().iter().map(|n| *n as f64).collect();
        let (data, mask) = (numbers(&file, "Data"), numbers(&file, "Mask"));
        let masked = numbers(&file, "DataMasked");
        assert!(masked.iter().zip(&data).zip(&mask).all(|((m, d), on)| *m == d * on));
        assert!(file.attribute("/", "data_is_masked").unwrap().is_none());
        outside += data.iter().zip(&mask).filter(|(d, on)| **on == 0.0 && **d != 0.0).count();
        // The brightest voxel, by hand from the data, counted from 1.
        let best = (0..masked.len()).max_by(|a, b| masked[*a].total_cmp(&masked[*b]).then(b.cmp(a))).unwrap();
        let (rows, columns) = (shape[1] as usize, shape[2] as usize);
        let index = [best % columns + 1, best / columns % rows + 1, best / columns / rows + 1];
        assert_eq!(numbers(&file, "MaxIntensityIndex"), index.map(|n| n as f64));
        assert_eq!(one("MaxImage"), index[2] as f64);
        let sum: f64 = masked.iter().sum();
        assert!((one("Integral") - sum).abs() <= 1e-6 * sum);
        let mean: f64 = masked.iter().enumerate().map(|(k, v)| (k % columns) as f64 * v).sum::<f64>() / sum;
        assert!((one("CentroidX") - 1.0 - mean).abs() < 1e-9);
        let origin = numbers(&file, "BoundingBoxOriginSize");
        assert_eq!(origin[3..], [shape[2], shape[1], shape[0]]);
        assert_eq!((one("BoundingBoxXorigin"), one("BoundingBoxYorigin")), (origin[0], origin[1]));
        let corner = numbers(&file, "BoundingBox");
        assert_eq!(corner[3..], [0, 1, 2].map(|k| origin[k] + origin[k + 3] - 1.0));
        let (start, end) = (one("StartImage"), one("EndImage"));
        assert_eq!((start - 1.0 + shape[0] - 1.0).rem_euclid(60.0) + 1.0, end);
        assert_eq!(start, origin[2]);
        let over = start > end;
        assert_eq!(file.attribute("/", "wraps").unwrap().is_some(), over);
        wraps |= over;
        assert!(over || !(start..=end).contains(&18.0), "no spot goes over the missing frame 17");
    }
    let all = File::open(out.join("difspots.h5")).unwrap();
    assert!(all.texts("parameters").unwrap()[0].contains("dct.segment"), "the recipe goes with its spots");
    let ids = numbers(&all, "summary/difspotID");
    assert_eq!(ids.len(), files.len());
    let places: Vec<_> = ["peak_frame", "peak_row", "peak_column"]
        .map(|name| numbers(&all, &format!("summary/{name}")))
        .to_vec();
    let place = |k: usize| (places[0][k] as i64, places[1][k] as i64, places[2][k] as i64);
    assert!((1..ids.len()).all(|k| place(k - 1) < place(k)), "numbers follow frame, row and column");
    for id in 0..ids.len() {
        let file = File::open(out.join(format!("difspots/{id:06}.h5"))).unwrap();
        assert_eq!(numbers(&all, &format!("{id:06}/Data")), numbers(&file, "Data"));
        assert_eq!(numbers(&all, &format!("{id:06}/difspotID")), [id as f64]);
    }
    assert!(outside > 100, "values outside the masks are kept");
    assert!(wraps, "a spot goes on from the last frame to the first");
}

#[test]
fn chunks_and_a_stop_change_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut first: Option<BTreeMap<String, Vec<u8>>> = None;
    for chunk in [1, 3, 16] {
        let out = folder.path().join(format!("chunk{chunk}"));
        let mut plan = shipped("small/dct-live.toml", &[]);
        plan.run.chunk = Some(chunk);
        let report = run::run(&plan, options(&out)).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        let found = files(&out);
        same(first.get_or_insert_with(|| found.clone()), &found, &format!("chunks of {chunk}"));
    }
    // Stopped as soon as it has begun, again and again, and resumed.
    let out = folder.path().join("stopped");
    let mut plan = shipped("small/dct-live.toml", &["frames.rate=400.0"]);
    plan.run.checkpoint_s = 0.0;
    let stopping = |out: Out, turn: u32| {
        let mut options = Options::new(out);
        options.stop = Arc::new(AtomicBool::new(false));
        let flag = options.stop.clone();
        let waiting = std::thread::spawn(move || {
            std::thread::park_timeout(std::time::Duration::from_millis(60 << turn.min(7)));
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        (options, waiting)
    };
    let (options, waiting) = stopping(Out::Folder { path: out.clone(), overwrite: false }, 0);
    let mut report = run::run(&plan, options).unwrap();
    waiting.join().unwrap();
    // Each try lasts longer than the one before, so that the last one comes to the end.
    for turn in 0..12 {
        if report.outcome != Outcome::Stopped {
            break;
        }
        let (options, waiting) = stopping(Out::Folder { path: out.clone(), overwrite: false }, turn);
        report = run::resume(&plan, options).unwrap();
        waiting.join().unwrap();
    }
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    same(&first.unwrap(), &files(&out), "a run that was stopped");
}

#[test]
fn the_dense_series_has_the_components_that_others_count() {
    let name = "the_dense_series_has_the_components_that_others_count";
    let Some(frames) = reference(name, "data/frames/hedm/alpha_zr_ge2_dense.h5") else { return };
    // Components above 50 and 500, of 6 and 26 neighbours: the table of the frames' README.
    for (threshold, neighbours, wanted) in [(50, 6, 904), (50, 26, 805), (500, 6, 306), (500, 26, 294)] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "isard = \"0.1\"\nname = \"count\"\n[stage.frames]\nuse = \"hdf5.dataset\"\n\
             set = {{ path = \"{}::entry/measurement/frames\", columns = {{ omega = \"entry/measurement/omega_start\" }} }}\n\
             [stage.segment]\nuse = \"dct.segment\"\nfrom = \"frames\"\n\
             in = {{ image = \"frames.image\", omega = \"frames.omega\" }}\n\
             set = {{ threshold = {threshold}, tolerance = 1.0, bb_max = [1, 1, 1], overlap = \"keep\", connectivity = {neighbours} }}\n\
             [stage.overview]\nuse = \"dct.overview\"\nfrom = \"segment\"\n\
             set = {{ shape = [2048, 2048], frames = 100, bins = 2 }}\n",
            frames.display()
        );
        let report = run::run(&planned(&text), options(&folder.path().join("out"))).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        let overview = report.stages.iter().find(|s| s.name == "overview").unwrap();
        let found = overview.results.get("spots").and_then(|v| v.number());
        assert_eq!(found, Some(f64::from(wanted)), "above {threshold}, {neighbours} neighbours");
    }
}
