//! From the formats' types and faults to the engine's.

use isard_core::prelude::*;

use crate::format::FormatError;

/// The engine's name of a dtype.
pub(crate) fn core(dtype: isard_h5::Dtype) -> Dtype {
    use isard_h5::Dtype as H5;
    match dtype {
        H5::U8 => Dtype::U8,
        H5::U16 => Dtype::U16,
        H5::U32 => Dtype::U32,
        H5::U64 => Dtype::U64,
        H5::I8 => Dtype::I8,
        H5::I16 => Dtype::I16,
        H5::I32 => Dtype::I32,
        H5::I64 => Dtype::I64,
        H5::F32 => Dtype::F32,
        H5::F64 => Dtype::F64,
        H5::C32 => Dtype::C32,
        H5::C64 => Dtype::C64,
    }
}

/// The formats' name of a dtype.
pub(crate) fn stored(dtype: Dtype) -> isard_h5::Dtype {
    use isard_h5::Dtype as H5;
    match dtype {
        Dtype::U8 => H5::U8,
        Dtype::U16 => H5::U16,
        Dtype::U32 => H5::U32,
        Dtype::U64 => H5::U64,
        Dtype::I8 => H5::I8,
        Dtype::I16 => H5::I16,
        Dtype::I32 => H5::I32,
        Dtype::I64 => H5::I64,
        Dtype::F32 => H5::F32,
        Dtype::F64 => H5::F64,
        Dtype::C32 => H5::C32,
        Dtype::C64 => H5::C64,
    }
}

/// The extents of a file as the engine counts them.
pub(crate) fn extents(shape: &[u64]) -> Vec<usize> {
    shape.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect()
}

/// The extents of an array as files keep them.
pub(crate) fn lengths(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|n| *n as u64).collect()
}

/// A fault of a file's format.
pub(crate) fn format(error: FormatError) -> Error {
    Error::data(error.to_string())
}

/// A fault that the HDF5 crate found.
pub(crate) fn h5(error: isard_h5::Error) -> Error {
    let error_text = error.to_string();
    match error.kind() {
        isard_h5::Kind::Absent => Error::data(error_text).help("`isard info FILE` lists what a file holds"),
        _ => Error::data(error_text),
    }
}

/// A fault of reading, where a missing file is a matter of the data and not of the recipe's names.
pub(crate) fn h5_read(error: isard_h5::Error) -> Error {
    Error::data(error.to_string())
}
