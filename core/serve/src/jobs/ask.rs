//! What clients ask about jobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use isard_core::error::{Error, Result};
use isard_core::value::{Dict, Value};

use crate::catalog::Plugin;
use crate::config::Files;
use crate::job::Job;
use crate::jobs::{Jobs, Shared, lock};
use crate::json;
use crate::request::dictionary;
use crate::state::State;

impl Jobs {
    /// The id that a number stands for: negative ones count from the end, -1 is the latest job.
    pub fn id(&self, id: i64) -> Result<u64> {
        self.shared.resolve(id)
    }

    /// The state of a job.
    pub fn state(&self, id: i64) -> Result<State> {
        self.shared.state_of(self.id(id)?)
    }

    /// Waits for the end of a job, for a while; its state then.
    pub fn wait(&self, id: i64, most: Option<Duration>) -> Result<State> {
        let id = self.id(id)?;
        match self.shared.job(id) {
            Some(job) => Ok(job.wait(most.map(|most| Instant::now() + most))),
            None => self.shared.state_of(id),
        }
    }

    /// Calls when a job has ended, at once if it has; on a thread of the server, so `then` must be quick.
    pub fn when_done(&self, id: i64, then: impl FnOnce(State) + Send + 'static) -> Result<()> {
        let id = self.id(id)?;
        match self.shared.job(id) {
            Some(job) => job.when_done(Box::new(then)),
            None => then(self.shared.state_of(id)?),
        }
        Ok(())
    }

    /// Whether a job is in memory and small: then nothing that is asked about it takes long.
    pub fn is_at_hand(&self, id: i64) -> bool {
        self.id(id).is_ok_and(|id| self.shared.job(id).is_some_and(|job| job.is_small()))
    }

    /// The input of a job, with its plugin and id.
    pub fn input(&self, id: i64) -> Result<Dict> {
        self.shared.input(self.id(id)?)
    }

    /// The output of a job so far: empty while it has not ended.
    pub fn output(&self, id: i64) -> Result<Arc<Dict>> {
        let id = self.id(id)?;
        match self.shared.job(id) {
            Some(job) if !job.state().is_final() => Ok(Arc::default()),
            Some(job) => match job.output() {
                Some(output) => Ok(output),
                None => self.shared.kept(id, "out").map(Arc::new),
            },
            None => self.shared.kept(id, "out").map(Arc::new),
        }
    }

    /// The lines of a job's error, joined; empty if it has none.
    pub fn error(&self, id: i64) -> Result<String> {
        let output = self.output(id)?;
        Ok(match output.get("error") {
            Some(Value::List(lines)) => lines.iter().filter_map(Value::text).collect::<Vec<_>>().join("\n"),
            Some(Value::Text(text)) => text.to_string(),
            _ => String::new(),
        })
    }

    /// Ends a job: one that waits never starts, one that runs is asked to end. Says whether this ended it.
    ///
    /// The state is `aborted` when this comes back, whatever the plugin does.
    pub fn abort(&self, id: i64) -> Result<bool> {
        let id = self.id(id)?;
        let Some(job) = self.shared.job(id) else {
            return self.shared.state_of(id).map(|_| false);
        };
        let did = self.shared.abort(&job);
        if did {
            // Longer only when the disk takes nothing, and then the state will follow.
            job.wait(Some(Instant::now() + Duration::from_secs(10)));
        }
        Ok(did)
    }

    /// Frees the memory of a job that has ended; its files are written if they were not.
    pub fn clean(&self, id: i64) -> Result<()> {
        let id = self.id(id)?;
        let state = self.shared.state_of(id)?;
        if !state.is_final() {
            return Err(Error::recipe(format!("job {id} is {state}: it has not ended"))
                .help("wait for it, or abort it first"));
        }
        let job = self.shared.job(id);
        let at_hand = job.as_ref().is_some_and(|job| job.output().is_some());
        let stored = self.shared.store.is_some();
        match &self.shared.folder {
            Some(folder)
                if (stored || at_hand)
                    && (self.shared.config.files != Files::Both || folder.read(id, "inp")?.is_none()) =>
            {
                let how = self.shared.config.not_numbers;
                let (input, output) = (self.input(id as i64)?, self.output(id as i64)?);
                let plugin = input.get("plugin_name").and_then(Value::text).unwrap_or_default();
                let (input, output) = (json::spread(&input, how), json::spread(&output, how));
                folder.write(id, plugin, &[("inp", &input), ("out", &output)])?;
            }
            None if at_hand && !stored => {
                return Err(Error::recipe(format!(
                    "job {id} is kept in memory alone: cleaning it would lose it"
                ))
                .help("a server with a folder or a store keeps it"));
            }
            _ => (),
        }
        if let Some(job) = job {
            job.drop_data();
        }
        Ok(())
    }

    /// The doc of a plugin; an error names the nearest if there is none.
    pub fn init(&self, name: &str) -> Result<Arc<Plugin>> {
        self.shared.catalog.find(name)
    }
}

impl Shared {
    /// The id that a number stands for.
    pub(super) fn resolve(&self, id: i64) -> Result<u64> {
        let last = self.next.load(Ordering::Acquire) as i64 - 1;
        let found = if id < 0 { last + id + 1 } else { id };
        if found < 1 || found > last {
            let known = if last < 1 { "there is none yet".into() } else { format!("the latest is {last}") };
            return Err(unknown(id).help(known));
        }
        Ok(found as u64)
    }

    /// The job in memory.
    pub(super) fn job(&self, id: u64) -> Option<Arc<Job>> {
        lock(&self.index).get(id).cloned()
    }

    /// The input of a job, with its plugin and id.
    pub(super) fn input(&self, id: u64) -> Result<Dict> {
        if let Some(job) = self.job(id)
            && job.input().is_some()
        {
            return Ok(self.described(&job));
        }
        let mut input = self.kept(id, "inp")?;
        if let Some(kept) = self.store.as_ref().map(|s| s.get(id)).transpose()?.flatten() {
            input.set("plugin_name", kept.plugin);
            input.set("job_id", id as i64);
        }
        Ok(input)
    }

    /// The state of a job in memory or on disk.
    pub(super) fn state_of(&self, id: u64) -> Result<State> {
        if let Some(job) = self.job(id) {
            return Ok(job.state());
        }
        if let Some(store) = &self.store
            && let Some(kept) = store.get(id)?
        {
            return Ok(kept.state.unwrap_or(State::Uninitialized));
        }
        let output = self.kept(id, "out")?;
        Ok(match (output.get("aborted"), output.get("error")) {
            (Some(_), _) => State::Aborted,
            (_, Some(_)) => State::Failure,
            _ => State::Success,
        })
    }

    /// The input or output of a job as the disk has it.
    fn kept(&self, id: u64, what: &str) -> Result<Dict> {
        let mut text = None;
        if let Some(store) = &self.store {
            text = if what == "inp" { store.input(id)? } else { store.output(id)? };
        }
        if text.is_none()
            && let Some(folder) = &self.folder
        {
            text = folder.read(id, what)?;
        }
        match text {
            Some(text) => dictionary(&json::parse(&text)?),
            None => {
                let last = self.config.history;
                Err(unknown(id as i64)
                    .help(format!("the last {last} jobs are kept in memory, and nothing on disk")))
            }
        }
    }
}

fn unknown(id: i64) -> Error {
    Error::data(format!("no job {id}"))
}
