//! The sparse stream: frames as rows of a sparse matrix, sorted by the server of the detector.

use isard_core::prelude::*;

/// Bytes of every header.
const HEADER: usize = 32;
/// A chunk longer than this is none.
const LONGEST: usize = 1 << 30;

/// What one record of the stream is.
#[derive(Debug)]
pub(super) enum Record {
    /// More bytes are needed.
    Short,
    /// An acquisition begins: scan and detector, in rows and columns.
    Start(Sizes),
    /// Frames, dense.
    Frames(Array),
    /// Nothing of interest.
    Other,
    /// A scan or the acquisition ends.
    End,
}

/// What the header of an acquisition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Rows and columns of the scan.
    pub scan: [u64; 2],
    /// Rows and columns of the detector.
    pub shape: [usize; 2],
    pointer: Dtype,
    index: Dtype,
}

/// Reads the record at the front; gives it with its length.
pub(super) fn record(cx: &Cx, bytes: &[u8], sizes: Option<Sizes>) -> Result<(Record, usize)> {
    let Some((head, rest)) = bytes.split_at_checked(HEADER) else { return Ok((Record::Short, 0)) };
    let short = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    match head[0] {
        0 => {
            if head[2] > 1 {
                return Err(Error::data(format!("the stream is of format {}, wanted 0 or 1", head[2])));
            }
            let sizes = Sizes {
                scan: [short(3), short(5)],
                shape: [short(8) as usize, short(10) as usize],
                pointer: dtype(head[7])?,
                index: dtype(head[12])?,
            };
            if sizes.scan.contains(&0) || sizes.shape.contains(&0) {
                let text =
                    format!("the stream says a scan of {:?} and a detector of {:?}", sizes.scan, sizes.shape);
                return Err(Error::data(text));
            }
            Ok((Record::Start(sizes), HEADER))
        }
        1 => {
            let len = head[5..13].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
            let len = usize::try_from(len).ok().filter(|n| *n <= LONGEST);
            let len =
                len.ok_or_else(|| Error::data("the stream says a description of more than a gigabyte"))?;
            if rest.len() < len { Ok((Record::Short, 0)) } else { Ok((Record::Other, HEADER + len)) }
        }
        2 => {
            let sizes =
                sizes.ok_or_else(|| Error::data("the stream gives frames before its acquisition begins"))?;
            let values = dtype(head[1])?;
            let (frames, entries, indices, at) = (long(2), long(6), long(10), long(14));
            let pointers = frames.saturating_add(1).saturating_mul(sizes.pointer.size());
            let stop = at.saturating_add(entries.saturating_mul(values.size()));
            let fits = pointers <= indices && indices.saturating_add(entries * sizes.index.size()) <= at;
            if !fits || stop > LONGEST {
                return Err(Error::data(format!(
                    "a chunk of {frames} frames and {entries} entries has its parts at {indices} and {at}: they overlap"
                )));
            }
            if rest.len() < stop {
                return Ok((Record::Short, 0));
            }
            let pointers = numbers(&rest[..pointers], sizes.pointer);
            let places = numbers(&rest[indices..indices + entries * sizes.index.size()], sizes.index);
            let dense = dense(cx, sizes.shape, values, frames, &pointers, &places, &rest[at..stop])?;
            Ok((Record::Frames(dense), HEADER + stop))
        }
        3 | 4 => Ok((Record::End, HEADER)),
        tag => Err(Error::data(format!("the stream holds a record of tag {tag}, wanted 0 to 4"))),
    }
}

fn dtype(code: u8) -> Result<Dtype> {
    match code {
        2 => Ok(Dtype::U8),
        3 => Ok(Dtype::U16),
        4 => Ok(Dtype::U32),
        5 => Ok(Dtype::U64),
        0 | 1 => {
            Err(Error::data("the stream packs several numbers into a byte (u1, u4), which is not supported")
                .help("set the server to 8 bits or more"))
        }
        _ => Err(Error::data(format!("the stream names the dtype {code}, wanted 2 to 5"))),
    }
}

fn numbers(bytes: &[u8], dtype: Dtype) -> Vec<u64> {
    let number = |b: &[u8]| b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    bytes.chunks_exact(dtype.size()).map(number).collect()
}

fn dense(
    cx: &Cx,
    shape: [usize; 2],
    dtype: Dtype,
    frames: usize,
    pointers: &[u64],
    places: &[u64],
    values: &[u8],
) -> Result<Array> {
    let pixels = shape[0] * shape[1];
    let mut out = cx.array(dtype, &[frames, shape[0], shape[1]])?;
    out.bytes_mut().fill(0);
    let size = dtype.size();
    for (frame, out) in out.bytes_mut().chunks_exact_mut(pixels * size).enumerate() {
        let (from, to) = (pointers[frame] as usize, pointers[frame + 1] as usize);
        let entries = places.get(from..to).ok_or_else(|| {
            Error::data(format!(
                "frame {frame} of a chunk has the entries {from} to {to} of {}",
                places.len()
            ))
        })?;
        for (place, value) in entries.iter().zip(values[from * size..to * size].chunks_exact(size)) {
            let at = (*place as usize).saturating_mul(size);
            let pixel = out.get_mut(at..at + size);
            let pixel =
                pixel.ok_or_else(|| Error::data(format!("an entry is at pixel {place} of {pixels}")))?;
            pixel.copy_from_slice(value);
            if cfg!(target_endian = "big") {
                pixel.reverse();
            }
        }
    }
    Ok(out.freeze())
}
