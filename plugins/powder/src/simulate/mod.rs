//! Simulated powder frames: an expected image, computed once, and Poisson counts drawn from it.

mod model;
mod poisson;

pub use model::{Background, Model, Ring, dead_pixels};
pub use poisson::{Count, Field, frame_rng};
