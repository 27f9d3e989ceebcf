//! What does one call cost, beside the work? A task with a small dictionary, and the typed extraction of three ports.
//!
//! Run it with `cargo bench -p isard-core --bench call`.

use divan::Bencher;
use isard_core::port::Ports as _;
use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Built, RunCx};

fn main() {
    divan::main();
}

/// Three ports, as most stages have.
#[derive(Ports)]
struct Three {
    /// An image.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
    /// A mask, when there is one.
    #[port(dtype = "u8", axes = "y x")]
    mask: Option<Array>,
    /// A number.
    energy: f64,
}

/// One number.
#[derive(Ports)]
struct One {
    /// The number.
    energy: f64,
}

/// Gives the number back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Give {}

impl Stage for Give {
    type In = Three;
    type Out = One;
    fn example() -> Example {
        Example::new("").fixed("energy", 61.332)
    }
}

impl Task for Give {
    fn run(&mut self, _: &Cx, input: Three) -> Result<One> {
        divan::black_box((&input.image, &input.mask));
        Ok(One { energy: input.energy })
    }
}
declare!(Task, "bench.give", Kind::Tool, Give);

/// A small dictionary, its keys as a recipe or a job makes them.
fn small() -> Dict {
    let image = Array::of(&[4, 4], &[0f32; 16]).expect("16 pixels");
    let mask = Array::of(&[4, 4], &[0u8; 16]).expect("16 pixels");
    Dict::new()
        .with("image".to_owned(), image)
        .with("mask".to_owned(), mask)
        .with("energy".to_owned(), 61.332)
}

/// A task behind its erased form: dictionary cloned, call, dictionary out.
#[divan::bench]
fn task_with_a_small_dict(bencher: Bencher) {
    let registry = Registry::built_in().expect("no name twice");
    let declaration = registry.find("bench.give").expect("declared above");
    let Ok(Built::Task(mut task)) = (declaration.build)(serde_json::json!({})) else { panic!("a task") };
    let (run, dict) = (RunCx::default(), small());
    bencher.bench_local(|| task.run(&Cx::new(&run, "give"), dict.clone()).expect("it gives the number back"));
}

/// Fields taken out of a dictionary.
#[divan::bench]
fn three_ports_from_a_dict(bencher: Bencher) {
    let dict = small();
    bencher
        .with_inputs(|| dict.clone())
        .bench_local_refs(|dict| Three::from_dict(dict).expect("all three are there"));
}

/// What the two above pay for their own copy of the dictionary.
#[divan::bench]
fn a_small_dict_cloned(bencher: Bencher) {
    let dict = small();
    bencher.bench_local(|| dict.clone());
}
