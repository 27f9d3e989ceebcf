//! Element types between the library and [`Dtype`].

use hdf5_sys::h5t::{
    H5T_COMPLEX, H5T_COMPOUND, H5T_ENUM, H5T_FLOAT, H5T_INTEGER, H5T_NATIVE_DOUBLE, H5T_NATIVE_FLOAT,
    H5T_NATIVE_INT8, H5T_NATIVE_INT16, H5T_NATIVE_INT32, H5T_NATIVE_INT64, H5T_NATIVE_UINT8,
    H5T_NATIVE_UINT16, H5T_NATIVE_UINT32, H5T_NATIVE_UINT64, H5T_SGN_NONE, H5T_STRING, H5T_class_t,
    H5T_direction_t, H5Tcopy, H5Tcreate, H5Tenum_create, H5Tenum_insert, H5Tequal, H5Tget_class,
    H5Tget_member_type, H5Tget_native_type, H5Tget_nmembers, H5Tget_sign, H5Tget_size, H5Tget_super,
    H5Tinsert,
};

use super::{Id, check, count, handle};
use crate::{Dtype, Element, Result};

/// What a file says of the elements of a dataset or attribute.
#[derive(Debug)]
pub(crate) struct Stored {
    pub element: Element,
    /// The type to read into.
    pub memory: Id,
    /// Whether the bytes on disk are those in memory.
    pub native: bool,
}

/// The library's own type for a [`Dtype`].
pub(super) fn memory_type(dtype: Dtype) -> Result<Id> {
    let part = match dtype {
        Dtype::C32 => Dtype::F32,
        Dtype::C64 => Dtype::F64,
        plain => {
            // SAFETY: the globals are set, since the library is initialised first.
            return handle("copying a type", || unsafe { H5Tcopy(native(plain)) });
        }
    };
    // SAFETY: a compound of two members that fill it exactly, named as h5py does.
    let pair = handle("making a complex type", || unsafe { H5Tcreate(H5T_COMPOUND, dtype.size()) })?;
    for (name, offset) in [(c"r", 0), (c"i", part.size())] {
        // SAFETY: as above.
        check("making a complex type", || unsafe { H5Tinsert(pair.0, name.as_ptr(), offset, native(part)) })?;
    }
    Ok(pair)
}

/// Truth values as numpy writes them: an enumeration of bytes.
pub(super) fn boolean_type() -> Result<Id> {
    // SAFETY: the global is set, since the library is initialised first.
    let kind = handle("making a boolean type", || unsafe { H5Tenum_create(*H5T_NATIVE_INT8) })?;
    for (name, value) in [(c"FALSE", 0_i8), (c"TRUE", 1)] {
        let value = (&raw const value).cast();
        // SAFETY: an enumeration made above, a zero-terminated name and one byte.
        check("making a boolean type", || unsafe { H5Tenum_insert(kind.0, name.as_ptr(), value) })?;
    }
    Ok(kind)
}

fn native(dtype: Dtype) -> i64 {
    *match dtype {
        Dtype::U8 => H5T_NATIVE_UINT8,
        Dtype::U16 => H5T_NATIVE_UINT16,
        Dtype::U32 => H5T_NATIVE_UINT32,
        Dtype::U64 => H5T_NATIVE_UINT64,
        Dtype::I8 => H5T_NATIVE_INT8,
        Dtype::I16 => H5T_NATIVE_INT16,
        Dtype::I32 => H5T_NATIVE_INT32,
        Dtype::I64 => H5T_NATIVE_INT64,
        Dtype::F32 | Dtype::C32 => H5T_NATIVE_FLOAT,
        Dtype::F64 | Dtype::C64 => H5T_NATIVE_DOUBLE,
    }
}

fn class(id: &Id) -> H5T_class_t {
    // SAFETY: `id` is a type.
    hdf5::sync::sync(|| unsafe { H5Tget_class(id.0) })
}

/// Judges a type of a file.
pub(super) fn stored(file: Id) -> Result<Stored> {
    let file = if class(&file) == H5T_ENUM {
        // Booleans of h5py are enums over int8: read them as the integer.
        // SAFETY: `file` is a type with a base.
        handle("reading a type", || unsafe { H5Tget_super(file.0) })?
    } else {
        file
    };
    if class(&file) == H5T_STRING {
        return Ok(Stored { element: Element::Text, memory: file, native: false });
    }
    // SAFETY: `file` is a type.
    if class(&file) == H5T_FLOAT && hdf5::sync::sync(|| unsafe { H5Tget_size(file.0) }) == 2 {
        // Whatever the library makes of them: single precision holds each of them exactly.
        let (element, memory) = (Element::Number(Dtype::F32), memory_type(Dtype::F32)?);
        return Ok(Stored { element, memory, native: false });
    }
    // SAFETY: `file` is a type.
    let native =
        handle("reading a type", || unsafe { H5Tget_native_type(file.0, H5T_direction_t::H5T_DIR_ASCEND) });
    let Ok(memory) = native else {
        return Ok(Stored { element: Element::Other(named(class(&file))), memory: file, native: false });
    };
    let element = match dtype(&memory)? {
        Some(dtype) => Element::Number(dtype),
        None => Element::Other(named(class(&file))),
    };
    // What would become a wider number is a change, so refuse it.
    // SAFETY: both are types.
    let (held, wide) = hdf5::sync::sync(|| unsafe { (H5Tget_size(file.0), H5Tget_size(memory.0)) });
    if held != wide && matches!(element, Element::Number(_)) {
        let element = Element::Other(format!("{}-bit number", held * 8));
        return Ok(Stored { element, memory: file, native: false });
    }
    // SAFETY: both are types.
    let native = count("comparing types", || unsafe { H5Tequal(file.0, memory.0) })? > 0;
    Ok(Stored { element, memory, native })
}

fn dtype(id: &Id) -> Result<Option<Dtype>> {
    // SAFETY: `id` is a type.
    let size = hdf5::sync::sync(|| unsafe { H5Tget_size(id.0) });
    Ok(match class(id) {
        H5T_INTEGER => {
            // SAFETY: `id` is an integer type.
            let unsigned = hdf5::sync::sync(|| unsafe { H5Tget_sign(id.0) }) == H5T_SGN_NONE;
            match (size, unsigned) {
                (1, true) => Some(Dtype::U8),
                (2, true) => Some(Dtype::U16),
                (4, true) => Some(Dtype::U32),
                (8, true) => Some(Dtype::U64),
                (1, false) => Some(Dtype::I8),
                (2, false) => Some(Dtype::I16),
                (4, false) => Some(Dtype::I32),
                (8, false) => Some(Dtype::I64),
                _ => None,
            }
        }
        H5T_FLOAT => match size {
            4 => Some(Dtype::F32),
            8 => Some(Dtype::F64),
            _ => None,
        },
        H5T_COMPLEX => match size {
            8 => Some(Dtype::C32),
            16 => Some(Dtype::C64),
            _ => None,
        },
        H5T_COMPOUND => pair(id, size)?,
        _ => None,
    })
}

/// A compound of two equal floats counts as complex.
fn pair(id: &Id, size: usize) -> Result<Option<Dtype>> {
    // SAFETY: `id` is a compound type.
    if count("reading a type", || unsafe { H5Tget_nmembers(id.0) })? != 2 {
        return Ok(None);
    }
    let mut parts = [None, None];
    for (part, index) in parts.iter_mut().zip(0..) {
        // SAFETY: `index` is one of the two members.
        let member = handle("reading a type", || unsafe { H5Tget_member_type(id.0, index) })?;
        *part = if class(&member) == H5T_FLOAT { dtype(&member)? } else { None };
    }
    Ok(match (parts, size) {
        ([Some(Dtype::F32), Some(Dtype::F32)], 8) => Some(Dtype::C32),
        ([Some(Dtype::F64), Some(Dtype::F64)], 16) => Some(Dtype::C64),
        _ => None,
    })
}

fn named(class: H5T_class_t) -> String {
    format!("{class:?}").trim_start_matches("H5T_").to_lowercase()
}
