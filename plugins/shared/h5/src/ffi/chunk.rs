//! Chunks as they lie in the file.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use hdf5::sync::sync;
use hdf5_sys::h5d::{H5Dchunk_iter, H5Dread_chunk, H5Dwrite_chunk};
use hdf5_sys::h5p::H5P_DEFAULT;

use super::{Id, check};
use crate::{Error, Kind, Result};

/// A chunk that has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Index of its first element, axis by axis.
    pub start: Vec<u64>,
    pub offset: u64,
    pub bytes: u64,
    /// Bits of the filters that were left out.
    pub skipped: u32,
}

/// All chunks that have been written, at most `most`, in the order of the file's index.
pub(crate) fn written_chunks(dataset: &Id, rank: usize, most: usize) -> Result<Vec<Written>> {
    struct Found {
        rank: usize,
        most: usize,
        chunks: Vec<Written>,
    }
    unsafe extern "C" fn each(
        start: *const u64,
        skipped: c_uint,
        offset: u64,
        bytes: u64,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: `found` is the struct below, and the library hands over one number for each axis.
        let (found, start) = unsafe {
            let found = &mut *found.cast::<Found>();
            let start = std::slice::from_raw_parts(start, found.rank).to_vec();
            (found, start)
        };
        found.chunks.push(Written { start, offset, bytes, skipped });
        // A positive number ends the walk without an error.
        c_int::from(found.chunks.len() > found.most)
    }
    let mut found = Found { rank, most, chunks: Vec::new() };
    // SAFETY: `each` is called within this call only, with the struct alive.
    check("walking the chunks", || unsafe {
        H5Dchunk_iter(dataset.0, H5P_DEFAULT, Some(each), (&raw mut found).cast()).min(0)
    })?;
    if found.chunks.len() > most {
        let text = format!("more than {most} chunks are listed, which the file has no room for");
        return Err(Error::new(Kind::Range, text));
    }
    Ok(found.chunks)
}

/// Bytes that the chunk at `start` takes in the file; nothing if it has not been written.
pub(crate) fn chunk_bytes(dataset: &Id, start: &[u64]) -> Result<Option<u64>> {
    let (mut bytes, mut skipped) = (0_usize, 0_u32);
    // SAFETY: callers pass as many numbers as axes; without a buffer only the length is given.
    let measured = check("looking for a chunk", || unsafe {
        H5Dread_chunk(
            dataset.0,
            H5P_DEFAULT,
            start.as_ptr(),
            &raw mut skipped,
            ptr::null_mut(),
            &raw mut bytes,
        )
    });
    match measured {
        Err(e) if absent(&e) => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(Some(bytes as u64)),
    }
}

/// Reads the chunk at `start` as it is stored and gives the filters left out; nothing if it has not been written.
pub(crate) fn read_chunk(dataset: &Id, start: &[u64], most: usize, out: &mut Vec<u8>) -> Result<Option<u32>> {
    // Nobody else may write through this library between the two calls.
    sync(|| {
        let Some(bytes) = chunk_bytes(dataset, start)? else {
            return Ok(None);
        };
        let Some(bytes) = usize::try_from(bytes).ok().filter(|n| *n <= most) else {
            return Err(Error::new(
                Kind::Range,
                format!("takes {bytes} bytes, more than {most} are not believed"),
            ));
        };
        out.clear();
        out.resize(bytes, 0);
        let (mut room, mut skipped) = (bytes, 0_u32);
        // SAFETY: the buffer has the length that is passed with it.
        check("reading a chunk", || unsafe {
            let to = out.as_mut_ptr().cast();
            H5Dread_chunk(dataset.0, H5P_DEFAULT, start.as_ptr(), &raw mut skipped, to, &raw mut room)
        })?;
        if room == bytes {
            return Ok(Some(skipped));
        }
        Err(Error::new(Kind::Range, format!("changed from {bytes} to {room} bytes while it was read")))
    })
}

/// Whether an error only says that there is no such chunk.
fn absent(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("chunk address isn't defined") || text.contains("storage is not initialized")
}

/// Writes a chunk that has gone through the filters already.
pub(crate) fn write_chunk(dataset: &Id, start: &[u64], bytes: &[u8]) -> Result<()> {
    // SAFETY: callers pass as many numbers as axes; the bytes have a length.
    check("writing a chunk", || unsafe {
        H5Dwrite_chunk(dataset.0, H5P_DEFAULT, 0, start.as_ptr(), bytes.len(), bytes.as_ptr().cast())
    })
}
