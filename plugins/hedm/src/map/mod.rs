//! From voxels to grains, lattices of points and pictures.

mod grains;
mod raster;

pub use grains::{Grain, GrainSearch, find_grains, write_grains};
pub use raster::{Raster, channel_text, png};
