//! Azimuthal integration of area-detector frames.

pub mod import;
pub mod text;

mod axis;
mod cake;
mod camera;
mod field;
mod integrator;
mod matrix;
mod pixel;
mod prepare;
mod reproject;
mod robust;
mod simd;
mod split;
mod stage;
mod sums;
mod unit;

pub use axis::Axis;
pub use camera::{Camera, Corners, Places};
pub use integrator::{Integrator, Robust, Settings};
pub use matrix::{ByBin, Matrix};
pub use pixel::{Dummy, Pixel};
pub use prepare::{Corrections, ErrorModel, Fixed, Images};
pub use reproject::Reprojection;
pub use robust::{Clipping, between, clipped};
pub use simd::Frame;
pub use split::{Binning, Shares, Splitting};
pub use sums::{Result1, Sums, plain};
pub use unit::{Space, UNITS, Unit};
