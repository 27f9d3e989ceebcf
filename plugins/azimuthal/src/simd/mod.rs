//! The sums of curves and maps, laid out for wide registers and chosen at run time.

mod ahead;
mod kernel;
mod pack;
mod wide;

pub use pack::{Frame, Packed};
pub(crate) use wide::{Work, widest};
