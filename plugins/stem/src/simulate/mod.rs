//! Simulated scans: atoms, their potential, waves through it, and a detector.

mod atoms;
mod cif;
mod potential;

mod wave;

mod source;

pub use atoms::{Atom, Crystal};
pub use potential::{Factors, potential};
pub use source::{Model, Simulate, SimulateOut};
pub use wave::{Beam, Waves};
