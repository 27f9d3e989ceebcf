//! The seven roles: the trait a stage implements says how it may be scheduled.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::port::Ports;
use crate::span::{Gap, Ranges, Span};
use crate::stage::{Cost, Cx, Example, Faults, Shapes, Slots};
use crate::value::{Dict, Value};

/// What every stage has, whatever its role.
///
/// The implementing struct *is* the stage: its serde fields are the parameters, and fields marked
/// `#[serde(skip)]` hold its state. Its doc comment documents the stage, theirs document the parameters.
pub trait Stage: DeserializeOwned + JsonSchema + Send + 'static {
    /// The input ports.
    type In: Ports;
    /// The output ports.
    type Out: Ports;

    /// Real parameters and input: documentation, and what the contract tests run.
    fn example() -> Example;

    /// Faults that types and ranges cannot say; each names its parameter.
    fn check(&self, _faults: &mut Faults) {}

    /// Dtype and shape of the outputs, as far as the inputs tell.
    fn shapes(&self, _input: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default())
    }

    /// Memory it keeps, work it costs and bytes it writes.
    fn cost(&self, _input: &Shapes) -> Cost {
        Cost::default()
    }
}

/// Where a source begins: the first frame that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Frames before this one need not be given again.
    pub next: u64,
}

/// What a source says about a series when it opens it.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// How many frames the series has, counted from 0; none when it is not known.
    pub frames: Option<u64>,
    /// The constants of the series: mask, flat, energy, positions.
    pub head: Dict,
    /// Dtype and shape of one frame, port by port.
    pub shapes: Shapes,
    /// Frames arrive at their own pace and cannot be had again.
    pub live: bool,
    /// What frame numbers mean: named axes with their extents, slowest first.
    pub scan: Vec<(String, u64)>,
}

/// What a pull brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Slots were filled; pull again.
    Ready,
    /// Nothing now; ask again after this pause.
    Wait(Duration),
    /// The series is complete.
    End,
}

/// Gives frames: a file, a detector, a simulator that plays one.
pub trait Source: Stage {
    /// Opens the series at a position.
    fn open(&mut self, cx: &Cx, input: Self::In, from: Position) -> Result<Opened>;
    /// Fills slots; numbers may come in any order. Must come back within a tenth of a second.
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Self::Out>) -> Result<Pull>;
}

/// Turns each record into another, without memory: chunks run in parallel, their order is restored.
pub trait Map: Stage + Sync {
    /// Every output leads with the same records as the input.
    fn apply(&self, cx: &Cx, span: &Span, input: Self::In) -> Result<Self::Out>;
}

/// How the records that a [`Fold`] emits relate to those it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// The same frames in the same order, at most `lag` frames late.
    Kept {
        /// Frames held back at most.
        lag: u64,
    },
    /// The same frames, each once, but the first may come last: a window that wraps around.
    Rotated,
    /// Records of an axis of its own.
    Merged {
        /// The axis.
        axis: &'static str,
    },
}

/// What a [`Fold`] has to say: spans with their values, in order.
pub struct Emit<O> {
    pub(crate) items: Vec<(Span, O)>,
    pub(crate) gaps: Vec<Gap>,
}

impl<O> Default for Emit<O> {
    fn default() -> Self {
        Emit { items: vec![], gaps: vec![] }
    }
}

impl<O> Emit<O> {
    /// What was emitted and which frames were given up, for whoever drives a fold: the engine, a test.
    pub fn take(&mut self) -> (Vec<(Span, O)>, Vec<Gap>) {
        (std::mem::take(&mut self.items), std::mem::take(&mut self.gaps))
    }

    /// Emits records; on an axis of its own the numbers go on where the last emission ended.
    pub fn put(&mut self, span: Span, output: O) {
        self.items.push((span, output));
    }

    /// Gives frames up, with the reason.
    pub fn give_up(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }
}

/// Ordered state: takes records in order, emits when it can.
pub trait Fold: Stage {
    /// How its output relates to its input.
    fn lag(&self) -> Lag;
    /// Takes the next records.
    fn push(&mut self, cx: &Cx, span: &Span, input: Self::In, emit: &mut Emit<Self::Out>) -> Result<()>;
    /// Hears of frames that will not come. For `Kept` and `Rotated` the engine passes the gap on by itself.
    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<Self::Out>) -> Result<()>;
    /// Emits what is left.
    fn finish(&mut self, cx: &Cx, emit: &mut Emit<Self::Out>) -> Result<()>;
    /// The state at a mark.
    fn save(&self) -> Result<Dict>;
    /// Takes a saved state back.
    fn load(&mut self, state: Dict) -> Result<()>;
}

/// A mergeable reduction.
///
/// The engine opens a fresh part for every block of 64 frame numbers, feeds it its frames in order, in one `add` or
/// several, and merges blocks along a fixed binary tree: neither chunks nor threads change the result.
pub trait Reduce: Stage + Sync {
    /// What one block of frames has come to.
    type Part: Send + 'static;
    /// A part that has seen nothing.
    fn part(&self, cx: &Cx) -> Result<Self::Part>;
    /// Adds frames; how a block is cut must not matter.
    fn add(&self, cx: &Cx, part: &mut Self::Part, span: &Span, input: Self::In) -> Result<()>;
    /// Merges the part of later frames into that of earlier ones.
    fn merge(&self, cx: &Cx, part: &mut Self::Part, later: Self::Part) -> Result<()>;
    /// The result so far; none while there is nothing to show.
    fn peek(&self, cx: &Cx, part: &Self::Part) -> Result<Option<Self::Out>>;
    /// The result.
    fn finish(&self, cx: &Cx, part: Self::Part) -> Result<Self::Out>;
    /// A part as it is kept at a mark.
    fn save(&self, part: &Self::Part) -> Result<Dict>;
    /// A part that was kept.
    fn load(&self, cx: &Cx, state: Dict) -> Result<Self::Part>;
}

/// How good a fit is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitness {
    /// What the fit makes small; comparable between snapshots of one fit.
    pub cost: f64,
    /// Whether further refinement of the same data would help.
    pub more: bool,
}

/// The time a fitter may take before it looks up; slices end between whole steps.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    end: Option<Instant>,
}

impl Slice {
    /// A slice of the given length.
    pub fn of(time: Duration) -> Slice {
        Slice { end: Some(Instant::now() + time) }
    }

    /// A slice that is over after one step, whatever the clock says.
    pub fn one_step() -> Slice {
        Slice { end: None }
    }

    /// What is left of the slice; nothing for one step.
    pub(crate) fn left(&self) -> Duration {
        self.end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()))
    }

    /// Whether the fitter should come back now.
    pub fn over(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() >= end)
    }
}

/// Fits a model while frames arrive: absorbs first, refines in slices.
///
/// Its final answer must be a function of data, parameters and seed: `complete` says that all data are in.
pub trait Fit: Stage {
    /// Takes the next records; must be cheap.
    fn absorb(&mut self, cx: &Cx, span: &Span, input: Self::In) -> Result<()>;
    /// Hears of frames that will not come.
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()>;
    /// Hears that all data are in: what follows refines towards the final answer.
    fn complete(&mut self, cx: &Cx) -> Result<()>;
    /// Refines in whole steps until the slice is over; at least one step.
    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness>;
    /// The answer so far; none while there is nothing to show.
    fn snapshot(&self, cx: &Cx) -> Result<Option<Self::Out>>;
    /// The state at a mark.
    fn save(&self) -> Result<Dict>;
    /// Takes a saved state back.
    fn load(&mut self, state: Dict) -> Result<()>;
}

/// Where a writer puts its files: whole files, each written beside, synced and renamed.
pub trait Output: Send + Sync {
    /// Writes a file that is never touched again.
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// Writes a file in place of an earlier one of the same stage, in one step.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()>;
    /// What the run is: recipe, versions, seeds, as JSON text for the output to carry.
    fn record(&self) -> String;

    /// Writes files that are never touched again, many for the price of one: all of them, or on an error none.
    fn seal_all(&self, files: &mut dyn Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
        for file in files {
            let (path, bytes) = file?;
            self.seal(&path, &bytes)?;
        }
        Ok(())
    }

    /// As `replace`, of a file that is made piece by piece, so that it need not be held whole.
    fn replace_pieces(&self, path: &str, pieces: &mut dyn Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        let mut all = vec![];
        for piece in pieces {
            all.extend(piece?);
        }
        self.replace(path, &all)
    }

    /// Keeps bytes whose last form is not known yet, in place of an earlier draft of that name.
    ///
    /// While the run goes on it is seen under its path; it is no output, and a run that is resumed still has it.
    fn draft(&self, path: &str, _: &[u8]) -> Result<()> {
        Err(Error::plugin(format!("`{path}`: this output keeps no drafts")))
    }
    /// The bytes of a draft.
    fn drafted(&self, path: &str) -> Result<Vec<u8>> {
        Err(Error::plugin(format!("`{path}`: this output keeps no drafts")))
    }
    /// Puts drafts safely on disk: part of a writer's commit.
    fn commit_drafts(&self, _: &[String]) -> Result<()> {
        Ok(())
    }
    /// Drafts are no longer shown: their last form has been written.
    fn end_drafts(&self, _: &[String]) -> Result<()> {
        Ok(())
    }
    /// Units of what is written, as the ports that feed it state them: by input, and by `input.column` for tables.
    fn units(&self) -> std::collections::BTreeMap<String, String> {
        std::collections::BTreeMap::new()
    }
}

/// Writes records to files.
pub trait Writer: Stage {
    /// Opens the output, anew or as it was at a commit.
    fn open(&mut self, cx: &Cx, out: std::sync::Arc<dyn Output>, committed: Option<Dict>) -> Result<()>;
    /// Takes the next records.
    fn write(&mut self, cx: &Cx, span: &Span, input: Self::In) -> Result<()>;
    /// Hears of frames that will not come.
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()>;
    /// Hears of a frame that came damaged, with its bytes; says whether it keeps them.
    ///
    /// Only a writer in the recording lane right behind a source is given them. One that can mark a record so that
    /// every reader can tell it from a good one keeps the frame and says `true`; by default the frame is a gap.
    fn corrupt(&mut self, cx: &Cx, gap: &Gap, _frame: Self::In) -> Result<bool> {
        self.gap(cx, gap).map(|()| false)
    }
    /// Puts everything taken so far safely on disk; what it returns reopens the output there.
    fn commit(&mut self, cx: &Cx) -> Result<Dict>;
    /// Says what has come to be safely on disk in the last call without a commit: whole parts of a set.
    ///
    /// Asked of a recorder after each `write` and `corrupt`: what would reopen the output there, and how many of the
    /// records of that call are not in it yet. It lets the journal of what is not in a file begin anew; by default that
    /// happens at commits alone.
    fn settled(&mut self) -> Result<Option<(Dict, u64)>> {
        Ok(None)
    }
    /// Commits and closes; `covers` are the frames behind the output.
    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()>;
}

/// Runs once: reflection lists, grids, clustering, predictions; also a job's plugin.
pub trait Task: Stage {
    /// One dictionary in, one out.
    fn run(&mut self, cx: &Cx, input: Self::In) -> Result<Self::Out>;
}

impl From<Position> for Value {
    fn from(position: Position) -> Value {
        Value::Int(position.next as i64)
    }
}
