//! From the input of a job to the parameters and input ports of its plugin.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use isard_core::error::{Context, Error, Result, nearest};
use isard_core::plan;
use isard_core::port::{Dtypes, PortKind};
use isard_core::registry::Declaration;
use isard_core::stage::RunCx;
use isard_core::value::{Array, Dict, Dtype, Key, Table, Value};

use crate::confine::Confine;
use crate::json;

/// What the server adds to every input.
pub const ADDED: [&str; 2] = ["plugin_name", "job_id"];

/// Parameters that name jobs to come after.
const FOLLOWED: [&str; 2] = ["metadata_job", "wait_for"];

/// A task with what is known of its parameters.
pub struct Task {
    /// Its declaration.
    pub declaration: Arc<Declaration>,
    parameters: HashSet<String>,
    open: bool,
    /// Its parameters that name jobs to come after.
    follows: Vec<&'static str>,
    defaults: OnceLock<Option<serde_json::Value>>,
}

impl Task {
    /// A task of its declaration.
    pub fn new(declaration: Arc<Declaration>) -> Task {
        let properties = declaration.schema.get("properties").and_then(|p| p.as_object());
        let parameters: HashSet<String> =
            properties.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let open = declaration.inputs.iter().any(|port| port.open);
        let follows = FOLLOWED.into_iter().filter(|name| parameters.contains(*name)).collect();
        Task { declaration, parameters, open, follows, defaults: OnceLock::new() }
    }

    /// The jobs that an input names as those to come after; none for plugins that have no such parameter.
    pub fn follows(&self, input: &Dict) -> Vec<i64> {
        let ids = |value: &Value| match value {
            Value::Int(id) => vec![*id],
            Value::List(list) => {
                list.iter().filter_map(|v| if let Value::Int(id) = v { Some(*id) } else { None }).collect()
            }
            _ => vec![],
        };
        self.follows.iter().filter_map(|name| input.get(name)).flat_map(ids).collect()
    }

    /// Whether it has an input or a parameter of a name.
    pub fn knows(&self, name: &str) -> bool {
        self.parameter_of(name).is_some() || self.declaration.inputs.iter().any(|p| !p.open && p.name == name)
    }

    /// The parameter that a key stands for: `do_SA` is `do_sa`, as names of plugins have no case either.
    fn parameter_of(&self, key: &str) -> Option<&str> {
        if let Some(name) = self.parameters.get(key) {
            return Some(name);
        }
        match key.bytes().any(|b| b.is_ascii_uppercase()) {
            true => self.parameters.get(&key.to_lowercase()).map(String::as_str),
            false => None,
        }
    }

    /// Splits an input into checked parameters and ports; `add` gives what the server adds, where it is wanted.
    pub fn bind(
        &self,
        input: &Dict,
        confine: &Confine,
        run: &RunCx,
        add: impl Fn(&str) -> Value,
    ) -> Result<(serde_json::Value, Dict)> {
        confine.check(input)?;
        let mut set = serde_json::Map::new();
        let mut ports = Dict::with_capacity(input.len());
        for (key, value) in input.iter() {
            let name = key.as_str();
            if ADDED.contains(&name) || matches!(value, Value::None) {
                continue;
            }
            if let Some(port) = self.declaration.inputs.iter().find(|p| !p.open && p.name == name) {
                let value = fit(&port.kind, value, confine, run).at(|| format!("input `{name}`"))?;
                ports.set(key.clone(), value);
            } else if let Some(name) = self.parameter_of(name) {
                let value = self.parameter(name, value, confine)?;
                if set.insert(name.to_owned(), value).is_some() {
                    let text = format!("`{name}` stands twice in the input, with capitals and without");
                    return Err(Error::recipe(text).help("leave one out"));
                }
            } else if name == "do_profiling" {
                tracing::warn!("`do_profiling` is a switch of the older server and does nothing here.");
            } else if self.open {
                ports.set(key.clone(), value.clone());
            } else {
                return Err(self.unknown(name));
            }
        }
        for name in ADDED {
            if self.open || self.declaration.inputs.iter().any(|p| p.name == name) {
                ports.set(Key::Static(name), add(name));
            }
        }
        Ok((self.parameters(set)?, ports))
    }

    /// The checked parameters, defaults filled in.
    fn parameters(&self, set: serde_json::Map<String, serde_json::Value>) -> Result<serde_json::Value> {
        if set.is_empty() {
            // The usual case is worth keeping: checking costs more than a small job.
            let made = || plan::parameters(&self.declaration, "").ok();
            if let Some(defaults) = self.defaults.get_or_init(made) {
                return Ok(defaults.clone());
            }
        }
        let text = toml::to_string(&set).map_err(|e| {
            Error::recipe(format!("parameters of `{}`: {e}", self.declaration.name))
                .help("lists hold no null, and numbers fit in 64 bits")
        })?;
        Ok(plan::parameters(&self.declaration, &text)?)
    }

    fn parameter(&self, name: &str, value: &Value, confine: &Confine) -> Result<serde_json::Value> {
        let part = &self.declaration.schema["properties"][name];
        let path = part.get("x-path").is_some() || part.get("format").is_some_and(|f| f == "path");
        let full = |text: &str| confine.path(text).map(serde_json::Value::from);
        match value {
            Value::Text(text) if path => full(text),
            Value::List(list) if path => list
                .iter()
                .map(|v| match v {
                    Value::Text(text) => full(text),
                    other => Ok(other.to_json()),
                })
                .collect(),
            other => Ok(other.to_json()),
        }
        .at(|| format!("parameter `{name}`"))
    }

    fn unknown(&self, name: &str) -> Error {
        let declared = &self.declaration;
        let ports = declared.inputs.iter().map(|p| &*p.name);
        let known: Vec<&str> = ports.chain(self.parameters.iter().map(String::as_str)).collect();
        let error = Error::recipe(format!("`{}` has no input and no parameter `{name}`", declared.name));
        match nearest(name, known.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("`isard describe {}` lists them", declared.name)),
        }
    }
}

/// A value of JSON as a port wants it: lists become arrays, texts name files to read, words stand for no number.
fn fit(kind: &PortKind, value: &Value, confine: &Confine, run: &RunCx) -> Result<Value> {
    match (kind, value) {
        (PortKind::Array { .. } | PortKind::Table { .. }, Value::Text(path)) => {
            let path = confine.path(path)?;
            match &run.reader {
                Some(reader) => reader(run, &path),
                None => Err(Error::recipe(format!("`{path}` cannot be read: this server has no reader"))),
            }
        }
        (PortKind::Array { dtype, .. }, Value::List(_)) => array(*dtype, value).map(Value::Array),
        (PortKind::Table { .. }, Value::Dict(dict)) => table(dict).map(Value::Table),
        (PortKind::Float, Value::Text(text)) => Ok(json::number(text).map_or(value.clone(), Value::Float)),
        _ => Ok(value.clone()),
    }
}

fn table(columns: &Dict) -> Result<Table> {
    let rows = columns.values().find_map(Value::records).unwrap_or(0);
    let mut table = Table::new(rows);
    for (name, column) in columns.iter() {
        use isard_core::value::Column;
        let texts: Option<Vec<_>> = match column {
            Value::List(list) => {
                list.iter().map(|v| if let Value::Text(t) = v { Some(t.clone()) } else { None }).collect()
            }
            _ => None,
        };
        let column = match texts.filter(|t| !t.is_empty()) {
            Some(texts) => Column::Text(texts.into_iter().collect()),
            None => Column::Array(array(Dtypes::ANY, column).at(|| format!("column `{name}`"))?),
        };
        table = table.with_column(name.clone(), column)?;
    }
    Ok(table)
}

/// Nested lists of numbers as an array of a dtype that takes them.
fn array(wanted: Dtypes, value: &Value) -> Result<Array> {
    let (mut shape, mut level) = (vec![], value);
    while let Value::List(list) = level {
        shape.push(list.len());
        match list.first() {
            Some(first) => level = first,
            None => break,
        }
    }
    let mut numbers = Vec::with_capacity(shape.iter().product::<usize>().min(1 << 24));
    let whole = gather(value, &shape, &mut numbers)?;
    let has = |d: &Dtype| wanted.has(*d);
    let integers =
        [Dtype::I64, Dtype::I32, Dtype::U64, Dtype::U32, Dtype::U16, Dtype::U8, Dtype::I16, Dtype::I8];
    let dtype = match whole {
        true => integers.into_iter().chain([Dtype::F64, Dtype::F32]).find(has),
        false => [Dtype::F64, Dtype::F32].into_iter().find(has),
    };
    let dtype = dtype.ok_or_else(|| {
        Error::data(format!("found {} numbers, wanted {wanted}", if whole { "whole" } else { "real" }))
    })?;
    macro_rules! made {
        ($($dtype:ident $rust:ty),*) => {
            match dtype {
                $(Dtype::$dtype => {
                    let cast = |x: &f64| {
                        let y = *x as $rust;
                        ((y as f64 - x).abs() == 0.0).then_some(y)
                            .ok_or_else(|| Error::data(format!("{x} does not fit in {dtype}")))
                    };
                    Array::of(&shape, &numbers.iter().map(cast).collect::<Result<Vec<$rust>>>()?)
                })*
                Dtype::F32 => Array::of(&shape, &numbers.iter().map(|x| *x as f32).collect::<Vec<_>>()),
                _ => Array::of(&shape, &numbers),
            }
        };
    }
    made!(I64 i64, I32 i32, U64 u64, U32 u32, U16 u16, U8 u8, I16 i16, I8 i8)
}

/// Flattens nested lists of one shape; says whether all numbers are whole and written so.
fn gather(value: &Value, shape: &[usize], out: &mut Vec<f64>) -> Result<bool> {
    match (value, shape) {
        (Value::List(list), [n, inner @ ..]) if list.len() == *n => {
            let mut whole = true;
            for one in list.iter() {
                whole &= gather(one, inner, out)?;
            }
            Ok(whole)
        }
        (Value::Int(x), []) => {
            // 2^53: beyond it, neighbours are the same real number.
            if x.unsigned_abs() > 1 << 53 {
                return Err(Error::data(format!("{x} in a list is too large, wanted at most 2^53")));
            }
            out.push(*x as f64);
            Ok(true)
        }
        (Value::Float(x), []) => {
            out.push(*x);
            Ok(false)
        }
        (Value::Text(t), []) if json::number(t).is_some() => {
            out.extend(json::number(t));
            Ok(false)
        }
        (other, _) => Err(Error::data(format!(
            "found {} in a list, wanted numbers in rows of one length",
            other.describe()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Value {
        Value::from_json(&serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn nested_lists_become_arrays_of_what_the_port_takes() {
        let image = array(Dtypes::named("u16").unwrap(), &list("[[1, 2, 3], [4, 5, 65535]]")).unwrap();
        assert_eq!((image.dtype(), image.shape()), (Dtype::U16, &[2, 3][..]));
        let real = array(Dtypes::named("number").unwrap(), &list("[1, 2.5, \"NaN\"]")).unwrap();
        assert_eq!(real.dtype(), Dtype::F64);
        assert!(real.to_f64().unwrap()[2].is_nan());
        let fault = |dtype: &str, text: &str| {
            array(Dtypes::named(dtype).unwrap(), &list(text)).unwrap_err().to_string()
        };
        assert!(fault("u16", "[70000]").contains("70000 does not fit in u16"));
        assert!(fault("integer", "[0.5]").contains("found real numbers, wanted integer"));
        assert!(fault("any", "[[1, 2], [3]]").contains("rows of one length"));
    }
}
