//! Reference cases: where they are, and what stands in them.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test binary uses everything")]

pub mod runs;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use isard_core::prelude::{Cx, Dict, Span};
use isard_core::registry::Registry;
use isard_core::stage::{Built, RunCx};
use isard_core::value::{Array, Value};
use isard_geometry::Poni;
use serde_json::Value as Json;

/// A folder or file of the reference data; none, with a printed line past the harness, where they are absent.
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if !shared.exists() {
        let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
        return None;
    }
    let path = shared.join("data/azimuthal").join(path);
    assert!(path.exists(), "the reference data are there, but {} is not", path.display());
    Some(path)
}

/// What a map or a task of this family makes of an input, with parameters as a recipe gives them.
pub fn apply(stage: &str, set: Json, input: Dict, frames: u64) -> Dict {
    let said = format!("{stage} {set}");
    try_apply(stage, set, input, frames).unwrap_or_else(|e| panic!("{said}: {e}"))
}

/// The same, or the stage's error.
pub fn try_apply(stage: &str, set: Json, input: Dict, frames: u64) -> isard_core::Result<Dict> {
    let registry = Registry::built_in().unwrap();
    let declared = registry.find(stage).unwrap_or_else(|e| panic!("{e}"));
    let built = (declared.build)(set.clone()).unwrap_or_else(|e| panic!("{stage} {set}: {e}"));
    let faults = built.stage().check();
    assert!(faults.is_empty(), "{stage} {set}: {faults:?}");
    let run = RunCx::default();
    let cx = Cx::new(&run, "stage");
    match built {
        Built::Map(map) => map.apply(&cx, &Span::frames(0, frames), input),
        Built::Task(mut task) => task.run(&cx, input),
        _ => panic!("{stage} is neither a map nor a task"),
    }
}

/// The numbers of an output.
pub fn floats(out: &Dict, port: &str) -> Vec<f64> {
    match out.get(port) {
        Some(Value::Array(array)) => array.to_f64().unwrap(),
        other => panic!("`{port}` is {other:?}"),
    }
}

/// An array of an `.npy` file or of an archive (`file.npz::name`).
pub fn array(path: &Path, name: Option<&str>) -> Array {
    let path = path.display().to_string();
    let path = name.map_or(path.clone(), |n| format!("{path}::{n}"));
    match isard_files::input::read_path(&RunCx::default(), &path).unwrap() {
        Value::Array(array) => array,
        other => panic!("{path}: {}", other.describe()),
    }
}

/// The numbers of an array, rows first.
pub fn numbers(path: &Path, name: Option<&str>) -> Vec<f64> {
    match name {
        Some(name) => optional(path, name).unwrap_or_else(|| panic!("{}: no `{name}`", path.display())),
        None => array(path, None).to_f64().unwrap(),
    }
}

/// An array of an archive as numpy wrote it, turned to rows first if it was in columns; none if it is not there.
pub fn optional(path: &Path, name: &str) -> Option<Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = (0..bytes.len() - 21).rev().find(|at| bytes[*at..].starts_with(b"PK\x05\x06")).unwrap();
    let mut at = four(end + 16);
    loop {
        if !bytes[at..].starts_with(b"PK\x01\x02") {
            return None;
        }
        let length = two(at + 28);
        if bytes[at + 46..at + 46 + length] == *format!("{name}.npy").as_bytes() {
            break;
        }
        at += 46 + length + two(at + 30) + two(at + 32);
    }
    let (coding, stored, local) = (two(at + 10), four(at + 20), four(at + 42));
    let data = &bytes[local + 30 + two(local + 26) + two(local + 28)..][..stored];
    let mut whole = vec![];
    match coding {
        0 => whole.extend_from_slice(data),
        _ => drop(flate2::read::DeflateDecoder::new(data).read_to_end(&mut whole).unwrap()),
    }
    let header = 10 + usize::from(u16::from_le_bytes([whole[8], whole[9]]));
    let text = String::from_utf8_lossy(&whole[..header]).into_owned();
    let elements = &whole[header..];
    let numbers: Vec<f64> = if text.contains("'<f8'") {
        elements.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    } else if text.contains("'<f4'") {
        elements.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
    } else if text.contains("'<i4'") {
        elements.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect()
    } else if text.contains("'<i8'") {
        elements.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
    } else {
        panic!("{}: {text}", path.display())
    };
    let shape = text.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    Some(match shape[..] {
        [rows, columns] if text.contains("'fortran_order': True") => {
            (0..rows * columns).map(|k| numbers[k % columns * rows + k / columns]).collect()
        }
        _ => numbers,
    })
}

/// The settings of a case.
pub fn case(folder: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(folder.join("case.json")).unwrap()).unwrap()
}

/// The geometry of a case.
pub fn poni(folder: &Path) -> Poni {
    Poni::parse(&std::fs::read_to_string(folder.join("geometry.poni")).unwrap()).unwrap()
}
