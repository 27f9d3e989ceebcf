//! Constants and static inputs out of HDF5 files.

use isard_core::prelude::*;
use isard_h5::{Address, Attr, Dataset, Element as Kept, File};

use crate::convert::{extents, h5};
use crate::input::folder::missing;
use crate::verdict;

/// All elements of a dataset.
pub(crate) fn whole(dataset: &Dataset) -> Result<Array> {
    let dtype = Dtype::from(dataset.dtype().map_err(h5)?);
    let shape = extents(dataset.shape());
    let mut out = isard_core::Pool::unpooled().take(dtype, &shape)?;
    if !out.bytes_mut().is_empty() {
        dataset.read(shape.len(), 0, 1, out.bytes_mut()).map_err(h5)?;
    }
    Ok(out.freeze())
}

/// What a dataset `/a/b` or an attribute `/a/b@c` holds; a scalar gives a number, strings give texts.
pub(crate) fn constant(file: &File, path: &str) -> Result<Value> {
    if let Some((object, name)) = path.split_once('@') {
        let found = file.attribute(object, name).map_err(h5)?;
        return match found {
            Some(attr) => value(attr, path),
            None => {
                let names: Vec<String> =
                    file.attributes(object).map_err(h5)?.into_iter().map(|(n, _)| format!("`{n}`")).collect();
                let error = Error::data(format!("{}::{path}: no such attribute", file.name()));
                Err(error.help(format!("there are: {}", names.join(", "))))
            }
        };
    }
    let dataset = file.dataset(path).map_err(h5)?;
    match dataset.element() {
        Kept::Text => {
            let texts = file.texts(path).map_err(h5)?;
            match (dataset.shape().is_empty(), texts.as_slice()) {
                (true, [one]) => Ok(Value::from(one.as_str())),
                _ => Ok(texts.into_iter().map(Value::from).collect::<Vec<_>>().into()),
            }
        }
        _ => {
            let corrupt = verdict::read(file, path)?;
            if !corrupt.is_empty() && dataset.shape().len() > 1 {
                let (name, n) = (file.name(), corrupt.len());
                return Err(Error::data(format!("{name}::{path}: {n} frames are marked as corrupt"))
                    .help("read it by `hdf5.dataset`, which leaves them out"));
            }
            let array = whole(&dataset)?;
            if array.shape().is_empty() && !array.dtype().is_complex() {
                array.scalar(0)
            } else {
                Ok(array.into())
            }
        }
    }
}

fn value(attr: Attr, path: &str) -> Result<Value> {
    Ok(match attr {
        Attr::Text(text) => Value::from(text),
        Attr::Texts(texts) => texts.into_iter().map(Value::from).collect::<Vec<_>>().into(),
        Attr::Int(x) => Value::Int(x),
        Attr::Ints(list) => Array::from_slice(&list).into(),
        Attr::Float(x) => Value::Float(x),
        Attr::Floats(list) => Array::from_slice(&list).into(),
        Attr::Other(what) => {
            return Err(Error::data(format!("{path}: is {what}, wanted numbers or text")));
        }
    })
}

/// What a static input `file.h5::/path`, or a slice of it, holds.
pub(crate) fn read(path: &str) -> Result<Value> {
    let address = Address::parse(path).map_err(|e| Error::recipe(e.to_string()))?;
    if !address.file.exists() {
        return Err(missing(&address.file));
    }
    let file = File::open(&address.file).map_err(h5)?;
    let value = constant(&file, &address.dataset)?;
    let Some(slice) = address.slice else { return Ok(value) };
    match &value {
        Value::Array(array) if !array.shape().is_empty() => {
            let records = array.shape()[0] as u64;
            let part = slice.within(records).map_err(|e| Error::recipe(format!("{path}: {e}")))?;
            Ok(array.records(part.start as usize..part.end as usize)?.into())
        }
        _ => Err(Error::recipe(format!("{path}: what stands there has no axis to take a slice of"))),
    }
}
