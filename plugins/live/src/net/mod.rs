//! Connections: bounded waiting, receivers on threads of their own, ZeroMQ and HTTP as far as detectors speak them.

pub(crate) mod http;
pub(crate) mod queue;
pub(crate) mod receiver;
pub(crate) mod serve;
pub(crate) mod wire;
pub(crate) mod zmtp;

use std::net::{SocketAddr, ToSocketAddrs};

use isard_core::prelude::*;

/// The address that a recipe names; `port` is what stands for a missing one.
pub(crate) fn address(text: &str, port: u16) -> Result<SocketAddr> {
    let bare = text.trim().trim_start_matches("tcp://").trim_start_matches("http://").trim_end_matches('/');
    let named = bare.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let full = if named { bare.to_owned() } else { format!("{bare}:{port}") };
    let found = full.to_socket_addrs().map_err(|e| unknown(text, &e.to_string()))?;
    let all: Vec<SocketAddr> = found.collect();
    // Detectors listen on version 4; a name that has both must not cost a refused try each time.
    let first = all.iter().find(|a| a.is_ipv4()).or(all.first());
    first.copied().ok_or_else(|| unknown(text, "the name has no address"))
}

fn unknown(text: &str, why: &str) -> Error {
    Error::new(Blame::Io, format!("found no address for `{text}`: {why}"))
        .help("write it as `host` or `host:port`, and check the name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_the_port_of_their_protocol() {
        let of = |text: &str| address(text, 9999).map(|a| a.to_string());
        assert_eq!(of("127.0.0.1").unwrap(), "127.0.0.1:9999");
        assert_eq!(of("tcp://127.0.0.1:31001").unwrap(), "127.0.0.1:31001");
        let error = of("no such host").unwrap_err();
        assert!(error.message().contains("found no address for `no such host`"), "{error}");
    }
}
