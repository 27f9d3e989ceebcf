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

/// Buffers of packed chunks, kept from one batch to the next.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    cells: Vec<Mutex<Cell>>,
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
    pub fn pack(
        &mut self,
        spec: &Spec,
        chunks: &[u8],
        bytes: usize,
        each: Each,
        mut done: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let n = chunks.len() / bytes;
        self.cells.resize_with(self.cells.len().max(n), Mutex::default);
        let cells = &self.cells;
        each(n, &|i| {
            let mut cell = cells[i].lock().unwrap_or_else(PoisonError::into_inner);
            cell.pack(spec, &chunks[i * bytes..][..bytes])
        })?;
        for cell in &mut self.cells[..n] {
            done(&cell.get_mut().unwrap_or_else(PoisonError::into_inner).packed)?;
        }
        Ok(())
    }
}

impl Cell {
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
