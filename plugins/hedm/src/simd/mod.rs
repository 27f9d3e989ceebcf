//! Kernels for sixteen spots or pixels at once, each with a scalar twin of the same text.
//!
//! The twin is the same function compiled for any processor: rounding is the same, because nothing is contracted.

mod level;
mod median;
mod pin;
mod place;

pub(crate) use level::{Level, counting, level};
pub use median::median_of_frames;
pub(crate) use median::{median_3x3, subtract};
pub(crate) use pin::{FAR, Pinned, pin};
pub(crate) use place::{BLOCK, Block, MOST, Placed, STEEPEST, Stand, place};
