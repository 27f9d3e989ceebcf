//! Writers per value: each with its own path, committed together, closed when its value can no longer come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::run::per::tally::Tally;
use crate::run::per::{Per, damaged, load, save, stands_for_all};
use crate::span::{Gap, Ranges, Span};
use crate::stage::{AnyWriter, Built, Cx, Output};
use crate::value::{Array, Dict, Value};

/// A writer for each value.
pub struct PerWriter {
    per: Per,
    one: Box<dyn AnyWriter>,
    out: Option<Arc<dyn Output>>,
    /// The writers of values that are not closed.
    values: BTreeMap<u64, Instance>,
    seen: BTreeSet<u64>,
    tally: Tally,
    /// Where a write that failed halfway goes on when it is tried again.
    half: Option<(Span, u64)>,
    /// The piece that was given last.
    last: Option<Span>,
    /// A writer was closed since this was asked.
    closed: bool,
}

struct Instance {
    stage: Box<dyn AnyWriter>,
    /// The frames behind its output.
    covers: Ranges,
}

stands_for_all!(PerWriter);

impl PerWriter {
    pub fn new(per: Per, one: Box<dyn AnyWriter>) -> PerWriter {
        let (values, seen) = (BTreeMap::new(), BTreeSet::new());
        let (tally, half, last, closed) = Default::default();
        PerWriter { per, one, out: None, values, seen, tally, half, last, closed }
    }

    /// The writer of a value, opened anew or as it was at a commit.
    fn instance(&mut self, cx: &Cx, value: u64, committed: Option<Dict>) -> Result<&mut Instance> {
        if !self.values.contains_key(&value) {
            let Built::Writer(mut stage) = self.per.built(value)? else {
                return Err(Error::internal("a writer was built as another role"));
            };
            let out = self.out.clone().ok_or_else(|| Error::internal("a writer that is not open"))?;
            let mut covers = Ranges::default();
            let committed = match committed {
                Some(state) => {
                    let (Value::Dict(own), Value::Array(bounds)) =
                        (state.need("own")?, state.need("covers")?)
                    else {
                        return Err(damaged());
                    };
                    covers = Ranges::from_bounds(bounds.as_slice()?);
                    Some(own.clone())
                }
                None => None,
            };
            stage.open(cx, out, committed).at(|| self.per.place(value))?;
            self.values.insert(value, Instance { stage, covers });
        }
        self.values.get_mut(&value).ok_or_else(|| Error::internal("an instance is not there"))
    }

    /// Gives each value its piece of a span and closes those that have had all; goes on where it failed before.
    fn piecewise(
        &mut self,
        cx: &Cx,
        span: &Span,
        mut give: impl FnMut(&mut PerWriter, &Cx, u64, &Span) -> Result<()>,
    ) -> Result<()> {
        // What could not be closed before comes first; `half` stands until it is.
        self.close_full(cx)?;
        let done = self.half.take().filter(|(half, _)| half == span).map_or(span.start, |(_, done)| done);
        for (value, piece) in self.per.axis.pieces(&span.part(done, span.end())) {
            if let Err(error) = give(self, cx, value, &piece) {
                self.half = Some((span.clone(), piece.start));
                return Err(error.at(self.per.place(value)));
            }
            self.tally.took(&self.per.axis, value, &piece)?;
            self.last = Some(piece.clone());
            if let Err(error) = self.close_full(cx) {
                self.half = Some((span.clone(), piece.end()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Closes the writers of values that have had all their frames.
    ///
    /// Only in operations that are tried again when a disk is busy for a moment: one whose closing failed stays open.
    fn close_full(&mut self, cx: &Cx) -> Result<()> {
        while let Some(value) = self.values.keys().copied().find(|value| self.tally.is_full(*value)) {
            self.close(cx, value)?;
        }
        Ok(())
    }

    fn close(&mut self, cx: &Cx, value: u64) -> Result<()> {
        if let Some(instance) = self.values.get_mut(&value) {
            instance.stage.finish(cx, &instance.covers).at(|| self.per.place(value))?;
            self.values.remove(&value);
            self.closed = true;
        }
        Ok(())
    }
}

impl AnyWriter for PerWriter {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        let Some(committed) = committed else { return Ok(()) };
        let (states, seen) = load(&committed)?;
        (self.seen, self.tally) = (seen, Tally::load(&committed)?);
        for (value, state) in states {
            self.instance(cx, value, Some(state))?;
        }
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        self.piecewise(cx, span, |this, cx, value, piece| {
            let own = this.per.cut(&input, span, piece)?;
            let instance = this.instance(cx, value, None)?;
            instance.stage.write(cx, piece, own)?;
            instance.covers.add(piece.range());
            this.seen.insert(value);
            Ok(())
        })
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        self.piecewise(cx, &gap.span, |this, cx, value, piece| {
            let own = Gap { span: piece.clone(), ..gap.clone() };
            this.instance(cx, value, None)?.stage.gap(cx, &own)
        })
    }

    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        let value = self.per.axis.value(gap.span.start);
        let kept = self.instance(cx, value, None)?.stage.corrupt(cx, gap, frame);
        let kept = kept.at(|| self.per.place(value))?;
        self.tally.took(&self.per.axis, value, &gap.span)?;
        self.last = Some(gap.span.clone());
        Ok(kept)
    }

    fn commit(&mut self, cx: &Cx) -> Result<Dict> {
        self.close_full(cx)?;
        let states = self.values.iter_mut().map(|(value, instance)| {
            let own = instance.stage.commit(cx).at(|| self.per.place(*value))?;
            let covers = Array::from_slice(&instance.covers.bounds());
            Ok((*value, Dict::new().with("own", own).with("covers", covers)))
        });
        Ok(self.tally.save(save(states, &self.seen)?))
    }

    fn settled(&mut self) -> Result<Option<(Dict, u64)>> {
        let closed = std::mem::take(&mut self.closed);
        let mut said = vec![];
        // All are asked: what one says holds for this call alone.
        for (value, instance) in &mut self.values {
            said.push((*value, instance.stage.settled()?, instance.covers.clone()));
        }
        match (said.pop(), said.is_empty()) {
            (None, _) if closed => {
                let none = std::iter::empty::<Result<(u64, Dict)>>();
                Ok(Some((self.tally.save(save(none, &self.seen)?), 0)))
            }
            (Some((value, Some((own, left)), mut covers)), true) => {
                if let Some(last) = &self.last {
                    covers.remove(last.end().saturating_sub(left).max(last.start)..last.end());
                }
                let own = Dict::new().with("own", own).with("covers", Array::from_slice(&covers.bounds()));
                let state = save(std::iter::once(Ok((value, own))), &self.seen)?;
                Ok(Some((self.tally.less(value, left).save(state), left)))
            }
            // Of several that are open only a commit puts all on the disk.
            _ => Ok(None),
        }
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        // One that was closed before an error of another is not closed again.
        while let Some(value) = self.values.keys().next().copied() {
            self.close(cx, value)?;
        }
        self.per.tell_empty(&self.seen, "nothing is written for them but the frames they lost");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::run::per::PerAxis;
    use crate::stage::{AnyStage, Cost, Fault, RunCx, Shapes};
    use crate::value::{Array, Value};

    /// Notes what it is given; the first write of frame 4 and the first closing of frames 2 and 3 fail for a moment.
    struct Note(Arc<Mutex<Vec<String>>>);

    impl AnyStage for Note {
        fn check(&self) -> Vec<Fault> {
            vec![]
        }
        fn shapes(&self, _: &Shapes) -> Result<Shapes> {
            Ok(Shapes::default())
        }
        fn cost(&self, _: &Shapes) -> Cost {
            Cost::default()
        }
    }

    impl AnyWriter for Note {
        fn open(&mut self, _: &Cx, _: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
            Ok(())
        }
        fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
            let mut notes = self.0.lock().unwrap();
            let Some(Value::Array(x)) = input.get("x") else { panic!("no x") };
            notes.push(format!("{span} {:?}", x.to_f64()?));
            let tried = notes.iter().filter(|n| n.starts_with("frames 4")).count();
            if span.start == 4 && tried == 1 { Err(Error::data("busy").transient()) } else { Ok(()) }
        }
        fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
            Ok(())
        }
        fn corrupt(&mut self, _: &Cx, _: &Gap, _: Dict) -> Result<bool> {
            Ok(false)
        }
        fn commit(&mut self, _: &Cx) -> Result<Dict> {
            Ok(Dict::new())
        }
        fn finish(&mut self, _: &Cx, covers: &Ranges) -> Result<()> {
            let mut notes = self.0.lock().unwrap();
            let note = format!("covers {:?}", covers.bounds());
            let first = covers.has(2) && !notes.contains(&note);
            notes.push(note);
            if first { Err(Error::data("busy").transient()) } else { Ok(()) }
        }
    }

    struct Nowhere;

    impl Output for Nowhere {
        fn seal(&self, _: &str, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn replace(&self, _: &str, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn record(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn a_write_tried_again_goes_on_where_it_failed() {
        let notes = Arc::new(Mutex::new(vec![]));
        let shared = notes.clone();
        let per = Per {
            axis: PerAxis::of(&[("y".into(), 3), ("x".into(), 2)], "y", None).unwrap(),
            stage: "save".into(),
            build: Box::new(move |_| Ok(Built::Writer(Box::new(Note(shared.clone()))))),
            fixed: vec![],
            outputs: vec![],
        };
        let (run, mut writer) = (RunCx::default(), PerWriter::new(per, Box::new(Note(notes.clone()))));
        let (cx, span) = (Cx::new(&run, "save"), Span::frames(1, 5));
        let input = Dict::new().with("x", Array::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0]));
        writer.open(&cx, Arc::new(Nowhere), None).unwrap();
        for place in ["y 1", "y 2"] {
            let error = writer.write(&cx, &span, input.clone()).unwrap_err();
            assert!(error.is_transient() && error.to_string().contains(place), "{error}");
        }
        writer.write(&cx, &span, input).unwrap();
        let mut covers = Ranges::default();
        covers.add(1..6);
        writer.finish(&cx, &covers).unwrap();
        let wanted = [
            "frame 1 [1.0]",
            "frames 2..4 [2.0, 3.0]",
            "covers [2, 4]",
            "covers [2, 4]",
            "frames 4..6 [4.0, 5.0]",
            "frames 4..6 [4.0, 5.0]",
            // A value whose frames have all come is closed at once; frame 0 never came.
            "covers [4, 6]",
            "covers [1, 2]",
        ];
        assert_eq!(*notes.lock().unwrap(), wanted);
    }
}
