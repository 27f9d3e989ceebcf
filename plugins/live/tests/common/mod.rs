//! What the tests of live sources share.
#![allow(dead_code, reason = "each test takes its own share")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isard_core::contract;
use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Report};
use isard_core::stage::{Arrival, Built, Cx, Opened, Position, Pull, RunCx};
use isard_core::value::{Array, Dict, Value};
use isard_live as _;

/// A folder of the reference data; none, with a printed line, where the data are absent.
pub fn reference(test: &str, path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("ISARD_SHARED").map_or(beside, Into::into).join("data").join(path);
    if path.exists() {
        return Some(path);
    }
    use std::io::Write;
    // Past the harness, which keeps what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
    None
}

/// The index of recorded streams: twins of the reference data have other numbers in it.
pub fn index(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap()
}

/// The sums of the frames of a recorded stream, as its maker says them.
pub fn sums_of(folder: &Path, name: &str) -> Vec<u64> {
    let index = index(folder);
    index[name]["frame_sums"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

/// The numbers in the note of a recorded stream.
pub fn noted(folder: &Path, name: &str) -> Vec<u64> {
    let index = index(folder);
    let note = index[name]["note"].as_str().unwrap();
    note.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// The bytes of the elements of an NPY file, and its shape.
pub fn npy(path: &Path) -> (Vec<u8>, Vec<usize>) {
    let bytes = std::fs::read(path).unwrap();
    let len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + len]).unwrap();
    let shape = header.split('(').nth(1).unwrap().split(')').next().unwrap();
    let shape = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    (bytes[10 + len..].to_vec(), shape)
}

/// What a source gave: good frames by number, and the others with their reasons.
#[derive(Default)]
pub struct Taken {
    pub opened: Opened,
    pub frames: Vec<(u64, Dict)>,
    pub lost: Vec<(u64, String)>,
    /// Numbers of damaged frames whose bytes came all the same.
    pub kept: Vec<u64>,
}

impl Taken {
    pub fn numbers(&self) -> Vec<u64> {
        self.frames.iter().map(|(n, _)| *n).collect()
    }

    pub fn array(&self, at: usize, port: &str) -> Array {
        match self.frames[at].1.get(port) {
            Some(Value::Array(a)) => a.clone(),
            other => panic!("port `{port}` is {other:?}"),
        }
    }

    pub fn image(&self, at: usize) -> Array {
        self.array(at, "image")
    }

    /// The sum of the pixels of a frame.
    pub fn sum(&self, at: usize) -> u64 {
        self.image(at).to_f64().unwrap().iter().sum::<f64>() as u64
    }

    pub fn sums(&self) -> Vec<u64> {
        (0..self.frames.len()).map(|i| self.sum(i)).collect()
    }
}

/// Opens a source with its parameters as TOML, and takes all it gives, within half a minute.
pub fn take(stage: &str, set: &str, input: Dict) -> isard_core::Result<Taken> {
    let registry = Registry::built_in().unwrap();
    let declaration = registry.get(stage).unwrap();
    let set = plan::parameters(declaration, set).unwrap_or_else(|faults| panic!("{faults}"));
    let Built::Source(mut source) = (declaration.build)(set)? else { panic!("`{stage}` is no source") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "test");
    let opened = source.open(&cx, input, Position { next: 0 })?;
    let mut taken = Taken { opened, ..Taken::default() };
    let mut next = 0;
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "the source does not end");
        let (pulled, arrivals) = contract::pull(&mut *source, &cx, 4, next)?;
        for arrival in arrivals {
            match arrival {
                Arrival::Frames { first, count, data } => {
                    for k in 0..count {
                        let one = data.iter().map(|(key, value)| {
                            (key.clone(), value.cut(first, first + k, first + k + 1).unwrap())
                        });
                        taken.frames.push((first + k, one.collect()));
                    }
                    next = next.max(first + count);
                }
                Arrival::Lost { number, why, data, .. } => {
                    taken.lost.push((number, why.to_string()));
                    taken.kept.extend(data.map(|_| number));
                }
            }
        }
        match pulled {
            Pull::Ready => (),
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::End => break,
        }
    }
    // Arrivals may be in any order.
    taken.frames.sort_by_key(|(n, _)| *n);
    Ok(taken)
}

pub fn plan(text: &str) -> Plan {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}")).0
}

/// Runs a recipe into a folder.
pub fn run(text: &str, out: &Path) -> Report {
    run::run(&plan(text), Options::new(Out::Folder { path: out.to_owned(), overwrite: true })).unwrap()
}

/// The account of a stage, which must balance, in words.
pub fn ledger(report: &Report, stage: &str) -> String {
    let found = report.stages.iter().find(|s| s.name == stage).and_then(|s| s.ledger.as_ref());
    let ledger = found.unwrap_or_else(|| panic!("no account of `{stage}`"));
    ledger.balance().unwrap();
    ledger.to_string()
}
