//! How a host ends, and what the error says.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use isard_core::stage::{Built, Cx, RunCx};
use isard_core::{Array, Blame, Dict, Error, Result, Span, Value};

use crate::library::{misbehaving, run, stage};
use crate::{children, isolated, until};

/// Tells the isolated stage what to do with frame 5.
fn told(run: &RunCx, how: &str) -> Result<Dict> {
    told_in(misbehaving(), run, how)
}

fn told_in(library: &std::path::Path, run: &RunCx, how: &str) -> Result<Dict> {
    let declaration = isolated(library, "test.misbehave");
    let Built::Map(map) = stage(&declaration, &format!(r#"{{"how": "{how}"}}"#)) else { panic!("a map") };
    let input = Dict::new().with("image", Array::of(&[1, 1, 1], &[2.5f32]).unwrap());
    map.apply(&Cx::new(run, "it"), &Span::frames(5, 1), input)
}

fn refused(how: &str) -> Error {
    told(&run(), how).unwrap_err()
}

#[test]
fn a_crash_names_plugin_stage_signal_and_frame() {
    for (how, signal) in [("segfault", "SIGSEGV"), ("abort", "SIGABRT")] {
        let error = refused(how);
        assert_eq!(error.blame(), Blame::Plugin);
        let text = error.to_string();
        assert!(text.contains("`test.misbehave` of libisard_misbehave.so"), "{text}");
        assert!(text.contains(&format!("its host process was killed by {signal} (")), "{text}");
        assert!(text.contains("in `apply` on frame 5"), "{text}");
    }
    assert!(refused("abort").to_string().contains("it said last: this is the end"));
    assert!(refused("exit").message().contains("ended with exit code 42 in `apply` on frame 5"));
}

#[test]
fn a_stage_whose_host_is_gone_says_so_again() {
    let declaration = isolated(misbehaving(), "test.misbehave");
    let Built::Map(map) = stage(&declaration, r#"{"how": "abort"}"#) else { panic!("a map") };
    let run = run();
    let cx = Cx::new(&run, "it");
    let input = || Dict::new().with("image", Array::of(&[1, 1, 1], &[2.5f32]).unwrap());
    for when in ["on frame 7", "in an earlier call"] {
        let error = map.apply(&cx, &Span::frames(7, 1), input()).unwrap_err();
        assert!(error.message().contains(when), "{error}");
    }
}

#[test]
fn a_hang_is_killed_after_the_patience_of_the_run() {
    told(&run(), "nothing").unwrap();
    let run = RunCx { hang_s: 0.3, ..run() };
    let since = Instant::now();
    let error = told(&run, "stubborn").unwrap_err();
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let wanted = "it hangs: `apply` on frame 5 has not come back for 0.3 s; its host process was killed";
    assert_eq!((error.blame(), error.message()), (Blame::Plugin, wanted));
}

#[test]
fn a_cancelled_run_ends_a_stage_that_listens_and_one_that_does_not() {
    told(&run(), "nothing").unwrap();
    for how in ["hang", "stubborn"] {
        let run = run();
        let cancel = run.cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            cancel.store(true, Ordering::Relaxed);
        });
        let since = Instant::now();
        assert_eq!(told(&run, how).unwrap_err().blame(), Blame::Cancelled, "{how}");
        assert!(since.elapsed() < Duration::from_secs(5), "{how}: {:?}", since.elapsed());
    }
}

#[test]
fn what_the_engine_offers_is_there_in_a_host_too() {
    let number = |output: Dict| match output.get("image") {
        Some(Value::Array(image)) => image.to_f64().unwrap()[0],
        _ => panic!("an image"),
    };
    assert_eq!(number(told(&run(), "nothing").unwrap()), 2.5);
    assert_eq!(number(told(&run(), "par").unwrap()), 499_500.0);
    let near = crate::library::declared(misbehaving(), "test.misbehave");
    let Built::Map(map) = stage(&near, r#"{"how": "random"}"#) else { panic!("a map") };
    let input = Dict::new().with("image", Array::of(&[1, 1, 1], &[2.5f32]).unwrap());
    let here = map.apply(&Cx::new(&run(), "it"), &Span::frames(5, 1), input).unwrap();
    assert_eq!(number(told(&run(), "random").unwrap()), number(here));
    let reader = |_: &RunCx, path: &str| match path {
        "dark.npy" => Ok(Value::from(Array::of(&[1, 1, 1], &[42f32]).unwrap())),
        _ => Err(Error::data("found no such file")),
    };
    let with = RunCx { reader: Some(std::sync::Arc::new(reader)), ..run() };
    assert_eq!(number(told(&with, "read").unwrap()), 42.0);
    assert!(told(&run(), "read").unwrap_err().message().contains("no reader for `dark.npy`"));
    let panicked = refused("panic").to_string();
    assert!(panicked.contains("the stage panicked in `apply`: told to panic at frame 5"), "{panicked}");
    let wanted = Error::new(Blame::Io, "told to fail").help("do not tell it").transient().at("inside");
    assert_eq!(refused("fail"), wanted);
    let run = run();
    let cx = Cx::new(&run, "it");
    let Built::Map(map) = stage(&isolated(misbehaving(), "test.misbehave"), r#"{"how": "give_up"}"#) else {
        panic!("a map")
    };
    let input = Dict::new().with("image", Array::of(&[1, 1, 1], &[2.5f32]).unwrap());
    map.apply(&cx, &Span::frames(5, 1), input).unwrap();
    assert_eq!(&*cx.take_gaps()[0].why, "told to give it up");
}

#[test]
fn events_and_prints_of_a_host_reach_the_log() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = std::sync::Arc::new(log.reopen().unwrap());
    // For the whole process: the lines come by a thread of their own.
    tracing_subscriber::fmt().with_writer(writer).with_ansi(false).init();
    // A library of its own: the hosts of the other one may be older than the subscriber.
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libtalks.so");
    std::fs::copy(misbehaving(), &library).unwrap();
    told_in(&library, &run(), "log").unwrap();
    told_in(&library, &run(), "print").unwrap();
    let text = || std::fs::read_to_string(log.path()).unwrap();
    until("the log", || text().contains("Told to warn.") && text().contains("a word of the plugin"));
    let text = text();
    let line = text.lines().find(|line| line.contains("Told to warn.")).unwrap();
    assert!(line.contains("WARN isard::plugin") && line.contains("frame=5"), "{line}");
    assert!(!text.contains("Nobody listens"), "{text}");
}

#[test]
fn a_changed_library_is_refused_by_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcopy.so");
    std::fs::copy(misbehaving(), &library).unwrap();
    let declaration = isolated(&library, "test.misbehave");
    let mut bytes = std::fs::read(&library).unwrap();
    bytes.push(0);
    std::fs::remove_file(&library).unwrap();
    std::fs::write(&library, bytes).unwrap();
    let error = (declaration.build)(serde_json::json!({"how": "nothing"})).err().unwrap();
    assert!(error.message().contains("has changed: its SHA-256 is"), "{error}");
}

#[test]
fn a_host_that_is_none_is_an_error() {
    let text = std::process::Command::new(crate::library::host())
        .args(["host", "x.so"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(text.status.code(), Some(3));
    let text = String::from_utf8(text.stderr).unwrap();
    assert!(text.contains("standard input is no connection to isard"), "{text}");
}

#[test]
fn a_host_that_was_killed_is_reaped() {
    let before = children();
    let run = RunCx { hang_s: 0.2, ..run() };
    for how in ["abort", "stubborn", "exit"] {
        told(&run, how).unwrap_err();
    }
    let state = |id: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().unwrap_or_default().chars().next()
    };
    // Hosts of the tests beside this one come and go, and none stays a zombie.
    let zombies = || children().into_iter().filter(|id| !before.contains(id) && state(id) == Some('Z'));
    until("every host is reaped", || zombies().next().is_none());
}
