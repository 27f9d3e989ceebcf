//! Sources and writers of files: TIFF, EDF, CBF, NPY, NPZ, raw, HDF5 and DECTRIS masters, tables; NeXus sets, PNG, CSV.
//!
//! A source for each kind gives frames; [`read_path`](input::read_path) reads whole arrays for static inputs.
//! [`format`], [`npy`] and [`tiff`] are the formats themselves, without the engine.

pub mod cbf;
pub mod edf;
pub mod format;
pub mod inflate;
pub mod npy;
pub mod npz;
pub mod text;
pub mod tiff;

mod convert;
mod verdict;

pub mod input;

pub mod output;

pub mod info;
