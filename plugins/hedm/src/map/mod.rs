//! From voxels to grains, lattices of points and pictures.

mod grains;
mod pixels;
mod raster;

pub use grains::{Grain, GrainSearch, find_grains, write_grains};
pub use pixels::{EMPTY, Pixels, Texture, read_map, write_map};
pub use raster::{Raster, channel_text, png};
