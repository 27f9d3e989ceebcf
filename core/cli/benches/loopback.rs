//! How many frames a second come through: received, recorded, reduced, with the simulated detector on the same cores.
//!
//! `cargo bench -p isard --bench loopback -- [SECONDS] [WORD]` prints a table: without WORD of the rates that are wanted,
//! with `all` of every row, else of the rows that hold WORD. What bounds the figures is measured first: the disk, and TCP
//! over loopback between two threads. What is recorded goes to the folder of temporary files, or to that in
//! `ISARD_BENCH_DIR`, in one row, and to memory (`/dev/shm`) in the next, where there is such a place: there no disk bounds
//! it. Frames given are those that every stage took in a second while they came, without the beginning and the end of a
//! run, which count in the other columns. CPU seconds are those of detector, network, receiver and stages together; `cores`
//! is what of them ran at once.
//! A lost frame ends it with an error.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Report};
use isard_core::value::LargePages;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

// Naming the library links the plugin crates.
use isard as _;

/// A detector and what is done with its frames.
struct Row {
    what: &'static str,
    /// Whether it is shown when no word is asked for.
    wanted: bool,
    /// Frames a second; 0 is as fast as it goes.
    rate: f64,
    /// Frames for a second of work, about, where there is no rate.
    guess: u64,
    simulator: &'static str,
    set: &'static str,
    source: &'static str,
    take: &'static str,
    /// Further stages.
    record: &'static str,
    reduce: &'static str,
}

const RECORD: &str = "[stage.raw]\nuse = \"hdf5.write\"\nfrom = \"frames\"\nin = { image = \"frames.image\" }\nset = { path = \"raw.h5\" }\nrun = { lane = \"record\" }\n";
/// As above without reading back what was written, and without being a recorder: no journal either.
const UNCHECKED: &str = "[stage.raw]\nuse = \"hdf5.write\"\nfrom = \"frames\"\nin = { image = \"frames.image\" }\nset = { path = \"raw.h5\" }\nrun = { lane = \"record\", verify = \"none\" }\n";
const WRITE: &str = "[stage.raw]\nuse = \"hdf5.write\"\nfrom = \"frames\"\nin = { image = \"frames.image\" }\nset = { path = \"raw.h5\" }\n";
const SUM: &str = "[stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n[out]\nsum = \"sum.image\"\n";
/// Sum, a ring and the centre of mass; SCAN stands for the size of the scan.
///
/// No checkpoint falls into the time that is measured: it would write the maps of all points.
const ALL: &str = "[stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n[stage.ring]\nuse = \"stem.detect\"\nfrom = \"frames\"\nset = { scan = SCAN, detectors = { ring = { ring = [20, 50] } } }\n\
    [stage.com]\nuse = \"stem.com\"\nfrom = \"frames\"\nset = { scan = SCAN }\n[out]\nsum = \"sum.image\"\nring = \"ring.ring\"\ncom = \"com.raw\"\n";

const MERLIN: Row = Row {
    what: "256 x 256 u16, Merlin, recorded and reduced",
    wanted: true,
    rate: 2_000.0,
    guess: 2_000,
    simulator: "live.merlin_simulate",
    set: "bits = 16",
    source: "live.merlin",
    take: "",
    record: RECORD,
    reduce: ALL,
};
const DECTRIS: Row = Row {
    what: "256 x 256 u8, DECTRIS v2, reduced",
    wanted: true,
    rate: 10_000.0,
    guess: 10_000,
    simulator: "live.dectris_simulate",
    set: "header = \"basic\", bits = 8, packing = \"none\"",
    source: "live.dectris",
    take: ", late = 0.01",
    record: "",
    reduce: ALL,
};

fn rows() -> Vec<Row> {
    let fast = |row: Row, what: &'static str| Row { what, wanted: false, rate: 0.0, ..row };
    vec![
        MERLIN,
        fast(MERLIN, "the same, Merlin, as fast as it goes"),
        Row { record: UNCHECKED, ..fast(MERLIN, "Merlin, recorded without reading back") },
        Row { record: WRITE, ..fast(MERLIN, "Merlin, written without a journal") },
        Row { guess: 4_000, record: "", ..fast(MERLIN, "Merlin, reduced and not recorded") },
        Row {
            what: "256 x 256 u16, DECTRIS v1 with MD5, recorded and reduced",
            wanted: false,
            rate: 2_000.0,
            set: "header = \"basic\", version = 1, bits = 16, packing = \"none\"",
            take: ", late = 0.01, version = 1",
            record: RECORD,
            ..DECTRIS
        },
        DECTRIS,
        Row { wanted: true, ..fast(DECTRIS, "the same, DECTRIS, as fast as it goes") },
        Row { what: "256 x 256 u8, DECTRIS v2, summed", wanted: false, reduce: SUM, ..DECTRIS },
        Row {
            guess: 1_000,
            set: "header = \"basic\", bits = 16, shape = [1024, 1024]",
            reduce: SUM,
            ..fast(DECTRIS, "1024 x 1024 u16, DECTRIS v2, bslz4, summed, as fast as it goes")
        },
        Row {
            guess: 40_000,
            set: "header = \"basic\", bits = 8, shape = [64, 64], packing = \"none\"",
            reduce: SUM,
            ..fast(DECTRIS, "64 x 64 u8, DECTRIS v2, summed, as fast as it goes")
        },
    ]
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let seconds: f64 = words.iter().find_map(|a| a.parse().ok()).unwrap_or(5.0);
    let word = words.iter().find(|a| a.parse::<f64>().is_err()).cloned().unwrap_or_default();
    let place = std::env::var_os("ISARD_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(&place).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
    let memory = tempfile::tempdir_in("/dev/shm").ok();
    let quick = memory.as_ref().unwrap_or(&folder).path();
    let shown = |what: &str, wanted: bool| match &word[..] {
        "" => wanted,
        "all" => true,
        word => what.contains(word),
    };
    println!("{} takes {:.2} GB/s (1 GiB, synced)", place.display(), disk(folder.path()));
    println!("loopback carries {:.2} GB/s between two threads", loopback());
    println!(
        "{:<70} {:>9} {:>9} {:>7} {:>7} {:>6} {:>9}",
        "", "asked/s", "given/s", "lost", "CPU s", "cores", "us/frame"
    );
    let mut all_lost = 0;
    let mut print = |what: &str, asked: f64, measured: Measured| {
        let Measured { report, wall, cpu, given } = measured;
        let source = report.stages.iter().find(|s| s.name == "frames").unwrap();
        let ledger = source.ledger.as_ref().unwrap();
        let done = ledger.done.count();
        let lost = ledger.expected.unwrap() - done;
        all_lost += lost;
        let (cores, each) = (cpu / wall, cpu / done as f64 * 1e6);
        println!("{what:<70} {asked:>9.0} {given:>9.0} {lost:>7} {cpu:>7.2} {cores:>6.2} {each:>9.1}");
    };
    for row in rows().iter().filter(|r| shown(r.what, r.wanted)) {
        let each = if row.rate > 0.0 { row.rate } else { row.guess as f64 };
        let frames = (each * seconds / 100.0) as u64 * 100;
        let text = format!(
            "isard = \"0.1\"\nname = \"bench\"\n[run]\ncheckpoint_s = 3600.0\nlimits = {{ missing = 100000000 }}\n[stage.simulator]\nuse = {:?}\n\
             set = {{ frames = {frames}, rate = {:?}, {} }}\n[stage.frames]\nuse = {:?}\n\
             in = {{ address = \"simulator.address\" }}\nset = {{ stall = 5.0{} }}\n{}{}",
            row.simulator,
            row.rate,
            row.set,
            row.source,
            row.take,
            row.record,
            row.reduce.replace("SCAN", &format!("[{}, 100]", frames / 100))
        );
        if row.record.is_empty() {
            print(row.what, row.rate, measured(&text, quick));
            continue;
        }
        print(&format!("{}, {}", row.what, place.display()), row.rate, measured(&text, folder.path()));
        if let Some(memory) = &memory {
            print(&format!("{}, memory", row.what), row.rate, measured(&text, memory.path()));
        }
    }
    for (what, rate, [y, x], pace) in [
        ("64 x 64 u8 from a file, paced, reduced", 100_000.0, [64, 64], true),
        ("64 x 64 u8 from a file, reduced, as fast as it goes", 100_000.0, [64, 64], false),
        ("16 x 16 u8 from a file, paced, reduced", 1_000_000.0, [16, 16], true),
        ("16 x 16 u8 from a file, reduced, as fast as it goes", 1_000_000.0, [16, 16], false),
    ] {
        if !shown(what, y == 64) {
            continue;
        }
        let frames = (rate * seconds / 100.0) as usize * 100;
        let path = quick.join("small.npy");
        npy(&path, [frames, y, x]);
        let run = if pace { format!("run = {{ pace = {rate:?} }}") } else { String::new() };
        let text = format!(
            "isard = \"0.1\"\nname = \"bench\"\n[run]\ncheckpoint_s = 3600.0\n[stage.frames]\nuse = \"npy.stack\"\nset = {{ path = {:?} }}\n{run}\n{}",
            path.display().to_string(),
            ALL.replace("SCAN", &format!("[{}, 100]", frames / 100)).replace("[20, 50]", "[3, 7]")
        );
        print(what, if pace { rate } else { 0.0 }, measured(&text, quick));
    }
    for (what, rate) in [
        ("10 events a frame, Timepix3 sparse, tallied", 1_000_000.0),
        ("the same, Timepix3 sparse, as fast as it goes", 0.0),
    ] {
        if !shown(what, false) {
            continue;
        }
        let lines = (250.0 * seconds) as u64;
        let text = format!(
            "isard = \"0.1\"\nname = \"bench\"\n[run]\ncheckpoint_s = 3600.0\n[stage.simulator]\nuse = \"live.tpx3_simulate\"\n\
             set = {{ scan = [{lines}, 4000], events = 10, sparse = true, rate = {:?} }}\n[stage.frames]\nuse = \"live.tpx3\"\n\
             in = {{ address = \"simulator.address\" }}\nset = {{ format = \"sparse\", events = true, stall = 5.0 }}\n\
             [stage.tally]\nuse = \"stem.tally\"\nfrom = \"frames\"\n\
             set = {{ shape = [256, 256], scan = [{lines}, 4000], detectors = {{ ring = {{ ring = [20, 50] }} }} }}\n\
             [out]\nsum = \"tally.image\"\nring = \"tally.ring\"\ncom = \"tally.raw\"\n",
            rate / 4000.0
        );
        print(what, rate, measured(&text, quick));
    }
    println!("frames lost in all rows: {all_lost}");
    if all_lost > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What a run came to, and what it took.
struct Measured {
    report: Report,
    wall: f64,
    cpu: f64,
    /// Frames a second.
    given: f64,
}

fn measured(text: &str, folder: &Path) -> Measured {
    let parsed = recipe::parse(text, &folder.join("bench.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) =
        plan::make(&parsed, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}"));
    let before = cpu();
    let begun = Instant::now();
    let out = Out::Folder { path: folder.join("out"), overwrite: false };
    let (seen, mut options) = (Arc::new(Mutex::new(vec![])), Options::new(out));
    let notes = seen.clone();
    options.observer = Some(Box::new(move |progress| {
        // The simulator's own account is of what it sent.
        let taking = progress.stages.iter().filter(|s| &*s.meter.name != "simulator");
        let taken = taking.map(|s| s.meter.records.load(Ordering::Relaxed)).min();
        notes.lock().unwrap().extend(taken.map(|taken| (progress.seconds, taken)));
    }));
    let report = run::run(&plan, options).unwrap();
    if let Some(why) = report.outcome.message() {
        println!("  {}: {why}", report.outcome.word());
    }
    let (wall, cpu, given) = (begun.elapsed().as_secs_f64(), cpu() - before, rate(&seen.lock().unwrap()));
    // Older versions would be kept, and fill the memory.
    std::fs::remove_dir_all(folder.join("out")).unwrap();
    Measured { report, wall, cpu, given }
}

/// Frames a second while they came: the slope of the line through what was seen until the last were still on their way.
///
/// A recorder takes a part at once and then none for a tenth of a second, so two points alone would say too little.
fn rate(seen: &[(f64, u64)]) -> f64 {
    let last = seen.last().map_or(0, |(_, taken)| *taken);
    let during: Vec<(f64, f64)> =
        seen.iter().filter(|(_, n)| (1..last).contains(n)).map(|(at, n)| (*at, *n as f64)).collect();
    assert!(during.len() > 1, "too short to be measured: ask for more seconds");
    let middle = |part: fn(&(f64, f64)) -> f64| during.iter().map(part).sum::<f64>() / during.len() as f64;
    let (at, taken) = (middle(|p| p.0), middle(|p| p.1));
    let products: f64 = during.iter().map(|(t, n)| (t - at) * (n - taken)).sum();
    products / during.iter().map(|(t, _)| (t - at).powi(2)).sum::<f64>()
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
    let path = folder.join("disk");
    let mut file = std::fs::File::create(&path).unwrap();
    (0..64).for_each(|_| file.write_all(&block).unwrap());
    file.sync_all().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    (block.len() * 64) as f64 / seconds / 1e9
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
