//! Writers per value: each with its own path, committed together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::run::per::{Per, load, save, stands_for_all};
use crate::span::{Gap, Ranges, Span};
use crate::stage::{AnyWriter, Built, Cx, Output};
use crate::value::Dict;

/// A writer for each value.
pub struct PerWriter {
    per: Per,
    one: Box<dyn AnyWriter>,
    out: Option<Arc<dyn Output>>,
    values: BTreeMap<u64, Box<dyn AnyWriter>>,
    seen: BTreeSet<u64>,
    /// Where a write that failed halfway goes on when it is tried again.
    half: Option<(Span, u64)>,
    /// Values whose output is closed.
    finished: BTreeSet<u64>,
}

stands_for_all!(PerWriter);

impl PerWriter {
    pub fn new(per: Per, one: Box<dyn AnyWriter>) -> PerWriter {
        PerWriter {
            per,
            one,
            out: None,
            values: BTreeMap::new(),
            seen: BTreeSet::new(),
            half: None,
            finished: BTreeSet::new(),
        }
    }

    /// The writer of a value, opened anew or as it was at a commit.
    fn instance(&mut self, cx: &Cx, value: u64, committed: Option<Dict>) -> Result<&mut Box<dyn AnyWriter>> {
        if !self.values.contains_key(&value) {
            let Built::Writer(mut stage) = self.per.built(value)? else {
                return Err(Error::internal("a writer was built as another role"));
            };
            let out = self.out.clone().ok_or_else(|| Error::internal("a writer that is not open"))?;
            stage.open(cx, out, committed).at(|| self.per.place(value))?;
            self.values.insert(value, stage);
        }
        self.values.get_mut(&value).ok_or_else(|| Error::internal("an instance is not there"))
    }
}

impl AnyWriter for PerWriter {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        let Some(committed) = committed else { return Ok(()) };
        let (states, seen) = load(&committed)?;
        self.seen = seen;
        for (value, state) in states {
            self.instance(cx, value, Some(state))?;
        }
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        let done = self.half.take().filter(|(half, _)| half == span).map_or(span.start, |(_, done)| done);
        for (value, piece) in self.per.axis.pieces(&span.part(done, span.end())) {
            let own = self.per.cut(&input, span, &piece)?;
            let written = self.instance(cx, value, None).and_then(|stage| stage.write(cx, &piece, own));
            if let Err(error) = written {
                self.half = Some((span.clone(), piece.start));
                return Err(error.at(self.per.place(value)));
            }
            self.seen.insert(value);
        }
        Ok(())
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        for (value, span) in self.per.axis.pieces(&gap.span) {
            self.instance(cx, value, None)?.gap(cx, &Gap { span, ..gap.clone() })?;
        }
        Ok(())
    }

    fn commit(&mut self, cx: &Cx) -> Result<Dict> {
        let states = self
            .values
            .iter_mut()
            .map(|(value, stage)| Ok((*value, stage.commit(cx).at(|| self.per.place(*value))?)));
        save(states, &self.seen)
    }

    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()> {
        let mut own: BTreeMap<u64, Ranges> = BTreeMap::new();
        for range in covers.iter() {
            let span = Span::frames(range.start, range.end - range.start);
            for (value, piece) in self.per.axis.pieces(&span) {
                own.entry(value).or_default().add(piece.range());
            }
        }
        for (value, stage) in &mut self.values {
            // One that was closed before an error of another is not closed again.
            if !self.finished.contains(value) {
                let covers = own.remove(value).unwrap_or_default();
                stage.finish(cx, &covers).at(|| self.per.place(*value))?;
                self.finished.insert(*value);
            }
        }
        self.per.tell_empty(&self.seen, "nothing is written for them but the frames they lost");
        Ok(())
    }
}
