//! Driving stages without an engine, and the reference data.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test binary uses everything; a test that cannot go on fails"
)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Built, RunCx};
// Linked so that its stages are declared.
use isard_tomography as _;

/// The folder of the small reference scan; none, with a printed line, where the data are absent.
pub fn mini(test: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    // Where several copies of the project lie beside each other the data are one level further up.
    let further = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared");
    let shared = if shared.exists() { shared } else { further };
    if !shared.exists() {
        // Past the harness, which keeps what passing tests print. Nobody can be told that stderr is gone.
        let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
        return None;
    }
    Some(shared.join("data/azimuthal/xrdct_mini"))
}

/// The arrays of an `.npz`, by name, as numbers: a ZIP archive of `.npy` files, deflated or not.
pub fn npz(path: &Path) -> HashMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    // The end of the archive tells where its directory is; entries are found through it.
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let (count, mut at) = (u16_at(end + 10), u32_at(end + 16));
    let mut arrays = HashMap::new();
    for _ in 0..count {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
        let (packed, name, local) = (u32_at(at + 20), u16_at(at + 28), u32_at(at + 42));
        let title = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
        let data = local + 30 + u16_at(local + 26) + u16_at(local + 28);
        let packed = &bytes[data..data + packed];
        let mut npy = vec![];
        match u16_at(at + 10) {
            0 => npy.extend_from_slice(packed),
            _ => drop(flate2::read::DeflateDecoder::new(packed).read_to_end(&mut npy).unwrap()),
        }
        arrays.insert(title.trim_end_matches(".npy").to_owned(), numbers(&npy));
        at += 46 + name + u16_at(at + 30) + u16_at(at + 32);
    }
    arrays
}

fn numbers(npy: &[u8]) -> Vec<f64> {
    let header = u16::from_le_bytes([npy[8], npy[9]]) as usize;
    let text = std::str::from_utf8(&npy[10..10 + header]).unwrap();
    let body = &npy[10 + header..];
    match text.split('\'').nth(3).unwrap() {
        "<u2" => body.chunks_exact(2).map(|b| f64::from(u16::from_le_bytes([b[0], b[1]]))).collect(),
        "<f4" => body.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        "<f8" => body.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        other => panic!("numbers of type {other}"),
    }
}

/// A run with so many threads.
pub fn threads(n: usize) -> RunCx {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    RunCx { threads: Some(Arc::new(pool)), ..RunCx::default() }
}

fn build(name: &str, set: &str) -> Built {
    let registry = Registry::built_in().unwrap();
    (registry.find(name).unwrap().build)(toml::from_str(set).unwrap()).unwrap()
}

/// What a map makes of records.
pub fn map(run: &RunCx, name: &str, set: &str, records: u64, input: Dict) -> Result<Dict> {
    let Built::Map(map) = build(name, set) else { panic!("`{name}` is no map") };
    map.apply(&Cx::new(run, "tested"), &Span::frames(0, records), input)
}

/// What a fit makes of frames, fed at once and refined to its end.
pub fn fit(run: &RunCx, name: &str, set: &str, frames: u64, input: Dict) -> Result<Dict> {
    let Built::Fit(mut fit) = build(name, set) else { panic!("`{name}` is no fit") };
    let cx = Cx::new(run, "tested");
    fit.absorb(&cx, &Span::frames(0, frames), input)?;
    fit.complete(&cx)?;
    while fit.refine(&cx, &Slice::one_step())?.more {}
    Ok(fit.snapshot(&cx)?.expect("there is a result"))
}

/// The elements of an output.
pub fn numbers_of(out: &Dict, port: &str) -> Vec<f64> {
    match out.get(port) {
        Some(Value::Array(array)) => array.to_f64().unwrap(),
        other => panic!("`{port}` is {other:?}"),
    }
}

/// An output array.
pub fn array_of(out: &Dict, port: &str) -> Array {
    match out.get(port) {
        Some(Value::Array(array)) => array.clone(),
        other => panic!("`{port}` is {other:?}"),
    }
}

/// Pearson's correlation.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let dot = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    dot(a, ma, b, mb) / (dot(a, ma, a, ma) * dot(b, mb, b, mb)).sqrt()
}
