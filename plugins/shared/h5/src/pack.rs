//! Chunks made ready before they go to the library, on as many threads as there are.

use std::sync::{Mutex, PoisonError};

use isard_codec::{bitshuffle, deflate, fletcher32, shuffle};

use crate::{Compression, Error, Kind, Result, Spec};

/// Runs a piece of work for each number below one, on whatever threads there are.
pub type Each<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()>;

/// Runs the work on the thread that asks.
pub(crate) fn alone(n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    (0..n).try_for_each(work)
}

/// At least so many chunks are packed in one go, and more while they are small.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 16 << 20;

/// A part of a chunk that is packed apart is at least so large.
const PART_BYTES: usize = 256 << 10;

/// Buffers of packed chunks, kept from one batch to the next.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    cells: Vec<Mutex<Cell>>,
    /// A chunk that was packed in parts.
    whole: Vec<u8>,
}

#[derive(Debug, Default)]
struct Cell {
    shuffled: Vec<u8>,
    scratch: bitshuffle::Scratch,
    packed: Vec<u8>,
}

impl Packer {
    /// Whether chunks of this sort are packed here and not by the library.
    pub fn knows(spec: &Spec) -> bool {
        matches!(spec.compression, Compression::Bitshuffle | Compression::Deflate(_))
    }

    /// How many chunks of `bytes` bytes go in one batch.
    pub fn batch(bytes: usize) -> usize {
        (BATCH_BYTES / bytes.max(1)).max(BATCH)
    }

    /// Packs whole chunks of `bytes` bytes and hands them on in order.
    ///
    /// Few large chunks are cut into parts, so that there is work for all threads; the bytes are the same.
    pub fn pack(
        &mut self,
        spec: &Spec,
        chunks: &[u8],
        bytes: usize,
        each: Each,
        mut done: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let part = part_bytes(spec, chunks.len() / bytes, bytes);
        let parts = bytes.div_ceil(part);
        let n = chunks.len() / bytes * parts;
        self.cells.resize_with(self.cells.len().max(n), Mutex::default);
        let cells = &self.cells;
        each(n, &|i| {
            let mut cell = cells[i].lock().unwrap_or_else(PoisonError::into_inner);
            let chunk = &chunks[i / parts * bytes..][..bytes];
            if parts == 1 {
                return cell.pack(spec, chunk);
            }
            let begin = i % parts * part;
            cell.pack_part(spec.dtype.size(), &chunk[begin..bytes.min(begin + part)])
        })?;
        for cells in self.cells[..n].chunks_mut(parts) {
            let (first, rest) = cells.split_first_mut().expect("a chunk has at least one part");
            let packed = &mut first.get_mut().unwrap_or_else(PoisonError::into_inner).packed;
            if parts == 1 {
                done(packed)?;
                continue;
            }
            self.whole.clear();
            self.whole.extend_from_slice(&bitshuffle::header(bytes, spec.dtype.size()));
            self.whole.extend_from_slice(packed);
            for cell in rest {
                let cell = cell.get_mut().unwrap_or_else(PoisonError::into_inner);
                self.whole.extend_from_slice(&cell.packed);
            }
            if spec.fletcher32 {
                let sum = fletcher32(&self.whole);
                self.whole.extend_from_slice(&sum.to_le_bytes());
            }
            done(&self.whole)?;
        }
        Ok(())
    }
}

/// How many bytes of a chunk are packed in one go: all, unless there are few chunks and they can be cut.
fn part_bytes(spec: &Spec, chunks: usize, bytes: usize) -> usize {
    let cut = matches!(spec.compression, Compression::Bitshuffle) && !spec.shuffle;
    if !cut || chunks >= BATCH {
        return bytes;
    }
    let block = bitshuffle::block_bytes(spec.dtype.size());
    let part = (bytes * chunks / BATCH).max(PART_BYTES).next_multiple_of(block);
    part.min(bytes)
}

impl Cell {
    /// Packs some blocks of a bitshuffled chunk, without its header.
    fn pack_part(&mut self, size: usize, part: &[u8]) -> Result<()> {
        self.packed.clear();
        bitshuffle::encode_part(part, bitshuffle::Codec::Lz4, size, &mut self.scratch, &mut self.packed)
            .map_err(|e| Error::new(Kind::Library, format!("packing a chunk: {e}")))
    }

    fn pack(&mut self, spec: &Spec, chunk: &[u8]) -> Result<()> {
        let Self { shuffled, scratch, packed } = self;
        packed.clear();
        let size = spec.dtype.size();
        let mut chunk = chunk;
        if spec.shuffle {
            shuffled.resize(chunk.len(), 0);
            shuffle::shuffle(chunk, size, shuffled);
            chunk = shuffled;
        }
        let done = match spec.compression {
            Compression::Bitshuffle => {
                bitshuffle::encode(chunk, bitshuffle::Codec::Lz4, size, scratch, packed)
            }
            Compression::Deflate(level) => deflate::encode(chunk, level.into(), packed),
            Compression::None | Compression::Lzf => {
                packed.extend_from_slice(chunk);
                Ok(())
            }
        };
        done.map_err(|e| Error::new(Kind::Library, format!("packing a chunk: {e}")))?;
        if spec.fletcher32 {
            let sum = fletcher32(packed);
            packed.extend_from_slice(&sum.to_le_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

    #[test]
    fn chunks_packed_in_parts_have_the_bytes_of_whole_ones() {
        // An odd number of elements: the last part ends with some that fill no block, and no eight.
        let shape = [1031_u32, 517];
        let pixels: Vec<u8> = (0..shape[0] * shape[1])
            .flat_map(|i| ((i.wrapping_mul(i) >> 7) as u16 & 63).to_ne_bytes())
            .collect();
        for fletcher in [false, true] {
            let spec = Spec::new(Dtype::U16, &[u64::from(shape[0]), u64::from(shape[1])])
                .compress(Compression::Bitshuffle)
                .fletcher32(fletcher);
            assert!(part_bytes(&spec, 1, pixels.len()) < pixels.len() / 2);
            let mut packed = vec![];
            let keep = |bytes: &[u8]| {
                packed = bytes.to_vec();
                Ok(())
            };
            Packer::default().pack(&spec, &pixels, pixels.len(), &alone, keep).unwrap();
            let mut whole = Cell::default();
            whole.pack(&spec, &pixels).unwrap();
            assert!(packed == whole.packed);
        }
    }
}
