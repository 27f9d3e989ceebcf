//! Crystal cells, space groups, rotations and misorientations.
//!
//! Rotations are active and take crystal to sample; symmetry acts on the crystal side, from the right.

mod cell;
mod error;
mod quat;

mod group;
mod hall;

mod colour;
mod covering;
mod symmetry;

pub use cell::Cell;
pub use error::OrientationError;
pub use quat::{Matrix, Quat, apply, product, transpose};

pub use group::SpaceGroup;

pub use colour::inverse_pole_colour;
pub use covering::{covering, widest_gap};
pub use symmetry::Symmetry;
