//! What a stage says before it runs: faults of its parameters, shapes of its outputs, cost.

use crate::value::{Dtype, Value};

/// One fault of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The parameter.
    pub parameter: String,
    /// What is wrong: found and wanted.
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

/// The faults a stage finds in its own parameters.
#[derive(Clone, Debug, Default)]
pub struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    /// Adds a fault of a parameter: what was found and what is wanted.
    pub fn add(&mut self, parameter: &str, message: impl Into<String>) {
        self.0.push(Fault { parameter: parameter.into(), message: message.into(), help: None });
    }

    /// Adds a fault together with what to try.
    pub fn add_with_help(&mut self, parameter: &str, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Fault { parameter: parameter.into(), message: message.into(), help: Some(help.into()) });
    }

    /// The faults so far.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }
}

/// Dtype and shape of one record of a port; none where it is not known before the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// The dtype.
    pub dtype: Option<Dtype>,
    /// The extents of one record.
    pub dims: Option<Vec<usize>>,
}

impl Shape {
    /// An array of a dtype and shape.
    pub fn array(dtype: Dtype, dims: &[usize]) -> Shape {
        Shape { dtype: Some(dtype), dims: Some(dims.to_vec()) }
    }

    /// The shape of a value outside a stream; that of a table is its number of rows.
    pub fn of(value: &Value) -> Shape {
        match value {
            Value::Array(a) => Shape::array(a.dtype(), a.shape()),
            Value::Table(t) => Shape { dtype: None, dims: Some(vec![t.rows()]) },
            _ => Shape::default(),
        }
    }

    /// Bytes of one record, when known.
    pub fn bytes(&self) -> Option<usize> {
        let elements = self.dims.as_ref()?.iter().product::<usize>();
        Some(elements * self.dtype?.size())
    }
}

/// The shapes of named ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shapes(Vec<(String, Shape)>, Option<u64>);

impl Shapes {
    /// Adds a port and gives the set back.
    #[must_use]
    pub fn with(mut self, port: &str, shape: Shape) -> Self {
        self.0.retain(|(p, _)| p != port);
        self.0.push((port.into(), shape));
        self
    }

    /// Says how many records the stream has.
    #[must_use]
    pub fn with_records(mut self, records: Option<u64>) -> Self {
        self.1 = records;
        self
    }

    /// How many records the stream has, when its source knows before it begins.
    pub fn records(&self) -> Option<u64> {
        self.1
    }

    /// The shape of a port; unknown when nobody said.
    pub fn get(&self, port: &str) -> Shape {
        self.0.iter().find(|(p, _)| p == port).map(|(_, s)| s.clone()).unwrap_or_default()
    }

    /// Whether a port is there: an optional input that is not wired is not.
    pub fn has(&self, port: &str) -> bool {
        self.0.iter().any(|(p, _)| p == port)
    }

    /// The ports with their shapes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.0.iter().map(|(p, s)| (p.as_str(), s))
    }

    /// Bytes of one record of all ports together, as far as known.
    pub fn bytes(&self) -> usize {
        self.0.iter().filter_map(|(_, s)| s.bytes()).sum()
    }
}

/// What a stage costs, as far as it can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes it keeps for as long as it runs.
    pub memory: u64,
    /// Bytes it writes for each record.
    pub disk_per_record: u64,
    /// Core-seconds for each record.
    pub seconds_per_record: f64,
    /// Core-seconds once.
    pub seconds: f64,
}
