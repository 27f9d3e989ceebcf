//! How many frames of 2048 x 2048 pixels of 16 bits one core takes in a second: each stage alone, and the chain.
//!
//! `cargo bench -p isard-dct`; frames are in memory, times are those of the processor, so that other work on the machine
//! counts little. Background of 21 frames (the moving median and the difference), median of 3 x 3, labelling and
//! segmentation at six standard deviations with spots in every frame. Once with the best vectors of the machine and once
//! with AVX2 alone (`ISARD_SIMD=plain` or `avx2` measures that alone), then, where `ISARD_PYTHON` names an interpreter,
//! what other programs take for the same steps in the same minutes.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::path::Path;
use std::process::Command;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyFold, AnyMap, Built, RunCx};
use isard_core::value::{LargePages, Pool};
use isard_dct as _;
use isard_image as _;
use serde_json::{Value as Json, json};

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const SIDE: usize = 2048;
/// Frames that differ; the scan repeats them.
const KINDS: usize = 48;

/// Seconds that this thread has been on a processor.
fn clock() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1e-9
}

fn build(name: &str, set: Json) -> Built {
    (Registry::built_in().unwrap().find(name).unwrap().build)(set).unwrap()
}

fn fold(name: &str, set: Json) -> Box<dyn AnyFold> {
    let Built::Fold(fold) = build(name, set) else { panic!("`{name}` is no fold") };
    fold
}

/// Noise of nine counts on a slope, with six soft spots.
fn frame(k: usize) -> Array {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64 ^ (k as u64) << 32 | 1;
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
            let (y, x) = (p / 60, p % 60);
            let far = (y as f32 - 30.0).hypot(x as f32 - 30.0);
            pixels[(row + y) * SIDE + column + x] += (600.0 / (1.0 + ((far - 20.0) / 2.0).exp())) as u16;
        }
    }
    Array::of(&[1, SIDE, SIDE], &pixels).unwrap()
}

fn images(emit: &mut Emit<Dict>) -> Vec<(Span, Array)> {
    let image = |(span, dict): (Span, Dict)| match dict.get("image") {
        Some(Value::Array(image)) => (span, image.clone()),
        other => panic!("`image` is {other:?}"),
    };
    emit.take().0.into_iter().map(image).collect()
}

/// What one chain came to: frames per second of each stage, and of all.
fn measure(name: &str, frames: u64, kinds: &[Array]) -> f64 {
    // As in a run, whose pool keeps a gigabyte.
    let run = RunCx { pool: Pool::new(1 << 30), ..RunCx::default() };
    let cx = Cx::new(&run, "bench");
    let (even, raw) = (name == "normalised", name == "at once");
    let dtype = if name == "compact" { "compact" } else { "f32" };
    let dark = Array::of(&[SIDE, SIDE], &vec![100f32; SIDE * SIDE]).unwrap();
    let Built::Map(offset) = build("dct.offset", json!({ "offset": 100.0 })) else { panic!("a map") };
    let boxes = json!([{ "x": [900, 950], "y": [100, 1900] }]);
    let mut normalize = fold("dct.normalize", json!({ "margin_boxes": boxes, "apply": !raw }));
    let mut background = fold("dct.background", json!({ "window": 21, "edge": "wrap", "dtype": dtype }));
    let Built::Map(median) = build("image.median", json!({})) else { panic!("a map") };
    let set = json!({ "threshold": 60, "t_low": 30, "bb_max": [20, 60, 60], "wrap": true });
    let mut segment = fold("dct.segment", set);
    let (mut emit, mut spots) = (Emit::default(), Emit::default());
    // Normalisation, background, median, segmentation.
    let (mut times, mut counts, mut found) = ([0.0; 4], [0u64; 2], 0);
    for k in 0..frames {
        let mut input = Dict::new().with("image", kinds[k as usize % kinds.len()].clone());
        let span = Span::frames(k, 1);
        let begun = clock();
        if even {
            let less = AnyMap::apply(&*offset, &cx, &span, input).unwrap();
            normalize.push(&cx, &span, less, &mut emit).unwrap();
            input = Dict::new().with("image", images(&mut emit).remove(0).1);
        }
        if raw {
            normalize.push(&cx, &span, input.clone().with("dark", dark.clone()), &mut emit).unwrap();
            let (_, given) = emit.take().0.remove(0);
            let factor = given.get("factor").unwrap().clone();
            input = input.with("factor", factor).with("dark", dark.clone());
        }
        let zero = clock();
        background.push(&cx, &span, input, &mut emit).unwrap();
        let ready = images(&mut emit);
        let one = clock();
        // Until as many frames are held as ever will be, new memory is touched: that is not counted.
        let counted = k >= 2 * frames / 3;
        if counted {
            times[0] += zero - begun;
            times[1] += one - zero;
            counts[0] += 1;
        }
        for (span, image) in ready {
            let begun = clock();
            let clean = AnyMap::apply(&*median, &cx, &span, Dict::new().with("image", image)).unwrap();
            let two = clock();
            segment.push(&cx, &span, clean, &mut spots).unwrap();
            found += spots.take().0.iter().map(|(s, _)| s.len).sum::<u64>();
            if counted {
                times[2] += two - begun;
                times[3] += clock() - two;
                counts[1] += span.len;
            }
        }
    }
    let each: Vec<f64> = (0..4).map(|k| times[k] / counts[usize::from(k > 1)] as f64).collect();
    let all = 1.0 / each.iter().sum::<f64>();
    let [even, back, median, segment] = [0, 1, 2, 3].map(|k| 1.0 / each[k]);
    println!(
        "{name:10} normalise {even:4.0}/s   background {back:4.0}/s   median {median:4.0}/s   \
         segment {segment:4.0}/s   chain {all:4.0}/s   ({found} spots)"
    );
    all
}

/// What the memory allows: frames copied into one buffer of the pool, and frames from memory through the median alone.
fn alone(kinds: &[Array]) {
    let run = RunCx { pool: Pool::new(1 << 30), ..RunCx::default() };
    let cx = Cx::new(&run, "bench");
    let Built::Map(median) = build("image.median", json!({})) else { panic!("a map") };
    let rate = |work: &mut dyn FnMut(u64, &Array)| {
        let each = (0..3).map(|_| {
            let begun = clock();
            kinds.iter().enumerate().for_each(|(k, frame)| work(k as u64, frame));
            (clock() - begun) / kinds.len() as f64
        });
        1.0 / each.fold(f64::INFINITY, f64::min)
    };
    let copy = rate(&mut |_, frame| {
        let mut to = cx.array(Dtype::U16, frame.shape()).unwrap();
        to.bytes_mut().copy_from_slice(frame.bytes());
    });
    let filter = rate(&mut |k, frame| {
        let input = Dict::new().with("image", frame.clone());
        drop(AnyMap::apply(&*median, &cx, &Span::frames(k, 1), input).unwrap());
    });
    println!("alone      copy {copy:4.0}/s   median {filter:4.0}/s");
}

/// Runs this program once more under what the environment allows.
fn again(level: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    assert!(command.env("ISARD_SIMD", level).status().unwrap().success());
}

fn main() {
    let level = std::env::var("ISARD_SIMD").unwrap_or_default();
    println!("{}", if level.is_empty() { "vectors as wide as there are" } else { &level });
    let kinds: Vec<Array> = (0..KINDS).map(frame).collect();
    // Normalised by stages of their own, and on the way to the median.
    for name in ["compact", "f32", "normalised", "at once"] {
        measure(name, 4 * KINDS as u64, &kinds);
    }
    alone(&kinds);
    drop(kinds);
    if !level.is_empty() {
        return;
    }
    again("avx2");
    let Ok(python) = std::env::var("ISARD_PYTHON") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/others.py");
    println!("other programs, one core");
    assert!(Command::new(python).arg("-B").arg(script).status().unwrap().success());
}
