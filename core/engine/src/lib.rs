//! The isard engine: values, roles, recipes, runs and their account of every frame.
//!
//! A plugin author needs [`prelude`], one role trait and [`declare!`]; ARCHITECTURE.md has the map.

pub mod error;
pub mod value;

pub mod port;
pub mod span;
pub mod stage;

pub mod registry;

pub mod load;
#[doc(hidden)]
pub mod moment;
pub mod template;

pub mod contract;
pub mod diagnostic;
pub mod plan;
pub mod recipe;
pub mod run;

pub mod store;

pub use error::{Blame, Error, Result};
pub use value::{Array, ArrayMut, Dict, Dtype, Element, Key, Pool, Table, Value};

pub use port::{Port, Ports};
pub use span::{Chunk, Span};

/// What a plugin author imports.
pub mod prelude {
    pub use isard_derive::Ports;
    pub use schemars::JsonSchema;
    pub use serde::Deserialize;

    pub use crate::declare;
    pub use crate::error::{Blame, Error, Result};
    pub use crate::export_plugin;
    pub use crate::port::{Port, Ports};
    pub use crate::registry::Kind;
    pub use crate::span::Span;
    pub use crate::stage::{
        Cost, Cx, Emit, Example, Faults, Fit, Fitness, Fold, Gap, Lag, Map, Opened, Output, Position, Pull,
        Reason, Reduce, Shape, Shapes, Slice, Slots, Source, Stage, Task, Writer,
    };
    pub use crate::value::{Array, ArrayMut, Column, Dict, Dtype, Element, Key, Table, Value};
}
#[doc(hidden)]
pub use inventory;
#[doc(hidden)]
pub use schemars;
#[doc(hidden)]
pub use serde;
