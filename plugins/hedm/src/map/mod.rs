//! From voxels to grains and maps.

mod grains;

pub use grains::{Grain, GrainSearch, find_grains, write_grains};
