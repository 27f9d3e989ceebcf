//! ZeroMQ as detectors speak it: ZMTP 3 with the NULL mechanism, PUSH to PULL, over TCP.
//!
//! Source: ZeroMQ RFC 23 (ZMTP 3.0) and RFC 37 (3.1: heartbeats). Written here because a detector needs one pattern of
//! one transport, with blocking sockets, and pixels read straight into the array they stay in.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use isard_core::value::{Array, ArrayMut};

use crate::net::wire::{Broken, Sent, Wire};

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
/// A frame longer than this is no detector's: a length that was damaged must not take all memory.
const LARGEST: u64 = 1 << 31;
/// Parts up to this length are headers: they need no buffer of the pool.
const SMALL: usize = 1 << 10;
/// Parts of a message at most.
const PARTS: usize = 32;

/// One part of a message.
#[derive(Clone, Debug)]
pub enum Part {
    /// A header or another small part.
    Small(Vec<u8>),
    /// A large part; of bytes, or of pixels in their own dtype and shape.
    Large(Array),
}

impl Part {
    /// The bytes as they came.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Part::Small(bytes) => bytes,
            Part::Large(array) => array.bytes(),
        }
    }
}

/// Where a large part is read to: an array with room for at least its length, and how much of it is meant.
pub(crate) type Place<'a> = dyn FnMut(&[Part], usize) -> isard_core::Result<(ArrayMut, bool)> + 'a;

/// One end of a connection that has shaken hands.
pub(crate) struct Peer {
    wire: Wire,
}

impl Peer {
    /// Connects to a PUSH socket.
    pub(crate) fn pull(address: SocketAddr, stop: Arc<AtomicBool>) -> Sent<Peer> {
        Peer::shake(Wire::connect(address, stop)?, "PULL", &["PUSH"])
    }

    /// Takes the connection of a PULL socket.
    pub(crate) fn push(stream: TcpStream, stop: Arc<AtomicBool>) -> Sent<Peer> {
        Peer::shake(Wire::over(stream, stop)?, "PUSH", &["PULL"])
    }

    fn shake(mut wire: Wire, own: &str, wanted: &[&str]) -> Sent<Peer> {
        wire.write(&greeting())?;
        if !wire.wait_for(Duration::from_secs(3))? {
            return Err(Broken::lost("connected, but nobody speaks ZeroMQ there: no greeting in 3 s"));
        }
        let start: [u8; 11] = wire.bytes()?;
        if start[0] != 0xff || start[9] & 1 == 0 {
            return Err(Broken::lost(format!(
                "connected to something that is no ZeroMQ: it sends {start:02x?}"
            )));
        }
        if start[10] < 3 {
            let version = if start[10] == 0 { "1.0" } else { "2.0" };
            return Err(Broken::lost(format!("speaks ZMTP {version}, wanted 3.0 or later")));
        }
        let rest: [u8; 53] = wire.bytes()?;
        let mechanism = rest[1..21].split(|b| *b == 0).next().unwrap_or_default();
        if mechanism != b"NULL" {
            let found = String::from_utf8_lossy(mechanism).into_owned();
            return Err(Broken::lost(format!(
                "asks for the security mechanism {found:?}, wanted none (NULL)"
            )));
        }
        wire.write(&command(b"READY", &property("Socket-Type", own.as_bytes())))?;
        let mut peer = Peer { wire };
        let (flags, len) = peer.frame()?;
        let body = peer.body(len)?;
        if flags & COMMAND == 0 {
            return Err(Broken::lost("sends a message before the handshake has ended"));
        }
        if let Some(reason) = named(&body, b"ERROR") {
            let reason = String::from_utf8_lossy(reason.get(1..).unwrap_or_default()).into_owned();
            return Err(Broken::lost(format!("refuses the handshake: {reason:?}")));
        }
        let Some(properties) = named(&body, b"READY") else {
            return Err(Broken::lost("does not end the handshake with READY"));
        };
        let kind = socket_type(properties).unwrap_or_default();
        if !wanted.contains(&kind.as_str()) {
            return Err(Broken::lost(format!(
                "is a socket of type {kind:?}, wanted {}",
                wanted.join(" or ")
            )));
        }
        Ok(peer)
    }

    /// The next message; large parts are read to where `place` says.
    pub(crate) fn receive(&mut self, place: &mut Place<'_>) -> Sent<Vec<Part>> {
        let mut parts = vec![];
        loop {
            if parts.is_empty() && !self.wire.wait()? {
                return Err(Broken::lost("the detector has closed the connection"));
            }
            let (flags, len) = self.frame()?;
            if flags & COMMAND != 0 {
                let body = self.body(len)?;
                self.heartbeat(&body)?;
                continue;
            }
            if len <= SMALL {
                parts.push(Part::Small(self.body(len)?));
            } else {
                let (mut array, pixels) = place(&parts, len).map_err(|e| Broken::lost(e.to_string()))?;
                self.wire.read(&mut array.bytes_mut()[..len])?;
                let array = array.freeze();
                let array = if pixels { Ok(array) } else { array.records(0..len) };
                parts.push(Part::Large(array.map_err(|e| Broken::lost(e.to_string()))?));
            }
            if flags & MORE == 0 {
                return Ok(parts);
            }
            if parts.len() == PARTS {
                return Err(Broken::lost(format!("sends a message of more than {PARTS} parts")));
            }
        }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, parts: &[&[u8]]) -> Sent<()> {
        // Headers are gathered, so that a message of four parts is no four packets.
        let mut head = vec![];
        for (i, part) in parts.iter().enumerate() {
            let more = if i + 1 < parts.len() { MORE } else { 0 };
            match u8::try_from(part.len()) {
                Ok(len) => head.extend([more, len]),
                Err(_) => {
                    head.push(more | LONG);
                    head.extend((part.len() as u64).to_be_bytes());
                }
            }
            if part.len() <= SMALL {
                head.extend_from_slice(part);
            } else {
                self.wire.write(&head)?;
                head.clear();
                self.wire.write(part)?;
            }
        }
        self.wire.write(&head)
    }

    /// Sends a message up to the middle of its longest part: what is left of a connection that breaks.
    pub(crate) fn send_half(&mut self, parts: &[&[u8]]) -> Sent<()> {
        let len = parts.iter().map(|p| p.len()).max().unwrap_or(0);
        let mut half = vec![LONG | MORE];
        half.extend((len as u64).to_be_bytes());
        half.resize(9 + len / 2, 0);
        self.wire.write(&half)
    }

    fn frame(&mut self) -> Sent<(u8, usize)> {
        let [flags] = self.wire.bytes()?;
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(Broken::lost(format!(
                "sends a frame with the flags {flags:#04x}, which do not exist"
            )));
        }
        let len = if flags & LONG == 0 {
            u64::from(self.wire.bytes::<1>()?[0])
        } else {
            u64::from_be_bytes(self.wire.bytes()?)
        };
        if len > LARGEST {
            return Err(Broken::lost(format!("says that a frame has {len} bytes, wanted at most {LARGEST}")));
        }
        Ok((flags, len as usize))
    }

    fn body(&mut self, len: usize) -> Sent<Vec<u8>> {
        if len > SMALL << 6 {
            return Err(Broken::lost(format!("sends a command of {len} bytes")));
        }
        let mut body = vec![0; len];
        self.wire.read(&mut body)?;
        Ok(body)
    }

    /// Answers the heartbeat of ZMTP 3.1; other commands are none of ours.
    fn heartbeat(&mut self, body: &[u8]) -> Sent<()> {
        let Some(ping) = named(body, b"PING") else { return Ok(()) };
        let context = ping.get(2..).unwrap_or_default();
        self.wire.write(&command(b"PONG", &context[..context.len().min(16)]))
    }
}

/// What both sides send first: the signature, version 3.0, no security.
fn greeting() -> [u8; 64] {
    let mut out = [0; 64];
    (out[0], out[9], out[10]) = (0xff, 0x7f, 3);
    out[12..16].copy_from_slice(b"NULL");
    out
}

fn command(name: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut out = vec![COMMAND, (1 + name.len() + rest.len()) as u8, name.len() as u8];
    out.extend_from_slice(name);
    out.extend_from_slice(rest);
    out
}

fn property(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = vec![name.len() as u8];
    out.extend_from_slice(name.as_bytes());
    out.extend((value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
    out
}

/// What stands behind the name of a command, if it is this one.
fn named<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (len, rest) = body.split_first()?;
    let (found, rest) = rest.split_at_checked(usize::from(*len))?;
    (found == name).then_some(rest)
}

fn socket_type(mut properties: &[u8]) -> Option<String> {
    while let Some((len, rest)) = properties.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        if name.eq_ignore_ascii_case(b"socket-type") {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        properties = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libzmq 4.3.5 sent as a PUSH socket with a heartbeat, byte by byte: greeting, READY, and a message.
    #[test]
    fn a_conversation_recorded_from_libzmq_is_understood() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
            greeting.extend(b"NULL");
            greeting.resize(64, 0);
            stream.write_all(&greeting).unwrap();
            stream.write_all(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH").unwrap();
            // RFC 37: PING with a time to live and a context, which PONG gives back.
            stream.write_all(b"\x04\x09\x04PING\x00\x0aab\0\x05hello").unwrap();
            let mut heard = vec![0; 64 + 28 + 9];
            stream.read_exact(&mut heard).unwrap();
            heard
        });
        let mut peer = Peer::pull(address, Arc::default()).unwrap();
        let parts = peer.receive(&mut |_, _| panic!("a small message needs no room")).unwrap();
        let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
        assert_eq!(part.bytes(), b"hello");
        let heard = thread.join().unwrap();
        assert_eq!(heard[64 + 28..], *b"\x04\x07\x04PONGab");
    }

    #[test]
    fn the_handshake_is_the_one_of_the_standard() {
        // RFC 23: the greeting of 64 octets, and READY with its one property.
        let greeting = greeting();
        assert_eq!(greeting[..12], [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0]);
        assert_eq!(&greeting[12..20], b"NULL\0\0\0\0");
        let ready = command(b"READY", &property("Socket-Type", b"PULL"));
        assert_eq!(ready, b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL");
        let body = &ready[2..];
        assert_eq!(socket_type(named(body, b"READY").unwrap()).as_deref(), Some("PULL"));
        assert_eq!(named(body, b"ERROR"), None);
    }
}
