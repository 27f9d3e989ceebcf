//! How a job is accepted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use isard_core::error::{Blame, Error, Result};
use isard_core::value::Dict;

use crate::catalog::Plugin;
use crate::config::Recovery;
use crate::job::{Job, Seed, now};
use crate::jobs::{Jobs, Shared, lock};
use crate::json::{self, NotNumbers};
use crate::recipe;
use crate::request::{Request, dictionary};
use crate::state::State;
use crate::store::Kept;

impl Jobs {
    /// Accepts a job; its id. With a store, it is on disk when this comes back.
    pub fn start(&self, request: Request) -> Result<u64> {
        if self.shared.store.is_none() {
            return self.shared.accept(request);
        }
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.start_then(request, move |id| {
            // Whoever asked waits below.
            let _ = answer.send(id);
        });
        answered.recv().map_err(|_| Error::internal("a job was neither accepted nor refused"))?
    }

    /// Accepts a job without waiting; `then` is told its id, on another thread if there is a store.
    pub fn start_then(&self, request: Request, then: impl FnOnce(Result<u64>) + Send + 'static) {
        match self.shared.store {
            Some(_) => self.shared.accept_on_disk(request, then),
            None => then(self.shared.accept(request)),
        }
    }

    /// Starts a job anew that has ended, with the same input; its new id.
    pub fn restart(&self, id: i64) -> Result<u64> {
        self.start(self.again(id)?)
    }

    /// Starts a job anew that was interrupted; a recipe goes on from its last checkpoint.
    pub fn resume(&self, id: i64) -> Result<u64> {
        self.start(self.again_from(id)?)
    }

    /// The request that starts an ended job anew.
    pub fn again(&self, id: i64) -> Result<Request> {
        let info = self.info(id)?;
        if !info.state.is_final() {
            return Err(Error::recipe(format!("job {} is {}: it has not ended", info.id, info.state))
                .help("wait for it, or abort it first"));
        }
        let mut input = self.input(info.id as i64)?;
        input.retain(|key| !crate::bind::ADDED.contains(&key));
        let request = Request::new(info.plugin, input);
        Ok(Request { priority: info.priority, timeout: info.timeout, ..request })
    }

    /// The request that goes on with an interrupted job.
    pub fn again_from(&self, id: i64) -> Result<Request> {
        let info = self.info(id)?;
        let request = self.again(info.id as i64)?;
        let cut_off = info.interrupted || info.state != State::Success;
        if !cut_off {
            return Err(Error::recipe(format!("job {} is done: nothing is left to do", info.id))
                .help("`restartJob` runs it anew"));
        }
        let kept = self.kept_resume(info.id)?;
        Ok(Request { resume: Some(kept.unwrap_or(info.id)), ..request })
    }
}

impl Shared {
    /// Accepts a job in memory.
    fn accept(self: &Arc<Shared>, request: Request) -> Result<u64> {
        let job = self.make(request)?;
        lock(&self.index).put(job.clone());
        let id = job.id;
        self.enter(job);
        Ok(id)
    }

    /// Accepts a job when it is on disk.
    fn accept_on_disk(self: &Arc<Shared>, request: Request, then: impl FnOnce(Result<u64>) + Send + 'static) {
        let (job, store) = match (self.make(request), &self.store) {
            (Ok(job), Some(store)) => (job, store),
            (Ok(_), None) => return then(Err(Error::internal("this server has no store"))),
            (Err(error), _) => return then(Err(error)),
        };
        lock(&self.index).put(job.clone());
        let input = job.input().map_or_else(String::new, |input| json::compact(&input, NotNumbers::Text));
        let shared = self.clone();
        store.accept(&job.clone(), input, move |kept| match kept {
            Ok(()) => {
                let id = job.id;
                shared.enter(job);
                then(Ok(id));
            }
            Err(error) => {
                lock(&shared.index).take(job.id);
                shared.leaves_queue(&job);
                then(Err(error));
            }
        });
    }

    /// A job with its id, if there is room for it.
    fn make(&self, request: Request) -> Result<Arc<Job>> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::new(Blame::Resources, "the server is closing and accepts no more jobs"));
        }
        let plugin = self.catalog.find(&request.plugin).ok();
        let named = match plugin.as_deref() {
            Some(Plugin::Task(task)) => task.follows(&request.input),
            _ => vec![],
        };
        let mut after = vec![];
        for id in request.after.into_iter().chain(named) {
            let id = self.resolve(id)?;
            self.state_of(id)?;
            if !after.contains(&id) {
                after.push(id);
            }
        }
        let seed = Seed {
            id: 0,
            recipe: matches!(plugin.as_deref(), Some(Plugin::Recipe(_))),
            plugin: request.plugin.into(),
            priority: request.priority,
            after,
            timeout: request.timeout.or(self.config.timeout),
            resume: request.resume,
            created: now(),
            input: request.input,
        };
        self.room(&seed.input)?;
        let job = Job::new(Seed { id: self.next.fetch_add(1, Ordering::AcqRel), ..seed });
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.waiting_bytes.fetch_add(job.bytes, Ordering::AcqRel);
        Ok(job)
    }

    fn is_recipe(&self, plugin: &str) -> bool {
        self.catalog.find(plugin).is_ok_and(|plugin| matches!(*plugin, Plugin::Recipe(_)))
    }

    fn room(&self, input: &Dict) -> Result<()> {
        let (jobs, bytes) =
            (self.waiting.load(Ordering::Acquire), self.waiting_bytes.load(Ordering::Acquire));
        if jobs >= self.config.queue {
            return Err(Error::new(Blame::Resources, format!("the queue is full: {jobs} jobs wait"))
                .help("try again when some have ended")
                .transient());
        }
        let more: usize = input.values().map(isard_core::Value::bytes).sum();
        if bytes.saturating_add(more) > self.config.queue_bytes {
            return Err(Error::new(
                Blame::Resources,
                format!(
                    "the queue is full: {jobs} jobs with {bytes} bytes of input wait, this one has {more}"
                ),
            )
            .help("give bulk data by the path of a file")
            .transient());
        }
        Ok(())
    }

    /// A job that was counted as waiting does so no longer.
    pub(super) fn leaves_queue(&self, job: &Job) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.waiting_bytes.fetch_sub(job.bytes, Ordering::AcqRel);
    }

    /// Lets an accepted job wait for its turn.
    fn enter(self: &Arc<Shared>, job: Arc<Job>) {
        self.counts[State::Uninitialized as usize].fetch_add(1, Ordering::Relaxed);
        self.tell(crate::event::Event::State { id: job.id, state: State::Uninitialized });
        let state = |id| self.state_of(id).ok();
        if let Err(lost) = self.queue.push(job.clone(), state) {
            self.leaves_queue(&job);
            self.cannot_follow(&job, lost);
        }
    }

    /// Brings back the jobs that had not ended when the last server did.
    pub(super) fn recover(self: &Arc<Shared>) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut marked = vec![];
        for (mut kept, text) in store.open_jobs()? {
            let input = json::parse(&text).and_then(|json| dictionary(&json))?;
            // A run may leave its folder sooner than the store has noted that its job began.
            kept.began |= self.folder.as_ref().is_some_and(|folder| recipe::has_begun(&folder.run(kept.id)));
            let began = kept.began;
            let job = self.back(kept, input);
            lock(&self.index).put(job.clone());
            if began && self.config.recovery == Recovery::Mark {
                let error = Error::new(Blame::Resources, "the server ended while this job ran")
                    .help("`resumeJob` goes on with a recipe, `restartJob` runs the job anew");
                self.interrupted(&job, &error);
                marked.push(job);
            } else {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                self.waiting_bytes.fetch_add(job.bytes, Ordering::AcqRel);
                self.enter(job);
            }
        }
        // Whoever asks from now on finds them marked. A disk that takes nothing is told of elsewhere.
        let patience = Instant::now() + Duration::from_secs(10);
        for job in &marked {
            job.wait(Some(patience));
        }
        Ok(())
    }

    fn back(&self, kept: Kept, input: Dict) -> Arc<Job> {
        // A recipe that is run again finds what it has left under its own id.
        let resume = kept.resume.or(kept.began.then_some(kept.id));
        Job::new(Seed {
            id: kept.id,
            recipe: self.is_recipe(&kept.plugin),
            plugin: kept.plugin.into(),
            priority: kept.priority,
            after: kept.after,
            timeout: kept.timeout.map(Duration::from_secs_f64),
            resume,
            created: kept.created,
            input,
        })
    }
}
