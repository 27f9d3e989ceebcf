//! Word of a run to the outside: mail, web hooks, commands, lights, logs, sockets, traces; starts and stops.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output().unwrap()
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isard"));
    command.args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn recipe(more: &str, limits: &str) -> String {
    format!(
        "isard = \"0.1\"\nname = \"told\"\n[run]\n{limits}\n[stage.frames]\nuse = \"powder.simulate\"\n\
         set = {{ frames = 60, shape = [16, 16], rate = 200.0{more} }}\n[stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n"
    )
}

/// A mail server for one test: the mails it took.
fn mail() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, (sender, taken)) = (listener.local_addr().unwrap().port(), channel());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            client.write_all(b"220 here\r\n").unwrap();
            let (mut body, mut inside) = (String::new(), false);
            while let Some(Ok(line)) = lines.next() {
                let answer = match line.as_str() {
                    "." if inside => {
                        inside = false;
                        sender.send(body.clone()).unwrap();
                        "250 taken"
                    }
                    _ if inside => {
                        body += &format!("{line}\n");
                        continue;
                    }
                    "DATA" => {
                        inside = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ if line.starts_with("EHLO") => "250-me\r\n250 SIZE",
                    _ => "250 ok",
                };
                client.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
            }
        }
    });
    (port, taken)
}

/// A web server for one test: the bodies it was given. The first request is refused, to be tried again.
fn web() -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, (sender, taken)) = (listener.local_addr().unwrap().port(), channel());
    std::thread::spawn(move || {
        for (turn, client) in listener.incoming().enumerate() {
            let mut client = client.unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.strip_prefix("Content-Length: ") {
                    length = n.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if turn == 0 {
                client.write_all(b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n").unwrap();
                continue;
            }
            client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
            sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
        }
    });
    (port, taken)
}

#[test]
fn one_error_gives_one_mail_and_one_post_and_a_good_run_gives_none() {
    let folder = tempfile::tempdir().unwrap();
    let ((smtp, mails), (http, posts)) = (mail(), web());
    let sinks = format!(
        "[[sink]]\nkind = \"smtp\"\nserver = \"127.0.0.1:{smtp}\"\nfrom = \"isard@here\"\nto = [\"me@here\", \"you@here\"]\nlevel = \"error\"\n\
         [[sink]]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{http}/alarm\"\nlevel = \"error\"\n\
         [[sink]]\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"cat > event.json; echo '{{level}} {{what}}' > words\"]\nlevel = \"error\"\n"
    );
    std::fs::write(folder.path().join("sinks.toml"), sinks).unwrap();
    std::fs::write(folder.path().join("good.toml"), recipe("", "")).unwrap();
    std::fs::write(folder.path().join("bad.toml"), recipe(", lose = [20]", "")).unwrap();
    let good = isard(folder.path(), &["run", "good.toml", "--out", "good", "-q", "--notify", "sinks.toml"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let bad = isard(folder.path(), &["run", "bad.toml", "--out", "bad", "-q", "--notify", "sinks.toml"]);
    assert_eq!(bad.status.code(), Some(8), "{}", text(&bad.stderr));
    let mail = mails.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(mail.contains("Subject: isard Error: ") && mail.contains("To: <me@here>, <you@here>"), "{mail}");
    assert!(mail.contains("1 frame missing"), "{mail}");
    let post = posts.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!((post["level"].as_str(), post["what"].as_str()), (Some("error"), Some("failed")), "{post}");
    assert!(post["run"].as_str().unwrap().ends_with("bad"), "{post}");
    assert_eq!(std::fs::read_to_string(folder.path().join("words")).unwrap(), "error failed\n");
    let event = std::fs::read_to_string(folder.path().join("event.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&event).unwrap()["what"], "failed");
    // The runs are over, and so is what they had to say.
    assert!(mails.try_recv().is_err() && posts.try_recv().is_err());
}

fn light(path: &Path) -> Value {
    std::fs::read(path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or(Value::Null)
}

/// Waits until a light has shown a state; says which others it showed before.
fn shows(path: &Path, wanted: &str, seen: &mut Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let state = light(path)["state"].as_str().unwrap_or_default().to_owned();
        if !state.is_empty() && seen.last() != Some(&state) {
            seen.push(state.clone());
        }
        if state == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "the light showed {seen:?}, wanted {wanted}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_light_follows_the_run_and_goes_out_when_the_program_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("light.json");
    let sinks = "[[sink]]\nkind = \"traffic\"\npath = \"light.json\"\nheartbeat_s = 0.2\nlevel = \"info\"\n";
    std::fs::write(folder.path().join("sinks.toml"), sinks).unwrap();
    std::fs::write(
        folder.path().join("bad.toml"),
        recipe(", lose = [40]", "reorder = 4").replace("frames = 60", "frames = 200"),
    )
    .unwrap();
    let mut child =
        spawn(folder.path(), &["run", "bad.toml", "--out", "bad", "-q", "--notify", "sinks.toml"]);
    let mut seen = vec![];
    ["blue", "green", "yellow", "red"].iter().for_each(|state| shows(&path, state, &mut seen));
    assert_eq!(seen, ["blue", "green", "yellow", "red"]);
    assert_eq!(child.wait().unwrap().code(), Some(8));

    let slow = recipe("", "").replace("rate = 200.0", "rate = 1.0");
    std::fs::write(folder.path().join("slow.toml"), slow).unwrap();
    let mut child =
        spawn(folder.path(), &["run", "slow.toml", "--out", "slow", "-q", "--notify", "sinks.toml"]);
    shows(&path, "green", &mut vec![]);
    child.kill().unwrap();
    child.wait().unwrap();
    let state = light(&path);
    assert_eq!(state["state"], "green");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let until = state["valid_until_s"].as_f64().unwrap();
    assert!(until < now() + 0.7, "it holds for three beats");
    while now() <= until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(light(&path)["valid_until_s"].as_f64(), Some(until), "nobody renews it");
}

#[test]
fn a_log_of_events_turns_over_and_log_txt_has_run_error_and_frame() {
    let folder = tempfile::tempdir().unwrap();
    let sinks = "[[sink]]\nkind = \"log\"\npath = \"all.jsonl\"\njson = true\nlevel = \"info\"\n\
                 [[sink]]\nkind = \"log\"\npath = \"short.log\"\nbytes = 200\nkeep = 2\nlevel = \"info\"\n";
    std::fs::write(folder.path().join("sinks.toml"), sinks).unwrap();
    std::fs::write(folder.path().join("bad.toml"), recipe(", lose = [20]", "")).unwrap();
    for n in 0..3 {
        let out = format!("bad{n}");
        isard(folder.path(), &["run", "bad.toml", "--out", &out, "-q", "--notify", "sinks.toml"]);
    }
    let lines = std::fs::read_to_string(folder.path().join("all.jsonl")).unwrap();
    let events: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let whats: Vec<&str> = events.iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(whats.iter().filter(|w| **w == "failed").count(), 3, "{whats:?}");
    let lost = events.iter().find(|e| e["what"] == "lost").unwrap();
    assert!(lost["text"].as_str().unwrap().contains("1 missing (20)"), "{lost}");
    assert!(lost["run"].as_str().unwrap().ends_with("bad0"));
    let there = |name: &str| folder.path().join(name).exists();
    assert!(there("short.log") && there("short.log.1") && there("short.log.2") && !there("short.log.3"));
    let log = std::fs::read_to_string(folder.path().join("bad0/log.txt")).unwrap();
    assert!(log.contains("limits") && log.contains("missing"), "{log}");
}

#[test]
fn a_socket_gives_events_and_takes_the_word_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sinks = format!("[[sink]]\nkind = \"socket\"\nlisten = \"127.0.0.1:{port}\"\nlevel = \"info\"\n");
    std::fs::write(folder.path().join("sinks.toml"), sinks).unwrap();
    std::fs::write(folder.path().join("long.toml"), recipe("", "").replace("frames = 60", "frames = 100000"))
        .unwrap();
    let mut child =
        spawn(folder.path(), &["run", "long.toml", "--out", "out", "-q", "--notify", "sinks.toml"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut client = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    while !folder.path().join("out/run.json").exists() {
        assert!(Instant::now() < deadline, "the run does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.write_all(b"{\"level\": \"warning\", \"text\": \"the stage drifts\"}\n{\"do\": \"stop\", \"text\": \"enough\"}\n").unwrap();
    let mut heard = vec![];
    for line in BufReader::new(client).lines() {
        let Ok(line) = line else { break };
        let event: Value = serde_json::from_str(&line).unwrap();
        heard.push(event["what"].as_str().unwrap().to_owned());
        if heard.last().is_some_and(|w| w == "stopped") {
            break;
        }
    }
    assert_eq!(heard.last().map(String::as_str), Some("stopped"), "{heard:?}");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let log = std::fs::read_to_string(folder.path().join("out/log.txt")).unwrap();
    assert!(log.contains("the stage drifts") && log.contains("asked to stop from outside"), "{log}");
}

#[test]
fn a_trace_has_a_span_for_each_stage_and_block() {
    let folder = tempfile::tempdir().unwrap();
    let text = recipe("", "chunk = 10").replace(", rate = 200.0", "");
    std::fs::write(folder.path().join("r.toml"), text).unwrap();
    let run = isard(folder.path(), &["run", "r.toml", "--out", "out", "-q", "--trace", "trace.json"]);
    assert_eq!(run.status.code(), Some(0));
    let trace: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("trace.json")).unwrap()).unwrap();
    let events = trace.as_array().unwrap();
    let of = |stage: &str, what: &str| {
        let name = format!("{stage} {what}");
        events.iter().filter(|e| e["ph"] == "X" && e["name"] == name.as_str()).collect::<Vec<_>>()
    };
    let mut starts: Vec<u64> =
        of("sum", "add").iter().map(|e| e["args"]["first"].as_u64().unwrap()).collect();
    starts.sort_unstable();
    starts.dedup();
    // Chunks of ten frames; blocks of 64 are not reached.
    assert_eq!(starts, [0, 10, 20, 30, 40, 50]);
    assert!(!of("frames", "pull").is_empty());
    assert!(events.iter().all(|e| e["ph"] != "X" || e["dur"].as_f64().unwrap() >= 0.0));
    assert!(events.iter().any(|e| e["ph"] == "M" && e["name"] == "thread_name"));
    // A trace that is there is not written over.
    let again = isard(folder.path(), &["run", "r.toml", "--out", "out2", "-q", "--trace", "trace.json"]);
    assert_eq!(again.status.code(), Some(5), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn runs_start_and_stop_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), recipe("", "").replace("frames = 60", "frames = 100000"))
        .unwrap();
    let times = if std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full") { 1000 } else { 12 };
    for turn in 0..times {
        let (out, signal) = (format!("out{turn}"), if turn % 2 == 0 { "-TERM" } else { "-INT" });
        let mut child = spawn(folder.path(), &["run", "r.toml", "--out", &out, "-q"]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !folder.path().join(&out).join(".isard/checkpoint-00000001").exists() {
            assert!(Instant::now() < deadline, "turn {turn} does not begin");
            std::thread::sleep(Duration::from_millis(2));
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7), "turn {turn}");
        std::fs::remove_dir_all(folder.path().join(&out)).unwrap();
    }
}
