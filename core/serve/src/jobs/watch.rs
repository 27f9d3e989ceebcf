//! Looks after what takes too long: times that are over, workers that are held, plugins that have changed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use isard_core::error::{Blame, Error, Result};

use crate::jobs::end::{End, failed};
use crate::jobs::{Shared, lock};
use crate::state::State;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Workers that may take the place of others, for each worker there was.
const REPLACED: usize = 4;

impl Shared {
    /// Starts the thread that looks after things.
    pub(super) fn start_watch(self: &Arc<Shared>) -> Result<()> {
        let weak: Weak<Shared> = Arc::downgrade(self);
        let named = std::thread::Builder::new().name("isard job watch".into());
        let spawned = named.spawn(move || {
            let mut looked = Instant::now();
            loop {
                std::thread::sleep(PAUSE);
                let Some(shared) = weak.upgrade() else { return };
                if shared.closing.load(Ordering::Acquire) {
                    return;
                }
                shared.end_late_jobs();
                shared.replace_held_workers();
                shared.forget_files();
                if shared.config.watch.is_some_and(|pause| looked.elapsed() >= pause) {
                    looked = Instant::now();
                    shared.look_at_plugins();
                }
            }
        });
        spawned.map(drop).map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread: {e}")))
    }

    fn end_late_jobs(self: &Arc<Shared>) {
        let late: Vec<_> = lock(&self.running)
            .iter()
            .filter(|r| r.job.timeout.is_some_and(|most| r.since.elapsed() > most) && !r.job.is_claimed())
            .map(|r| r.job.clone())
            .collect();
        for job in late {
            let most = job.timeout.unwrap_or_default().as_secs_f64();
            let error =
                Error::new(Blame::Resources, format!("it worked longer than its time-out of {most} s"));
            let error = error.help("give it more with `timeout`, or look at what holds it up");
            // First the end, then the wish: else the plugin's own "cancelled" could come first.
            if self.finish(End::new(&job, State::Failure, failed(&error))) {
                job.abort.ask();
            }
        }
    }

    fn replace_held_workers(self: &Arc<Shared>) {
        let mut wanted = 0;
        for running in lock(&self.running).iter_mut().filter(|r| r.job.is_claimed() && !r.replaced) {
            let since = *running.ended.get_or_insert_with(Instant::now);
            let most = REPLACED * self.config.workers.max(1);
            if since.elapsed() > self.config.grace && self.replaced.load(Ordering::Acquire) < most {
                self.replaced.fetch_add(1, Ordering::AcqRel);
                running.replaced = true;
                wanted += 1;
                tracing::warn!(
                    job = running.job.id, plugin = %running.job.plugin,
                    "A plugin does not come back after its job has ended; another worker takes its place."
                );
            }
        }
        for _ in 0..wanted {
            if let Err(error) = self.start_worker() {
                tracing::error!(%error, "No worker can be started in place of one that is held.");
            }
        }
    }

    /// Removes files of jobs that are forgotten: a thousand at a time.
    fn forget_files(&self) {
        let Some(folder) = &self.folder else { return };
        let last = match (&self.store, self.config.keep_jobs) {
            (Some(store), _) => store.forgotten(),
            (None, Some(most)) => (self.next.load(Ordering::Acquire) - 1).saturating_sub(most),
            (None, None) => 0,
        };
        if last > 0
            && let Err(error) = folder.forget(last)
        {
            tracing::warn!(%error, "Files of old jobs cannot be removed.");
        }
    }

    fn look_at_plugins(&self) {
        if !self.catalog.changed() {
            return;
        }
        match self.catalog.reload() {
            Ok(()) => tracing::info!("Plugins and recipes have changed and were loaded anew."),
            Err(error) => tracing::warn!(%error, "Changed plugins or recipes cannot be loaded."),
        }
    }
}
