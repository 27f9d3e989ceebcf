//! What happens to jobs, told to whoever listens.

use crate::state::State;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job has a new state.
    State {
        /// The job.
        id: u64,
        /// The state.
        state: State,
    },
    /// A job succeeded.
    Success {
        /// The job.
        id: u64,
    },
    /// A job failed or was aborted.
    Failure {
        /// The job.
        id: u64,
    },
    /// Statistics were collected.
    Statistics,
}
