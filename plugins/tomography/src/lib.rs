//! Diffraction tomography: sinograms, reconstruction, maps and pair distribution functions.

pub mod project;
pub mod scan;
pub mod solve;

mod simd;
