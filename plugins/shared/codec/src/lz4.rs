//! LZ4: bare blocks, and the framing of HDF5 filter 32004.

use ::lz4::block;

use crate::fault::{length, take, take_u32, take_u64};
use crate::{Fault, Result};

/// Decodes one bare block, which must fill `out` exactly.
pub fn decode(src: &[u8], out: &mut [u8]) -> Result<()> {
    let size = i32::try_from(out.len());
    let (Ok(size), Ok(_)) = (size, i32::try_from(src.len())) else {
        return Err(Fault::new(format!("an lz4 block of {} bytes is too large", src.len().max(out.len()))));
    };
    match block::decompress_to_buffer(src, Some(size), out) {
        Ok(n) if n == out.len() => Ok(()),
        Ok(n) => Err(Fault::new(format!("an lz4 block holds {n} bytes, wanted {}", out.len()))),
        Err(_) => Err(Fault::new("an lz4 block is damaged")),
    }
}

/// The most bytes that a block of `n` bytes may take; none for one that is too large.
pub fn bound(n: usize) -> Option<usize> {
    block::compress_bound(n).ok()
}

/// Encodes one bare block into `out`, which has room for [`bound`] bytes, and gives its length.
pub fn encode(src: &[u8], out: &mut [u8]) -> Result<usize> {
    if i32::try_from(src.len()).is_err() || i32::try_from(out.len()).is_err() {
        return Err(Fault::new(format!("{} bytes are too many for one lz4 block", src.len())));
    }
    block::compress_to_buffer(src, None, false, out)
        .map_err(|_| Fault::new(format!("{} bytes have no room for an lz4 block", out.len())))
}

/// Decodes what HDF5 filter 32004 made: big-endian lengths, blocks, raw ones where nothing was gained.
pub fn decode_framed(mut src: &[u8], out: &mut [u8]) -> Result<()> {
    let src = &mut src;
    length(take_u64(src, "the lz4 header")?, out.len(), "the lz4 header")?;
    let block = take_u32(src, "the lz4 header")?;
    if block == 0 && !out.is_empty() {
        return Err(Fault::new("the lz4 header says blocks of 0 bytes"));
    }
    for (i, part) in out.chunks_mut(block.max(1)).enumerate() {
        let at = |e: Fault| Fault::new(format!("block {i}: {e}"));
        let n = take_u32(src, "the length of a block").map_err(at)?;
        let bytes = take(src, n, "an lz4 block").map_err(at)?;
        if n == part.len() {
            part.copy_from_slice(bytes);
        } else {
            decode(bytes, part).map_err(at)?;
        }
    }
    Ok(())
}
