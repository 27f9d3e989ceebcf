//! Reference data for the tests of this crate.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub mod run;
pub mod scan;

use std::io::Write;
use std::path::{Path, PathBuf};

use isard_h5::{Attr, Dataset, Dtype, File};
use isard_ptycho::num::Complex;

/// A file of the reference data; none, with a printed line, where the data are absent.
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    // Where several copies of the project lie beside each other the data are one level further up.
    let further = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared");
    let shared = if shared.exists() { shared } else { further };
    if !shared.exists() {
        // Past the harness, which keeps what passing tests print. Nobody can be told that stderr is gone.
        let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
        return None;
    }
    let path = shared.join("data/ptycho").join(path);
    assert!(path.exists(), "the reference data are there, but {} is not", path.display());
    Some(path)
}

pub fn dims(set: &Dataset) -> Vec<usize> {
    set.shape().iter().map(|n| *n as usize).collect()
}

/// A dataset of real numbers or booleans in double precision, with its shape.
pub fn reals(file: &File, path: &str) -> (Vec<usize>, Vec<f64>) {
    let set = file.dataset(path).unwrap();
    let bytes = set.read_all().unwrap();
    macro_rules! cast {
        ($t:ty) => {
            bytes
                .chunks_exact(size_of::<$t>())
                .map(|b| <$t>::from_ne_bytes(b.try_into().unwrap()) as f64)
                .collect()
        };
    }
    let values: Vec<f64> = match set.dtype().unwrap() {
        Dtype::I8 => cast!(i8),
        Dtype::U8 => cast!(u8),
        Dtype::I32 => cast!(i32),
        Dtype::I64 => cast!(i64),
        Dtype::F32 => cast!(f32),
        Dtype::F64 => cast!(f64),
        other => panic!("{path} is {other}"),
    };
    (dims(&set), values)
}

/// A dataset of complex numbers in double precision, with its shape.
pub fn waves(file: &File, path: &str) -> (Vec<usize>, Vec<Complex<f64>>) {
    let set = file.dataset(path).unwrap();
    let bytes = set.read_all().unwrap();
    let numbers: Vec<f64> = match set.dtype().unwrap() {
        Dtype::C32 => {
            bytes.chunks_exact(4).map(|b| f64::from(f32::from_ne_bytes(b.try_into().unwrap()))).collect()
        }
        Dtype::C64 => bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect(),
        other => panic!("{path} is {other}"),
    };
    (dims(&set), numbers.chunks_exact(2).map(|z| Complex::new(z[0], z[1])).collect())
}

pub fn json(file: &File, path: &str, name: &str) -> serde_json::Value {
    serde_json::from_str(&text(file, path, name)).unwrap()
}

pub fn text(file: &File, path: &str, name: &str) -> String {
    match file.attribute(path, name).unwrap() {
        Some(Attr::Text(text)) => text,
        other => panic!("{path}@{name} is {other:?}"),
    }
}

pub fn floats(file: &File, path: &str, name: &str) -> Vec<f64> {
    match file.attribute(path, name).unwrap() {
        Some(Attr::Floats(v)) => v,
        Some(Attr::Float(v)) => vec![v],
        Some(Attr::Int(v)) => vec![v as f64],
        Some(Attr::Ints(v)) => v.into_iter().map(|v| v as f64).collect(),
        other => panic!("{path}@{name} is {other:?}"),
    }
}

/// The largest difference over the largest value.
pub fn apart(found: &[Complex<f64>], wanted: &[Complex<f64>]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let most = wanted.iter().map(|z| z.norm()).fold(0.0, f64::max);
    found.iter().zip(wanted).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max) / most
}
