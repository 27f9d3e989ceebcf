//! `run.per`: one instance of a stage for each value of a scan axis, behind the face of a single one.

mod fit;
mod fold;
mod order;
mod reduce;
mod stack;
mod tally;
mod writer;

use std::collections::BTreeSet;

use crate::error::{Context, Error, Result, nearest};
use crate::plan::{Feed, Node};
use crate::port::Port;
use crate::registry::Declaration;
use crate::span::Span;
use crate::stage::Built;
use crate::value::{Array, Dict, Key, Value};

/// The axes of a scan with their extents, slowest first.
pub type Axes = Vec<(String, u64)>;

/// Where the scan axes of a source are kept for later passes.
pub const SCAN: &str = "scan.axes";

/// Axes as a value, to be kept.
pub fn keep_axes(scan: &Axes) -> Value {
    let axis = |(name, n): &(String, u64)| Value::from(vec![name.as_str().into(), Value::Int(*n as i64)]);
    scan.iter().map(axis).collect::<Vec<Value>>().into()
}

/// The axes that an earlier pass kept.
pub fn kept_axes(value: Option<Value>) -> Axes {
    let Some(Value::List(axes)) = value else { return vec![] };
    let axis = |axis: &Value| match axis {
        Value::List(pair) => match &**pair {
            [Value::Text(name), Value::Int(n)] => Some((name.to_string(), *n as u64)),
            _ => None,
        },
        _ => None,
    };
    axes.iter().filter_map(axis).collect()
}

/// Where the values of one axis stand among frame numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct PerAxis {
    /// The axis.
    pub name: String,
    /// Neighbouring frames of one value.
    step: u64,
    /// How many values there are.
    extent: u64,
    /// How often all values come round.
    rounds: u64,
    /// How many frames there are.
    frames: u64,
}

impl PerAxis {
    /// An axis of a scan whose axes stand slowest first; `frames` is what the source has, when it knows.
    pub fn of(scan: &[(String, u64)], name: &str, frames: Option<u64>) -> Result<PerAxis> {
        let names = || scan.iter().map(|(axis, _)| axis.as_str());
        let Some(at) = names().position(|axis| axis == name) else {
            let all = names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let found = if all.is_empty() { "no axes".to_owned() } else { all };
            let error = Error::recipe(format!("`run.per`: the scan has no axis `{name}`, found {found}"));
            return Err(match nearest(name, names()) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("name the axes by `[scan]`"),
            });
        };
        let step = scan[at + 1..].iter().map(|(_, n)| (*n).max(1)).product::<u64>();
        let extent = scan[at].1.max(1);
        let all = scan.iter().map(|(_, n)| (*n).max(1)).product::<u64>();
        let rounds = all.max(frames.unwrap_or(0)).div_ceil(step * extent);
        Ok(PerAxis { name: name.to_owned(), step, extent, rounds, frames: frames.unwrap_or(all) })
    }

    /// The value of a frame.
    fn value(&self, frame: u64) -> u64 {
        frame / self.step % self.extent
    }

    /// How many frames a value has.
    fn expected(&self, value: u64) -> u64 {
        let round = self.step * self.extent;
        let rest = (self.frames % round).saturating_sub(value * self.step).min(self.step);
        self.frames / round * self.step + rest
    }

    /// Cuts a span where the value changes.
    fn pieces(&self, span: &Span) -> impl Iterator<Item = (u64, Span)> + use<> {
        let (axis, whole, mut at) = (self.clone(), span.clone(), span.start);
        std::iter::from_fn(move || {
            if at >= whole.end() {
                return None;
            }
            let to = if axis.extent == 1 { whole.end() } else { (at / axis.step + 1) * axis.step };
            let piece = whole.part(at, to.min(whole.end()));
            at = piece.end();
            Some((axis.value(piece.start), piece))
        })
    }

    /// What stands for `{per}`: the number of the value, as wide as the widest.
    fn label(&self, value: u64) -> String {
        let width = (self.extent - 1).to_string().len();
        format!("{value:0width$}")
    }
}

/// Builds the instance of a value from the text that stands for `{per}`.
pub type Build = dyn Fn(&str) -> Result<Built> + Send + Sync;

/// What the instances of a stage have in common.
pub struct Per {
    /// The axis.
    pub axis: PerAxis,
    /// The name of the stage.
    pub stage: String,
    /// Builds an instance.
    pub build: Box<Build>,
    /// Input ports whose value is the same for all records.
    pub fixed: Vec<Key>,
    /// The output ports, the axis in front.
    pub outputs: Vec<Port>,
}

impl Per {
    /// What the instances of a stage have in common: its parameters `set`, over the axes of a scan of so many frames.
    pub fn of(
        node: &Node,
        axis: &str,
        declaration: &Declaration,
        set: serde_json::Value,
        (scan, frames): &(Axes, Option<u64>),
    ) -> Result<Per> {
        let fixed = node.inputs.iter().filter(|(_, feed)| !matches!(feed, Feed::Stream(_)));
        let build = declaration.build.clone();
        Ok(Per {
            axis: PerAxis::of(scan, axis, *frames)?,
            stage: node.name.clone(),
            build: Box::new(move |label| {
                let mut set = set.clone();
                fill(&mut set, label);
                build(set)
            }),
            fixed: fixed.map(|(port, _)| port.clone()).collect(),
            outputs: declaration.outputs.clone(),
        })
    }

    /// Puts a stage's instances behind the face of a single one; roles without instances stay as they are.
    pub fn wrap(self, stage: Built) -> Built {
        match stage {
            Built::Fold(stage) => Built::Fold(Box::new(fold::PerFold::new(self, stage))),
            Built::Reduce(stage) => Built::Reduce(std::sync::Arc::new(reduce::PerReduce::new(self, stage))),
            Built::Fit(stage) => Built::Fit(Box::new(fit::PerFit::new(self, stage))),
            Built::Writer(stage) => Built::Writer(Box::new(writer::PerWriter::new(self, stage))),
            other => other,
        }
    }

    fn built(&self, value: u64) -> Result<Built> {
        (self.build)(&self.axis.label(value)).at(|| self.place(value))
    }

    /// `distance 1`, for messages.
    fn place(&self, value: u64) -> String {
        format!("{} {value}", self.axis.name)
    }

    /// The input of a piece of a span.
    fn cut(&self, input: &Dict, span: &Span, piece: &Span) -> Result<Dict> {
        if span == piece {
            return Ok(input.clone());
        }
        let mut out = Dict::with_capacity(input.len());
        for (key, value) in input.iter() {
            let value = match self.fixed.contains(key) {
                true => value.clone(),
                false => value.cut(span.start, piece.start, piece.end()).at(|| format!("input `{key}`"))?,
            };
            out.push(key.clone(), value);
        }
        Ok(out)
    }

    /// Says which values had no frames, and what comes of it.
    fn tell_empty(&self, seen: &BTreeSet<u64>, what: &str) {
        let empty: Vec<u64> = (0..self.axis.extent).filter(|v| !seen.contains(v)).collect();
        if empty.is_empty() {
            return;
        }
        let mut list: Vec<String> = empty.iter().take(10).map(u64::to_string).collect();
        if empty.len() > 10 {
            list.push("..".into());
        }
        tracing::warn!(
            stage = %self.stage, axis = %self.axis.name, values = %list.join(", "), count = empty.len(),
            "No frames came for some values of the axis: {what}"
        );
    }
}

/// Puts the text of a value into the placeholders of parameters.
fn fill(set: &mut serde_json::Value, label: &str) {
    match set {
        serde_json::Value::String(text) if text.contains("{per}") => *text = text.replace("{per}", label),
        serde_json::Value::Array(list) => list.iter_mut().for_each(|v| fill(v, label)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|v| fill(v, label)),
        _ => (),
    }
}

/// States by value, and the values that have had frames.
fn save<'a>(
    states: impl Iterator<Item = Result<(u64, Dict)>>,
    seen: impl IntoIterator<Item = &'a u64>,
) -> Result<Dict> {
    let mut values = Dict::new();
    for entry in states {
        let (value, state) = entry?;
        values.set(value.to_string(), state);
    }
    let seen: Vec<u64> = seen.into_iter().copied().collect();
    Ok(Dict::new().with("values", values).with("seen", Array::from_slice(&seen)))
}

/// States by value.
type States = Vec<(u64, Dict)>;

/// What `save` gave.
fn load(state: &Dict) -> Result<(States, BTreeSet<u64>)> {
    let (Value::Dict(values), Value::Array(seen)) = (state.need("values")?, state.need("seen")?) else {
        return Err(damaged());
    };
    let mut states = vec![];
    for (key, state) in values.iter() {
        let (Ok(value), Value::Dict(state)) = (key.as_str().parse(), state) else { return Err(damaged()) };
        states.push((value, state.clone()));
    }
    Ok((states, seen.as_slice::<u64>()?.iter().copied().collect()))
}

fn damaged() -> Error {
    Error::data("a damaged saved state of a stage with `run.per`")
}

/// What every stage answers before it runs, answered by one that stands for all.
macro_rules! stands_for_all {
    ($wrapper:ty) => {
        impl crate::stage::AnyStage for $wrapper {
            fn check(&self) -> Vec<crate::stage::Fault> {
                self.one.check()
            }
            fn shapes(&self, input: &crate::stage::Shapes) -> crate::error::Result<crate::stage::Shapes> {
                self.one.shapes(input)
            }
            fn cost(&self, input: &crate::stage::Shapes) -> crate::stage::Cost {
                self.one.cost(input)
            }
        }
    };
}
use stands_for_all;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> Vec<(String, u64)> {
        vec![("distance".into(), 2), ("layer".into(), 3), ("omega".into(), 4)]
    }

    #[test]
    fn frames_are_cut_where_the_value_changes() {
        let layer = PerAxis::of(&scan(), "layer", None).unwrap();
        let pieces: Vec<(u64, u64, u64)> =
            layer.pieces(&Span::frames(6, 10)).map(|(v, s)| (v, s.start, s.end())).collect();
        assert_eq!(pieces, [(1, 6, 8), (2, 8, 12), (0, 12, 16)]);
        assert_eq!([0, 1, 2].map(|v| layer.expected(v)), [8; 3]);
        let distance = PerAxis::of(&scan(), "distance", Some(24)).unwrap();
        assert_eq!([0, 1].map(|v| distance.expected(v)), [12; 2]);
        let omega = PerAxis::of(&scan(), "omega", None).unwrap();
        assert_eq!(omega.pieces(&Span::frames(3, 2)).map(|(v, _)| v).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(omega.expected(0), 6);
    }

    #[test]
    fn labels_are_as_wide_as_the_widest() {
        let axis = PerAxis::of(&[("y".into(), 101)], "y", None).unwrap();
        assert_eq!(axis.label(7), "007");
        let mut set = serde_json::json!({ "path": "a_{per}.h5", "list": ["{per}"], "n": 3 });
        fill(&mut set, "007");
        assert_eq!(set, serde_json::json!({ "path": "a_007.h5", "list": ["007"], "n": 3 }));
    }

    #[test]
    fn an_axis_that_is_not_there_is_named_with_those_that_are() {
        let error = PerAxis::of(&scan(), "omga", None).unwrap_err().to_string();
        assert_eq!(
            error,
            "`run.per`: the scan has no axis `omga`, found `distance`, `layer`, `omega` (help: did you mean `omega`?)"
        );
    }
}
