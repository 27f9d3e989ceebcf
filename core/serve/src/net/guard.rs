//! Who may ask: the rate, the name the server was called by, the token.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use sha2::{Digest, Sha256};

use crate::net::App;
use crate::net::rpc;

/// The digest of a token: what is compared has one length and tells nothing of the token.
pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Compares without ending at the first difference.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0u8, |all, (x, y)| all | (x ^ y))) == 0
}

/// Why a request is not looked at.
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    pause: Option<f64>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), pause: None }
    }

    /// The answer: a JSON-RPC error, with the status that says the same.
    pub fn response(self) -> Response {
        let text = rpc::refusal(rpc::code::REFUSED, &self.message);
        let mut answer =
            Response::builder().status(self.status).header(header::CONTENT_TYPE, "application/json");
        if let Some(pause) = self.pause {
            answer = answer.header(header::RETRY_AFTER, (pause.ceil() as u64).max(1).to_string());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer = answer.header(header::WWW_AUTHENTICATE, "Bearer");
        }
        answer.body(Body::from(text)).expect("a status and plain headers make an answer")
    }
}

impl App {
    /// Whether a request is looked at.
    pub(super) fn admit(&self, peer: IpAddr, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = |refusal| {
            self.seen.refused.fetch_add(1, Ordering::Relaxed);
            Err(refusal)
        };
        if let Err(pause) = self.limiter.take(peer) {
            let rate = self.options.rate;
            let message = format!("too many requests from {peer}, wanted at most {rate} a second");
            return refused(Refusal {
                pause: Some(pause),
                ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
            });
        }
        if let Err(refusal) = self.called_rightly(headers) {
            return refused(refusal);
        }
        // Whoever watches over servers asks these, and learns nothing that a closed port would not tell.
        if matches!(path, "/health" | "/ready") {
            return Ok(());
        }
        let Some(wanted) = &self.digest else { return Ok(()) };
        if let Err(pause) = self.limiter.may_show(peer) {
            let message = format!("too many wrong tokens from {peer}");
            return refused(Refusal {
                pause: Some(pause),
                ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
            });
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some(shown) = shown.and_then(|text| text.strip_prefix("Bearer ")) else {
            let message = "no token, wanted the header `Authorization: Bearer TOKEN`";
            return refused(Refusal::new(StatusCode::UNAUTHORIZED, message));
        };
        if same(wanted, &digest(shown.trim())) {
            return Ok(());
        }
        self.limiter.wrong(peer);
        refused(Refusal::new(StatusCode::UNAUTHORIZED, "a wrong token"))
    }

    /// Refuses what a page of another site makes a browser send.
    ///
    /// A server on loopback needs no token, but every web page that somebody on this computer looks at may send
    /// requests there; browsers say so in `Origin`, and a name that was bent to this address stands in `Host`.
    fn called_rightly(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let Some(host) = text(header::HOST) else {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "no `Host` in the request"));
        };
        if !self.is_own_name(name_of(host)) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!(
                    "this server is not called `{}` (help: start it with `--host NAME`)",
                    short(name_of(host))
                ),
            ));
        }
        match text(header::ORIGIN) {
            None => Ok(()),
            Some(origin) if origin.split_once("://").is_some_and(|(_, at)| at == host) => Ok(()),
            Some(origin) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!("a page of `{}` may not use this server", short(origin)),
            )),
        }
    }

    fn is_own_name(&self, name: &str) -> bool {
        // With a token, a name tells nothing more; by an address nobody can be led astray.
        name == "localhost"
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || self.options.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A client's text, cut to what an error message can hold.
fn short(text: &str) -> String {
    text.chars().take(100).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_by_digest_and_hosts_lose_their_port() {
        assert!(same(&digest("a"), &digest("a")) && !same(&digest("a"), &digest("b")));
        assert_eq!(name_of("localhost:8421"), "localhost");
        assert_eq!(name_of("[::1]:8421"), "[::1]");
        assert_eq!(name_of("evil.example"), "evil.example");
    }
}
