//! File and wire formats of pixelated STEM, from bytes to pixels.

pub mod mib;
pub mod mrc;
