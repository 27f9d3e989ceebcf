//! A live look at a run: the newest values of its stages, for whoever watches.
//!
//! A tap is narrower than an edge of overflow `latest`: it holds one chunk and nothing else. Marks and gaps would each
//! keep a chunk waiting behind them, so an edge whose viewer is stuck would grow for as long as the run goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Blame, Error, Result};
use crate::span::{Chunk, Span};
use crate::stage::guard;
use crate::value::{Dict, Value};

/// One value as it passed.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The stage that gave it.
    pub stage: Arc<str>,
    /// The port.
    pub port: String,
    /// The record: a frame, or a snapshot of a result.
    pub span: Span,
    /// Off the frame axis: how many frames went into it.
    pub covers: Option<u64>,
    /// Off the frame axis: whether it will not be revised.
    pub last: bool,
    /// The value of that record, without its leading axis.
    pub value: Value,
}

/// Watches a run.
pub trait Viewer: Send {
    /// Sees what is new since the last call; called at a steady rate, also when nothing is.
    ///
    /// It may take as long as it likes, or never come back: the run does not wait for it.
    fn see(&mut self, news: &[Sight]);
}

/// What is watched, how often, and by whom.
pub struct View {
    /// Stages and ports; none watches every array of every stage.
    pub ports: Vec<(String, String)>,
    /// Time between two looks; slow viewers look less often, so that they take a tenth of a core at most.
    pub every: Duration,
    /// Who watches.
    pub viewer: Box<dyn Viewer>,
}

/// How long the end of a run waits for the last look.
const GRACE: Duration = Duration::from_millis(500);
/// Part of the time that results made for the viewer alone may take from a stage: one in so many.
const SHARE: u32 = 50;

/// The newest chunk of a stage.
pub struct Tap {
    stage: Arc<str>,
    /// The ports that are watched; none watches all.
    ports: Vec<String>,
    held: Mutex<Held>,
    /// Whether the viewer came and found nothing new.
    hungry: AtomicBool,
}

#[derive(Default)]
struct Held {
    chunk: Option<Chunk>,
    /// Where the newest chunk so far began: parallel maps come in any order.
    newest: u64,
}

impl Tap {
    /// Puts a chunk in place of the one before.
    pub fn put(&self, chunk: &Chunk) {
        let mut data = Dict::new();
        for (key, value) in chunk.data.iter().filter(|(_, value)| matches!(value, Value::Array(_))) {
            if self.port(key.as_str()).is_some() {
                data.push(key.clone(), value.clone());
            }
        }
        if data.is_empty() || chunk.span.len == 0 {
            return;
        }
        let mut held = lock(&self.held);
        if chunk.span.start < held.newest {
            return;
        }
        held.newest = chunk.span.start;
        let (span, covers) = (chunk.span.clone(), chunk.covers.clone());
        let before = held.chunk.replace(Chunk { span, data, covers, last: chunk.last });
        drop(held);
        drop(before);
    }

    /// The watched port of a key.
    fn port<'a>(&self, key: &'a str) -> Option<&'a str> {
        let port = key.strip_prefix(&*self.stage)?.strip_prefix('.')?;
        (self.ports.is_empty() || self.ports.iter().any(|p| p == port)).then_some(port)
    }

    fn take(&self, news: &mut Vec<Sight>) {
        let chunk = lock(&self.held).chunk.take();
        self.hungry.store(chunk.is_none(), Ordering::Relaxed);
        let Some(chunk) = chunk else { return };
        let index = chunk.span.len - 1;
        let at = chunk.span.start + index;
        for (key, value) in chunk.data.iter() {
            if let (Some(port), Ok(value)) = (self.port(key.as_str()), value.unlead(index as usize)) {
                news.push(Sight {
                    stage: self.stage.clone(),
                    port: port.to_owned(),
                    span: chunk.span.part(at, at + 1),
                    covers: chunk.covers.as_ref().map(|c| c.count()),
                    last: chunk.last,
                    value,
                });
            }
        }
    }
}

/// Looks come at least this far apart: pictures that are older than a fifth of a second lag behind the hand.
const LOOK: Duration = Duration::from_millis(80);

/// Says when a stage makes a result for the viewer that the recipe does not ask for.
pub struct Looks {
    next: Instant,
}

impl Looks {
    /// The first look comes after a moment.
    pub fn new() -> Looks {
        Looks { next: Instant::now() + LOOK }
    }

    /// Whether the viewer waits and a look would not hold the stage up.
    pub fn due(&self, tap: Option<&Tap>) -> bool {
        tap.is_some_and(|tap| tap.hungry.load(Ordering::Relaxed)) && Instant::now() >= self.next
    }

    /// Books what a look cost.
    pub fn took(&mut self, time: Duration) {
        self.next = Instant::now() + (time * SHARE).max(LOOK);
    }

    /// Ends looking.
    pub fn stop(&mut self) {
        self.next = Instant::now() + Duration::from_secs(u32::MAX.into());
    }
}

/// The taps of a run.
#[derive(Default)]
pub struct Taps {
    ports: Vec<(String, String)>,
    taps: Mutex<Vec<Arc<Tap>>>,
    over: Mutex<bool>,
    wake: Condvar,
}

impl Taps {
    /// A tap at a stage, unless nobody watches it.
    pub fn tap(&self, stage: &str) -> Option<Arc<Tap>> {
        let ports: Vec<String> =
            self.ports.iter().filter(|(s, _)| s == stage).map(|(_, p)| p.clone()).collect();
        if ports.is_empty() && !self.ports.is_empty() {
            return None;
        }
        let (held, hungry) = (Mutex::default(), AtomicBool::new(false));
        let tap = Arc::new(Tap { stage: stage.into(), ports, held, hungry });
        lock(&self.taps).push(tap.clone());
        Some(tap)
    }

    fn news(&self) -> Vec<Sight> {
        let mut taps = lock(&self.taps);
        let mut news = vec![];
        taps.iter().for_each(|tap| tap.take(&mut news));
        // Those of an earlier step have nobody left to fill them.
        taps.retain(|tap| Arc::strong_count(tap) > 1);
        news
    }

    /// Waits until the next look; says whether the run is over.
    fn pause(&self, time: Duration) -> bool {
        let over = lock(&self.over);
        let waited = self.wake.wait_timeout_while(over, time, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A viewer at work on its own thread.
pub struct Watching {
    taps: Arc<Taps>,
    gone: crossbeam_channel::Receiver<()>,
}

impl Watching {
    /// Starts a viewer.
    pub fn start(view: View) -> Result<Watching> {
        let View { ports, every, mut viewer } = view;
        let taps = Arc::new(Taps { ports, ..Taps::default() });
        let (gone_tx, gone) = crossbeam_channel::bounded::<()>(0);
        let shared = taps.clone();
        let work = move || {
            let mut pause = every;
            loop {
                let over = shared.pause(pause);
                let news = shared.news();
                let begun = Instant::now();
                let look = || {
                    viewer.see(&news);
                    Ok(())
                };
                if let Err(error) = guard("see", look) {
                    tracing::warn!(%error, "The viewer is gone; the run goes on.");
                    break;
                }
                pause = every.max(begun.elapsed() * 9);
                if over {
                    break;
                }
            }
            drop(viewer);
            drop(gone_tx);
        };
        let thread = std::thread::Builder::new().name("isard view".into()).spawn(work);
        thread.map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread: {e}")))?;
        Ok(Watching { taps, gone })
    }

    /// Where stages put what they have.
    pub fn taps(&self) -> Arc<Taps> {
        self.taps.clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        *lock(&self.taps.over) = true;
        self.taps.wake.notify_all();
        // A viewer that is stuck is left behind.
        let _ = self.gone.recv_timeout(GRACE);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
