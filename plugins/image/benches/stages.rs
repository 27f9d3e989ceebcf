//! How many bytes of images each stage takes in a second, on one core, in chunks of 16 frames of 1024 x 1024.
//!
//! `cargo bench -p isard-image`; the answer is limited by memory where it nears the speed of `copy`.

use divan::Bencher;
use divan::counter::BytesCount;
use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Built, RunCx};
use isard_core::value::LargePages;
use isard_image as _;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() {
    divan::main();
}

const SHAPE: [usize; 3] = [16, 1024, 1024];

/// Flat noise of a few counts, with a spot of 25 pixels every 4000.
fn frames<T: Element>(make: impl Fn(u32) -> T) -> Array {
    let mut seed = 1u64;
    let pixel = |i: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let spot = i % 4000 < 5 && (i / 1024) % 20 < 5;
        make((seed >> 60) as u32 + if spot { 1000 } else { 0 })
    };
    let pixels: Vec<T> = (0..SHAPE.iter().product()).map(pixel).collect();
    Array::of(&SHAPE, &pixels).expect("as many pixels as the shape says")
}

fn image(dtype: &str) -> Array {
    match dtype {
        "u16" => frames(|x| x as u16),
        "i32" => frames(|x| x as i32),
        _ => frames(|x| x as f32),
    }
}

const MAPS: [(&str, &str); 12] = [
    ("image.correct", ""),
    ("image.dark", ""),
    ("image.mask", "below = 0\nabove = 60000"),
    ("image.repair", ""),
    ("image.crop", "row = 1\ncolumn = 1"),
    ("image.bin", ""),
    ("image.orient", "orientation = 2"),
    ("image.orient", "orientation = 5"),
    ("image.threshold", "above = 10"),
    ("image.peaks", "above = 500"),
    ("image.peaks", "above = 14"),
    ("image.peaks", "above = 7"),
];

fn cases(stages: &[(&'static str, &'static str)], dtypes: &[&'static str]) -> Vec<Case> {
    let each = |dtype: &&'static str| {
        let dtype = *dtype;
        stages.iter().map(move |(name, set)| Case { name, set, dtype }).collect::<Vec<_>>()
    };
    dtypes.iter().flat_map(each).collect()
}

struct Case {
    name: &'static str,
    set: &'static str,
    dtype: &'static str,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} ({})", self.name, self.dtype, self.set.replace('\n', ", "))
    }
}

fn build(case: &Case) -> Built {
    let set: serde_json::Value = toml::from_str(case.set).expect("the parameters are TOML");
    let registry = Registry::built_in().expect("no name is taken twice");
    (registry.find(case.name).expect("the stage is declared").build)(set).expect("the parameters are sound")
}

fn input(case: &Case, array: &Array) -> Dict {
    let dict = Dict::new().with("image", array.clone());
    let fixed = |x: f32| Array::of(&SHAPE[1..], &vec![x; SHAPE[1] * SHAPE[2]]).expect("one frame");
    match case.name {
        "image.correct" => dict.with("dark", fixed(2.0)).with("flat", fixed(1.5)),
        "image.dark" => dict.with("dark", fixed(2.0)),
        _ => dict,
    }
}

#[divan::bench(args = cases(&MAPS, &["u16", "i32", "f32"]))]
fn maps(bencher: Bencher, case: &Case) {
    let Built::Map(map) = build(case) else { return };
    let array = image(case.dtype);
    let input = input(case, &array);
    let run = RunCx::default();
    let cx = Cx::new(&run, "bench");
    let span = Span::frames(0, SHAPE[0] as u64);
    bencher
        .counter(BytesCount::new(array.bytes().len()))
        .bench_local(|| map.apply(&cx, &span, input.clone()).expect("the stage works"));
}

const REDUCTIONS: [(&str, &str); 9] = [
    ("image.sum", ""),
    ("image.sum", "below = 0"),
    ("image.mean", ""),
    ("image.max", ""),
    ("image.max", "below = 0"),
    ("image.min", ""),
    ("image.std", ""),
    ("image.std", "below = 0"),
    ("image.histogram", "low = 0\nhigh = 1000"),
];

#[divan::bench(args = cases(&REDUCTIONS, &["u16", "i32", "f32"]))]
fn reductions(bencher: Bencher, case: &Case) {
    let Built::Reduce(stage) = build(case) else { return };
    let array = image(case.dtype);
    let input = input(case, &array);
    let run = RunCx::default();
    let cx = Cx::new(&run, "bench");
    let span = Span::frames(0, SHAPE[0] as u64);
    let mut part = stage.part(&cx).expect("a part");
    bencher
        .counter(BytesCount::new(array.bytes().len()))
        .bench_local(|| stage.add(&cx, &mut part, &span, input.clone()).expect("the stage works"));
}

#[divan::bench]
fn copy(bencher: Bencher) {
    let array = image("u16");
    let run = RunCx::default();
    let cx = Cx::new(&run, "bench");
    bencher.counter(BytesCount::new(array.bytes().len())).bench_local(|| {
        let mut out = cx.array(Dtype::U16, &SHAPE).expect("room for a chunk");
        out.bytes_mut().copy_from_slice(array.bytes());
        out.freeze()
    });
}
