//! The whole chain over a simulated scan, with what it keeps in memory counted.

#[path = "counting.rs"]
mod counting;

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
}

impl Scan<'_> {
    fn recipe(&self) -> String {
        let Scan { frames, side, largest, rate, run, chain, options } = self;
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
        let (most, seconds) = (counting::most(before), began.elapsed().as_secs_f64());
        let spots = report.results.get("spots").and_then(|v| v.number()).unwrap() as usize;
        eprintln!("{} frames: {} MB, {spots} spots, {seconds:.0} s", self.frames, most / 1_000_000);
        eprintln!("buffers in use at most: {} MB; {}", report.peak_buffers >> 20, counting::sizes());
        Taken { most, spots }
    }
}

/// What a scan took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The most bytes that it had allocated.
    pub most: usize,
    /// Spots that it found.
    pub spots: usize,
}

/// Whether a longer scan keeps no more than a shorter one, but for a share that is under way by chance.
pub fn check(short: usize, long: usize, share: usize, bound: usize) {
    assert!(long <= bound, "{long} bytes, wanted {bound} or less");
    let grown = long.saturating_sub(short);
    assert!(
        grown <= short / share,
        "the long scan keeps {grown} bytes more than the {short} of the short one"
    );
}
