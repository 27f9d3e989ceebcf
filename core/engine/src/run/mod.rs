//! Running a plan.

mod begin;
mod commits;
mod control;
mod early;
mod edge;
mod execute;
mod graph;
mod index;
mod kept;
mod ledger;

mod node;
mod once;
mod options;
mod parts;
mod pass;
mod per;
mod record;
mod recorder;
mod repair;
mod repeat;
mod report;
mod results;
mod reuse;
mod scope;
mod sorter;
mod spill;
mod sums;
mod trace;
mod view;
mod wire;

pub use begin::{merge, restart, restart_names, resume, run};
pub use control::{Call, Meter};
pub use early::early;
pub use ledger::Ledger;
pub use once::{files, once, open};
pub use options::{Observer, Options, Out, Progress, Reuse};
pub use pass::{Watched, scan_name};
pub use record::machine_memory;
pub use repair::{Repair, repair};
pub use report::{Outcome, Report, StageReport};
pub use results::results;
pub use trace::Trace;
pub use view::{Sight, View, Viewer};

/// The option of a record that names the scan a run is of: what stands for `{scan}`.
pub const SCAN_OPTION: &str = "scan";
