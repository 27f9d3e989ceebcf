//! What the file formats share: faults and byte order.

use std::fmt;

/// A result of reading or writing a format.
pub type Result<T> = std::result::Result<T, FormatError>;

/// A file that is not as its format wants, or a call that does not fit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    text: String,
}

impl FormatError {
    pub(crate) fn new(place: &str, text: impl fmt::Display) -> Self {
        Self { text: format!("{place}: {text}") }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for FormatError {}

/// Reverses the bytes of each element of `size` bytes, in place.
pub(crate) fn swap(bytes: &mut [u8], size: usize) {
    // Fixed sizes let the compiler make one shuffle of each.
    fn each<const N: usize>(bytes: &mut [u8]) {
        let (elements, _) = bytes.as_chunks_mut::<N>();
        elements.iter_mut().for_each(|element| element.reverse());
    }
    match size {
        2 => each::<2>(bytes),
        4 => each::<4>(bytes),
        8 => each::<8>(bytes),
        _ => {}
    }
}
