//! Network detectors as sources, and simulators of them.

pub mod dectris;
pub mod faults;

mod net;

pub use net::zmtp::Part;
