//! Network detectors as sources, and simulators of them.

pub mod dectris;
pub mod faults;
pub mod merlin;
pub mod settings;
pub mod tpx3;

mod net;
mod series;

pub use net::zmtp::Part;
