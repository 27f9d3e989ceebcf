//! The plan: what a recipe means, with every check done. A plan never runs; `run` runs it.

mod alone;
mod arguments;
mod axis;
mod budget;
mod choice;
mod document;
mod isolate;
mod join;
mod looped;
mod make;
mod names;
mod options;
mod output;
mod parameters;
mod path;
mod per;
mod port;
mod refuse;
mod schema;
mod unit;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

pub use alone::{parameters, parameters_from_text};
pub use budget::{Budget, Share, budget};
pub use document::recipe_schema;
pub use make::make;
pub(crate) use path::nearest_file;
pub use path::plain;

use crate::diagnostic::{Files, Place};
use crate::recipe::TestText;
use crate::registry::{Declaration, Role};
use crate::value::{Key, Value};

/// The place of a stage in [`Plan::nodes`].
pub type NodeId = usize;

/// What a recipe means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The recipe's name.
    pub name: String,
    /// The recipe as written: file by file, the recipe itself first, includes after it.
    pub written: Vec<(PathBuf, String)>,
    /// The recipe as resolved: every default filled in, every `--set` applied.
    pub resolved: serde_json::Value,
    /// How it runs.
    pub run: RunOptions,
    /// What frame numbers mean, slowest axis first; empty when the source says.
    pub scan: Vec<(String, u64)>,
    /// The stages in the order of the recipe.
    pub nodes: Vec<Node>,
    /// The passes in the order written; a recipe without passes has one, named `main`.
    pub passes: Vec<Pass>,
    /// The loops in the order written.
    pub loops: Vec<Loop>,
    /// The passes as they run, loops unrolled.
    pub steps: Vec<Step>,
    /// The recipe's own parameters with their values.
    pub arguments: BTreeMap<String, Value>,
    /// The recipe's results by name: a stage and its port.
    pub results: Vec<(String, NodeId, Key)>,
    /// The checks that the recipe carries.
    pub tests: Vec<TestText>,
    /// The texts it was made of, for faults that are found later.
    pub files: Files,
}

impl Plan {
    /// Whether some stage runs in a host process, so that buffers must lie in shared memory.
    pub fn isolates(&self) -> bool {
        self.nodes.iter().any(|node| node.run.isolate)
    }

    /// A stage with its place in the recipe, for errors that come before the first frame.
    pub fn place(&self, id: NodeId) -> String {
        let node = &self.nodes[id];
        format!("{}: stage `{}`", self.files.locate(node.at), node.name)
    }

    /// The stages that a stage's stream begins with, through earlier passes too.
    pub fn origins(&self, id: NodeId) -> Vec<NodeId> {
        let Some(node) = self.nodes.get(id) else { return vec![] };
        let before = node.from.iter().map(|s| match s {
            Stream::Live(from) | Stream::Kept(from) => *from,
        });
        if node.from.is_empty() { vec![id] } else { before.flat_map(|from| self.origins(from)).collect() }
    }
}

/// One stage at its place in the recipe.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the recipe.
    pub name: String,
    /// What it is.
    pub what: What,
    /// Its parameters, checked, defaults filled in.
    pub set: serde_json::Value,
    /// The streams it reads: none for a source or a task without `from`, two for a join.
    pub from: Vec<Stream>,
    /// Where each input port gets its value; an open port has an entry for each key it takes.
    ///
    /// The entry `*` from `stage.*` is every output of a stage whose own outputs are open. Under a kept
    /// stream, a key may be one that only travelled through the stage that is played again.
    pub inputs: Vec<(Key, Feed)>,
    /// Its place in [`Plan::passes`].
    pub pass: usize,
    /// The axis it opens, when its records are not those of its input.
    pub opens: Option<String>,
    /// How it runs.
    pub run: StageOptions,
    /// Where its name stands in the recipe.
    pub at: Place,
}

/// What stands at a place in the recipe.
#[derive(Clone, Debug)]
pub enum What {
    /// A registered stage.
    Stage(Arc<Declaration>),
    /// The engine's own join of two streams.
    Join(Join),
}

impl Node {
    /// The role, none for a join.
    pub fn role(&self) -> Option<Role> {
        match &self.what {
            What::Stage(declaration) => Some(declaration.role),
            What::Join(_) => None,
        }
    }
}

/// The stream a stage reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What a stage of the same pass gives, as it gives it.
    Live(NodeId),
    /// What a stage of an earlier pass gave, played again.
    Kept(NodeId),
}

/// Where an input port gets its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// From the stage's own stream, under its full key `stage.port`.
    Stream(Key),
    /// From the head of a source of the same or an earlier pass.
    Head {
        /// The source.
        node: NodeId,
        /// The entry of its head.
        key: Key,
    },
    /// The final value of a port: of a task of the same pass that runs first, or of any stage of an earlier pass.
    /// What is itself a task may also read any stage of the same pass that ends before it.
    Final {
        /// The stage.
        node: NodeId,
        /// Its port.
        port: Key,
    },
    /// From a slow stream of the same pass: the value of the moment, recorded whenever it changes.
    Latched {
        /// The stage.
        node: NodeId,
        /// Its port.
        port: Key,
    },
    /// A value that a loop carries forward.
    Carry {
        /// The place in [`Plan::loops`].
        in_loop: usize,
        /// The name under `carry`.
        key: Key,
    },
    /// One of the recipe's own parameters; it has no value in the plan unless it has a default or was given one.
    Argument(String),
    /// A value written in the recipe.
    Value(Value),
    /// The contents of a file, read through the registered sources.
    File(String),
}

/// Two streams meet: by number, or by time within a tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// The key that holds the time on each side; none joins by number.
    pub time: Option<(Key, Key)>,
    /// How far times may be apart, in seconds.
    pub within: f64,
    /// A half waits for this many later frames of the other side.
    pub wait_frames: u64,
    /// A half waits this long; none is for ever.
    pub wait_s: Option<f64>,
}

/// A pass: one run of a part of the graph.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Its name.
    pub name: String,
    /// Its stages, each after those it depends on.
    pub nodes: Vec<NodeId>,
    /// The pass is skipped when this port of an earlier pass is empty.
    pub needs: Option<(NodeId, Key)>,
}

/// Passes that repeat and carry values forward.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Its name.
    pub name: String,
    /// Its passes, as places in [`Plan::passes`].
    pub passes: Vec<usize>,
    /// How often they run.
    pub repeat: usize,
    /// What each turn sets: stage, parameter, one value per turn.
    pub vary: Vec<(NodeId, String, Vec<serde_json::Value>)>,
    /// The carried values: name, where the first turn takes it, where later turns take it.
    pub carry: Vec<(Key, Feed, Feed)>,
}

/// One pass as it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its restart name: `coarse`, `refine.1.seeded`.
    pub name: String,
    /// The place in [`Plan::passes`].
    pub pass: usize,
    /// The loop and the turn, counted from 0.
    pub turn: Option<(usize, usize)>,
}

/// How a whole recipe runs: its `[run]` table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunOptions {
    /// Frames to a chunk; none goes by their size.
    pub chunk: Option<u64>,
    /// A chunk closes after this time even if it is not full, in milliseconds.
    pub latency_ms: u64,
    /// How many frames a late one may be behind before it is given up.
    pub reorder: u64,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Threads for heavy work; none takes all cores.
    pub threads: Option<usize>,
    /// Seconds after which a stage that does not come back is said to hang.
    pub hang_s: f64,
    /// Seconds between checkpoints; 0 makes none but the last.
    pub checkpoint_s: f64,
    /// Frames between checkpoints; none goes by time alone.
    pub checkpoint_frames: Option<u64>,
    /// Bytes of memory the plan may use; none takes half of the machine's.
    pub memory: Option<u64>,
    /// Bytes the outputs may take; none takes what is free.
    pub disk: Option<u64>,
    /// Tries again of a source or writer after an error that may pass.
    pub retry: u32,
    /// How many frames may go wrong before the run fails.
    pub limits: Limits,
}

impl RunOptions {
    /// Frames to a chunk: as the recipe says, else up to 64 that fit in 2 MiB together; 16 of unknown size.
    ///
    /// A chunk that fits in a core's cache is still there when the next stage reads it. Small frames come by the block of a
    /// reduction: with 16 each, six reductions of frames of 16 KiB took two cores a tenth longer.
    pub fn chunk_of(&self, frame: usize) -> u64 {
        let by_size = match frame {
            0 => 16,
            frame => ((2 << 20) / frame as u64).clamp(1, 64),
        };
        self.chunk.unwrap_or(by_size).max(1)
    }

    /// Chunks in a queue when the stage does not say: 2 to 16, and up to 1024 where a detector would lose frames.
    ///
    /// Frames that come at their own pace get 64 MiB to wait in, right behind their source, while a stage is slow: a
    /// disk that takes a second to make a file safe is one. Others can wait where they are: 8 MiB are enough to keep two
    /// stages apart, and with 64 they would have left the cache before they are read, which halved the speed of a plain
    /// sum. A stage that lets frames go wants new ones, not many.
    pub fn queue_of(&self, frame: usize, paced: bool, overflow: Overflow) -> u64 {
        let (bytes, most) = match (overflow, paced) {
            (Overflow::Block, false) => (8 << 20, 16),
            // How much a source gives that does not say what its frames are cannot be told from their number.
            (Overflow::Block, true) if frame > 0 => (64 << 20, 1024),
            _ => (64_u64 << 20, 16),
        };
        (bytes / self.chunk_of(frame).saturating_mul(frame as u64).max(1)).clamp(2, most)
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            chunk: None,
            latency_ms: 100,
            reorder: 64,
            seed: 0,
            threads: None,
            hang_s: 60.0,
            checkpoint_s: 30.0,
            checkpoint_frames: None,
            memory: None,
            disk: None,
            retry: 3,
            limits: Limits::default(),
        }
    }
}

/// How many frames may go wrong before the run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Frames that never came.
    pub missing: u64,
    /// Frames that came damaged.
    pub corrupt: u64,
    /// Frames that came after they were given up.
    pub late: u64,
    /// Frames let go by a declared overflow.
    pub dropped: u64,
    /// Repeats and numbers outside the scan.
    pub extra: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // A viewer drops by design; everything else a recipe has to allow in words.
        Limits { missing: 0, corrupt: 0, late: 0, dropped: u64::MAX, extra: 0 }
    }
}

/// What happens at the consumer's end of a full edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// The producer waits.
    #[default]
    Block,
    /// Only the newest chunk is kept: for viewers.
    Latest,
    /// The newest chunk is let go.
    Drop,
    /// Chunks are put aside on disk and read back later.
    Replay,
}

/// Which snapshots a stage takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// The final one.
    #[default]
    Final,
    /// Every one.
    Every,
    /// The newest whenever the stage is free.
    Latest,
}

/// How one stage runs: its `run` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageOptions {
    /// What happens when its queue is full.
    pub overflow: Overflow,
    /// Chunks in its queue; none lets the plan choose.
    pub queue: Option<usize>,
    /// The recording lane: first delivery, never held up by others.
    pub record: bool,
    /// An error ends this branch only.
    pub detach: bool,
    /// Seconds between snapshots of a `Fit` or `Reduce`; none makes only the final one.
    pub snapshot_s: Option<f64>,
    /// Frames between snapshots; none goes by time alone.
    pub snapshot_frames: Option<u64>,
    /// Which snapshots it takes.
    pub take: Take,
    /// A fresh instance for each value of this scan axis.
    pub per: Option<String>,
    /// Runs in a child process; settled by the plan, whatever the recipe leaves open.
    pub isolate: bool,
    /// What it gives is kept, for a later run to reuse.
    pub keep: bool,
    /// Frames a second that a source, or the player of a kept stream, gives at most, as a detector would; none gives
    /// them as fast as they are taken.
    pub pace: Option<f64>,
    /// Seconds of what a recorder took that a power cut may take.
    pub sync_s: Option<f64>,
    /// Bytes of what a recorder took that a power cut may take.
    pub sync_bytes: Option<u64>,
    /// Whether a recorder's files are read back before they count; none is for live sources alone.
    pub read_back: Option<bool>,
}

impl StageOptions {
    /// When a recorder puts what it has taken on the disk.
    pub fn sync(&self) -> crate::store::SyncPolicy {
        let usual = crate::store::SyncPolicy::default();
        crate::store::SyncPolicy {
            seconds: self.sync_s.unwrap_or(usual.seconds),
            bytes: self.sync_bytes.unwrap_or(usual.bytes),
        }
    }
}
