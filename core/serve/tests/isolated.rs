//! Plugins of libraries in host processes: a crash and an abort cost one job.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../engine/tests/load/library.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod library;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_core::load::isolate;
use isard_serve::{Config, InHosts, Jobs, Request, State};
use support::{request, run, until};

const IMAGE: &str = r#""image": [[1, 2], [3, 4]]"#;

fn jobs() -> Jobs {
    let library = library::misbehaving();
    isolate::use_host(library::host());
    let isolated = Arc::new(InHosts::new(2));
    Jobs::open(Config { workers: 2, libraries: vec![library.to_owned()], isolated, ..Config::default() })
        .unwrap()
}

fn job(what: &str) -> Request {
    request("test.job", &format!(r#"{{"what": "{what}", {IMAGE}}}"#))
}

#[test]
fn a_crash_is_the_error_of_that_job_alone() {
    let jobs = jobs();
    let sum = |jobs: &Jobs| {
        let (_, state) = run(jobs, "test.job", &format!(r#"{{"what": "sum", {IMAGE}}}"#));
        assert_eq!(state, State::Success, "{}", jobs.error(-1).unwrap());
        jobs.output(-1).unwrap().get("sum").and_then(isard_core::Value::number)
    };
    assert_eq!(sum(&jobs), Some(10.0));
    let (id, state) = run(&jobs, "test.job", &format!(r#"{{"what": "abort", {IMAGE}}}"#));
    assert_eq!(state, State::Failure);
    let error = jobs.error(id as i64).unwrap();
    assert!(error.contains("test.job") && error.contains("SIGABRT"), "{error}");
    assert_eq!(sum(&jobs), Some(10.0));
}

#[test]
fn an_abort_ends_what_never_looks_up() {
    let jobs = jobs();
    let hanging = jobs.start(job("hang")).unwrap() as i64;
    until("it runs", || jobs.state(hanging).unwrap() == State::Running);
    // The process is there a moment after the job says that it runs.
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    jobs.abort(hanging).unwrap();
    until("it is aborted", || jobs.state(hanging).unwrap() == State::Aborted);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Both workers are free: two jobs run, and neither meets the abort.
    for _ in 0..2 {
        let id = jobs.start(job("sum")).unwrap() as i64;
        until("a job is done", || jobs.state(id).unwrap() == State::Success);
    }
}
