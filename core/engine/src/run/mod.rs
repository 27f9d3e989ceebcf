//! Running a plan.

mod control;
mod edge;
mod graph;
mod kept;
mod ledger;
mod node;
mod pass;
mod sorter;
mod spill;
mod wire;

pub use control::{Call, Meter};
pub use ledger::Ledger;
