//! Where the bytes of a Timepix3 come from: a connection that is read all the time, or a file.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use isard_core::prelude::*;

use crate::net::address;
use crate::net::queue::Level;
use crate::net::receiver::{Door, Inbound, Receiver};
use crate::net::wire::{Broken, Wire};

/// Bytes that are read at once.
const BLOCK: usize = 128 << 10;

/// Where bytes come from.
pub(super) enum Inlet {
    Net(Receiver<Vec<u8>>),
    File { file: File, path: String, ended: bool },
}

/// What a wait for bytes brought.
pub(super) enum More {
    Bytes,
    Connected,
    Broken(String),
    Nothing,
    End,
}

impl Inlet {
    /// A file with a stream.
    pub(super) fn file(path: &str) -> Result<Inlet> {
        let file = File::open(path).map_err(|e| Error::io("cannot read", Path::new(path), &e))?;
        Ok(Inlet::File { file, path: path.to_owned(), ended: false })
    }

    /// A detector at `host:port`, of which so many bytes may wait.
    pub(super) fn network(text: &str, buffer: usize) -> Result<Inlet> {
        let address = address(text, 8451)?;
        Ok(Inlet::Net(Receiver::start("isard tpx3", buffer, move |door| receive(address, door))?))
    }

    /// How full the way from the network was.
    pub(super) fn level(&self) -> Option<Level> {
        match self {
            Inlet::Net(receiver) => Some(receiver.level()),
            Inlet::File { .. } => None,
        }
    }

    /// Waits for bytes and adds them to those that are there.
    pub(super) fn more(&mut self, patience: Duration, bytes: &mut Vec<u8>) -> Result<More> {
        match self {
            Inlet::Net(receiver) => Ok(match receiver.next(patience) {
                Some(Inbound::Item(block)) => {
                    bytes.extend_from_slice(&block);
                    More::Bytes
                }
                Some(Inbound::Connected) => More::Connected,
                Some(Inbound::Broken(why)) => More::Broken(why),
                None => More::Nothing,
            }),
            Inlet::File { ended: true, .. } => Ok(More::End),
            Inlet::File { file, path, ended } => {
                let had = bytes.len();
                bytes.resize(had + BLOCK, 0);
                let n = file
                    .read(&mut bytes[had..])
                    .map_err(|e| Error::io("cannot read", Path::new(path), &e))?;
                bytes.truncate(had + n);
                *ended = n == 0;
                Ok(if n == 0 { More::End } else { More::Bytes })
            }
        }
    }
}

/// The receiving thread: bytes in blocks, whatever they mean. Once a stream has begun, a lost connection is its end:
/// what follows would not join on.
fn receive(address: SocketAddr, mut door: Door<Vec<u8>>) {
    let mut pause = Duration::from_millis(50);
    while !door.stopped() {
        let why = match Wire::connect(address, door.flag()) {
            Ok(mut wire) => {
                if !door.connected() {
                    return;
                }
                match blocks(&mut wire, &mut door) {
                    Broken::Stopped => return,
                    Broken::Lost(why) => {
                        door.broken(format!("{address}: {why}"));
                        return;
                    }
                }
            }
            Err(Broken::Stopped) => return,
            Err(Broken::Lost(why)) => why,
        };
        if !door.broken(why) {
            return;
        }
        door.pause(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

fn blocks(wire: &mut Wire, door: &mut Door<Vec<u8>>) -> Broken {
    loop {
        match wire.block(BLOCK) {
            Ok(block) if block.is_empty() => return Broken::lost("the detector has closed the connection"),
            Ok(block) => {
                let len = block.len();
                if !door.give(block, len) {
                    return Broken::Stopped;
                }
            }
            Err(broken) => return broken,
        }
    }
}
