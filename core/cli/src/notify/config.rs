//! What a file of sinks says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use isard_core::error::{Error, Result};
use serde::Deserialize;

use super::{Level, Sink, log, send, socket, traffic};

/// A file of sinks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sinks.
    #[serde(default)]
    pub sink: Vec<SinkConfig>,
}

/// A sink and the rules of what it is told.
#[derive(Clone, Debug, Deserialize)]
pub struct SinkConfig {
    /// Events below this level are not told.
    #[serde(default)]
    pub level: Level,
    /// At most one message in so many seconds, errors excepted; the others are counted in the next one.
    #[serde(default)]
    pub every_s: f64,
    /// Tries again when a message cannot be delivered.
    #[serde(default = "retry")]
    pub retry: u32,
    /// Where events go.
    #[serde(flatten)]
    pub to: Where,
}

fn retry() -> u32 {
    3
}
fn heartbeat() -> f64 {
    2.0
}
fn bytes() -> u64 {
    10_000_000
}
fn keep() -> u32 {
    5
}

/// Where events go.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Where {
    /// A mail by plain SMTP, for a relay of the site.
    Smtp {
        /// The server, `host:port`.
        server: String,
        /// The sender.
        from: String,
        /// The receivers; gateways to SMS take mail too.
        to: Vec<String>,
    },
    /// A POST of the event as JSON.
    Webhook {
        /// The address, `http://host:port/path`.
        url: String,
    },
    /// A command, with the event as JSON on its standard input; `{level}`, `{what}`, `{run}` and `{text}` are filled in.
    Command {
        /// The program and its arguments.
        run: Vec<String>,
    },
    /// A file with the state of a signal light.
    Traffic {
        /// The file, replaced in one step.
        path: PathBuf,
        /// The file is renewed so often, and says until when it holds.
        #[serde(default = "heartbeat")]
        heartbeat_s: f64,
    },
    /// A log of all events.
    Log {
        /// The file.
        path: PathBuf,
        /// JSON lines instead of plain ones.
        #[serde(default)]
        json: bool,
        /// A file of this size is put aside and a new one begun.
        #[serde(default = "bytes")]
        bytes: u64,
        /// Files that are kept aside.
        #[serde(default = "keep")]
        keep: u32,
    },
    /// A TCP socket: events go out as JSON lines, and come in.
    Socket {
        /// Where to listen, such as `127.0.0.1:7070`.
        listen: String,
    },
}

impl Config {
    /// Reads a file of sinks.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
        let help = "docs/notify.md lists the kinds of sinks and their words";
        let config = toml::from_str::<Config>(&text);
        let config = config.map_err(|e| Error::recipe(format!("{}: {e}", path.display())).help(help))?;
        for (i, sink) in config.sink.iter().enumerate() {
            if !(sink.every_s >= 0.0 && sink.every_s < 1e9) {
                let text = format!("{}: `every_s` of sink {} is {}", path.display(), i + 1, sink.every_s);
                return Err(Error::recipe(text).help("wanted seconds, 0 or more"));
            }
        }
        Ok(config)
    }
}

impl Where {
    /// Its word in the file.
    pub fn word(&self) -> &'static str {
        match self {
            Where::Smtp { .. } => "smtp",
            Where::Webhook { .. } => "webhook",
            Where::Command { .. } => "command",
            Where::Traffic { .. } => "traffic",
            Where::Log { .. } => "log",
            Where::Socket { .. } => "socket",
        }
    }

    /// Starts it.
    pub(super) fn make(&self, stop: &Arc<AtomicBool>) -> Result<Box<dyn Sink>> {
        Ok(match self.clone() {
            Where::Smtp { server, from, to } => Box::new(send::Smtp::new(server, from, to)?),
            Where::Webhook { url } => Box::new(send::Webhook::new(&url)?),
            Where::Command { run } => Box::new(send::Command::new(run)?),
            Where::Traffic { path, heartbeat_s } => Box::new(traffic::Traffic::new(path, heartbeat_s)?),
            Where::Log { path, json, bytes, keep } => Box::new(log::Log::new(path, json, bytes, keep)?),
            Where::Socket { listen } => Box::new(socket::Socket::new(&listen, stop)?),
        })
    }
}
