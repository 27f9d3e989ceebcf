//! The whole chain over a simulated scan, with what it keeps in memory counted.

#[path = "counting.rs"]
mod counting;

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_image as _;

/// Memory is looked at once in this time.
const LAP: Duration = Duration::from_millis(100);

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
        let (over, wait) = std::sync::mpsc::channel::<()>();
        let clock = std::thread::spawn(move || {
            let mut laps = vec![];
            while wait.recv_timeout(LAP) == Err(RecvTimeoutError::Timeout) {
                laps.push(counting::lap(before));
            }
            laps.push(counting::lap(before));
            laps
        });
        let report = run::run(&plan, Options::new(out)).unwrap();
        drop(over);
        let laps = clock.join().unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        let (most, seconds) = (laps.iter().copied().max().unwrap(), began.elapsed().as_secs_f64());
        let spots = report.results.get("spots").and_then(|v| v.number()).unwrap() as usize;
        eprintln!("{} frames: {} MB, {spots} spots, {seconds:.0} s", self.frames, most / 1_000_000);
        eprintln!("buffers in use at most: {} MB; {}", report.peak_buffers >> 20, counting::sizes());
        let halves = [&laps[..laps.len() / 2], &laps[laps.len() / 2..]].map(median);
        Taken { most, halves, spots }
    }
}

/// What a scan took.
#[derive(Debug)]
pub struct Taken {
    /// The most bytes that it had allocated.
    pub most: usize,
    /// What it usually had in its first half, in which queues fill, and in its second: of the most bytes in each tenth
    /// of a second the middle one. The most of all is a matter of chance and rises with the length of a scan: of how full
    /// queues happen to be, and whether a checkpoint is being written.
    pub halves: [usize; 2],
    /// Spots that it found.
    pub spots: usize,
}

fn median(laps: &[usize]) -> usize {
    let mut laps = laps.to_vec();
    laps.sort_unstable();
    laps[laps.len() / 2]
}

/// Whether a long scan stays below a bound and keeps nothing of the frames that passed.
pub fn check(most: usize, halves: [usize; 2], bound: usize) {
    assert!(most <= bound, "{most} bytes, wanted {bound} or less");
    let [first, second] = halves;
    // A fortieth of each of a thousand frames, kept, would be more than this.
    assert!(second <= first + first / 10, "{first} bytes in the first half, {second} in the second");
}
