//! Stages: what a plugin author implements, and the erased form that the engine runs.

mod adapt;
mod call;
mod erased;
mod example;
mod role;
mod shape;
mod slots;

pub(crate) use call::{Beat, Far, Turns};
pub use call::{Cx, Prepared, Reader, RunCx};
pub use erased::{
    AnyFit, AnyFold, AnyMap, AnyPart, AnyReduce, AnySource, AnyStage, AnyTask, AnyWriter, Built, build, guard,
};
pub use example::{Example, Tolerance};
pub use role::{
    Emit, Fit, Fitness, Fold, Lag, Map, Opened, Output, Position, Pull, Reduce, Slice, Source, Stage, Task,
    Writer,
};
pub use shape::{Cost, Fault, Faults, Shape, Shapes};
pub use slots::{Arrival, Slots};

pub use crate::span::{Gap, Reason};
