//! Results of all values as one: arrays gain the axis in front, tables a column, other values become lists.

use crate::error::{Context, Error, Result};
use crate::port::PortKind;
use crate::run::per::Per;
use crate::value::{Array, Dict, Dtype, Key, Pool, Table, Value};

impl Per {
    /// The results of all values as one; none for a value without a result.
    pub(super) fn stack(&self, all: Vec<Option<Dict>>, pool: &Pool) -> Result<Dict> {
        let mut keys: Vec<Key> = vec![];
        for key in all.iter().flatten().flat_map(Dict::keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        let mut out = Dict::with_capacity(keys.len());
        for key in keys {
            let of = |dict: &Option<Dict>| {
                let value = dict.as_ref().and_then(|d| d.get(key.as_str()));
                value.filter(|v| **v != Value::None).cloned()
            };
            let values: Vec<Option<Value>> = all.iter().map(of).collect();
            let stacked = self.column(&key, values, pool).at(|| format!("port `{key}`"))?;
            out.push(key, stacked);
        }
        Ok(out)
    }

    fn column(&self, key: &Key, values: Vec<Option<Value>>, pool: &Pool) -> Result<Value> {
        let Some(first) = values.iter().flatten().next().cloned() else { return Ok(Value::None) };
        match first {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => self.numbers(key, &values),
            Value::Array(first) => {
                let empty = blank(&first)?;
                let arrays = values.into_iter().enumerate().map(|(value, given)| match given {
                    Some(Value::Array(array)) if array.shape() != first.shape() => {
                        let (a, b) = (first.shape(), array.shape());
                        let error =
                            format!("arrays of shape {a:?} and {b:?} cannot stand behind one another");
                        Err(Error::data(error).at(self.place(value as u64)))
                    }
                    Some(other) => Ok(other.lead(0)),
                    None => Ok(Value::Array(empty.lead())),
                });
                Value::concat(&arrays.collect::<Result<Vec<_>>>()?, pool)
            }
            Value::Table(_) => {
                let tables = values.into_iter().enumerate().map(|(value, given)| match given {
                    Some(Value::Table(table)) => self.table(value as u64, &table).map(Some),
                    Some(other) => Err(Error::data(format!("found {}, wanted a table", other.describe()))),
                    None => Ok(None),
                });
                let tables: Vec<Option<Table>> = tables.collect::<Result<_>>()?;
                let tables: Vec<Value> = tables.into_iter().flatten().map(Value::Table).collect();
                Value::concat(&tables, pool)
            }
            _ => Ok(values.into_iter().map(Option::unwrap_or_default).collect::<Vec<Value>>().into()),
        }
    }

    /// One number a value, of the dtype that the port promises.
    fn numbers(&self, key: &Key, values: &[Option<Value>]) -> Result<Value> {
        let promised = self.outputs.iter().find(|p| p.name == key.as_str()).map(|p| &p.kind);
        let real = matches!(promised, Some(PortKind::Array { dtype, .. }) if !dtype.has(Dtype::I64));
        let flags = values.iter().flatten().all(|v| matches!(v, Value::Bool(_)));
        let whole = values.iter().flatten().all(|v| matches!(v, Value::Int(_)));
        if flags {
            let flags: Vec<u8> = values.iter().map(|v| u8::from(*v == Some(Value::Bool(true)))).collect();
            return Ok(Array::from_slice(&flags).into());
        }
        if whole && !real {
            let whole = values.iter().map(|v| if let Some(Value::Int(n)) = v { *n } else { 0 });
            return Ok(Array::from_slice(&whole.collect::<Vec<i64>>()).into());
        }
        let reals = values.iter().map(|v| match v {
            None => Ok(f64::NAN),
            Some(v) => {
                v.number().ok_or_else(|| Error::data(format!("found {}, wanted numbers", v.describe())))
            }
        });
        Ok(Array::from_slice(&reals.collect::<Result<Vec<f64>>>()?).into())
    }

    /// A table with the value in a column in front.
    fn table(&self, value: u64, table: &Table) -> Result<Table> {
        let mut out = Table::new(table.rows()).with(self.axis.name.clone(), &vec![value; table.rows()])?;
        for (name, column) in table.columns() {
            out = out.with_column(name.clone(), column.clone())?;
        }
        if table.has_records() { out.with_records(table.records()) } else { Ok(out) }
    }

    /// Records of an axis of their own with their value: a port, and a column of every table.
    pub(super) fn marked(&self, value: u64, records: u64, output: Dict) -> Result<Dict> {
        let mut out = Dict::with_capacity(output.len() + 1);
        for (key, given) in output {
            let given = match given {
                Value::Table(table) => Value::Table(self.table(value, &table)?),
                other => other,
            };
            out.push(key, given);
        }
        out.push(
            Key::from(self.axis.name.clone()),
            Value::Array(Array::from_slice(&vec![value; records as usize])),
        );
        Ok(out)
    }
}

/// An array like another that says nothing: NaN where there is one.
fn blank(like: &Array) -> Result<Array> {
    let nan: &[u8] = match like.dtype() {
        Dtype::F32 | Dtype::C32 => &f32::NAN.to_ne_bytes(),
        Dtype::F64 | Dtype::C64 => &f64::NAN.to_ne_bytes(),
        _ => &[0],
    };
    let mut out = Pool::unpooled().zeros(like.dtype(), like.shape())?;
    out.bytes_mut().chunks_exact_mut(nan.len()).for_each(|element| element.copy_from_slice(nan));
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Port;
    use crate::run::per::PerAxis;

    fn per() -> Per {
        let ports = vec![Port {
            kind: PortKind::Array { dtype: crate::port::Dtypes::one(Dtype::F64), axes: None },
            ..Port::of::<f64>("x", "A number.")
        }];
        Per {
            axis: PerAxis::of(&[("y".into(), 3)], "y", None).unwrap(),
            stage: "test".into(),
            build: Box::new(|_| Err(Error::internal("nothing is built here"))),
            fixed: vec![],
            outputs: ports,
        }
    }

    #[test]
    fn values_without_a_result_are_blank() {
        let image = Array::of(&[2], &[1.0f32, 2.0]).unwrap();
        let table = Table::new(1).with("row", &[4u16]).unwrap();
        let full = Dict::new().with("x", 7).with("n", 5).with("image", image).with("text", "a");
        let full = full.with("table", Value::Table(table));
        let out = per().stack(vec![None, Some(full), None], Pool::unpooled()).unwrap();
        let array =
            |key: &str| if let Some(Value::Array(a)) = out.get(key) { a.clone() } else { panic!("{key}") };
        // A port of real numbers gives them even when a stage answers with a whole one.
        let x = array("x").to_f64().unwrap();
        assert!(x[0].is_nan() && x[1] == 7.0 && x[2].is_nan());
        assert_eq!(array("n"), Array::from_slice(&[0i64, 5, 0]));
        let image = array("image");
        assert_eq!(image.shape(), [3, 2]);
        let pixels = image.to_f64().unwrap();
        assert!(pixels[..2].iter().chain(&pixels[4..]).all(|p| p.is_nan()));
        assert_eq!(pixels[2..4], [1.0, 2.0]);
        assert_eq!(out.get("text"), Some(&vec![Value::None, "a".into(), Value::None].into()));
        let Some(Value::Table(table)) = out.get("table") else { panic!("no table") };
        assert_eq!(table.names().collect::<Vec<_>>(), ["y", "row"]);
        assert_eq!(table.numbers::<u64>("y").unwrap(), [1]);
    }

    #[test]
    fn unequal_arrays_are_refused_with_their_value() {
        let of = |n: usize| Some(Dict::new().with("image", Array::from_slice(&vec![0u8; n])));
        let error = per().stack(vec![of(2), of(2), of(3)], Pool::unpooled()).unwrap_err().to_string();
        assert!(error.contains("y 2") && error.contains("[2] and [3]"), "{error}");
    }
}
