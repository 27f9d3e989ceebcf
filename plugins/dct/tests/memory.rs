//! What a scan keeps in memory does not grow with its frames, and stays within a bound.
//!
//! The bound is that of 2048 x 2048 pixels at a sixteenth of the pixels: frames, chunks and queues are those that a run
//! of large frames has, and all that is counted is bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/taken.rs"]
mod taken;

use taken::{Scan, Taken};

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

/// A scan of so many frames; a checkpoint is made after `mark` of them.
fn take(frames: u64, chain: &str, mark: u64) -> Taken {
    let run = format!("chunk = 1\ncheckpoint_s = 0.0\ncheckpoint_frames = {mark}");
    let options = "run = { queue = 2 }";
    let scan = Scan { frames, side: 512, largest: 40, rate: 0.0, run: &run, chain, options, halts: 40 };
    scan.run()
}

/// More frames than any scan here has.
const NEVER: u64 = 1 << 20;

fn check(chain: &str, large: usize) {
    let Taken { most, halves, spots } = take(1200, chain, NEVER);
    assert!(spots > 100, "{spots} spots");
    // A fortieth of each frame, kept, would be more.
    taken::check(most, halves, large / 16);
}

#[test]
fn a_scan_of_counts_keeps_less_than_a_gigabyte() {
    check(COUNTS, 1_000_000_000);
}

#[test]
fn a_scan_that_is_normalised_keeps_less_than_two_gigabytes() {
    check(EVEN, 1_800_000_000);
}

/// What is written stays until it is safe, while the scan goes on; it is not copied.
#[test]
fn a_checkpoint_keeps_no_copy_of_what_it_writes() {
    let taken = take(120, COUNTS, 65);
    assert!(taken.most <= 1_500_000_000 / 16, "{taken:?}");
}
