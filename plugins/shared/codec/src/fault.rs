//! What is wrong with compressed data.

use std::fmt;

/// A result of decoding or encoding.
pub type Result<T> = std::result::Result<T, Fault>;

/// Compressed data that are not what their format asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    text: String,
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// Takes bytes off the front, or says what is cut short.
pub(crate) fn take<'a>(src: &mut &'a [u8], n: usize, what: &str) -> Result<&'a [u8]> {
    match src.split_at_checked(n) {
        Some((head, rest)) => {
            *src = rest;
            Ok(head)
        }
        None => Err(Fault::new(format!("{what} is cut short: {} bytes, wanted {n}", src.len()))),
    }
}

/// Takes a number of four bytes, most significant first.
pub(crate) fn take_u32(src: &mut &[u8], what: &str) -> Result<usize> {
    let bytes = take(src, 4, what)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

/// Takes a number of eight bytes, most significant first.
pub(crate) fn take_u64(src: &mut &[u8], what: &str) -> Result<u64> {
    let bytes = take(src, 8, what)?;
    Ok(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// The decoded length that a header states must be the one that is wanted.
pub(crate) fn length(found: u64, wanted: usize, what: &str) -> Result<()> {
    if found == wanted as u64 {
        return Ok(());
    }
    Err(Fault::new(format!("{what} says {found} bytes, wanted {wanted}")))
}
