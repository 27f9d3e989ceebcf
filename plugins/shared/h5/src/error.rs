//! What goes wrong, and whose fault it is.

use std::fmt;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of fault an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, dataset or link target is not there.
    Absent,
    /// The type or the shape is not what was asked for.
    Mismatch,
    /// Records, bytes or indices outside of what exists.
    Range,
    /// The file uses something that is not built in.
    Unsupported,
    /// The library refused: a damaged file, a full disk, a wrong call.
    Library,
}

/// One fault, with what, where, found, wanted and what to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Work that somebody else stopped, in their words.
    pub fn stopped(text: impl Into<String>) -> Self {
        Self::new(Kind::Library, text)
    }

    /// The sort of fault.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Puts the place in front of the message.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.text = format!("{place}: {}", self.text);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
