//! The host's side: a library whose stages are called over connections.

use std::collections::HashMap;
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::load::abi::{self, Status};
use crate::load::adopt::Keys;
use crate::load::collect::Reply;
use crate::load::host::lend_output;
use crate::load::isolate::channel::{Channel, kind};
use crate::load::isolate::memory::Shared;
use crate::load::isolate::message::{self, Call, PROTOCOL, ask, op};
use crate::load::isolate::wire::{Lost, Wire};
use crate::load::open::{self, Opened};
use crate::load::stage::{self, Instance};
use crate::load::{log, words};
use crate::stage::{Cx, Output, RunCx, guard};
use crate::value::{Dict, Dtype, Pool, Value};

/// The exit code of a host that was not started by isard.
const ALONE: i32 = 3;

/// Serves the stages of a library to the isard at the other end of standard input; the exit code of the process.
pub fn serve(library: &Path) -> i32 {
    let socket = match connection() {
        Ok(socket) => socket,
        Err(error) => {
            // The log of a host goes to whoever started it; this one nobody listens to.
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return ALONE;
        }
    };
    log::to_stderr();
    log::hosting();
    let pool = Pool::shared(1 << 30);
    let shared: Arc<Shared> = Arc::default();
    let lane = Channel::new(Wire::patient(socket), shared.clone(), pool.clone());
    let lane = Arc::new(Mutex::new(lane));
    let Ok(opened) = greet(&lane, library) else { return 0 };
    let (opened, cancel) = opened;
    let threads = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("isard work {i}")).build().ok();
    let host = Arc::new(Host {
        opened,
        stages: Mutex::default(),
        next: AtomicU64::new(1),
        cancel,
        threads: threads.map(Arc::new),
        pool,
        shared,
    });
    host.lane(&lane);
    // Whatever other connections still do belongs to nobody.
    0
}

/// The socket that isard put in the place of standard input, which becomes empty.
fn connection() -> Result<OwnedFd> {
    let alone = |e: rustix::io::Errno| {
        Error::recipe(format!("standard input is no connection to isard: {e}"))
            .help("isard starts `isard host` itself, for stages with `run.isolate`")
    };
    let input = std::io::stdin();
    rustix::net::sockopt::socket_type(&input).map_err(alone)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(&input, 3).map_err(alone)?;
    let nothing =
        std::fs::File::open("/dev/null").map_err(|e| Error::io("cannot open", "/dev/null".as_ref(), &e))?;
    // SAFETY: standard input is a descriptor that nobody owns; it now means the empty file.
    unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&nothing), 0) };
    Ok(socket)
}

/// Hears hello, opens the library, says hello.
fn greet(lane: &Mutex<Channel>, library: &Path) -> std::result::Result<(Opened, Arc<AtomicBool>), Lost> {
    let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = &mut || Ok(());
    let (version, sha256, lifeline) = lane
        .receive(wait, |_, content| Ok((content.code()?, content.text()?.to_owned(), content.fds.pop())))?;
    let lifeline = lifeline.ok_or_else(|| Error::plugin("hello came without a lifeline"))?;
    let cancel = watch(lifeline)?;
    if version != PROTOCOL {
        // The other side compares, too, and says it better.
        let _ = lane.send(kind::HELLO, &[], wait, |p| {
            p.code(PROTOCOL);
            Ok(())
        });
        return Err(Lost::Gone);
    }
    let opened = guard("opening the library", || open::whole(library, Some(&sha256)));
    let many = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    lane.send(kind::HELLO, &[], wait, |p| {
        p.code(PROTOCOL);
        p.code(if opened.is_ok() { abi::OK } else { abi::ERROR } as u32);
        p.word(many);
        match &opened {
            Ok(opened) => p.text(opened.cards),
            Err(error) => p.dict(&words::error_dict(error)),
        }
        Ok(())
    })?;
    Ok((opened.map_err(|_| Lost::Gone)?, cancel))
}

/// Listens to the lifeline: a word cancels the run, its end ends this process.
fn watch(lifeline: OwnedFd) -> Result<Arc<AtomicBool>> {
    let cancel: Arc<AtomicBool> = Arc::default();
    let flag = cancel.clone();
    let thread = std::thread::Builder::new().name("isard lifeline".into()).spawn(move || {
        let (mut wire, mut body) = (Wire::patient(lifeline), vec![]);
        while wire.receive(&mut body, &mut || Ok(())).is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
        // A stage that computes for ever must not outlive the isard that wanted its answer.
        std::process::exit(0);
    });
    thread.map_err(|e| Error::new(crate::Blame::Resources, format!("cannot start a thread: {e}")))?;
    Ok(cancel)
}

/// The library and its stages.
struct Host {
    opened: Opened,
    stages: Mutex<HashMap<u64, Arc<Instance>>>,
    next: AtomicU64,
    cancel: Arc<AtomicBool>,
    threads: Option<Arc<rayon::ThreadPool>>,
    pool: Pool,
    shared: Arc<Shared>,
}

impl Host {
    /// Serves one connection to its end.
    fn lane(self: &Arc<Self>, lane: &Arc<Mutex<Channel>>) {
        let mut run = RunCx {
            pool: self.pool.clone(),
            cancel: self.cancel.clone(),
            threads: self.threads.clone(),
            reader: Some(reader(lane)),
            ..RunCx::default()
        };
        loop {
            let lock = || lane.lock().unwrap_or_else(PoisonError::into_inner);
            let came = lock()
                .receive(&mut || Ok(()), |_, content| Ok((message::request(content)?, content.fds.pop())));
            let (mut call, fd) = match came {
                Ok(came) => came,
                Err(Lost::Gone) => return,
                Err(Lost::Error(error)) => {
                    tracing::error!(%error, "A message could not be read.");
                    return;
                }
            };
            run.seed = call.seed;
            let name = std::mem::take(&mut call.name);
            let cx = Cx::new(&run, &name);
            let reply =
                guard("the host", || self.call(lane, &cx, &name, &mut call, fd)).unwrap_or_else(failed);
            // What came must be let go before the reply says so.
            drop(call);
            let gaps = cx.take_gaps();
            let sent = lock().send(kind::REPLY, &[], &mut || Ok(()), |p| {
                message::put_reply(p, &reply, &gaps);
                Ok(())
            });
            let sent = match sent {
                Err(Lost::Error(error)) => lock().send(kind::REPLY, &[], &mut || Ok(()), |p| {
                    message::put_reply(p, &failed(error), &[]);
                    Ok(())
                }),
                sent => sent,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn call(
        self: &Arc<Self>,
        lane: &Arc<Mutex<Channel>>,
        cx: &Cx,
        name: &str,
        call: &mut Call,
        fd: Option<OwnedFd>,
    ) -> Result<Reply> {
        let lock = || self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        match call.op {
            op::BUILD => {
                self.cancel.store(false, Ordering::Relaxed);
                let input = call.input.take().unwrap_or_default();
                let set = input.need("set")?.text().unwrap_or_default();
                let instance =
                    stage::near(self.opened.library, &name.into(), &Arc::new(Keys::default()), set)?;
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                lock().insert(id, Arc::new(instance));
                Ok(Reply { part: id as *mut c_void, ..done(abi::OK, Dict::new()) })
            }
            op::END => {
                let gone = lock().remove(&call.stage);
                drop(gone);
                Ok(done(abi::OK, Dict::new()))
            }
            op::EXAMPLE => {
                let example = open::example(self.opened.library, name);
                Ok(done(abi::OK, words::example_dict(example)))
            }
            op::LANE => {
                let fd = fd.ok_or_else(|| Error::plugin("a connection without a descriptor"))?;
                self.another(fd)?;
                Ok(done(abi::OK, Dict::new()))
            }
            _ => {
                let instance = lock().get(&call.stage).cloned();
                let instance = instance
                    .ok_or_else(|| Error::internal(format!("no stage has the number {}", call.stage)))?;
                let input = call.input.take();
                let mut request = call.lend();
                let output: Arc<dyn Output> =
                    Arc::new(AskOutput { lane: lane.clone(), pool: self.pool.clone() });
                let lent = lend_output(&output);
                if call.op == abi::op::OPEN {
                    request.output = &lent;
                }
                Ok(instance.call(cx, &mut request, input.as_ref()))
            }
        }
    }

    /// Serves another connection on a thread of its own.
    fn another(self: &Arc<Self>, fd: OwnedFd) -> Result<()> {
        let lane = Channel::new(Wire::patient(fd), self.shared.clone(), self.pool.clone());
        let (host, lane) = (self.clone(), Arc::new(Mutex::new(lane)));
        let thread = std::thread::Builder::new().name("isard lane".into()).spawn(move || host.lane(&lane));
        thread
            .map(drop)
            .map_err(|e| Error::new(crate::Blame::Resources, format!("cannot start a thread: {e}")))
    }
}

fn done(status: Status, dict: Dict) -> Reply {
    Reply { outcome: Ok(status), dict, records: vec![], part: std::ptr::null_mut() }
}

fn failed(error: Error) -> Reply {
    Reply { outcome: Err(error), ..done(abi::OK, Dict::new()) }
}

/// Asks the engine in the middle of a call.
fn ask_engine(lane: &Mutex<Channel>, what: u32, dict: &Dict) -> Result<Dict> {
    // The lane is free: its thread is in the call that asks.
    let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = &mut || Ok(());
    lane.send(kind::ASK, &[], wait, |p| {
        p.code(what);
        p.dict(dict);
        Ok(())
    })
    .map_err(Lost::error)?;
    let (status, dict) =
        lane.receive(wait, |_, content| Ok((content.code()?, content.dict()?))).map_err(Lost::error)?;
    if status as Status == abi::OK { Ok(dict) } else { Err(words::error_of(dict)) }
}

fn reader(lane: &Arc<Mutex<Channel>>) -> Arc<crate::stage::Reader> {
    let lane = lane.clone();
    Arc::new(move |_: &RunCx, path: &str| {
        let answer = ask_engine(&lane, ask::READ, &Dict::new().with("path", path))?;
        answer.need("value").cloned()
    })
}

/// The engine's output, asked over the connection of the writer.
struct AskOutput {
    lane: Arc<Mutex<Channel>>,
    pool: Pool,
}

impl AskOutput {
    fn put(&self, what: u32, path: &str, bytes: &[u8]) -> Result<()> {
        let mut content = self.pool.take(Dtype::U8, &[bytes.len()])?;
        content.bytes_mut().copy_from_slice(bytes);
        let dict = Dict::new().with("path", path).with("content", content.freeze());
        ask_engine(&self.lane, what, &dict).map(drop)
    }
}

impl Output for AskOutput {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(ask::SEAL, path, bytes)
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(ask::REPLACE, path, bytes)
    }
    fn record(&self) -> String {
        let answer = ask_engine(&self.lane, ask::RECORD, &Dict::new()).unwrap_or_default();
        answer.get("record").and_then(Value::text).unwrap_or_default().to_owned()
    }
}
