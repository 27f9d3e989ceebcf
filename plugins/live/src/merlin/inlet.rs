//! The data socket: messages are framed by their length, whatever TCP makes of them.
//!
//! A message is `MPX,`, ten digits of length, a comma and the body; the length counts that comma.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use isard_core::prelude::*;
use isard_core::value::Pool;

use crate::net::queue::Level;
use crate::net::receiver::{Door, Inbound, Receiver};
use crate::net::wire::{Broken, Sent, Wire};

/// What every message begins with.
pub(super) const MAGIC: &[u8; 4] = b"MPX,";
/// Bytes before the body.
pub(super) const PREFIX: usize = 15;
/// Messages longer than this are no frames: 16384 x 16384 pixels of 8 bytes would be 2 GiB.
const LONGEST: usize = 1 << 31;

/// The body of a message, and what was wrong in front of it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The bytes behind the prefix.
    pub body: Array,
    /// Bytes in front of it that belong to no message.
    pub garbage: usize,
}

/// A message that was cut off, or garbage at the end.
pub(super) type Cut = String;

/// Where messages come from.
pub(super) enum Inlet {
    /// A detector.
    Net(Receiver<Message>),
    /// A recorded stream, and what is wrong with its end.
    File(VecDeque<Message>, Option<Cut>),
}

impl Inlet {
    /// Connects to a detector, and again whenever the connection is lost; `buffer` bounds the bytes that wait.
    pub(super) fn connect(address: SocketAddr, buffer: usize, pool: &Pool) -> Result<Inlet> {
        let pool = pool.clone();
        let work = move |door| receive(address, door, &pool);
        Receiver::start("isard merlin", buffer, work).map(Inlet::Net)
    }

    /// Opens a recording.
    pub(super) fn open(path: &Path) -> Result<Inlet> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
        let (mut all, mut at, mut garbage) = (VecDeque::new(), 0, 0);
        let mut cut = None;
        while at < bytes.len() {
            let Some(len) = length(&bytes[at..]) else {
                at += 1;
                garbage += 1;
                continue;
            };
            let start = at + PREFIX;
            let Some(body) = bytes.get(start..start + len) else {
                let found = bytes.len() - start;
                cut = Some(format!("the recording ends in the middle of a message: {found} of {len} bytes"));
                break;
            };
            all.push_back(Message { body: Array::from_slice(body), garbage: std::mem::take(&mut garbage) });
            at = start + len;
        }
        if all.is_empty() {
            return Err(Error::data(format!("{} holds no message of a Merlin detector", path.display()))
                .help("a recording is the bytes of the data socket: MPX, length, comma, body"));
        }
        Ok(Inlet::File(all, cut))
    }

    /// What came next; none when nothing came in this time, or nothing more is there.
    pub(super) fn next(&mut self, patience: Duration) -> Option<Inbound<Message>> {
        match self {
            Inlet::Net(receiver) => receiver.next(patience),
            Inlet::File(messages, cut) => match messages.pop_front() {
                Some(message) => Some(Inbound::Item(message)),
                None => cut.take().map(Inbound::Broken),
            },
        }
    }

    /// Whether nothing more can come.
    pub(super) fn is_dry(&self) -> bool {
        matches!(self, Inlet::File(messages, None) if messages.is_empty())
    }

    /// How full the queue of the receiver has been.
    pub(super) fn level(&self) -> Option<Level> {
        if let Inlet::Net(receiver) = self { Some(receiver.level()) } else { None }
    }
}

/// The length of the body behind a whole prefix.
pub(super) fn length(prefix: &[u8]) -> Option<usize> {
    let (head, _) = prefix.split_at_checked(PREFIX)?;
    let digits = head.strip_prefix(MAGIC)?.strip_suffix(b",")?;
    let text = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    let len: usize = text.parse().ok()?;
    (1..LONGEST).contains(&len).then(|| len - 1)
}

fn receive(address: SocketAddr, mut door: Door<Message>, pool: &Pool) {
    let mut pause = Duration::from_millis(50);
    while !door.stopped() {
        let why = match Wire::connect(address, door.flag()) {
            Ok(mut wire) => {
                pause = Duration::from_millis(50);
                if !door.connected() {
                    return;
                }
                match listen(&mut wire, &mut door, pool) {
                    Ok(()) | Err(Broken::Stopped) => return,
                    Err(Broken::Lost(why)) => why,
                }
            }
            Err(Broken::Stopped) => return,
            Err(Broken::Lost(why)) => why,
        };
        if !door.broken(format!("{address}: {why}")) {
            return;
        }
        door.pause(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Takes messages until the connection breaks; comes back without an error when the thread should end.
fn listen(wire: &mut Wire, door: &mut Door<Message>, pool: &Pool) -> Sent<()> {
    loop {
        if !wire.wait()? {
            return Err(Broken::lost("the detector has closed the connection"));
        }
        let mut prefix: [u8; PREFIX] = wire.bytes()?;
        let mut garbage = 0;
        let len = loop {
            if let Some(len) = length(&prefix) {
                break len;
            }
            // What an earlier run has left: byte by byte to the next message.
            prefix.rotate_left(1);
            wire.read(&mut prefix[PREFIX - 1..])?;
            garbage += 1;
        };
        let mut body = pool.take(Dtype::U8, &[len]).map_err(|e| Broken::lost(e.to_string()))?;
        wire.read(body.bytes_mut()).map_err(|broken| match broken {
            Broken::Lost(why) => Broken::Lost(format!("{why}, in the middle of a message of {len} bytes")),
            stopped => stopped,
        })?;
        if !door.give(Message { body: body.freeze(), garbage }, len) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_counts_the_comma_behind_it() {
        // The first bytes of a recorded stream: a header message of 201 bytes.
        assert_eq!(length(b"MPX,0000000202,HDR,"), Some(201));
        for bad in
            [&b"MPX,000000020,HDR,."[..], b"MPX,00000 0202,", b"MPX,0000000000,", b"MPY,0000000202,", b"MPX,"]
        {
            assert_eq!(length(bad), None);
        }
    }
}
