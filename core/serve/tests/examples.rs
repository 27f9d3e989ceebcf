//! The examples in Python, on a server over loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use isard_serve::net::{Options, Server};
use isard_serve::{Config, Jobs};

/// Runs a script with a server's address; tells when there is no Python to run it.
fn script(folder: &str, file: &str, token: Option<&str>) {
    let jobs = Arc::new(Jobs::open(Config { workers: 2, ..Config::default() }).unwrap());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = Options { bind, token: token.map(str::to_owned), ..Options::default() };
    let server = Server::start(jobs, options).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(folder);
    let mut python = Command::new("python3");
    python.arg("-B").arg(file).arg(server.address().to_string()).args(token).current_dir(folder);
    match python.output() {
        // Past the harness, which keeps what passing tests print; nobody can be told that stderr is gone.
        Err(error) => drop(writeln!(std::io::stderr(), "skipped: {file} (no python3: {error})")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("all well"), "{text}");
        }
    }
}

#[test]
fn the_client_in_python_runs_jobs() {
    script("client", "test_client.py", None);
    script("client", "test_client.py", Some("a token of some length"));
}

#[test]
fn the_gateway_offers_the_commands_of_the_older_server() {
    script("tango", "test_gateway.py", None);
}

#[test]
fn the_client_is_short() {
    let text = include_str!("../../../examples/client/isard_client.py");
    assert!(text.lines().count() < 40);
}
