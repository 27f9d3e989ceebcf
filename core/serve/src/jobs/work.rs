//! The workers: each takes a job, runs it, and takes the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use isard_core::error::{Error, Result};
use isard_core::stage::{RunCx, guard};
use isard_core::value::{Dict, Key, Value};

use crate::bind::Task;
use crate::catalog::{Plugin, RecipeFile};
use crate::event::Event;
use crate::executor::Call;
use crate::job::Job;
use crate::jobs::end::{End, add_error};
use crate::jobs::{Shared, lock};
use crate::log;
use crate::recipe::{self, Surroundings};
use crate::state::State;

/// Lines of the log of a run that its job keeps.
const LOG_LINES: usize = 200;

/// A job that a worker has in hand.
pub(super) struct Running {
    pub job: Arc<Job>,
    pub since: Instant,
    /// When somebody else ended the job.
    pub ended: Option<Instant>,
    /// Another worker has taken this one's place.
    pub replaced: bool,
}

impl Shared {
    /// Starts one more worker.
    pub(super) fn start_worker(self: &Arc<Shared>) -> Result<()> {
        let shared = self.clone();
        let named = std::thread::Builder::new().name("isard job".into());
        let handle = named
            .spawn(move || shared.work())
            .map_err(|e| Error::new(isard_core::Blame::Resources, format!("cannot start a worker: {e}")))?;
        let mut workers = lock(&self.workers);
        workers.retain(|worker| !worker.is_finished());
        workers.push(handle);
        Ok(())
    }

    fn work(self: &Arc<Shared>) {
        while let Some(job) = self.queue.pop() {
            self.leaves_queue(&job);
            let since = Instant::now();
            lock(&self.running).push(Running { job: job.clone(), since, ended: None, replaced: false });
            if job.advance(State::Starting) {
                self.tell(Event::State { id: job.id, state: State::Starting });
                self.carry_out(&job);
            }
            let mut running = lock(&self.running);
            let at = running.iter().position(|r| r.job.id == job.id);
            let replaced = at.is_some_and(|at| running.swap_remove(at).replaced);
            drop(running);
            self.queue.free(&job);
            if replaced {
                self.replaced.fetch_sub(1, Ordering::AcqRel);
                return;
            }
        }
    }

    fn carry_out(self: &Arc<Shared>, job: &Arc<Job>) {
        let ((state, mut output), lines) = log::collect(|| {
            let mut output = Dict::new();
            // The store must not stop a worker between two jobs: a panic outside of a stage ends here too.
            match guard("job", || self.run_plugin(job, &mut output)) {
                Ok(()) => (State::Success, output),
                Err(error) => {
                    add_error(&mut output, &error);
                    (State::Failure, output)
                }
            }
        });
        if output.get("logging").is_none() {
            let lines: Vec<Value> = lines.into_iter().map(Value::from).collect();
            output.set(Key::Static("logging"), Value::from(lines));
        }
        // A server that is closing asks everybody to end: with a store, that is an interruption and no failure.
        if self.closing.load(Ordering::Acquire) && job.abort.asked() && !job.is_claimed() {
            match self.store {
                Some(_) => self.cut_off(job),
                None => drop(self.finish(End::new(job, State::Aborted, output))),
            }
            return;
        }
        self.finish(End::new(job, state, output));
    }

    fn run_plugin(&self, job: &Arc<Job>, output: &mut Dict) -> Result<()> {
        let plugin = self.catalog.find(&job.plugin)?;
        // Noted before it is seen to run: whatever is accepted after that finds it on disk.
        if let Some(store) = &self.store {
            store.began(job.id);
        }
        if !job.advance(State::Running) {
            return Err(Error::cancelled());
        }
        self.tell(Event::State { id: job.id, state: State::Running });
        let made = match &*plugin {
            Plugin::Task(task) => self.run_task(job, task)?,
            Plugin::Recipe(recipe) => self.run_recipe(job, recipe, output)?,
        };
        let bytes: usize = made.values().map(Value::bytes).sum();
        if bytes > self.config.output_bytes {
            let most = self.config.output_bytes;
            return Err(Error::new(
                isard_core::Blame::Resources,
                format!("the output has {bytes} bytes, wanted at most {most}"),
            )
            .help("write bulk data to a file, and give its path"));
        }
        for (key, value) in made {
            output.set(key, value);
        }
        Ok(())
    }

    fn run_task(&self, job: &Job, task: &Task) -> Result<Dict> {
        let run = RunCx {
            pool: self.pool.clone(),
            seed: 0,
            cancel: job.abort.flag().clone(),
            threads: Some(self.threads.clone()),
            reader: self.reader.clone(),
            prepared: self.prepared.clone(),
            // A job has a time limit of its own.
            hang_s: f64::INFINITY,
        };
        let Some(input) = job.input() else {
            return Err(Error::internal("a job lost its input before it ran"));
        };
        let add = |name: &str| match name {
            "job_id" => Value::Int(job.id as i64),
            _ => Value::from(&*job.plugin),
        };
        let (set, input) = task.bind(&input, &self.config.confine, &run, add)?;
        let loaded = task.declaration.origin.contains('/');
        let executor = if loaded { &self.config.isolated } else { &self.config.executor };
        let declaration = &task.declaration;
        executor.run(Call { id: job.id, declaration, set, input, run: &run, abort: &job.abort })
    }

    fn run_recipe(&self, job: &Job, recipe: &RecipeFile, output: &mut Dict) -> Result<Dict> {
        let Some(folder) = &self.folder else {
            return Err(Error::recipe("this server runs no recipes: it has no folder for their outputs")
                .help("give it one with `--dir DIR`"));
        };
        let out = folder.run(job.resume.unwrap_or(job.id));
        let above = out.parent().unwrap_or(folder.root());
        std::fs::create_dir_all(above).map_err(|e| Error::io("cannot make the folder", above, &e))?;
        let input = job.input().ok_or_else(|| Error::internal("a job lost its input before it ran"))?;
        let around = Surroundings {
            registry: &self.catalog.registry(),
            out: &out,
            confine: &self.config.confine,
            // A recipe's own paths were written by whoever set up the server.
            reader: self.config.reader.clone(),
            prepared: self.prepared.clone(),
            abort: &job.abort,
            resume: job.resume.is_some(),
        };
        let made = recipe::run(recipe, &input, &around);
        output.set("run_folder", out.display().to_string());
        output.set("logging", Value::from(recipe::log(&out, LOG_LINES)));
        made
    }
}
