//! A TCP connection that is read in messages: every wait ends, bulk data are copied once.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::net::queue::TICK;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// How long the other side may be silent in the middle of a message.
const HALFWAY: Duration = Duration::from_secs(5);
/// How long the other side may take nothing of what is written.
const TAKEN: Duration = Duration::from_secs(20);
/// Bytes read ahead. Large messages go past it straight to where they belong; small ones share a system call.
const AHEAD: usize = 64 << 10;

/// Why nothing more comes over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Whoever reads wants to end.
    Stopped,
    /// The other side is gone, silent, or does not speak as it should.
    Lost(String),
}

impl Broken {
    /// A fault in words.
    pub(crate) fn lost(why: impl Into<String>) -> Broken {
        Broken::Lost(why.into())
    }

    /// What happened, in words.
    pub(crate) fn why(&self) -> &str {
        match self {
            Broken::Stopped => "it was stopped",
            Broken::Lost(why) => why,
        }
    }
}

/// What reading and writing comes to.
pub(crate) type Sent<T> = std::result::Result<T, Broken>;

/// A connection with bytes read ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    stop: Arc<AtomicBool>,
    ahead: Vec<u8>,
    at: usize,
    end: usize,
}

impl Wire {
    /// Connects, within two seconds.
    pub(crate) fn connect(address: SocketAddr, stop: Arc<AtomicBool>) -> Sent<Wire> {
        let stream = TcpStream::connect_timeout(&address, CONNECT)
            .map_err(|e| Broken::lost(format!("cannot connect to {address}: {e}")))?;
        Wire::over(stream, stop)
    }

    /// A connection that stands.
    pub(crate) fn over(stream: TcpStream, stop: Arc<AtomicBool>) -> Sent<Wire> {
        let set = stream
            .set_read_timeout(Some(TICK))
            .and_then(|()| stream.set_write_timeout(Some(TICK)))
            .and_then(|()| stream.set_nodelay(true));
        set.map_err(|e| Broken::lost(format!("cannot set up the connection: {e}")))?;
        Ok(Wire { stream, stop, ahead: vec![0; AHEAD], at: 0, end: 0 })
    }

    /// Waits for the first byte of a message, without a limit but the stop flag; false when the other side has closed.
    pub(crate) fn wait(&mut self) -> Sent<bool> {
        while self.at == self.end {
            match self.fill()? {
                Some(0) => return Ok(false),
                _ => self.check()?,
            }
        }
        Ok(true)
    }

    /// Waits for the first byte of a message at most so long; false when none came.
    pub(crate) fn wait_for(&mut self, time: Duration) -> Sent<bool> {
        let until = Instant::now() + time;
        while self.at == self.end {
            match self.fill()? {
                Some(0) => return Err(closed()),
                Some(_) => (),
                None if Instant::now() >= until => return Ok(false),
                None => self.check()?,
            }
        }
        Ok(true)
    }

    /// Fills `out`: what was read ahead first, the rest straight from the connection.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Sent<()> {
        let mut done = 0;
        let mut heard = Instant::now();
        while done < out.len() {
            let there = (self.end - self.at).min(out.len() - done);
            if there > 0 {
                out[done..done + there].copy_from_slice(&self.ahead[self.at..self.at + there]);
                self.at += there;
                done += there;
                continue;
            }
            let left = &mut out[done..];
            let got = if left.len() < AHEAD {
                self.fill()?
            } else {
                let got = taken(self.stream.read(left))?;
                done += got.unwrap_or(0);
                got
            };
            match got {
                Some(0) => return Err(closed()),
                Some(_) => heard = Instant::now(),
                None => {
                    self.check()?;
                    if heard.elapsed() > HALFWAY {
                        let (n, wanted, s) = (done, out.len(), HALFWAY.as_secs_f64());
                        return Err(Broken::lost(format!(
                            "silent for {s} s in the middle of a message: {n} of {wanted} bytes had come"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes that come next, at most so many; none at the end.
    pub(crate) fn block(&mut self, most: usize) -> Sent<Vec<u8>> {
        let mut out = vec![0; most];
        if !self.wait()? {
            return Ok(vec![]);
        }
        let n = (self.end - self.at).min(most);
        self.read(&mut out[..n])?;
        out.truncate(n);
        Ok(out)
    }

    /// A fixed number of bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Sent<[u8; N]> {
        let mut out = [0; N];
        self.read(&mut out)?;
        Ok(out)
    }

    /// Writes all of it; the other side may hold it up as long as it takes something now and then.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Sent<()> {
        let mut done = 0;
        let mut moved = Instant::now();
        while done < bytes.len() {
            match self.stream.write(&bytes[done..]) {
                Ok(0) => return Err(closed()),
                Ok(n) => {
                    done += n;
                    moved = Instant::now();
                }
                Err(e) if waits(&e) => {
                    self.check()?;
                    if moved.elapsed() > TAKEN {
                        return Err(Broken::lost("the other side takes nothing any more"));
                    }
                }
                Err(e) => return Err(Broken::lost(e.to_string())),
            }
        }
        Ok(())
    }

    /// Reads ahead; none when nothing came within a moment, 0 at the end.
    fn fill(&mut self) -> Sent<Option<usize>> {
        (self.at, self.end) = (0, 0);
        let got = taken(self.stream.read(&mut self.ahead))?;
        self.end = got.unwrap_or(0);
        Ok(got)
    }

    fn check(&self) -> Sent<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Broken::Stopped) } else { Ok(()) }
    }
}

fn taken(read: std::io::Result<usize>) -> Sent<Option<usize>> {
    match read {
        Ok(n) => Ok(Some(n)),
        Err(e) if waits(&e) => Ok(None),
        Err(e) => Err(Broken::lost(e.to_string())),
    }
}

fn waits(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn closed() -> Broken {
    Broken::lost("the other side has closed the connection")
}
