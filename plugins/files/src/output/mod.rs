//! Writers: sets of HDF5 files, and plain files beside each other.

mod name;
mod run;

mod set;

mod csv;
mod npy;
mod png;
mod tiff;

pub use csv::CsvWrite;
pub use npy::{NpyWrite, npy_bytes};
pub use png::{PngIn, PngWrite};
pub use run::ImageIn;
pub use set::Hdf5Write;
pub use tiff::TiffWrite;
