//! Fitters per value: each refined until more would not help it.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Context, Error, Result};
use crate::run::per::reduce::EMPTY;
use crate::run::per::{Per, load, save, stands_for_all};
use crate::span::{Gap, Span};
use crate::stage::{AnyFit, Built, Cx, Fitness, Slice};
use crate::value::Dict;

/// A fitter for each value.
pub struct PerFit {
    per: Per,
    one: Box<dyn AnyFit>,
    values: BTreeMap<u64, Instance>,
    seen: BTreeSet<u64>,
    complete: bool,
}

struct Instance {
    stage: Box<dyn AnyFit>,
    /// Whether refining it would help.
    more: bool,
    cost: f64,
}

stands_for_all!(PerFit);

impl PerFit {
    pub fn new(per: Per, one: Box<dyn AnyFit>) -> PerFit {
        PerFit { per, one, values: BTreeMap::new(), seen: BTreeSet::new(), complete: false }
    }

    fn instance(&mut self, value: u64) -> Result<&mut Instance> {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.values.entry(value) {
            let Built::Fit(stage) = self.per.built(value)? else {
                return Err(Error::internal("a fit was built as another role"));
            };
            entry.insert(Instance { stage, more: true, cost: 0.0 });
        }
        self.values.get_mut(&value).ok_or_else(|| Error::internal("an instance is not there"))
    }
}

impl AnyFit for PerFit {
    fn absorb(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        for (value, piece) in self.per.axis.pieces(span) {
            let input = self.per.cut(&input, span, &piece)?;
            self.seen.insert(value);
            let instance = self.instance(value)?;
            instance.stage.absorb(cx, &piece, input)?;
            instance.more = true;
        }
        Ok(())
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        for (value, span) in self.per.axis.pieces(&gap.span) {
            self.instance(value)?.stage.gap(cx, &Gap { span, ..gap.clone() })?;
        }
        Ok(())
    }

    fn complete(&mut self, cx: &Cx) -> Result<()> {
        // A value of which only gaps came has nothing to fit.
        self.values.retain(|value, _| self.seen.contains(value));
        for (value, instance) in &mut self.values {
            instance.stage.complete(cx).at(|| self.per.place(*value))?;
            instance.more = true;
        }
        self.complete = true;
        self.per.tell_empty(&self.seen, EMPTY);
        Ok(())
    }

    /// Shares the slice among those that it would help; one that has settled stays as it is.
    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let seen = &self.seen;
        let mut left = self.values.iter().filter(|(v, i)| i.more && seen.contains(v)).count() as u32;
        for (value, instance) in &mut self.values {
            if !instance.more || !self.seen.contains(value) {
                continue;
            }
            let time = slice.left() / left.max(1);
            let own = if time.is_zero() { Slice::one_step() } else { Slice::of(time) };
            let fitness = instance.stage.refine(cx, &own).at(|| self.per.place(*value))?;
            (instance.more, instance.cost) = (fitness.more, fitness.cost);
            left = left.saturating_sub(1);
        }
        let all = || self.values.values();
        Ok(Fitness { cost: all().map(|i| i.cost).sum(), more: all().any(|i| i.more) })
    }

    fn snapshot(&self, cx: &Cx) -> Result<Option<Dict>> {
        let mut all = vec![];
        for value in 0..self.per.axis.extent {
            let instance = self.values.get(&value);
            let shown = match instance {
                Some(i) => i.stage.snapshot(cx).at(|| self.per.place(value))?,
                None => None,
            };
            if self.complete && instance.is_some() && shown.is_none() {
                // Its frames were too few to show anything: whoever asks says so, or knows that a stop cut them short.
                tracing::warn!(stage = %self.per.stage, axis = %self.per.axis.name, value, "The fit of this value has nothing to show.");
                return Ok(None);
            }
            all.push(shown);
        }
        match all.iter().any(Option::is_some) {
            true => self.per.stack(all, cx.pool()).map(Some),
            false => Ok(None),
        }
    }

    fn save(&self) -> Result<Dict> {
        save(self.values.iter().map(|(value, i)| Ok((*value, i.stage.save()?))), &self.seen)
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        let (states, seen) = load(&state)?;
        self.seen = seen;
        for (value, state) in states {
            self.instance(value)?.stage.load(state)?;
        }
        Ok(())
    }
}
