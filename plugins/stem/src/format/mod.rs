//! File and wire formats of pixelated STEM, from bytes to pixels.

pub mod dm;
pub mod mrc;

pub use isard_mib as mib;
