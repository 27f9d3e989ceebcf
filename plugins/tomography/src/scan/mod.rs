//! A scan: where frames were taken, the patterns as they arrive, and the sinograms they make.

mod axis;
mod repair;
mod rows;
mod sinogram;

pub use axis::{Axis, Fast, Scan, Steps};
pub use repair::{Missing, Repair};
pub use rows::{Point, Rows};
pub use sinogram::{Sinogram, State, axes as known_axes};
