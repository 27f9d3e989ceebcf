//! What a set has come to: its columns, its parts, its gaps; all that a commit keeps.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::{FRAME, SNAPSHOT};

use crate::output::set::item::{Item, Leaf};

/// A set so far.
#[derive(Default)]
pub(crate) struct State {
    /// The axis of its records.
    pub axis: Option<Key>,
    /// Its columns.
    pub leaves: Vec<Leaf>,
    /// For each part, how many elements of each class it holds.
    pub parts: Vec<Vec<u64>>,
    /// The texts of text columns, in the order of the columns.
    pub texts: Vec<Vec<Arc<str>>>,
    /// What is the same for the whole run.
    pub constants: Dict,
    /// Frames that did not come.
    pub missing: Vec<Missing>,
    /// Records that hold a damaged frame.
    pub corrupt: Vec<u64>,
    /// The only snapshot so far, with its number.
    pub single: Option<(u64, Dict)>,
}

/// Neighbouring frames that did not come for one reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Missing {
    pub first: u64,
    pub count: u64,
    pub reason: Arc<str>,
    pub why: Arc<str>,
}

impl State {
    /// Whether no record has gone into a part.
    pub fn is_new(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.leaves.iter().map(|l| l.class + 1).max().unwrap_or(1)
    }

    /// Elements of each class in all parts.
    pub fn totals(&self) -> Vec<u64> {
        let mut totals = vec![0; self.classes()];
        for part in &self.parts {
            totals.iter_mut().zip(part).for_each(|(t, n)| *t += n);
        }
        totals
    }

    /// Takes note of constants, which must stay what they are.
    pub fn constants(&mut self, fixed: &Dict) -> Result<()> {
        for (key, value) in fixed.iter() {
            match self.constants.get(key.as_str()) {
                // A latched value changes; the newest one stands.
                Some(old) if old == value => (),
                _ => self.constants.set(key.clone(), value.clone()),
            }
        }
        Ok(())
    }

    /// The columns of the first records are those of all.
    pub fn settle(&mut self, span: &Span, items: &[Item]) -> Result<()> {
        if self.leaves.is_empty() {
            for (i, item) in items.iter().enumerate() {
                if let Some(other) = items[..i].iter().find(|o| o.leaf.path == item.leaf.path) {
                    let (a, b) = (&other.leaf.name, &item.leaf.name);
                    return Err(Error::recipe(format!(
                        "`{a}` and `{b}` would both be `/entry/{}`",
                        item.leaf.path
                    ))
                    .help("wire one of them under another name"));
                }
            }
            self.leaves = items.iter().map(|i| i.leaf.clone()).collect();
            self.axis = Some(span.axis.clone());
            self.texts = vec![vec![]; self.leaves.iter().filter(|l| l.dtype.is_none()).count()];
            return Ok(());
        }
        if self.axis.as_ref() != Some(&span.axis) {
            let axis = self.axis.clone().unwrap_or(FRAME);
            return Err(Error::plugin(format!("{span} in a set of `{axis}` records")));
        }
        let mut pairs = self.leaves.iter().zip(items);
        if let Some((old, new)) = pairs.find(|(old, new)| **old != new.leaf) {
            return Err(Error::data(format!(
                "{span}: found {}, wanted {} as in the records before",
                words(&new.leaf),
                words(old)
            ))
            .help("records of different shapes belong in a ragged column of a table"));
        }
        if self.leaves.len() != items.len() {
            let (found, wanted) = (items.len(), self.leaves.len());
            return Err(Error::data(format!(
                "{span}: found {found} columns, wanted {wanted} as in the records before"
            )));
        }
        Ok(())
    }

    /// Takes note of frames that did not come.
    pub fn gap(&mut self, gap: &Gap) {
        let reason: Arc<str> = gap.reason.word().into();
        if let Some(last) = self.missing.last_mut()
            && last.first + last.count == gap.span.start
            && (&last.reason, &last.why) == (&reason, &gap.why)
        {
            last.count += gap.span.len;
            return;
        }
        let (first, count) = (gap.span.start, gap.span.len);
        self.missing.push(Missing { first, count, reason, why: gap.why.clone() });
    }

    /// Takes note of a part that is on disk.
    pub fn sealed(&mut self, counts: &[u64]) {
        self.parts.push(counts.to_vec());
    }

    /// The state as a commit keeps it.
    pub fn save(&self) -> Result<Dict> {
        let leaves = serde_json::to_string(&self.leaves).map_err(|e| Error::internal(e.to_string()))?;
        let flat: Vec<u64> = self.parts.iter().flatten().copied().collect();
        let texts = |t: &[Arc<str>]| Value::from(t.iter().cloned().map(Value::Text).collect::<Vec<_>>());
        let pick =
            |f: fn(&Missing) -> u64| Array::from_slice(&self.missing.iter().map(f).collect::<Vec<_>>());
        let words = |f: fn(&Missing) -> Value| Value::from(self.missing.iter().map(f).collect::<Vec<_>>());
        let mut dict = Dict::new()
            .with("leaves", leaves)
            .with("parts", Array::of(&[self.parts.len(), self.classes()], &flat)?)
            .with("texts", self.texts.iter().map(|t| texts(t)).collect::<Vec<_>>())
            .with("constants", self.constants.clone())
            .with("corrupt", Array::from_slice(&self.corrupt))
            .with("missing_first", pick(|m| m.first))
            .with("missing_count", pick(|m| m.count))
            .with("missing_reason", words(|m| Value::Text(m.reason.clone())))
            .with("missing_why", words(|m| Value::Text(m.why.clone())));
        if let Some(axis) = &self.axis {
            dict.set("axis", axis.to_string());
        }
        if let Some((number, single)) = &self.single {
            dict.set("number", *number as i64);
            dict.set("single", single.clone());
        }
        Ok(dict)
    }

    /// The state of a commit.
    pub fn load(dict: Dict) -> Result<State> {
        let leaves = dict.need("leaves")?.text().unwrap_or_default();
        let leaves =
            serde_json::from_str(leaves).map_err(|e| Error::data(format!("columns of a set: {e}")))?;
        let axis = dict.get("axis").and_then(Value::text).map(|a| match a {
            "frame" => FRAME,
            "snapshot" => SNAPSHOT,
            other => Key::from(other.to_owned()),
        });
        let numbers = |key: &str| match dict.need(key)? {
            Value::Array(a) => Ok(a.as_slice::<u64>()?.to_vec()),
            other => Err(strange(key, other)),
        };
        let mut state = State { axis, leaves, ..State::default() };
        state.parts = numbers("parts")?.chunks_exact(state.classes()).map(<[u64]>::to_vec).collect();
        state.texts = match dict.need("texts")? {
            Value::List(all) => all.iter().map(texts).collect::<Result<_>>()?,
            other => return Err(strange("texts", other)),
        };
        state.corrupt = numbers("corrupt")?;
        if let Value::Dict(constants) = dict.need("constants")? {
            state.constants = constants.clone();
        }
        let (reasons, whys) = (texts(dict.need("missing_reason")?)?, texts(dict.need("missing_why")?)?);
        let ranges = numbers("missing_first")?.into_iter().zip(numbers("missing_count")?);
        for ((first, count), (reason, why)) in ranges.zip(reasons.into_iter().zip(whys)) {
            state.missing.push(Missing { first, count, reason, why });
        }
        if let (Some(Value::Int(number)), Some(Value::Dict(single))) =
            (dict.get("number"), dict.get("single"))
        {
            state.single = Some((*number as u64, single.clone()));
        }
        Ok(state)
    }
}

fn texts(value: &Value) -> Result<Vec<Arc<str>>> {
    let Value::List(list) = value else { return Err(strange("texts", value)) };
    list.iter()
        .map(|v| match v {
            Value::Text(text) => Ok(text.clone()),
            other => Err(strange("texts", other)),
        })
        .collect()
}

fn strange(key: &str, value: &Value) -> Error {
    Error::data(format!("`{key}` of a kept set is {}", value.describe()))
}

fn words(leaf: &Leaf) -> String {
    let kind = leaf.dtype.as_deref().unwrap_or("text");
    format!("`{}` of {kind} {:?}", leaf.name, leaf.dims)
}
