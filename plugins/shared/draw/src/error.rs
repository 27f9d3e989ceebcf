//! What cannot be drawn.

use std::fmt;

/// A result of drawing.
pub type Result<T> = std::result::Result<T, DrawError>;

/// Data that do not make a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawError(pub(crate) String);

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DrawError {}
