//! Codecs of detector data, as HDF5 filters and detector streams use them.
//!
//! Everything here works on slices: the caller says how long the decoded data
//! are, and no length in a header makes an allocation. [`Pipeline`] runs the
//! filters of an HDF5 chunk backwards; the modules are the codecs themselves.

pub mod bitshuffle;
pub mod blosc;
pub mod deflate;
pub mod lz4;
pub mod lzf;
pub mod shuffle;

mod fault;
mod fletcher;
mod pipeline;
mod simd;
mod zstd;

pub use fault::{Fault, Result};
pub use fletcher::fletcher32;
pub use pipeline::{Filter, Pipeline, Scratch, number, undo};
