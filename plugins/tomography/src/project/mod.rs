//! Parallel beams: where pixels fall on projections, and sums along rays and over angles.

mod bank;
mod beam;
mod fbp;

pub use bank::{Bank, PAD};
pub use beam::{Geometry, Lens, Weights, backproject, forward};
pub use fbp::{Window, angular_weights, fbp};
