//! Reductions per value: a part for each value that has come, merged value by value.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::run::per::{Per, load, save, stands_for_all};
use crate::span::Span;
use crate::stage::{AnyPart, AnyReduce, Cx};
use crate::value::Dict;

/// A reduction for each value; as all its state is in parts, one instance serves them all.
pub struct PerReduce {
    per: Per,
    one: Arc<dyn AnyReduce>,
}

/// The parts of the values that have come.
type Parts = BTreeMap<u64, AnyPart>;

stands_for_all!(PerReduce);

impl PerReduce {
    pub fn new(per: Per, one: Arc<dyn AnyReduce>) -> PerReduce {
        PerReduce { per, one }
    }
}

fn parts(part: &AnyPart) -> Result<&Parts> {
    part.downcast_ref().ok_or_else(|| Error::internal("a part of another stage"))
}

fn parts_mut(part: &mut AnyPart) -> Result<&mut Parts> {
    part.downcast_mut().ok_or_else(|| Error::internal("a part of another stage"))
}

fn owned(part: AnyPart) -> Result<Parts> {
    part.downcast().map(|parts| *parts).map_err(|_| Error::internal("a part of another stage"))
}

impl AnyReduce for PerReduce {
    fn part(&self, _: &Cx) -> Result<AnyPart> {
        Ok(Box::new(Parts::new()))
    }

    fn add(&self, cx: &Cx, part: &mut AnyPart, span: &Span, input: Dict) -> Result<()> {
        let parts = parts_mut(part)?;
        for (value, piece) in self.per.axis.pieces(span) {
            let input = self.per.cut(&input, span, &piece)?;
            let own = match parts.entry(value) {
                Entry::Vacant(entry) => entry.insert(self.one.part(cx)?),
                Entry::Occupied(entry) => entry.into_mut(),
            };
            self.one.add(cx, own, &piece, input)?;
        }
        Ok(())
    }

    fn merge(&self, cx: &Cx, part: &mut AnyPart, later: AnyPart) -> Result<()> {
        let parts = parts_mut(part)?;
        for (value, later) in owned(later)? {
            match parts.entry(value) {
                Entry::Vacant(entry) => drop(entry.insert(later)),
                Entry::Occupied(mut entry) => self.one.merge(cx, entry.get_mut(), later)?,
            }
        }
        Ok(())
    }

    fn peek(&self, cx: &Cx, part: &AnyPart) -> Result<Option<Dict>> {
        let parts = parts(part)?;
        let all = (0..self.per.axis.extent).map(|value| match parts.get(&value) {
            Some(part) => self.one.peek(cx, part).at(|| self.per.place(value)),
            None => Ok(None),
        });
        let all: Vec<Option<Dict>> = all.collect::<Result<_>>()?;
        match all.iter().any(Option::is_some) {
            true => self.per.stack(all, cx.pool()).map(Some),
            false => Ok(None),
        }
    }

    fn finish(&self, cx: &Cx, part: AnyPart) -> Result<Dict> {
        let mut parts = owned(part)?;
        self.per.tell_empty(&parts.keys().copied().collect(), EMPTY);
        let none = parts.is_empty();
        let all = (0..self.per.axis.extent).map(|value| match parts.remove(&value) {
            Some(part) => self.one.finish(cx, part).map(Some).at(|| self.per.place(value)),
            // Without any frame there is nothing to take dtypes and shapes from.
            None if none => self.one.finish(cx, self.one.part(cx)?).map(Some),
            None => Ok(None),
        });
        let all = all.collect::<Result<_>>()?;
        self.per.stack(all, cx.pool())
    }

    fn save(&self, part: &AnyPart) -> Result<Dict> {
        let parts = parts(part)?;
        save(parts.iter().map(|(value, part)| Ok((*value, self.one.save(part)?))), parts.keys())
    }

    fn load(&self, cx: &Cx, state: Dict) -> Result<AnyPart> {
        let (states, _) = load(&state)?;
        let mut parts = Parts::new();
        for (value, state) in states {
            parts.insert(value, self.one.load(cx, state)?);
        }
        Ok(Box::new(parts))
    }
}

/// What stands for values without frames in stacked results.
pub const EMPTY: &str = "real numbers are filled with NaN, whole ones with 0, tables have no rows for them";
