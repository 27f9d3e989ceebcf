//! From camera frames to lit pixels: background, median, edges, blobs.

mod blobs;
mod edges;
mod frame;
mod matched;
mod noise;

pub use blobs::{Blobs, blobs};
pub use edges::Edges;
pub use frame::{Cleaner, Settings, Worker};
pub use noise::noise_of_frames;

pub use crate::simd::median_of_frames;
