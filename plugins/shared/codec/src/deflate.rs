//! Deflate in its zlib form, HDF5 filter 1.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{Fault, Result};

/// Decodes a stream, which must fill `out` exactly.
pub fn decode(src: &[u8], out: &mut [u8]) -> Result<()> {
    let mut state = Decompress::new(true);
    let mut status = step(&mut state, src, out)?;
    // The checksum behind the last byte may take a second look, with room for a byte that must not come.
    if status != Status::StreamEnd && state.total_out() as usize == out.len() {
        let rest = &src[(state.total_in() as usize).min(src.len())..];
        status = step(&mut state, rest, &mut [0])?;
    }
    match (status, state.total_out() as usize) {
        (Status::StreamEnd, n) if n == out.len() => Ok(()),
        (Status::StreamEnd, n) => {
            Err(Fault::new(format!("a deflate stream holds {n} bytes, wanted {}", out.len())))
        }
        (_, n) if n > out.len() => {
            Err(Fault::new(format!("a deflate stream holds more than {} bytes", out.len())))
        }
        _ => Err(Fault::new("a deflate stream is cut short")),
    }
}

fn step(state: &mut Decompress, src: &[u8], out: &mut [u8]) -> Result<Status> {
    let step = state.decompress(src, out, FlushDecompress::Finish);
    step.map_err(|e| Fault::new(format!("a deflate stream is damaged: {e}")))
}

/// Encodes at a level of 1 to 9, behind what `out` holds.
pub fn encode(src: &[u8], level: u32, out: &mut Vec<u8>) -> Result<()> {
    let mut state = Compress::new(Compression::new(level.min(9)), true);
    // Stored blocks cost five bytes in 16 KiB, the frame six.
    out.reserve(src.len() + src.len() / 1024 + 64);
    match state.compress_vec(src, out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Ok(()),
        other => Err(Fault::new(format!("deflate did not end: {other:?}"))),
    }
}
