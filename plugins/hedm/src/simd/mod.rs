//! Kernels for sixteen spots or pixels at once, each with a scalar twin of the same text.
//!
//! The twin is the same function compiled for any processor: rounding is the same, because nothing is contracted.

mod level;
mod place;

pub(crate) use level::{Level, level};
pub(crate) use place::{BLOCK, Block, MOST, Placed, STEEPEST, Stand, place};
