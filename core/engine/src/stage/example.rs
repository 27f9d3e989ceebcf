//! Examples: real parameters and input of a stage, documented and run by the contract tests.

use std::path::PathBuf;

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
    /// Where the files of examples of this process lie.
    pub fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("isard-examples-{}", std::process::id()))
    }

    /// Writes a small file for an example, under a name in [`Example::folder`]; gives its path.
    pub fn file(name: &str, bytes: &[u8]) -> String {
        let path = Example::folder().join(name);
        // Examples are made by several tests at once: each writes beside and renames.
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{:?}", std::thread::current().id()));
        let above = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = above
            .and_then(|()| std::fs::write(&beside, bytes))
            .and_then(|()| std::fs::rename(&beside, &path));
        // After an error the example names a file that is not there, and running it says so.
        let _ = written;
        path.display().to_string()
    }

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
