//! Running a plan.

mod commits;
mod control;
mod early;
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
mod view;
mod wire;

pub use control::{Call, Meter};
pub use early::early;
pub use execute::{restart, restart_names, resume, run};
pub use ledger::Ledger;
pub use once::{once, open};
pub use options::{Observer, Options, Out, Progress};
pub use pass::Watched;
pub use record::machine_memory;
pub use report::{Outcome, Report, StageReport};
pub use view::{Sight, View, Viewer};
