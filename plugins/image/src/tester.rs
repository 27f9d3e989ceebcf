//! What the tests of this crate share: building stages from TOML and feeding them without an engine.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyMap, AnyReduce, Built, RunCx, build};

/// An array of the given elements.
pub(crate) fn array<T: Element>(shape: &[usize], elements: &[T]) -> Array {
    Array::of(shape, elements).unwrap()
}

/// The JSON of parameters in TOML.
pub(crate) fn parameters(set: &str) -> serde_json::Value {
    toml::from_str(set).unwrap()
}

/// A map with its parameters in TOML.
pub(crate) fn tool<S: Map>(set: &str) -> Result<Arc<dyn AnyMap>> {
    match build::Map::<S>(parameters(set))? {
        Built::Map(map) => Ok(map),
        _ => panic!("a map was built"),
    }
}

/// A declared reduction with its parameters in TOML.
pub(crate) fn reduction(name: &str, set: &str) -> Arc<dyn AnyReduce> {
    let registry = Registry::built_in().unwrap();
    match (registry.find(name).unwrap().build)(parameters(set)).unwrap() {
        Built::Reduce(reduce) => reduce,
        _ => panic!("`{name}` is no reduction"),
    }
}

/// What a map makes of a chunk that begins at frame 0.
pub(crate) fn apply(map: &Arc<dyn AnyMap>, input: Dict) -> Result<Dict> {
    let n = input.get("image").and_then(Value::records).unwrap_or(0) as u64;
    let run = RunCx::default();
    map.apply(&Cx::new(&run, "tested"), &Span::frames(0, n), input)
}

/// What a reduction makes of frames, fed in one piece to one part.
pub(crate) fn reduce(stage: &Arc<dyn AnyReduce>, input: Dict) -> Result<Dict> {
    let n = input.get("image").and_then(Value::records).unwrap_or(0) as u64;
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let mut part = stage.part(&cx)?;
    stage.add(&cx, &mut part, &Span::frames(0, n), input)?;
    stage.finish(&cx, part)
}

/// The elements of an output array.
pub(crate) fn numbers<T: Element>(out: &Dict, port: &str) -> Vec<T> {
    match out.get(port) {
        Some(Value::Array(array)) => array.as_slice().unwrap().to_vec(),
        other => panic!("`{port}` is {other:?}"),
    }
}

/// Repeatable random whole numbers below a bound.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}
