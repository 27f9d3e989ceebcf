//! Folds per value: an instance ends as soon as all frames of its value have passed.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Context, Error, Result};
use crate::run::per::order::Order;
use crate::run::per::tally::Tally;
use crate::run::per::{Per, load, save, stands_for_all};
use crate::span::{Gap, Span};
use crate::stage::{AnyFold, Built, Cx, Emit, Lag};
use crate::value::Dict;

/// A fold for each value.
pub struct PerFold {
    per: Per,
    one: Box<dyn AnyFold>,
    lag: Lag,
    /// The instances of values that have not ended.
    values: BTreeMap<u64, Box<dyn AnyFold>>,
    seen: BTreeSet<u64>,
    tally: Tally,
    order: Order,
}

stands_for_all!(PerFold);

impl PerFold {
    pub fn new(per: Per, one: Box<dyn AnyFold>) -> PerFold {
        let lag = match one.lag() {
            // The frames of other values come between.
            Lag::Kept { lag } if per.axis.rounds > 1 => {
                Lag::Kept { lag: (lag + 1).saturating_mul(per.axis.step.saturating_mul(per.axis.extent)) }
            }
            other => other,
        };
        let (values, seen) = (BTreeMap::new(), BTreeSet::new());
        PerFold { per, one, lag, values, seen, tally: Tally::default(), order: Order::default() }
    }

    fn instance(&mut self, value: u64) -> Result<&mut Box<dyn AnyFold>> {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.values.entry(value) {
            let Built::Fold(stage) = self.per.built(value)? else {
                return Err(Error::internal("a fold was built as another role"));
            };
            entry.insert(stage);
        }
        self.values.get_mut(&value).ok_or_else(|| Error::internal("an instance is not there"))
    }

    /// Counts frames of a value and ends its instance when they were the last.
    fn count(&mut self, cx: &Cx, value: u64, span: &Span, emit: &mut Emit<Dict>) -> Result<()> {
        match self.tally.took(&self.per.axis, value, span)? {
            true => self.end(cx, value, emit),
            false => Ok(()),
        }
    }

    fn end(&mut self, cx: &Cx, value: u64, emit: &mut Emit<Dict>) -> Result<()> {
        let Some(mut stage) = self.values.remove(&value) else { return Ok(()) };
        let mut own = Emit::default();
        stage.finish(cx, &mut own).at(|| self.per.place(value))?;
        self.pass_on(value, own, emit)
    }

    /// Passes on what an instance emitted: frames in their order, other records with their value.
    fn pass_on(&mut self, value: u64, own: Emit<Dict>, emit: &mut Emit<Dict>) -> Result<()> {
        let Emit { items, gaps } = own;
        if matches!(self.lag, Lag::Kept { .. }) {
            self.order.lost(&gaps);
        }
        emit.gaps.extend(gaps);
        for (span, output) in items {
            match self.lag {
                Lag::Merged { .. } => {
                    let output = self.per.marked(value, span.len, output)?;
                    emit.put(span, output);
                }
                Lag::Kept { .. } => self.order.put(span, output)?,
                Lag::Rotated => emit.put(span, output),
            }
        }
        self.order.release(emit);
        Ok(())
    }
}

impl AnyFold for PerFold {
    fn lag(&self) -> Lag {
        self.lag
    }

    fn push(&mut self, cx: &Cx, span: &Span, input: Dict, emit: &mut Emit<Dict>) -> Result<()> {
        for (value, piece) in self.per.axis.pieces(span) {
            let input = self.per.cut(&input, span, &piece)?;
            self.seen.insert(value);
            let mut own = Emit::default();
            self.instance(value)?.push(cx, &piece, input, &mut own)?;
            own.gaps.extend(cx.take_gaps());
            if matches!(self.lag, Lag::Kept { .. }) {
                self.order.took(&piece);
            }
            self.pass_on(value, own, emit)?;
            self.count(cx, value, &piece, emit)?;
        }
        Ok(())
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<Dict>) -> Result<()> {
        for (value, span) in self.per.axis.pieces(&gap.span) {
            let mut own = Emit::default();
            self.instance(value)?.gap(cx, &Gap { span: span.clone(), ..gap.clone() }, &mut own)?;
            self.pass_on(value, own, emit)?;
            self.count(cx, value, &span, emit)?;
        }
        Ok(())
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<Dict>) -> Result<()> {
        while let Some(&value) = self.values.keys().next() {
            self.end(cx, value, emit)?;
        }
        self.order.flush(emit);
        self.per.tell_empty(&self.seen, "they are left out");
        Ok(())
    }

    fn save(&self) -> Result<Dict> {
        let states = self.values.iter().map(|(value, stage)| Ok((*value, stage.save()?)));
        Ok(self.tally.save(self.order.save(save(states, &self.seen)?)))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        let (states, seen) = load(&state)?;
        (self.seen, self.order, self.tally) = (seen, Order::load(&state)?, Tally::load(&state)?);
        for (value, state) in states {
            self.instance(value)?.load(state)?;
        }
        Ok(())
    }
}
