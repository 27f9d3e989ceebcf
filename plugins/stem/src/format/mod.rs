//! File and wire formats of pixelated STEM, from bytes to pixels.

pub mod dm;
pub mod mib;
pub mod mrc;
