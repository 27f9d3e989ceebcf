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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::run::per::PerAxis;
    use crate::stage::{AnyStage, Cost, Fault, RunCx, Shapes};
    use crate::value::{Array, Value};

    /// Notes what it is given; the first write of frame 4 fails for a moment.
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
        fn commit(&mut self, _: &Cx) -> Result<Dict> {
            Ok(Dict::new())
        }
        fn finish(&mut self, _: &Cx, covers: &Ranges) -> Result<()> {
            self.0.lock().unwrap().push(format!("covers {:?}", covers.bounds()));
            Ok(())
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
        let error = writer.write(&cx, &span, input.clone()).unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("y 2"), "{error}");
        writer.write(&cx, &span, input).unwrap();
        let mut covers = Ranges::default();
        covers.add(1..6);
        writer.finish(&cx, &covers).unwrap();
        let wanted = [
            "frame 1 [1.0]",
            "frames 2..4 [2.0, 3.0]",
            "frames 4..6 [4.0, 5.0]",
            "frames 4..6 [4.0, 5.0]",
            "covers [1, 2]",
            "covers [2, 4]",
            "covers [4, 6]",
        ];
        assert_eq!(*notes.lock().unwrap(), wanted);
    }
}
