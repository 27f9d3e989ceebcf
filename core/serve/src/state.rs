//! The states of a job.

use std::fmt;

/// Where a job stands; the words are those that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It has its id and waits.
    Uninitialized,
    /// A worker took it; its plugin is being found and made.
    Starting,
    /// Its plugin works.
    Running,
    /// It ended well.
    Success,
    /// It ended with an error.
    Failure,
    /// It was ended on demand.
    Aborted,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [State; 6] = [
        State::Uninitialized,
        State::Starting,
        State::Running,
        State::Success,
        State::Failure,
        State::Aborted,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        ["uninitialized", "starting", "running", "success", "failure", "aborted"][self as usize]
    }

    /// The state of a word.
    pub fn named(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.word() == word)
    }

    /// The state of a number as it is stored.
    pub(crate) fn numbered(number: i64) -> Option<State> {
        State::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, State::Success | State::Failure | State::Aborted)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
