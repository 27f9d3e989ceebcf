//! What the threads of a run share: stop and cancel, the first failure, marks, meters.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::error::{Blame, Context, Error, Result};
use crate::plan::NodeId;
use crate::run::ledger::Ledger;
use crate::run::trace::Trace;
use crate::span::Span;
use crate::stage::Beat;
use crate::value::{Dict, Value};

/// What a stage's thread tells the one that started it.
#[derive(Debug)]
pub enum Event {
    /// A mark passed a stage; this is its state.
    Saved(NodeId, u64, Dict),
    /// A stage is done; this is its last state.
    Ended(NodeId, Dict),
    /// A stage ended its own branch.
    Detached(NodeId, Error),
    /// A stage could not go on because another was gone.
    Broken(NodeId),
    /// A stage's thread is gone, for whatever reason.
    Gone(NodeId),
}

/// Shared by all threads of one run.
pub struct Control {
    /// Everybody must end now.
    pub cancel: Arc<AtomicBool>,
    /// Sources must end; everybody else drains.
    pub stop: Arc<AtomicBool>,
    /// The newest mark asked for.
    mark: AtomicU64,
    failure: Mutex<Option<Error>>,
    /// The sources and players that ended before their stream was over because of a stop.
    cut_short: Mutex<Vec<NodeId>>,
    /// The mark before the first one of this pass.
    pub first_mark: u64,
    /// Where events go.
    pub events: Sender<Event>,
}

impl Control {
    /// A fresh control.
    pub fn new(
        cancel: Arc<AtomicBool>,
        stop: Arc<AtomicBool>,
        first_mark: u64,
        events: Sender<Event>,
    ) -> Control {
        let (mark, failure, cut_short) = (AtomicU64::new(first_mark), Mutex::default(), Mutex::default());
        Control { cancel, stop, mark, failure, cut_short, first_mark, events }
    }

    /// The newest mark asked for.
    pub fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    /// Asks for the mark after `seen`, unless somebody has already.
    pub fn ask_mark(&self, seen: u64) {
        // A failed exchange means that another source asked first, which is as good.
        let _ = self.mark.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Books the first failure and cancels the rest; what follows from a cancel is no failure of its own.
    pub fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let better = match &*failure {
            None => true,
            Some(first) => first.blame() == Blame::Cancelled && error.blame() != Blame::Cancelled,
        };
        if better {
            *failure = Some(error);
        }
        drop(failure);
        self.cancel.store(true, Ordering::Release);
    }

    /// The first failure.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the starter; nobody listens any more when the run is being torn down.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Says that the stream of a source or player ended before its time because the run was stopped.
    pub fn cut_short(&self, id: NodeId) {
        self.cut_short.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// Whether a stream ended before its time because the run was stopped.
    pub fn was_cut_short(&self) -> bool {
        !self.were_cut_short().is_empty()
    }

    /// The sources and players that ended before their time.
    pub fn were_cut_short(&self) -> Vec<NodeId> {
        self.cut_short.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether everybody must end.
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// A call that a stage has not come back from.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which operation.
    pub what: &'static str,
    /// On which records.
    pub span: Span,
    /// Since when.
    pub since: Instant,
}

/// What one stage has done so far; read by progress, metrics and the hang watch.
pub struct Meter {
    /// The stage's name in the recipe.
    pub name: Arc<str>,
    /// Records taken, by earlier runs of the same output too.
    pub records: AtomicU64,
    /// Those of them that earlier runs took.
    pub earlier: AtomicU64,
    /// Chunks taken.
    pub chunks: AtomicU64,
    busy_ns: AtomicU64,
    calls: Mutex<Vec<(u64, Call)>>,
    next: AtomicU64,
    /// When it gave its last frames, for what a stream begins with.
    gave: Mutex<Option<Instant>>,
    /// When it had done everything.
    ended: Mutex<Option<Instant>>,
    /// The account of frames, where the frame axis begins or ends.
    pub ledger: Mutex<Option<Ledger>>,
    /// Snapshots emitted.
    pub snapshots: AtomicU64,
    /// Set when the stage's branch was ended by an error that the recipe allows.
    pub detached: Arc<AtomicBool>,
    /// Set when nobody is left who uses what a source gives.
    pub released: AtomicBool,
    /// When it last ended a piece of its work.
    pub(crate) beat: Beat,
    /// Where each call is noted.
    trace: Option<Arc<Trace>>,
}

impl Meter {
    /// A meter of a stage.
    pub fn new(name: &str) -> Arc<Meter> {
        Meter::traced(name, None)
    }

    /// A meter of a stage whose calls are noted.
    pub fn traced(name: &str, trace: Option<Arc<Trace>>) -> Arc<Meter> {
        Arc::new(Meter {
            trace,
            beat: Beat::default(),
            released: AtomicBool::new(false),
            name: name.into(),
            records: AtomicU64::new(0),
            earlier: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            calls: Mutex::default(),
            next: AtomicU64::new(0),
            gave: Mutex::default(),
            ended: Mutex::default(),
            ledger: Mutex::default(),
            snapshots: AtomicU64::new(0),
            detached: Arc::default(),
        })
    }

    /// Notes that frames came, now.
    pub fn gave(&self) {
        *self.gave.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the last frames came.
    pub fn last(&self) -> Option<Instant> {
        *self.gave.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the stage has done everything, now.
    pub fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the stage had done everything.
    pub fn ended(&self) -> Option<Instant> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation of the stage, timed, watched, and with its place in the error.
    pub fn call<T>(&self, what: &'static str, span: &Span, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        self.calls().push((id, Call { what, span: span.clone(), since }));
        let result = work();
        let took = since.elapsed();
        self.busy_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        if let Some(trace) = &self.trace {
            trace.note(&self.name, what, span, since, took);
        }
        self.calls().retain(|(i, _)| *i != id);
        result.at(|| match span.len {
            0 => format!("stage `{}`", self.name),
            _ => format!("stage `{}`, {span}", self.name),
        })
    }

    /// Puts back what the saved state of an earlier run says: its records and its account of frames.
    pub fn resume(&self, state: &Dict) -> Result<()> {
        if let Some(Value::Dict(ledger)) = state.get("ledger") {
            let saved = Ledger::load(ledger)?;
            self.book(|ledger| *ledger = saved);
        }
        if let Some(Value::Int(n)) = state.get("records") {
            self.records.store(*n as u64, Ordering::Relaxed);
            self.earlier.store(*n as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Counts what was taken.
    pub fn took(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.chunks.fetch_add(1, Ordering::Relaxed);
    }

    /// Time spent in the stage's own code.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed))
    }

    /// The call that has been going on longest.
    pub fn longest(&self) -> Option<Call> {
        self.calls().iter().min_by_key(|(_, c)| c.since).map(|(_, c)| c.clone())
    }

    /// Changes the account of frames.
    pub fn book(&self, change: impl FnOnce(&mut Ledger)) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        change(ledger.get_or_insert_default());
    }

    /// The account of frames so far.
    pub fn account(&self) -> Option<Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Call)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
