//! The erased form of stages: dictionaries in, dictionaries out, panics turned into errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::span::{Gap, Ranges, Span};
use crate::stage::adapt::Typed;
use crate::stage::{
    Cost, Cx, Emit, Fault, Fitness, Lag, Opened, Output, Position, Pull, Shapes, Slice, Slots, Stage,
};
use crate::value::Dict;

/// One block's part of a reduction.
pub type AnyPart = Box<dyn Any + Send>;

/// What every erased stage answers before it runs.
pub trait AnyStage: Send {
    /// Faults of its parameters.
    fn check(&self) -> Vec<Fault>;
    /// Shapes of its outputs.
    fn shapes(&self, input: &Shapes) -> Result<Shapes>;
    /// What it costs.
    fn cost(&self, input: &Shapes) -> Cost;
}

/// An erased [`Source`].
#[allow(missing_docs)]
pub trait AnySource: AnyStage {
    fn open(&mut self, cx: &Cx, input: Dict, from: Position) -> Result<Opened>;
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Dict>) -> Result<Pull>;
}

/// An erased [`Map`].
#[allow(missing_docs)]
pub trait AnyMap: AnyStage + Sync {
    fn apply(&self, cx: &Cx, span: &Span, input: Dict) -> Result<Dict>;
}

/// An erased [`Fold`].
#[allow(missing_docs)]
pub trait AnyFold: AnyStage {
    fn lag(&self) -> Lag;
    fn push(&mut self, cx: &Cx, span: &Span, input: Dict, emit: &mut Emit<Dict>) -> Result<()>;
    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<Dict>) -> Result<()>;
    fn finish(&mut self, cx: &Cx, emit: &mut Emit<Dict>) -> Result<()>;
    fn save(&self) -> Result<Dict>;
    fn load(&mut self, state: Dict) -> Result<()>;
}

/// An erased [`Reduce`].
#[allow(missing_docs)]
pub trait AnyReduce: AnyStage + Sync {
    fn part(&self, cx: &Cx) -> Result<AnyPart>;
    fn add(&self, cx: &Cx, part: &mut AnyPart, span: &Span, input: Dict) -> Result<()>;
    fn merge(&self, cx: &Cx, part: &mut AnyPart, later: AnyPart) -> Result<()>;
    fn peek(&self, cx: &Cx, part: &AnyPart) -> Result<Option<Dict>>;
    fn finish(&self, cx: &Cx, part: AnyPart) -> Result<Dict>;
    fn save(&self, part: &AnyPart) -> Result<Dict>;
    fn load(&self, cx: &Cx, state: Dict) -> Result<AnyPart>;
}

/// An erased [`Fit`].
#[allow(missing_docs)]
pub trait AnyFit: AnyStage {
    fn absorb(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()>;
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()>;
    fn complete(&mut self, cx: &Cx) -> Result<()>;
    /// Whether the data of a part of the answer are all in: refining can finish that part now.
    fn ripe(&self) -> bool {
        false
    }
    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness>;
    fn snapshot(&self, cx: &Cx) -> Result<Option<Dict>>;
    fn save(&self) -> Result<Dict>;
    fn load(&mut self, state: Dict) -> Result<()>;
}

/// An erased [`Writer`].
#[allow(missing_docs)]
pub trait AnyWriter: AnyStage {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()>;
    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()>;
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()>;
    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool>;
    fn commit(&mut self, cx: &Cx) -> Result<Dict>;
    fn settled(&mut self) -> Result<Option<(Dict, u64)>> {
        Ok(None)
    }
    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()>;
}

/// An erased [`Task`].
#[allow(missing_docs)]
pub trait AnyTask: AnyStage {
    fn run(&mut self, cx: &Cx, input: Dict) -> Result<Dict>;
}

/// A stage built from its parameters, ready to be checked and run.
#[allow(missing_docs)]
pub enum Built {
    Source(Box<dyn AnySource>),
    Map(Arc<dyn AnyMap>),
    Fold(Box<dyn AnyFold>),
    Reduce(Arc<dyn AnyReduce>),
    Fit(Box<dyn AnyFit>),
    Writer(Box<dyn AnyWriter>),
    Task(Box<dyn AnyTask>),
}

impl Built {
    /// The part that all roles share.
    pub fn stage(&self) -> &dyn AnyStage {
        match self {
            Built::Source(s) => &**s,
            Built::Map(s) => &**s,
            Built::Fold(s) => &**s,
            Built::Reduce(s) => &**s,
            Built::Fit(s) => &**s,
            Built::Writer(s) => &**s,
            Built::Task(s) => &**s,
        }
    }
}

/// Runs a stage's code; a panic becomes an error of the plugin, on the side that raised it.
pub fn guard<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Error::plugin(format!("the stage panicked in `{what}`: {}", text.unwrap_or("no message"))))
    })
}

/// Builders of erased stages from their parameters, named like the roles so that `declare!` can name them.
#[allow(non_snake_case)]
pub mod build {
    use super::*;
    use crate::stage::role;

    fn parameters<S: Stage>(set: serde_json::Value) -> Result<Typed<S>> {
        serde_json::from_value(set).map(Typed).map_err(|e| Error::recipe(format!("parameters: {e}")))
    }

    /// Builds a source.
    pub fn Source<S: role::Source>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Source(Box::new(parameters::<S>(set)?)))
    }
    /// Builds a map.
    pub fn Map<S: role::Map>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Map(Arc::new(parameters::<S>(set)?)))
    }
    /// Builds a fold.
    pub fn Fold<S: role::Fold>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Fold(Box::new(parameters::<S>(set)?)))
    }
    /// Builds a reduction.
    pub fn Reduce<S: role::Reduce>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Reduce(Arc::new(parameters::<S>(set)?)))
    }
    /// Builds a fitter.
    pub fn Fit<S: role::Fit>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Fit(Box::new(parameters::<S>(set)?)))
    }
    /// Builds a writer.
    pub fn Writer<S: role::Writer>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Writer(Box::new(parameters::<S>(set)?)))
    }
    /// Builds a task.
    pub fn Task<S: role::Task>(set: serde_json::Value) -> Result<Built> {
        Ok(Built::Task(Box::new(parameters::<S>(set)?)))
    }
}
