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
    /// Frames as they are sent.
    Frames(Chunk),
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

/// Frames as rows of a sparse matrix, whose parts have been checked against each other.
#[derive(Debug)]
pub(super) struct Chunk {
    shape: [usize; 2],
    dtype: Dtype,
    /// Where the entries of each frame end, behind a first 0.
    pointers: Vec<u64>,
    /// The pixel of each entry.
    places: Vec<u64>,
    /// Its value, as it was sent.
    values: Vec<u8>,
}

/// Reads the record at the front; gives it with its length.
pub(super) fn record(bytes: &[u8], sizes: Option<Sizes>) -> Result<(Record, usize)> {
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
            let shape = sizes.shape;
            let chunk = Chunk { shape, dtype: values, pointers, places, values: rest[at..stop].to_vec() };
            chunk.check()?;
            Ok((Record::Frames(chunk), HEADER + stop))
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

impl Chunk {
    /// How many frames it has.
    pub fn frames(&self) -> usize {
        self.pointers.len().saturating_sub(1)
    }

    /// The dtype of its values.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn check(&self) -> Result<()> {
        let (entries, pixels) = (self.places.len() as u64, self.shape[0] * self.shape[1]);
        for (frame, ends) in self.pointers.windows(2).enumerate() {
            if ends[0] > ends[1] || ends[1] > entries {
                let [from, to] = [ends[0], ends[1]];
                return Err(Error::data(format!(
                    "frame {frame} of a chunk has the entries {from} to {to} of {entries}"
                )));
            }
        }
        match self.places.iter().find(|place| **place >= pixels as u64) {
            Some(place) => Err(Error::data(format!("an entry is at pixel {place} of {pixels}"))),
            None => Ok(()),
        }
    }

    /// The frames with all their pixels.
    pub fn dense(&self, cx: &Cx) -> Result<Array> {
        let [rows, columns] = self.shape;
        let mut out = cx.array(self.dtype, &[self.frames(), rows, columns])?;
        out.bytes_mut().fill(0);
        let size = self.dtype.size();
        for (ends, out) in
            self.pointers.windows(2).zip(out.bytes_mut().chunks_exact_mut(rows * columns * size))
        {
            let own = ends[0] as usize..ends[1] as usize;
            let values = self.values.chunks_exact(size);
            for (place, value) in self.places[own.clone()].iter().zip(values.skip(own.start)) {
                let pixel = &mut out[*place as usize * size..][..size];
                pixel.copy_from_slice(value);
                if cfg!(target_endian = "big") {
                    pixel.reverse();
                }
            }
        }
        Ok(out.freeze())
    }

    /// Some frames as rows of a table, one for each entry, and how many rows each has; `first` is the number of the first.
    pub fn events(&self, first: u64, some: std::ops::Range<usize>) -> Result<(Table, Array)> {
        let ends = &self.pointers[some.start..=some.end];
        let own = ends[0] as usize..ends[some.len()] as usize;
        let columns = self.shape[1] as u64;
        let places = &self.places[own.clone()];
        let row: Vec<f64> = places.iter().map(|place| (place / columns) as f64).collect();
        let column: Vec<f64> = places.iter().map(|place| (place % columns) as f64).collect();
        let size = self.dtype.size();
        let value: Vec<f64> = self.values[own.start * size..own.end * size]
            .chunks_exact(size)
            .map(|b| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)) as f64)
            .collect();
        let (mut records, mut counts) = (Vec::with_capacity(places.len()), Vec::with_capacity(some.len()));
        for (number, ends) in (first..).zip(ends.windows(2)) {
            let count = ends[1] - ends[0];
            records.extend((0..count).map(|_| number));
            counts.push(count as u32);
        }
        let table = Table::new(places.len())
            .with("row", &row)?
            .with("column", &column)?
            .with("value", &value)?
            .with_records(&records)?;
        Ok((table, Array::from_slice(&counts)))
    }
}
