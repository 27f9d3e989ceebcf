//! The whole chain over a simulated scan, with what it keeps in memory counted.

#[path = "counting.rs"]
mod counting;
#[path = "stall.rs"]
mod stall;

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_image as _;

/// A full turn, with the chain of `recipes/dct.toml` and the spots of `recipes/dct-live.toml`.
pub struct Scan<'a> {
    /// Frames of the turn.
    pub frames: u64,
    /// Rows and columns of a frame.
    pub side: usize,
    /// Rows and columns of the largest spot.
    pub largest: usize,
    /// Frames a second, as a detector gives them; 0 as fast as they are taken.
    pub rate: f64,
    /// Lines of `[run]`.
    pub run: &'a str,
    /// The stages from the frames to the background.
    pub chain: &'a str,
    /// Options of the stages behind it.
    pub options: &'a str,
    /// Spots from one halt of a writer behind them to the next.
    pub halts: u64,
}

impl Scan<'_> {
    fn recipe(&self) -> String {
        let Scan { frames, side, largest, rate, run, chain, options, halts } = self;
        // The direct beam of the simulator, as in the recipes.
        let [left, right, top, bottom] = [664, 1384, 705, 1343].map(|n| n * side / 2048);
        // The default for frames of 2048 x 2048.
        let part = 16 * side * side;
        format!(
            r#"
            isard = "0.1"
            name = "memory"
            [run]
            seed = 1
            threads = 2
            hang_s = 600
            {run}
            [stage.frames]
            use = "dct.simulate"
            set = {{ frames = {frames}, shape = [{side}, {side}], rate = {rate:?} }}
            {chain}
            [stage.clean]
            use = "image.median"
            from = "background"
            {options}
            [stage.segment]
            use = "dct.segment"
            from = "clean"
            in = {{ image = "clean.image", omega = "frames.omega", full = "background.full", covered = "background.covered" }}
            {options}
            [stage.segment.set]
            threshold = 60
            t_low = 20
            bb_max = [20, {largest}, {largest}]
            wrap = true
            min_seed_voxels = 10
            min_blob_size = [1, 3, 3]
            exclude_box = {{ x = [{left}, {right}], y = [{top}, {bottom}] }}
            [stage.stall]
            use = "toy.stall"
            from = "segment"
            set = {{ every = {halts} }}
            {options}
            [stage.spots]
            use = "dct.difspots"
            from = "segment"
            set = {{ output = "single", part_bytes = {part} }}
            [stage.overview]
            use = "dct.overview"
            from = "segment"
            set = {{ shape = [{side}, {side}], frames = {frames}, binning = 4 }}
            [out]
            spots = "overview.spots"
            "#
        )
    }

    /// Runs it; what it takes beside what was there before.
    pub fn run(&self) -> Taken {
        // One run at a time: the counters see all of the process.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap();
        let recipe = recipe::parse(&self.recipe(), Path::new("test.toml"));
        let recipe = recipe.unwrap_or_else(|faults| panic!("{faults}"));
        let made = plan::make(&recipe, &Registry::built_in().unwrap());
        let plan = made.unwrap_or_else(|faults| panic!("{faults}")).0;
        let folder = tempfile::tempdir().unwrap();
        let out = Out::Folder { path: folder.path().join("out"), overwrite: false };
        let (before, began) = (counting::begin(), Instant::now());
        let report = run::run(&plan, Options::new(out)).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        let (most, seconds) = (counting::peak() - before, began.elapsed().as_secs_f64());
        let spots = report.results.get("spots").and_then(|v| v.number()).unwrap() as usize;
        eprintln!("{} frames: {} MB, {spots} spots, {seconds:.0} s", self.frames, most / 1_000_000);
        eprintln!("buffers in use at most: {} MB; {}", report.peak_buffers >> 20, counting::sizes());
        let halts: Vec<usize> = stall::halts().iter().map(|bytes| bytes.saturating_sub(before)).collect();
        let megabytes: Vec<usize> = halts.iter().map(|bytes| bytes / 1_000_000).collect();
        eprintln!("MB at each halt: {megabytes:?}");
        let halves = [&halts[..halts.len() / 2], &halts[halts.len() / 2..]];
        Taken { most, halves: halves.map(median), spots }
    }
}

/// What a scan took.
#[derive(Debug)]
pub struct Taken {
    /// The most bytes that it had allocated.
    pub most: usize,
    /// What it usually had in its first half, and in its second, while all queues were full and nothing went on.
    pub halves: [usize; 2],
    /// Spots that it found.
    pub spots: usize,
}

fn median(halts: &[usize]) -> usize {
    let mut halts = halts.to_vec();
    halts.sort_unstable();
    halts.get(halts.len() / 2).copied().unwrap_or(0)
}

/// Whether a long scan stays below a bound, and keeps so little of the frames that passed that its second half takes at
/// most a tenth of its first on top.
pub fn check(most: usize, halves: [usize; 2], bound: usize) {
    assert!(most <= bound, "{most} bytes, wanted {bound} or less");
    let [first, second] = halves;
    assert!(first > 0 && second > 0, "no halt in one of the halves: {halves:?}");
    let allowed = first as f64 * 1.1;
    assert!(second as f64 <= allowed, "{first} bytes in the first half, {second} in the second");
}
