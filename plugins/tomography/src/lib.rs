//! Diffraction tomography: sinograms, reconstruction, maps and pair distribution functions.

pub mod project;
pub mod scan;
pub mod solve;

pub mod nnls;
pub mod pdf;
pub mod phantom;
pub mod session;

mod simd;

mod stage;
