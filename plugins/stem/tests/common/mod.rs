//! What the tests share: reference data, and stages run without an engine.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses some of it; one that cannot go on fails")]

use std::path::PathBuf;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_image as _;
use isard_stem as _;
use num_complex::Complex64;

/// The reference data, or a printed line that says why the test is skipped.
pub fn data(test: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ISARD_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let folder = root.join("data/stem4d");
    if folder.is_dir() {
        return Some(folder);
    }
    // Past the harness, which swallows what a passing test prints.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {test} (no reference data)\n").as_bytes(),
    );
    None
}

/// The index of the cases.
pub fn index() -> serde_json::Value {
    let path = data("index").unwrap().join("index.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The numbers in the note of a case, in order: twins of the data have others.
pub fn noted(name: &str) -> Vec<f64> {
    let index = index();
    let note = index[name]["note"].as_str().unwrap_or_else(|| panic!("`{name}` has no note"));
    let digits = |c: char| !(c.is_ascii_digit() || c == '.' || c == '-');
    note.split(digits).filter_map(|word| word.trim_end_matches('.').parse().ok()).collect()
}

/// The scan of the cases: lines, points, rows and columns.
pub fn scan_shape() -> [usize; 4] {
    let index = index();
    std::array::from_fn(|i| index["_scan"]["shape"][i].as_u64().unwrap() as usize)
}

/// The centre of the detector of the scan.
pub fn scan_centre() -> [f64; 2] {
    let index = index();
    std::array::from_fn(|i| index["_scan"]["reference_centre"][i].as_f64().unwrap())
}

pub fn run() -> RunCx {
    let reader = |run: &RunCx, path: &str| isard_files::input::read_path(run, path);
    RunCx { reader: Some(std::sync::Arc::new(reader)), ..RunCx::default() }
}

/// An array of an NPY file of the reference data.
pub fn npy(name: &str) -> Array {
    let path = data(name).unwrap().join(name);
    match isard_files::input::read_path(&run(), path.to_str().unwrap()).unwrap() {
        Value::Array(array) => array,
        other => panic!("{name} is {}", other.describe()),
    }
}

/// A stage of these parameters.
pub fn built(name: &str, set: &str) -> Built {
    let set: serde_json::Value = toml::from_str(set).unwrap();
    let registry = Registry::built_in().unwrap();
    let declaration = registry.find(name).unwrap();
    (declaration.build)(set).unwrap()
}

/// What a source gave.
#[derive(Debug)]
pub struct Given {
    pub opened: Opened,
    pub frames: Vec<(u64, Array)>,
    pub lost: Vec<(u64, Reason, String)>,
}

impl Given {
    /// All frames one after the other.
    pub fn all(&self) -> Array {
        let parts: Vec<&Array> = self.frames.iter().map(|(_, a)| a).collect();
        Array::concat(&parts, isard_core::Pool::unpooled()).unwrap()
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.frames.iter().flat_map(|(first, a)| *first..first + a.shape()[0] as u64).collect()
    }
}

/// Everything that a source gives, from frame `next` on.
pub fn source(name: &str, set: &str, next: u64) -> Result<Given> {
    let Built::Source(mut stage) = built(name, set) else { panic!("`{name}` is no source") };
    let run = run();
    let cx = Cx::new(&run, "tested");
    let opened = stage.open(&cx, Dict::new(), Position { next })?;
    let mut given = Given { opened, frames: vec![], lost: vec![] };
    loop {
        let mut slots = Slots::new(7, next);
        let pull = stage.pull(&cx, &mut slots)?;
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { first, data, .. } => match data.get("image") {
                    Some(Value::Array(a)) => given.frames.push((first, a.clone())),
                    other => panic!("`image` is {other:?}"),
                },
                Arrival::Lost { number, reason, why, .. } => {
                    given.lost.push((number, reason, why.to_string()))
                }
            }
        }
        if pull == Pull::End {
            return Ok(given);
        }
    }
}

/// What a reduction makes of frames in chunks of 7, in a part for each block of 64, kept and loaded once.
pub fn reduce(name: &str, set: &str, frames: Dict, fixed: &Dict) -> Result<Dict> {
    let Built::Reduce(stage) = built(name, set) else { panic!("`{name}` is no reduction") };
    let run = run();
    let cx = Cx::new(&run, "tested");
    let n = frames.values().find_map(Value::records).unwrap() as u64;
    let mut whole = stage.part(&cx)?;
    for block in (0..n).step_by(64) {
        let mut part = stage.part(&cx)?;
        for start in (block..n.min(block + 64)).step_by(7) {
            let end = n.min(block + 64).min(start + 7);
            let mut input = fixed.clone();
            for (key, value) in frames.iter() {
                input.set(key.clone(), value.cut(0, start, end)?);
            }
            stage.add(&cx, &mut part, &Span::frames(start, end - start), input)?;
        }
        let part = stage.load(&cx, stage.save(&part)?)?;
        stage.merge(&cx, &mut whole, part)?;
        assert!(stage.peek(&cx, &whole)?.is_some());
    }
    stage.finish(&cx, whole)
}

/// What a map makes of frames, in one chunk.
pub fn apply(name: &str, set: &str, input: Dict) -> Result<Dict> {
    let Built::Map(stage) = built(name, set) else { panic!("`{name}` is no map") };
    let n = input.values().find_map(Value::records).unwrap() as u64;
    let run = run();
    stage.apply(&Cx::new(&run, "tested"), &Span::frames(0, n), input)
}

/// An output array.
pub fn array(out: &Dict, port: &str) -> Array {
    match out.get(port) {
        Some(Value::Array(array)) => array.clone(),
        other => panic!("`{port}` is {other:?}, of {:?}", out.keys().collect::<Vec<_>>()),
    }
}

/// The elements of an output array.
pub fn numbers(out: &Dict, port: &str) -> Vec<f64> {
    array(out, port).to_f64().unwrap()
}

/// Frames of an array of four axes.
pub fn flat(scan: &Array) -> Array {
    let s = scan.shape();
    scan.reshape(&[s[0] * s[1], s[2], s[3]]).unwrap()
}

/// Frames as the input of a stage.
pub fn image(frames: Array) -> Dict {
    Dict::new().with("image", frames)
}

/// Both are the same to within `relative` of the larger, or of a billionth of the largest.
pub fn near(name: &str, found: &[f64], wanted: &[f64], relative: f64) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let largest = wanted.iter().fold(0f64, |m, w| m.max(w.abs()));
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        let allowed = relative * w.abs().max(largest * 1e-3);
        assert!((f - w).abs() <= allowed, "{name}: {f} for {w} at {i}, {allowed} apart at most");
    }
}

/// The parts of complex numbers by turns.
pub fn parts(array: &Array) -> Vec<f64> {
    array.as_slice::<Complex64>().unwrap().iter().flat_map(|c| [c.re, c.im]).collect()
}
