//! WebSockets: calls, and events pushed to who wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::timeout;

use crate::event::Event;
use crate::net::App;
use crate::net::connection::Peer;
use crate::net::http::answer;
use crate::net::rpc::{self, code};
use crate::net::wire::{self, Broken, Message};

/// A ping goes out after this silence; no sign of life in twice that ends the connection.
const SILENCE: Duration = Duration::from_secs(30);
/// Answers and events that wait for a slow client.
const WAITING: usize = 256;
/// Bytes of an answer that waits alone.
const LARGE: usize = 64 << 10;
/// Calls of one client that wait for jobs.
const CALLS: usize = 64;

/// The events by name, a bit for each.
const EVENTS: [&str; 4] = ["jobSuccess", "jobFailure", "statisticsCollected", "jobState"];
/// What a client is told without asking: all but the many changes of state.
const USUAL: u8 = 0b0111;

/// Opens a WebSocket.
pub(super) async fn open(State(app): State<Arc<App>>, mut request: Request) -> Response {
    let text =
        |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let upgrade = text(header::UPGRADE).eq_ignore_ascii_case("websocket");
    let key = text(header::SEC_WEBSOCKET_KEY);
    if !upgrade || text(header::SEC_WEBSOCKET_VERSION) != "13" || key.is_empty() {
        let why = "this is a WebSocket (help: open it with version 13 of the protocol)";
        return answer(StatusCode::UPGRADE_REQUIRED, "application/json", rpc::refusal(code::REQUEST, why));
    }
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "no peer");
    };
    // A connection that has become a WebSocket has left the count of connections.
    if app.seen.sockets.load(Ordering::Relaxed) >= app.options.connections as u64 {
        app.seen.refused.fetch_add(1, Ordering::Relaxed);
        let why = format!("too many WebSockets, wanted at most {}", app.options.connections);
        return answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "application/json",
            rpc::refusal(code::REFUSED, &why),
        );
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => talk(app, peer, upgraded).await,
            Err(error) => tracing::debug!(%error, "A WebSocket was not opened."),
        }
    });
    let mut switch = answer(StatusCode::SWITCHING_PROTOCOLS, "application/json", axum::body::Body::empty());
    let headers = switch.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    let accept = header::HeaderValue::from_str(&wire::accept(&key)).expect("base64 is plain text");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    switch
}

/// What is to be sent.
enum Send {
    Text(String),
    Pong(Vec<u8>),
    Close(u16, &'static str),
}

/// Which events a client wants.
struct Wishes(AtomicU8);

async fn talk(app: Arc<App>, peer: Peer, upgraded: Upgraded) {
    app.seen.sockets.fetch_add(1, Ordering::Relaxed);
    let (reader, writer) = split(TokioIo::new(upgraded));
    let (queue, queued) = mpsc::channel(WAITING);
    let wishes = Arc::new(Wishes(AtomicU8::new(USUAL)));
    let events = tokio::spawn(forward(app.clone(), app.events.subscribe(), wishes.clone(), queue.clone()));
    let sender = tokio::spawn(send(writer, queued, app.options.patience));
    let (code, why) = match listen(&app, peer, reader, &wishes, &queue).await {
        Ok(()) => (1000, ""),
        Err(Broken(code, why)) => (code, why),
    };
    events.abort();
    // A client that does not read is not told why either.
    let _ = timeout(Duration::from_secs(1), queue.send(Send::Close(code, why))).await;
    drop(queue);
    let _ = timeout(Duration::from_secs(2), sender).await;
    app.seen.sockets.fetch_sub(1, Ordering::Relaxed);
}

async fn listen(
    app: &Arc<App>,
    peer: Peer,
    mut reader: ReadHalf<TokioIo<Upgraded>>,
    wishes: &Arc<Wishes>,
    queue: &mpsc::Sender<Send>,
) -> Result<(), Broken> {
    let mut pieces = None;
    let calls = Arc::new(Semaphore::new(CALLS));
    loop {
        let read = timeout(2 * SILENCE, wire::read(&mut reader, &mut pieces, app.options.body)).await;
        match read.map_err(|_| Broken(1001, "no sign of life"))?? {
            Message::Close => return Ok(()),
            Message::Pong => (),
            Message::Ping(bytes) => put(queue, Send::Pong(bytes)).await?,
            Message::Text(text) => {
                if app.limiter.take(peer.0.ip()).is_err() {
                    app.seen.refused.fetch_add(1, Ordering::Relaxed);
                    let rate = app.options.rate;
                    let why = format!("too many requests, wanted at most {rate} a second");
                    put(queue, Send::Text(rpc::refusal(code::REFUSED, &why))).await?;
                    continue;
                }
                app.seen.requests.fetch_add(1, Ordering::Relaxed);
                if let Some(answered) = wishes.answer(&text) {
                    put(queue, Send::Text(answered)).await?;
                } else if contains(&text, b"waitJob") {
                    // Whoever waits for a job can go on asking meanwhile.
                    let Ok(call) = calls.clone().try_acquire_owned() else {
                        let why = format!("more than {CALLS} calls of this client wait for jobs");
                        put(queue, Send::Text(rpc::refusal(code::REFUSED, &why))).await?;
                        continue;
                    };
                    let (app, queue) = (app.clone(), queue.clone());
                    tokio::spawn(async move {
                        if let Some(answered) = rpc::answer(&app, &text).await {
                            // The client may be gone by now.
                            let _ = put(&queue, Send::Text(answered)).await;
                        }
                        drop(call);
                    });
                } else if let Some(answered) = rpc::answer(app, &text).await {
                    put(queue, Send::Text(answered)).await?;
                }
            }
        }
    }
}

async fn put(queue: &mpsc::Sender<Send>, what: Send) -> Result<(), Broken> {
    let gone = |_| Broken(1006, "the connection is gone");
    match &what {
        // Large answers wait one at a time: a client that asks and does not read must not fill the memory.
        Send::Text(text) if text.len() > LARGE => {
            let mut places = queue.reserve_many(WAITING).await.map_err(gone)?;
            if let Some(place) = places.next() {
                place.send(what);
            }
            Ok(())
        }
        _ => queue.send(what).await.map_err(|_| Broken(1006, "the connection is gone")),
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|w| w == word)
}

/// Sends what waits, and pings when nothing does.
async fn send(
    mut writer: WriteHalf<TokioIo<Upgraded>>,
    mut queued: mpsc::Receiver<Send>,
    patience: Duration,
) {
    loop {
        let (kind, bytes, last) = match timeout(SILENCE, queued.recv()).await {
            Ok(Some(Send::Text(text))) => (wire::TEXT, text.into_bytes(), false),
            Ok(Some(Send::Pong(bytes))) => (wire::PONG, bytes, false),
            Ok(Some(Send::Close(code, why))) => {
                // 1006 is never sent: it says that nothing can be.
                let code = if code == 1006 { 1000 } else { code };
                (wire::CLOSE, [&code.to_be_bytes()[..], why.as_bytes()].concat(), true)
            }
            Ok(None) => return,
            Err(_) => (wire::PING, vec![], false),
        };
        match timeout(patience, wire::write(&mut writer, kind, &bytes)).await {
            Ok(Ok(())) if !last => (),
            // Gone, or it does not read: closing the queue ends the rest.
            _ => return,
        }
    }
}

/// Passes events on; what a slow client misses, it is told.
async fn forward(
    app: Arc<App>,
    mut events: broadcast::Receiver<Event>,
    wishes: Arc<Wishes>,
    queue: mpsc::Sender<Send>,
) {
    loop {
        let told = match events.recv().await {
            Ok(event) => match notification(&event, wishes.0.load(Ordering::Relaxed), &app) {
                Some(told) => told,
                None => continue,
            },
            Err(broadcast::error::RecvError::Lagged(n)) => {
                app.seen.lost_events.fetch_add(n, Ordering::Relaxed);
                json!({ "jsonrpc": "2.0", "method": "eventsLost", "params": { "count": n } })
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if queue.send(Send::Text(told.to_string())).await.is_err() {
            return;
        }
    }
}

fn notification(event: &Event, wishes: u8, app: &App) -> Option<Json> {
    let (bit, params) = match event {
        Event::Success { id } => (0, json!({ "id": id })),
        Event::Failure { id } => (1, json!({ "id": id })),
        Event::Statistics if wishes & 0b100 != 0 => (2, json!({ "text": app.jobs.last_statistics() })),
        Event::Statistics => return None,
        Event::State { id, state } => (3, json!({ "id": id, "state": state.word() })),
    };
    let wanted = wishes & (1 << bit) != 0;
    wanted.then(|| json!({ "jsonrpc": "2.0", "method": EVENTS[bit], "params": params }))
}

impl Wishes {
    /// Answers a request that changes them; none for any other.
    fn answer(&self, text: &[u8]) -> Option<String> {
        if !contains(text, b"subscribe\"") {
            return None;
        }
        let request: Json = serde_json::from_slice(text).ok()?;
        let on = match request.get("method")?.as_str()? {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return None,
        };
        let id = request.get("id").cloned().unwrap_or_default();
        let events = match request.get("params") {
            Some(Json::Object(named)) => named.get("events").cloned(),
            Some(Json::Array(list)) => list.first().map(|first| match first {
                Json::Array(inner) => Json::Array(inner.clone()),
                _ => Json::Array(list.clone()),
            }),
            _ => None,
        };
        let mut bits = 0;
        for name in events.as_ref().and_then(Json::as_array).into_iter().flatten() {
            match EVENTS.iter().position(|event| Some(*event) == name.as_str()) {
                Some(bit) => bits |= 1 << bit,
                None => {
                    let name: String = name.to_string().chars().take(100).collect();
                    let why = format!("no event {name}, wanted some of {}", EVENTS.join(", "));
                    let error = json!({ "code": code::PARAMS, "message": why });
                    return Some(json!({ "jsonrpc": "2.0", "error": error, "id": id }).to_string());
                }
            }
        }
        if events.is_none() {
            bits = 0b1111;
        }
        let now = match on {
            true => self.0.fetch_or(bits, Ordering::Relaxed) | bits,
            false => self.0.fetch_and(!bits, Ordering::Relaxed) & !bits,
        };
        let names: Vec<&str> =
            EVENTS.iter().enumerate().filter(|(bit, _)| now & (1 << bit) != 0).map(|(_, n)| *n).collect();
        Some(json!({ "jsonrpc": "2.0", "result": names, "id": id }).to_string())
    }
}
