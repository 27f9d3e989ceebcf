//! Chunks made ready before they go to the library, on as many threads as there are.

use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// So many chunks, or parts of them, are packed while those before are handed on, and more while they are small.
const WINDOW: usize = 4;
const WINDOW_BYTES: usize = 4 << 20;

/// Buffers of packed chunks, kept from one batch to the next.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// Filled in turns.
    banks: [Vec<Mutex<Cell>>; 2],
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
    /// Few large chunks are cut into parts, so that there is work for all threads; the bytes are the same. While some
    /// chunks are packed, one thread hands on those before them.
    pub fn pack(
        &mut self,
        spec: &Spec,
        chunks: &[u8],
        bytes: usize,
        each: Each,
        done: impl FnMut(&[u8]) -> Result<()> + Send,
    ) -> Result<()> {
        let part = part_bytes(spec, chunks.len() / bytes, bytes);
        let parts = bytes.div_ceil(part);
        let window = (WINDOW_BYTES / bytes).max(WINDOW.div_ceil(parts));
        let wanted = (chunks.len() / bytes).min(window) * parts;
        for bank in &mut self.banks {
            bank.resize_with(bank.len().max(wanted), Mutex::default);
        }
        let cut = Cut { spec, bytes, parts };
        let end = Mutex::new((done, &mut self.whole));
        let hand_on = |packed: &[Mutex<Cell>]| {
            let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
            let (done, whole) = &mut *end;
            packed.chunks(parts).try_for_each(|cells| cut.hand_on(cells, whole, &mut *done))
        };
        let mut packed: &[Mutex<Cell>] = &[];
        for (i, now) in chunks.chunks(window * bytes).enumerate() {
            let bank = &self.banks[i % 2][..now.len() / bytes * parts];
            each(bank.len() + 1, &|i| {
                // The first piece of work is begun first.
                let Some(i) = i.checked_sub(1) else { return hand_on(packed) };
                let mut cell = open(&bank[i]);
                let chunk = &now[i / parts * bytes..][..bytes];
                if parts == 1 {
                    return cell.pack(spec, chunk);
                }
                let begin = i % parts * part;
                cell.pack_part(spec.dtype.size(), &chunk[begin..bytes.min(begin + part)])
            })?;
            packed = bank;
        }
        hand_on(packed)
    }
}

fn open(cell: &Mutex<Cell>) -> MutexGuard<'_, Cell> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the chunks of a call are cut.
struct Cut<'a> {
    spec: &'a Spec,
    bytes: usize,
    parts: usize,
}

impl Cut<'_> {
    /// Puts the parts of a chunk together and hands it on.
    fn hand_on(
        &self,
        cells: &[Mutex<Cell>],
        whole: &mut Vec<u8>,
        done: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.parts == 1 {
            return done(&open(&cells[0]).packed);
        }
        whole.clear();
        whole.extend_from_slice(&bitshuffle::header(self.bytes, self.spec.dtype.size()));
        cells.iter().for_each(|cell| whole.extend_from_slice(&open(cell).packed));
        if self.spec.fletcher32 {
            let sum = fletcher32(whole);
            whole.extend_from_slice(&sum.to_le_bytes());
        }
        done(whole)
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
