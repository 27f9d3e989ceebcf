//! Connections: bounded in number, and each in the time it may take.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::net::App;
use crate::net::patient::Patient;
use crate::net::{http, rpc};

/// Bytes of the head of a request at most.
const HEAD: usize = 32 << 10;

/// How much longer than other things the next request may take.
const IDLE: u32 = 6;

/// Accepts connections for good.
pub(super) async fn accept(listener: TcpListener, app: Arc<App>) {
    let slots = Arc::new(Semaphore::new(app.options.connections.max(1)));
    let router = http::router(app.clone());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, say: it passes, and must not spin.
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        app.seen.connections.fetch_add(1, Ordering::Relaxed);
        // Small answers are sent at once; a socket that refuses this serves all the same.
        let _ = stream.set_nodelay(true);
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                let (app, router) = (app.clone(), router.clone());
                tokio::spawn(async move {
                    app.seen.open.fetch_add(1, Ordering::Relaxed);
                    serve(stream, peer, &app, router).await;
                    app.seen.open.fetch_sub(1, Ordering::Relaxed);
                    drop(slot);
                });
            }
            Err(_) => {
                app.seen.refused.fetch_add(1, Ordering::Relaxed);
                turn_away(&stream, app.options.connections);
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, app: &Arc<App>, router: Router) {
    let answer = |request: hyper::Request<Incoming>| {
        let admitted = app.admit(peer.ip(), request.uri().path(), request.headers());
        let mut router = router.clone();
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        async move {
            match admitted {
                Ok(()) => router.call(request).await,
                Err(refusal) => Ok::<Response, Infallible>(refusal.response()),
            }
        }
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    // A client that sends its head byte by byte, or nothing at all, loses its connection; so does one that keeps it and
    // asks nothing, which is why it may take longer here than elsewhere.
    let idle = IDLE * app.options.patience;
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(HEAD);
    let stream = Patient::new(stream, app.options.patience);
    let served = http.serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "A connection ended.");
    }
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

/// Tells a client that there is no room, as far as its socket takes it without waiting.
fn turn_away(stream: &TcpStream, most: usize) {
    let text = rpc::refusal(rpc::code::REFUSED, &format!("too many connections, wanted at most {most}"));
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close";
    let answer = format!("{head}\r\nretry-after: 1\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    // A client that is gone need not be told.
    let _ = stream.try_write(answer.as_bytes());
}
