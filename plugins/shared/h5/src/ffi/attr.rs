//! Attributes.

use hdf5_sys::h5::{H5_index_t, H5_iter_order_t};
use hdf5_sys::h5a::{
    H5Acreate2, H5Adelete, H5Aexists, H5Aget_name, H5Aget_space, H5Aget_type, H5Aopen, H5Aopen_by_idx,
    H5Aread, H5Awrite,
};
use hdf5_sys::h5o::{H5O_INFO_NUM_ATTRS, H5O_info2_t, H5Oget_info3};
use hdf5_sys::h5p::H5P_DEFAULT;

use super::{Id, c, check, handle, space, text, text_of, types};
use crate::{Attr, Dtype, Element, Error, Kind, Result};

/// More values than this in one attribute are taken for damage.
const MOST: u64 = 1 << 20;

/// Writes an attribute in place of one of the same name.
pub(crate) fn write_attribute(object: &Id, name: &str, value: &Attr) -> Result<()> {
    match value {
        Attr::Text(text) => write_texts(object, name, &[text.as_str()], &space::scalar()?),
        Attr::Texts(texts) => {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            write_texts(object, name, &texts, &space::simple(&[texts.len() as u64], false)?)
        }
        Attr::Int(value) => write_numbers(object, name, Dtype::I64, &[*value], &space::scalar()?),
        Attr::Float(value) => write_numbers(object, name, Dtype::F64, &[*value], &space::scalar()?),
        Attr::Ints(values) => {
            let space = space::simple(&[values.len() as u64], false)?;
            write_numbers(object, name, Dtype::I64, values, &space)
        }
        Attr::Floats(values) => {
            let space = space::simple(&[values.len() as u64], false)?;
            write_numbers(object, name, Dtype::F64, values, &space)
        }
        Attr::Other(what) => {
            Err(Error::new(Kind::Mismatch, format!("attribute `{name}` cannot be written from {what}")))
        }
    }
}

fn create(object: &Id, name: &str, kind: &Id, space: &Id) -> Result<Id> {
    let name = c(name)?;
    // SAFETY: open handles and a zero-terminated name.
    handle("making an attribute", || unsafe {
        if H5Aexists(object.0, name.as_ptr()) > 0 {
            H5Adelete(object.0, name.as_ptr());
        }
        H5Acreate2(object.0, name.as_ptr(), kind.0, space.0, H5P_DEFAULT, H5P_DEFAULT)
    })
}

fn write_texts(object: &Id, name: &str, texts: &[&str], space: &Id) -> Result<()> {
    let kind = text::text_type(None)?;
    let (owned, pointers) = text::pointers(texts)?;
    let attribute = create(object, name, &kind, space)?;
    // SAFETY: as many pointers as the space has points, alive in `owned`.
    check("writing an attribute", || unsafe { H5Awrite(attribute.0, kind.0, pointers.as_ptr().cast()) })?;
    drop(owned);
    Ok(())
}

fn write_numbers<T>(object: &Id, name: &str, dtype: Dtype, values: &[T], space: &Id) -> Result<()> {
    let kind = types::memory_type(dtype)?;
    let attribute = create(object, name, &kind, space)?;
    // SAFETY: as many numbers of this type as the space has points.
    check("writing an attribute", || unsafe { H5Awrite(attribute.0, kind.0, values.as_ptr().cast()) })
}

/// Names of the attributes of an object, in order of name.
pub(crate) fn attribute_names(object: &Id) -> Result<Vec<String>> {
    let mut info = std::mem::MaybeUninit::<H5O_info2_t>::zeroed();
    // SAFETY: the call fills the field that is asked for; others stay zero.
    let n = unsafe {
        check("counting attributes", || H5Oget_info3(object.0, info.as_mut_ptr(), H5O_INFO_NUM_ATTRS))?;
        (&raw const (*info.as_ptr()).num_attrs).read()
    };
    let (by, order) = (H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC);
    let name = |index| {
        // SAFETY: an open object and an index below the count.
        let attribute = handle("opening an attribute", || unsafe {
            H5Aopen_by_idx(object.0, c".".as_ptr(), by, order, index, H5P_DEFAULT, H5P_DEFAULT)
        })?;
        // SAFETY: the buffer has the length that is passed with it.
        text_of("reading an attribute name", |out, len| unsafe { H5Aget_name(attribute.0, len, out.cast()) })
    };
    (0..n).map(name).collect()
}

/// Reads one attribute.
pub(crate) fn read_attribute(object: &Id, name: &str) -> Result<Attr> {
    let name = c(name)?;
    // SAFETY: an open object and a zero-terminated name.
    let attribute =
        handle("opening an attribute", || unsafe { H5Aopen(object.0, name.as_ptr(), H5P_DEFAULT) })?;
    // SAFETY: an open attribute.
    let extent = handle("reading an attribute", || unsafe { H5Aget_space(attribute.0) })?;
    // SAFETY: an open attribute.
    let kind = handle("reading an attribute", || unsafe { H5Aget_type(attribute.0) })?;
    let stored = types::stored(kind)?;
    let Some(dims) = space::dims(&extent)? else {
        return Ok(Attr::Other("empty".into()));
    };
    let Some(n) = dims.iter().try_fold(1_u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= MOST) else {
        return Ok(Attr::Other(format!("values of shape {dims:?}")));
    };
    let (n, one) = (n as usize, dims.is_empty());
    let memory = match stored.element {
        Element::Text => {
            // SAFETY: the buffer holds `n` strings of the type that is passed.
            let read = |kind, out| unsafe { H5Aread(attribute.0, kind, out) };
            let mut texts = text::texts(&stored.memory, &extent, n, read)?;
            return Ok(if one { Attr::Text(texts.swap_remove(0)) } else { Attr::Texts(texts) });
        }
        Element::Number(Dtype::F32 | Dtype::F64) => {
            let mut values = vec![0_f64; n];
            let memory = types::memory_type(Dtype::F64)?;
            // SAFETY: room for as many doubles as the attribute has points.
            check("reading an attribute", || unsafe {
                H5Aread(attribute.0, memory.0, values.as_mut_ptr().cast())
            })?;
            return Ok(if one { Attr::Float(values[0]) } else { Attr::Floats(values) });
        }
        Element::Number(dtype @ (Dtype::C32 | Dtype::C64)) => return Ok(Attr::Other(dtype.to_string())),
        Element::Number(Dtype::U64) => types::memory_type(Dtype::U64)?,
        Element::Number(_) => types::memory_type(Dtype::I64)?,
        Element::Other(what) => return Ok(Attr::Other(what)),
    };
    let mut values = vec![0_i64; n];
    // SAFETY: room for as many 64-bit integers as the attribute has points.
    check("reading an attribute", || unsafe { H5Aread(attribute.0, memory.0, values.as_mut_ptr().cast()) })?;
    // Unsigned numbers past the range come out negative: say so instead.
    if stored.element == Element::Number(Dtype::U64) && values.iter().any(|v| *v < 0) {
        return Ok(Attr::Other("unsigned integers above 2^63".into()));
    }
    Ok(if one { Attr::Int(values[0]) } else { Attr::Ints(values) })
}
