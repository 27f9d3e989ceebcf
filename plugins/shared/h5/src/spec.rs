//! How a dataset is stored.

use crate::{Dtype, Error, Kind, Result};

/// Bytes of a chunk made of several small records.
const CHUNK: usize = 256 << 10;

/// Compression of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// None: the fastest.
    #[default]
    None,
    /// Deflate at a level of 1 to 9.
    Deflate(u8),
    /// LZF: quick, moderate.
    Lzf,
}

/// A dataset to be: type, shape of one record, chunks and filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub(crate) dtype: Dtype,
    pub(crate) record: Vec<u64>,
    pub(crate) chunk: Option<u64>,
    pub(crate) compression: Compression,
    pub(crate) shuffle: bool,
    pub(crate) fletcher32: bool,
    pub(crate) boolean: bool,
}

impl Spec {
    /// Records of one shape, checksummed, uncompressed.
    ///
    /// An empty `record` makes a column of single numbers.
    pub fn new(dtype: Dtype, record: &[u64]) -> Self {
        Self {
            dtype,
            record: record.into(),
            chunk: None,
            compression: Compression::None,
            shuffle: false,
            fletcher32: true,
            boolean: false,
        }
    }

    /// Records in one chunk; by default one, or as many small ones as fill 256 KiB.
    pub fn chunk(mut self, records: u64) -> Self {
        self.chunk = Some(records);
        self
    }

    /// Compresses each chunk, with bytes shuffled first.
    pub fn compress(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self.shuffle = compression != Compression::None;
        self
    }

    /// Sorts bytes by significance before compression.
    pub fn shuffle(mut self, on: bool) -> Self {
        self.shuffle = on;
        self
    }

    /// Keeps a checksum with each chunk; on by default.
    pub fn fletcher32(mut self, on: bool) -> Self {
        self.fletcher32 = on;
        self
    }

    /// Truth values: bytes of 0 and 1 under the names FALSE and TRUE, as numpy has them.
    pub fn boolean(record: &[u64]) -> Self {
        Self { boolean: true, ..Self::new(Dtype::I8, record) }
    }

    /// Bytes of one record.
    pub fn record_bytes(&self) -> Result<usize> {
        let bytes = self.record.iter().try_fold(self.dtype.size() as u64, |n, d| n.checked_mul(*d));
        match bytes.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if n > 0 => Ok(n),
            _ => Err(Error::new(
                Kind::Mismatch,
                format!("record shape {:?} holds nothing or is too large", self.record),
            )),
        }
    }

    /// Records in one chunk, when `stored` is the most that will come.
    pub(crate) fn chunk_records(&self, stored: Option<u64>) -> Result<u64> {
        let bytes = self.record_bytes()?;
        let records = self.chunk.unwrap_or((CHUNK / bytes).max(1) as u64);
        // A chunk is stored in full even when few of its records exist.
        let records = stored.map_or(records, |n| records.min(n.max(1)));
        let whole = records.saturating_mul(bytes as u64);
        if records == 0 || whole >= 1 << 32 {
            return Err(Error::new(
                Kind::Mismatch,
                format!("a chunk of {records} records is {whole} bytes, wanted 1 byte to 4 GiB"),
            ));
        }
        Ok(records)
    }

    pub(crate) fn plain(&self) -> bool {
        self.compression == Compression::None && !self.shuffle
    }
}
