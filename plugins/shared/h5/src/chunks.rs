//! Chunks of a dataset, fetched and decoded past the library and its lock.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use isard_codec::{Filter, Pipeline, Scratch};

use crate::{Dataset, Error, Kind, Result, Storage, ffi};

/// The most chunks that are listed at once; beyond that each is looked for when it is wanted.
const MOST: u64 = 1 << 26;

/// Chunks of a dataset of records, each decoded on whatever thread asks for it.
#[derive(Debug)]
pub struct Chunks {
    dataset: Arc<Dataset>,
    axes: usize,
    /// Lengths of a chunk, and how many there are along each axis.
    chunk: Vec<u64>,
    grid: Vec<u64>,
    element: usize,
    pipeline: Pipeline,
    places: Option<Places>,
}

/// Where chunks lie in the file.
#[derive(Debug)]
struct Places {
    file: std::fs::File,
    length: u64,
    at: HashMap<u64, ffi::Written>,
}

/// Buffers of one thread, kept for the next chunk.
#[derive(Debug, Default)]
pub struct Buffers {
    stored: Vec<u8>,
    scratch: Scratch,
}

impl Chunks {
    /// The chunks of a dataset whose last `axes` axes make up a record; none if they cannot be decoded here.
    ///
    /// A `growing` dataset is asked for each chunk anew; else all of them are looked up now and read from the file.
    pub fn new(dataset: Arc<Dataset>, axes: usize, growing: bool) -> Result<Option<Self>> {
        let (records, element) = (dataset.records(axes)?, dataset.dtype()?.size());
        let parts = &dataset.parts;
        let (Storage::Chunked, Some(chunk)) = (parts.storage, parts.chunk.clone()) else {
            return Ok(None);
        };
        if !parts.stored.native || parts.external || (records == 0 && !growing) {
            return Ok(None);
        }
        let bytes = chunk.iter().try_fold(element as u64, |n, c| n.checked_mul(*c));
        let Some(bytes) = bytes.filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok()) else {
            return Err(dataset.fault(Kind::Range, &format!("has chunks of {chunk:?} elements")));
        };
        let filters: Vec<Filter> = parts.filters.iter().map(|stage| stage.filter.clone()).collect();
        let Some(pipeline) = Pipeline::new(&filters, bytes, element) else {
            return Ok(None);
        };
        let grid: Vec<u64> = dataset.shape.iter().zip(&chunk).map(|(n, c)| n.div_ceil(*c)).collect();
        if grid.iter().try_fold(1_u64, |n, g| n.checked_mul(*g)).is_none() {
            return Err(dataset.fault(Kind::Range, "has more chunks than 2^64"));
        }
        let mut chunks = Self { dataset, axes, chunk, grid, element, pipeline, places: None };
        if !growing && chunks.grid.iter().product::<u64>() <= MOST {
            chunks.places = chunks.look_up()?;
        }
        Ok(Some(chunks))
    }

    /// Lists the chunks; nothing for a file that is not on disk.
    fn look_up(&self) -> Result<Option<Places>> {
        let name = ffi::file_name(&self.dataset.id)?;
        let Ok(file) = std::fs::File::open(Path::new(&name)) else {
            return Ok(None);
        };
        let length = file.metadata().map_or(0, |meta| meta.len());
        // An entry of an index takes some bytes: more entries than that are damage.
        let most = usize::try_from(length).unwrap_or(usize::MAX);
        let found = ffi::written_chunks(&self.dataset.id, self.grid.len(), most);
        let found = found.map_err(|e| e.at(&self.dataset.name))?;
        let mut at = HashMap::with_capacity(found.len());
        for chunk in found {
            let index = chunk.start.iter().zip(&self.chunk).map(|(s, c)| s / c);
            let inside = index.clone().zip(&self.grid).all(|(i, g)| i < *g);
            // Chunks outside are left over from a dataset that was cut.
            if inside {
                at.insert(ravel(index, &self.grid), chunk);
            }
        }
        Ok(Some(Places { file, length, at }))
    }

    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Bytes of a decoded chunk.
    pub fn bytes(&self) -> usize {
        self.pipeline.bytes()
    }

    /// Whether each chunk is one record.
    pub fn single(&self) -> bool {
        let leading = self.leading();
        self.chunk[..leading].iter().all(|c| *c == 1)
            && self.chunk[leading..] == self.dataset.shape[leading..]
    }

    fn leading(&self) -> usize {
        self.chunk.len() - self.axes
    }

    /// Where a chunk begins, in chunks along each axis.
    fn index(&self, record: u64) -> Vec<u64> {
        let leading = self.leading();
        let place = unravel(record, &self.dataset.shape[..leading]);
        place.iter().zip(&self.chunk).map(|(i, c)| i / c).collect()
    }

    /// The numbers of the chunks that hold parts of a record.
    pub fn of(&self, record: u64) -> Vec<u64> {
        let tail = &self.grid[self.leading()..];
        let each = tail.iter().product::<u64>();
        let first = ravel(self.index(record).into_iter(), &self.grid[..self.leading()]) * each;
        (first..first + each).collect()
    }

    /// The last record that a chunk holds a part of.
    pub fn last_record(&self, number: u64) -> u64 {
        let leading = self.leading();
        let shape = &self.dataset.shape[..leading];
        let start = self.start(number);
        let last = (0..leading).map(|axis| (start[axis] + self.chunk[axis]).min(shape[axis]) - 1);
        ravel(last, shape)
    }

    /// Whether all chunks of a record have been written.
    pub fn written(&self, record: u64) -> Result<bool> {
        for number in self.of(record) {
            if !self.has(number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a record of a growing dataset is there and will not change.
    ///
    /// A chunk of several records may be written while it is half full; it counts once the next one has begun.
    pub fn settled(&self, record: u64) -> Result<bool> {
        let leading = self.leading();
        if self.chunk[..leading].iter().all(|c| *c == 1) {
            return self.written(record);
        }
        let each = self.grid[leading..].iter().product::<u64>();
        let next = (ravel(self.index(record).into_iter(), &self.grid[..leading]) + 1) * each;
        let all = self.grid.iter().product::<u64>();
        Ok(next < all && self.has(next)? && self.written(record)?)
    }

    fn has(&self, number: u64) -> Result<bool> {
        match &self.places {
            Some(places) => Ok(places.at.contains_key(&number)),
            None => {
                let found = ffi::chunk_bytes(&self.dataset.id, &self.start(number));
                Ok(found.map_err(|e| e.at(&self.dataset.name))?.is_some())
            }
        }
    }

    /// The first element of a chunk.
    fn start(&self, number: u64) -> Vec<u64> {
        unravel(number, &self.grid).iter().zip(&self.chunk).map(|(i, c)| i * c).collect()
    }

    /// Fetches and decodes a chunk into `out`, which it must fill; false if it has not been written.
    pub fn fetch(&self, number: u64, buffers: &mut Buffers, out: &mut [u8]) -> Result<bool> {
        let Buffers { stored, scratch } = buffers;
        let skipped = match &self.places {
            Some(places) => match places.at.get(&number) {
                None => return Ok(false),
                Some(chunk) => {
                    let end = chunk.offset.checked_add(chunk.bytes);
                    if end.is_none_or(|end| end > places.length) {
                        return Err(self.wrong(number, "lies past the end of the file, is it cut short"));
                    }
                    // A plain chunk goes where it is wanted at once.
                    let direct = self.pipeline.is_empty() && chunk.bytes == out.len() as u64;
                    let room = if direct {
                        &mut *out
                    } else {
                        stored.resize(chunk.bytes as usize, 0);
                        &mut stored[..]
                    };
                    let read = places.file.read_exact_at(room, chunk.offset);
                    read.map_err(|e| self.wrong(number, &e.to_string()))?;
                    if direct {
                        return Ok(true);
                    }
                    chunk.skipped
                }
            },
            None => {
                let most = self.bytes().saturating_mul(2).saturating_add(1 << 16);
                let found = ffi::read_chunk(&self.dataset.id, &self.start(number), most, stored);
                match found.map_err(|e| self.wrong(number, &e.to_string()))? {
                    None => return Ok(false),
                    Some(skipped) => skipped,
                }
            }
        };
        let decoded = self.pipeline.decode(skipped, stored, scratch, out);
        decoded.map_err(|e| self.wrong(number, &e.to_string()))?;
        Ok(true)
    }

    /// Refuses a dataset whose chunks are too large for what is stored of them.
    ///
    /// Asked before memory is taken for chunks: their lengths come from a header that may be damaged.
    pub fn plausible(&self, number: u64) -> Result<()> {
        let stored = match &self.places {
            Some(places) => places.at.get(&number).map(|chunk| chunk.bytes),
            None => ffi::chunk_bytes(&self.dataset.id, &self.start(number))
                .map_err(|e| e.at(&self.dataset.name))?,
        };
        match stored {
            Some(stored) if !self.pipeline.plausible(usize::try_from(stored).unwrap_or(usize::MAX)) => {
                let text = format!("takes {stored} bytes, which cannot hold {}", self.bytes());
                Err(self.wrong(number, &text))
            }
            _ => Ok(()),
        }
    }

    /// Copies what a decoded chunk holds of a record to its place there.
    pub fn place(&self, record: u64, number: u64, bytes: &[u8], out: &mut [u8]) {
        let (leading, start) = (self.leading(), self.start(number));
        let place = unravel(record, &self.dataset.shape[..leading]);
        let inside = (0..leading).fold(0, |n, axis| n * self.chunk[axis] + (place[axis] - start[axis]));
        let each = self.chunk[leading..].iter().product::<u64>() as usize * self.element;
        let bytes = &bytes[inside as usize * each..][..each];
        copy(
            &self.chunk[leading..],
            &self.dataset.shape[leading..],
            &start[leading..],
            self.element,
            bytes,
            out,
        );
    }

    fn wrong(&self, number: u64, text: &str) -> Error {
        let text = format!("the chunk at {:?}: {text}", self.start(number));
        self.dataset.fault(Kind::Library, &text)
    }
}

/// Copies the part of a block that lies inside `shape`.
fn copy(chunk: &[u64], shape: &[u64], start: &[u64], element: usize, from: &[u8], to: &mut [u8]) {
    let (Some((c, chunk)), Some((s, shape)), Some((at, start))) =
        (chunk.split_first(), shape.split_first(), start.split_first())
    else {
        return to[..element].copy_from_slice(&from[..element]);
    };
    let n = (*c).min(s - at) as usize;
    let bytes = |dims: &[u64]| dims.iter().product::<u64>() as usize * element;
    let (source, target) = (bytes(chunk), bytes(shape));
    let to = &mut to[*at as usize * target..];
    if chunk == shape {
        return to[..n * target].copy_from_slice(&from[..n * target]);
    }
    for i in 0..n {
        copy(chunk, shape, start, element, &from[i * source..], &mut to[i * target..][..target]);
    }
}

/// The number of a place in a grid, last axis fastest.
fn ravel(index: impl Iterator<Item = u64>, grid: &[u64]) -> u64 {
    index.zip(grid).fold(0, |n, (i, g)| n * g + i)
}

/// The place of a number in a grid.
fn unravel(mut number: u64, grid: &[u64]) -> Vec<u64> {
    let mut index = vec![0; grid.len()];
    for (i, g) in index.iter_mut().zip(grid).rev() {
        *i = number % (*g).max(1);
        number /= (*g).max(1);
    }
    index
}

impl Dataset {
    /// Whether its storage is one run that has never been made: nothing was written.
    pub fn blank(&self) -> bool {
        let parts = &self.parts;
        parts.storage == Storage::Contiguous && !parts.external && ffi::contiguous_offset(&self.id).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_places_of_a_grid() {
        // Worked by hand: 2 x 3 x 4, last axis fastest.
        assert_eq!(unravel(17, &[2, 3, 4]), [1, 1, 1]);
        for n in 0..24 {
            assert_eq!(ravel(unravel(n, &[2, 3, 4]).into_iter(), &[2, 3, 4]), n);
        }
    }

    #[test]
    fn blocks_are_cut_at_the_edge() {
        // A block of 2 x 2 at (2, 2) of a 3 x 3 record has one element inside.
        let mut out = [0; 9];
        copy(&[2, 2], &[3, 3], &[2, 2], 1, &[1, 2, 3, 4], &mut out);
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 0, 1]);
        copy(&[2, 2], &[3, 3], &[0, 2], 1, &[5, 6, 7, 8], &mut out);
        assert_eq!(out, [0, 0, 5, 0, 0, 7, 0, 0, 1]);
    }
}
