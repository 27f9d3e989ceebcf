//! The engine as a loaded library sees it: every question crosses the interface.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::load::abi::{self, Status, Text};
use crate::load::adopt::{Adopt, Keys, reason_code};
use crate::load::collect::Collect;
use crate::stage::{Cx, Far, Output, Prepared, RunCx, guard};
use crate::value::{Pool, Value, share};

/// The buffers of this library; the host sees arrays from here as memory that the library keeps.
pub(crate) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    // In a host the arrays go on to another process: they are made where that one sees them.
    POOL.get_or_init(|| if share::is_announced() { Pool::shared(256 << 20) } else { Pool::new(256 << 20) })
}

/// Tells the host of this library's shared memory, if it wants to know.
pub(crate) fn share(services: &'static abi::Services) {
    if (services.size as usize) < size_of::<abi::Services>() {
        return;
    }
    let Some(tell) = services.share else { return };
    let lent = Lent(services);
    share::announce(move |data, len, fd| {
        let services = lent.services();
        // SAFETY: services stay for good; memory and descriptor are there for the length of the call.
        unsafe { tell(services, data as *const c_void, len as u64, fd.map_or(-1, |fd| fd.as_raw_fd())) }
    });
}

/// Services, handed to whatever thread makes memory.
#[derive(Clone, Copy)]
struct Lent(&'static abi::Services);

impl Lent {
    fn services(self) -> &'static abi::Services {
        self.0
    }
}

// SAFETY: the interface demands that services may be used from any thread.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

/// What the stages of this library share.
fn run(seed: u64) -> RunCx {
    static PREPARED: OnceLock<Arc<Prepared>> = OnceLock::new();
    RunCx::bare(pool(), seed, PREPARED.get_or_init(Arc::default))
}

/// The host of one call.
struct Caller<'a>(&'a abi::Host);

/// Does work with a view of the host; frames given up in it are told to the host.
///
/// # Safety
/// `host` must be as the interface demands, for the length of this call.
pub(crate) unsafe fn with_cx<T>(host: &abi::Host, work: impl FnOnce(&Cx) -> Result<T>) -> Result<T> {
    // SAFETY: the host lends the name of the stage.
    let stage = unsafe { crate::load::adopt::text(host.stage) }?;
    let (run, caller) = (run(host.seed), Caller(host));
    let cx = Cx::far(&run, stage, &caller);
    let result = work(&cx);
    for gap in cx.take_gaps() {
        for frame in gap.span.range() {
            // SAFETY: the host is alive for the call; the text is lent until it returns.
            unsafe { (host.give_up)(host, frame, reason_code(gap.reason), Text::of(&gap.why)) };
        }
    }
    result
}

fn adopt(keys: &Keys) -> Adopt<'_> {
    Adopt { keys, pool: pool() }
}

/// Parallel work and the first error it met.
struct Work<'a> {
    work: &'a (dyn Fn(usize) -> Result<()> + Sync),
    error: Mutex<Option<Error>>,
}

unsafe extern "C" fn one(context: *const c_void, i: u64) -> Status {
    // SAFETY: `par` below lends its `Work` until the host has finished.
    let work = unsafe { &*context.cast::<Work<'_>>() };
    match guard("par", || (work.work)(i as usize)) {
        Ok(()) => abi::OK,
        Err(error) => {
            work.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            abi::ERROR
        }
    }
}

impl Far for Caller<'_> {
    fn check(&self) -> Result<()> {
        // SAFETY: the host is alive for the call.
        match unsafe { (self.0.cancelled)(self.0) } {
            0 => Ok(()),
            _ => Err(Error::cancelled()),
        }
    }

    fn par(&self, n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
        let work = Work { work, error: Mutex::new(None) };
        // SAFETY: the host is alive for the call; `work` is lent until it returns.
        let status = unsafe { (self.0.par)(self.0, n as u64, one, std::ptr::from_ref(&work).cast()) };
        match (status, work.error.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            (_, Some(error)) => Err(error),
            (abi::OK, None) => Ok(()),
            _ => Err(Error::plugin("the engine could not run parallel work")),
        }
    }

    fn read(&self, path: &str) -> Result<Value> {
        // SAFETY: the host is alive for the call; the path is lent until it returns.
        let call = |out: &abi::Out| unsafe { (self.0.read)(self.0, Text::of(path), out) };
        let dict = Collect::new(adopt(&Keys::default())).call(call).dict()?;
        dict.need("value").cloned()
    }
}

/// The output of the host, kept by a writer of this library.
pub(crate) struct FarOutput {
    lent: abi::Output,
    handle: *const c_void,
}

// SAFETY: `Output` is `Send + Sync` on the host's side, and so the interface demands it of its functions.
unsafe impl Send for FarOutput {}
// SAFETY: as above.
unsafe impl Sync for FarOutput {}

impl FarOutput {
    /// Keeps an output.
    ///
    /// # Safety
    /// `lent` must be as the interface demands, for the length of this call.
    pub unsafe fn keep(lent: abi::Output) -> Arc<dyn Output> {
        // SAFETY: as the caller promises.
        let handle = unsafe { ((*lent.keeper).retain)(lent.this) };
        Arc::new(FarOutput { lent, handle })
    }

    fn put(&self, write: abi::PutFile, path: &str, bytes: &[u8]) -> Result<()> {
        let (data, len) = (bytes.as_ptr().cast(), bytes.len() as u64);
        // SAFETY: the handle keeps the output alive; path and bytes are lent until the call returns.
        let call = |out: &abi::Out| unsafe { write(self.handle, Text::of(path), data, len, out) };
        Collect::new(adopt(&Keys::default())).call(call).dict().map(drop)
    }
}

impl Drop for FarOutput {
    fn drop(&mut self) {
        // SAFETY: the keeper is a static of the host; the handle is released once.
        unsafe { ((*self.lent.keeper).release)(self.handle) }
    }
}

impl Output for FarOutput {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(self.lent.seal, path, bytes)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(self.lent.replace, path, bytes)
    }

    fn record(&self) -> String {
        // SAFETY: the handle keeps the output alive.
        let call = |out: &abi::Out| unsafe { (self.lent.record)(self.handle, out) };
        let reply = Collect::new(adopt(&Keys::default())).call(call);
        reply.dict.get("record").and_then(Value::text).unwrap_or_default().to_owned()
    }
}
