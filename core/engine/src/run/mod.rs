//! Running a plan.

mod commits;
mod control;
mod edge;
mod execute;
mod graph;
mod kept;
mod ledger;
mod node;
mod once;
mod options;
mod pass;
mod per;
mod record;
mod report;
mod sorter;
mod spill;
mod wire;

pub use control::{Call, Meter};
pub use execute::{restart, restart_names, resume, run};
pub use ledger::Ledger;
pub use once::{once, open};
pub use options::{Observer, Options, Out, Progress};
pub use pass::Watched;
pub use report::{Outcome, Report, StageReport};
