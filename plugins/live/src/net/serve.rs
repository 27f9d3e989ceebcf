//! Servers of simulated detectors: they listen on this machine alone and end by themselves.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use isard_core::prelude::*;

use crate::net::queue::TICK;

/// A listening socket of this machine's loopback.
pub(crate) struct Door {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Door {
    /// Listens; port 0 takes any that is free.
    pub(crate) fn open(port: u16) -> Result<Door> {
        let made = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Door { listener, address })
        });
        made.map_err(|e| {
            Error::new(Blame::Io, format!("cannot listen on 127.0.0.1:{port}: {e}"))
                .help("another program listens there; choose another port, or 0 for any that is free")
        })
    }

    /// A connection, if somebody knocks within this time.
    pub(crate) fn knock(&self, time: Duration) -> Option<TcpStream> {
        let until = Instant::now() + time;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return stream.set_nonblocking(false).is_ok().then_some(stream),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                // One that was gone before it was let in.
                Err(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(left.min(Duration::from_millis(2)));
        }
    }
}

/// Threads of a simulated detector that end together.
pub(crate) struct Crew {
    stop: Arc<AtomicBool>,
    until: Instant,
    threads: Vec<JoinHandle<()>>,
}

/// What a thread of a crew knows about its end.
#[derive(Clone)]
pub(crate) struct Shift {
    stop: Arc<AtomicBool>,
    until: Instant,
}

impl Shift {
    /// Whether the thread should end: somebody said so, or its time is over.
    pub(crate) fn over(&self) -> bool {
        if Instant::now() >= self.until {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    /// The flag that says so.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Sleeps until then, but not beyond the end; false when that has come.
    pub(crate) fn sleep_until(&self, when: Instant) -> bool {
        while !self.over() {
            let left = when.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(TICK));
        }
        false
    }
}

impl Crew {
    /// A crew that ends after this time at the latest.
    pub(crate) fn new(lifetime: Duration) -> Crew {
        Crew { stop: Arc::default(), until: Instant::now() + lifetime, threads: vec![] }
    }

    /// What its threads know about their end.
    pub(crate) fn shift(&self) -> Shift {
        Shift { stop: self.stop.clone(), until: self.until }
    }

    /// Starts a thread.
    pub(crate) fn start(&mut self, name: &str, work: impl FnOnce(Shift) + Send + 'static) -> Result<()> {
        let shift = self.shift();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(shift));
        let thread = thread
            .map_err(|e| Error::new(Blame::Resources, format!("cannot start a server's thread: {e}")))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits until all threads have ended by themselves.
    pub(crate) fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }

    /// Lets the threads go on alone until their time is over.
    pub(crate) fn leave(mut self) {
        self.threads.clear();
        std::mem::forget(self);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.join();
    }
}
