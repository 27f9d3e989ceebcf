//! What came of each scan: a line for each, a line at the end, the exit code.

use std::path::Path;

use isard_core::error::Error;
use isard_core::run::{Outcome, Report};
use serde_json::json;

use crate::show::style;

/// What came of the scans.
pub(super) struct Account {
    json: bool,
    done: u64,
    before: u64,
    failed: u64,
    /// Of the first run that did not end well.
    exit: i32,
}

impl Account {
    /// Nothing yet.
    pub fn new(json: bool) -> Account {
        Account { json, done: 0, before: 0, failed: 0, exit: 0 }
    }

    /// Scans that were run.
    pub fn ran(&self) -> u64 {
        self.done + self.failed
    }

    /// Takes over what a run came to.
    pub fn book(&mut self, scan: &str, report: &Report) {
        match &report.outcome {
            Outcome::Done => self.done += 1,
            // It goes on the next time.
            Outcome::Stopped => self.spoil(&Outcome::Stopped),
            outcome => {
                self.failed += 1;
                self.spoil(outcome);
            }
        }
        let message = report.outcome.message();
        self.say(scan, &report.out, report.outcome.word(), Some(report), message.as_deref());
    }

    /// Takes over that a scan could not be run.
    pub fn fail(&mut self, scan: &str, folder: &Path, error: &Error) {
        self.failed += 1;
        self.spoil(&Outcome::Failed(error.clone()));
        self.say(scan, folder, "failed", None, Some(&error.to_string()));
    }

    /// Takes over that a scan was run before.
    pub fn skip(&mut self, scan: &str, folder: &Path, word: &str, message: Option<&str>) {
        self.before += 1;
        self.say(scan, folder, word, None, message);
    }

    fn spoil(&mut self, outcome: &Outcome) {
        if self.exit == 0 {
            self.exit = outcome.exit_code();
        }
    }

    fn say(&self, scan: &str, out: &Path, word: &str, report: Option<&Report>, message: Option<&str>) {
        if self.json {
            let line = json!({
                "scan": scan, "out": out, "outcome": word, "message": message,
                "seconds": report.map(|r| r.seconds), "exit": report.map(|r| r.outcome.exit_code()),
                "content": report.map(|r| &r.content),
            });
            return style::print(&format!("{line}\n"));
        }
        let here = std::env::current_dir().unwrap_or_default();
        let near = Path::new(scan).strip_prefix(&here).unwrap_or(Path::new(scan)).display();
        let mut line = format!("{near}: {word}");
        if let Some(report) = report {
            let frames = report.stages.iter().find_map(|stage| stage.ledger.as_ref());
            line += &frames.map_or_else(String::new, |ledger| format!(", {ledger}"));
            line += &format!(", {:.1} s", report.seconds);
        }
        line += &format!(", in {}", out.display());
        if let Some(message) = message {
            line += &format!("\n  {}", message.replace('\n', "\n  "));
        }
        style::print(&format!("{line}\n"));
    }

    /// The last line, and the exit code.
    pub fn finish(&self, stopped: bool) -> i32 {
        let Account { json, done, before, failed, exit } = *self;
        if json {
            let line =
                json!({ "done": done, "before": before, "failed": failed, "stopped": stopped, "exit": exit });
            style::print(&format!("{line}\n"));
        } else {
            style::print(&format!("{done} done, {failed} failed, {before} run before\n"));
        }
        exit
    }
}
