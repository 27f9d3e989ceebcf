//! Reconstruction step by step: SIRT and MLEM, and when to stop.

mod held;
mod slice;

pub use held::{Held, Progress, is_held};
pub use slice::{Method, Slice};
