//! Pixelated STEM: formats, virtual detectors, centre of mass, diffraction disks.

pub mod format;

pub mod bragg;
pub mod map;
pub mod reduce;

mod simd;

pub mod output;
pub mod simulate;
pub mod source;
