//! Where messages come from: the detector, or a recording of its stream.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use isard_core::prelude::*;
use isard_core::value::Pool;

use super::dump::messages;
use super::v1;
use crate::net::receiver::{Door, Inbound, Receiver};
use crate::net::wire::Broken;
use crate::net::zmtp::{Part, Peer};

/// A message as it came.
pub(super) type Message = Vec<Part>;

/// The first pause before a lost connection is tried again; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Where messages come from.
pub(super) enum Inlet {
    /// A detector.
    Net(Receiver<Message>),
    /// A recorded stream.
    File(VecDeque<Message>),
}

impl Inlet {
    /// Connects to a detector, and again whenever the connection is lost; `buffer` bounds the bytes that wait.
    pub(super) fn connect(address: SocketAddr, buffer: usize, pool: &Pool) -> Result<Inlet> {
        let pool = pool.clone();
        let work = move |door| receive(address, door, &pool);
        Receiver::start("isard dectris", buffer, work).map(Inlet::Net)
    }

    /// Opens a recording.
    pub(super) fn open(path: &Path) -> Result<Inlet> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
        let all = messages(&bytes).map_err(|why| {
            Error::data(format!("{} {why}", path.display()))
                .help("a recording holds each part of the stream behind its length in eight bytes")
        })?;
        Ok(Inlet::File(all.into()))
    }

    /// What came next; none when nothing came in this time, or nothing more is there.
    pub(super) fn next(&mut self, patience: Duration) -> Option<Inbound<Message>> {
        match self {
            Inlet::Net(receiver) => receiver.next(patience),
            Inlet::File(messages) => messages.pop_front().map(Inbound::Item),
        }
    }

    /// Whether nothing more can come.
    pub(super) fn is_dry(&self) -> bool {
        matches!(self, Inlet::File(messages) if messages.is_empty())
    }

    /// How full the queue of the receiver has been.
    pub(super) fn level(&self) -> Option<crate::net::queue::Level> {
        if let Inlet::Net(receiver) = self { Some(receiver.level()) } else { None }
    }
}

/// The receiving thread: it reads, hands over, and reconnects; it looks into nothing but where pixels go.
fn receive(address: SocketAddr, mut door: Door<Message>, pool: &Pool) {
    let mut pause = SHORTEST;
    while !door.stopped() {
        let why = match Peer::pull(address, door.flag()) {
            Ok(mut peer) => {
                pause = SHORTEST;
                if !door.connected() {
                    return;
                }
                match listen(&mut peer, &mut door, pool) {
                    Some(why) => why,
                    None => return,
                }
            }
            Err(Broken::Stopped) => return,
            Err(lost) => lost.why().to_owned(),
        };
        if !door.broken(format!("{address}: {why}")) {
            return;
        }
        door.pause(pause);
        pause = (pause * 2).min(LONGEST);
    }
}

/// Takes messages until the connection breaks, and says why; none when the thread should end.
fn listen(peer: &mut Peer, door: &mut Door<Message>, pool: &Pool) -> Option<String> {
    let mut place = |parts: &[Part], len: usize| {
        if let Some((dtype, [y, x])) = v1::plain(parts, len) {
            return Ok((pool.take(dtype, &[1, y, x])?, true));
        }
        // Packed images differ in length: room is taken in steps of an eighth, so that buffers serve again.
        let step = (len.next_power_of_two() / 8).max(1);
        Ok((pool.take(Dtype::U8, &[len.next_multiple_of(step)])?, false))
    };
    loop {
        match peer.receive(&mut place) {
            Ok(message) => {
                let bytes = message.iter().map(|part| part.bytes().len()).sum();
                if !door.give(message, bytes) {
                    return None;
                }
            }
            Err(Broken::Stopped) => return None,
            Err(lost) => return Some(lost.why().to_owned()),
        }
    }
}
