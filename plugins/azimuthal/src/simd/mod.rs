//! The sums of curves and maps, laid out for wide registers and chosen at run time.

mod kernel;
mod pack;

pub use pack::{Frame, Packed};
