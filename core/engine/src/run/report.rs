//! What a run came to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::error::{Blame, Error};
use crate::run::ledger::Ledger;
use crate::value::Dict;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Everything was done and every frame accounted for.
    Done,
    /// Everything else was done, but branches that the recipe lets go have ended with an error.
    Detached,
    /// More frames went wrong than the recipe allows.
    Limits(Vec<String>),
    /// It was asked to stop; a checkpoint is left to resume from.
    Stopped,
    /// It ended with an error.
    Failed(Error),
}

impl Outcome {
    /// The exit code: documented and stable.
    pub fn exit_code(&self) -> i32 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed(error) => match error.blame() {
                Blame::Recipe => 2,
                Blame::Plugin => 3,
                Blame::Data => 4,
                Blame::Io => 5,
                Blame::Resources => 6,
                Blame::Cancelled => 7,
                Blame::Internal => 70,
            },
            Outcome::Stopped => 7,
            Outcome::Limits(_) => 8,
            Outcome::Detached => 9,
        }
    }

    /// The word in `run.json`.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Detached => "detached",
            Outcome::Limits(_) => "limits",
            Outcome::Stopped => "stopped",
            Outcome::Failed(_) => "failed",
        }
    }

    /// What to tell the user beside the word.
    pub fn message(&self) -> Option<String> {
        match self {
            Outcome::Failed(error) => Some(error.to_string()),
            Outcome::Limits(list) => Some(list.join("; ")),
            _ => None,
        }
    }
}

/// What one stage came to in one step.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// The step.
    pub step: String,
    /// Its name in the recipe.
    pub name: String,
    /// What it is: `family.what`.
    pub what: String,
    /// Records taken, or given by a source, in earlier runs of the same output too.
    pub records: u64,
    /// Those of them that earlier runs took.
    pub earlier: u64,
    /// Seconds in its own code, summed over threads.
    pub busy: f64,
    /// Snapshots emitted.
    pub snapshots: u64,
    /// The account of frames, where the frame axis begins or ends.
    pub ledger: Option<Ledger>,
    /// Seconds from the last frame until everything was written, for a writer.
    pub delay: Option<f64>,
    /// Why its branch ended by itself.
    pub detached: Option<Error>,
    /// Its final values, for stages that settle on one.
    pub results: Dict,
    /// The digest of its final content.
    pub content: Option<String>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The recipe's name.
    pub name: String,
    /// The output folder.
    pub out: PathBuf,
    /// How it ended.
    pub outcome: Outcome,
    /// Seconds it took.
    pub seconds: f64,
    /// Stage by stage, step by step.
    pub stages: Vec<StageReport>,
    /// Steps that were skipped because what they need is empty.
    pub skipped: Vec<String>,
    /// Content digests by stage (`stage`, or `step.stage` in a recipe with passes).
    pub content: BTreeMap<String, String>,
    /// The recipe's own results.
    pub results: Dict,
    /// Whether a source gave frames that cannot be had again: another series may follow.
    pub live: bool,
    /// Bytes of buffers handed out at most.
    pub peak_buffers: usize,
}

impl Report {
    /// The JSON form for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let stage = |s: &StageReport| {
            json!({
                "step": s.step, "name": s.name, "use": s.what, "records": s.records, "busy_s": s.busy,
                "snapshots": s.snapshots, "delay_s": s.delay, "ledger": s.ledger.as_ref().map(Ledger::to_json),
                "detached": s.detached.as_ref().map(ToString::to_string), "content": s.content,
                "results": small(&s.results),
            })
        };
        json!({
            "name": self.name, "out": self.out, "outcome": self.outcome.word(), "message": self.outcome.message(),
            "exit": self.outcome.exit_code(), "seconds": self.seconds,
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "skipped": self.skipped, "content": self.content, "results": small(&self.results),
            "peak_buffers": self.peak_buffers,
        })
    }
}

/// The values that fit on a line; arrays and tables are described.
fn small(dict: &Dict) -> serde_json::Value {
    let entry = |(key, value): (&crate::Key, &crate::Value)| {
        let json = if value.bytes() <= 256 { value.to_json() } else { json!(value.describe()) };
        (key.to_string(), json)
    };
    serde_json::Value::Object(dict.iter().map(entry).collect())
}
