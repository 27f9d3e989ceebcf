//! HDF5 for isard plugins: parts, masters, attributes, reading.
//!
//! [`Image`] builds a whole file in memory and gives its bytes, so that the
//! caller writes, syncs and renames them like any other file. Masters are
//! built the same way out of external links and virtual datasets.
//! [`File`] and [`Dataset`] read; [`Dataset::layout`] tells where the records
//! lie when they can be read past the library, [`Chunks`] decodes compressed
//! ones there, and [`File::pieces`] looks through virtual datasets.
//!
//! Bitshuffle, LZ4, zstd and blosc are known to the library from here, with no
//! plugin to install.
//!
//! The library serves one call at a time in the whole process. Keep HDF5 on
//! one thread and do checksums, decoding and plain reads elsewhere.

mod address;
mod attr;
mod chunks;
mod dtype;
mod error;
mod image;
mod layout;
mod master;
mod near;
mod pack;
mod pieces;
mod read;
mod spec;
mod walk;

mod ffi;

pub use address::{Address, Slice};
pub use attr::Attr;
pub use chunks::{Buffers, Chunks};
pub use dtype::{Dtype, Element};
pub use error::{Error, Kind, Result};
pub use image::{Image, Slot};
pub use layout::{Extent, Layout};
pub use master::Stacked;
pub use pack::Each;
pub use pieces::{Piece, Source};
pub use read::{Dataset, File, Target};
pub use spec::{Compression, Spec};
pub use walk::{Broken, Info, Listing, Storage};
