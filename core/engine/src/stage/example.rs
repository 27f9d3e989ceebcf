//! Examples: real parameters and input of a stage, documented and run by the contract tests.

use crate::span::Span;
use crate::value::{Dict, Key, Value};

/// How far an output of a live fit may be from the one fitted at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    /// The output port.
    pub port: String,
    /// The largest difference allowed, in the port's unit.
    pub absolute: f64,
}

/// Real parameters and input of a stage.
#[derive(Clone, Debug, Default)]
pub struct Example {
    /// The parameters as TOML, as they stand under `set`.
    pub set: String,
    /// The input of consecutive frames; each value leads with the frame axis.
    pub frames: Dict,
    /// Values that are the same for the whole run.
    pub fixed: Dict,
    /// For a fit: what live and offline may differ by.
    pub tolerance: Vec<Tolerance>,
    /// Why there is nothing to run here, for a stage that needs a device or a big file.
    pub external: Option<&'static str>,
}

impl Example {
    /// An example with its parameters as TOML.
    pub fn new(set: impl Into<String>) -> Example {
        Example { set: set.into(), ..Example::default() }
    }

    /// Adds the input of consecutive frames.
    #[must_use]
    pub fn frames(mut self, port: &'static str, value: impl Into<Value>) -> Self {
        self.frames.set(Key::Static(port), value);
        self
    }

    /// Adds a value that is the same for the whole run.
    #[must_use]
    pub fn fixed(mut self, port: &'static str, value: impl Into<Value>) -> Self {
        self.fixed.set(Key::Static(port), value);
        self
    }

    /// States how far a live fit may be from the one fitted at once.
    #[must_use]
    pub fn tolerance(mut self, port: &str, absolute: f64) -> Self {
        self.tolerance.push(Tolerance { port: port.into(), absolute });
        self
    }

    /// The span of the frames.
    pub fn span(&self) -> Span {
        let rows = |value: &Value| match value {
            Value::Table(table) => table.records().last().map(|last| *last as usize + 1),
            _ => None,
        };
        let frames = self.frames.values().find_map(Value::records);
        let frames = frames.or_else(|| self.frames.values().filter_map(rows).max());
        Span::frames(0, frames.unwrap_or(0) as u64)
    }
}
