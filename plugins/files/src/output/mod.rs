//! Writers: sets of HDF5 files, and plain files beside each other.

mod name;
mod plain;
mod run;

mod set;

mod cbf;
mod csv;
mod edf;
mod npy;
mod png;
mod tiff;

pub use cbf::CbfWrite;
pub use csv::CsvWrite;
pub use edf::EdfWrite;
pub use npy::{NpyWrite, npy_bytes};
pub use png::{PngIn, PngWrite};
pub use run::ImageIn;
pub use set::Hdf5Write;
pub use tiff::TiffWrite;
