//! The job server on the network: JSON-RPC over HTTP and WebSocket, on a runtime of its own.

mod args;
mod connection;
mod guard;
mod http;
mod legacy;
mod limit;
mod method;
mod metrics;
mod openapi;
mod patient;
mod rpc;
mod socket;
mod table;
mod wait;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use isard_core::error::{Blame, Error, Result};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

use crate::event::Event;
use crate::jobs::Jobs;

pub use table::{METHODS, Method, Param};

/// The port when none is named.
pub const PORT: u16 = 8421;

/// How the server listens.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What clients must show; needed for any address but loopback.
    pub token: Option<String>,
    /// Names that clients may call this computer by, beside its address and `localhost`.
    pub hosts: Vec<String>,
    /// Bytes of a request at most.
    pub body: usize,
    /// Requests in a second and address at most; 0 is without a limit.
    pub rate: u32,
    /// Connections at once at most.
    pub connections: usize,
    /// How long a client may take to send a request or to read an answer.
    pub patience: Duration,
    /// Threads that serve the network.
    pub threads: usize,
    /// Seconds that `waitJob` waits at most.
    pub longest_wait: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT),
            token: None,
            hosts: vec![],
            body: 8 << 20,
            rate: 20_000,
            connections: 1024,
            patience: Duration::from_secs(10),
            threads: 2,
            longest_wait: 600.0,
        }
    }
}

/// What all connections share.
struct App {
    jobs: Arc<Jobs>,
    options: Options,
    digest: Option<[u8; 32]>,
    limiter: limit::Limiter,
    events: broadcast::Sender<Event>,
    waiters: wait::Waiters,
    seen: Seen,
}

/// What the network has seen.
#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    sockets: AtomicU64,
    lost_events: AtomicU64,
}

/// A server that listens until it is dropped.
pub struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts to listen.
    pub fn start(jobs: Arc<Jobs>, options: Options) -> Result<Server> {
        if !options.bind.ip().is_loopback() && options.token.as_deref().is_none_or(str::is_empty) {
            return Err(Error::recipe(format!(
                "listening on {} without a token would let anybody run jobs",
                options.bind
            ))
            .help("name a file with a token (`--token-file`), or listen on 127.0.0.1"));
        }
        let failed = |e: std::io::Error| {
            Error::new(Blame::Io, format!("cannot listen on {}: {e}", options.bind))
                .help("another server may listen there: name another address with `--bind`")
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .max_blocking_threads(32)
            .thread_name("isard net")
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind(options.bind)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (events, _) = broadcast::channel(8192);
        let app = Arc::new(App {
            digest: options.token.as_deref().map(guard::digest),
            limiter: limit::Limiter::new(options.rate),
            options,
            events,
            waiters: wait::Waiters::default(),
            seen: Seen::default(),
            jobs: jobs.clone(),
        });
        let weak = Arc::downgrade(&app);
        jobs.observe(move |event| {
            let Some(app) = weak.upgrade() else { return };
            if let Event::State { id, state } = event
                && state.is_final()
            {
                app.waiters.ended(*id);
            }
            // Without a subscriber there is nobody to tell.
            let _ = app.events.send(*event);
        });
        runtime.spawn(connection::accept(listener, app));
        Ok(Server { address, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens no more, and ends all connections.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
