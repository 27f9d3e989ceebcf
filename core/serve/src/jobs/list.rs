//! Lists of jobs.

use std::time::Duration;

use isard_core::error::Result;
use serde_json::json;

use crate::job::Job;
use crate::jobs::{Jobs, lock};
use crate::state::State;
use crate::store::Kept;

/// Which jobs a list shows.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Only those of this state.
    pub state: Option<State>,
    /// Only those that were cut off.
    pub interrupted: bool,
    /// Only those older than this one.
    pub before: Option<u64>,
    /// So many at most; the newest.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { state: None, interrupted: false, before: None, limit: 1000 }
    }
}

/// What is known of a job without its input and output.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its id.
    pub id: u64,
    /// Its plugin as the client named it.
    pub plugin: String,
    /// Where it stands.
    pub state: State,
    /// Its priority.
    pub priority: i32,
    /// When it was accepted, in seconds since 1970.
    pub created: f64,
    /// Seconds from then to its end, or to now.
    pub runtime: f64,
    /// The time it may work.
    pub timeout: Option<Duration>,
    /// It was cut off when an earlier server ended.
    pub interrupted: bool,
}

impl Info {
    /// The form for programs.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "id": self.id, "plugin": self.plugin, "state": self.state.word(), "priority": self.priority,
            "created": self.created, "runtime": self.runtime, "interrupted": self.interrupted,
        })
    }

    fn of(job: &Job) -> Info {
        Info {
            id: job.id,
            plugin: job.plugin.to_string(),
            state: job.state(),
            priority: job.priority,
            created: job.created,
            runtime: job.runtime(),
            timeout: job.timeout,
            interrupted: job.interrupted(),
        }
    }
}

impl From<Kept> for Info {
    fn from(kept: Kept) -> Info {
        Info {
            id: kept.id,
            plugin: kept.plugin,
            state: kept.state.unwrap_or(State::Uninitialized),
            priority: kept.priority,
            created: kept.created,
            runtime: kept.runtime,
            timeout: kept.timeout.map(Duration::from_secs_f64),
            interrupted: kept.interrupted,
        }
    }
}

impl Jobs {
    /// Jobs, newest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Info>> {
        let below = filter.before.unwrap_or(u64::MAX);
        let fits = |info: &Info| {
            info.id < below
                && filter.state.is_none_or(|state| info.state == state)
                && (!filter.interrupted || info.interrupted)
        };
        let in_memory = lock(&self.shared.index).all();
        let mut list: Vec<Info> = in_memory.iter().map(|job| Info::of(job)).filter(fits).collect();
        if let Some(store) = &self.shared.store
            && filter.state.is_none_or(State::is_final)
        {
            let on_disk = store.list(filter.state, filter.interrupted, below, filter.limit)?;
            list.extend(on_disk.into_iter().map(Info::from));
        }
        // What stands in both is the same once it has ended.
        list.sort_by_key(|info| std::cmp::Reverse(info.id));
        list.dedup_by_key(|info| info.id);
        list.truncate(filter.limit);
        Ok(list)
    }

    /// What is known of a job.
    pub fn info(&self, id: i64) -> Result<Info> {
        let id = self.id(id)?;
        if let Some(job) = self.shared.job(id) {
            return Ok(Info::of(&job));
        }
        if let Some(store) = &self.shared.store
            && let Some(kept) = store.get(id)?
        {
            return Ok(kept.into());
        }
        // Only its files are left.
        let state = self.shared.state_of(id)?;
        let (input, output) = (self.input(id as i64)?, self.output(id as i64)?);
        let plugin = input.get("plugin_name").and_then(|v| v.text()).unwrap_or_default().to_owned();
        let runtime = output.get("job_runtime").and_then(isard_core::Value::number).unwrap_or_default();
        Ok(Info { id, plugin, state, priority: 0, created: 0.0, runtime, timeout: None, interrupted: false })
    }

    /// The job whose run a job goes on with.
    pub(super) fn kept_resume(&self, id: u64) -> Result<Option<u64>> {
        if let Some(job) = self.shared.job(id) {
            return Ok(job.resume);
        }
        let kept = self.shared.store.as_ref().map(|store| store.get(id)).transpose()?.flatten();
        Ok(kept.and_then(|kept| kept.resume))
    }
}
