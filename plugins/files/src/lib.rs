//! Sources and writers of files: TIFF, NPY, HDF5, PNG, CSV.
//!
//! `tiff.sequence`, `npy.stack` and `hdf5.dataset` give frames; [`read_path`](input::read_path) reads whole arrays for
//! static inputs. [`format`], [`npy`] and [`tiff`] are the formats themselves, without the engine.

pub mod format;
pub mod npy;
pub mod tiff;

mod convert;
mod verdict;

pub mod input;

pub mod output;
