//! What any background and any segmentation must hold, on frames made by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyFold, Built, RunCx};
use isard_dct as _;
use serde_json::{Value as Json, json};

fn fold(name: &str, set: Json) -> Box<dyn AnyFold> {
    let built = (Registry::built_in().unwrap().find(name).unwrap().build)(set).unwrap();
    let Built::Fold(fold) = built else { panic!("`{name}` is no fold") };
    fold
}

/// What a fold gives for frames one by one, in the order of their numbers.
fn run(name: &str, set: Json, frames: &[Array], beside: &Dict) -> Vec<(Span, Dict)> {
    let run = RunCx::default();
    let cx = Cx::new(&run, "rules");
    let (mut stage, mut emit) = (fold(name, set), Emit::default());
    for (k, frame) in frames.iter().enumerate() {
        let input = beside.clone().with("image", frame.lead());
        stage.push(&cx, &Span::frames(k as u64, 1), input, &mut emit).unwrap();
    }
    stage.finish(&cx, &mut emit).unwrap();
    let mut all = emit.take().0;
    all.sort_by_key(|(span, _)| span.start);
    all
}

fn background(set: Json, frames: &[Array]) -> Vec<Vec<f64>> {
    let image = |(_, dict): (Span, Dict)| match dict.get("image") {
        Some(Value::Array(image)) => image.to_f64().unwrap(),
        other => panic!("`image` is {other:?}"),
    };
    run("dct.background", set, frames, &Dict::new()).into_iter().map(image).collect()
}

const EDGES: [&str; 4] = ["wrap", "shift", "reflect", "nearest"];

#[test]
fn what_does_not_change_is_background() {
    let frames: Vec<Array> =
        (0..30).map(|_| Array::of(&[1, 5], &[0u16, 7, 300, 65534, 65535]).unwrap()).collect();
    for (edge, window) in EDGES.into_iter().flat_map(|e| [1, 5, 21].map(|w| (e, w))) {
        for dtype in ["f32", "compact"] {
            let less = background(json!({ "window": window, "edge": edge, "dtype": dtype }), &frames);
            assert_eq!(less, vec![vec![0.0; 5]; 30], "{edge}, {window}, {dtype}");
        }
    }
}

/// A spot of ten frames on a background of its own in each pixel, with a window of 21: not half of it.
#[test]
fn a_spot_shorter_than_half_the_window_keeps_its_sum() {
    let spot = |k: usize, x: usize| if (12..22).contains(&k) { 100 + 37 * (k - 12) * (x + 1) } else { 0 };
    let frame = |k: usize| {
        let pixels: Vec<u16> = (0..4).map(|x| (1000 * x + 50 + spot(k, x)) as u16).collect();
        Array::of(&[1, 4], &pixels).unwrap()
    };
    let frames: Vec<Array> = (0..40).map(frame).collect();
    let wanted: Vec<Vec<f64>> = (0..40).map(|k| (0..4).map(|x| spot(k, x) as f64).collect()).collect();
    for edge in EDGES {
        assert_eq!(background(json!({ "window": 21, "edge": edge }), &frames), wanted, "{edge}");
    }
}

/// Spots of 10 and of 12 frames, behind a window of 21: half of it is 10.5.
#[test]
fn a_spot_longer_than_half_the_window_is_flagged() {
    let frame = |k: usize| {
        let lit = [(3..13).contains(&k), false, false, (20..32).contains(&k)];
        Array::of(&[1, 4], &lit.map(|on| if on { 50f32 } else { 0.0 })).unwrap()
    };
    let frames: Vec<Array> = (0..40).map(frame).collect();
    let covered = Dict::new().with("covered", Array::from_slice(&[21u32]));
    let set = json!({ "threshold": 10, "bb_max": [20, 2, 2] });
    let mut found = vec![];
    for (_, dict) in run("dct.segment", set, &frames, &covered) {
        let Some(Value::Table(spots)) = dict.get("spots") else { panic!("a table of spots") };
        let [frames, flags] = ["frames", "flags"].map(|name| spots.numbers::<i64>(name).unwrap());
        found.extend(frames.iter().zip(flags).map(|(frames, flags)| (*frames, flags & 32)));
    }
    assert_eq!(found, [(10, 0), (12, 32)]);
}

#[test]
fn frames_of_nothing_and_scans_of_next_to_nothing_come_through() {
    let floats = |value: f32| Array::of(&[3, 33], &[value; 99]).unwrap();
    let counts = |value: u16| Array::of(&[3, 33], &[value; 99]).unwrap();
    let nothing = vec![f64::NAN; 99];
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
    for edge in EDGES {
        // A frame without a number among others has no differences; the others do not see it.
        let mut frames = vec![floats(2.0); 9];
        frames[4] = floats(f32::NAN);
        let less = background(json!({ "window": 5, "edge": edge }), &frames);
        assert!(
            less.iter().enumerate().all(|(k, f)| same(f, if k == 4 { &nothing } else { &[0.0; 99] })),
            "{edge}"
        );
        // Frames that are all empty, all full, and in turns.
        for frames in [vec![counts(0); 6], vec![counts(65535); 6]] {
            assert_eq!(background(json!({ "window": 5, "edge": edge }), &frames), vec![vec![0.0; 99]; 6]);
        }
        let less = background(json!({ "window": 1, "edge": edge }), &[counts(0), counts(65535)]);
        assert_eq!(less, vec![vec![0.0; 99]; 2]);
        // Fewer frames than the window: a ring refuses, the others take what there is.
        if edge != "wrap" {
            let less = background(json!({ "window": 21, "edge": edge }), &[counts(7), counts(7), counts(7)]);
            assert_eq!(less, vec![vec![0.0; 99]; 3], "{edge}");
            assert_eq!(background(json!({ "window": 21, "edge": edge }), &[counts(9)]), [vec![0.0; 99]]);
        }
    }
    // Nothing lit, everything lit for ever, and no numbers at all.
    let spots = |frames: &[Array], wrap: bool| -> usize {
        let set = json!({ "threshold": 10, "bb_max": [2, 2, 2], "wrap": wrap });
        let tables = run("dct.segment", set, frames, &Dict::new());
        tables.iter().map(|(span, _)| span.len as usize).sum()
    };
    for wrap in [false, true] {
        assert_eq!(spots(&vec![floats(0.0); 8], wrap), 0);
        assert_eq!(spots(&vec![floats(f32::NAN); 8], wrap), 0);
        assert_eq!(spots(&vec![floats(50.0); 8], wrap), 1);
        assert_eq!(spots(&[floats(50.0)], wrap), 1);
    }
}
