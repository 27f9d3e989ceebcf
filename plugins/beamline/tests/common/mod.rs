//! Jobs from JSON as clients write them, and what they leave.
#![allow(dead_code, clippy::unwrap_used, reason = "not every test binary uses everything")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isard_core::stage::RunCx;
use isard_core::value::{Dict, Value};
use isard_h5::{Attr, File};
use isard_serve::{Config, Jobs, Request, State};
// Linked so that its plugins are declared.
use isard_beamline as _;

/// A folder of the reference data; none, with a printed line past the harness, where they are absent.
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    let near = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    // Where several copies of the project lie beside each other the data are one level further up.
    let further = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared");
    match [near, further].into_iter().find(|shared| shared.exists()) {
        Some(shared) => Some(shared.join("data/azimuthal").join(path)),
        None => {
            let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
            None
        }
    }
}

/// Runs a job on a server of its own; its state and its output.
pub fn job(plugin: &str, input: &serde_json::Value) -> (State, Arc<Dict>) {
    let reader = Some(Arc::new(isard_files::input::read_path) as Arc<_>);
    let jobs = Jobs::open(Config { workers: 1, reader, ..Config::default() }).unwrap();
    let id = jobs.start(Request::from_text(plugin, &input.to_string()).unwrap()).unwrap() as i64;
    let state = jobs.wait(id, Some(Duration::from_secs(120))).unwrap();
    (state, jobs.output(id).unwrap())
}

/// The output of a job that succeeds.
pub fn well(plugin: &str, input: &serde_json::Value) -> Arc<Dict> {
    let (state, output) = job(plugin, input);
    assert_eq!(state, State::Success, "{plugin}: {:?}", output.get("error"));
    output
}

/// The error of a job that fails.
pub fn badly(plugin: &str, input: &serde_json::Value) -> String {
    let (state, output) = job(plugin, input);
    assert_eq!(state, State::Failure, "{plugin}: {output:?}");
    format!("{:?}", output.get("error"))
}

/// An array of a file with its shape.
pub fn array(path: &str) -> (Vec<usize>, Vec<f64>) {
    match isard_files::input::read_path(&RunCx::default(), path).unwrap() {
        Value::Array(array) => (array.shape().to_vec(), array.to_f64().unwrap()),
        other => panic!("{path}: {}", other.describe()),
    }
}

/// An array of an archive or file.
pub fn numbers(path: &str) -> Vec<f64> {
    array(path).1
}

/// An attribute of an object of an HDF5 file as text.
pub fn attribute(file: &Path, path: &str, name: &str) -> String {
    match File::open(file).unwrap().attribute(path, name).unwrap() {
        Some(Attr::Text(text)) => text,
        Some(Attr::Texts(texts)) => texts.join(" "),
        Some(Attr::Int(value)) => value.to_string(),
        other => panic!("{path}@{name}: {other:?}"),
    }
}

/// A text of an HDF5 file.
pub fn text(file: &Path, path: &str) -> String {
    File::open(file).unwrap().texts(path).unwrap().remove(0)
}

/// A geometry: a square detector of pixels of 0.1 mm, the beam in its middle.
pub fn poni(folder: &Path, shape: [usize; 2], dist: f64) -> String {
    let path = folder.join("geometry.poni");
    let (poni1, poni2) = (shape[0] as f64 * 0.5e-4, shape[1] as f64 * 0.5e-4);
    let text = format!(
        "poni_version: 2.1\nDetector: Detector\n\
         Detector_config: {{\"pixel1\": 1e-4, \"pixel2\": 1e-4, \"max_shape\": [{}, {}], \"orientation\": 3}}\n\
         Distance: {dist}\nPoni1: {poni1}\nPoni2: {poni2}\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 2e-11\n",
        shape[0], shape[1]
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// An EDF file of one frame with further keys in its header.
pub fn edf(path: &Path, shape: [usize; 2], pixels: &[u32], lines: &[(&str, &str)]) -> String {
    let bytes: Vec<u8> = pixels.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let block = isard_files::edf::block(isard_h5::Dtype::U32, shape, &bytes, 0, lines).unwrap();
    std::fs::write(path, block).unwrap();
    path.display().to_string()
}

/// An HDF5 file of frames as the acquisition writes them.
pub fn stack(path: &Path, shape: [usize; 2], frames: &[Vec<u32>]) -> String {
    let mut image = isard_h5::Image::new().unwrap();
    let record = [shape[0] as u64, shape[1] as u64];
    let spec = isard_h5::Spec::new(isard_h5::Dtype::U32, &record);
    let slot = image.dataset("/entry_0000/measurement/data", &spec).unwrap();
    for frame in frames {
        let bytes: Vec<u8> = frame.iter().flat_map(|v| v.to_ne_bytes()).collect();
        image.append(slot, &bytes, 1).unwrap();
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, image.into_bytes().unwrap()).unwrap();
    path.display().to_string()
}
