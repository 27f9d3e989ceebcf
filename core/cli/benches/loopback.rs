//! How many frames a second come through: received, recorded, reduced, with the simulated detector on the same cores.
//!
//! `cargo bench -p isard --bench loopback -- [SECONDS]` prints a table. What bounds the figures is measured first: the
//! disk, and TCP over loopback between two threads.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Report};

// Naming the library links the plugin crates.
use isard as _;

fn main() {
    let seconds: f64 = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(5.0);
    let folder = tempfile::tempdir().unwrap();
    println!("the disk writes {:.2} GB/s (256 MiB, synced)", disk(folder.path()));
    println!("loopback carries {:.2} GB/s between two threads", loopback());
    println!("{:<58} {:>9} {:>9} {:>7} {:>7}", "", "asked/s", "given/s", "lost", "CPU s");
    let row = |what: &str, asked: f64, report: &Report, wall: f64, cpu: f64| {
        let source = report.stages.iter().find(|s| s.name == "frames").unwrap();
        let ledger = source.ledger.as_ref().unwrap();
        let done = ledger.done.count();
        let lost = ledger.expected.unwrap() - done;
        println!("{what:<58} {asked:>9.0} {:>9.0} {lost:>7} {cpu:>7.2}", done as f64 / wall);
    };
    let record = "[stage.raw]\nuse = \"hdf5.write\"\nfrom = \"frames\"\nin = { image = \"frames.image\" }\nset = { path = \"raw.h5\" }\nrun = { lane = \"record\" }\n";
    for (what, rate, set, take, record) in [
        (
            "256 x 256 u16, v1 with MD5, recorded and summed",
            2_000.0,
            "version = 1, bits = 16, packing = \"none\"",
            "version = 1",
            record,
        ),
        (
            "the same, as fast as it goes",
            0.0,
            "version = 1, bits = 16, packing = \"none\"",
            "version = 1",
            record,
        ),
        ("256 x 256 u8, v2, summed", 10_000.0, "bits = 8, packing = \"none\"", "", ""),
        ("the same, as fast as it goes", 0.0, "bits = 8, packing = \"none\"", "", ""),
        (
            "1024 x 1024 u16, v2, bslz4, summed, as fast as it goes",
            0.0,
            "bits = 16, shape = [1024, 1024]",
            "",
            "",
        ),
        (
            "64 x 64 u8, v2, summed, as fast as it goes",
            0.0,
            "bits = 8, shape = [64, 64], packing = \"none\"",
            "",
            "",
        ),
    ] {
        let frames = if rate > 0.0 { (rate * seconds) as u64 } else { per_second(set) * seconds as u64 };
        let text = format!(
            "isard = \"0.1\"\nname = \"bench\"\n[run]\nlimits = {{ missing = 100000000 }}\n[stage.simulator]\nuse = \"live.dectris_simulate\"\n\
             set = {{ frames = {frames}, rate = {rate}, header = \"basic\", {set} }}\n[stage.frames]\nuse = \"live.dectris\"\n\
             in = {{ address = \"simulator.address\" }}\nset = {{ late = 0.01, stall = 5.0, {take} }}\n{record}\
             [stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n[out]\nsum = \"sum.image\"\n"
        );
        let (report, wall, cpu) = measured(&text, folder.path());
        row(what, rate, &report, wall, cpu);
    }
    let frames = (100_000.0 * seconds) as usize;
    let path = folder.path().join("small.npy");
    npy(&path, [frames, 64, 64]);
    for (what, pace) in [
        ("64 x 64 u8 from a file, paced, summed", "run = { pace = 100000.0 }"),
        ("the same, as fast as it goes", ""),
    ] {
        let text = format!(
            "isard = \"0.1\"\nname = \"bench\"\n[stage.frames]\nuse = \"npy.stack\"\nset = {{ path = {:?} }}\n{pace}\n\
             [stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n[out]\nsum = \"sum.image\"\n",
            path.display().to_string()
        );
        let (report, wall, cpu) = measured(&text, folder.path());
        row(what, if pace.is_empty() { 0.0 } else { 100_000.0 }, &report, wall, cpu);
    }
}

/// Frames for a second of work, about.
fn per_second(set: &str) -> u64 {
    if set.contains("1024") {
        100
    } else if set.contains("64, 64") {
        20_000
    } else {
        3_000
    }
}

fn measured(text: &str, folder: &Path) -> (Report, f64, f64) {
    let parsed = recipe::parse(text, &folder.join("bench.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) =
        plan::make(&parsed, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}"));
    let before = cpu();
    let begun = Instant::now();
    let out = Out::Folder { path: folder.join("out"), overwrite: true };
    let report = run::run(&plan, Options::new(out)).unwrap();
    if let Some(why) = report.outcome.message() {
        println!("  {}: {why}", report.outcome.word());
    }
    (report, begun.elapsed().as_secs_f64(), cpu() - before)
}

/// CPU seconds of this process, all threads together.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn disk(folder: &Path) -> f64 {
    let (block, begun) = (vec![1u8; 16 << 20], Instant::now());
    let mut file = std::fs::File::create(folder.join("disk")).unwrap();
    (0..16).for_each(|_| file.write_all(&block).unwrap());
    file.sync_all().unwrap();
    (block.len() * 16) as f64 / begun.elapsed().as_secs_f64() / 1e9
}

fn loopback() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let block = vec![1u8; 1 << 20];
        let mut stream = listener.accept().unwrap().0;
        (0..1024).for_each(|_| stream.write_all(&block).unwrap());
    });
    let (mut stream, mut block) = (TcpStream::connect(address).unwrap(), vec![0u8; 1 << 20]);
    let (begun, mut all) = (Instant::now(), 0);
    while all < 1 << 30 {
        all += stream.read(&mut block).unwrap();
    }
    thread.join().unwrap();
    all as f64 / begun.elapsed().as_secs_f64() / 1e9
}

fn npy(path: &Path, [n, y, x]: [usize; 3]) {
    let mut head = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, {y}, {x}), }}");
    while (10 + head.len() + 1) % 64 != 0 {
        head.push(' ');
    }
    head.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    let frames: Vec<u8> = (0..y * x * 256).map(|i| (i % 251) as u8).collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    file.write_all(&bytes).unwrap();
    let mut left = n * y * x;
    while left > 0 {
        let some = left.min(frames.len());
        file.write_all(&frames[..some]).unwrap();
        left -= some;
    }
}
