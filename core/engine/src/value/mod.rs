//! Dynamic values: what recipes, jobs, checkpoints and plugins exchange.

mod array;
mod codec;
mod dict;
mod dtype;
mod json;
mod map;
mod pages;
mod pool;
pub(crate) mod share;
mod table;

use std::sync::Arc;

pub(crate) use array::Lender;
pub use array::{Array, ArrayMut, Dims};
pub(crate) use codec::{FarArray, decode_far, encode_far, encode_to};
pub use codec::{decode, encode};
pub use dict::{Dict, Key};
pub use dtype::{Dtype, Element};
pub use map::map_file;
pub(crate) use map::map_shared;
pub use pages::LargePages;
pub use pool::Pool;
pub use table::{Column, Table};

use crate::error::{Error, Result};

/// One dynamic value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing: an optional value that is not there.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// Values in order.
    List(Arc<[Value]>),
    /// A dense n-dimensional array.
    Array(Array),
    /// Named columns of equal length.
    Table(Table),
    /// Named values in order.
    Dict(Dict),
}

impl Value {
    /// The word for the kind of value, as messages use it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "none",
            Value::Bool(_) => "bool",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::List(_) => "list",
            Value::Array(_) => "array",
            Value::Table(_) => "table",
            Value::Dict(_) => "dict",
        }
    }

    /// What it is in a few words: `array of u16 [16, 512, 512]`.
    pub fn describe(&self) -> String {
        match self {
            Value::Array(a) => format!("array of {} {:?}", a.dtype(), a.shape()),
            Value::Table(t) => {
                format!("table of {} rows ({})", t.rows(), t.names().collect::<Vec<_>>().join(", "))
            }
            Value::List(l) => format!("list of {}", l.len()),
            Value::Dict(d) => format!("dict ({})", d.keys().map(Key::as_str).collect::<Vec<_>>().join(", ")),
            Value::Text(t) => format!("text `{t}`"),
            Value::Bool(b) => format!("bool {b}"),
            Value::Int(i) => format!("integer {i}"),
            Value::Float(x) => format!("float {x}"),
            Value::None => "none".into(),
        }
    }

    /// Bytes it keeps in memory, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Text(t) => t.len(),
            Value::List(l) => l.iter().map(Value::bytes).sum(),
            Value::Array(a) => a.bytes().len(),
            Value::Table(t) => t.bytes(),
            Value::Dict(d) => d.values().map(Value::bytes).sum(),
            _ => 8,
        }
    }

    /// How many records it leads with; none for what has no leading axis.
    pub fn records(&self) -> Option<usize> {
        match self {
            Value::Array(a) => a.shape().first().copied(),
            Value::List(l) => Some(l.len()),
            _ => None,
        }
    }

    /// Cuts records `from..to` out of a value of a chunk that begins at `start`.
    pub fn cut(&self, start: u64, from: u64, to: u64) -> Result<Value> {
        let (a, b) = ((from - start) as usize, (to - start) as usize);
        match self {
            Value::Array(array) => Ok(Value::Array(array.records(a..b)?)),
            Value::List(list) if b <= list.len() => Ok(Value::List(list[a..b].into())),
            Value::Table(table) => Ok(Value::Table(table.between(from, to)?)),
            other => Err(Error::internal(format!("cannot cut records {a}..{b} out of {}", other.describe()))),
        }
    }

    /// Joins the values of neighbouring chunks along the leading axis.
    pub fn concat(parts: &[Value], pool: &Pool) -> Result<Value> {
        match parts {
            [] => Ok(Value::None),
            [one] => Ok(one.clone()),
            [Value::Array(_), ..] => {
                let arrays: Option<Vec<&Array>> =
                    parts.iter().map(|v| if let Value::Array(a) = v { Some(a) } else { None }).collect();
                let arrays = arrays.ok_or_else(|| mixed(parts))?;
                Ok(Value::Array(Array::concat(&arrays, pool)?))
            }
            [Value::Table(_), ..] => {
                let tables: Option<Vec<&Table>> =
                    parts.iter().map(|v| if let Value::Table(t) = v { Some(t) } else { None }).collect();
                Ok(Value::Table(Table::concat(&tables.ok_or_else(|| mixed(parts))?, pool)?))
            }
            [Value::List(_), ..] => {
                let mut all = vec![];
                for part in parts {
                    let Value::List(list) = part else { return Err(mixed(parts)) };
                    all.extend(list.iter().cloned());
                }
                Ok(Value::List(all.into()))
            }
            _ => Err(mixed(parts)),
        }
    }

    /// Turns the value of one record into a one-record value with a leading axis.
    pub fn lead(self, record: u64) -> Value {
        match self {
            Value::Array(a) => Value::Array(a.lead()),
            Value::Table(t) => Value::Table(t.with_record(record)),
            Value::Float(x) => Value::Array(Array::of(&[1], &[x]).expect("one element fits shape [1]")),
            Value::Int(x) => Value::Array(Array::of(&[1], &[x]).expect("one element fits shape [1]")),
            Value::Bool(x) => {
                Value::Array(Array::of(&[1], &[u8::from(x)]).expect("one element fits shape [1]"))
            }
            other => Value::List([other].into()),
        }
    }

    /// The value of the record at `index` of a value with a leading axis.
    ///
    /// A column of plain numbers gives a number, so that a snapshot's scalars come back as scalars.
    pub fn unlead(&self, index: usize) -> Result<Value> {
        match self {
            Value::Array(a) if a.shape().len() == 1 => a.scalar(index),
            Value::Array(a) => Ok(Value::Array(a.record(index)?)),
            Value::List(l) => {
                l.get(index).cloned().ok_or_else(|| Error::internal("a record past the end of a list"))
            }
            other => Ok(other.clone()),
        }
    }

    /// The number it holds; integers count as real numbers.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Float(x) => Some(*x),
            Value::Array(a) if a.len() == 1 && a.shape().len() <= 1 => a.scalar(0).ok()?.number(),
            _ => None,
        }
    }

    /// The text it holds.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(t) = self { Some(t) } else { None }
    }
}

fn mixed(parts: &[Value]) -> Error {
    let kinds: Vec<String> = parts.iter().map(Value::describe).collect();
    Error::data(format!("cannot join values of different kinds: {}", kinds.join("; ")))
}

impl From<bool> for Value {
    fn from(x: bool) -> Self {
        Value::Bool(x)
    }
}
impl From<i64> for Value {
    fn from(x: i64) -> Self {
        Value::Int(x)
    }
}
impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Value::Float(x)
    }
}
impl From<&str> for Value {
    fn from(x: &str) -> Self {
        Value::Text(x.into())
    }
}
impl From<String> for Value {
    fn from(x: String) -> Self {
        Value::Text(x.into())
    }
}
impl From<Array> for Value {
    fn from(x: Array) -> Self {
        Value::Array(x)
    }
}
impl From<Table> for Value {
    fn from(x: Table) -> Self {
        Value::Table(x)
    }
}
impl From<Dict> for Value {
    fn from(x: Dict) -> Self {
        Value::Dict(x)
    }
}
impl From<Vec<Value>> for Value {
    fn from(x: Vec<Value>) -> Self {
        Value::List(x.into())
    }
}
