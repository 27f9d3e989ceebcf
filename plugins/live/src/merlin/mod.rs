//! Merlin detectors (Medipix): frames and commands over TCP, and a simulator of both.

mod control;
mod inlet;
mod simulate;
mod source;

pub use control::{Command, Control};
pub use simulate::{Detector, Faults, Simulated};
