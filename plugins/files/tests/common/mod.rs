//! Driving sources and writers without an engine.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test binary uses everything")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use isard_core::prelude::*;
use isard_core::registry::Registry;
// Linked so that its stages are declared.
use isard_core::stage::{AnySource, AnyWriter, Arrival, Built, RunCx};
use isard_files as _;

/// An output that keeps its files in memory.
#[derive(Default)]
pub struct Memory {
    pub files: Mutex<BTreeMap<String, Vec<u8>>>,
    sealed: Mutex<Vec<String>>,
    /// Units that the ports state.
    pub units: BTreeMap<String, String>,
    /// How many of the next writes fail with an error that may pass.
    pub fail: Mutex<u32>,
}

impl Output for Memory {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.files.lock().unwrap().contains_key(path) {
            return Err(Error::plugin(format!("`{path}` was sealed and is written again")));
        }
        self.replace(path, bytes)?;
        self.sealed.lock().unwrap().push(path.to_owned());
        Ok(())
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut fail = self.fail.lock().unwrap();
        if *fail > 0 {
            *fail -= 1;
            return Err(Error::new(Blame::Io, "the disk is away").transient());
        }
        if self.sealed.lock().unwrap().iter().any(|p| p == path) {
            return Err(Error::plugin(format!("`{path}` was sealed and is replaced")));
        }
        self.files.lock().unwrap().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn record(&self) -> String {
        "{\"recipe\": \"test\"}".into()
    }
    fn units(&self) -> BTreeMap<String, String> {
        self.units.clone()
    }
}

impl Memory {
    pub fn names(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }
    pub fn file(&self, name: &str) -> Vec<u8> {
        self.files.lock().unwrap().get(name).unwrap().clone()
    }
    /// An output with these files only, as a resume leaves it.
    pub fn rolled_back(files: BTreeMap<String, Vec<u8>>) -> Memory {
        let sealed = files.keys().filter(|n| n.contains(".parts/")).cloned().collect();
        Memory { files: Mutex::new(files), sealed: Mutex::new(sealed), ..Memory::default() }
    }
    pub fn dump(&self, folder: &Path) {
        for (name, bytes) in self.files.lock().unwrap().iter() {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

pub fn build(name: &str, set: &str) -> Result<Built> {
    let registry = Registry::built_in().unwrap();
    (registry.find(name)?.build)(toml::from_str(set).unwrap())
}

/// A source as the tests drive it.
pub trait Given {
    fn begin(&mut self, cx: &Cx, from: Position) -> Result<Opened>;
    fn next(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, Dict)>>;
}

/// A source as the engine sees it.
impl Given for Box<dyn AnySource> {
    fn begin(&mut self, cx: &Cx, from: Position) -> Result<Opened> {
        self.open(cx, Dict::new(), from)
    }
    fn next(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, Dict)>> {
        loop {
            let mut slots = Slots::new(room, 0);
            match self.pull(cx, &mut slots)? {
                Pull::End => return Ok(vec![]),
                Pull::Wait(pause) => std::thread::sleep(pause),
                Pull::Ready => {
                    let arrivals = slots.take();
                    if arrivals.is_empty() {
                        continue;
                    }
                    let frames = |arrival| match arrival {
                        Arrival::Frames { first, data, .. } => Ok((first, data)),
                        Arrival::Lost { number, why, .. } => {
                            Err(Error::data(format!("frame {number}: {why}")))
                        }
                    };
                    return arrivals.into_iter().map(frames).collect();
                }
            }
        }
    }
}

pub fn source(name: &str, set: &str) -> Box<dyn Given> {
    assert_eq!(build(name, set).unwrap().stage().check(), []);
    match build(name, set).unwrap() {
        Built::Source(source) => Box::new(source),
        _ => panic!("`{name}` is no source"),
    }
}

pub fn writer(name: &str, set: &str) -> Box<dyn AnyWriter> {
    let Built::Writer(writer) = build(name, set).unwrap() else { panic!("`{name}` is no writer") };
    assert_eq!(writer.check(), []);
    writer
}

/// A context with two threads.
pub fn context() -> RunCx {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    RunCx { threads: Some(Arc::new(threads)), ..RunCx::default() }
}

/// Everything a source gives from a frame on, in pulls of `room`: first frame and values.
pub fn pull(source: &mut dyn Given, from: u64, room: u64) -> Result<(Opened, Vec<(u64, Dict)>)> {
    let run = context();
    let cx = Cx::new(&run, "source");
    let opened = source.begin(&cx, Position { next: from })?;
    let (mut next, mut all) = (from, vec![]);
    loop {
        let runs = source.next(&cx, room)?;
        if runs.is_empty() {
            return Ok((opened, all));
        }
        for (first, data) in runs {
            let count = data.get("image").and_then(Value::records).unwrap() as u64;
            assert!(first == next && count <= room, "{count} frames from {first}, wanted {room} from {next}");
            next += count;
            all.push((first, data));
        }
    }
}

/// The bytes of a port over all pulls.
pub fn bytes(pulled: &[(u64, Dict)], port: &str) -> Vec<u8> {
    let each = pulled.iter().map(|(_, data)| match data.get(port) {
        Some(Value::Array(a)) => a.bytes().to_vec(),
        other => panic!("`{port}` is {other:?}"),
    });
    each.collect::<Vec<_>>().concat()
}

/// Repeatable random whole numbers below a bound.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// Runs a script with h5py in a folder; nothing if h5py is not there.
pub fn h5py(test: &str, folder: &Path, script: &str) -> Option<String> {
    python(test, "h5py", folder, script)
}

/// Runs a script with a module of Python in a folder; nothing if the module is not there.
pub fn python(test: &str, module: &str, folder: &Path, script: &str) -> Option<String> {
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", &format!("import {module}, numpy")]).output();
    if !there.is_ok_and(|out| out.status.success()) {
        skipped(&format!("{test} (python3 with {module} not found)"));
        return None;
    }
    let out = Command::new(&python).args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

/// Says that a test is skipped, past the harness, which keeps what passing tests print.
pub fn skipped(what: &str) {
    use std::io::Write;
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// A folder or file of the reference data; none, with a printed line, where the data are absent.
pub fn reference(test: &str, path: &str) -> Option<std::path::PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("ISARD_SHARED").map_or(beside, Into::into).join("data").join(path);
    if !path.exists() {
        skipped(&format!("{test} (no reference data)"));
        return None;
    }
    Some(path)
}
