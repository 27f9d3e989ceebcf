//! Parallel beams: where pixels fall on projections, and sums along rays and over angles.

mod bank;
mod beam;
mod fbp;

pub use bank::{Aligned, Bank, PAD};
pub use beam::{GROUPS, Geometry, Lens, Weights, backproject, forward};
pub use fbp::{Window, angular_weights, fbp};
