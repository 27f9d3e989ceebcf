//! What do two cores of one run bring, beside two independent runs on one core each of the same work?
//!
//! Scans of 2048 x 2048 counts from memory through background, median and segmentation; wall time, the best of some
//! rounds that take turns. Two cores must be free: beside other work both sides lose, and the ratio says little.

#![allow(clippy::unwrap_used, reason = "a bench has no caller to tell")]

use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use isard_core::plan::{self, Plan};
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_core::stage::Pull;
use isard_core::value::LargePages;
use isard_dct as _;
use isard_image as _;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const SIDE: usize = 2048;
/// Different frames that are played again and again.
const KINDS: usize = 24;
const FRAMES: u64 = 144;
const ROUNDS: usize = 3;

/// Frames with noise and spots.
fn kinds() -> &'static [Array] {
    static ALL: OnceLock<Vec<Array>> = OnceLock::new();
    ALL.get_or_init(|| (0..KINDS).map(frame).collect())
}

fn frame(k: usize) -> Array {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64 ^ (k as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    let mut pixels: Vec<u16> = (0..SIDE * SIDE)
        .map(|p| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let noise = (0..4).map(|n| (seed >> (8 * n)) & 15).sum::<u64>();
            300 + (p / SIDE / 16) as u16 + noise as u16
        })
        .collect();
    for spot in 0..6 {
        let (row, column) = (100 + (k * 397 + spot * 331) % 1800, 100 + (k * 211 + spot * 617) % 1800);
        for p in 0..60 * 60 {
            let far = ((p / 60) as f32 - 30.0).hypot((p % 60) as f32 - 30.0);
            pixels[(row + p / 60) * SIDE + column + p % 60] +=
                (600.0 / (1.0 + ((far - 20.0) / 2.0).exp())) as u16;
        }
    }
    Array::of(&[1, SIDE, SIDE], &pixels).unwrap()
}

/// Plays frames from memory.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Played {
    /// How many.
    frames: u64,
}

/// One frame.
#[derive(Ports)]
struct Frame {
    /// Counts.
    #[port(dtype = "u16", axes = "y x")]
    image: Array,
}

impl Stage for Played {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new("frames = 2")
    }
}

impl Source for Played {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[SIDE, SIDE]));
        Ok(Opened { frames: Some(self.frames), shapes, ..Opened::default() })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let first = slots.next();
        if first >= self.frames {
            return Ok(Pull::End);
        }
        slots.put(first, Frame { image: kinds()[first as usize % KINDS].clone() })?;
        Ok(Pull::Ready)
    }
}
declare!(Source, "bench.played", Kind::Simulator, Played);

/// Straight to the background.
const COUNTS: &str = r#"
        [stage.background]
        use = "dct.background"
        from = "frames"
        set = { window = 21, edge = "wrap", dtype = "compact" }"#;

/// Brought to one intensity on the way.
const EVEN: &str = r#"
        [stage.even]
        use = "dct.normalize"
        from = "frames"
        set = { margin_boxes = [{ x = [900, 950], y = [100, 1900] }], apply = false }
        [stage.background]
        use = "dct.background"
        from = "even"
        in = { image = "frames.image", factor = "even.factor" }
        set = { window = 21, edge = "wrap" }"#;

/// The chain on so many threads.
fn planned(chain: &str, frames: u64, threads: usize) -> Plan {
    let text = format!(
        r#"
        isard = "0.1"
        name = "cores"
        [run]
        threads = {threads}
        checkpoint_s = 0.0
        [stage.frames]
        use = "bench.played"
        set = {{ frames = {frames} }}
        {chain}
        [stage.clean]
        use = "image.median"
        from = "background"
        [stage.segment]
        use = "dct.segment"
        from = "clean"
        set = {{ threshold = 60, t_low = 30, bb_max = [20, 60, 60], wrap = true }}
        [stage.overview]
        use = "dct.overview"
        from = "segment"
        set = {{ shape = [{SIDE}, {SIDE}], frames = {frames}, binning = 4 }}
        [out]
        spots = "overview.spots"
        "#
    );
    let recipe = recipe::parse(&text, Path::new("cores.toml")).unwrap();
    plan::make(&recipe, &Registry::built_in().unwrap()).unwrap().0
}

fn go(chain: &str, frames: u64, threads: usize, out: &Path) {
    let options = Options::new(Out::Folder { path: out.to_owned(), overwrite: true });
    let report = run::run(&planned(chain, frames, threads), options).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
}

fn wall(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// A run on one core: a process of its own would be held to it by the system, threads of this one are by a command.
fn alone(chain: &str, core: usize, out: &Path) -> std::process::Child {
    let mut command = std::process::Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(std::env::current_exe().unwrap());
    command
        .env("ISARD_BENCH_CHAIN", chain)
        .env("ISARD_BENCH_ALONE", out)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child says it took, the making of its frames left out.
fn took(child: std::process::Child) -> f64 {
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
}

fn main() {
    if let Some(out) = std::env::var_os("ISARD_BENCH_ALONE") {
        kinds();
        // Both children begin together.
        let started = Path::new(&out).with_extension("ready");
        std::fs::write(&started, "").unwrap();
        let go_on = Path::new(&out).with_file_name("go");
        while !go_on.exists() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let chain = std::env::var("ISARD_BENCH_CHAIN").unwrap();
        println!("{}", wall(|| go(&chain, FRAMES / 2, 1, Path::new(&out))));
        return;
    }
    kinds();
    compare("counts", COUNTS);
    compare("normalised", EVEN);
}

/// One run of two cores beside two of one core each, in turns.
fn compare(name: &str, chain: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut best = [f64::INFINITY; 2];
    for round in 0..ROUNDS {
        let here = folder.path().join(round.to_string());
        std::fs::create_dir(&here).unwrap();
        let paths = [0, 1].map(|k| here.join(format!("half{k}")));
        let children: Vec<_> = (0..2).map(|k| alone(chain, k, &paths[k])).collect();
        while !paths.iter().all(|p| p.with_extension("ready").exists()) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        std::fs::write(here.join("go"), "").unwrap();
        let apart = children.into_iter().map(took).fold(0.0, f64::max);
        let together = wall(|| go(chain, FRAMES, 2, &here.join("both")));
        best = [best[0].min(apart), best[1].min(together)];
    }
    let [apart, together] = best.map(|seconds| FRAMES as f64 / seconds);
    println!(
        "{name}: two runs of one core {apart:4.0} frames/s, one run of two cores {together:4.0} frames/s, ratio {:.2}",
        together / apart
    );
}
