//! What a scan of 2048 x 2048 keeps in memory: bytes that are allocated, and what the system sees, of runs of any length.
//!
//! Each scan runs in a process of its own, as the command runs it, with frames that are made while it goes on: the scan
//! would take 30 GB of disk. `ISARD_SLOW=full` takes the 3600 frames of a whole turn, else there are 1000. The frames are
//! those of the simulator, 6 spots each, and making them takes 100 MB.
//! `ISARD_PACE=50` gives so many frames a second, as a detector does, `ISARD_LARGEST=150` makes the largest spot so many
//! rows and columns, `ISARD_SIDE=512` the frames, `ISARD_CHECKPOINT=0.0` says how many seconds lie between checkpoints,
//! and `ISARD_CHILD_SCAN="420 5"` runs one scan of so many frames and that stride.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/taken.rs"]
mod taken;

use std::process::Command;
use std::str::FromStr;

use taken::{Scan, Taken};

/// What the environment asks for.
fn asked<T: FromStr>(name: &str, or: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

/// Not a test of its own: the process that runs one scan and says what it took.
#[test]
fn child() {
    let Ok(text) = std::env::var("ISARD_CHILD_SCAN") else { return };
    let (frames, stride) = text.split_once(' ').unwrap();
    // As often for a short scan as for a long one: what a checkpoint writes stays until it is safe.
    let run = format!("checkpoint_s = {:?}", asked("ISARD_CHECKPOINT", 2.0));
    let chain = format!(
        "[stage.background]\nuse = \"dct.background\"\nfrom = \"frames\"\n\
         set = {{ window = 21, stride = {stride}, edge = \"wrap\", dtype = \"compact\" }}"
    );
    let scan = Scan {
        frames: frames.parse().unwrap(),
        side: asked("ISARD_SIDE", 2048),
        largest: asked("ISARD_LARGEST", 60),
        rate: asked("ISARD_PACE", 0.0),
        run: &run,
        chain: &chain,
        options: "",
        halts: 400,
    };
    let Taken { most, halves: [first, second], spots } = scan.run();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
    eprintln!("took {most} {resident} {spots} {first} {second}");
}

/// What a scan takes: the most bytes that it allocates, the most that the system sees, its spots, and what it has in each
/// half while a writer stands still.
fn run_scan(frames: u64, stride: u64) -> [usize; 5] {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]);
    let out = command.env("ISARD_CHILD_SCAN", format!("{frames} {stride}")).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{told}");
    let line = told.lines().find_map(|l| l.strip_prefix("took ")).unwrap();
    let numbers: Vec<usize> = line.split(' ').map(|n| n.parse().unwrap()).collect();
    let [first, second] = [numbers[3], numbers[4]].map(|bytes| bytes / 1_000_000);
    eprintln!(
        "stride {stride}: {} MB resident, {first} MB allocated, later {second} MB",
        numbers[1] / 1_000_000
    );
    eprintln!("{told}");
    numbers.try_into().unwrap()
}

#[test]
fn a_long_turn_keeps_less_than_one_and_a_half_gigabytes() {
    let full = std::env::var("ISARD_SLOW").is_ok_and(|how| how == "full");
    let frames = if full { 3600 } else { 1000 };
    let [most, resident, spots, first, second] = run_scan(frames, 1);
    assert!(spots > frames as usize, "{spots} spots");
    // A fortieth of each frame, kept, would be more.
    taken::check(most.max(resident), [first, second], 1_500_000_000);
}
