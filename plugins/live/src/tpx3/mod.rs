//! Timepix3 detectors: events from a file or a socket into frames.

mod raw;
mod simulate;
mod source;
mod sparse;

pub use simulate::{Events, Simulated};
