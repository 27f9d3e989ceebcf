//! What a recorder does beside writing: a journal of what no whole file holds yet.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::plan::Node;
use crate::run::edge::Item;
use crate::run::kept::{chunk_dict, chunk_of, item_dict, item_of};
use crate::run::per::{Axes, keep_axes};
use crate::span::{Chunk, Gap, Ranges};
use crate::store::journal::Journal;
use crate::store::{Folder, Head};
use crate::value::{Dict, Value};

/// The journal of a recorder.
pub struct Recorder {
    journal: Journal,
    folder: Arc<Folder>,
    stage: String,
    step: String,
    expected: Option<u64>,
    scan: Option<(Axes, Option<u64>)>,
    /// Inputs that are the same for the whole run; they stand in the head.
    pub fixed: Dict,
}

/// What a recorder was given, as its writer takes it.
#[derive(Clone)]
pub enum Taken {
    /// Records, under the names of the writer's ports.
    Chunk(Chunk),
    /// Frames that will not come.
    Gap(Gap),
    /// A frame that came damaged, with its bytes.
    Corrupt(Gap, Dict),
}

impl Recorder {
    /// The journal of a stage that is about to run; `scan` is what it has a writer for each value of.
    pub fn new(
        folder: &Arc<Folder>,
        node: &Node,
        step: &str,
        expected: Option<u64>,
        scan: Option<(Axes, Option<u64>)>,
    ) -> Result<Recorder> {
        let journal = Journal::new(folder.files().clone(), folder.root(), &node.name, node.run.sync())?;
        let (stage, step) = (node.name.clone(), step.to_owned());
        Ok(Recorder { journal, folder: folder.clone(), stage, step, expected, scan, fixed: Dict::new() })
    }

    /// Begins the journal: everything taken so far is in whole files, which `state` reopens.
    pub fn begin(&mut self, state: Option<Dict>, covers: &Ranges) -> Result<()> {
        let head = self.head(state, covers, false);
        self.journal.begin(&head)
    }

    /// Notes that the writer has finished.
    pub fn end(&mut self, covers: &Ranges) -> Result<()> {
        let head = self.head(None, covers, true);
        self.journal.begin(&head)
    }

    fn head(&self, state: Option<Dict>, covers: &Ranges, ended: bool) -> Dict {
        let own = self.folder.sealed().into_iter().filter(|f| f.stage == self.stage);
        let (step, covers, fixed) = (self.step.clone(), covers.clone(), self.fixed.clone());
        let scan = self.scan.as_ref().map(|(axes, frames)| (keep_axes(axes), *frames));
        let files = own.collect();
        Head { step, state, covers, files, fixed, expected: self.expected, scan, ended }.to_dict()
    }

    /// Puts what the writer is about to take into the journal.
    pub fn take(&mut self, taken: &Taken) -> Result<()> {
        if !self.journal.is_open() {
            return Err(Error::internal("a journal without a head"));
        }
        let (span, value) = match taken {
            Taken::Chunk(chunk) => {
                // What stands in the head need not stand here again.
                let mut data = chunk.data.clone();
                data.retain(|port| self.fixed.get(port).is_none());
                (&chunk.span, chunk_dict(&Chunk { data, ..chunk.clone() }))
            }
            Taken::Gap(gap) => (&gap.span, gap_dict(gap)?),
            Taken::Corrupt(gap, frame) => {
                let mut data = frame.clone();
                data.retain(|port| self.fixed.get(port).is_none());
                (&gap.span, gap_dict(gap)?.with("frame", data))
            }
        };
        self.journal.add(span.range(), &Value::Dict(value))
    }

    /// Begins anew behind whole files that hold all but the last `left` records of what was taken last.
    pub fn settled(&mut self, state: Dict, left: u64, taken: &Taken, covers: &Ranges) -> Result<()> {
        let mut whole = covers.clone();
        let rest = match taken {
            Taken::Chunk(chunk) if left > 0 => {
                let from = chunk.span.end().saturating_sub(left).max(chunk.span.start);
                if chunk.span.is_frames() {
                    whole.remove(from..chunk.span.end());
                }
                Some(Taken::Chunk(self.without_fixed(chunk).cut(from, chunk.span.end())?))
            }
            other if left > 0 => Some(other.clone()),
            _ => None,
        };
        self.begin(Some(state), &whole)?;
        rest.map_or(Ok(()), |rest| self.take(&rest))
    }

    /// Fixed inputs do not lead with records and cannot be cut.
    fn without_fixed(&self, chunk: &Chunk) -> Chunk {
        let mut data = chunk.data.clone();
        data.retain(|port| self.fixed.get(port).is_none());
        Chunk { data, ..chunk.clone() }
    }

    /// Puts the journal on the disk when it is time, also when nothing comes.
    pub fn idle(&mut self) -> Result<()> {
        self.journal.sync_if_due()
    }
}

fn gap_dict(gap: &Gap) -> Result<Dict> {
    item_dict(&Item::Gap(gap.clone())).ok_or_else(|| Error::internal("a gap cannot be kept"))
}

impl Taken {
    /// What a block of a journal holds.
    pub fn of(value: &Value) -> Result<Taken> {
        let Value::Dict(dict) = value else {
            return Err(Error::data(format!("a block is {}", value.describe())));
        };
        if dict.get("gap").is_none() {
            return chunk_of(dict).map(Taken::Chunk);
        }
        let Item::Gap(gap) = item_of(dict)? else { return Err(Error::data("a gap is none")) };
        Ok(match dict.get("frame") {
            Some(Value::Dict(frame)) => Taken::Corrupt(gap, frame.clone()),
            _ => Taken::Gap(gap),
        })
    }
}
