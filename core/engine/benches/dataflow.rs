//! What does the engine take per chunk and stage when the stages do nothing?
//!
//! A source, ten maps that give their frames back, a reduction that looks at nothing. Every map has a queue of 16 and a
//! thread of its own, or all ten are one fused job per chunk, as the engine does by itself. The time is the
//! processor time of the whole process over chunks times maps, so source and reduction are in it; beside it stands
//! the part that ten maps add to none. Paced, one chunk a millisecond, every thread is asleep when a chunk comes and
//! has to be woken: what a live run pays. Run it with `cargo bench -p isard-core --bench dataflow`; after `--`, a name
//! and a number of chunks run that case alone, for a profiler.

use std::path::Path;
use std::time::{Duration, Instant};

use isard_core::plan;
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use rustix::time::{ClockId, clock_gettime};

const MAPS: usize = 10;
const CHUNK: u64 = 16;

/// Gives the same tiny frames again and again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Frames {
    /// How many.
    frames: u64,
    /// A chunk every millisecond, as from a detector; else as fast as they go.
    paced: bool,
    #[serde(skip)]
    #[schemars(skip)]
    image: Option<Array>,
}

/// One image.
#[derive(Ports)]
struct Image {
    /// Pixels.
    #[port(dtype = "u16", axes = "y x")]
    image: Array,
}

/// Nothing to speak of.
#[derive(Ports)]
struct Count {
    /// Chunks.
    count: i64,
}

impl Stage for Frames {
    type In = ();
    type Out = Image;
    fn example() -> Example {
        Example::new("frames = 16\npaced = false")
    }
}

impl Source for Frames {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        self.image = Some(Array::of(&[CHUNK as usize, 2, 2], &[7u16; 4 * CHUNK as usize])?);
        Ok(Opened { frames: Some(self.frames), ..Opened::default() })
    }
    fn pull(&mut self, _: &Cx, slots: &mut Slots<Image>) -> Result<Pull> {
        if slots.next() >= self.frames {
            return Ok(Pull::End);
        }
        let image = self.image.clone().expect("a source is opened first");
        slots.put(slots.next(), Image { image })?;
        Ok(if self.paced { Pull::Wait(Duration::from_millis(1)) } else { Pull::Ready })
    }
}
declare!(Source, "bench.frames", Kind::Simulator, Frames);

/// Gives its frames back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Same {}

impl Stage for Same {
    type In = Image;
    type Out = Image;
    fn example() -> Example {
        Example::new("")
    }
}

impl Map for Same {
    fn apply(&self, _: &Cx, _: &Span, input: Image) -> Result<Image> {
        Ok(input)
    }
}
declare!(Map, "bench.same", Kind::Reducer, Same);

/// Counts chunks.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Chunks {}

impl Stage for Chunks {
    type In = Image;
    type Out = Count;
    fn example() -> Example {
        Example::new("")
    }
}

impl Reduce for Chunks {
    type Part = i64;
    fn part(&self, _: &Cx) -> Result<i64> {
        Ok(0)
    }
    fn add(&self, _: &Cx, part: &mut i64, _: &Span, _: Image) -> Result<()> {
        *part += 1;
        Ok(())
    }
    fn merge(&self, _: &Cx, part: &mut i64, later: i64) -> Result<()> {
        *part += later;
        Ok(())
    }
    fn peek(&self, _: &Cx, part: &i64) -> Result<Option<Count>> {
        Ok(Some(Count { count: *part }))
    }
    fn finish(&self, _: &Cx, count: i64) -> Result<Count> {
        Ok(Count { count })
    }
    fn save(&self, part: &i64) -> Result<Dict> {
        Ok(Dict::new().with("count", *part))
    }
    fn load(&self, _: &Cx, state: Dict) -> Result<i64> {
        Ok(state.need("count")?.number().unwrap_or_default() as i64)
    }
}
declare!(Reduce, "bench.chunks", Kind::Reducer, Chunks);

/// One way to run.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    own_threads: bool,
    paced: bool,
}

const CASES: [Case; 4] = [
    Case { name: "fused", own_threads: false, paced: false },
    Case { name: "threads", own_threads: true, paced: false },
    Case { name: "fused, paced", own_threads: false, paced: true },
    Case { name: "threads, paced", own_threads: true, paced: true },
];

fn recipe(case: Case, maps: usize, chunks: u64) -> String {
    let mut text = format!(
        "isard = \"0.1\"\nname = \"dataflow\"\n[run]\nchunk = {CHUNK}\n\
         [stage.s]\nuse = \"bench.frames\"\nset = {{ frames = {}, paced = {} }}\n",
        chunks * CHUNK,
        case.paced
    );
    let mut last = "s".to_owned();
    for n in 0..maps {
        let run = if case.own_threads { "run = { queue = 16 }\n" } else { "" };
        text += &format!(
            "[stage.m{n}]\nuse = \"bench.same\"\nfrom = \"{last}\"\nin = {{ image = \"{last}.image\" }}\n{run}"
        );
        last = format!("m{n}");
    }
    text + &format!(
        "[stage.end]\nuse = \"bench.chunks\"\nfrom = \"{last}\"\nin = {{ image = \"{last}.image\" }}\n\
         run = {{ queue = 16 }}\n[out]\ncount = \"end.count\"\n"
    )
}

fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Microseconds of processor time, and of the clock, per chunk.
fn time(case: Case, maps: usize, chunks: u64) -> (f64, f64) {
    let registry = Registry::built_in().expect("no name twice");
    let recipe = recipe::parse(&recipe(case, maps, chunks), Path::new("bench.toml"))
        .unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) = plan::make(&recipe, &registry).unwrap_or_else(|faults| panic!("{faults}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options::new(Out::Folder { path: folder.path().join("out"), overwrite: true });
    let (begun, cpu_begun) = (Instant::now(), cpu());
    let report = run::run(&plan, options).expect("the run starts");
    let (wall, used) = (begun.elapsed().as_secs_f64(), cpu() - cpu_begun);
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(report.results.get("count"), Some(&Value::Int(chunks as i64)));
    (used / chunks as f64 * 1e6, wall / chunks as f64 * 1e6)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let only = arguments.first().map(String::as_str);
    for case in CASES.into_iter().filter(|case| only.is_none_or(|only| only == case.name)) {
        let usual = if case.paced { 500 } else { 50_000 };
        let chunks = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(usual);
        // The least of several rounds is the one least disturbed.
        let (mut none, mut ten) = ([f64::INFINITY; 2], [f64::INFINITY; 2]);
        for _ in 0..if only.is_some() { 1 } else { 5 } {
            for (least, maps) in [(&mut none, 0), (&mut ten, MAPS)] {
                let (cpu, wall) = time(case, maps, chunks);
                *least = [least[0].min(cpu), least[1].min(wall)];
            }
        }
        let (all, added) = (ten[0] / MAPS as f64, (ten[0] - none[0]) / MAPS as f64);
        println!(
            "{:14} {all:5.2} us of processor per chunk and map, {added:5.2} added by a map, {:7.2} us of clock per chunk",
            case.name, ten[1]
        );
    }
}
