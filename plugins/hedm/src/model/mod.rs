//! The experiment: detector, scan, reflections, voxels, and where a voxel's spots fall.

mod detector;
mod footprint;
mod grid;
mod reach;
mod reflection;
mod scan;
mod spot;
mod voxel;

pub use detector::Detector;
pub use footprint::{Footprint, Projector, raster};
pub use grid::{Grid, Layout, Mask};
pub use reach::Reach;
pub use reflection::{Reflection, keep_rings, reflections, without_extinct};
pub use scan::{Scan, Window, wrap};
pub use spot::{Predictor, Spot};
pub use voxel::Voxel;

/// Whose rules hold where the existing program and the right answer differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// The right answer.
    #[default]
    Right,
    /// What the MIDAS suite does, bit for bit.
    Midas,
}
