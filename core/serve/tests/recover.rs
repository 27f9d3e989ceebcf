//! Jobs outlive their server: killed at any moment, it loses none that it had accepted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use isard_core::Value;
use isard_serve::{Config, Files, Filter, Jobs, Recovery, Request, State};
use support::{request, until};

fn config(folder: &Path) -> Config {
    Config {
        workers: 2,
        store: Some(folder.join("jobs.sqlite")),
        folder: Some(folder.to_owned()),
        recipe_folders: vec![folder.join("recipes")],
        ..Config::default()
    }
}

/// What the killed process does: says what it accepted and what it saw end, until it is killed.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os("ISARD_TEST_CHILD") else { return };
    let jobs = Jobs::open(config(Path::new(&folder))).unwrap();
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("{line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    // One that runs and one that waits when the end comes.
    say(format!("accepted {}", jobs.start(request("example.sleep", r#"{"t": 600}"#)).unwrap()));
    // That it runs is on disk when the next one is accepted.
    until("it runs", || jobs.state(1).unwrap() == State::Running);
    let after = Request { after: vec![1], ..request("example.noop", "{}") };
    say(format!("accepted {}", jobs.start(after).unwrap()));
    loop {
        let id = jobs.start(request("example.square", r#"{"x": 5}"#)).unwrap();
        say(format!("accepted {id}"));
        if id.is_multiple_of(3) && jobs.wait(id as i64, None).unwrap() == State::Success {
            say(format!("ended {id}"));
        }
    }
}

fn child(folder: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture", "--test-threads", "1"])
        .env("ISARD_TEST_CHILD", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

#[test]
fn a_killed_server_has_lost_no_job_that_it_accepted() {
    for lines in [3, 40, 150] {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("recipes")).unwrap();
        let (mut process, mut out) = child(root.path());
        let (mut accepted, mut ended) = (vec![], vec![]);
        let mut line = String::new();
        let note = |line: &str, accepted: &mut Vec<u64>, ended: &mut Vec<u64>| {
            // The harness writes the name of the test in front of the first line.
            match line.rsplit_once(' ') {
                Some((before, id)) if before.ends_with("accepted") => {
                    accepted.extend(id.trim().parse::<u64>())
                }
                Some((before, id)) if before.ends_with("ended") => ended.extend(id.trim().parse::<u64>()),
                _ => (),
            }
        };
        while accepted.len() < lines {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            note(&line, &mut accepted, &mut ended);
        }
        // SIGKILL, in the middle of whatever it does.
        process.kill().unwrap();
        process.wait().unwrap();
        for line in out.lines().map_while(Result::ok) {
            note(&line, &mut accepted, &mut ended);
        }
        let last = *accepted.iter().max().unwrap();

        let jobs = Jobs::open(config(root.path())).unwrap();
        for id in &ended {
            let output = jobs.output(*id as i64).unwrap();
            assert_eq!(output.get("result"), Some(&Value::Int(25)), "job {id} of {last}");
        }
        for id in accepted.iter().filter(|id| **id > 2) {
            let state = jobs.wait(*id as i64, Some(Duration::from_secs(60))).unwrap();
            // One that had begun is marked; all others run to their end.
            let info = jobs.info(*id as i64).unwrap();
            assert!(state == State::Success || info.interrupted, "job {id} of {last}: {state}");
        }
        let cut_off = jobs.info(1).unwrap();
        assert!(cut_off.state == State::Failure && cut_off.interrupted, "{cut_off:?}");
        assert!(jobs.error(1).unwrap().contains("the server ended while this job ran"));
        assert_eq!(jobs.wait(2, Some(Duration::from_secs(60))).unwrap(), State::Failure);
        assert!(jobs.error(2).unwrap().contains("job 1, which this one comes after"));
        let marked = jobs.list(&Filter { interrupted: true, ..Filter::default() }).unwrap();
        assert!(marked.iter().any(|info| info.id == 1) && marked.len() <= 3, "{marked:?}");
        // Ids go on.
        let again = jobs.restart(1).unwrap();
        assert!(again > last, "{again} {last}");
        jobs.abort(again as i64).unwrap();
    }
}

#[test]
fn a_second_server_is_refused_and_a_closed_one_leaves_its_queue() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("recipes")).unwrap();
    let first = Config { workers: 1, ..config(root.path()) };
    let jobs = Jobs::open(first.clone()).unwrap();
    let refused = Jobs::open(first.clone()).err().unwrap().to_string();
    assert!(refused.contains("another server uses the jobs"), "{refused}");
    jobs.start(request("example.sleep", "{}")).unwrap();
    let waiting = jobs.start(Request { priority: 7, ..request("example.square", r#"{"x": 4}"#) }).unwrap();
    until("it runs", || jobs.state(1).unwrap() == State::Running);
    jobs.close(Duration::ZERO);
    assert!(jobs.start(request("example.noop", "{}")).unwrap_err().to_string().contains("closing"));
    drop(jobs);
    let jobs = Jobs::open(Config { recovery: Recovery::Restart, ..first }).unwrap();
    // The one that was cut off runs again under its id, and the one that waited comes first.
    assert_eq!(jobs.wait(waiting as i64, Some(Duration::from_secs(60))).unwrap(), State::Success);
    assert_eq!(jobs.info(waiting as i64).unwrap().priority, 7);
    until("it runs again", || jobs.state(1).unwrap() == State::Running);
    assert!(jobs.abort(1).unwrap());
}

#[test]
fn ended_jobs_are_found_on_disk_when_memory_has_let_them_go() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("recipes")).unwrap();
    let jobs = Jobs::open(Config { history: 3, ..config(root.path()) }).unwrap();
    for x in 1..=20 {
        jobs.start(request("example.square", &format!(r#"{{"x": {x}}}"#))).unwrap();
    }
    jobs.start(request("moody.plugin", "{}")).unwrap();
    for id in 1..=21 {
        jobs.wait(id, Some(Duration::from_secs(60))).unwrap();
    }
    until("memory lets go", || jobs.numbers().in_memory == 3);
    assert_eq!(jobs.output(5).unwrap().get("result"), Some(&Value::Int(25)));
    assert_eq!(jobs.input(5).unwrap().get("job_id"), Some(&Value::Int(5)));
    assert_eq!(jobs.state(5).unwrap(), State::Success);
    let all = jobs.list(&Filter { limit: 100, ..Filter::default() }).unwrap();
    assert_eq!(all.iter().map(|info| info.id).collect::<Vec<_>>(), (1..=21).rev().collect::<Vec<_>>());
    let page = Filter { before: Some(10), limit: 2, state: Some(State::Success), ..Filter::default() };
    assert_eq!(jobs.list(&page).unwrap().iter().map(|info| info.id).collect::<Vec<_>>(), [9, 8]);
    let failed = Filter { state: Some(State::Failure), ..Filter::default() };
    assert_eq!(jobs.list(&failed).unwrap()[0].id, 21);
    jobs.clean(21).unwrap();
    assert!(jobs.error(21).unwrap().contains("a mood"));
}

/// A recipe that was cut off goes on in its own folder, and comes to what an undisturbed one does.
#[test]
fn an_interrupted_recipe_is_resumed() {
    let root = tempfile::tempdir().unwrap();
    let recipes = root.path().join("recipes");
    std::fs::create_dir(&recipes).unwrap();
    let text = "isard = \"0.1\"\nname = \"slow\"\n[in]\nt = 600.0\n[pass.one]\n[pass.two]\n\
                [stage.square]\nuse = \"example.square\"\nin = { x = { value = 5 } }\nrun = { pass = \"one\" }\n\
                [stage.sleep]\nuse = \"example.sleep\"\nset = { t = { in = \"t\" } }\nrun = { pass = \"two\" }\n\
                [out]\nsquared = \"one.square.result\"\n";
    std::fs::write(recipes.join("slow.toml"), text).unwrap();
    let jobs = Jobs::open(config(root.path())).unwrap();
    jobs.start(request("recipe.slow", "{}")).unwrap();
    let out = root.path().join("0000/00001_run");
    until("the first pass is done", || {
        assert_ne!(jobs.state(1).unwrap(), State::Failure, "{}", jobs.error(1).unwrap());
        std::fs::read_to_string(out.join("run.json")).is_ok()
    });
    jobs.close(Duration::ZERO);
    drop(jobs);
    let jobs = Jobs::open(config(root.path())).unwrap();
    assert!(jobs.info(1).unwrap().interrupted);
    let again = jobs.resume(1).unwrap();
    // It goes on where the first one lay, and is as long.
    until("it runs", || jobs.state(again as i64).unwrap() == State::Running);
    std::thread::sleep(Duration::from_millis(50));
    assert!(jobs.abort(again as i64).unwrap());
    assert!(!root.path().join("0000/00002_run").exists());
}

/// Files of inputs that were not made when a server ended are made by the next one, as the first would have made them.
#[test]
fn files_of_inputs_that_are_missing_are_made() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("recipes")).unwrap();
    let both = Config { files: Files::Both, ..config(root.path()) };
    let path = |id: u64| root.path().join(format!("{:04}/{id:05}_example.noop.inp", id / 1000));
    // What another server has left under the same ids does not stay beside the new outputs.
    for id in 1..=700 {
        std::fs::create_dir_all(path(id).parent().unwrap()).unwrap();
        std::fs::write(path(id), "of another server").unwrap();
    }
    let jobs = Jobs::open(both.clone()).unwrap();
    for id in 1..=1003 {
        let input = format!(r#"{{"x": [{id}.5, "a \"word\" for job {id}"]}}"#);
        jobs.start_then(request("example.noop", &input), |_| ());
    }
    until("all have ended", || jobs.numbers().success == 1003);
    // With time for it, the end of a server makes them.
    jobs.close(Duration::from_secs(60));
    drop(jobs);
    for id in 1..=1003 {
        let text = std::fs::read_to_string(path(id)).unwrap();
        assert!(text.contains(&format!("\n        {id}.5,\n")), "{id}: {text}");
    }
    let gone = [1, 2, 700, 999, 1000, 1003];
    let texts = gone.map(|id| std::fs::read_to_string(path(id)).unwrap());
    let wanted = "[\n        999.5,\n        \"a \\\"word\\\" for job 999\"\n    ],";
    assert!(texts[3].contains(wanted), "{}", texts[3]);
    let left = std::fs::metadata(path(3)).unwrap().modified().unwrap();
    gone.iter().for_each(|id| std::fs::remove_file(path(*id)).unwrap());
    let jobs = Jobs::open(both).unwrap();
    until("they are there again", || gone.iter().all(|id| path(*id).is_file()));
    jobs.close(Duration::from_secs(60));
    assert_eq!(gone.map(|id| std::fs::read_to_string(path(id)).unwrap()), texts);
    assert_eq!(std::fs::metadata(path(3)).unwrap().modified().unwrap(), left);
}

/// What is kept has an end: the newest so many, and all that have not ended; ids go on.
#[test]
fn old_jobs_are_forgotten_with_their_files() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("recipes")).unwrap();
    let few = Config { keep_jobs: Some(50), history: 10, files: Files::Both, ..config(root.path()) };
    let jobs = Jobs::open(few.clone()).unwrap();
    let held = jobs.start(request("example.sleep", r#"{"t": 600}"#)).unwrap();
    let after = jobs.start(Request { after: vec![held as i64], ..request("example.noop", "{}") }).unwrap();
    for _ in 0..2100 {
        jobs.start_then(request("example.noop", "{}"), |_| ());
    }
    until("all have ended", || jobs.numbers().success == 2100);
    let oldest = || jobs.list(&Filter { limit: 5000, ..Filter::default() }).unwrap();
    until("old ones are forgotten", || oldest().len() <= 60);
    let left: Vec<u64> = oldest().iter().map(|info| info.id).collect();
    assert!(left.contains(&held) && left.contains(&after) && left.contains(&2102), "{left:?}");
    let files = |thousand: &str| std::fs::read_dir(root.path().join(thousand)).map_or(0, Iterator::count);
    until("their files are gone", || files("0000") == 0 && files("0001") == 0);
    assert!(files("0002") >= 100);
    assert!(jobs.state(500).unwrap_err().to_string().contains("no job 500"));
    assert!(jobs.abort(held as i64).unwrap());
    until("the one behind it has ended", || jobs.state(after as i64).unwrap() == State::Failure);
    jobs.close(Duration::ZERO);
    drop(jobs);
    // Everything is too old now but the latest, from which ids go on.
    let none = Config { keep_jobs: None, keep_for: Some(Duration::ZERO), ..few };
    let jobs = Jobs::open(none).unwrap();
    let list = || jobs.list(&Filter { limit: 5000, ..Filter::default() }).unwrap();
    until("the rest is forgotten", || list().len() == 1);
    assert_eq!(jobs.start(request("example.noop", "{}")).unwrap(), 2103);
}
