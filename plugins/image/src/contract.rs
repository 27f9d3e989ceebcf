//! What every stage of this crate promises.

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry};
use isard_core::stage::{Built, RunCx};

use crate::tester::{Dice, parameters};

fn stages() -> Vec<std::sync::Arc<Declaration>> {
    let registry = Registry::built_in().unwrap();
    registry.iter().filter(|d| d.origin == env!("CARGO_PKG_NAME")).cloned().collect()
}

fn check_doc(what: &str, doc: &str) {
    let first = doc.lines().next().unwrap_or_default();
    let length = first.chars().count();
    assert!((1..=80).contains(&length), "{what}: {length} characters in `{first}`");
    assert!(first.ends_with('.'), "{what}: `{first}` is no sentence");
}

#[test]
fn the_family_is_complete() {
    let names: Vec<String> = stages().iter().map(|d| d.name.clone()).collect();
    let wanted =
        "bin correct crop dark flat gain histogram mask max mean median min orient peaks repair std sum threshold";
    let wanted: Vec<String> = wanted.split(' ').map(|n| format!("image.{n}")).collect();
    assert_eq!(names, wanted);
}

#[test]
fn everything_is_documented() {
    for d in stages() {
        check_doc(&d.name, &d.doc);
        assert!(d.doc.contains("\n\nSource: "), "{}: no source of the method", d.name);
        for port in d.inputs.iter().chain(&d.outputs) {
            check_doc(&format!("{}: port {}", d.name, port.name), &port.doc);
        }
        let Some(properties) = d.schema.get("properties").and_then(|p| p.as_object()) else { continue };
        for (name, schema) in properties {
            let doc = schema.get("description").and_then(|d| d.as_str()).unwrap_or_default();
            check_doc(&format!("{}: parameter {name}", d.name), doc);
        }
    }
}

#[test]
fn unknown_parameters_are_refused_and_examples_are_sound() {
    for d in stages() {
        let example = (d.example)();
        let built = (d.build)(parameters(&example.set)).unwrap();
        assert!(built.stage().check().is_empty(), "{}", d.name);
        assert!(
            (d.build)(parameters(&format!("{}\nno_such_parameter = 1", example.set))).is_err(),
            "{}",
            d.name
        );
        let properties = d.schema.get("properties").and_then(|p| p.as_object()).map_or(0, |p| p.len());
        assert!(!d.schema.to_string().contains("Prepared") && properties < 6, "{}", d.name);
    }
}

fn whole(example: &Example) -> Dict {
    example.frames.clone().into_iter().chain(example.fixed.clone()).collect()
}

fn part_of(example: &Example, from: u64, to: u64) -> Dict {
    let cut = example.frames.iter().map(|(k, v)| (k.clone(), v.cut(0, from, to).unwrap()));
    cut.chain(example.fixed.clone()).collect()
}

/// Shapes of a dictionary's frames, without their leading axis.
fn shapes_of(dict: &Dict) -> Shapes {
    dict.iter().fold(Shapes::default(), |shapes, (key, value)| match value {
        Value::Array(a) => shapes.with(key.as_str(), Shape::array(a.dtype(), &a.shape()[1..])),
        _ => shapes,
    })
}

#[test]
fn maps_give_the_same_for_any_chunk_and_what_they_announce() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "contract");
    for d in stages() {
        let example = (d.example)();
        let Built::Map(map) = (d.build)(parameters(&example.set)).unwrap() else { continue };
        let span = example.span();
        let all = map.apply(&cx, &span, whole(&example)).unwrap();
        let announced = map.shapes(&shapes_of(&example.frames)).unwrap();
        for (port, shape) in announced.iter() {
            let Some(Value::Array(found)) = all.get(port) else { panic!("{}: no `{port}`", d.name) };
            assert_eq!(*shape, Shape::array(found.dtype(), &found.shape()[1..]), "{}: `{port}`", d.name);
        }
        for n in 0..span.len {
            let one = map.apply(&cx, &span.part(n, n + 1), part_of(&example, n, n + 1)).unwrap();
            for (key, value) in all.iter() {
                let (found, wanted) = (one.need(key.as_str()).unwrap(), value.cut(0, n, n + 1).unwrap());
                assert!(alike(found, &wanted), "{}: `{key}` of frame {n}: {found:?} for {wanted:?}", d.name);
            }
        }
    }
}

/// Equality that holds for NaN too.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a == b,
        _ => a == b,
    }
}

/// Random frames of a dtype, with negative pixels and NaN where it has them.
fn random(dtype: Dtype, dice: &mut Dice, n: usize) -> Array {
    isard_core::dispatch!(dtype, T => {
        let pixels: Vec<T> = (0..n * 15).map(|_| match dice.below(9) {
            0 if dtype.is_float() => (-1.0f64).sqrt() as T,
            1 if !dtype.is_unsigned() => (-(dice.below(100) as i64)) as T,
            _ => dice.below(if dtype.size() == 1 { 100 } else { 30_000 }) as T,
        }).collect();
        Array::of(&[n, 3, 5], &pixels).unwrap()
    }, complex => unreachable!())
}

#[test]
fn reductions_depend_neither_on_cuts_nor_on_keeping() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "contract");
    let mut dice = Dice(3);
    let n = 40u64;
    for d in stages() {
        let Built::Reduce(stage) = (d.build)(parameters(&(d.example)().set)).unwrap() else { continue };
        for dtype in Dtype::ALL.into_iter().filter(|d| !d.is_complex()) {
            let frames = Value::from(random(dtype, &mut dice, n as usize));
            let feed = |part: &mut _, from, to| {
                let input = Dict::new().with("image", frames.cut(0, from, to).unwrap());
                stage.add(&cx, part, &Span::frames(from, to - from), input).unwrap();
            };
            // Blocks of 10 frames, merged from left to right: in one piece, or cut anywhere and kept in between.
            let mut finish = |cut: bool| {
                let mut all = stage.part(&cx).unwrap();
                for block in 0..n / 10 {
                    let mut part = stage.part(&cx).unwrap();
                    let (mut from, end) = (block * 10, block * 10 + 10);
                    while from < end {
                        let to = if cut { end.min(from + 1 + dice.below(4)) } else { end };
                        feed(&mut part, from, to);
                        from = to;
                        if cut {
                            part = stage.load(&cx, stage.save(&part).unwrap()).unwrap();
                        }
                    }
                    stage.merge(&cx, &mut all, part).unwrap();
                }
                let peek = stage.peek(&cx, &all).unwrap().unwrap();
                (encoded(peek), encoded(stage.finish(&cx, all).unwrap()))
            };
            let (whole, pieces) = (finish(false), finish(true));
            assert_eq!(whole, pieces, "{} of {dtype}", d.name);
            assert_eq!(whole.0, whole.1, "{} of {dtype}: the last glance is not the result", d.name);
            if dtype.is_integer() && dtype.size() <= 4 {
                // Exact sums do not even depend on the blocks.
                let mut one = stage.part(&cx).unwrap();
                feed(&mut one, 0, n);
                assert_eq!(encoded(stage.finish(&cx, one).unwrap()), whole.1, "{} of {dtype}", d.name);
            }
        }
    }
}

fn encoded(dict: Dict) -> Vec<u8> {
    let mut bytes = vec![];
    isard_core::value::encode(&Value::Dict(dict), &mut bytes);
    bytes
}

#[test]
fn reductions_of_no_frame_say_so_and_empty_parts_change_nothing() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "contract");
    for d in stages() {
        let example = (d.example)();
        let Built::Reduce(stage) = (d.build)(parameters(&example.set)).unwrap() else { continue };
        let empty = || stage.load(&cx, stage.save(&stage.part(&cx).unwrap()).unwrap()).unwrap();
        match stage.finish(&cx, empty()) {
            Ok(out) => assert!(d.name == "image.histogram" && out.get("counts").is_some()),
            Err(error) => assert!(error.message().starts_with("no frame came"), "{}: {error}", d.name),
        }
        let full = || {
            let mut part = stage.part(&cx).unwrap();
            stage.add(&cx, &mut part, &example.span(), whole(&example)).unwrap();
            part
        };
        let (mut before, mut after) = (empty(), full());
        stage.merge(&cx, &mut before, full()).unwrap();
        stage.merge(&cx, &mut after, empty()).unwrap();
        let wanted = encoded(stage.finish(&cx, full()).unwrap());
        assert_eq!(encoded(stage.finish(&cx, before).unwrap()), wanted, "{}", d.name);
        assert_eq!(encoded(stage.finish(&cx, after).unwrap()), wanted, "{}", d.name);
        let announced = stage.shapes(&shapes_of(&example.frames)).unwrap();
        let out = stage.finish(&cx, full()).unwrap();
        for (port, shape) in announced.iter() {
            let Some(found) = out.get(port) else { panic!("{}: no `{port}`", d.name) };
            assert_eq!(*shape, Shape::of(found), "{}: `{port}`", d.name);
        }
    }
}

#[test]
fn a_kept_part_that_lost_pixels_is_refused() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "contract");
    for d in stages() {
        let example = (d.example)();
        let Built::Reduce(stage) = (d.build)(parameters(&example.set)).unwrap() else { continue };
        let mut part = stage.part(&cx).unwrap();
        stage.add(&cx, &mut part, &example.span(), whole(&example)).unwrap();
        let state = stage.save(&part).unwrap();
        for (key, value) in state.iter() {
            let Value::Array(array) = value else { continue };
            let short = array.records(0..array.shape()[0] - 1).unwrap();
            let error = stage.load(&cx, state.clone().with(key.clone(), short)).err();
            assert!(error.is_some_and(|e| e.message().contains(key.as_str())), "{}: `{key}`", d.name);
        }
    }
}

#[test]
fn frames_of_another_kind_are_refused() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "contract");
    let flat = || Dict::new().with("image", Array::from_slice(&[1u8, 2]));
    for d in stages() {
        let example = (d.example)();
        let input: Dict = example.fixed.clone().into_iter().chain(flat()).collect();
        let error = match (d.build)(parameters(&example.set)).unwrap() {
            Built::Map(map) => map.apply(&cx, &Span::frames(0, 2), input).unwrap_err(),
            Built::Reduce(stage) => {
                let mut part = stage.part(&cx).unwrap();
                stage.add(&cx, &mut part, &Span::frames(0, 2), input).unwrap_err()
            }
            _ => panic!("{}: neither map nor reduction", d.name),
        };
        assert_eq!(error.message(), "found images of u8 [2], wanted frames [n y x]", "{}", d.name);
    }
}
