//! One job.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isard_core::moment;
use isard_core::value::{Dict, Value};

use crate::abort::Abort;
use crate::state::State;

/// Called once when a job has ended.
pub(crate) type Then = Box<dyn FnOnce(State) + Send>;

/// Bytes of what is shown at once.
const SMALL: usize = 256 << 10;

/// A job in memory.
pub(crate) struct Job {
    pub id: u64,
    /// The plugin as the client named it.
    pub plugin: Arc<str>,
    pub priority: i32,
    pub after: Vec<u64>,
    pub timeout: Option<Duration>,
    /// An interrupted job whose run it goes on with.
    pub resume: Option<u64>,
    /// Whether it runs a recipe: these have a lane of their own.
    pub recipe: bool,
    pub created: f64,
    pub born: Instant,
    /// Bytes of its input.
    pub bytes: usize,
    pub abort: Abort,
    /// Somebody has decided how it ends.
    ended: AtomicBool,
    settled: AtomicBool,
    inner: Mutex<Inner>,
    done: Condvar,
}

struct Inner {
    state: State,
    input: Option<Arc<Dict>>,
    output: Option<Arc<Dict>>,
    runtime: f64,
    interrupted: bool,
    output_bytes: usize,
    waiting: usize,
    then: Vec<Then>,
}

/// How a job ended.
pub(crate) struct Ended {
    pub state: State,
    pub output: Arc<Dict>,
    pub runtime: f64,
    pub interrupted: bool,
    /// Bytes of the output.
    pub bytes: usize,
}

/// What is needed to make a job.
pub(crate) struct Seed {
    pub id: u64,
    pub plugin: Arc<str>,
    pub priority: i32,
    pub after: Vec<u64>,
    pub timeout: Option<Duration>,
    pub resume: Option<u64>,
    pub recipe: bool,
    pub created: f64,
    pub input: Dict,
}

impl Job {
    pub fn new(seed: Seed) -> Arc<Job> {
        let Seed { id, plugin, priority, after, timeout, resume, recipe, created, input } = seed;
        let bytes = input.values().map(Value::bytes).sum::<usize>() + 64 * input.len();
        Arc::new(Job {
            id,
            plugin,
            priority,
            after,
            timeout,
            resume,
            recipe,
            created,
            born: Instant::now(),
            bytes,
            abort: Abort::default(),
            ended: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                state: State::Uninitialized,
                input: Some(Arc::new(input)),
                output: None,
                runtime: 0.0,
                interrupted: false,
                output_bytes: 0,
                waiting: 0,
                then: vec![],
            }),
            done: Condvar::new(),
        })
    }

    pub fn state(&self) -> State {
        self.inner().state
    }

    pub fn input(&self) -> Option<Arc<Dict>> {
        self.inner().input.clone()
    }

    pub fn output(&self) -> Option<Arc<Dict>> {
        self.inner().output.clone()
    }

    /// Whether input and output are in memory, and showing them takes no time worth a thought.
    pub fn is_small(&self) -> bool {
        let inner = self.inner();
        inner.input.is_some() && self.bytes + inner.output_bytes < SMALL
    }

    pub fn interrupted(&self) -> bool {
        self.inner().interrupted
    }

    /// Seconds it took, or has taken so far.
    pub fn runtime(&self) -> f64 {
        let inner = self.inner();
        if inner.state.is_final() { inner.runtime } else { self.born.elapsed().as_secs_f64() }
    }

    /// Takes the right to decide how it ends; only one gets it.
    pub fn claim(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }

    /// Whether it is decided how it ends.
    pub fn is_claimed(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Moves on to a state that is not final, unless its end is decided.
    pub fn advance(&self, state: State) -> bool {
        let mut inner = self.inner();
        let goes_on = !inner.state.is_final() && !self.is_claimed();
        if goes_on {
            inner.state = state;
        }
        goes_on
    }

    /// Ends it, and wakes up everybody who waits.
    pub fn settle(&self, ended: Ended) -> Vec<Then> {
        let mut inner = self.inner();
        inner.state = ended.state;
        inner.runtime = ended.runtime;
        inner.output = Some(ended.output);
        inner.interrupted = ended.interrupted;
        inner.output_bytes = ended.bytes;
        let then = std::mem::take(&mut inner.then);
        let waiting = inner.waiting > 0;
        drop(inner);
        self.settled.store(true, Ordering::Release);
        // A wake-up is a system call, and nobody waits for most jobs.
        if waiting {
            self.done.notify_all();
        }
        then
    }

    /// Lets go of input and output.
    pub fn drop_data(&self) {
        let mut inner = self.inner();
        (inner.input, inner.output) = (None, None);
    }

    /// Waits for its end, for a while.
    pub fn wait(&self, end: Option<Instant>) -> State {
        moment::look(|| self.settled.load(Ordering::Acquire));
        let mut inner = self.inner();
        inner.waiting += 1;
        while !inner.state.is_final() {
            match end {
                None => inner = self.done.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    inner = self.done.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        inner.waiting -= 1;
        inner.state
    }

    /// Calls when it has ended, at once if it has.
    pub fn when_done(&self, then: Then) {
        let mut inner = self.inner();
        if inner.state.is_final() {
            let state = inner.state;
            drop(inner);
            then(state);
        } else {
            inner.then.push(then);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
