//! Detectors of DECTRIS: the SIMPLON stream in both versions, its REST interface, and a simulator of both.

mod assemble;
pub(crate) mod cbor;
mod control;
mod dump;
mod event;
mod head;
mod inlet;
mod packing;
mod series;
mod simulate;
mod source;
mod v1;
mod v2;

pub use control::{Control, Session};
pub use dump::{messages, write_dump};
pub use event::{Event, Image, Plane, Start, parse};
pub use packing::Packing;
pub(crate) use simulate::pixel;
pub use simulate::{Detector, Faults, Simulated, Tally};
