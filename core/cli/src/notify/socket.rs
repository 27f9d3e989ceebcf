//! A socket for other programs: events go out as JSON lines, and come in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use isard_core::error::{Error, Result};
use serde_json::Value as Json;

use super::{Event, Sink};

/// Clients at once at most.
const CLIENTS: usize = 16;

/// Sends events to every client, and takes theirs: `{"do": "stop"}` stops the run, `{"text": ...}` goes into the log.
pub(super) struct Socket {
    clients: Arc<Mutex<Vec<TcpStream>>>,
    over: Arc<AtomicBool>,
}

impl Socket {
    pub(super) fn new(listen: &str, stop: &Arc<AtomicBool>) -> Result<Socket> {
        let fail = |e: std::io::Error| Error::recipe(format!("cannot listen at `{listen}`: {e}"));
        let listener = TcpListener::bind(listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let (clients, over) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
        let (all, ended, stop) = (clients.clone(), over.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("isard events".into());
        let thread = thread.spawn(move || serve(&listener, &all, &ended, &stop));
        thread.map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        Ok(Socket { clients, over })
    }
}

/// Takes clients until the sink ends.
fn serve(
    listener: &TcpListener,
    all: &Mutex<Vec<TcpStream>>,
    over: &Arc<AtomicBool>,
    stop: &Arc<AtomicBool>,
) {
    while !over.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut clients = all.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = client
            .set_nonblocking(false)
            .and_then(|()| client.set_write_timeout(Some(Duration::from_secs(2))));
        let (Ok(()), Ok(reader), true) = (ready, client.try_clone(), clients.len() < CLIENTS) else {
            continue;
        };
        clients.push(client);
        let (over, stop) = (over.clone(), stop.clone());
        // Each client has a thread that ends with it; without one it still hears events.
        let _ = std::thread::Builder::new()
            .name("isard events in".into())
            .spawn(move || hear(reader, &over, &stop));
    }
}

/// Heeds the lines of a client.
fn hear(client: TcpStream, over: &AtomicBool, stop: &AtomicBool) {
    // Only a hint to look up now and then.
    let _ = client.set_read_timeout(Some(Duration::from_millis(200)));
    let mut reader = BufReader::new(client);
    let mut line = String::new();
    while !over.load(Ordering::Relaxed) {
        match (&mut reader).take(1 << 16).read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {
                heed(&line, stop);
                line.clear();
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn heed(line: &str, stop: &AtomicBool) {
    let Ok(Json::Object(said)) = serde_json::from_str::<Json>(line) else {
        tracing::warn!(line = line.trim(), "A line from outside is no JSON object.");
        return;
    };
    let text = |key: &str| said.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    match text("do").as_str() {
        "stop" => {
            tracing::warn!(why = %text("text"), "The run is asked to stop from outside.");
            stop.store(true, Ordering::Relaxed);
        }
        "" => tracing::warn!(text = %text("text"), level = %text("level"), "Word from outside."),
        other => tracing::warn!(word = other, "A word from outside is not known; wanted `stop`."),
    }
}

impl Sink for Socket {
    fn tell(&mut self, event: &Event) -> Result<()> {
        let line = event.json() + "\n";
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is gone, or that takes nothing for two seconds, is let go.
        clients.retain_mut(|client| client.write_all(line.as_bytes()).is_ok());
        Ok(())
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
