//! Timepix3 detectors: events from a file or a socket into frames.

mod inlet;
mod raw;
mod simulate;
mod source;
mod sparse;

pub use simulate::{Events, Simulated};
