//! Messages over a socket between isard and a host: a head of sixteen bytes, a body, descriptors beside it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, recv,
    recvmsg, sendmsg,
};

use crate::error::{Error, Result};
use crate::moment;

/// The first four bytes of every message.
const MAGIC: u32 = u32::from_le_bytes(*b"isrd");
const HEAD: usize = 16;
/// Descriptors beside one message at most; the system takes 253.
pub(super) const FDS: usize = 32;
/// How often a side that waits looks up.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// Why a message did not come or go.
#[derive(Debug)]
pub(super) enum Lost {
    /// The other side is gone.
    Gone,
    /// Whoever waited gave up, or what came is nonsense.
    Error(Error),
}

impl From<Error> for Lost {
    fn from(error: Error) -> Lost {
        Lost::Error(error)
    }
}

impl Lost {
    /// The error of it, where being gone is nothing special.
    pub fn error(self) -> Error {
        match self {
            Lost::Gone => Error::plugin("the other side of an isolated plugin is gone"),
            Lost::Error(error) => error,
        }
    }

    fn of(errno: Errno) -> Lost {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::BADF => Lost::Gone,
            other => Lost::Error(Error::internal(format!("a socket to an isolated plugin: {other}"))),
        }
    }
}

/// Asked again and again while a side waits; an error ends the waiting.
pub(super) type Patience<'a> = &'a mut dyn FnMut() -> Result<()>;

/// One end of a connection.
pub(super) struct Wire {
    socket: OwnedFd,
    /// What was read and belongs to the message that is read next.
    fds: VecDeque<OwnedFd>,
}

/// A message as it came; its body is in the buffer that was given.
pub(super) struct Came {
    pub kind: u32,
    pub fds: Vec<OwnedFd>,
}

impl Wire {
    /// Two ends that are connected with each other.
    pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
        system::pair().map_err(|e| {
            Error::new(crate::Blame::Resources, format!("cannot make a socket for an isolated plugin: {e}"))
        })
    }

    /// An end that looks up now and then while it waits.
    pub fn looking_up(socket: OwnedFd) -> Result<Wire> {
        for which in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, which, Some(LOOK)).map_err(|e| Lost::of(e).error())?;
        }
        Ok(Wire::patient(socket))
    }

    /// An end that waits for as long as it takes.
    pub fn patient(socket: OwnedFd) -> Wire {
        Wire { socket, fds: VecDeque::new() }
    }

    /// Sends a message.
    pub fn send(
        &self,
        kind: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
        patience: Patience<'_>,
    ) -> std::result::Result<(), Lost> {
        let len = u32::try_from(body.len()).map_err(|_| {
            Error::plugin(format!("{} bytes beside arrays in one call, at most 4 GiB", body.len()))
        })?;
        let mut head = [0u8; HEAD];
        for (at, word) in [MAGIC, kind, len, fds.len() as u32].into_iter().enumerate() {
            head[4 * at..][..4].copy_from_slice(&word.to_le_bytes());
        }
        let mut sent = 0;
        while sent < HEAD + body.len() {
            let (from_head, from_body) = (&head[sent.min(HEAD)..], &body[sent.saturating_sub(HEAD)..]);
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Error::internal(format!("{} descriptors in one message", fds.len())).into());
            }
            let slices = [IoSlice::new(from_head), IoSlice::new(from_body)];
            match sendmsg(&self.socket, &slices, &mut beside, system::QUIET) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN | Errno::INTR) => patience()?,
                Err(errno) => return Err(Lost::of(errno)),
            }
        }
        Ok(())
    }

    /// Receives a message; its body replaces what is in `body`.
    pub fn receive(&mut self, body: &mut Vec<u8>, patience: Patience<'_>) -> std::result::Result<Came, Lost> {
        let mut head = [0u8; HEAD];
        moment::look(|| self.has_come());
        // Answers follow questions: nothing of a later message is read along with this one's head.
        self.fill(&mut head, patience)?;
        let [magic, kind, len, fds] =
            [0, 4, 8, 12].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if magic != MAGIC || fds as usize > FDS {
            return Err(Error::plugin(format!(
                "a message of an isolated plugin begins with {magic:#010x}, wanted {MAGIC:#010x}"
            ))
            .into());
        }
        body.resize(len as usize, 0);
        self.fill(body, patience)?;
        if self.fds.len() < fds as usize {
            return Err(Error::plugin(format!(
                "{} descriptors beside a message, wanted {fds}: too many files may be open",
                self.fds.len()
            ))
            .into());
        }
        Ok(Came { kind, fds: self.fds.drain(..fds as usize).collect() })
    }

    /// Whether a receiver would not have to wait: something came, or nothing ever will.
    fn has_come(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !matches!(recv(&self.socket, &mut [0u8; 1], flags), Err(Errno::AGAIN | Errno::INTR))
    }

    fn fill(&mut self, mut room: &mut [u8], patience: Patience<'_>) -> std::result::Result<(), Lost> {
        while !room.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(room)];
            match recvmsg(&self.socket, &mut slices, &mut beside, system::OWN) {
                Ok(got) if got.bytes == 0 => return Err(Lost::Gone),
                Ok(got) => {
                    for message in beside.drain() {
                        if let RecvAncillaryMessage::ScmRights(fds) = message {
                            for fd in fds {
                                self.fds.push_back(system::owned(fd).map_err(Lost::of)?);
                            }
                        }
                    }
                    room = &mut room[got.bytes..];
                }
                Err(Errno::AGAIN | Errno::INTR) => patience()?,
                Err(errno) => return Err(Lost::of(errno)),
            }
        }
        Ok(())
    }

    /// Says that nothing more will come, so that the other side ends.
    pub fn hang_up(&self) -> io::Result<()> {
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).map_err(Into::into)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Descriptors that no other program of ours inherits, and sockets whose end is an error and no signal.
#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::OwnedFd;

    use rustix::io::Result;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

    pub(super) const QUIET: SendFlags = SendFlags::NOSIGNAL;
    pub(super) const OWN: RecvFlags = RecvFlags::CMSG_CLOEXEC;

    pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
    }

    pub(super) fn owned(fd: OwnedFd) -> Result<OwnedFd> {
        Ok(fd)
    }
}

/// The same by a call more for each descriptor.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::os::fd::OwnedFd;

    use rustix::io::{FdFlags, Result, fcntl_setfd};
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

    pub(super) const QUIET: SendFlags = SendFlags::empty();
    pub(super) const OWN: RecvFlags = RecvFlags::empty();

    pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        for socket in [&a, &b] {
            #[cfg(target_vendor = "apple")]
            rustix::net::sockopt::set_socket_nosigpipe(socket, true)?;
            fcntl_setfd(socket, FdFlags::CLOEXEC)?;
        }
        Ok((a, b))
    }

    pub(super) fn owned(fd: OwnedFd) -> Result<OwnedFd> {
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait() -> Result<()> {
        Ok(())
    }

    #[test]
    fn messages_come_whole_with_their_descriptors() {
        let (a, b) = Wire::pair().unwrap();
        let (a, mut b) = (Wire::patient(a), Wire::looking_up(b).unwrap());
        let file = tempfile::tempfile().unwrap();
        let long: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let sender = std::thread::spawn({
            let long = long.clone();
            move || {
                a.send(7, b"first", &[file.as_fd(), file.as_fd()], &mut wait).unwrap();
                a.send(8, &long, &[], &mut wait).unwrap();
                a.send(9, b"", &[file.as_fd()], &mut wait).unwrap();
            }
        });
        let mut body = vec![];
        for (kind, wanted, fds) in [(7, &b"first"[..], 2), (8, &long, 0), (9, b"", 1)] {
            let came = b.receive(&mut body, &mut wait).unwrap();
            assert_eq!((came.kind, came.fds.len()), (kind, fds));
            assert!(body == wanted);
        }
        sender.join().unwrap();
        assert!(matches!(b.receive(&mut body, &mut wait), Err(Lost::Gone)));
    }

    #[test]
    fn nonsense_and_impatience_are_errors() {
        let (a, b) = Wire::pair().unwrap();
        let mut b = Wire::looking_up(b).unwrap();
        let mut looks = 0;
        let mut patience = || {
            looks += 1;
            if looks == 3 { Err(Error::cancelled()) } else { Ok(()) }
        };
        let mut body = vec![];
        let Err(Lost::Error(error)) = b.receive(&mut body, &mut patience) else { panic!("nothing was sent") };
        assert_eq!(error, Error::cancelled());
        rustix::io::write(&a, b"Traceback (most recent call last)").unwrap();
        let Err(Lost::Error(error)) = b.receive(&mut body, &mut wait) else { panic!("no message") };
        assert!(error.message().contains("begins with 0x63617254"), "{error}");
    }
}
