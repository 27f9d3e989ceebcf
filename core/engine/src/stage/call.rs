//! What a stage may ask of the engine while it works.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::span::{FRAME, Gap, Reason, Span};
use crate::value::{Array, ArrayMut, Dtype, Pool, Value};

/// Reads what a path in a recipe names, through the registered sources.
pub type Reader = dyn Fn(&RunCx, &str) -> Result<Value> + Send + Sync;

/// What all stages of a run share.
#[derive(Clone)]
pub struct RunCx {
    /// The buffers.
    pub pool: Pool,
    /// The seed of the run.
    pub seed: u64,
    /// Set when the run must end.
    pub cancel: Arc<AtomicBool>,
    /// The threads for heavy work; none runs it on the caller.
    pub threads: Option<Arc<rayon::ThreadPool>>,
    /// Reads `file.h5::/path`.
    pub reader: Option<Arc<Reader>>,
    /// Costly set-up, shared by the passes of a run and by jobs.
    pub prepared: Arc<Prepared>,
    /// Seconds after which an isolated stage that does not come back is killed.
    pub hang_s: f64,
}

/// Seconds after which a stage hangs, unless the recipe says otherwise.
pub(crate) const HANG_S: f64 = 60.0;

impl Default for RunCx {
    fn default() -> Self {
        RunCx {
            pool: Pool::new(256 << 20),
            seed: 0,
            cancel: Arc::default(),
            threads: None,
            reader: None,
            prepared: Arc::default(),
            hang_s: HANG_S,
        }
    }
}

impl RunCx {
    /// No threads and no reader, never cancelled: for calls that need none or have them elsewhere.
    pub(crate) fn bare(pool: &Pool, seed: u64, prepared: &Arc<Prepared>) -> RunCx {
        RunCx {
            pool: pool.clone(),
            seed,
            cancel: NEVER.get_or_init(Arc::default).clone(),
            threads: None,
            reader: None,
            prepared: prepared.clone(),
            hang_s: HANG_S,
        }
    }
}

static NEVER: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The engine on the other side of the plugin interface, as a loaded library sees it.
pub(crate) trait Far {
    /// Whether the run must end.
    fn check(&self) -> Result<()>;
    /// Runs `work` on the threads of the host.
    fn par(&self, n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()>;
    /// Reads what a path names.
    fn read(&self, path: &str) -> Result<Value>;
}

/// A turn of a loop that watches calls never takes so long while the process is at work.
const AWAKE: Duration = Duration::from_secs(1);

/// The turns of a loop that watches calls: a long one shows that the process was stopped, or that the machine slept.
pub(crate) struct Turns(Instant);

impl Turns {
    /// The first turn begins now.
    pub(crate) fn new() -> Turns {
        Turns(Instant::now())
    }

    /// Ends a turn: for how long of it nothing was at work.
    ///
    /// To be taken off times that the watcher read before it asks this: they hold all of it.
    pub(crate) fn slept(&mut self) -> Duration {
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.0, now);
        took.saturating_sub(AWAKE)
    }
}

/// When a stage last ended a piece of its work: a call that does pieces does not hang.
#[derive(Default)]
pub(crate) struct Beat(AtomicU64);

impl Beat {
    /// Notes that a piece is done, now.
    pub(crate) fn strike(&self) {
        self.0.store(Beat::clock(), Ordering::Relaxed);
    }

    /// How long ago that was; for ever if no piece was ever done.
    fn quiet(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            at => Duration::from_millis(Beat::clock().saturating_sub(at)),
        }
    }

    /// For how long a call that began then has shown no sign of work.
    pub(crate) fn still(&self, began: Instant) -> Duration {
        began.elapsed().min(self.quiet())
    }

    /// Takes off that time what the whole process slept.
    pub(crate) fn forgive(&self, began: Instant, slept: Duration) {
        if slept.is_zero() {
            return;
        }
        let still = self.still(began).saturating_sub(slept);
        let at = Beat::clock().saturating_sub(still.as_millis() as u64);
        self.0.fetch_max(at.max(1), Ordering::Relaxed);
    }

    /// Milliseconds since the first use, and one.
    fn clock() -> u64 {
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        FIRST.elapsed().as_millis() as u64 + 1
    }
}

/// One call's view of the engine.
pub struct Cx<'a> {
    run: &'a RunCx,
    stage: &'a str,
    gaps: RefCell<Vec<Gap>>,
    far: Option<&'a dyn Far>,
    beat: Option<&'a Beat>,
}

impl<'a> Cx<'a> {
    /// The view of a stage.
    pub fn new(run: &'a RunCx, stage: &'a str) -> Cx<'a> {
        Cx { run, stage, gaps: RefCell::default(), far: None, beat: None }
    }

    /// The view of a stage that is watched.
    pub(crate) fn watched(run: &'a RunCx, stage: &'a str, beat: &'a Beat) -> Cx<'a> {
        Cx { beat: Some(beat), ..Cx::new(run, stage) }
    }

    /// The view of a stage whose engine is on the other side of the plugin interface.
    pub(crate) fn far(run: &'a RunCx, stage: &'a str, far: &'a dyn Far) -> Cx<'a> {
        Cx { far: Some(far), ..Cx::new(run, stage) }
    }

    /// What all stages of the run share.
    pub(crate) fn run(&self) -> &'a RunCx {
        self.run
    }

    /// The name of the stage in the recipe.
    pub fn stage(&self) -> &str {
        self.stage
    }

    /// The buffers of the run.
    pub fn pool(&self) -> &Pool {
        &self.run.pool
    }

    /// A writable array from the pool; its elements are left from an earlier use.
    pub fn array(&self, dtype: Dtype, shape: &[usize]) -> Result<ArrayMut> {
        self.run.pool.take(dtype, shape)
    }

    /// Whether the run must end; long loops ask now and then and return the error.
    pub fn check(&self) -> Result<()> {
        if let Some(far) = self.far {
            return far.check();
        }
        if self.run.cancel.load(Ordering::Relaxed) { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Runs `work(0) .. work(n-1)` on the threads of the run, in any order.
    ///
    /// A stage hangs when neither its call nor one of these comes back for `run.hang_s`.
    pub fn par(&self, n: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        if let Some(far) = self.far.filter(|_| n > 1) {
            return far.par(n, &work);
        }
        let beat = self.beat;
        let piece = |i: usize| {
            work(i)?;
            beat.into_iter().for_each(Beat::strike);
            Ok(())
        };
        match &self.run.threads {
            Some(threads) if n > 1 => threads.install(|| (0..n).into_par_iter().try_for_each(piece)),
            _ => (0..n).try_for_each(piece),
        }
    }

    /// Random numbers that depend on the run's seed, the stage and the record alone.
    pub fn rng(&self, record: u64) -> ChaCha8Rng {
        let mut seed = [0u8; 32];
        seed[..8].copy_from_slice(&self.run.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&record.to_le_bytes());
        // FNV-1a: the name only has to keep stages apart.
        let name = self
            .stage
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        seed[16..24].copy_from_slice(&name.to_le_bytes());
        ChaCha8Rng::from_seed(seed)
    }

    /// Reads what a path names: `dark.h5::/entry/data`, `mask.npy`.
    pub fn read(&self, path: &str) -> Result<Value> {
        if let Some(far) = self.far {
            return far.read(path);
        }
        match &self.run.reader {
            Some(reader) => reader(self.run, path),
            None => Err(Error::internal(format!("no reader for `{path}` in this context"))),
        }
    }

    /// Reads an array that a path names.
    pub fn read_array(&self, path: &str) -> Result<Array> {
        match self.read(path)? {
            Value::Array(array) => Ok(array),
            other => Err(Error::data(format!("`{path}` holds {}, wanted an array", other.describe()))),
        }
    }

    /// Costly set-up under a key: built once, shared by stages, passes and jobs.
    pub fn prepared<T: Any + Send + Sync>(
        &self,
        key: &str,
        build: impl FnOnce() -> Result<(T, usize)>,
    ) -> Result<Arc<T>> {
        self.run.prepared.get(key, build)
    }

    /// Gives frames up: from here on they are a gap.
    pub fn give_up(&self, frame: u64, reason: Reason, why: &str) {
        let span = Span { axis: FRAME, start: frame, len: 1 };
        self.gaps.borrow_mut().push(Gap { span, reason, why: why.into() });
    }

    /// The frames that were given up in this call, for whoever drives a stage: the engine, a test.
    pub fn take_gaps(&self) -> Vec<Gap> {
        self.gaps.take()
    }
}

/// A byte-bounded store of costly set-up.
#[derive(Default)]
pub struct Prepared {
    entries: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    map: HashMap<String, (Arc<dyn Any + Send + Sync>, usize, u64)>,
    clock: u64,
}

impl Prepared {
    /// Bytes kept at most; what was used longest ago goes first.
    const LIMIT: usize = 2 << 30;

    fn get<T: Any + Send + Sync>(
        &self,
        key: &str,
        build: impl FnOnce() -> Result<(T, usize)>,
    ) -> Result<Arc<T>> {
        let lock = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut store = lock();
            store.clock += 1;
            let now = store.clock;
            if let Some(entry) = store.map.get_mut(key) {
                entry.2 = now;
                return entry
                    .0
                    .clone()
                    .downcast()
                    .map_err(|_| Error::plugin(format!("two kinds of set-up under `{key}`")));
            }
        }
        // Built outside the lock: set-up may take minutes and two builders of one key give the same result.
        let (made, bytes) = build()?;
        let made = Arc::new(made);
        let mut store = lock();
        let now = store.clock;
        store.map.insert(key.to_owned(), (made.clone(), bytes, now));
        while store.map.values().map(|e| e.1).sum::<usize>() > Self::LIMIT && store.map.len() > 1 {
            let oldest = store.map.iter().min_by_key(|(_, e)| e.2).map(|(k, _)| k.clone());
            if let Some(oldest) = oldest {
                store.map.remove(&oldest);
            }
        }
        Ok(made)
    }
}
