//! Sources and writers of files: TIFF, NPY, HDF5, PNG.

pub mod format;
pub mod npy;
pub mod tiff;
