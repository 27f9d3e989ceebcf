//! From the formats' types and faults to the engine's.

use isard_core::prelude::*;

use crate::format::FormatError;

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
