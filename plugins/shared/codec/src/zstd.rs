//! Zstandard frames.

use ::zstd::bulk;

use crate::{Fault, Result};

/// Decodes frames, which must fill `out` exactly.
pub(crate) fn decode(src: &[u8], out: &mut [u8]) -> Result<()> {
    match bulk::decompress_to_buffer(src, out) {
        Ok(n) if n == out.len() => Ok(()),
        Ok(n) => Err(Fault::new(format!("a zstd frame holds {n} bytes, wanted {}", out.len()))),
        Err(e) => Err(Fault::new(format!("a zstd frame is damaged: {e}"))),
    }
}

/// Encodes one frame into `out` and gives its length.
pub(crate) fn encode(src: &[u8], level: i32, out: &mut [u8]) -> Result<usize> {
    bulk::compress_to_buffer(src, out, level).map_err(|e| Fault::new(format!("zstd: {e}")))
}

/// The most bytes that a frame of `n` bytes may take.
pub(crate) fn bound(n: usize) -> usize {
    ::zstd::zstd_safe::compress_bound(n)
}
