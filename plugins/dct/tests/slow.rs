//! What a scan of 2048 x 2048 keeps in memory: bytes that are allocated, and what the system sees, of runs of any length.
//!
//! Each scan runs in a process of its own, as the command runs it, with frames that are made while it goes on: the scan
//! would take 30 GB of disk. `ISARD_SLOW=full` takes the 3600 frames of a whole turn, else there are 1000. The frames are those of the simulator, 6 spots each, and making them takes 100 MB.
//! `ISARD_PACE=50` gives so many frames a second, as a detector does, `ISARD_SIDE=150` makes the largest spot so many
//! rows and columns, `ISARD_CHECKPOINT=0.0` says how many seconds lie between checkpoints, and
//! `ISARD_CHILD_SCAN="420 5"` runs one scan of so many frames and that stride.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/counting.rs"]
mod counting;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_image as _;

/// The chain of `recipes/dct.toml` for a full turn, with the spots of `recipes/dct-live.toml` and checkpoints as ever.
fn scan(frames: u64, stride: u64) -> String {
    let ask = |name: &str, or: &str| std::env::var(name).unwrap_or_else(|_| or.to_owned());
    let (side, every) = (ask("ISARD_SIDE", "60"), ask("ISARD_CHECKPOINT", "30.0"));
    let pace = std::env::var("ISARD_PACE").ok().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    format!(
        r#"
        isard = "0.1"
        name = "memory"
        [run]
        seed = 1
        threads = 2
        checkpoint_s = {every}
        [stage.frames]
        use = "dct.simulate"
        set = {{ frames = {frames}, shape = [2048, 2048], rate = {pace:?} }}
        [stage.background]
        use = "dct.background"
        from = "frames"
        set = {{ window = 21, stride = {stride}, edge = "wrap", dtype = "compact" }}
        [stage.clean]
        use = "image.median"
        from = "background"
        [stage.segment]
        use = "dct.segment"
        from = "clean"
        in = {{ image = "clean.image", omega = "frames.omega", full = "background.full", covered = "background.covered" }}
        [stage.segment.set]
        threshold = 60
        t_low = 20
        bb_max = [20, {side}, {side}]
        wrap = true
        min_seed_voxels = 10
        min_blob_size = [1, 3, 3]
        exclude_box = {{ x = [664, 1384], y = [705, 1343] }}
        [stage.spots]
        use = "dct.difspots"
        from = "segment"
        set = {{ output = "single" }}
        [stage.overview]
        use = "dct.overview"
        from = "segment"
        set = {{ shape = [2048, 2048], frames = {frames}, binning = 4 }}
        [out]
        spots = "overview.spots"
        "#
    )
}

/// Not a test of its own: the process that runs one scan and says what it took.
#[test]
fn child() {
    let Ok(asked) = std::env::var("ISARD_CHILD_SCAN") else { return };
    let (frames, stride) = asked.split_once(' ').unwrap();
    let text = scan(frames.parse().unwrap(), stride.parse().unwrap());
    let recipe = recipe::parse(&text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    let plan = made.unwrap_or_else(|faults| panic!("{faults}")).0;
    let folder = tempfile::tempdir().unwrap();
    let out = Out::Folder { path: folder.path().join("out"), overwrite: false };
    let (before, began) = (counting::begin(), Instant::now());
    let report = run::run(&plan, Options::new(out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let (most, seconds) = (counting::most(before), began.elapsed().as_secs_f64());
    let spots = report.results.get("spots").and_then(|v| v.number()).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
    eprintln!("{}", counting::sizes());
    eprintln!("took {most} {resident} {spots} {seconds:.0}");
}

/// One scan at a time: the machine is small.
static TURN: Mutex<()> = Mutex::new(());

/// The most bytes that a scan allocates, the most that the system sees, and its spots.
fn run_scan(frames: u64, stride: u64) -> [usize; 3] {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]);
    let out = command.env("ISARD_CHILD_SCAN", format!("{frames} {stride}")).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{told}");
    let line = told.lines().find_map(|l| l.strip_prefix("took ")).unwrap();
    let numbers: Vec<usize> = line.split(' ').map(|n| n.parse().unwrap()).collect();
    let [most, resident, spots, seconds] = numbers[..] else { panic!("{line}") };
    eprintln!(
        "{frames} frames of 2048 x 2048, stride {stride}: {} MB allocated, {} MB resident, {spots} spots, {seconds} s",
        most / 1_000_000,
        resident / 1_000_000
    );
    eprintln!("{told}");
    [most, resident, spots]
}

/// Whether a longer scan keeps no more than a shorter one, but for what is under way by chance.
fn check(short: [usize; 3], long: [usize; 3], bound: usize) {
    assert!(long[2] > 2 * short[2] && short[2] > 400, "{} and {} spots", short[2], long[2]);
    for (short, long) in short.into_iter().zip(long).take(2) {
        assert!(long <= bound, "{long} bytes, wanted {bound} or less");
        let grown = long.saturating_sub(short);
        assert!(
            grown <= short / 8,
            "the long scan keeps {grown} bytes more than the {short} of the short one"
        );
    }
}

#[test]
fn a_long_turn_keeps_less_than_one_and_a_half_gigabytes() {
    let full = std::env::var("ISARD_SLOW").is_ok_and(|how| how == "full");
    let short = run_scan(420, 1);
    assert!(short[0] <= 1_350_000_000, "{} bytes of 420 frames", short[0]);
    check(short, run_scan(if full { 3600 } else { 1000 }, 1), 1_500_000_000);
}
