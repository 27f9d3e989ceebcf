//! A master that holds one result itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_h5::{Dtype as H5, Image, Spec};

use crate::convert::{h5, lengths};
use crate::output::set::master::About;
use crate::output::set::part::write_texts;
use crate::output::set::state::State;

/// The bytes of a master with one snapshot, whose values lead with one record.
pub(crate) fn master(about: &About, state: &State, led: &Dict) -> Result<Vec<u8>> {
    let mut result = Dict::with_capacity(led.len());
    for (key, value) in led.iter() {
        result.push(key.clone(), value.unlead(0).map_err(|e| e.at(format!("`{key}`")))?);
    }
    let mut image = Image::new().map_err(h5)?;
    image.nexus("/entry", "NXentry").map_err(h5)?;
    super::common(&mut image, about, state)?;
    match signal(about, &result)? {
        Some(name) => image.nexus_data("/entry/result", &name, &[]).map_err(h5)?,
        None => image.nexus("/entry/result", "NXcollection").map_err(h5)?,
    }
    image.nexus_default("/entry/result").map_err(h5)?;
    values(&mut image, "/entry/result", &result, about.units)?;
    image.into_bytes().map_err(h5)
}

fn signal(about: &About, result: &Dict) -> Result<Option<String>> {
    let rank = |v: &Value| if let Value::Array(a) = v { a.shape().len() } else { 0 };
    if let Some(wanted) = about.plot.signal {
        result.need(wanted).map_err(|e| Error::recipe(format!("`signal`: {e}")))?;
        return Ok(Some(wanted.to_owned()));
    }
    let find = |n: usize| result.iter().find(|(_, v)| rank(v) >= n).map(|(k, _)| k.to_string());
    Ok(find(2).or_else(|| find(1)))
}

/// Writes named values into a group.
pub(crate) fn values(
    image: &mut Image,
    group: &str,
    values: &Dict,
    units: &BTreeMap<String, String>,
) -> Result<()> {
    for (key, value) in values.iter() {
        let path = format!("{group}/{key}");
        write(image, &path, key.as_str(), value, units).map_err(|e| e.at(format!("`{key}`")))?;
    }
    Ok(())
}

fn write(
    image: &mut Image,
    path: &str,
    name: &str,
    v: &Value,
    units: &BTreeMap<String, String>,
) -> Result<()> {
    match v {
        Value::None => return Ok(()),
        Value::Bool(x) => image.scalar(path, H5::U8, &[u8::from(*x)]).map_err(h5)?,
        Value::Int(x) => image.scalar(path, H5::I64, &x.to_ne_bytes()).map_err(h5)?,
        Value::Float(x) => image.scalar(path, H5::F64, &x.to_ne_bytes()).map_err(h5)?,
        Value::Text(text) => image.text(path, text).map_err(h5)?,
        Value::List(list) => {
            let texts: Vec<Arc<str>> = list
                .iter()
                .map(|v| v.text().map_or_else(|| v.to_json().to_string().into(), Arc::from))
                .collect();
            write_texts(image, path, &texts)?;
        }
        Value::Array(array) => numbers(image, path, array)?,
        Value::Dict(dict) => {
            image.nexus(path, "NXcollection").map_err(h5)?;
            return values(image, path, dict, units);
        }
        Value::Table(t) => return table(image, path, name, t, units),
    }
    match units.get(name) {
        Some(unit) => image.attribute(path, "units", unit.as_str()).map_err(h5),
        None => Ok(()),
    }
}

fn table(
    image: &mut Image,
    path: &str,
    name: &str,
    t: &Table,
    units: &BTreeMap<String, String>,
) -> Result<()> {
    image.nexus(path, "NXcollection").map_err(h5)?;
    for (key, column) in t.columns() {
        let at = format!("{path}/{key}");
        let unit = units.get(&format!("{name}.{key}"));
        let holds_unit = match column {
            Column::Array(array) => {
                numbers(image, &at, array)?;
                at
            }
            Column::Text(texts) => {
                write_texts(image, &at, texts)?;
                continue;
            }
            Column::Ragged { ends, values } => {
                let starts: Vec<u64> =
                    std::iter::once(0).chain(ends.iter().copied()).take(ends.len()).collect();
                let counts: Vec<u64> = ends.iter().zip(&starts).map(|(end, start)| end - start).collect();
                numbers(image, &format!("{at}/offset"), &Array::from_slice(&starts))?;
                numbers(image, &format!("{at}/count"), &Array::from_slice(&counts))?;
                numbers(image, &format!("{at}/values"), values)?;
                format!("{at}/values")
            }
        };
        if let Some(unit) = unit {
            image.attribute(&holds_unit, "units", unit.as_str()).map_err(h5)?;
        }
    }
    Ok(())
}

/// Writes a whole array.
fn numbers(image: &mut Image, path: &str, array: &Array) -> Result<()> {
    let dtype = isard_h5::Dtype::from(array.dtype());
    let shape = lengths(array.shape());
    let Some((records, rest)) = shape.split_first() else {
        return image.scalar(path, dtype, array.bytes()).map_err(h5);
    };
    if rest.contains(&0) {
        // No chunk can hold nothing: an empty column says what shape it stands for.
        image.dataset(path, &Spec::new(dtype, &[])).map_err(h5)?;
        let shape = shape.iter().map(|n| *n as i64).collect();
        return image.attribute(path, "shape", isard_h5::Attr::Ints(shape)).map_err(h5);
    }
    let slot = image.dataset(path, &Spec::new(dtype, rest)).map_err(h5)?;
    image.append(slot, array.bytes(), *records).map_err(h5)
}
