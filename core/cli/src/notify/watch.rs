//! From the progress of a run to events.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use isard_core::run::{Outcome, Progress, Report, Watched};

use super::{Event, Level, Notifier};

/// Lost frames are told together, so often at most.
const LOSSES: Duration = Duration::from_millis(200);
/// A queue that is full so long is a backlog.
const BACKLOG: Duration = Duration::from_secs(2);

/// Watches a run and tells its sinks.
pub struct Watcher {
    notifier: Notifier,
    run: String,
    running: bool,
    lost: u64,
    told: Option<Instant>,
    detached: BTreeSet<String>,
    full: Option<(String, Instant)>,
}

impl Watcher {
    /// Watches with sinks that have been started.
    pub fn new(notifier: Notifier) -> Watcher {
        let (run, detached) = (String::new(), BTreeSet::new());
        Watcher { notifier, run, running: false, lost: 0, told: None, detached, full: None }
    }

    /// The run has a folder, and waits for its sources.
    pub fn begins(&mut self, folder: &str) {
        folder.clone_into(&mut self.run);
        self.tell(Level::Info, "waiting", "the run waits for its sources");
    }

    fn tell(&self, level: Level, what: &str, text: &str) {
        self.notifier.tell(&Event::new(level, &self.run, what, text));
    }

    /// Looks at the progress of a run.
    pub fn see(&mut self, seen: &Progress) {
        if !self.running {
            self.running = true;
            self.tell(Level::Info, "started", "frames can come");
        }
        let (mut lost, mut words) = (0, vec![]);
        for stage in seen.stages {
            let name = stage.meter.name.to_string();
            if stage.meter.detached.load(Ordering::Relaxed) && self.detached.insert(name.clone()) {
                self.tell(
                    Level::Warning,
                    "detached",
                    &format!("stage `{name}` has ended its branch with an error"),
                );
            }
            if stage.queue.is_none()
                && let Some(ledger) = stage.meter.account()
            {
                let classes =
                    [("missing", &ledger.missing), ("corrupt", &ledger.corrupt), ("late", &ledger.late)];
                for (word, frames) in classes {
                    lost += frames.count();
                    if !frames.is_empty() {
                        words.push(format!("{} {word} ({frames})", frames.count()));
                    }
                }
            }
        }
        if lost > self.lost && self.told.is_none_or(|at| at.elapsed() >= LOSSES) {
            (self.lost, self.told) = (lost, Some(Instant::now()));
            self.tell(Level::Warning, "lost", &format!("frames are lost: {}", words.join(", ")));
        }
        self.backlog(seen);
    }

    /// A queue that stays full.
    fn backlog(&mut self, seen: &Progress) {
        // Never seen empty: whoever keeps up has emptied its queue now and then.
        let waits = |s: &&Watched| s.live && s.queue.as_ref().is_some_and(|q| q.load(Ordering::Relaxed) > 1);
        let full = seen.stages.iter().find(waits);
        let Some(stage) = full.map(|s| s.meter.name.to_string()) else {
            self.full = None;
            return;
        };
        match &self.full {
            Some((name, since)) if *name == stage => {
                if since.elapsed() >= BACKLOG {
                    self.tell(
                        Level::Warning,
                        "backlog",
                        &format!("stage `{stage}` is slower than its frames"),
                    );
                    // Told again when it has lasted another while.
                    self.full = Some((stage, Instant::now() + 9 * BACKLOG));
                }
            }
            _ => self.full = Some((stage, Instant::now())),
        }
    }

    /// The run is over.
    pub fn ends(self, report: &isard_core::Result<Report>) {
        match report {
            Err(error) => self.tell(Level::Error, "failed", &error.to_string()),
            Ok(report) => {
                let said = report.outcome.message().unwrap_or_else(|| "all frames are accounted for".into());
                let (level, what) = match &report.outcome {
                    Outcome::Done => (Level::Info, "done"),
                    Outcome::Stopped => (Level::Info, "stopped"),
                    Outcome::Detached => (Level::Warning, "done"),
                    Outcome::Limits(_) | Outcome::Failed(_) => (Level::Error, "failed"),
                };
                self.tell(level, what, &said);
            }
        }
        self.notifier.end();
    }
}
