//! Jobs without a network: states, outputs, errors, aborts, priorities, bounds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isard_core::Value;
use isard_serve::{Config, Confine, Event, Files, Filter, Jobs, Request, State};
use support::{LET_GO, jobs, request, run, until};

/// The case of the specification: `example.square` with `{"x": 5}` gives 25.
#[test]
fn a_job_gives_its_output_with_what_the_server_adds() {
    let jobs = jobs(2);
    let (id, state) = run(&jobs, "example.square", r#"{"x": 5}"#);
    assert_eq!((id, state), (1, State::Success));
    let output = jobs.output(-1).unwrap();
    assert_eq!(output.get("result"), Some(&Value::Int(25)));
    assert_eq!(output.get("logging"), Some(&Value::from(vec![])));
    assert!(output.get("job_runtime").and_then(Value::number).is_some_and(|t| t > 0.0 && t < 60.0));
    assert!(output.get("error").is_none());
    let input = jobs.input(1).unwrap();
    assert_eq!(input.get("plugin_name").and_then(Value::text), Some("example.square"));
    assert_eq!(input.get("job_id"), Some(&Value::Int(1)));
    assert_eq!(run(&jobs, "Example.Cube", r#"{"x": 1.5}"#).1, State::Success);
    assert_eq!(jobs.output(-1).unwrap().get("result"), Some(&Value::Float(3.375)));
    assert_eq!(run(&jobs, "example.noop", "{}").1, State::Success);
    assert!(jobs.output(-1).unwrap().get("result").is_none());
    assert_eq!(jobs.id(-3).unwrap(), 1);
    for bad in [-4, 0, 4] {
        assert!(jobs.state(bad).unwrap_err().to_string().contains(&format!("no job {bad}")));
    }
}

#[test]
fn inputs_become_ports_and_logs_become_output() {
    let jobs = jobs(1);
    let (id, state) = run(&jobs, "moody.echo", r#"{"image": [[1, 2], [3, 4.5]]}"#);
    assert_eq!(state, State::Success, "{}", jobs.error(-1).unwrap());
    let output = jobs.output(-1).unwrap();
    assert_eq!(output.get("sum"), Some(&Value::Float(10.5)));
    assert_eq!(output.get("id"), Some(&Value::Int(id as i64)));
    let logged = Value::from(vec!["Warning: Echo looks at its input.".into()]);
    assert_eq!(output.get("logging"), Some(&logged));
}

#[test]
fn whatever_goes_wrong_is_the_error_of_that_job_alone() {
    let jobs = jobs(2);
    let error = |plugin: &str, input: &str| {
        let (id, state) = run(&jobs, plugin, input);
        assert_eq!(state, State::Failure, "{plugin} {input}");
        jobs.error(id as i64).unwrap()
    };
    assert!(error("example.sqare", "{}").contains("did you mean `example.square`"));
    assert!(error("noop", "{}").contains("names are `module.thing`"));
    assert!(error("example.square", r#"{"y": 1}"#).contains("no input and no parameter `y`"));
    assert!(error("example.square", "{}").contains('x'));
    assert!(error("example.square", r#"{"x": "five"}"#).contains("wanted a number"));
    assert!(error("example.square", r#"{"x": 10000000000}"#).contains("does not fit"));
    assert!(error("example.sleep", r#"{"t": -1}"#).contains('t'));
    assert!(error("example.sleep", r#"{"t": "long"}"#).contains('t'));
    assert!(error("moody.plugin", r#"{"how": "panic"}"#).contains("a bad day"));
    let text = error("moody.plugin", r#"{"how": "fail"}"#);
    assert!(text.contains("a mood of `fail`") && text.contains("data error"), "{text}");
    assert_eq!(run(&jobs, "example.noop", "{}").1, State::Success);
    assert_eq!(jobs.last_failure(), 10);
    assert_eq!(jobs.last_success(), 11);
    assert!(Request::from_text("example.noop", "{").unwrap_err().to_string().contains("not JSON"));
    assert!(Request::from_text("example.noop", "[1]").unwrap_err().to_string().contains("wanted an object"));
}

#[test]
fn a_job_that_waits_or_runs_is_aborted_at_once() {
    let jobs = jobs(1);
    let running = jobs.start(request("example.sleep", "{}")).unwrap() as i64;
    let waiting = jobs.start(request("example.sleep", "{}")).unwrap() as i64;
    until("it runs", || jobs.state(running).unwrap() == State::Running);
    assert!(jobs.abort(waiting).unwrap());
    assert_eq!(jobs.state(waiting).unwrap(), State::Aborted);
    assert!(jobs.abort(running).unwrap());
    assert_eq!(jobs.state(running).unwrap(), State::Aborted);
    assert!(!jobs.abort(running).unwrap(), "a job ends once");
    let output = jobs.output(running).unwrap();
    assert!(output.get("aborted").and_then(Value::text).is_some_and(|t| t.starts_with("20")));
    // The worker is free again long before the ten seconds of the sleep.
    let begun = Instant::now();
    assert_eq!(run(&jobs, "example.noop", "{}").1, State::Success);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(jobs.abort(99).is_err());
    let numbers = jobs.numbers();
    assert_eq!((numbers.aborted, numbers.success, numbers.waiting), (2, 1, 0));
}

#[test]
fn a_plugin_that_hangs_is_given_up_and_its_worker_replaced() {
    let config = Config { workers: 1, grace: Duration::from_millis(50), ..Config::default() };
    let jobs = Jobs::open(config).unwrap();
    let mut hang = request("moody.plugin", r#"{"how": "hang"}"#);
    hang.timeout = Some(Duration::from_millis(50));
    let id = jobs.start(hang).unwrap() as i64;
    assert_eq!(jobs.wait(id, Some(Duration::from_secs(60))).unwrap(), State::Failure);
    assert!(jobs.error(id).unwrap().contains("time-out"), "{}", jobs.error(id).unwrap());
    assert_eq!(run(&jobs, "example.noop", "{}").1, State::Success);
    assert_eq!(jobs.numbers().replaced, 1);
    LET_GO.store(true, Ordering::Relaxed);
    until("the worker that was held is gone", || jobs.numbers().replaced == 0);
    assert_eq!(run(&jobs, "example.noop", "{}").1, State::Success);
}

#[test]
fn priorities_come_first_and_jobs_follow_others() {
    let jobs = jobs(1);
    let order = Arc::new(Mutex::new(vec![]));
    jobs.observe({
        let order = order.clone();
        move |event| {
            if let Event::State { id, state: State::Running } = event {
                order.lock().unwrap().push(*id);
            }
        }
    });
    let block = jobs.start(request("example.sleep", "{}")).unwrap();
    until("it runs", || jobs.state(1).unwrap() == State::Running);
    let with = |priority: i32, after: &[i64]| {
        let after = after.to_vec();
        jobs.start(Request { priority, after, ..request("example.noop", "{}") }).unwrap()
    };
    let (low, usual, high) = (with(-1, &[]), with(0, &[]), with(5, &[]));
    let last = with(100, &[low as i64, usual as i64]);
    let never = with(100, &[block as i64]);
    let after_never = with(100, &[never as i64]);
    jobs.abort(block as i64).unwrap();
    for id in [low, usual, high, last] {
        assert_eq!(jobs.wait(id as i64, Some(Duration::from_secs(60))).unwrap(), State::Success);
    }
    assert_eq!(*order.lock().unwrap(), [block, high, usual, low, last]);
    assert_eq!(jobs.state(after_never as i64).unwrap(), State::Failure);
    let error = jobs.error(never as i64).unwrap();
    assert!(error.contains("job 1, which this one comes after, ended as aborted"), "{error}");
    assert!(jobs.start(Request { after: vec![1000], ..request("example.noop", "{}") }).is_err());
}

#[test]
fn a_long_chain_of_jobs_falls_without_a_deep_stack() {
    let jobs = jobs(1);
    let first = jobs.start(request("example.sleep", "{}")).unwrap();
    for _ in 0..20_000 {
        jobs.start(Request { after: vec![-1], ..request("example.noop", "{}") }).unwrap();
    }
    jobs.abort(first as i64).unwrap();
    assert_eq!(jobs.wait(-1, Some(Duration::from_secs(60))).unwrap(), State::Failure);
    assert_eq!(jobs.numbers().failure, 20_000);
    assert_eq!(jobs.numbers().waiting, 0);
}

#[test]
fn jobs_run_one_by_one_when_asked() {
    let jobs = jobs(4);
    jobs.set_serialize(true);
    assert!(jobs.serialize());
    for _ in 0..3 {
        jobs.start(request("example.sleep", r#"{"t": 0.05}"#)).unwrap();
    }
    // One after the other; between two of them none runs.
    let running = Filter { state: Some(State::Running), ..Filter::default() };
    until("one runs", || match jobs.list(&running).unwrap().len() {
        n @ 0..=1 => n == 1,
        n => panic!("{n} jobs run at once"),
    });
    // It can be switched off again, which the older server could not.
    jobs.set_serialize(false);
    assert_eq!(jobs.wait(-1, Some(Duration::from_secs(60))).unwrap(), State::Success);
}

#[test]
fn the_queue_and_the_history_are_bounded() {
    let config = Config { workers: 1, queue: 3, history: 5, ..Config::default() };
    let jobs = Jobs::open(config).unwrap();
    jobs.start(request("example.sleep", "{}")).unwrap();
    until("it runs", || jobs.state(1).unwrap() == State::Running);
    for _ in 0..3 {
        jobs.start(request("example.noop", "{}")).unwrap();
    }
    let full = jobs.start(request("example.noop", "{}")).unwrap_err();
    assert!(full.to_string().contains("the queue is full: 3 jobs wait") && full.is_transient(), "{full}");
    jobs.abort(1).unwrap();
    for _ in 0..20 {
        jobs.wait(-1, None).unwrap();
        jobs.start(request("example.noop", "{}")).unwrap();
    }
    jobs.wait(-1, None).unwrap();
    until("the last one is kept", || jobs.numbers().in_memory == 5);
    let gone = jobs.output(1).unwrap_err().to_string();
    assert!(gone.contains("no job 1") && gone.contains("the last 5 jobs are kept in memory"), "{gone}");
    assert_eq!(jobs.numbers().accepted, 24);
    let text = jobs.statistics();
    assert!(text.contains("(19 older jobs") && text.contains("ExecTime = "), "{text}");

    let tight = Config { workers: 1, queue_bytes: 1000, output_bytes: 100, ..Config::default() };
    let jobs = Jobs::open(tight).unwrap();
    let long = format!(r#"{{"x": "{}"}}"#, "a".repeat(2000));
    assert!(jobs.start(request("example.noop", &long)).unwrap_err().to_string().contains("bytes of input"));
}

#[test]
fn paths_outside_of_the_roots_are_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.txt"), "a").unwrap();
    let confine = Confine::to(&[root.path().to_owned()]).unwrap();
    let jobs = Jobs::open(Config { workers: 1, confine, ..Config::default() }).unwrap();
    for bad in ["/etc/passwd", "../a.txt", "~/a.txt"] {
        let (id, state) = run(&jobs, "moody.echo", &format!(r#"{{"path": "{bad}"}}"#));
        let error = jobs.error(id as i64).unwrap();
        assert!(state == State::Failure && error.contains("leads outside"), "{bad}: {error}");
        let (id, state) = run(&jobs, "example.noop", &format!(r#"{{"x": ["{bad}"]}}"#));
        assert_eq!(state, State::Failure, "{}", jobs.error(id as i64).unwrap());
    }
    let (_, state) = run(&jobs, "moody.echo", r#"{"path": "a.txt"}"#);
    assert_eq!(state, State::Success, "{}", jobs.error(-1).unwrap());
    let full = root.path().canonicalize().unwrap().join("a.txt");
    assert_eq!(jobs.output(-1).unwrap().get("path").and_then(Value::text), full.to_str());
}

#[test]
fn files_are_there_when_the_event_comes() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dahu_2026-01-31T12h00m59");
    let config = Config { workers: 1, folder: Some(folder.clone()), files: Files::Both, ..Config::default() };
    let jobs = Jobs::open(config).unwrap();
    let seen = Arc::new(Mutex::new(vec![]));
    jobs.observe({
        let (seen, folder) = (seen.clone(), folder.clone());
        move |event| {
            let (id, plugin) = match event {
                Event::Success { id } => (id, "example.square"),
                Event::Failure { id } => (id, "no.such_plugin"),
                _ => return,
            };
            let there = |e: &str| folder.join(format!("0000/{id:05}_{plugin}.{e}")).is_file();
            seen.lock().unwrap().push((*id, there("inp") && there("out")));
        }
    });
    run(&jobs, "example.square", r#"{"x": 5}"#);
    run(&jobs, "no.such/plugin", "{}");
    until("both events", || seen.lock().unwrap().len() == 2);
    assert_eq!(*seen.lock().unwrap(), [(1, true), (2, true)]);
    // Indented by four, as the older server writes it.
    let input = std::fs::read_to_string(folder.join("0000/00001_example.square.inp")).unwrap();
    assert_eq!(input, "{\n    \"x\": 5,\n    \"plugin_name\": \"example.square\",\n    \"job_id\": 1\n}");
    // One that somebody has removed is made again.
    std::fs::remove_file(folder.join("0000/00001_example.square.inp")).unwrap();
    jobs.clean(1).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("0000/00001_example.square.inp")).unwrap(), input);
    assert_eq!(jobs.output(1).unwrap().get("result"), Some(&Value::Int(25)));
    assert_eq!(jobs.input(1).unwrap().get("x"), Some(&Value::Int(5)));
}

#[test]
fn inputs_come_as_files_where_they_are_wanted() {
    let root = tempfile::tempdir().unwrap();
    let store = Some(root.path().join("jobs.sqlite"));
    let folder = Some(root.path().to_owned());
    let config = Config { workers: 1, store, folder, files: Files::Output, history: 1, ..Config::default() };
    let jobs = Jobs::open(config.clone()).unwrap();
    for (plugin, input) in
        [("example.square", r#"{"x": 5}"#), ("no.such_plugin", "{}"), ("example.noop", "{}")]
    {
        run(&jobs, plugin, input);
    }
    let there = |name: &str| root.path().join("0000").join(name).is_file();
    assert!(there("00001_example.square.out") && !there("00001_example.square.inp"));
    assert!(there("00002_no.such_plugin.out") && there("00002_no.such_plugin.inp"));
    // The first has left memory: both of its files come out of the database.
    let file = |ending: &str| root.path().join(format!("0000/00001_example.square.{ending}"));
    let output = std::fs::read_to_string(file("out")).unwrap();
    jobs.clean(1).unwrap();
    let input = std::fs::read_to_string(file("inp")).unwrap();
    assert_eq!(input, "{\n    \"x\": 5,\n    \"plugin_name\": \"example.square\",\n    \"job_id\": 1\n}");
    assert_eq!(std::fs::read_to_string(file("out")).unwrap(), output);
    drop(jobs);
    // Without a database inputs would be nowhere else.
    let jobs = Jobs::open(Config { store: None, ..config }).unwrap();
    let (id, _) = run(&jobs, "example.noop", "{}");
    assert!(there(&format!("{id:05}_example.noop.inp")));
}

#[test]
fn a_recipe_is_a_job() {
    let root = tempfile::tempdir().unwrap();
    let recipes = root.path().join("recipes");
    std::fs::create_dir(&recipes).unwrap();
    let text = "# Squares a number.\nisard = \"0.1\"\nname = \"square\"\n[in]\nx = 2\n[stage.square]\n\
                use = \"example.square\"\nin = { x = \"in.x\" }\n[out]\nsquared = \"square.result\"\n";
    std::fs::write(recipes.join("square.toml"), text).unwrap();
    let config = Config {
        workers: 2,
        folder: Some(root.path().join("jobs")),
        recipe_folders: vec![recipes.clone()],
        ..Config::default()
    };
    let jobs = Jobs::open(config).unwrap();
    assert_eq!(jobs.init("recipe.square").unwrap().summary(), "Squares a number.");
    let (_, state) = run(&jobs, "recipe.square", r#"{"x": 7}"#);
    assert_eq!(state, State::Success, "{}", jobs.error(-1).unwrap());
    let output = jobs.output(-1).unwrap();
    assert_eq!(output.get("squared"), Some(&Value::Int(49)));
    let out = output.get("run_folder").and_then(Value::text).unwrap().to_owned();
    assert!(std::path::Path::new(&out).join("run.json").is_file(), "{out}");
    assert!(matches!(output.get("logging"), Some(Value::List(lines)) if !lines.is_empty()));
    let (_, state) = run(&jobs, "recipe.square", r#"{"y": 7}"#);
    assert_eq!(state, State::Failure);
    assert!(jobs.error(-1).unwrap().contains("`y`"), "{}", jobs.error(-1).unwrap());
    // A recipe that is added later is found when it is asked for.
    assert!(jobs.init("recipe.other").is_err());
    std::fs::write(recipes.join("other.toml"), text).unwrap();
    assert!(jobs.catalog().changed());
    jobs.catalog().reload().unwrap();
    assert_eq!(run(&jobs, "recipe.other", "{}").1, State::Success);
    assert_eq!(jobs.output(-1).unwrap().get("squared"), Some(&Value::Int(4)));
}

#[test]
fn events_tell_every_state_in_order() {
    let jobs = jobs(1);
    let seen = Arc::new(Mutex::new(vec![]));
    jobs.observe({
        let seen = seen.clone();
        move |event| seen.lock().unwrap().push(*event)
    });
    run(&jobs, "example.noop", "{}");
    // Who waits for a job may go on a moment before its end is told.
    until("the events of the job", || seen.lock().unwrap().len() == 5);
    jobs.collect_statistics();
    until("all events", || seen.lock().unwrap().len() == 6);
    let state = |state| Event::State { id: 1, state };
    let wanted = [
        state(State::Uninitialized),
        state(State::Starting),
        state(State::Running),
        state(State::Success),
        Event::Success { id: 1 },
        Event::Statistics,
    ];
    assert_eq!(*seen.lock().unwrap(), wanted);
}
