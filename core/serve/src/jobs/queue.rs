//! Jobs that wait: by priority, then by age; recipes in a lane of their own; some for other jobs first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use isard_core::moment;

use crate::job::Job;
use crate::state::State;

/// The lower, the earlier.
type Rank = (i64, u64);

#[derive(Default)]
struct Lanes {
    plugins: BTreeMap<Rank, Arc<Job>>,
    recipes: BTreeMap<Rank, Arc<Job>>,
    recipes_running: usize,
    running: usize,
    /// Jobs that wait for others: how many are still missing.
    held: HashMap<u64, (Arc<Job>, usize)>,
    /// Who waits for a job.
    waiting_for: HashMap<u64, Vec<u64>>,
    idle: usize,
    /// A worker that has found nothing looks for a moment more; it is not idle yet.
    looking: bool,
    serialize: bool,
    closed: bool,
}

/// The queue.
pub(crate) struct Queue {
    lanes: Mutex<Lanes>,
    ready: Condvar,
    /// How often there was something new for a worker.
    news: AtomicU64,
    recipes_at_once: usize,
}

impl Queue {
    pub fn new(recipes_at_once: usize) -> Queue {
        let (lanes, ready, news) = (Mutex::default(), Condvar::new(), AtomicU64::new(0));
        Queue { lanes, ready, news, recipes_at_once: recipes_at_once.max(1) }
    }

    /// Takes a job; `state` tells how the jobs stand that it comes after. A job it cannot follow is given back.
    pub fn push(&self, job: Arc<Job>, state: impl Fn(u64) -> Option<State>) -> Result<(), u64> {
        let mut lanes = self.lanes();
        let mut missing = 0;
        for &id in &job.after {
            // Looked at under the lock: whoever ends now will find the job held, or has ended already.
            match state(id) {
                Some(State::Success) => (),
                Some(state) if !state.is_final() => {
                    lanes.waiting_for.entry(id).or_default().push(job.id);
                    missing += 1;
                }
                _ => return Err(id),
            }
        }
        if missing > 0 {
            lanes.held.insert(job.id, (job, missing));
            return Ok(());
        }
        self.enter(&mut lanes, job);
        Ok(())
    }

    fn enter(&self, lanes: &mut Lanes, job: Arc<Job>) {
        let rank = (-i64::from(job.priority), job.id);
        match job.recipe {
            true => lanes.recipes.insert(rank, job),
            false => lanes.plugins.insert(rank, job),
        };
        self.news.fetch_add(1, Ordering::Release);
        // Who is looking sees one job by itself.
        let seen = lanes.looking && lanes.plugins.len() + lanes.recipes.len() == 1;
        if lanes.idle > 0 && !seen {
            self.ready.notify_one();
        }
    }

    /// The next job, when there is one; none when the queue is closed.
    pub fn pop(&self) -> Option<Arc<Job>> {
        let mut lanes = self.lanes();
        let mut looked = false;
        loop {
            if lanes.closed {
                return None;
            }
            if let Some(job) = self.take(&mut lanes) {
                return Some(job);
            }
            if !looked && !lanes.looking {
                lanes.looking = true;
                let news = self.news.load(Ordering::Acquire);
                drop(lanes);
                moment::look(|| self.news.load(Ordering::Acquire) != news);
                lanes = self.lanes();
                (lanes.looking, looked) = (false, true);
                continue;
            }
            lanes.idle += 1;
            lanes = self.ready.wait(lanes).unwrap_or_else(PoisonError::into_inner);
            lanes.idle -= 1;
            looked = false;
        }
    }

    fn take(&self, lanes: &mut Lanes) -> Option<Arc<Job>> {
        if lanes.serialize && lanes.running > 0 {
            return None;
        }
        let recipe = lanes.recipes.keys().next().filter(|_| lanes.recipes_running < self.recipes_at_once);
        let job = match (recipe, lanes.plugins.keys().next()) {
            (Some(a), Some(b)) if a < b => lanes.recipes.pop_first(),
            (Some(_), None) => lanes.recipes.pop_first(),
            (_, Some(_)) => lanes.plugins.pop_first(),
            (None, None) => None,
        }?
        .1;
        lanes.running += 1;
        lanes.recipes_running += usize::from(job.recipe);
        Some(job)
    }

    /// Hears that a worker is free of a job.
    pub fn free(&self, job: &Job) {
        let mut lanes = self.lanes();
        lanes.running -= 1;
        lanes.recipes_running -= usize::from(job.recipe);
        // A place in a lane is free, which idle workers may have waited for.
        if lanes.idle > 0 && (job.recipe || lanes.serialize) {
            self.ready.notify_all();
        }
    }

    /// Takes a job out that waits; says whether it was there.
    pub fn remove(&self, job: &Job) -> bool {
        let mut lanes = self.lanes();
        let rank = (-i64::from(job.priority), job.id);
        let lane = if job.recipe { &mut lanes.recipes } else { &mut lanes.plugins };
        lane.remove(&rank).is_some() || lanes.held.remove(&job.id).is_some()
    }

    /// Hears that a job has ended; gives the jobs that can no longer start.
    pub fn ended(&self, id: u64, state: State) -> Vec<Arc<Job>> {
        let mut lanes = self.lanes();
        let mut lost = vec![];
        for waiting in lanes.waiting_for.remove(&id).unwrap_or_default() {
            let Some((_, missing)) = lanes.held.get_mut(&waiting) else { continue };
            *missing -= 1;
            let ready = *missing == 0;
            if state != State::Success {
                lost.extend(lanes.held.remove(&waiting).map(|(job, _)| job));
            } else if ready && let Some((job, _)) = lanes.held.remove(&waiting) {
                self.enter(&mut lanes, job);
            }
        }
        lost
    }

    /// Runs jobs one by one, or as many as there are workers.
    pub fn set_serialize(&self, serialize: bool) {
        self.lanes().serialize = serialize;
        self.ready.notify_all();
    }

    pub fn serialize(&self) -> bool {
        self.lanes().serialize
    }

    /// Sends the workers home; what waits stays.
    pub fn close(&self) {
        self.lanes().closed = true;
        self.ready.notify_all();
    }

    /// How many wait and how many run.
    pub fn len(&self) -> (usize, usize) {
        let lanes = self.lanes();
        (lanes.plugins.len() + lanes.recipes.len() + lanes.held.len(), lanes.running)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
