//! What is left of a plain loop's speed when frames go through the engine?
//!
//! Frames of 2 MiB u16 are summed by a reduction and, in the same run, by a plain loop with the same kernel. Once they
//! lie in memory and are only read; once each is first copied into a buffer, as reading an uncompressed file from
//! the page cache does: the engine into buffers of its pool, the loop into one. What a run takes before its first
//! frame and after its last is in the engine's time and told beside it. Run it with
//! `cargo bench -p isard-core --bench throughput`.

use std::hint::black_box;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use isard_core::plan;
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use rustix::time::{ClockId, clock_gettime};

const SIDE: usize = 1024;
const FRAMES: usize = 128;
const TURNS: usize = 24;

/// What both sides read: 256 MiB, more than any cache.
fn pixels() -> &'static Array {
    static PIXELS: OnceLock<Array> = OnceLock::new();
    PIXELS.get_or_init(|| {
        let pixels: Vec<u16> = (0..FRAMES * SIDE * SIDE).map(|i| (i ^ (i >> 9)) as u16).collect();
        Array::of(&[FRAMES, SIDE, SIDE], &pixels).expect("the shape fits")
    })
}

/// The kernel of both sides: 32-bit sums of short runs, so that it vectorises.
fn sum(pixels: &[u16]) -> u64 {
    pixels.chunks(4096).map(|run| u64::from(run.iter().map(|p| u32::from(*p)).sum::<u32>())).sum()
}

/// Plays the frames in memory.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Play {
    /// Into a buffer of the pool first.
    copy: bool,
    /// How often all frames are played.
    turns: usize,
}

/// One image.
#[derive(Ports)]
struct Image {
    /// Pixels.
    #[port(dtype = "u16", axes = "y x")]
    image: Array,
}

/// The sum.
#[derive(Ports)]
struct Total {
    /// Of all pixels.
    total: f64,
}

impl Stage for Play {
    type In = ();
    type Out = Image;
    fn example() -> Example {
        Example::new("copy = false\nturns = 1")
    }
}

impl Source for Play {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[SIDE, SIDE]));
        Ok(Opened { frames: Some((self.turns * FRAMES) as u64), shapes, ..Opened::default() })
    }
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Image>) -> Result<Pull> {
        let (next, room) = (slots.next() as usize, slots.room() as usize);
        if next >= self.turns * FRAMES {
            return Ok(Pull::End);
        }
        let mut image = pixels().records(next % FRAMES..next % FRAMES + room)?;
        if self.copy {
            let mut own = cx.array(Dtype::U16, &[room, SIDE, SIDE])?;
            own.as_slice_mut::<u16>()?.copy_from_slice(image.as_slice()?);
            image = own.freeze();
        }
        slots.put(next as u64, Image { image })?;
        Ok(Pull::Ready)
    }
}
declare!(Source, "bench.play", Kind::Simulator, Play);

/// Sums all pixels.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sum {}

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
        *part += sum(input.image.as_slice()?);
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
declare!(Reduce, "bench.sum", Kind::Reducer, Sum);

/// Seconds of the clock and of the processor for the plain loop.
fn plain(copy: bool) -> [f64; 2] {
    let (all, mut own) = (pixels(), vec![0u16; SIDE * SIDE]);
    let begun = now();
    let mut total = 0;
    for _ in 0..TURNS {
        for frame in all.as_slice::<u16>().expect("16-bit pixels").chunks(SIDE * SIDE) {
            if copy {
                own.copy_from_slice(frame);
                total += sum(black_box(&own));
            } else {
                total += sum(black_box(frame));
            }
        }
    }
    black_box(total);
    since(begun)
}

/// Seconds of the clock and of the processor through the engine, from the start of the run to its end.
fn engine(copy: bool, threads: usize, turns: usize) -> [f64; 2] {
    let text = format!(
        r#"
        isard = "0.1"
        name = "throughput"
        [run]
        threads = {threads}
        [stage.play]
        use = "bench.play"
        set = {{ copy = {copy}, turns = {turns} }}
        [stage.sum]
        use = "bench.sum"
        from = "play"
        in = {{ image = "play.image" }}
        [out]
        total = "sum.total"
        "#
    );
    let registry = Registry::built_in().expect("no name twice");
    let recipe = recipe::parse(&text, Path::new("bench.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) = plan::make(&recipe, &registry).unwrap_or_else(|faults| panic!("{faults}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options::new(Out::Folder { path: folder.path().join("out"), overwrite: true });
    let begun = now();
    let report = run::run(&plan, options).expect("the run starts");
    let took = since(begun);
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let total = sum(pixels().as_slice().expect("16-bit pixels")) * turns as u64;
    assert_eq!(report.results.get("total"), Some(&Value::Float(total as f64)));
    took
}

fn now() -> (Instant, f64) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    (Instant::now(), cpu.tv_sec as f64 + cpu.tv_nsec as f64 * 1e-9)
}

fn since(begun: (Instant, f64)) -> [f64; 2] {
    [begun.0.elapsed().as_secs_f64(), now().1 - begun.1]
}

fn main() {
    pixels();
    let empty = (0..7).map(|_| engine(false, 1, 0)[0]).fold(f64::INFINITY, f64::min);
    println!("a run without frames: {:.0} ms, nearly all of it syncing its record to disk", empty * 1e3);
    let gib = (TURNS * FRAMES * SIDE * SIDE * 2) as f64 / f64::from(1 << 30);
    for (name, copy) in [("read in place", false), ("copied first", true)] {
        // In turns and the best of each, so that a busy moment of the machine spoils neither side.
        let mut best = [[f64::INFINITY; 2]; 3];
        for _ in 0..7 {
            let took = [plain(copy), engine(copy, 1, TURNS), engine(copy, 2, TURNS)];
            best.iter_mut().flatten().zip(took.iter().flatten()).for_each(|(best, t)| *best = best.min(*t));
        }
        let [plain, one, two] = best;
        let wall = plain.map(|t| gib / t);
        println!("{name}: plain loop {:.2} GiB/s, {:.2} per second of processor", wall[0], wall[1]);
        for (threads, engine) in [(1, one), (2, two)] {
            println!(
                "  engine, {threads} for work: {:5.2} GiB/s, {:.2} of the loop; per second of processor {:.2} of it",
                gib / engine[0],
                plain[0] / engine[0],
                plain[1] / engine[1]
            );
        }
    }
}
