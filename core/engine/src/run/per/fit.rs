//! Fitters per value: each refined until more would not help it, and let go when its data are all in.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Context, Error, Result};
use crate::run::per::reduce::EMPTY;
use crate::run::per::tally::Tally;
use crate::run::per::{Per, damaged, load, save, stands_for_all};
use crate::span::{Gap, Span};
use crate::stage::{AnyFit, Built, Cx, Fitness, Slice};
use crate::value::{Dict, Value, decode, encode};

/// A fitter for each value.
pub struct PerFit {
    per: Per,
    one: Box<dyn AnyFit>,
    /// The instances of values that are not settled.
    values: BTreeMap<u64, Instance>,
    seen: BTreeSet<u64>,
    tally: Tally,
    /// The answers of values whose data are all in and whose refinement is over; none where there was none.
    settled: BTreeMap<u64, Option<Dict>>,
    /// What the fits of settled values have come to, together.
    cost: f64,
    complete: bool,
}

struct Instance {
    stage: Box<dyn AnyFit>,
    /// Whether refining it would help.
    more: bool,
    cost: f64,
    data: Data,
}

/// What an instance knows of its data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    /// Some may still come.
    Open,
    /// All are in; it has not been told.
    Full,
    /// All are in, and it refines towards its final answer.
    Told,
}

stands_for_all!(PerFit);

impl PerFit {
    pub fn new(per: Per, one: Box<dyn AnyFit>) -> PerFit {
        let (values, seen, settled) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        PerFit { per, one, values, seen, tally: Tally::default(), settled, cost: 0.0, complete: false }
    }

    fn instance(&mut self, value: u64) -> Result<&mut Instance> {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.values.entry(value) {
            let Built::Fit(stage) = self.per.built(value)? else {
                return Err(Error::internal("a fit was built as another role"));
            };
            entry.insert(Instance { stage, more: true, cost: 0.0, data: Data::Open });
        }
        self.values.get_mut(&value).ok_or_else(|| Error::internal("an instance is not there"))
    }

    fn count(&mut self, value: u64, span: &Span) -> Result<()> {
        if !self.tally.took(&self.per.axis, value, span)? {
            return Ok(());
        }
        if self.seen.contains(&value) {
            self.instance(value)?.data = Data::Full;
        } else {
            // A value of which only gaps came has nothing to fit.
            self.values.remove(&value);
        }
        Ok(())
    }

    /// Refines a value whose data are all in; when more would not help, its answer stands and its instance goes.
    fn ripen(&mut self, cx: &Cx, value: u64, slice: &Slice) -> Result<()> {
        let place = || self.per.place(value);
        let Some(instance) = self.values.get_mut(&value) else { return Ok(()) };
        if instance.data == Data::Full {
            instance.stage.complete(cx).at(place)?;
            instance.data = Data::Told;
        }
        let fitness = instance.stage.refine(cx, slice).at(place)?;
        (instance.more, instance.cost) = (fitness.more, fitness.cost);
        if !fitness.more {
            let answer = instance.stage.snapshot(cx).at(place)?;
            self.settled.insert(value, answer.map(apart).transpose()?);
            self.cost += fitness.cost;
            self.values.remove(&value);
        }
        Ok(())
    }

    fn first_ripe(&self) -> Option<u64> {
        self.values.iter().find(|(_, i)| i.data != Data::Open).map(|(value, _)| *value)
    }
}

/// A result in memory of its own: it outlives the call it came from.
fn apart(answer: Dict) -> Result<Dict> {
    let mut bytes = vec![];
    encode(&Value::Dict(answer), &mut bytes);
    match decode(&bytes)? {
        Value::Dict(answer) => Ok(answer),
        other => Err(Error::internal(format!("a dictionary came back as {}", other.describe()))),
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
            self.count(value, &piece)?;
        }
        Ok(())
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        for (value, span) in self.per.axis.pieces(&gap.span) {
            self.instance(value)?.stage.gap(cx, &Gap { span: span.clone(), ..gap.clone() })?;
            self.count(value, &span)?;
        }
        Ok(())
    }

    fn complete(&mut self, cx: &Cx) -> Result<()> {
        // A value of which only gaps came has nothing to fit.
        self.values.retain(|value, _| self.seen.contains(value));
        for (value, instance) in self.values.iter_mut().filter(|(_, i)| i.data != Data::Told) {
            instance.stage.complete(cx).at(|| self.per.place(*value))?;
            (instance.more, instance.data) = (true, Data::Told);
        }
        self.complete = true;
        self.per.tell_empty(&self.seen, EMPTY);
        Ok(())
    }

    fn ripe(&self) -> bool {
        self.first_ripe().is_some()
    }

    /// Gives the slice to the first value whose data are all in; else shares it among those that it would help.
    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        if let Some(value) = self.first_ripe() {
            self.ripen(cx, value, slice)?;
        } else {
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
        }
        let all = || self.values.values();
        let cost = self.cost + all().map(|i| i.cost).sum::<f64>();
        Ok(Fitness { cost, more: all().any(|i| i.more) })
    }

    fn snapshot(&self, cx: &Cx) -> Result<Option<Dict>> {
        let mut all = vec![];
        for value in 0..self.per.axis.extent {
            let (shown, asked) = match (self.settled.get(&value), self.values.get(&value)) {
                (Some(answer), _) => (answer.clone(), true),
                (None, Some(i)) => (i.stage.snapshot(cx).at(|| self.per.place(value))?, true),
                (None, None) => (None, false),
            };
            if self.complete && asked && shown.is_none() {
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
        let state = save(self.values.iter().map(|(value, i)| Ok((*value, i.stage.save()?))), &self.seen)?;
        let settled = self.settled.iter().map(|(value, answer)| {
            (value.to_string().into(), answer.clone().map_or(Value::None, Value::Dict))
        });
        let state = state.with("settled", settled.collect::<Dict>()).with("cost", self.cost);
        Ok(self.tally.save(state))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        let (states, seen) = load(&state)?;
        (self.seen, self.tally) = (seen, Tally::load(&state)?);
        self.cost = state.need("cost")?.number().ok_or_else(damaged)?;
        let Value::Dict(settled) = state.need("settled")? else { return Err(damaged()) };
        for (key, answer) in settled.iter() {
            let answer = match answer {
                Value::Dict(answer) => Some(answer.clone()),
                Value::None => None,
                _ => return Err(damaged()),
            };
            self.settled.insert(key.as_str().parse().map_err(|_| damaged())?, answer);
        }
        for (value, state) in states {
            let full = self.tally.is_full(value);
            let instance = self.instance(value)?;
            instance.stage.load(state)?;
            // The final answer is one of the data alone: its refinement begins again.
            instance.data = if full { Data::Full } else { Data::Open };
        }
        Ok(())
    }
}
