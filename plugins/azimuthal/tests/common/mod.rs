//! Reference cases: where they are, and what stands in them.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test binary uses everything")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use isard_core::stage::RunCx;
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
        Some(name) => archived(path, name),
        None => array(path, None).to_f64().unwrap(),
    }
}

/// An array of an archive as numpy wrote it, turned to rows first if it was in columns.
fn archived(path: &Path, name: &str) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let end = (0..bytes.len() - 21).rev().find(|at| bytes[*at..].starts_with(b"PK\x05\x06")).unwrap();
    let mut at = four(end + 16);
    loop {
        assert!(bytes[at..].starts_with(b"PK\x01\x02"), "{}: no `{name}`", path.display());
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
    match shape[..] {
        [rows, columns] if text.contains("'fortran_order': True") => {
            (0..rows * columns).map(|k| numbers[k % columns * rows + k / columns]).collect()
        }
        _ => numbers,
    }
}

/// The settings of a case.
pub fn case(folder: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(folder.join("case.json")).unwrap()).unwrap()
}

/// The geometry of a case.
pub fn poni(folder: &Path) -> Poni {
    Poni::parse(&std::fs::read_to_string(folder.join("geometry.poni")).unwrap()).unwrap()
}
