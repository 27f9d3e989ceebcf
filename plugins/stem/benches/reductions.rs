//! CPU seconds of reductions over a scan in the page cache, beside plain fused loops and reading alone in the same run.
//!
//! `cargo bench -p isard-stem --bench reductions -- [WORD]`, with WORD only the stages whose names hold it;
//! `ISARD_SCAN=256` gives the whole scan of 256 x 256, else it is one of 96 x 96 and the seconds are scaled to 256 x 256.
//! Frames are 128 x 128. Everything is on one thread, but for the last rows: all reductions by the engine on two cores,
//! beside two runs at once of the same work that have one core each.

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyReduce, Built, RunCx};
use isard_core::value::LargePages;
use isard_core::{plan, recipe, run};
use isard_image as _;
use isard_stem as _;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const SIDE: usize = 128;
/// Bytes that are written to a file at once.
const PIECE: usize = 8 << 20;
/// What a pixel counts, by a byte of chance.
type Count = fn(u8) -> u8;
/// How often the same is done: so often that each meets moments in which nobody else uses the memory.
const ROUNDS: usize = 15;
/// The scan to which seconds are scaled.
const WHOLE: f64 = 65536.0;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [child, path, side, core] = &words[..]
        && child == "--alone"
    {
        let (path, side) = (Path::new(path), side.parse().expect("the side of a scan"));
        return alone(path, side, core.parse().expect("a core"));
    }
    let side = std::env::var("ISARD_SCAN").ok().and_then(|n| n.parse().ok()).unwrap_or(96usize);
    let folder = std::env::temp_dir().join(format!("isard-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let scale = WHOLE / (side * side) as f64;
    let kinds: [(&str, Count); 3] =
        [("u2", |byte| byte), ("u1", |byte| byte), ("u1", |byte| u8::from(byte < 13))];
    let paths: [PathBuf; 3] = std::array::from_fn(|i| {
        let path = folder.join(format!("{i}.npy"));
        write(&path, kinds[i].0, kinds[i].1, side);
        path
    });
    println!("{side} x {side} frames of {SIDE} x {SIDE}, CPU seconds for 256 x 256:");
    println!("  16 bits, 8 bits, 8 bits with one electron on 20 pixels, and how much quicker these two are");
    let word = words.iter().find(|w| !w.starts_with('-'));
    stages(&paths, side, scale, word);
    if word.is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        return;
    }
    plain(&paths[0], scale);
    for ((dtype, _), path) in kinds.iter().zip(&paths[..2]) {
        println!("{dtype}, on the engine");
        engine(path, &folder, side, scale);
        cores(path, &folder, side);
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// A scan of counts, and masks for it.
fn write(path: &Path, dtype: &str, count: Count, side: usize) {
    let size = if dtype == "u2" { 2 } else { 1 };
    let header = format!(
        "{{'descr': '<{dtype}', 'fortran_order': False, 'shape': ({side}, {side}, {SIDE}, {SIDE}), }}"
    );
    let mut file = std::fs::File::create(path).expect("a file");
    // Written in pieces that begin at their multiples, as `numpy.save` writes an array in one: the page cache then has
    // large pages, and touching 2 GiB takes 0.01 CPU s in place of 0.05 for pieces behind the header.
    let mut pending = b"\x93NUMPY\x01\x00".to_vec();
    pending.extend(118u16.to_le_bytes());
    pending.extend(format!("{header:<117}\n").as_bytes());
    let mut seed = 1u64;
    let block: Vec<u8> = (0..64 * SIDE * SIDE)
        .flat_map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            u16::from(count((seed >> 56) as u8)).to_le_bytes()[..size].to_vec()
        })
        .collect();
    let mut left = side * side;
    while left > 0 {
        let n = left.min(64);
        pending.extend(&block[..n * SIDE * SIDE * size]);
        left -= n;
        if pending.len() >= PIECE || left == 0 {
            let piece = if left == 0 { pending.len() } else { PIECE };
            file.write_all(&pending[..piece]).expect("frames");
            pending.drain(..piece);
        }
    }
    for masks in [4usize, 16] {
        let weights: Vec<f32> = (0..masks * SIDE * SIDE)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (seed >> 40) as f32 / 1e6
            })
            .collect();
        let header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({masks}, {SIDE}, {SIDE}), }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(118u16.to_le_bytes());
        bytes.extend(format!("{header:<117}\n").as_bytes());
        bytes.extend(weights.iter().flat_map(|w| w.to_le_bytes()));
        std::fs::write(path.with_file_name(format!("masks{masks}.npy")), bytes).expect("masks");
    }
}

fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU seconds of some work.
fn seconds(work: impl FnOnce()) -> f64 {
    let from = cpu();
    work();
    cpu() - from
}

/// The least of three, in CPU seconds.
fn timed(name: &str, scale: f64, mut work: impl FnMut()) {
    let least = (0..3).map(|_| seconds(&mut work)).fold(f64::INFINITY, f64::min);
    println!("  {name:<28} {:.3}", least * scale);
}

fn cases(path: &Path) -> Vec<(&'static str, &'static str, String)> {
    let file = |n: usize| path.with_file_name(format!("masks{n}.npy")).display().to_string();
    vec![
        ("sum", "image.sum", String::new()),
        ("ring", "stem.detect", "[detectors]\nring = { ring = [20, 50] }".into()),
        ("4 masks", "stem.detect", format!("[detectors]\nfour = {{ file = {:?} }}", file(4))),
        ("16 masks", "stem.detect", format!("[detectors]\nmany = {{ file = {:?} }}", file(16))),
        ("centre of mass", "stem.com", String::new()),
    ]
}

fn built(name: &str, set: &str) -> Built {
    let set: serde_json::Value = toml::from_str(set).expect("parameters");
    let registry = Registry::built_in().expect("stages have different names");
    (registry.find(name).expect("a stage").build)(set).expect("a stage that is built")
}

fn context() -> RunCx {
    let reader = |run: &RunCx, path: &str| isard_files::input::read_path(run, path);
    RunCx { reader: Some(std::sync::Arc::new(reader)), ..RunCx::default() }
}

/// A reduction under a name.
type Case = (&'static str, std::sync::Arc<dyn AnyReduce>);

/// Each stage alone over fresh mappings of the files, in turns, and all stages in one pass; without an engine.
fn stages(paths: &[PathBuf; 3], side: usize, scale: f64, word: Option<&String>) {
    let run = context();
    // Of each file its own, since masks are made ready for a type of pixel.
    let all = paths.each_ref().map(|path| ready(path, side));
    let n = all[0].len();
    let singles = (0..n).map(|i| (all[0][i].0, i..i + 1));
    let shown = |name: &str| word.is_none_or(|word| name.contains(word.as_str()));
    let all_cases = singles.chain([("all but the sectors", 0..n - 1)]);
    for (name, range) in all_cases.filter(|(name, _)| shown(name)) {
        let mut least = [f64::INFINITY; 3];
        for _ in 0..ROUNDS {
            for ((path, all), least) in paths.iter().zip(&all).zip(&mut least) {
                *least = least.min(scale * seconds(|| reduce(&run, path, &all[range.clone()])));
            }
        }
        let [wide, full, few] = least;
        println!("  {name:<20} {wide:.3} {full:.3} {few:.3}  {:.2} {:.2}", wide / full, wide / few);
    }
}

/// All reductions, the sectors last: masks of ones and zeros, which no sum of single precision has to bound.
fn ready(path: &Path, side: usize) -> Vec<Case> {
    let sectors = "[detectors]\nsectors = { ring = [5, 60], sectors = 16 }".to_owned();
    let cases = cases(path).into_iter().chain([("16 sectors", "stem.detect", sectors)]);
    let built = cases.map(|(name, stage, set)| {
        let scan = if stage == "image.sum" { String::new() } else { format!("scan = [{side}, {side}]\n") };
        let Built::Reduce(stage) = built(stage, &(scan + &set)) else { panic!("a reduction") };
        (name, stage)
    });
    built.collect()
}

/// Reductions over the frames of a file.
fn reduce(run: &RunCx, path: &Path, cases: &[Case]) {
    let cx = Cx::new(run, "bench");
    let Built::Source(mut source) = built("stem.npy", &format!("path = {path:?}")) else {
        panic!("a source")
    };
    source.open(&cx, Dict::new(), Position { next: 0 }).expect("a scan");
    let mut wholes: Vec<_> = cases.iter().map(|(_, s)| s.part(&cx).expect("a part")).collect();
    let mut next = 0;
    loop {
        let mut slots = Slots::<Dict>::new(64, next);
        if source.pull(&cx, &mut slots).expect("frames") == Pull::End {
            break;
        }
        for arrival in slots.take() {
            let isard_core::stage::Arrival::Frames { first, count, data } = arrival else { panic!("frames") };
            for ((_, stage), whole) in cases.iter().zip(&mut wholes) {
                let mut part = stage.part(&cx).expect("a part");
                stage.add(&cx, &mut part, &Span::frames(first, count), data.clone()).expect("a sum");
                stage.merge(&cx, whole, part).expect("a merge");
            }
            next = first + count;
        }
    }
    for ((_, stage), whole) in cases.iter().zip(wholes) {
        black_box(stage.finish(&cx, whole).expect("a result"));
    }
}

/// Plain loops as one would write them, over a mapping.
fn plain(path: &Path, scale: f64) {
    let frames = || {
        let map = isard_core::value::map_file(path).expect("a file");
        Array::over_map(map, 128, Dtype::U16, &[path.metadata().expect("a file").len() as usize / 2 - 64])
            .expect("pixels")
    };
    let pixels = SIDE * SIDE;
    // No reduction can be quicker than this: what the memory of the machine gives one core.
    timed("reading alone", scale, || {
        let all = frames();
        let words = all.as_slice::<u16>().expect("words").chunks_exact(64);
        let mut any = [0u16; 64];
        words.for_each(|some| any.iter_mut().zip(some).for_each(|(a, x)| *a |= x));
        black_box(any);
    });
    timed("a plain loop: sum", scale, || {
        let all = frames();
        let mut sums = vec![0u64; pixels];
        for frame in all.as_slice::<u16>().expect("words").chunks_exact(pixels) {
            sums.iter_mut().zip(frame).for_each(|(s, x)| *s += u64::from(*x));
        }
        black_box(sums);
    });
    timed("a plain loop: ring", scale, || {
        let all = frames();
        let middle = (SIDE as f32 - 1.0) / 2.0;
        let mask: Vec<u32> = (0..pixels)
            .map(|i| ((i / SIDE) as f32 - middle).hypot((i % SIDE) as f32 - middle))
            .map(|d| u32::from(d > 20.0 && d <= 50.0))
            .collect();
        for frame in all.as_slice::<u16>().expect("words").chunks_exact(pixels) {
            black_box(frame.iter().zip(&mask).map(|(x, m)| u32::from(*x) * m).sum::<u32>());
        }
    });
    timed("a plain loop: centre", scale, || {
        let all = frames();
        for frame in all.as_slice::<u16>().expect("words").chunks_exact(pixels) {
            let (mut sum, mut down, mut right) = (0u64, 0u64, 0u64);
            for (y, row) in frame.chunks_exact(SIDE).enumerate() {
                let (mut s, mut r) = (0u32, 0u32);
                for (x, v) in row.iter().enumerate() {
                    s += u32::from(*v);
                    r += u32::from(*v) * x as u32;
                }
                (sum, down, right) =
                    (sum + u64::from(s), down + y as u64 * u64::from(s), right + u64::from(r));
            }
            black_box([sum, down, right]);
        }
    });
}

/// All reductions as a recipe on the engine.
fn planned(path: &Path, side: usize, threads: usize) -> plan::Plan {
    let mut text = format!(
        "isard = \"0.1\"\nname = \"bench\"\n[stage.frames]\nuse = \"stem.npy\"\nset = {{ path = {path:?} }}\n"
    );
    for (i, (_, stage, set)) in cases(path).into_iter().enumerate() {
        text.push_str(&format!("[stage.r{i}]\nuse = \"{stage}\"\nfrom = \"frames\"\n"));
        if stage != "image.sum" {
            text.push_str(&format!("[stage.r{i}.set]\nscan = [{side}, {side}]\n"));
            text.push_str(&set.replace("[detectors]", &format!("[stage.r{i}.set.detectors]")));
            text.push('\n');
        }
    }
    text.push_str(&format!("[out]\nsum = \"r0.image\"\n[run]\nthreads = {threads}\n"));
    let registry = Registry::built_in().expect("stages have different names");
    let recipe = match recipe::parse(&text, Path::new("bench.toml")) {
        Ok(recipe) => recipe,
        Err(faults) => panic!("{faults}"),
    };
    match plan::make(&recipe, &registry) {
        Ok((plan, _)) => plan,
        Err(faults) => panic!("{faults}"),
    }
}

/// One run of it, in a new folder as a user's; the seconds of the clock that it took.
fn run_once(plan: &plan::Plan, runs: &Path) -> f64 {
    let mut options = run::Options::new(run::Out::Numbered(runs.to_owned()));
    options.reader =
        Some(std::sync::Arc::new(|run: &RunCx, path: &str| isard_files::input::read_path(run, path)));
    let begun = std::time::Instant::now();
    let report = run::run(plan, options).expect("a run");
    assert_eq!(report.outcome, run::Outcome::Done, "{:?}", report.outcome.message());
    begun.elapsed().as_secs_f64()
}

/// CPU seconds of the engine, on one thread of heavy work and on two.
fn engine(path: &Path, folder: &Path, side: usize, scale: f64) {
    let out: PathBuf = folder.join("out");
    for threads in [1, 2] {
        let plan = planned(path, side, threads);
        timed(&format!("by the engine, {threads} thread(s)"), scale, || {
            let seconds = run_once(&plan, &out);
            print!("  [{:.3} s of clock]", seconds * scale);
        });
    }
}

/// Runs on one core alone and prints the seconds of the clock.
fn alone(path: &Path, side: usize, core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("a core of this machine");
    let plan = planned(path, side, 1);
    println!("{}", run_once(&plan, &path.with_file_name(format!("out{core}"))));
}

/// One run on two cores beside two runs at once that have one core each, in turns; the best of some rounds.
fn cores(path: &Path, folder: &Path, side: usize) {
    let this = std::env::current_exe().expect("this program");
    let plan = planned(path, side, 2);
    let (mut apart, mut together) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let children: Vec<_> = (0..2)
            .map(|core| {
                let mut child = std::process::Command::new(&this);
                child.args(["--alone", &path.display().to_string(), &side.to_string(), &core.to_string()]);
                child.stdout(std::process::Stdio::piped()).spawn().expect("a child")
            })
            .collect();
        let seconds = children.into_iter().map(|child| {
            let out = child.wait_with_output().expect("a child that ends");
            String::from_utf8_lossy(&out.stdout).trim().parse::<f64>().expect("seconds")
        });
        apart = apart.min(seconds.fold(0.0, f64::max));
        together = together.min(run_once(&plan, &folder.join("both")));
    }
    let n = (side * side) as f64;
    println!(
        "  two runs of one core {:.0} frames/s, one run of two cores {:.0} frames/s, ratio {:.2}",
        2.0 * n / apart,
        n / together,
        apart / (2.0 * together)
    );
}
