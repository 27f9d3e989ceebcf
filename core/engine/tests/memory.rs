//! Peak memory is the buffers in flight plus a constant, whatever the length of the run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use isard_core::plan;
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_core::span::Ranges;

/// Counts the bytes that are allocated: buffers of frames here, everything else there.
struct Counting;

/// What is allocated now, and the most since the last reset.
struct Level {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Level {
    const fn new() -> Level {
        Level { now: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }
    fn add(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }
}

static FRAMES: Level = Level::new();
static REST: Level = Level::new();

fn level(layout: Layout) -> &'static Level {
    // Pool buffers are aligned to a cache line; nothing else of this size is.
    if layout.size() >= FRAME && layout.align() == 64 { &FRAMES } else { &REST }
}

// SAFETY: every call goes on to the system's allocator unchanged; only counters are touched beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        level(layout).add(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        level(layout).add(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        level(layout).now.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller gives back what `alloc` gave, which came from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIDE: usize = 256;
const FRAME: usize = SIDE * SIDE;
const CHUNK: usize = 4;

/// Plays frames whose pixels are their number.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Numbers {
    /// How many.
    frames: u64,
    /// Every so many-th frame never comes; 0 loses none.
    lose: u64,
}

/// One image of 64 KiB.
#[derive(Ports)]
struct Image {
    /// Pixels.
    #[port(dtype = "u8", axes = "y x")]
    image: Array,
}

impl Stage for Numbers {
    type In = ();
    type Out = Image;
    fn example() -> Example {
        Example::new("frames = 8\nlose = 0")
    }
}

impl Source for Numbers {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U8, &[SIDE, SIDE]));
        Ok(Opened { frames: Some(self.frames), shapes, ..Opened::default() })
    }
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Image>) -> Result<Pull> {
        let first = slots.next();
        if first >= self.frames {
            return Ok(Pull::End);
        }
        for n in first..(first + slots.room()).min(self.frames) {
            if self.lose > 0 && n % self.lose == 0 {
                slots.missing(n, format!("frame {n} was lost on its way"));
                continue;
            }
            let mut image = cx.array(Dtype::U8, &[1, SIDE, SIDE])?;
            image.as_slice_mut::<u8>()?.fill(n as u8);
            slots.put(n, Image { image: image.freeze() })?;
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "memory.numbers", Kind::Simulator, Numbers);

/// Turns every bit around, into a buffer of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Invert {}

impl Stage for Invert {
    type In = Image;
    type Out = Image;
    fn example() -> Example {
        Example::new("")
    }
}

impl Map for Invert {
    fn apply(&self, cx: &Cx, _: &Span, input: Image) -> Result<Image> {
        let mut image = cx.array(Dtype::U8, input.image.shape())?;
        let pixels = input.image.as_slice::<u8>()?;
        image.as_slice_mut::<u8>()?.iter_mut().zip(pixels).for_each(|(out, x)| *out = !x);
        Ok(Image { image: image.freeze() })
    }
}
declare!(Map, "memory.invert", Kind::Reducer, Invert);

/// Sums all pixels.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sum {}

/// The sum.
#[derive(Ports)]
struct Total {
    /// Of all pixels.
    total: f64,
}

impl Stage for Sum {
    type In = Image;
    type Out = Total;
    fn example() -> Example {
        Example::new("")
    }
}

impl Reduce for Sum {
    type Part = u64;
    fn part(&self, _: &Cx) -> Result<u64> {
        Ok(0)
    }
    fn add(&self, _: &Cx, part: &mut u64, _: &Span, input: Image) -> Result<()> {
        *part += input.image.as_slice::<u8>()?.iter().map(|x| u64::from(*x)).sum::<u64>();
        Ok(())
    }
    fn merge(&self, _: &Cx, part: &mut u64, later: u64) -> Result<()> {
        *part += later;
        Ok(())
    }
    fn peek(&self, _: &Cx, part: &u64) -> Result<Option<Total>> {
        Ok(Some(Total { total: *part as f64 }))
    }
    fn finish(&self, _: &Cx, part: u64) -> Result<Total> {
        Ok(Total { total: part as f64 })
    }
    fn save(&self, part: &u64) -> Result<Dict> {
        Ok(Dict::new().with("total", *part as i64))
    }
    fn load(&self, _: &Cx, state: Dict) -> Result<u64> {
        Ok(state.need("total")?.number().unwrap_or_default() as u64)
    }
}
declare!(Reduce, "memory.sum", Kind::Reducer, Sum);

/// Keeps the mean of all pixels in one file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keep {
    #[serde(skip)]
    #[schemars(skip)]
    state: (Option<Arc<dyn Output>>, i64),
}

impl Stage for Keep {
    type In = Image;
    type Out = ();
    fn example() -> Example {
        Example::new("")
    }
}

impl Writer for Keep {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.state = (Some(out), 0);
        Ok(())
    }
    fn write(&mut self, _: &Cx, _: &Span, input: Image) -> Result<()> {
        self.state.1 += input.image.shape()[0] as i64;
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }
    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        let out = self.state.0.as_ref().ok_or_else(|| Error::internal("a writer is opened first"))?;
        out.replace("frames.txt", self.state.1.to_string().as_bytes())?;
        Ok(Dict::new().with("frames", self.state.1))
    }
    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        self.commit(cx).map(drop)
    }
}
declare!(Writer, "memory.keep", Kind::Writer, Keep);

/// The most bytes of frames and of everything else during a run, above what was there before it.
fn peak(frames: u64, lose: u64) -> (usize, usize) {
    let text = format!(
        r#"
        isard = "0.1"
        name = "memory"
        [run]
        chunk = {CHUNK}
        threads = 2
        checkpoint_frames = 500
        limits = {{ missing = {frames} }}
        [stage.numbers]
        use = "memory.numbers"
        set = {{ frames = {frames}, lose = {lose} }}
        [stage.invert]
        use = "memory.invert"
        from = "numbers"
        in = {{ image = "numbers.image" }}
        run = {{ queue = 2 }}
        [stage.sum]
        use = "memory.sum"
        from = "invert"
        in = {{ image = "invert.image" }}
        run = {{ queue = 2 }}
        [stage.keep]
        use = "memory.keep"
        from = "invert"
        in = {{ image = "invert.image" }}
        run = {{ queue = 2 }}
        [out]
        total = "sum.total"
        "#
    );
    let registry = Registry::built_in().unwrap();
    let recipe = recipe::parse(&text, Path::new("memory.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) = plan::make(&recipe, &registry).unwrap_or_else(|faults| panic!("{faults}"));
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(Out::Folder { path: folder.path().join("out"), overwrite: true });
    let before = [&FRAMES, &REST].map(|level| {
        let now = level.now.load(Ordering::Relaxed);
        level.peak.store(now, Ordering::Relaxed);
        now
    });
    let report = run::run(&plan, options).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let came = (0..frames).filter(|n| lose == 0 || n % lose != 0);
    let total: u64 = came.map(|n| u64::from(!(n as u8)) * FRAME as u64).sum();
    assert_eq!(report.results.get("total"), Some(&Value::Float(total as f64)));
    let above = |level: &Level, before| level.peak.load(Ordering::Relaxed) - before;
    (above(&FRAMES, before[0]), above(&REST, before[1]))
}

/// Chunks that may exist at once: one being put together from its frames, the queues with the chunk that waits to
/// enter and the one being worked on, and the chain's and the reduction's work in parallel with its results.
const IN_FLIGHT: usize = (2 + 4 + 2 * 4 + 4 + 4 + 4) * CHUNK * FRAME;

// One test, because all tests of a process share its allocator.
#[test]
fn peak_memory_does_not_grow_with_the_run() {
    // The first run pays for what a process sets up once.
    peak(500, 0);
    let (short_frames, short_rest) = peak(500, 0);
    let (long_frames, long_rest) = peak(20_000, 0);
    println!("frames {short_frames} and {long_frames}, the rest {short_rest} and {long_rest} bytes");
    assert!(long_frames <= IN_FLIGHT, "{long_frames} bytes of frames, at most {IN_FLIGHT} may be in flight");
    assert!(short_frames <= IN_FLIGHT, "{short_frames} bytes of frames");
    // 40 times the frames: 8 bytes kept for each more would show.
    assert!(long_rest < short_rest + (128 << 10), "{short_rest} bytes of the rest grew to {long_rest}");

    // What is lost is listed with its words at the source and at every end, up to 10 000 losses, and goes from there
    // into the run's record and its text: memory grows with the losses and with nothing else.
    let lost = 20_000 / 10;
    let (losing_frames, losing_rest) = peak(20_000, 10);
    assert!(losing_frames <= IN_FLIGHT, "{losing_frames} bytes of frames");
    println!("{lost} losses: the rest {losing_rest} bytes, {} for a loss", (losing_rest - long_rest) / lost);
    assert!(losing_rest < long_rest + lost * 8192, "{} bytes for a loss", (losing_rest - long_rest) / lost);
}
