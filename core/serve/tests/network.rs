//! The server over loopback: calls, events, pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use isard_serve::client::Client;
use isard_serve::net::{Options, Server};
use isard_serve::{Config, Jobs};
use serde_json::{Value as Json, json};

fn server(config: Config, options: Options) -> (Arc<Jobs>, Server) {
    let jobs = Arc::new(Jobs::open(config).unwrap());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(jobs.clone(), Options { bind, ..options }).unwrap();
    (jobs, server)
}

fn simple() -> (Arc<Jobs>, Server) {
    server(Config { workers: 2, ..Config::default() }, Options::default())
}

fn client(server: &Server) -> Client {
    Client::new(&server.address().to_string(), None)
}

/// Sends bytes, and reads everything until the server closes.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = vec![];
    // A server that closes while there is more to come resets the connection: what came counts.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn post(server: &Server, body: &str) -> Json {
    let text = raw(
        server,
        format!(
            "POST /rpc HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn get(server: &Server, path: &str) -> String {
    raw(server, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
}

#[test]
fn every_command_answers_under_its_name() {
    let (_jobs, server) = simple();
    let mut c = client(&server);
    let mut call = |method: &str, params: Json| c.call(method, params);
    let id = call("startJob", json!(["example.square", { "x": 5 }])).unwrap();
    assert_eq!(id, 1);
    assert_eq!(call("waitJob", json!([1, 20])).unwrap(), "success");
    assert_eq!(call("getJobState", json!({ "id": -1 })).unwrap(), "success");
    let output = call("getJobOutput", json!([1])).unwrap();
    assert_eq!((&output["result"], &output["logging"]), (&json!(25), &json!([])));
    let text = call("getJobInput", json!({ "id": 1, "form": "text" })).unwrap();
    assert_eq!(text, r#"{"x":5,"plugin_name":"example.square","job_id":1}"#);
    assert_eq!(call("getJobError", json!([1])).unwrap(), "");
    // Input as JSON text, by name, as BLISS macros send it.
    let named = json!({ "plugin": "example.cube", "input": "{\"x\": 2}", "priority": 3, "after": [1] });
    assert_eq!(call("startJob", named).unwrap(), 2);
    assert_eq!(call("waitJob", json!([2])).unwrap(), "success");
    assert_eq!(call("startJob", json!(["example.sleep", {}])).unwrap(), 3);
    assert_eq!(call("startJob", json!(["example.nop", {}])).unwrap(), 4);
    assert_eq!(call("waitJob", json!([4, 20])).unwrap(), "failure");
    assert!(call("getJobError", json!([4])).unwrap().as_str().unwrap().contains("`example.noop`"));
    support::until("it runs", || {
        post(&server, r#"{"jsonrpc":"2.0","id":1,"method":"getJobState","params":[3]}"#)["result"]
            == "running"
    });
    assert_eq!(call("getRunning", json!([])).unwrap(), json!([{ "id": 3, "plugin": "example.sleep" }]));
    assert_eq!(call("waitJob", json!([3, 0.05])).unwrap(), "running");
    assert_eq!(call("abort", json!([3])).unwrap(), true);
    assert_eq!(call("abort", json!([3])).unwrap(), false);
    assert_eq!(call("getJobState", json!([3])).unwrap(), "aborted");
    assert_eq!(call("getSuccess", json!([])).unwrap()[0], json!({ "id": 2, "plugin": "example.cube" }));
    assert_eq!(call("getSuccess", json!([1, 2])).unwrap(), json!([{ "id": 1, "plugin": "example.square" }]));
    assert_eq!(call("getFailure", json!([])).unwrap(), json!([{ "id": 4, "plugin": "example.nop" }]));
    assert_eq!(call("getAborted", json!([])).unwrap()[0]["id"], 3);
    assert_eq!(call("listJobs", json!({ "limit": 2 })).unwrap().as_array().unwrap().len(), 2);
    assert_eq!(call("getJob", json!([2])).unwrap()["priority"], 3);
    assert_eq!(
        (call("jobSuccess", json!([])).unwrap(), call("jobFailure", json!([])).unwrap()),
        (json!(2), json!(4))
    );
    let plugins = call("listPlugins", json!([])).unwrap();
    let square = plugins.as_array().unwrap().iter().find(|p| p["name"] == "example.square").unwrap();
    assert_eq!(square["doc"], "Gives the square of a number.");
    let doc = call("initPlugin", json!(["example.noop"])).unwrap();
    assert!(doc.as_str().unwrap().starts_with("Plugin loaded: example.noop\nDoes nothing"), "{doc}");
    assert_eq!(call("describePlugin", json!(["example.cube"])).unwrap()["inputs"][0]["name"], "x");
    assert_eq!(call("reloadPlugin", json!(["example.noop"])).unwrap(), "Plugin reloaded: example.noop");
    assert_eq!(call("statisticsCollected", json!([])).unwrap(), "");
    assert_eq!(call("collectStatistics", json!([])).unwrap(), Json::Null);
    assert!(call("getStatistics", json!([])).unwrap().as_str().unwrap().contains("example.cube"));
    assert_eq!(call("serialize", json!([true])).unwrap(), true);
    assert_eq!(call("serialize", json!([false])).unwrap(), false);
    assert_eq!(call("restartJob", json!([1])).unwrap(), 5);
    assert_eq!(call("waitJob", json!([5])).unwrap(), "success");
    assert!(call("resumeJob", json!([5])).unwrap_err().to_string().contains("nothing is left to do"));
    assert_eq!(call("getInterrupted", json!([])).unwrap(), json!([]));
    assert!(call("cleanJob", json!([5])).unwrap_err().to_string().contains("memory alone"));
}

#[test]
fn the_texts_of_the_older_server_are_there_for_gateways() {
    let (_jobs, server) = simple();
    let mut c = client(&server);
    let mut old = |command: &str, argument: Json| c.call("legacy", json!([command, argument])).unwrap();
    assert_eq!(old("startJob", json!(["example.square", " "])), -1);
    assert_eq!(old("startJob", json!(["example.square", "{\"x\": 5}"])), 1);
    assert_eq!(old("waitJob", json!(1)), "success");
    assert_eq!(old("waitJob", json!(7)), "inexistant");
    assert_eq!(old("getJobState", json!(7)), "Unable to retrieve such job: 7");
    assert_eq!(old("getJobOutput", json!(7)), "No such job: 7");
    assert_eq!(old("getJobInput", json!("1")), r#"{"x":5,"plugin_name":"example.square","job_id":1}"#);
    assert!(old("listPlugins", Json::Null).as_str().unwrap().contains("\n example.cube : Gives the cube"));
    assert!(old("initPlugin", json!("no.such")).as_str().unwrap().starts_with("Plugin not found: no.such"));
    assert_eq!(old("abort", json!(1)), false);
}

#[test]
fn wrong_calls_are_told_what_is_wrong() {
    let (_jobs, server) = simple();
    let error = |body: &str| {
        let answer = post(&server, body);
        (answer["error"]["code"].as_i64().unwrap(), answer["error"]["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(error("{").0, -32700);
    assert_eq!(error("[]").0, -32600);
    assert_eq!(error("3").0, -32600);
    assert_eq!(error(r#"{"id":1}"#).0, -32600);
    assert_eq!(error(r#"{"jsonrpc":"1.0","method":"jobSuccess","id":1}"#).0, -32600);
    assert_eq!(
        error(r#"{"jsonrpc":"2.0","method":"startjob","id":1}"#),
        (-32601, "no method `startjob`".into())
    );
    let (code, text) = error(r#"{"jsonrpc":"2.0","method":"startJob","params":{"plugn":"a.b"},"id":1}"#);
    assert!(code == -32602 && text.contains("`plugn`"), "{text}");
    let (code, text) = error(r#"{"jsonrpc":"2.0","method":"startJob","params":["a.b","{x"],"id":1}"#);
    assert!(code == -32602 && text.contains("not JSON"), "{text}");
    assert_eq!(error(r#"{"jsonrpc":"2.0","method":"getJobState","params":["a"],"id":1}"#).0, -32602);
    assert_eq!(error(r#"{"jsonrpc":"2.0","method":"getJobState","id":1}"#).0, -32602);
    let unknown = error(r#"{"jsonrpc":"2.0","method":"getJobError","params":[12],"id":1}"#);
    assert_eq!(unknown, (-32001, "no job 12".into()));
    assert_eq!(error(r#"{"jsonrpc":"2.0","method":"initPlugin","params":["no.such"],"id":1}"#).0, -32004);
    // A batch: notifications are not answered, the rest is, in order.
    let batch = post(
        &server,
        r#"[{"jsonrpc":"2.0","method":"jobSuccess","id":"a"},{"jsonrpc":"2.0","method":"jobSuccess"},7]"#,
    );
    assert_eq!(batch[0], json!({ "jsonrpc": "2.0", "result": -1, "id": "a" }));
    assert_eq!((batch[1]["error"]["code"].as_i64(), batch.as_array().unwrap().len()), (Some(-32600), 2));
}

#[test]
fn pages_for_people_and_programs() {
    let (jobs, server) = simple();
    support::run(&jobs, "example.noop", "{}");
    assert!(get(&server, "/").contains("<code>startJob</code>"));
    assert!(get(&server, "/openapi.json").contains("\"openapi\":\"3.1.0\""));
    assert!(get(&server, "/health").contains(r#"{"status":"ok"}"#));
    assert!(get(&server, "/ready").contains(r#"{"status":"ready"}"#));
    let metrics = get(&server, "/metrics");
    assert!(metrics.contains("isard_jobs_ended_total{state=\"success\"} 1\n"), "{metrics}");
    assert!(get(&server, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(get(&server, "/rpc").starts_with("HTTP/1.1 405"));
    let one = raw(&server, b"POST /rpc/getJobState HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 8\r\n\r\n{\"id\":1}");
    assert!(one.starts_with("HTTP/1.1 200") && one.ends_with("\"success\""), "{one}");
    jobs.close(Duration::ZERO);
    assert!(get(&server, "/ready").starts_with("HTTP/1.1 503"));
}

/// A WebSocket of a client, by hand.
struct Socket(BufReader<TcpStream>);

impl Socket {
    fn open(server: &Server) -> Socket {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
            .write_all(
                b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                  sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Socket(reader)
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) {
        let mut frame = vec![0x80 | kind, 0x80 | 126];
        frame.extend((bytes.len() as u16).to_be_bytes());
        if bytes.len() < 126 {
            frame = vec![0x80 | kind, 0x80 | bytes.len() as u8];
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(bytes.iter().zip([1u8, 2, 3, 4].iter().cycle()).map(|(b, m)| b ^ m));
        self.0.get_mut().write_all(&frame).unwrap();
    }

    fn send(&mut self, method: &str, params: Json) {
        let text = json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }).to_string();
        self.frame(1, text.as_bytes());
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        let mut two = [0; 2];
        self.0.read_exact(&mut two).unwrap();
        let mut length = u64::from(two[1]);
        if length == 126 {
            let mut more = [0; 2];
            self.0.read_exact(&mut more).unwrap();
            length = u64::from(u16::from_be_bytes(more));
        }
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes).unwrap();
        (two[0] & 15, bytes)
    }

    fn text(&mut self) -> Json {
        let (kind, bytes) = self.next();
        assert_eq!(kind, 1, "{}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap()
    }
}

#[test]
fn events_are_pushed_over_a_websocket() {
    let (jobs, server) = simple();
    let mut socket = Socket::open(&server);
    socket.send("startJob", json!(["example.square", { "x": 3 }]));
    let (mut seen, mut answer) = (None, None);
    while seen.is_none() || answer.is_none() {
        let text = socket.text();
        match text["method"].as_str() {
            Some(event) => seen = Some((event.to_owned(), text["params"]["id"].clone())),
            None => answer = Some(text["result"].clone()),
        }
    }
    assert_eq!((answer, seen), (Some(json!(1)), Some(("jobSuccess".into(), json!(1)))));
    socket.send("subscribe", json!([["jobState"]]));
    assert_eq!(socket.text()["result"].as_array().unwrap().len(), 4);
    socket.send("unsubscribe", json!({ "events": ["jobSuccess", "jobFailure"] }));
    assert_eq!(socket.text()["result"], json!(["statisticsCollected", "jobState"]));
    support::run(&jobs, "example.noop", "{}");
    for state in ["uninitialized", "starting", "running", "success"] {
        let text = socket.text();
        assert_eq!(
            (&text["method"], &text["params"]),
            (&json!("jobState"), &json!({ "id": 2, "state": state }))
        );
    }
    socket.send("subscribe", json!([["jobSucces"]]));
    assert!(socket.text()["error"]["message"].as_str().unwrap().contains("no event"));
    socket.frame(9, b"there?");
    assert_eq!(socket.next(), (10, b"there?".to_vec()));
    socket.send("collectStatistics", json!([]));
    let texts = [socket.text(), socket.text()];
    assert!(texts.iter().any(|t| t["method"] == "statisticsCollected"), "{texts:?}");
    // A call that waits for a job holds up nothing else.
    socket.send("startJob", json!(["example.sleep", { "t": 60 }]));
    socket.send("waitJob", json!([3, 60]));
    socket.send("jobSuccess", json!([]));
    while socket.text()["id"] != "jobSuccess" {}
    jobs.abort(3).unwrap();
    loop {
        let text = socket.text();
        if text["id"] == "waitJob" {
            assert_eq!(text["result"], "aborted");
            break;
        }
    }
    socket.frame(8, &[0x03, 0xe8]);
    while socket.next().0 != 8 {}
}

#[test]
fn a_broken_frame_ends_that_socket_alone() {
    let (_jobs, server) = simple();
    let (mut good, mut bad) = (Socket::open(&server), Socket::open(&server));
    bad.0.get_mut().write_all(&[0x81, 0x05, b'H']).unwrap();
    let (kind, bytes) = bad.next();
    assert_eq!((kind, u16::from_be_bytes([bytes[0], bytes[1]])), (8, 1002));
    let mut large = Socket::open(&server);
    large.0.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0xff, 0, 0, 0, 0, 1, 2, 3, 4]).unwrap();
    let (kind, bytes) = large.next();
    assert_eq!((kind, u16::from_be_bytes([bytes[0], bytes[1]])), (8, 1009));
    good.send("jobSuccess", json!([]));
    assert_eq!(good.text()["result"], -1);
}
