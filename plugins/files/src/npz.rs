//! NPZ, a ZIP archive of NPY arrays: its directory, and its arrays within bounds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use isard_h5::Dtype;

use crate::format::{FormatError, Result};
use crate::inflate::{self, Coding};
use crate::npy::Npy;

/// The record that ends an archive, without its comment.
const END: usize = 22;
const END_MARK: [u8; 4] = *b"PK\x05\x06";
const LONG_MARK: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_MARK: [u8; 4] = *b"PK\x06\x07";
const ENTRY_MARK: [u8; 4] = *b"PK\x01\x02";
const LOCAL_MARK: [u8; 4] = *b"PK\x03\x04";
/// Headers of arrays are shorter than this.
const HEADER: u64 = 64 << 10;

/// The arrays of an NPZ file.
#[derive(Debug, Clone, PartialEq)]
pub struct Npz {
    name: String,
    /// Bytes of the file.
    pub length: u64,
    entries: BTreeMap<String, Entry>,
}

/// One array as the directory lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// How it is compressed.
    pub coding: Coding,
    /// Bytes as stored.
    pub stored: u64,
    /// Bytes after decompression, as the directory says.
    pub whole: u64,
    crc: u32,
    local: u64,
}

impl Npz {
    /// Reads the directory of a file.
    pub fn scan(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let bad = |text: String| FormatError::new(&name, text);
        let io = |e: io::Error| FormatError::new(&name, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.seek(SeekFrom::End(0)).map_err(io)?;
        let tail = read_at(&mut file, length.saturating_sub(END as u64 + 65535 + 76), length).map_err(io)?;
        let end = (0..tail.len().saturating_sub(END - 1)).rev().find(|at| tail[*at..].starts_with(&END_MARK));
        let end = end.ok_or_else(|| {
            bad(format!("is {length} bytes long and does not end as a zip archive, is it cut short"))
        })?;
        let (mut count, mut size, mut begin) = (
            u64::from(two(&tail, end + 10)),
            u64::from(four(&tail, end + 12)),
            u64::from(four(&tail, end + 16)),
        );
        // Archives of more than 65535 arrays or 4 GiB put their counts into a longer record before.
        if end >= 20 && tail[end - 20..].starts_with(&LOCATOR_MARK) {
            let at = eight(&tail, end - 12);
            let long = at.checked_add(56).filter(|end| *end <= length);
            let long = long.ok_or_else(|| bad(format!("has its directory at {at}, past its end")))?;
            let long = read_at(&mut file, at, long).map_err(io)?;
            if !long.starts_with(&LONG_MARK) {
                return Err(bad(format!("has no record of its directory at {at}")));
            }
            (count, size, begin) = (eight(&long, 32), eight(&long, 40), eight(&long, 48));
        }
        let stop = begin.checked_add(size).filter(|stop| *stop <= length);
        let stop =
            stop.ok_or_else(|| bad(format!("has a directory of {size} bytes at {begin}, past its end")))?;
        let directory = read_at(&mut file, begin, stop).map_err(io)?;
        let mut npz = Self { name: name.clone(), length, entries: BTreeMap::new() };
        let mut rest = directory.as_slice();
        for index in 0..count {
            let (key, entry, after) = entry(rest).map_err(|text| bad(format!("entry {index}: {text}")))?;
            if entry.stored > length || entry.whole / 1040 > entry.stored {
                let Entry { stored, whole, .. } = entry;
                return Err(bad(format!("`{key}`: {whole} bytes out of {stored}, the file has {length}")));
            }
            npz.entries.insert(key, entry);
            rest = after;
        }
        Ok(npz)
    }

    /// The names of the arrays, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// An array's place, if it is there.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// An array's bytes as a stream, with the header taken off.
    pub fn open(&self, path: &Path, key: &str) -> Result<(Npy, Box<dyn Read + Send>)> {
        let (mut from, _) = self.raw(path, key)?;
        let fault = |text: String| self.fault(key, text);
        let io = |e: io::Error| self.fault(key, e.to_string());
        // The header says in its first bytes how long it is.
        let mut bytes = vec![0; 12];
        from.read_exact(&mut bytes).map_err(io)?;
        let (length, at) = match bytes[6] {
            1 => (u64::from(two(&bytes, 8)), 10),
            _ => (u64::from(four(&bytes, 8)), 12),
        };
        if length > HEADER {
            return Err(fault(format!("has a header of {length} bytes")));
        }
        let left = (length + at).saturating_sub(12);
        (&mut from).take(left).read_to_end(&mut bytes).map_err(io)?;
        let npy = Npy::parse(&bytes, &format!("{}: `{key}`", self.name))?;
        let whole = self.entries[key].whole;
        if npy.offset as u64 + npy.len() as u64 != whole {
            return Err(fault(format!(
                "has {whole} bytes, wanted {} for {:?}",
                npy.offset + npy.len(),
                npy.shape
            )));
        }
        Ok((npy, from))
    }

    /// An array, whole: header and bytes in native order; one of more than `most` bytes is refused.
    pub fn read(&self, path: &Path, key: &str, most: u64) -> Result<(Npy, Vec<u8>)> {
        let entry = self.entries.get(key).ok_or_else(|| self.absent(key))?;
        if entry.whole > most.saturating_add(HEADER) {
            return Err(self.fault(key, format!("has {} bytes, wanted at most {most}", entry.whole)));
        }
        let bytes = self.bytes(path, key)?;
        let name = format!("{}: `{key}`", self.name);
        let npy = Npy::parse(&bytes, &name)?;
        let mut out = vec![0; npy.len().min(bytes.len())];
        npy.read(&bytes, &name, &mut out)?;
        Ok((npy, out))
    }

    /// A text, as numpy keeps a string without axes.
    pub fn text(&self, path: &Path, key: &str) -> Result<String> {
        let bytes = self.bytes(path, key)?;
        let strange = || self.fault(key, "is no text".into());
        let header = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
        let descr = header.split_once("'descr':").and_then(|(_, rest)| rest.split('\'').nth(1));
        let at = match bytes.get(6).ok_or_else(strange)? {
            1 => 10 + usize::from(two(&bytes, 8)),
            _ => 12 + four(&bytes, 8) as usize,
        };
        let body = bytes.get(at..).unwrap_or_default();
        let text: String = match descr.ok_or_else(strange)? {
            d if d.contains('U') => {
                let word = |c: &[u8; 4]| {
                    char::from_u32(if d.starts_with('>') {
                        u32::from_be_bytes(*c)
                    } else {
                        u32::from_le_bytes(*c)
                    })
                };
                body.as_chunks::<4>().0.iter().filter_map(word).collect()
            }
            d if d.contains('S') => String::from_utf8_lossy(body).into_owned(),
            _ => return Err(strange()),
        };
        Ok(text.trim_end_matches('\0').to_owned())
    }

    /// Where an array that is not compressed begins in the file, header included.
    pub fn place(&self, path: &Path, key: &str) -> Result<Option<u64>> {
        let (_, at) = self.raw(path, key)?;
        Ok((self.entries[key].coding == Coding::Plain).then_some(at))
    }

    /// An error that names the arrays there are.
    pub fn absent(&self, key: &str) -> FormatError {
        let names: Vec<String> = self.names().take(8).map(|n| format!("`{n}`")).collect();
        let more = if self.entries.len() > 8 { ", ..." } else { "" };
        FormatError::new(&self.name, format!("holds no array `{key}`, there are {}{more}", names.join(", ")))
    }

    /// A fault of one array.
    pub fn fault(&self, key: &str, text: String) -> FormatError {
        FormatError::new(&self.name, format!("`{key}`: {text}"))
    }

    /// All bytes of an array with its header, checked.
    fn bytes(&self, path: &Path, key: &str) -> Result<Vec<u8>> {
        let (from, _) = self.raw(path, key)?;
        let Entry { whole, crc, .. } = self.entries[key];
        let mut bytes = vec![];
        let read = from.take(whole + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.fault(key, format!("does not decompress: {e}")))?;
        if bytes.len() as u64 != whole {
            return Err(self.fault(key, format!("gives {} bytes, wanted {whole}", bytes.len())));
        }
        let mut sum = flate2::Crc::new();
        sum.update(&bytes);
        match sum.sum() == crc {
            true => Ok(bytes),
            false => Err(self.fault(key, format!("has checksum {:08x}, wanted {crc:08x}", sum.sum()))),
        }
    }

    /// The bytes of an entry as a stream, and where they begin.
    fn raw(&self, path: &Path, key: &str) -> Result<(Box<dyn Read + Send>, u64)> {
        let entry = self.entries.get(key).ok_or_else(|| self.absent(key))?;
        let io = |e: io::Error| self.fault(key, e.to_string());
        let mut file = File::open(path).map_err(io)?;
        let local = read_at(&mut file, entry.local, entry.local.saturating_add(30)).map_err(io)?;
        if !local.starts_with(&LOCAL_MARK) || local.len() < 30 {
            return Err(self.fault(key, format!("has no header at {}", entry.local)));
        }
        let at = entry.local + 30 + u64::from(two(&local, 26)) + u64::from(two(&local, 28));
        if at.checked_add(entry.stored).is_none_or(|end| end > self.length) {
            return Err(self.fault(key, format!("wants {} bytes at {at} of {}", entry.stored, self.length)));
        }
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        Ok((inflate::stream(BufReader::new(file).take(entry.stored), entry.coding), at))
    }
}

/// One record of the directory, and what follows it.
fn entry(bytes: &[u8]) -> std::result::Result<(String, Entry, &[u8]), String> {
    if !bytes.starts_with(&ENTRY_MARK) || bytes.len() < 46 {
        return Err("the directory is damaged".into());
    }
    let coding = match two(bytes, 10) {
        0 => Coding::Plain,
        8 => Coding::Deflate,
        other => return Err(format!("compression {other} is not built in, wanted none or deflate")),
    };
    let (mut stored, mut whole, mut local) =
        (u64::from(four(bytes, 20)), u64::from(four(bytes, 24)), u64::from(four(bytes, 42)));
    let (name, extra, comment) =
        (two(bytes, 28).into(), usize::from(two(bytes, 30)), usize::from(two(bytes, 32)));
    let body = &bytes[46..];
    let (Some(key), Some(rest)) = (body.get(..name), body.get(name + extra + comment..)) else {
        return Err("the directory is cut short".into());
    };
    let mut fields = &body[name..name + extra];
    while fields.len() >= 4 {
        let (id, size) = (two(fields, 0), usize::from(two(fields, 2)));
        let Some(field) = fields.get(4..4 + size) else { break };
        if id == 1 {
            // The long form of whichever numbers did not fit, in this order.
            let mut at = 0;
            for number in [&mut whole, &mut stored, &mut local] {
                if *number == u64::from(u32::MAX) {
                    if at + 8 > field.len() {
                        return Err("the directory is cut short".into());
                    }
                    *number = eight(field, at);
                    at += 8;
                }
            }
        }
        fields = &fields[4 + size..];
    }
    let key = String::from_utf8_lossy(key);
    let key = key.strip_suffix(".npy").unwrap_or(&key).to_owned();
    Ok((key, Entry { coding, stored, whole, crc: four(bytes, 16), local }, rest))
}

fn read_at(file: &mut File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![];
    file.take(to - from).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn two(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn four(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// The frames of the sparse form: shape, dtype and, for each frame, rows, columns and values above the threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Frames.
    pub frames: u64,
    /// Type of the pixels.
    pub dtype: Dtype,
}

impl Sparse {
    /// Reads what the file says of its frames; none where it is not of the sparse form.
    pub fn scan(npz: &Npz, path: &Path) -> Result<Option<Self>> {
        let keys = ["shape", "nframes", "0_row", "0_col", "0_data"];
        if keys.iter().any(|key| npz.entry(key).is_none()) {
            return Ok(None);
        }
        let shape = integers(npz, path, "shape", 2)?;
        let [rows, columns] = shape[..] else {
            return Err(npz.fault("shape", format!("is {shape:?}, wanted rows and columns")));
        };
        let frames = integers(npz, path, "nframes", 1)?;
        let [frames] = frames[..] else { return Err(npz.fault("nframes", "is no single number".into())) };
        let dtype = match npz.entry("dtype") {
            Some(_) => {
                let text = npz.text(path, "dtype")?;
                let known = short(text.trim_start_matches(['<', '|', '=']));
                known.ok_or_else(|| npz.fault("dtype", format!("is `{text}`, wanted such as uint16")))?
            }
            None => npz.read(path, "0_data", inflate::most(npz.length))?.0.dtype,
        };
        let pixels = rows.checked_mul(columns).and_then(|n| n.checked_mul(dtype.size() as u64));
        let bytes = pixels.filter(|n| *n > 0 && *n <= isize::MAX as u64);
        let bytes =
            bytes.ok_or_else(|| npz.fault("shape", format!("{rows} x {columns} is nothing or too large")))?;
        // Every frame has three arrays of its own.
        if frames == 0 || npz.entries.len() as u64 / 3 < frames {
            return Err(
                npz.fault("nframes", format!("is {frames}, the file holds {} arrays", npz.entries.len()))
            );
        }
        let found = Self { shape: [rows as usize, columns as usize], frames, dtype };
        // A shape that says more than the file could is believed where pixels reach into its far half.
        if bytes > inflate::most(npz.length) && !found.reached(npz, path)? {
            return Err(
                npz.fault("shape", format!("{rows} x {columns}, but no pixel lies in the far half of it"))
            );
        }
        Ok(Some(found))
    }

    fn reached(&self, npz: &Npz, path: &Path) -> Result<bool> {
        let mut far = [false; 2];
        for frame in 0..self.frames {
            for (axis, key) in ["row", "col"].into_iter().enumerate() {
                let values = integers(npz, path, &format!("{frame}_{key}"), inflate::most(npz.length) / 8)?;
                far[axis] |=
                    values.iter().any(|v| *v >= self.shape[axis] as u64 / 2 && *v < self.shape[axis] as u64);
            }
            if far == [true; 2] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fills a frame: zeros, and the values that are listed.
    pub fn read(&self, npz: &Npz, path: &Path, frame: u64, out: &mut [u8]) -> Result<()> {
        let [rows, columns] = self.shape;
        let most = (rows * columns) as u64;
        let key = |what: &str| format!("{frame}_{what}");
        let (row, column) =
            (integers(npz, path, &key("row"), most)?, integers(npz, path, &key("col"), most)?);
        let (npy, data) = npz.read(path, &key("data"), most * 8)?;
        let size = self.dtype.size();
        if npy.dtype != self.dtype {
            return Err(npz.fault(&key("data"), format!("holds {}, wanted {}", npy.dtype, self.dtype)));
        }
        if row.len() != column.len() || row.len() * size != data.len() {
            let (r, c, d) = (row.len(), column.len(), data.len() / size);
            return Err(npz.fault(&key("data"), format!("has {d} values for {r} rows and {c} columns")));
        }
        out.fill(0);
        for ((r, c), value) in row.iter().zip(&column).zip(data.chunks_exact(size)) {
            if *r >= rows as u64 || *c >= columns as u64 {
                return Err(
                    npz.fault(&key("row"), format!("pixel ({r}, {c}) lies outside {rows} x {columns}"))
                );
            }
            let at = (*r as usize * columns + *c as usize) * size;
            out[at..at + size].copy_from_slice(value);
        }
        Ok(())
    }
}

/// A dtype by the name that numpy gives it.
fn short(text: &str) -> Option<Dtype> {
    Some(match text {
        "uint8" | "u1" => Dtype::U8,
        "uint16" | "u2" => Dtype::U16,
        "uint32" | "u4" => Dtype::U32,
        "uint64" | "u8" => Dtype::U64,
        "int8" | "i1" => Dtype::I8,
        "int16" | "i2" => Dtype::I16,
        "int32" | "i4" => Dtype::I32,
        "int64" | "i8" => Dtype::I64,
        "float32" | "f4" => Dtype::F32,
        "float64" | "f8" => Dtype::F64,
        _ => return None,
    })
}

/// An array of integers that are not negative, at most so many.
fn integers(npz: &Npz, path: &Path, key: &str, most: u64) -> Result<Vec<u64>> {
    let (npy, bytes) = npz.read(path, key, most.saturating_mul(8))?;
    let fault = |text: String| npz.fault(key, text);
    let size = npy.dtype.size();
    let signed = matches!(npy.dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64);
    if matches!(npy.dtype, Dtype::F32 | Dtype::F64 | Dtype::C32 | Dtype::C64) {
        return Err(fault(format!("holds {}, wanted integers", npy.dtype)));
    }
    let number = |cell: &[u8]| -> Result<u64> {
        let mut wide = [0; 8];
        let at = if cfg!(target_endian = "little") { 0 } else { 8 - size };
        wide[at..at + size].copy_from_slice(cell);
        let value = u64::from_ne_bytes(wide);
        match signed && value >> (8 * size - 1) == 1 {
            true => Err(fault("holds a negative number".into())),
            false => Ok(value),
        }
    };
    bytes.chunks_exact(size).map(number).collect()
}

/// An archive of arrays that are not compressed: names, types, shapes, and elements in the order of this machine.
pub fn archive(arrays: &[(&str, Dtype, &[u64], &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (vec![], vec![]);
    for (name, dtype, shape, elements) in arrays {
        let at = bytes.len() as u32;
        let body = [crate::npy::header(*dtype, shape).as_slice(), elements].concat();
        let mut sum = flate2::Crc::new();
        sum.update(&body);
        let (name, size) = (format!("{name}.npy"), body.len() as u32);
        // Version 2.0, no flags, not compressed, the first of January 1980.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 33, 0];
        for number in [sum.sum(), size, size] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&LOCAL_MARK);
        bytes.extend_from_slice(&common);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&body);
        directory.extend_from_slice(&ENTRY_MARK);
        directory.extend_from_slice(&[20, 0]);
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (begin, count) = (bytes.len() as u32, arrays.len() as u16);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(&END_MARK);
    bytes.extend_from_slice(&[0; 4]);
    for number in [count, count] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [directory.len() as u32, begin] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[0, 0]);
    bytes
}
