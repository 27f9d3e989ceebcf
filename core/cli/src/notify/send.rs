//! Sinks that send each event once: mail, web hook, command.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::Stdio;
use std::time::{Duration, Instant};

use isard_core::error::{Blame, Error, Result};

use super::{Event, Sink};

/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn connect(to: &str) -> Result<TcpStream> {
    let fail = |e: std::io::Error| Error::new(Blame::Io, format!("{to} cannot be reached: {e}"));
    let address = to.to_socket_addrs().map_err(fail)?.next();
    let address = address.ok_or_else(|| Error::recipe(format!("`{to}` is no host and port")))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(fail)?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(fail)?;
    Ok(stream)
}

/// Mail through a server that takes it without encryption: the relay of a site.
pub(super) struct Smtp {
    server: String,
    from: String,
    to: Vec<String>,
}

impl Smtp {
    pub(super) fn new(server: String, from: String, to: Vec<String>) -> Result<Smtp> {
        let good =
            |a: &String| a.contains('@') && !a.contains(|c: char| c.is_whitespace() || "<>".contains(c));
        if to.is_empty() || !good(&from) || !to.iter().all(good) {
            return Err(Error::recipe("`from` and `to` need addresses such as `me@example.org`"));
        }
        let server = if server.contains(':') { server } else { format!("{server}:25") };
        Ok(Smtp { server, from, to })
    }

    fn send(&self, event: &Event) -> std::io::Result<()> {
        let stream = connect(&self.server).map_err(|e| std::io::Error::other(e.to_string()))?;
        let mut talk = Talk { reader: BufReader::new(stream.try_clone()?), stream };
        talk.expect(b'2')?;
        talk.say("EHLO isard", b'2')?;
        talk.say(&format!("MAIL FROM:<{}>", self.from), b'2')?;
        for to in &self.to {
            talk.say(&format!("RCPT TO:<{to}>"), b'2')?;
        }
        talk.say("DATA", b'3')?;
        let subject: String =
            event.text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
        let body = format!(
            "time: {}\r\nrun: {}\r\nwhat: {}\r\n\r\n{}\r\n",
            event.time,
            event.run,
            event.what,
            event.text.replace('\n', "\r\n")
        );
        // A line of one dot would end the message.
        let body = body.replace("\r\n.", "\r\n..");
        let head = format!(
            "From: <{}>\r\nTo: <{}>\r\nSubject: isard {:?}: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
            self.from,
            self.to.join(">, <"),
            event.level
        );
        talk.say(&format!("{head}{body}."), b'2')?;
        // The mail is taken; how the server says good-bye changes nothing.
        let _ = talk.say("QUIT", b'2');
        Ok(())
    }
}

struct Talk {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Talk {
    fn say(&mut self, line: &str, wanted: u8) -> std::io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.expect(wanted)
    }

    /// Reads an answer of one or several lines, which must begin with a digit.
    fn expect(&mut self, wanted: u8) -> std::io::Result<()> {
        loop {
            let mut line = String::new();
            (&mut self.reader).take(4096).read_line(&mut line)?;
            match line.as_bytes() {
                [first, _, _, b'-', ..] if *first == wanted => {}
                [first, ..] if *first == wanted => return Ok(()),
                _ => return Err(std::io::Error::other(format!("it answers `{}`", line.trim()))),
            }
        }
    }
}

impl Sink for Smtp {
    fn tell(&mut self, event: &Event) -> Result<()> {
        self.send(event).map_err(|e| Error::new(Blame::Io, format!("mail by {}: {e}", self.server)))
    }
}

/// A POST of each event as JSON.
pub(super) struct Webhook {
    host: String,
    path: String,
}

impl Webhook {
    pub(super) fn new(url: &str) -> Result<Webhook> {
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            Error::recipe(format!("`{url}` does not begin with http://"))
                .help("for https use a relay of the site, or `kind = \"command\"` with curl")
        })?;
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        if host.is_empty() || url.contains(char::is_whitespace) {
            return Err(Error::recipe(format!("`{url}` names no host")));
        }
        Ok(Webhook { host: host.to_owned(), path: format!("/{path}") })
    }

    fn post(&self, event: &Event) -> Result<String> {
        let port = if self.host.contains(':') { self.host.clone() } else { format!("{}:80", self.host) };
        let mut stream = connect(&port)?;
        let body = event.json();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.path,
            self.host,
            body.len()
        );
        let fail = |e: std::io::Error| Error::new(Blame::Io, format!("{port}: {e}"));
        stream.write_all(request.as_bytes()).map_err(fail)?;
        let mut answer = String::new();
        BufReader::new(stream).take(4096).read_line(&mut answer).map_err(fail)?;
        Ok(answer)
    }
}

impl Sink for Webhook {
    fn tell(&mut self, event: &Event) -> Result<()> {
        let answer = self.post(event)?;
        match answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()) {
            Some(code) if (200..300).contains(&code) => Ok(()),
            _ => Err(Error::new(Blame::Io, format!("{} answers `{}`", self.host, answer.trim()))),
        }
    }
}

/// A command for each event.
pub(super) struct Command {
    run: Vec<String>,
}

impl Command {
    pub(super) fn new(run: Vec<String>) -> Result<Command> {
        match run.first() {
            Some(program) if !program.is_empty() => Ok(Command { run }),
            _ => Err(Error::recipe("`run` names no program")),
        }
    }
}

impl Sink for Command {
    fn tell(&mut self, event: &Event) -> Result<()> {
        let level = format!("{:?}", event.level).to_lowercase();
        let filled = |word: &String| {
            let word = word.replace("{level}", &level).replace("{what}", &event.what);
            word.replace("{run}", &event.run).replace("{text}", &event.text)
        };
        let words: Vec<String> = self.run.iter().map(filled).collect();
        let fail = |e: std::io::Error| Error::new(Blame::Io, format!("`{}`: {e}", words[0]));
        let mut child = std::process::Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(fail)?;
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read its input is none the worse.
            let _ = input.write_all(event.json().as_bytes());
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match child.try_wait().map_err(fail)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Error::new(Blame::Io, format!("`{}` ended with {status}", words[0])));
                }
                None if Instant::now() > until => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Error::new(Blame::Io, format!("`{}` took longer than 10 s", words[0])));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}
