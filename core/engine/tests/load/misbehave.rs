//! A library that misbehaves, and what it may ask of the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use isard_core::port::check_output;
use isard_core::stage::{Built, Cx, Reason, RunCx};
use isard_core::{Array, Blame, Dict, Error, Result, Span, Value};
use rand::{RngExt, SeedableRng};

use crate::library::{declared, misbehaving, run, stage};

/// Tells the stage what to do with one frame.
fn told(run: &RunCx, how: &str) -> Result<Dict> {
    let cx = Cx::new(run, "it");
    apply(&cx, how)
}

fn apply(cx: &Cx, how: &str) -> Result<Dict> {
    let declaration = declared(misbehaving(), "test.misbehave");
    let Built::Map(map) = stage(&declaration, &format!(r#"{{"how": "{how}"}}"#)) else { panic!("a map") };
    let span = Span::frames(5, 1);
    let input = Dict::new().with("image", Array::of(&[1, 1, 1], &[2.5f32]).unwrap());
    let output = map.apply(cx, &span, input)?;
    check_output(&declaration.outputs, Some(&span), &output)?;
    Ok(output)
}

fn number(output: Dict) -> f64 {
    output.get("image").and_then(|v| if let Value::Array(a) = v { a.to_f64().ok() } else { None }).unwrap()[0]
}

#[test]
fn a_panic_becomes_an_error_that_names_stage_and_library() {
    let error = told(&run(), "panic").unwrap_err();
    assert_eq!(error.blame(), Blame::Plugin);
    let text = error.to_string();
    assert!(text.contains("`test.misbehave` of libisard_misbehave"), "{text}");
    assert!(text.contains("the stage panicked in `apply`: told to panic at frame 5"), "{text}");
    // The library is still good for work.
    assert_eq!(number(told(&run(), "nothing").unwrap()), 2.5);
}

#[test]
fn a_panic_in_parallel_work_becomes_an_error() {
    let text = told(&run(), "panic_in_par").unwrap_err().to_string();
    assert!(text.contains("the stage panicked in `par`: told to panic in part 3"), "{text}");
}

#[test]
fn a_panic_when_a_stage_is_let_go_ends_nothing() {
    assert_eq!(number(told(&run(), "panic_in_drop").unwrap()), 2.5);
}

#[test]
fn an_error_crosses_whole() {
    let error = told(&run(), "fail").unwrap_err();
    let wanted = Error::new(Blame::Io, "told to fail").help("do not tell it").transient().at("inside");
    assert_eq!(error, wanted);
}

#[test]
fn a_wrong_output_names_its_port_and_what_was_wanted() {
    for (how, found) in [
        ("wrong_shape", "found array of f32 [1, 7], wanted array of f32 [1 y x] for frame 5"),
        ("wrong_dtype", "found array of u16 [1], wanted array of f32 [1 y x] for frame 5"),
        ("wrong_lead", "found array of f32 [2, 1, 1], wanted array of f32 [1 y x] for frame 5"),
    ] {
        let error = told(&run(), how).unwrap_err();
        assert_eq!(error.to_string(), format!("port `image`: {found}").replace("u16 [1]", "u16 [1, 1, 1]"));
    }
}

#[test]
fn parallel_work_runs_on_the_threads_of_the_host() {
    let before = threads();
    // The sum of 0 to 999.
    assert_eq!(number(told(&run(), "par").unwrap()), 499_500.0);
    // A pool of the library's own would stay: rayon never ends its global one.
    assert!(threads() <= before + 8, "{} threads, {before} before", threads());
    assert_eq!(number(told(&RunCx::default(), "par").unwrap()), 499_500.0);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn a_library_reads_through_the_engine() {
    let reader = |_: &RunCx, path: &str| match path {
        "dark.npy" => Ok(Value::from(Array::of(&[1, 1, 1], &[42f32]).unwrap())),
        _ => Err(Error::data("found no such file")),
    };
    let with = RunCx { reader: Some(Arc::new(reader)), ..run() };
    assert_eq!(number(told(&with, "read").unwrap()), 42.0);
    assert!(told(&run(), "read").unwrap_err().message().contains("no reader for `dark.npy`"));
}

#[test]
fn random_numbers_come_from_seed_stage_and_record() {
    // What `Cx::rng` documents: seed, record and FNV-1a of the name, each little-endian, in a ChaCha8 seed.
    // FNV-1a of "it" by hand: ((offset ^ 'i') * prime ^ 't') * prime in 64 bits.
    let prime = 0x100_0000_01b3u64;
    let name = ((0xcbf2_9ce4_8422_2325u64 ^ 0x69).wrapping_mul(prime) ^ 0x74).wrapping_mul(prime);
    let mut seed = [0; 32];
    for (at, word) in [7, 5, name, 0].into_iter().enumerate() {
        seed[8 * at..][..8].copy_from_slice(&word.to_le_bytes());
    }
    let wanted: f32 = rand_chacha::ChaCha8Rng::from_seed(seed).random();
    assert_eq!(number(told(&run(), "random").unwrap()), f64::from(wanted));
}

#[test]
fn frames_are_given_up_across_the_interface() {
    let run = run();
    let cx = Cx::new(&run, "it");
    apply(&cx, "give_up").unwrap();
    let gaps = cx.take_gaps();
    assert_eq!((gaps[0].span.clone(), gaps[0].reason), (Span::frames(5, 1), Reason::Skipped));
    assert_eq!(&*gaps[0].why, "told to give it up");
}

#[test]
fn a_cancelled_run_is_noticed() {
    let run = run();
    told(&run, "cancelled").unwrap();
    run.cancel.store(true, Ordering::Relaxed);
    assert_eq!(told(&run, "cancelled").unwrap_err().blame(), Blame::Cancelled);
}

#[test]
fn set_up_is_built_once_for_all_stages_of_a_library() {
    for _ in 0..2 {
        assert_eq!(number(told(&run(), "prepare").unwrap()), 1.0);
    }
}

#[test]
fn log_events_reach_the_subscriber_of_the_host() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber =
        tracing_subscriber::fmt().with_writer(Arc::new(log.reopen().unwrap())).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || told(&run(), "log").unwrap());
    let text = std::fs::read_to_string(log.path()).unwrap();
    let line =
        text.lines().find(|line| line.contains("Told to warn.")).unwrap_or_else(|| panic!("found {text}"));
    assert!(line.contains("WARN isard::plugin") && line.contains("frame=5"), "{line}");
    assert!(line.contains("libisard_misbehave") && line.contains("isard_misbehave"), "{line}");
    assert!(!text.contains("Nobody listens"), "{text}");
}

#[test]
fn arrays_cross_without_a_copy_and_are_let_go() {
    let run = run();
    let cx = Cx::new(&run, "it");
    let Built::Map(map) = stage(&declared(misbehaving(), "test.misbehave"), r#"{"how": "nothing"}"#) else {
        panic!("a map")
    };
    let image = cx.array(isard_core::Dtype::F32, &[1, 64, 64]).unwrap().freeze();
    let address = image.bytes().as_ptr();
    let output = map.apply(&cx, &Span::frames(0, 1), Dict::new().with("image", image)).unwrap();
    let Some(Value::Array(back)) = output.get("image") else { panic!("an image") };
    assert_eq!(back.bytes().as_ptr(), address);
    // Nobody else keeps it: the buffer goes back to the pool with the output.
    assert_eq!(run.pool.in_use(), 64 * 64 * 4);
    drop(output);
    assert_eq!(run.pool.in_use(), 0);
}

#[test]
fn neighbours_that_went_through_a_library_still_join_without_a_copy() {
    let run = run();
    let cx = Cx::new(&run, "it");
    let Built::Map(map) = stage(&declared(misbehaving(), "test.misbehave"), r#"{"how": "nothing"}"#) else {
        panic!("a map")
    };
    let pixels: Vec<f32> = (0..6 * 4).map(|i| i as f32).collect();
    let all = Array::of(&[6, 2, 2], &pixels).unwrap();
    let through = |from: usize, to: usize| {
        let input = Dict::new().with("image", all.records(from..to).unwrap());
        let output = map.apply(&cx, &Span::frames(from as u64, (to - from) as u64), input).unwrap();
        let Some(Value::Array(array)) = output.get("image") else { panic!("an image") };
        array.clone()
    };
    let (a, b) = (through(0, 2), through(2, 6));
    let joined = Array::concat(&[&a, &b], &run.pool).unwrap();
    assert_eq!((joined.bytes().as_ptr(), &joined), (all.bytes().as_ptr(), &all));
}
