//! Ptychography: scan data prepared, simulated, and reconstructed while the scan runs.

pub mod camera;
pub mod engine;
pub mod fft;
pub mod file;
pub mod geometry;
pub mod illumination;
pub mod import;
pub mod metrics;
pub mod model;
pub mod num;
pub mod propagate;
pub mod scan;
pub mod session;
pub mod simulate;
pub mod start;

mod aligned;
mod kept;
mod overlap;
mod simd;

mod stage;
