//! What a scan keeps in memory does not grow with its frames, and stays within a bound.
//!
//! The bound is that of 2048 x 2048 pixels at a sixteenth of the pixels: frames, chunks and queues are those that a run
//! of large frames has, and all that is counted is bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/counting.rs"]
mod counting;

use std::path::Path;
use std::sync::Mutex;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_image as _;

/// One run at a time: the counters see all of the process.
static TURN: Mutex<()> = Mutex::new(());

/// A sixteenth of 2048 x 2048.
const SIDE: usize = 512;

/// The whole chain; `chain` is what stands between the frames and the median, and `from` what the spots are found in.
fn scan(frames: usize, chain: &str, mark: usize) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "memory"
        [run]
        seed = 1
        chunk = 1
        threads = 2
        checkpoint_s = 0.0
        checkpoint_frames = {mark}
        [stage.frames]
        use = "dct.simulate"
        set = {{ frames = {frames}, shape = [{SIDE}, {SIDE}] }}
        {chain}
        [stage.clean]
        use = "image.median"
        from = "background"
        run = {{ queue = 2 }}
        [stage.segment]
        use = "dct.segment"
        from = "clean"
        in = {{ image = "clean.image", omega = "frames.omega" }}
        set = {{ threshold = 60, t_low = 20, bb_max = [20, 40, 40], wrap = true, min_seed_voxels = 10, exclude_box = {{ x = [166, 346], y = [176, 336] }} }}
        run = {{ queue = 2 }}
        [stage.spots]
        use = "dct.difspots"
        from = "segment"
        set = {{ output = "single" }}
        [stage.overview]
        use = "dct.overview"
        from = "segment"
        set = {{ shape = [{SIDE}, {SIDE}], frames = {frames}, binning = 4 }}
        [out]
        spots = "overview.spots"
        "#
    )
}

/// Counts of 16 bits all the way.
const COUNTS: &str = r#"
        [stage.background]
        use = "dct.background"
        from = "frames"
        set = { window = 21, edge = "wrap", batch = 8, dtype = "compact" }
        run = { queue = 8 }"#;

/// Normalised on the way to the median: counts before it, floats behind.
const EVEN: &str = r#"
        [stage.even]
        use = "dct.normalize"
        from = "frames"
        in = { image = "frames.image", monitor = "frames.monitor" }
        set = { normalization = "monitor", apply = false }
        run = { queue = 8 }
        [stage.background]
        use = "dct.background"
        from = "even"
        in = { image = "frames.image", factor = "even.factor", dark = "frames.head.dark" }
        set = { window = 21, edge = "wrap", batch = 8 }
        run = { queue = 2 }"#;

/// The most bytes that a scan of so many frames keeps beside what was there before, and its spots.
///
/// A checkpoint is made after `mark` frames.
fn peak(frames: usize, chain: &str, mark: usize) -> (usize, f64) {
    peak_of(&scan(frames, chain, mark))
}

fn peak_of(text: &str) -> (usize, f64) {
    let _turn = TURN.lock().unwrap();
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    let plan = made.unwrap_or_else(|faults| panic!("{faults}")).0;
    let folder = tempfile::tempdir().unwrap();
    let out = Out::Folder { path: folder.path().join("out"), overwrite: false };
    let before = counting::begin();
    let report = run::run(&plan, Options::new(out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let spots = report.results.get("spots").and_then(|v| v.number()).unwrap();
    eprintln!("buffers in use at most: {} MB; {}", report.peak_buffers >> 20, counting::sizes());
    (counting::most(before), spots)
}

/// More frames than any scan here has.
const NEVER: usize = 1 << 20;

fn check(chain: &str, large: usize) {
    let (short, few) = peak(120, chain, NEVER);
    let (long, many) = peak(480, chain, NEVER);
    eprintln!("120 frames: {} kB, {few} spots; 480 frames: {} kB, {many} spots", short >> 10, long >> 10);
    assert!(many > few && few > 10.0, "{few} and {many} spots");
    // How much is under way depends on the moment; the frames that came more would be several times this much.
    let grown = long.saturating_sub(short);
    assert!(grown <= short / 4, "480 frames keep {grown} bytes more than the {short} of 120");
    let bound = large / 16;
    assert!(long <= bound, "{long} bytes, wanted {bound} or less");
}

#[test]
fn a_scan_of_counts_keeps_less_than_one_and_a_half_gigabytes() {
    check(COUNTS, 1_350_000_000);
}

#[test]
fn a_scan_that_is_normalised_keeps_little_more_than_two_gigabytes() {
    check(EVEN, 2_200_000_000);
}

/// What is written stays until it is safe, while the scan goes on; it is not copied.
#[test]
fn a_checkpoint_keeps_no_copy_of_what_it_writes() {
    let (most, _) = peak(120, COUNTS, 65);
    assert!(most <= 2_500_000_000 / 16, "{most} bytes");
}
