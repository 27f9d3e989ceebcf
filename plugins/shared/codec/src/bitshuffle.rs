//! Bitshuffle, with LZ4 or zstd behind it: HDF5 filter 32008 and the frames of DECTRIS streams.
//!
//! Elements go in blocks; of each block all lowest bits come first, then all second ones, and so on, so that the
//! zeros of small counts stand together. The last elements, fewer than 8, follow as they are.

use crate::fault::{length, take, take_u32, take_u64};
use crate::shuffle::{shuffle, unshuffle};
use crate::{Fault, Result, lz4, simd, zstd};

/// What comes behind the shuffled bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Nothing, and no header: blocks stand one after the other.
    None,
    /// LZ4.
    Lz4,
    /// Zstd, at a level for encoding.
    Zstd(i32),
}

/// Bytes of a block unless somebody asks for others: what fits the smallest cache.
const BLOCK: usize = 8192;

/// Elements of a block by default, as the bitshuffle library chooses them.
fn default_block(size: usize) -> usize {
    (BLOCK / size / 8 * 8).max(128)
}

/// Buffers of one block, kept for the next one.
#[derive(Debug, Default)]
pub struct Scratch {
    packed: Vec<u8>,
    planes: Vec<u8>,
    encoded: Vec<u8>,
}

impl Scratch {
    fn sized(&mut self, bytes: usize) {
        self.packed.resize(self.packed.len().max(bytes), 0);
        self.planes.resize(self.planes.len().max(bytes), 0);
    }
}

/// Decodes elements of `size` bytes, which must fill `out` exactly.
///
/// `block` is the number of elements of a block when no header says it; 0 is the default.
pub fn decode(
    mut src: &[u8],
    codec: Codec,
    size: usize,
    block: usize,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<()> {
    let src = &mut src;
    let n = elements(out.len(), size)?;
    let mut block = if block == 0 { default_block(size) } else { block };
    if codec != Codec::None {
        length(take_u64(src, "the bitshuffle header")?, out.len(), "the bitshuffle header")?;
        let bytes = take_u32(src, "the bitshuffle header")?;
        if bytes == 0 || !bytes.is_multiple_of(size) {
            return Err(Fault::new(format!(
                "the bitshuffle header says blocks of {bytes} bytes for elements of {size}"
            )));
        }
        block = bytes / size;
    }
    if !block.is_multiple_of(8) {
        return Err(Fault::new(format!("a bitshuffle block of {block} elements, wanted a multiple of 8")));
    }
    let whole = n / 8 * 8 * size;
    let (blocks, rest) = out.split_at_mut(whole);
    let block = block.saturating_mul(size);
    // A header cannot ask for more than the block that is there.
    scratch.sized(block.min(whole));
    for (i, part) in blocks.chunks_mut(block).enumerate() {
        let at = |e: Fault| Fault::new(format!("block {i}: {e}"));
        let packed = match codec {
            Codec::None => take(src, part.len(), "a bitshuffle block").map_err(at)?,
            Codec::Lz4 | Codec::Zstd(_) => {
                let n = take_u32(src, "the length of a block").map_err(at)?;
                let bytes = take(src, n, "a bitshuffle block").map_err(at)?;
                let room = &mut scratch.packed[..part.len()];
                let done =
                    if codec == Codec::Lz4 { lz4::decode(bytes, room) } else { zstd::decode(bytes, room) };
                done.map_err(at)?;
                room
            }
        };
        if size == 1 {
            simd::bytes(packed, part);
            continue;
        }
        let planes = &mut scratch.planes[..part.len()];
        let plane = part.len() / size;
        for (bits, bytes) in packed.chunks_exact(plane).zip(planes.chunks_exact_mut(plane)) {
            simd::bytes(bits, bytes);
        }
        unshuffle(planes, size, part);
    }
    rest.copy_from_slice(take(src, rest.len(), "the end of bitshuffled data")?);
    if src.is_empty() {
        return Ok(());
    }
    Err(Fault::new(format!("{} bytes follow the bitshuffled data", src.len())))
}

/// Encodes elements of `size` bytes, in blocks of the default size, behind what `out` holds.
pub fn encode(src: &[u8], codec: Codec, size: usize, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<()> {
    elements(src.len(), size)?;
    if codec != Codec::None {
        out.extend_from_slice(&header(src.len(), size));
    }
    encode_part(src, codec, size, scratch, out)
}

/// The bytes of a block of the default size.
pub fn block_bytes(size: usize) -> usize {
    default_block(size) * size
}

/// What stands before the encoded blocks of so many bytes.
pub fn header(bytes: usize, size: usize) -> [u8; 12] {
    let mut header = [0; 12];
    header[..8].copy_from_slice(&(bytes as u64).to_be_bytes());
    header[8..].copy_from_slice(&(block_bytes(size) as u32).to_be_bytes());
    header
}

/// Encodes blocks without their header: parts cut at whole blocks may be encoded apart and put together.
pub fn encode_part(
    src: &[u8],
    codec: Codec,
    size: usize,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<()> {
    let n = elements(src.len(), size)?;
    let block = block_bytes(size);
    let whole = n / 8 * 8 * size;
    let (blocks, rest) = src.split_at(whole);
    scratch.sized(block.min(whole));
    for part in blocks.chunks(block) {
        let packed = &mut scratch.packed[..part.len()];
        if size == 1 {
            simd::planes(part, packed);
        } else if size == 2 {
            // What most detectors count in goes past the sorting of bytes: a quarter less for the whole of encoding.
            simd::words(part, packed);
        } else {
            let planes = &mut scratch.planes[..part.len()];
            shuffle(part, size, planes);
            let plane = part.len() / size;
            for (bytes, bits) in planes.chunks_exact(plane).zip(packed.chunks_exact_mut(plane)) {
                simd::planes(bytes, bits);
            }
        }
        // Encoded in a buffer that stays in the cache, then copied: less than to make room for the worst in `out`.
        let encoded = &mut scratch.encoded;
        let bound = match codec {
            Codec::None => {
                out.extend_from_slice(packed);
                continue;
            }
            Codec::Lz4 => lz4::bound(packed.len()).expect("a block is far below the most that lz4 takes"),
            Codec::Zstd(_) => zstd::bound(packed.len()),
        };
        encoded.resize(encoded.len().max(bound), 0);
        let n = match codec {
            Codec::Zstd(level) => zstd::encode(packed, level, encoded)?,
            _ => lz4::encode(packed, encoded)?,
        };
        out.extend_from_slice(&(n as u32).to_be_bytes());
        out.extend_from_slice(&encoded[..n]);
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The number of elements in so many bytes.
fn elements(bytes: usize, size: usize) -> Result<usize> {
    if size > 0 && bytes.is_multiple_of(size) {
        return Ok(bytes / size);
    }
    Err(Fault::new(format!("{bytes} bytes are not a whole number of elements of {size}")))
}

/// Undoes a bit shuffle of whole elements in one block; a rest stays behind them.
pub(crate) fn unshuffle_block(src: &[u8], size: usize, scratch: &mut Vec<u8>, out: &mut [u8]) {
    let n = src.len() / size.max(1) / 8 * 8;
    let whole = n * size;
    out[whole..].copy_from_slice(&src[whole..]);
    if n == 0 {
        return;
    }
    scratch.resize(scratch.len().max(whole), 0);
    let planes = &mut scratch[..whole];
    for (bits, bytes) in src[..whole].chunks_exact(n).zip(planes.chunks_exact_mut(n)) {
        simd::bytes(bits, bytes);
    }
    unshuffle(planes, size, &mut out[..whole]);
}
