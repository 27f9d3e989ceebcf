//! JSON and TOML forms of values, for parameters and records.

use serde_json::{Map, Number};

use crate::error::{Error, Result};
use crate::value::{Dict, Key, Table, Value};

impl Value {
    /// The JSON form; arrays become nested lists, so this is for small values.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::None => Json::Null,
            Value::Bool(x) => Json::Bool(*x),
            Value::Int(x) => Json::from(*x),
            // JSON has no NaN and no infinity: they are written as text.
            Value::Float(x) => Number::from_f64(*x).map_or_else(|| Json::from(x.to_string()), Json::Number),
            Value::Text(x) => Json::from(&**x),
            Value::List(l) => l.iter().map(Value::to_json).collect(),
            Value::Array(a) if a.shape().len() <= 1 => {
                (0..a.len()).map(|i| a.scalar(i).map_or(Json::Null, |v| v.to_json())).collect()
            }
            Value::Array(a) => {
                let records = a.shape()[0];
                (0..records).map(|i| a.record(i).map_or(Json::Null, |r| Value::Array(r).to_json())).collect()
            }
            Value::Table(t) => table(t),
            Value::Dict(d) => Json::Object(d.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect()),
        }
    }

    /// The value of a JSON form; whole numbers outside 64 bits are refused.
    pub fn from_json(json: &serde_json::Value) -> Result<Value> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(x) => Value::Bool(*x),
            Json::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(i), _) => Value::Int(i),
                (None, Some(x)) if !n.is_u64() => Value::Float(x),
                _ => return Err(Error::data(format!("{n} does not fit in a signed 64-bit integer"))),
            },
            Json::String(s) => Value::from(s.as_str()),
            Json::Array(list) => Value::from(list.iter().map(Value::from_json).collect::<Result<Vec<_>>>()?),
            Json::Object(map) => {
                let entries = map.iter().map(|(k, v)| Ok((Key::from(k.clone()), Value::from_json(v)?)));
                Value::Dict(entries.collect::<Result<Dict>>()?)
            }
        })
    }
}

fn table(t: &Table) -> serde_json::Value {
    use crate::value::Column;
    let mut map = Map::new();
    if !t.records().is_empty() {
        map.insert("record".into(), t.records().iter().copied().collect());
    }
    for (key, column) in t.columns() {
        let json = match column {
            Column::Array(a) => Value::Array(a.clone()).to_json(),
            Column::Text(t) => t.iter().map(|s| serde_json::Value::from(&**s)).collect(),
            Column::Ragged { ends, values } => {
                let mut start = 0;
                let row = |end: &u64| {
                    let cut = values.records(start..*end as usize);
                    start = *end as usize;
                    cut.map_or(serde_json::Value::Null, |a| Value::Array(a).to_json())
                };
                ends.iter().map(row).collect()
            }
        };
        map.insert(key.to_string(), json);
    }
    serde_json::Value::Object(map)
}
