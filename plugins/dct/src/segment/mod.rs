//! Double threshold in three dimensions, over a stream of frames.
//!
//! Frames become runs of pixels above a floor; regions above the threshold are labelled as frames arrive; a region
//! whose surroundings are complete is grown with a threshold of its own and decided. The answer is the offline one.

mod bridge;
mod bytes;
mod grow;
mod label;
mod plane;
mod rules;
mod settle;
mod spill;
mod state;
mod stream;
mod strips;
mod wait;

#[cfg(test)]
mod offline;
#[cfg(test)]
mod property;

pub use bridge::Bridges;
pub use bytes::Bytes;
pub use grow::Blob;
pub use label::Region;
pub use plane::{Area, Full, Pixels, Plane};
pub use rules::{Connectivity, Overlap, Rules};
pub use spill::{Away, Spill};
pub use stream::{Counts, Segmenter};
pub use strips::Strips;
