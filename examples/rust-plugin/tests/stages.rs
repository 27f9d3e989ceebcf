//! What the stages compute, driven as the engine drives them.

#![allow(clippy::unwrap_used)]

use isard_core::contract::pull;
use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_example as _;

fn built(name: &str, set: &str) -> Built {
    // Any use of the crate keeps the linker from dropping it.
    std::hint::black_box(&isard_example::isard_plugin);
    let registry = Registry::built_in().unwrap();
    (registry.find(name).unwrap().build)(serde_json::from_str(set).unwrap()).unwrap()
}

fn numbers(dict: &Dict, key: &str) -> Vec<f64> {
    match dict.need(key).unwrap() {
        Value::Array(array) => array.to_f64().unwrap(),
        other => vec![other.number().unwrap()],
    }
}

fn images(frames: usize, pixels: &[u16]) -> Dict {
    Dict::new().with("image", Array::of(&[frames, 1, pixels.len() / frames], pixels).unwrap())
}

#[test]
fn moments_are_those_of_a_hand_calculation() {
    let Built::Reduce(reduce) = built("example.moments", "{}") else { panic!("a reduction") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "moments");
    let mut part = reduce.part(&cx).unwrap();
    reduce.add(&cx, &mut part, &Span::frames(0, 4), images(4, &[1, 5, 2, 5, 3, 5, 6, 9])).unwrap();
    let output = reduce.finish(&cx, part).unwrap();
    // 1 2 3 6: mean 12/4, variance (4+1+0+9)/4. 5 5 5 9: mean 24/4, variance (1+1+1+9)/4.
    assert_eq!(numbers(&output, "mean"), [3.0, 6.0]);
    assert_eq!(numbers(&output, "variance"), [3.5, 3.0]);
}

#[test]
fn the_decay_of_the_simulated_beam_is_found_again() {
    let set = r#"{"frames": 200, "size": [24, 24], "life": 60.0, "dark_every": 10}"#;
    let Built::Source(mut source) = built("example.beat", set) else { panic!("a source") };
    let Built::Fit(mut fit) = built("example.decay", r#"{"longest": 1000.0}"#) else { panic!("a fit") };
    let run = RunCx { seed: 3, ..RunCx::default() };
    let cx = Cx::new(&run, "decay");
    source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let mut arrivals = vec![];
    while let (Pull::Ready, all) = pull(&mut *source, &cx, 16, 0).unwrap() {
        arrivals.extend(all);
    }
    for arrival in arrivals {
        let Arrival::Frames { first, count, data } = arrival else { panic!("good frames") };
        let Value::Array(image) = data.need("image").unwrap() else { panic!("images") };
        for i in (0..count).filter(|i| (first + i) % 10 != 9) {
            let one = Dict::new().with("image", image.records(i as usize..i as usize + 1).unwrap());
            fit.absorb(&cx, &Span::frames(first + i, 1), one).unwrap();
        }
    }
    fit.complete(&cx).unwrap();
    while fit.refine(&cx, &Slice::one_step()).unwrap().more {}
    let answer = fit.snapshot(&cx).unwrap().unwrap();
    // The truth is 60; the noise of 180 means of 576 pixels leaves about 0.1.
    let life = numbers(&answer, "life")[0];
    assert!((life - 60.0).abs() < 0.5, "found a lifetime of {life} frames");
}

#[test]
fn a_raster_goes_back_and_forth() {
    let Built::Task(mut task) = built("example.raster", r#"{"points": [2, 3], "step": 2.0}"#) else {
        panic!("a task")
    };
    let run = RunCx::default();
    let input = Dict::new().with("middle", Array::from_slice(&[10.0, 20.0]));
    let output = task.run(&Cx::new(&run, "raster"), input).unwrap();
    let Value::Table(points) = output.need("points").unwrap() else { panic!("a table") };
    assert_eq!(points.numbers::<f64>("y").unwrap(), &[9.0, 9.0, 9.0, 11.0, 11.0, 11.0]);
    assert_eq!(points.numbers::<f64>("x").unwrap(), &[18.0, 20.0, 22.0, 22.0, 20.0, 18.0]);
    // Five steps of 2.
    assert_eq!(numbers(&output, "way"), [10.0]);
}

#[test]
fn neighbours_across_a_gap_do_not_mix_beyond_their_reach() {
    let Built::Fold(mut fold) = built("example.smooth", r#"{"reach": 1}"#) else { panic!("a fold") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "smooth");
    let mut emit = Emit::default();
    let frames =
        |values: &[f32]| Dict::new().with("image", Array::of(&[values.len(), 1, 1], values).unwrap());
    fold.push(&cx, &Span::frames(0, 3), frames(&[1.0, 2.0, 6.0]), &mut emit).unwrap();
    let gap = Gap { span: Span::frames(3, 2), reason: Reason::Missing, why: "lost".into() };
    fold.gap(&cx, &gap, &mut emit).unwrap();
    fold.push(&cx, &Span::frames(5, 1), frames(&[9.0]), &mut emit).unwrap();
    fold.finish(&cx, &mut emit).unwrap();
    let (items, gaps) = emit.take();
    let found: Vec<(u64, f64)> =
        items.iter().map(|(span, dict)| (span.start, numbers(dict, "image")[0])).collect();
    // By hand: (1+2)/2, (1+2+6)/3, (2+6)/2, and frame 5 alone.
    assert_eq!(found, [(0, 1.5), (1, 3.0), (2, 4.0), (5, 9.0)]);
    assert!(gaps.is_empty());
}
