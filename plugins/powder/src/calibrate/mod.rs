//! The geometry of a detector from the powder rings it has seen.
//!
//! The search needs no hint: ridges of the image vote for the beam's centre, the radial profile about it gives ring
//! radii, and the distance is the one that explains them by the calibrant's lines.
//! The refinement fits each ring's position in azimuthal sectors and moves the geometry to bring all of them onto
//! their two-theta, until nothing moves.

mod centre;
mod clean;
mod coarse;
mod estimate;
mod joint;
mod matching;
mod param;
mod peak;
mod radial;
mod refine;
mod ridge;
mod sector;
mod solve;

pub use estimate::{Estimate, Setup};
pub use joint::{Joint, Seen, View};
pub use refine::{Calibration, CalibrationError, Step};
