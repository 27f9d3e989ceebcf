//! Bounded decompression: what a file says about sizes is never trusted.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Bytes that a compressed file of `length` bytes may grow to when it is held in memory as a whole.
pub fn most(length: u64) -> u64 {
    (64 << 20) + 4 * length
}

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Plain,
    /// Deflate without a frame, as in ZIP archives.
    Deflate,
    /// Deflate in a zlib frame.
    Zlib,
    /// Deflate in gzip members.
    Gzip,
}

/// The bytes behind compressed ones, as a stream.
pub fn stream<'a>(bytes: impl Read + Send + 'a, coding: Coding) -> Box<dyn Read + Send + 'a> {
    match coding {
        Coding::Plain => Box::new(bytes),
        Coding::Deflate => Box::new(DeflateDecoder::new(bytes)),
        Coding::Zlib => Box::new(ZlibDecoder::new(bytes)),
        Coding::Gzip => Box::new(MultiGzDecoder::new(bytes)),
    }
}

/// Decompresses exactly as many bytes as `out` has room for; more or fewer are an error, in words.
pub fn exactly(bytes: &[u8], coding: Coding, out: &mut [u8]) -> Result<(), String> {
    let mut from = stream(bytes, coding);
    from.read_exact(out).map_err(|e| format!("does not decompress to {} bytes: {e}", out.len()))?;
    match from.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(format!("decompresses to more than {} bytes", out.len())),
        Err(e) => Err(format!("does not end well: {e}")),
    }
}

/// Decompresses everything, at most `most` bytes.
pub fn whole(bytes: &[u8], coding: Coding, most: u64) -> Result<Vec<u8>, String> {
    let mut out = vec![];
    let read = stream(bytes, coding).take(most + 1).read_to_end(&mut out);
    read.map_err(|e| format!("does not decompress: {e}"))?;
    match out.len() as u64 > most {
        true => Err(format!("decompresses to more than {most} bytes")),
        false => Ok(out),
    }
}
