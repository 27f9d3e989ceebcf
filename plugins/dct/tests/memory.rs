//! What a scan keeps in memory does not grow with its frames, and stays within a bound.
//!
//! The bound is that of 2048 x 2048 pixels at a sixteenth of the pixels: frames, chunks and queues are those that a run
//! of large frames has, and all that is counted is bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_image as _;

/// Counts the bytes that are allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Bytes by the power of two below their size, now and when there were most.
static SIZES: [AtomicUsize; 48] = [const { AtomicUsize::new(0) }; 48];
static MOST: [AtomicUsize; 48] = [const { AtomicUsize::new(0) }; 48];

fn class(bytes: usize) -> usize {
    (bytes.max(1).ilog2() as usize).min(47)
}

fn add(bytes: usize) {
    SIZES[class(bytes)].fetch_add(bytes, Ordering::Relaxed);
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if PEAK.fetch_max(now, Ordering::Relaxed) < now && bytes >= 1 << 20 {
        MOST.iter()
            .zip(&SIZES)
            .for_each(|(most, size)| most.store(size.load(Ordering::Relaxed), Ordering::Relaxed));
    }
}

fn take(bytes: usize) {
    SIZES[class(bytes)].fetch_sub(bytes, Ordering::Relaxed);
    NOW.fetch_sub(bytes, Ordering::Relaxed);
}

/// What there was when there was most: MB of blocks of 1 to 2 MB, 2 to 4, and so on, smaller ones together.
fn sizes() -> String {
    let mb = |from: usize, to: usize| {
        MOST[from..to].iter().map(|m| m.load(Ordering::Relaxed)).sum::<usize>() >> 20
    };
    let large: Vec<String> = (20..30).map(|k| format!("{}M: {}", 1 << (k - 20), mb(k, k + 1))).collect();
    format!("less: {}, {}, more: {}", mb(0, 20), large.join(", "), mb(30, 48))
}

// SAFETY: every call goes on to the system's allocator unchanged; only counters are touched beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        take(layout.size());
        // SAFETY: the caller gives back what `alloc` gave, which came from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let report = run::run(&plan, Options::new(out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let spots = report.results.get("spots").and_then(|v| v.number()).unwrap();
    eprintln!("buffers in use at most: {} MB", report.peak_buffers >> 20);
    (PEAK.load(Ordering::Relaxed) - before, spots)
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

/// The same at 2048 x 2048, which takes minutes: `ISARD_FRAMES=3600` says how many frames, `ISARD_STRIDE=5` the
/// stride of the window, `ISARD_PACE=50` how many frames a second the source gives, as a detector does, `ISARD_MARK=100`
/// the frames between checkpoints.
#[test]
fn large_frames_keep_what_the_bound_says() {
    let Some(frames) = std::env::var("ISARD_FRAMES").ok().and_then(|n| n.parse().ok()) else { return };
    let ask = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<usize>().ok());
    let text = scan(frames, COUNTS, ask("ISARD_MARK").unwrap_or(frames / 2 + 5))
        .replace("512", "2048")
        .replace("batch = 8, ", "");
    // Queues as a scan from files has them; frames are made beside, which takes 70 MB.
    let text = text.replace("run = { queue = 8 }", "").replace("run = { queue = 2 }", "");
    let text = text.replace("x = [166, 346], y = [176, 336]", "x = [664, 1384], y = [705, 1343]");
    let text = match ask("ISARD_PACE") {
        Some(rate) => {
            text.replace("shape = [2048, 2048] }", &format!("shape = [2048, 2048], rate = {rate}.0 }}"))
        }
        None => text,
    };
    let stride = ask("ISARD_STRIDE").unwrap_or(1);
    let text = text.replace("window = 21", &format!("window = 21, stride = {stride}"));
    let (most, spots) = peak_of(&text);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    eprintln!("{frames} frames of 2048 x 2048: {} MB, {line}, {spots} spots", most >> 20);
    eprintln!("{}", sizes());
    assert!(most <= 1_350_000_000 || stride > 1, "{most} bytes");
}

/// What is written stays until it is safe, while the scan goes on; it is not copied.
#[test]
fn a_checkpoint_keeps_no_copy_of_what_it_writes() {
    let (most, _) = peak(120, COUNTS, 65);
    assert!(most <= 2_500_000_000 / 16, "{most} bytes");
}
