//! Clients that do harm, by mistake or not: refused with clear words, and the rest unharmed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_serve::client::Client;
use isard_serve::net::{Options, Server};
use isard_serve::{Config, Confine, Jobs};
use serde_json::json;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn server(options: Options) -> (Arc<Jobs>, Server) {
    let root = std::env::temp_dir();
    let confine = Confine::to(&[root]).unwrap();
    let jobs = Arc::new(Jobs::open(Config { workers: 2, confine, ..Config::default() }).unwrap());
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(jobs.clone(), Options { bind, ..options }).unwrap();
    (jobs, server)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends bytes, and reads everything until the server closes.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // A server that refuses may close before all is sent.
    let _ = stream.write_all(bytes);
    let mut text = vec![];
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn head(more: &str, length: usize) -> String {
    format!(
        "POST /rpc HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n"
    )
}

fn well(server: &Server, token: Option<&str>) {
    let mut client = Client::new(&server.address().to_string(), token.map(str::to_owned));
    let id = client.call("startJob", json!(["example.square", { "x": 5 }])).unwrap();
    assert_eq!(client.call("waitJob", json!([id, 20])).unwrap(), "success");
}

#[test]
fn a_token_is_wanted_where_one_is_set_and_always_off_loopback() {
    let (jobs, server) = server(Options { token: Some(TOKEN.into()), ..Options::default() });
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"jobSuccess"}"#;
    let ask = |header: &str| raw(&server, (head(header, body.len()) + body).as_bytes());
    let none = ask("");
    assert!(none.starts_with("HTTP/1.1 401") && none.contains("no token, wanted the header"), "{none}");
    let prefix = &TOKEN[..31];
    for wrong in [format!("authorization: Bearer {prefix}\r\n"), format!("authorization: Basic {TOKEN}\r\n")]
    {
        assert!(ask(&wrong).starts_with("HTTP/1.1 401"), "{wrong}");
    }
    assert!(ask(&format!("authorization: Bearer {TOKEN}\r\n")).contains(r#""result":-1"#));
    assert!(
        raw(&server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .contains("401")
    );
    assert!(
        raw(&server, b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .contains("200 OK")
    );
    let socket = b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = connect(&server);
    stream.write_all(socket).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    well(&server, Some(TOKEN));
    // Guessing is slow: after ten wrong ones even the right one has to wait.
    for _ in 0..12 {
        ask("authorization: Bearer guess\r\n");
    }
    let late = ask(&format!("authorization: Bearer {TOKEN}\r\n"));
    assert!(late.starts_with("HTTP/1.1 429") && late.contains("retry-after"), "{late}");
    let bind = SocketAddr::from(([0, 0, 0, 0], 0));
    let open = Server::start(jobs, Options { bind, ..Options::default() }).err().unwrap().to_string();
    assert!(open.contains("without a token") && open.contains("--token-file"), "{open}");
}

#[test]
fn pages_of_other_sites_cannot_use_a_browser_against_the_server() {
    let (_jobs, server) = server(Options { hosts: vec!["beamline.example".into()], ..Options::default() });
    let ask = |headers: &str| {
        raw(&server, format!("GET /health HTTP/1.1\r\n{headers}connection: close\r\n\r\n").as_bytes())
    };
    assert!(ask("host: evil.example\r\n").starts_with("HTTP/1.1 403"), "a name bent to this address");
    assert!(ask("host: localhost\r\norigin: http://evil.example\r\n").starts_with("HTTP/1.1 403"));
    assert!(ask("host: localhost\r\norigin: null\r\n").starts_with("HTTP/1.1 403"));
    assert!(ask("host: localhost:80\r\norigin: http://localhost:80\r\n").starts_with("HTTP/1.1 200"));
    assert!(ask("host: beamline.example\r\n").starts_with("HTTP/1.1 200"));
    assert!(ask("").starts_with("HTTP/1.1 400"), "no host");
}

#[test]
fn garbage_and_large_requests_are_refused_and_others_are_served() {
    let (jobs, server) = server(Options { body: 10_000, ..Options::default() });
    let large = raw(&server, (head("", 1_000_000_000) + "x").as_bytes());
    assert!(large.starts_with("HTTP/1.1 413") && large.contains("wanted at most 10000"), "{large}");
    let chunked = "POST /rpc HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let pieces = format!("{:x}\r\n{}\r\n", 5000, "x".repeat(5000)).repeat(4);
    let endless = raw(&server, (chunked + &pieces + "0\r\n\r\n").as_bytes());
    assert!(endless.starts_with("HTTP/1.1 413"), "{endless}");
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(100_000));
    let long = raw(&server, long.as_bytes());
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{long}");
    let garbage: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let answered = raw(&server, &garbage);
    assert!(answered.is_empty() || answered.starts_with("HTTP/1.1 400"), "{answered}");
    assert!(raw(&server, b"\x16\x03\x01\x02\x00\x01\x00").starts_with("HTTP/1.1 400"), "a TLS hello");
    // Brackets without end: the reader of JSON has a bottom.
    let deep = "[".repeat(9000);
    let answer = raw(&server, (head("", deep.len()) + &deep).as_bytes());
    assert!(answer.contains("-32700"), "{answer}");
    let nested = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"startJob","params":["a.b",{}1{}]}}"#,
        "{\"x\":".repeat(1000),
        "}".repeat(1000)
    );
    assert!(raw(&server, (head("", nested.len()) + &nested).as_bytes()).contains("-32700"));
    let bytes = b"\xff\xfe\x00";
    assert!(raw(&server, &[head("", 3).as_bytes(), bytes].concat()).contains("not UTF-8"));
    // A request that says it has more to come, and goes.
    let mut stream = connect(&server);
    stream.write_all((head("", 500) + "{").as_bytes()).unwrap();
    drop(stream);
    let escape = json!({ "jsonrpc": "2.0", "id": 1, "method": "startJob", "params": ["../../x\u{0}y", { "x": "/etc/passwd" }] });
    let escape = escape.to_string();
    assert!(raw(&server, (head("", escape.len()) + &escape).as_bytes()).contains(r#""result":1"#));
    assert!(support_error(&jobs, 1).contains("no plugin"));
    well(&server, None);
}

fn support_error(jobs: &Jobs, id: i64) -> String {
    jobs.wait(id, Some(Duration::from_secs(20))).unwrap();
    jobs.error(id).unwrap()
}

#[test]
fn slow_and_silent_clients_lose_their_connection_and_hold_up_nobody() {
    let patience = Duration::from_millis(300);
    let (jobs, server) = server(Options { patience, connections: 40, ..Options::default() });
    let begun = Instant::now();
    let mut silent: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
    let mut half: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
    half.iter_mut().for_each(|s| s.write_all(b"POST /rpc HTTP/1.1\r\nhost: loc").unwrap());
    let mut body: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
    body.iter_mut().for_each(|s| s.write_all((head("", 100) + "{").as_bytes()).unwrap());
    well(&server, None);
    for stream in silent.iter_mut().chain(&mut half).chain(&mut body) {
        let mut text = String::new();
        // Closed with or without words, in time.
        let _ = stream.read_to_string(&mut text);
        assert!(text.is_empty() || text.contains("408"), "{text}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // One that asks for much and reads nothing.
    let input = json!({ "x": "y".repeat(4_000_000) }).to_string();
    let id = jobs.start(support::request("example.noop", &input)).unwrap();
    let ask = json!({ "jsonrpc": "2.0", "id": 1, "method": "getJobInput", "params": [id] }).to_string();
    let mut deaf = connect(&server);
    let keep = head("", ask.len()).replace("connection: close\r\n", "") + &ask;
    for _ in 0..20 {
        if deaf.write_all(keep.as_bytes()).is_err() {
            break;
        }
    }
    well(&server, None);
    let text = |server: &Server| {
        raw(server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    };
    support::until("all are gone but the one who asks", || {
        text(&server).contains("isard_http_connections_open 1\n")
    });
    drop(deaf);
}

#[test]
fn too_many_connections_and_requests_are_told_so() {
    let (_jobs, limited) = server(Options { rate: 5, ..Options::default() });
    let ask = || raw(&limited, b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let answers: Vec<String> = (0..20).map(|_| ask()).collect();
    let refused =
        answers.iter().filter(|a| a.starts_with("HTTP/1.1 429") && a.contains("wanted at most 5 a second"));
    assert!(refused.count() > 0, "{answers:?}");
    let (_jobs, full) = server(Options { connections: 3, ..Options::default() });
    let held: Vec<TcpStream> = (0..3).map(|_| connect(&full)).collect();
    let turned = raw(&full, b"");
    assert!(turned.starts_with("HTTP/1.1 503") && turned.contains("too many connections"), "{turned}");
    drop(held);
    support::until("there is room again", || {
        raw(&full, b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").contains("200 OK")
    });
    well(&full, None);
}
