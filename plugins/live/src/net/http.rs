//! The little of HTTP that the interface of a detector needs: one request, one answer in JSON, a time limit.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use serde_json::Value as Json;

/// Answers longer than this are no settings.
const LONGEST: usize = 64 << 20;

/// Asks a server and gives the status with the answer; an empty answer is null.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Json>,
    limit: Duration,
) -> Result<(u16, Json)> {
    let at = |e: std::io::Error| {
        let error = Error::new(Blame::Io, format!("{method} http://{address}{path}: {e}"));
        if e.kind() == ErrorKind::ConnectionRefused {
            error.help("is the detector's control unit on, and is this its address?")
        } else {
            error
        }
    };
    let until = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&address, limit.min(Duration::from_secs(5))).map_err(at)?;
    stream.set_read_timeout(Some(Duration::from_millis(100))).map_err(at)?;
    stream.set_write_timeout(Some(limit)).map_err(at)?;
    let body = body.map(Json::to_string).unwrap_or_default();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).map_err(at)?;
    let wrong = |why: String| Error::data(format!("{method} http://{address}{path}: {why}"));
    let (mut bytes, mut chunk) = (vec![], vec![0; 64 << 10]);
    loop {
        if let Some(answer) = Answer::of(&bytes) {
            let answer = answer.map_err(&wrong)?;
            if let Some(body) = answer.body(&bytes, false).map_err(&wrong)? {
                return parsed(answer.status, &body).map_err(wrong);
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) => {
                let answer = Answer::of(&bytes).ok_or_else(|| wrong("closed without an answer".into()))?;
                let answer = answer.map_err(&wrong)?;
                let body = answer.body(&bytes, true).map_err(&wrong)?;
                return parsed(answer.status, &body.unwrap_or_default()).map_err(wrong);
            }
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) => return Err(at(e)),
        }
        if bytes.len() > LONGEST {
            return Err(wrong(format!("the answer is longer than {LONGEST} bytes")));
        }
        if Instant::now() > until {
            let s = limit.as_secs_f64();
            return Err(Error::new(
                Blame::Io,
                format!("{method} http://{address}{path}: no answer in {s} s"),
            ));
        }
    }
}

fn parsed(status: u16, body: &[u8]) -> std::result::Result<(u16, Json), String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok((status, Json::Null));
    }
    match serde_json::from_slice(body) {
        Ok(json) => Ok((status, json)),
        // What a server says about a fault may be plain text.
        Err(_) if status >= 400 => Ok((status, Json::from(String::from_utf8_lossy(body).into_owned()))),
        Err(e) => Err(format!("the answer is no JSON: {e}")),
    }
}

/// The head of an answer.
struct Answer {
    status: u16,
    start: usize,
    length: Option<usize>,
    chunked: bool,
}

impl Answer {
    /// The head, once all of it is there.
    fn of(bytes: &[u8]) -> Option<std::result::Result<Answer, String>> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let Some(status) = status.filter(|_| first.starts_with("HTTP/")) else {
            return Some(Err(format!("the answer begins with {first:?}, wanted HTTP")));
        };
        let mut answer = Answer { status, start: end + 4, length: None, chunked: false };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                match value.parse() {
                    Ok(n) if n <= LONGEST => answer.length = Some(n),
                    _ => return Some(Err(format!("the answer says that it has {value} bytes"))),
                }
            }
            answer.chunked |=
                name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked");
        }
        Some(Ok(answer))
    }

    /// The body, once all of it is there.
    fn body(&self, bytes: &[u8], ended: bool) -> std::result::Result<Option<Vec<u8>>, String> {
        let rest = &bytes[self.start..];
        if self.chunked {
            return match unchunked(rest) {
                Some(body) => Ok(Some(body)),
                None if ended => Err("the answer was cut short".into()),
                None => Ok(None),
            };
        }
        match self.length {
            Some(n) if rest.len() >= n => Ok(Some(rest[..n].to_vec())),
            Some(n) if ended => Err(format!("the answer was cut short: {} of {n} bytes", rest.len())),
            None if ended => Ok(Some(rest.to_vec())),
            _ => Ok(None),
        }
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        let data = rest.get(end + 2..)?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(data.get(..size)?);
        rest = data.get(size.checked_add(2)?..)?;
    }
}

/// Answers one request of a connection, within five seconds; `answer` makes the status and the body.
pub(crate) fn answer(mut stream: TcpStream, answer: impl FnOnce(&str, &str, &Json) -> (u16, Json)) {
    let until = Instant::now() + Duration::from_secs(5);
    if stream.set_read_timeout(Some(Duration::from_millis(100))).is_err() {
        return;
    }
    let (mut bytes, mut chunk) = (vec![], [0; 4096]);
    let request = loop {
        if let Some(request) = request(&bytes) {
            break request;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        if Instant::now() > until || bytes.len() > 1 << 20 {
            return;
        }
    };
    let (method, path, body) = request;
    let (status, json) = answer(&method, &path, &body);
    let text = if json.is_null() { String::new() } else { json.to_string() };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        if status < 400 { "OK" } else { "Error" },
        text.len()
    );
    // A client that is gone has no use for its answer.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes()));
}

fn request(bytes: &[u8]) -> Option<(String, String, Json)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let length = lines
        .filter_map(|l| l.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, n)| n.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let body = bytes.get(end + 4..(end + 4).checked_add(length)?)?;
    Some((method, path, serde_json::from_slice(body).unwrap_or(Json::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(reply: &'static [u8]) -> Result<(u16, Json)> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 1024];
            let n = stream.read(&mut heard).unwrap();
            stream.write_all(reply).unwrap();
            String::from_utf8_lossy(&heard[..n]).into_owned()
        });
        let got = ask(address, "PUT", "/a", Some(&Json::from(3)), Duration::from_secs(5));
        let heard = thread.join().unwrap();
        assert!(heard.starts_with("PUT /a HTTP/1.1\r\n") && heard.ends_with("\r\n\r\n3"), "{heard}");
        got
    }

    #[test]
    fn answers_come_by_length_in_chunks_or_to_the_end() {
        for reply in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 1}\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n{\"a\": 1}",
        ] {
            assert_eq!(served(reply).unwrap(), (200, serde_json::json!({ "a": 1 })));
        }
        assert_eq!(served(b"HTTP/1.1 404 No\r\n\r\nnot here").unwrap(), (404, Json::from("not here")));
    }

    #[test]
    fn bad_answers_are_named() {
        for (reply, wanted) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{}"[..], "cut short: 2 of 80 bytes"),
            (b"HTTP/1.1 200 OK\r\n\r\n{", "the answer is no JSON"),
            (b"SSH-2.0\r\n\r\n", "wanted HTTP"),
            (b"", "closed without an answer"),
        ] {
            let error = served(reply).unwrap_err();
            assert!(error.message().contains(wanted), "{error}");
        }
    }
}
