//! Ptychography: scan data prepared, simulated, and reconstructed while the scan runs.

pub mod engine;
pub mod fft;
pub mod geometry;
pub mod model;
pub mod num;
pub mod propagate;
pub mod scan;

mod simd;
