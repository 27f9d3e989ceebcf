//! Sources: frames that lie in closed files.

mod folder;
mod follow;
mod names;

mod grow;
mod scan;
mod sequence;
mod series;

mod cbf;
mod dectris;
mod edf;
mod hdf5;
mod npy;
mod npz;
mod raw;
mod tiff;

mod table;

mod kinds;
mod read;

pub(crate) use dectris::master;
pub(crate) use folder::has_ending;
pub(crate) use hdf5::constant;
pub(crate) use kinds::kind;
pub(crate) use read::HDF5;
pub(crate) use table::{ENDINGS as TEXTS, read as table_of};

pub use cbf::CbfSequence;
pub use dectris::{DectrisMaster, DectrisOut};
pub use edf::EdfSequence;
pub use folder::{fits, listed, natural};
pub use follow::{Follow, Quiet, Watch};
pub use hdf5::datasets;
pub use hdf5::{Hdf5Dataset, Hdf5Out, Unwritten};
pub use npy::NpyStack;
pub use npz::NpzStack;
pub use raw::RawStack;
pub use read::read_path;
pub use series::{FramesOut, HeadedOut};
pub use table::TableRows;
pub use tiff::TiffSequence;
