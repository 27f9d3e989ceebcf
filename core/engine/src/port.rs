//! Ports: the typed, documented names of a stage's input and output dictionaries.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::value::{Array, Dict, Dtype, Key, Table, Value};

mod check;

pub use check::check_output;

/// A set of dtypes that a port takes or gives.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dtypes(u16);

impl Dtypes {
    /// Every dtype.
    pub const ANY: Dtypes = Dtypes(0x1ffe);

    const CLASSES: [(&'static str, u16); 6] = [
        ("any", 0x1ffe),
        ("number", 0x07fe),
        ("integer", 0x01fe),
        ("unsigned", 0x001e),
        ("float", 0x0600),
        ("complex", 0x1800),
    ];

    /// The set of a class (`number`) or of names joined by `|`.
    pub fn named(text: &str) -> Result<Dtypes> {
        let mut set = 0;
        for name in text.split('|').map(str::trim) {
            let class = Self::CLASSES.iter().find(|(n, _)| *n == name).map(|(_, bits)| *bits);
            let one = Dtype::named(name).map(|d| 1 << d as u8);
            set |= class
                .or(one)
                .ok_or_else(|| Error::plugin(format!("no dtype or class of dtypes `{name}`")))?;
        }
        Ok(Dtypes(set))
    }

    /// The set of one dtype.
    pub fn one(dtype: Dtype) -> Dtypes {
        Dtypes(1 << dtype as u8)
    }

    /// Whether a dtype is in the set.
    pub fn has(self, dtype: Dtype) -> bool {
        self.0 & (1 << dtype as u8) != 0
    }

    /// Whether the sets share a dtype.
    pub fn meets(self, other: Dtypes) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Dtypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::CLASSES.iter().find(|(_, bits)| *bits == self.0) {
            return f.write_str(name);
        }
        let names: Vec<&str> = Dtype::ALL.into_iter().filter(|d| self.has(*d)).map(Dtype::name).collect();
        f.write_str(&names.join("|"))
    }
}
impl fmt::Debug for Dtypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl TryFrom<String> for Dtypes {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Dtypes::named(&text)
    }
}
impl From<Dtypes> for String {
    fn from(set: Dtypes) -> String {
        set.to_string()
    }
}

/// One column that a table port promises or needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its dtypes; none for text.
    pub dtype: Option<Dtypes>,
    /// Its unit.
    pub unit: Option<String>,
}

/// What kind of value a port carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortKind {
    /// Any value.
    Any,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A real number.
    Float,
    /// Text.
    Text,
    /// A list.
    List,
    /// A dictionary.
    Dict,
    /// An array; `axes` names the axes of one record, slowest first, and none leaves them open.
    Array {
        /// The dtypes it may have.
        dtype: Dtypes,
        /// The axes of one record.
        axes: Option<Vec<String>>,
    },
    /// A table with at least these columns.
    Table {
        /// The columns.
        columns: Vec<ColumnSpec>,
    },
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortKind::Any => f.write_str("any value"),
            PortKind::Bool => f.write_str("bool"),
            PortKind::Int => f.write_str("integer"),
            PortKind::Float => f.write_str("float"),
            PortKind::Text => f.write_str("text"),
            PortKind::List => f.write_str("list"),
            PortKind::Dict => f.write_str("dict"),
            PortKind::Array { dtype, axes: None } => write!(f, "array of {dtype}"),
            PortKind::Array { dtype, axes: Some(axes) } => write!(f, "array of {dtype} [{}]", axes.join(" ")),
            PortKind::Table { columns } if columns.is_empty() => f.write_str("table"),
            PortKind::Table { columns } => {
                let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                write!(f, "table ({})", names.join(", "))
            }
        }
    }
}

/// A typed, documented name in a stage's input or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it is, from the author's doc comment.
    pub doc: Cow<'static, str>,
    /// What kind of value it carries.
    pub kind: PortKind,
    /// The unit of its numbers.
    pub unit: Option<Cow<'static, str>>,
    /// Whether it may be absent.
    #[serde(default)]
    pub optional: bool,
    /// Whether it is one value for the whole run, not one per record.
    #[serde(default)]
    pub fixed: bool,
    /// Whether it takes the keys nobody named.
    #[serde(default)]
    pub open: bool,
}

impl Port {
    /// The port of a Rust type.
    pub fn of<T: PortValue>(name: &'static str, doc: &'static str) -> Port {
        let fixed = matches!(T::kind(), PortKind::Bool | PortKind::Int | PortKind::Float | PortKind::Text);
        Port {
            name: name.into(),
            doc: doc.into(),
            kind: T::kind(),
            unit: None,
            optional: T::OPTIONAL,
            fixed,
            open: false,
        }
    }

    /// Says that it is one value for the whole run.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// Says that it takes the keys nobody named.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self.kind = PortKind::Any;
        self
    }

    /// States the dtypes of an array.
    #[must_use]
    pub fn dtype(mut self, text: &str) -> Self {
        if let PortKind::Array { dtype, .. } = &mut self.kind {
            *dtype = Dtypes::named(text).expect("the derive has checked the dtypes");
        }
        self
    }

    /// States the axes of one record, slowest first.
    #[must_use]
    pub fn axes(mut self, text: &str) -> Self {
        if let PortKind::Array { axes, .. } = &mut self.kind {
            *axes = Some(text.split_whitespace().map(str::to_owned).collect());
        }
        self
    }

    /// States the unit.
    #[must_use]
    pub fn unit(mut self, text: &'static str) -> Self {
        self.unit = Some(text.into());
        self
    }

    /// States the columns of a table: `row: f64 pixel, label: text`.
    #[must_use]
    pub fn columns(mut self, text: &str) -> Self {
        if let PortKind::Table { columns } = &mut self.kind {
            *columns = text.split(',').filter_map(column_spec).collect();
        }
        self
    }
}

fn column_spec(text: &str) -> Option<ColumnSpec> {
    let (name, rest) = text.split_once(':')?;
    let mut words = rest.split_whitespace();
    let dtype = words.next().and_then(|w| Dtypes::named(w).ok());
    let unit = words.collect::<Vec<_>>().join(" ");
    Some(ColumnSpec { name: name.trim().into(), dtype, unit: (!unit.is_empty()).then_some(unit) })
}

/// A struct whose fields are ports; derived with `#[derive(Ports)]`.
pub trait Ports: Sized + Send {
    /// The ports in the order of the fields.
    fn ports() -> Vec<Port>;
    /// Takes the fields out of a dictionary.
    fn from_dict(dict: &mut Dict) -> Result<Self>;
    /// Puts the fields into a new dictionary.
    fn into_dict(self) -> Dict;
}

/// No ports at all: a source without input, a writer without output.
impl Ports for () {
    fn ports() -> Vec<Port> {
        vec![]
    }
    fn from_dict(_: &mut Dict) -> Result<Self> {
        Ok(())
    }
    fn into_dict(self) -> Dict {
        Dict::new()
    }
}

/// A dictionary as it is: one open port.
impl Ports for Dict {
    fn ports() -> Vec<Port> {
        vec![Port::of::<Dict>("any", "Every key that is wired to the stage.").open()]
    }
    fn from_dict(dict: &mut Dict) -> Result<Self> {
        Ok(std::mem::take(dict))
    }
    fn into_dict(self) -> Dict {
        self
    }
}

/// A Rust type that a port can carry.
pub trait PortValue: Sized {
    /// Whether the port may be absent.
    const OPTIONAL: bool = false;
    /// What kind of value it is.
    fn kind() -> PortKind;
    /// Takes it out of a value.
    fn from_value(value: Value) -> Result<Self>;
    /// Puts it into a value.
    fn into_value(self) -> Value;
}

macro_rules! port_values {
    ($($rust:ty, $kind:expr, $pattern:pat => $take:expr, $x:ident => $give:expr;)*) => {$(
        impl PortValue for $rust {
            fn kind() -> PortKind { $kind }
            #[inline]
            fn from_value(value: Value) -> Result<Self> {
                match value {
                    $pattern => Ok($take),
                    other => Err(Error::data(format!("found {}, wanted {}", other.describe(), <Self as PortValue>::kind()))),
                }
            }
            fn into_value(self) -> Value { let $x = self; $give }
        }
    )*};
}
port_values! {
    bool, PortKind::Bool, Value::Bool(b) => b, x => Value::Bool(x);
    i64, PortKind::Int, Value::Int(i) => i, x => Value::Int(x);
    String, PortKind::Text, Value::Text(t) => t.to_string(), x => Value::from(x);
    Array, PortKind::Array { dtype: Dtypes::ANY, axes: None }, Value::Array(a) => a, x => Value::Array(x);
    Table, PortKind::Table { columns: vec![] }, Value::Table(t) => t, x => Value::Table(x);
    Dict, PortKind::Dict, Value::Dict(d) => d, x => Value::Dict(x);
}

impl PortValue for Value {
    fn kind() -> PortKind {
        PortKind::Any
    }
    fn from_value(value: Value) -> Result<Self> {
        Ok(value)
    }
    fn into_value(self) -> Value {
        self
    }
}

impl PortValue for f64 {
    fn kind() -> PortKind {
        PortKind::Float
    }
    fn from_value(value: Value) -> Result<Self> {
        value.number().ok_or_else(|| Error::data(format!("found {}, wanted float", value.describe())))
    }
    fn into_value(self) -> Value {
        Value::Float(self)
    }
}

impl<T: PortValue> PortValue for Option<T> {
    const OPTIONAL: bool = true;
    fn kind() -> PortKind {
        T::kind()
    }
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::None => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
    fn into_value(self) -> Value {
        self.map_or(Value::None, T::into_value)
    }
}

/// Takes a field out of an input dictionary; used by the derive.
pub fn take<T: PortValue>(dict: &mut Dict, name: &str) -> Result<T> {
    match dict.take_value(name) {
        Some(value) => T::from_value(value).map_err(|e| e.at(format!("port `{name}`"))),
        None if T::OPTIONAL => T::from_value(Value::None),
        None => dict.need(name).and_then(|v| T::from_value(v.clone())),
    }
}

/// Takes every entry that no named port took; used by the derive.
pub fn take_rest(dict: &mut Dict, named: &[&str]) -> Dict {
    let mut rest = std::mem::take(dict);
    rest.retain(|key| !named.contains(&key));
    rest
}

/// Puts a field into an output dictionary; used by the derive. An absent optional value adds no entry.
pub fn give<T: PortValue>(dict: &mut Dict, name: &'static str, field: T) {
    match field.into_value() {
        Value::None => (),
        value => dict.push(Key::Static(name), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtype_classes_read_and_print() {
        for text in ["any", "number", "integer", "unsigned", "float", "complex", "u16|f32"] {
            assert_eq!(Dtypes::named(text).unwrap().to_string(), text);
        }
        assert!(Dtypes::named("number").unwrap().has(Dtype::F64));
        assert!(!Dtypes::named("number").unwrap().has(Dtype::C32));
        assert!(Dtypes::named("real").is_err());
    }

    #[test]
    fn columns_read() {
        let port = Port::of::<Table>("peaks", "Peaks.").columns("row: f64 pixel, label: text");
        let PortKind::Table { columns } = port.kind else { panic!("a table port") };
        assert_eq!(columns[0].unit.as_deref(), Some("pixel"));
        assert_eq!(columns[1].dtype, None);
    }
}
