//! A small client: calls over HTTP, one connection kept open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use isard_core::error::{Blame, Error, Result};
use serde_json::{Value as Json, json};

/// Bytes of an answer at most.
const ANSWER: u64 = 1 << 30;

/// A connection to a server.
pub struct Client {
    server: String,
    token: Option<String>,
    patience: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of the server at `HOST:PORT`.
    pub fn new(server: &str, token: Option<String>) -> Client {
        let server = server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/').to_owned();
        Client { server, token, patience: Duration::from_secs(60), stream: None }
    }

    /// Waits so long for an answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Client {
        self.patience = patience;
        self
    }

    /// Calls a method; its result.
    pub fn call(&mut self, method: &str, params: Json) -> Result<Json> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let text = self.post("/rpc", &request.to_string())?;
        let mut answer: Json = serde_json::from_str(&text)
            .map_err(|e| Error::data(format!("{} sent no JSON: {e}", self.server)))?;
        match answer.get("error").filter(|e| !e.is_null()) {
            None => Ok(answer["result"].take()),
            Some(error) => {
                let message = error["message"].as_str().unwrap_or("an error without a message");
                let blame = match error["code"].as_i64() {
                    Some(-32001 | -32004 | -32601 | -32602) => Blame::Recipe,
                    Some(-32002) => Blame::Resources,
                    _ => Blame::Data,
                };
                let error_ = Error::new(blame, message);
                Err(match error["data"]["help"].as_str() {
                    Some(help) => error_.help(help),
                    None => error_,
                })
            }
        }
    }

    /// Posts a text; the body of the answer, whatever its status.
    fn post(&mut self, path: &str, body: &str) -> Result<String> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        // A connection that the server has closed meanwhile is opened anew, once. A request that may have been heard
        // is never sent again: it could start a job twice.
        let kept = self.stream.is_some();
        match self.once(path, body) {
            Err(e) if kept && matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {
                self.stream = None;
                self.once(path, body)
            }
            other => other,
        }
        .map_err(|e| {
            self.stream = None;
            Error::new(Blame::Io, format!("no answer from the server at {}: {e}", self.server))
                .help("start one with `isard serve`, or name it with `--server HOST:PORT`")
        })
    }

    fn once(&mut self, path: &str, body: &str) -> std::io::Result<String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(BufReader::new(connect(&self.server, self.patience)?)),
        };
        let token =
            self.token.as_ref().map_or_else(String::new, |t| format!("authorization: Bearer {t}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{token}content-length: {}\r\n\r\n",
            self.server,
            body.len()
        );
        stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let bad = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
        let (mut length, mut line, mut close) = (0u64, String::new(), false);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                let gone = std::io::ErrorKind::UnexpectedEof;
                return Err(std::io::Error::new(gone, "the connection was closed"));
            }
            let lower = line.to_ascii_lowercase();
            if let Some(n) = lower.strip_prefix("content-length:") {
                length = n.trim().parse().map_err(|_| bad("a length that is no number"))?;
            } else if lower.starts_with("connection:") && lower.contains("close") {
                close = true;
            } else if lower.trim().is_empty() {
                break;
            }
        }
        if length > ANSWER {
            return Err(bad("the answer is too large"));
        }
        let mut text = String::new();
        stream.take(length).read_to_string(&mut text)?;
        if close {
            self.stream = None;
        }
        Ok(text)
    }
}

fn connect(server: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "no address of that name");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
