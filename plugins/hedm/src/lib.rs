//! Near-field HEDM: orientation maps from reduced frames.
//!
//! Lengths are micrometres, angles degrees in parameters and radians in maps, wavelength and cells angstrom.
//! Detector positions are (Y, Z) in pixels, both flipped against the stored image.

pub mod model;

pub mod bits;

pub mod files;

pub mod fit;

pub mod geometry;

pub mod reduce;

pub mod map;

pub mod import;

mod simd;

mod stage;
