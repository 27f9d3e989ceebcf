//! Bitshuffle-LZ4 frames per CPU second: written and read here, and by h5py with hdf5plugin, in one run.
//!
//! `ISARD_PYTHON=python3 cargo bench -p isard-files --bench bslz4`; frames of 2048 x 2048 uint16 with rings over a
//! sparse background, about 5 to 1. Files lie in `/dev/shm` where there is one.

#![allow(clippy::unwrap_used, reason = "a bench has no caller to tell")]

use std::path::Path;
use std::process::Command;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_h5::{Compression, Dtype as H5, Image, Spec};
// Linked so that its stages are declared.
use isard_files as _;

const SIDE: usize = 2048;
const FRAMES: usize = 24;
const ROUNDS: usize = 5;

/// CPU time of this thread in seconds; the work below stays on it.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9
}

fn frame(seed: u64) -> Vec<u16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let centre = SIDE as f32 / 2.0;
    let pixel = |i: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let u = (state >> 40) as f32 / (1 << 24) as f32;
        let (y, x) = ((i / SIDE) as f32 - centre, (i % SIDE) as f32 - centre);
        let r = (x * x + y * y).sqrt();
        let mean = 0.3 + if (r * 0.05).sin() > 0.97 { 60.0 } else { 8.0 * (-r / 300.0).exp() };
        let counts = mean * (0.2 + 1.6 * u);
        if counts < 1.0 { u16::from(u < counts * 0.5) } else { counts as u16 }
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut image = Image::sized(64 << 20).unwrap();
    let spec = Spec::new(H5::U16, &[SIDE as u64, SIDE as u64]).chunk(1).compress(Compression::Bitshuffle);
    let slot = image.dataset("/data", &spec.fletcher32(false)).unwrap();
    for i in 0..FRAMES {
        image.append(slot, &frames[i % frames.len()], 1).unwrap();
    }
    std::fs::write(path, image.into_bytes().unwrap()).unwrap();
}

fn read(path: &Path) -> u64 {
    let set = format!("path = \"{}::/data\"", path.display());
    let registry = Registry::built_in().unwrap();
    let build = &registry.find("hdf5.dataset").unwrap().build;
    let Built::Source(mut source) = build(toml::from_str(&set).unwrap()).unwrap() else {
        panic!("no source")
    };
    let run = RunCx::default();
    let cx = Cx::new(&run, "frames");
    source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let mut total = 0;
    loop {
        let mut slots = Slots::new(1, 0);
        if source.pull(&cx, &mut slots).unwrap() == Pull::End {
            return total;
        }
        for arrival in slots.take() {
            let Arrival::Frames { data, .. } = arrival else { panic!("a frame was lost") };
            let Some(Value::Array(image)) = data.get("image") else { panic!("no image") };
            total += u64::from(image.as_slice::<u16>().unwrap()[SIDE + 7]);
        }
    }
}

const PYTHON: &str = "
import h5py, hdf5plugin, numpy as np, time, sys
frames = np.fromfile('frames.raw', 'u2').reshape(-1, 2048, 2048)
n, rounds = int(sys.argv[1]), int(sys.argv[2])
for _ in range(rounds):
    a = time.process_time()
    with h5py.File('p.h5', 'w') as f:
        d = f.create_dataset('data', shape=(n, 2048, 2048), dtype='u2', chunks=(1, 2048, 2048), **hdf5plugin.Bitshuffle())
        for i in range(n): d[i] = frames[i % len(frames)]
    b = time.process_time()
    with h5py.File('p.h5') as f:
        d = f['data']
        for i in range(n): d[i]
    c = time.process_time()
    print(b - a, c - b)
";

fn main() {
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let frames: Vec<Vec<u8>> =
        (1..5).map(|seed| frame(seed).into_iter().flat_map(u16::to_ne_bytes).collect()).collect();
    std::fs::write(folder.path().join("frames.raw"), frames.concat()).unwrap();
    let path = folder.path().join("i.h5");
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let megabytes = (FRAMES * SIDE * SIDE * 2) as f64 / 1e6;
    // Rounds take turns, so that a busy machine slows both.
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let begun = cpu();
        write(&path, &frames);
        let written = cpu();
        std::hint::black_box(read(&path));
        rates[0].push(megabytes / (written - begun));
        rates[1].push(megabytes / (cpu() - written));
        let args = ["-c", PYTHON, &FRAMES.to_string(), "1"].map(str::to_owned);
        let out = Command::new(&python).args(args).current_dir(folder.path()).output();
        let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
        let times: Vec<f64> = text.split_whitespace().filter_map(|t| t.parse().ok()).collect();
        if let [write, read] = times[..] {
            rates[2].push(megabytes / write);
            rates[3].push(megabytes / read);
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    };
    let [write, read, theirs, theirs_read] = rates.each_mut().map(median);
    println!(
        "bitshuffle-LZ4, {FRAMES} frames of {SIDE} x {SIDE} uint16, MB per CPU second, median of {ROUNDS}:"
    );
    for (what, own, other) in [("write", write, theirs), ("read", read, theirs_read)] {
        match (own, other) {
            (Some(own), Some(other)) => {
                println!("  {what:6} {own:6.0}   h5py + hdf5plugin {other:6.0}   ratio {:.2}", own / other);
            }
            (own, _) => println!("  {what:6} {:6.0}   h5py + hdf5plugin not found", own.unwrap_or(f64::NAN)),
        }
    }
}
