//! The job server from the command line: start, submit, kill, look again, run again from files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value as Json;

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path, more: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
            .args(["serve", "--bind", "127.0.0.1:0", "--dir", "jobs", "--workers", "1"])
            .args(more)
            .env_remove("ISARD_TOKEN")
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.split("http://").nth(1).and_then(|rest| rest.split(": ").next()).unwrap_or_default();
        Server { address: address.to_owned(), child }
    }

    fn isard(&self, folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isard"));
        command.args(arguments).env("ISARD_SERVER", &self.address).env_remove("ISARD_TOKEN");
        texts(&command.current_dir(folder).output().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn jobs_are_submitted_looked_at_and_outlive_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::fs::create_dir(folder.join("recipes")).unwrap();
    let recipe = "# Sums a simulated series.\nisard = \"0.1\"\nname = \"sum\"\n[in]\nframes = 4\n\
                  [stage.detector]\nuse = \"powder.simulate\"\nset = { frames = { in = \"frames\" }, shape = [64, 64] }\n\
                  [stage.sum]\nuse = \"image.sum\"\nfrom = \"detector\"\n\
                  [stage.save]\nuse = \"hdf5.write\"\nfrom = \"sum\"\nset = { path = \"sum.h5\" }\n";
    std::fs::write(folder.join("recipes/sum.toml"), recipe).unwrap();
    let more = ["--recipes", "recipes"];
    let server = Server::start(folder, &more);
    let (code, out, err) = server.isard(folder, &["submit", "example.square", r#"{"x": 5}"#, "--wait"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(serde_json::from_str::<Json>(&out).unwrap()["result"], 25);
    assert!(folder.join("jobs/0000/00001_example.square.out").is_file());
    let (code, out, err) = server.isard(folder, &["submit", "recipe.sum", "--in", "frames=8", "--wait"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let run = serde_json::from_str::<Json>(&out).unwrap()["run_folder"].as_str().unwrap().to_owned();
    assert!(Path::new(&run).join("sum.h5").is_file(), "{run}");
    let (code, out, _) = server.isard(folder, &["submit", "example.sleep", "--in", "t=600"]);
    assert_eq!((code, out.as_str()), (Some(0), "3\n"));
    // A job behind one that sleeps: it is ended while it waits.
    let (_, out, _) = server.isard(folder, &["submit", "example.noop", "--priority", "-3", "--after", "-1"]);
    assert_eq!(out, "4\n");
    assert_eq!(server.isard(folder, &["job", "-1", "--abort"]).1, "aborted\n");
}

#[test]
fn a_killed_server_is_started_again_with_its_jobs() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let mut server = Server::start(folder, &[]);
    let submit = |server: &Server, more: &[&str]| server.isard(folder, &[&["submit"], more].concat()).1;
    assert_eq!(submit(&server, &["example.sleep", "--in", "t=600"]), "1\n");
    assert_eq!(submit(&server, &["example.cube", "--in", "x=3"]), "2\n");
    let job = |server: &Server, more: &[&str]| server.isard(folder, &[&["job"], more].concat());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while serde_json::from_str::<Json>(&job(&server, &["1"]).1).unwrap()["state"] != "running" {
        assert!(std::time::Instant::now() < deadline, "it does not start");
    }
    // What began a moment ago is on disk within the window: two milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(200));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let (code, _, err) = server.isard(folder, &["jobs"]);
    assert_eq!(code, Some(5));
    assert!(err.contains("no answer from the server") && err.contains("isard serve"), "{err}");

    let server = Server::start(folder, &[]);
    let (code, out, err) = job(&server, &["2", "--wait"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(serde_json::from_str::<Json>(&out).unwrap()["result"], 27);
    let (_, out, _) = server.isard(folder, &["jobs"]);
    assert!(out.contains("(interrupted)") && out.contains("example.cube"), "{out}");
    let (_, log, _) = job(&server, &["1", "--log"]);
    assert!(log.contains("the server ended while this job ran"), "{log}");
    assert_eq!(job(&server, &["1", "--restart"]).1, "3\n");
    let (code, out, _) = job(&server, &["3", "--abort"]);
    assert_eq!((code, out.as_str()), (Some(0), "aborted\n"));
    let (code, out, _) = server.isard(folder, &["jobs", "--state", "aborted", "--json"]);
    assert_eq!((code, serde_json::from_str::<Json>(&out).unwrap()[0]["id"].as_i64()), (Some(0), Some(3)));
    let (code, _, err) = job(&server, &["99"]);
    assert!(code == Some(2) && err.contains("no job 99"), "{err}");
    let (code, out, _) = server.isard(folder, &["submit", "moody.none", "--wait"]);
    assert!(code == Some(3) && out.contains("no plugin `moody.none`"), "{out}");
    // It ends by itself on a signal.
    let mut server = server;
    let kill = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn jobs_are_run_again_from_their_files() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    // As Python's json.dump with an indent of 4 writes the input of a job, with its bare NaN.
    let old = "{\n    \"x\": 5,\n    \"plugin_name\": \"example.Square\",\n    \"job_id\": 1234\n}";
    std::fs::write(folder.join("job_description_1234.json"), old).unwrap();
    let nan = "{\n    \"x\": NaN,\n    \"plugin_name\": \"example.noop\",\n    \"wait_for\": 3,\n    \"job_id\": 7\n}";
    std::fs::write(folder.join("00007_example.noop.inp"), nan).unwrap();
    std::fs::write(folder.join("bad.json"), r#"{"plugin_name": "example.square", "x": "five"}"#).unwrap();
    std::fs::write(folder.join("none.json"), r#"{"x": 5}"#).unwrap();
    let isard = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_isard"))
            .arg("reprocess")
            .args(arguments)
            .current_dir(folder)
            .output();
        texts(&output.unwrap())
    };
    let dated = "dahu_2026-01-31T12h00m59";
    let (code, out, err) =
        isard(&["job_description_1234.json", "missing.json", "00007_example.noop.inp", "-o", dated]);
    assert_eq!(code, Some(5), "{err}");
    assert!(
        out.starts_with(
            "Processing #0: job_description_1234.json\nFinished with state: success\n{\n    \"result\": 25"
        ),
        "{out}"
    );
    assert!(out.contains("Processing #2: 00007_example.noop.inp\nFinished with state: success"), "{out}");
    assert!(
        err.contains("missing.json is skipped") && err.contains("`wait_for` makes no sense here"),
        "{err}"
    );
    let written = std::fs::read_to_string(folder.join(dated).join("00000_square.inp")).unwrap();
    assert_eq!(serde_json::from_str::<Json>(&written).unwrap()["job_id"], 0);
    assert!(folder.join(dated).join("00002_noop.out").is_file());
    let (code, out, err) = isard(&[
        "bad.json",
        "none.json",
        "job_description_1234.json",
        "-j",
        "3",
        "--set",
        "x=6",
        "-o",
        dated,
    ]);
    assert_eq!(code, Some(3));
    assert!(out.contains("\"result\": 36") && out.matches("state: success").count() == 2, "{out}");
    assert!(err.contains("found no `plugin_name`"), "{err}");
}
