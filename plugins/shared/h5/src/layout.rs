//! Where records lie in a file, for reads past the library.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::{Dataset, Kind, Result, Storage, ffi};

/// A run of bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Records that lie in a file as they do in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The file that holds them: not the one opened, behind an external link.
    pub file: PathBuf,
    /// One run for each record.
    pub records: Vec<Extent>,
}

impl Dataset {
    /// Tells where the records lie, if they can be read as plain bytes.
    ///
    /// That holds for native byte order without filters, when a record is one
    /// run. Nothing is given for a file in memory or with unwritten chunks.
    pub fn layout(&self, axes: usize) -> Result<Option<Layout>> {
        let (records, bytes) = (self.records(axes)?, self.record_bytes(axes)? as u64);
        let parts = &self.parts;
        if !parts.stored.native || !parts.filters.is_empty() || parts.external || records == 0 {
            return Ok(None);
        }
        let file = PathBuf::from(ffi::file_name(&self.id)?);
        let Ok(meta) = std::fs::metadata(&file) else {
            return Ok(None);
        };
        let found = match parts.storage {
            Storage::Contiguous => self.contiguous(records, bytes),
            Storage::Chunked => self.chunked(axes, bytes)?,
            Storage::Compact | Storage::Virtual => None,
        };
        let Some(records) = found else {
            return Ok(None);
        };
        // A file in memory gives no place on disk, a cut one a wrong place.
        let beyond = |e: &Extent| e.offset.checked_add(e.bytes).is_none_or(|end| end > meta.len());
        if records.iter().any(beyond) {
            return Err(self.fault(Kind::Range, "records lie past the end of the file, is it cut short"));
        }
        Ok(Some(Layout { file, records }))
    }

    fn contiguous(&self, records: u64, bytes: u64) -> Option<Vec<Extent>> {
        let base = ffi::contiguous_offset(&self.id)?;
        // Storage of another size than the shape asks for is damage.
        if records.checked_mul(bytes) != Some(ffi::stored_bytes(&self.id)) {
            return None;
        }
        Some((0..records).map(|i| Extent { offset: base + i * bytes, bytes }).collect())
    }

    fn chunked(&self, axes: usize, bytes: u64) -> Result<Option<Vec<Extent>>> {
        let Some(chunk) = &self.parts.chunk else {
            return Ok(None);
        };
        let leading = self.shape.len() - axes;
        if chunk[leading..] != self.shape[leading..] {
            return Ok(None);
        }
        let records = self.records(axes)?;
        let held = chunk[..leading].iter().try_fold(1_u64, |n, c| n.checked_mul(*c));
        // A shape without bytes behind it would make an endless list.
        let most = ffi::stored_bytes(&self.id) / bytes.max(1);
        if held.is_none() || records > most {
            return Ok(None);
        }
        let size = held.and_then(|n| n.checked_mul(bytes)).unwrap_or(u64::MAX);
        // Plain chunks all take their room in the file.
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let found = ffi::written_chunks(&self.id, chunk.len(), most).map_err(|e| e.at(&self.name))?;
        let places: HashMap<Vec<u64>, u64> =
            found.into_iter().filter(|c| c.bytes == size).map(|c| (c.start, c.offset)).collect();
        let mut out = Vec::with_capacity(records as usize);
        let mut index = vec![0_u64; self.shape.len()];
        for _ in 0..records {
            let mut start = vec![0; index.len()];
            let mut inside = 0;
            for axis in 0..leading {
                start[axis] = index[axis] / chunk[axis] * chunk[axis];
                inside = inside * chunk[axis] + index[axis] % chunk[axis];
            }
            let Some(base) = places.get(&start) else {
                return Ok(None);
            };
            out.push(Extent { offset: base + inside * bytes, bytes });
            for axis in (0..leading).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(Some(out))
    }
}
