//! The walk over the directories.

use std::io::{Cursor, Read, Seek, SeekFrom};

use isard_h5::Dtype;
use tiff::decoder::{ChunkType, Decoder, Limits};
use tiff::tags::{ByteOrder, CompressionMethod, SampleFormat, Tag};

use super::{Page, Run, Tiff, walk};
use crate::format::{FormatError, Result};

/// Nothing compresses better than this; more is damage.
const RATIO: u64 = 2000;

impl Tiff {
    /// Walks the directories of a whole file in memory.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        Self::scan(Cursor::new(bytes), name)
    }

    /// Walks the directories of a file; `name` is for messages.
    pub fn scan<R: Read + Seek>(mut reader: R, name: &str) -> Result<Self> {
        let bad = |text: &dyn std::fmt::Display| FormatError::new(name, text);
        let length = reader.seek(SeekFrom::End(0)).map_err(|e| bad(&e))?;
        let mut magic = [0; 4];
        let read = reader.seek(SeekFrom::Start(0)).and_then(|_| reader.read_exact(&mut magic));
        read.map_err(|_| bad(&format!("has {length} bytes, too few for a tiff file")))?;
        let big = match &magic {
            b"II\x2a\0" | b"MM\0\x2a" => false,
            b"II\x2b\0" | b"MM\0\x2b" => true,
            other => return Err(bad(&format!("begins with {other:02x?}, not as a tiff file"))),
        };
        let checked = walk::check(&mut reader, big, length);
        checked.map_err(|(page, text)| bad(&format!("page {page}: {text}")))?;
        reader.seek(SeekFrom::Start(0)).map_err(|e| bad(&e))?;
        let mut decoder = Decoder::new(reader).map_err(|e| bad(&format!("page 0: directory: {e}")))?;
        decoder = decoder.with_limits(limits(length));
        let mut tiff = Self { name: name.into(), big, pages: Vec::new() };
        loop {
            let index = tiff.pages.len();
            let page = page(&mut decoder, length).map_err(|text| tiff.fault(index, text))?;
            tiff.pages.push(page);
            if !decoder.more_images() {
                return Ok(tiff);
            }
            decoder.next_image().map_err(|e| tiff.fault(index + 1, format!("directory: {e}")))?;
        }
    }
}

/// Limits for a file of `length` bytes.
///
/// Pages go into the caller's buffer and may have any size. The crate checks
/// the values of tags against the same limit, at 32 bytes for each value.
pub(super) fn limits(length: u64) -> Limits {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 4096 + (32 * length.min(1 << 30)).min(48 << 20) as usize;
    limits.intermediate_buffer_size = usize::MAX;
    limits
}

fn page<R: Read + Seek>(decoder: &mut Decoder<R>, length: u64) -> std::result::Result<Page, String> {
    let said = |e: tiff::TiffError| e.to_string();
    let (width, height) = decoder.dimensions().map_err(said)?;
    let numbers = |decoder: &mut Decoder<R>, tag| -> std::result::Result<Vec<u64>, String> {
        Ok(decoder.find_tag_unsigned_vec::<u64>(tag).map_err(said)?.unwrap_or_default())
    };
    let number = |decoder: &mut Decoder<R>, tag, default| -> std::result::Result<u64, String> {
        Ok(decoder.find_tag_unsigned::<u64>(tag).map_err(said)?.unwrap_or(default))
    };
    let samples = number(decoder, Tag::SamplesPerPixel, 1)?;
    if samples != 1 {
        return Err(format!("has {samples} channels, wanted 1"));
    }
    let bits = numbers(decoder, Tag::BitsPerSample)?.first().copied().unwrap_or(1);
    let format = numbers(decoder, Tag::SampleFormat)?.first().copied().unwrap_or(1);
    let dtype = dtype(bits, format as u16)?;
    let method = number(decoder, Tag::Compression, 1)? as u16;
    let compression = match CompressionMethod::from_u16_exhaustive(method) {
        CompressionMethod::None => "none",
        CompressionMethod::PackBits => "packbits",
        CompressionMethod::LZW => "lzw",
        CompressionMethod::Deflate | CompressionMethod::OldDeflate => "deflate",
        other => {
            return Err(format!(
                "compression {other:?} is not built in, wanted none, packbits, lzw or deflate"
            ));
        }
    };
    // Zero for white is a matter of display; the decoder would invert pixels.
    if method != 1 && number(decoder, Tag::PhotometricInterpretation, 1)? == 0 {
        return Err("is compressed with zero for white, which is not read".into());
    }
    let wanted = (u64::from(width) * u64::from(height)).checked_mul(dtype.size() as u64);
    let Some(wanted) = wanted.filter(|n| *n > 0 && isize::try_from(*n).is_ok()) else {
        return Err(format!("is {height} x {width} {dtype}, which is nothing or too large"));
    };
    let strips = decoder.get_chunk_type() == ChunkType::Strip;
    let (at, sizes) = if strips {
        (Tag::StripOffsets, Tag::StripByteCounts)
    } else {
        (Tag::TileOffsets, Tag::TileByteCounts)
    };
    let (at, sizes) = (numbers(decoder, at)?, numbers(decoder, sizes)?);
    // The decoder makes room for whole tiles, however small the image.
    let tile = decoder.chunk_dimensions();
    let tile = u64::from(tile.0).saturating_mul(u64::from(tile.1)).saturating_mul(dtype.size() as u64);
    if !strips && tile > wanted.saturating_mul(4).max(4 << 20) {
        return Err(format!("has tiles of {tile} bytes for an image of {wanted}"));
    }
    let raw = strips && method == 1;
    if raw && sizes.len() != at.len() {
        return Err(format!("has {} offsets and {} lengths of strips", at.len(), sizes.len()));
    }
    let runs = join(&at, &sizes, if raw { wanted } else { u64::MAX });
    for run in &runs {
        if run.offset.checked_add(run.bytes).is_none_or(|end| end > length) {
            let Run { offset, bytes } = run;
            return Err(format!("wants {bytes} bytes at {offset} of {length}, is the file cut short"));
        }
    }
    let held: u64 = runs.iter().map(|run| run.bytes).fold(0, u64::saturating_add);
    if raw && held < wanted {
        return Err(format!("holds {held} bytes, wanted {wanted} for {height} x {width} {dtype}"));
    }
    if wanted / RATIO > held {
        return Err(format!("holds {held} bytes, too few for {height} x {width} {dtype}"));
    }
    let Some(directory) = decoder.ifd_pointer() else {
        return Err("has no directory".into());
    };
    let native = matches!(decoder.byte_order(), ByteOrder::LittleEndian) == cfg!(target_endian = "little");
    Ok(Page {
        height: height as usize,
        width: width as usize,
        dtype,
        native,
        runs: raw.then_some(runs),
        compression,
        directory: directory.0,
    })
}

fn dtype(bits: u64, format: u16) -> std::result::Result<Dtype, String> {
    Ok(match (SampleFormat::from_u16_exhaustive(format), bits) {
        (SampleFormat::Uint | SampleFormat::Void, 8) => Dtype::U8,
        (SampleFormat::Uint | SampleFormat::Void, 16) => Dtype::U16,
        (SampleFormat::Uint | SampleFormat::Void, 32) => Dtype::U32,
        (SampleFormat::Uint | SampleFormat::Void, 64) => Dtype::U64,
        (SampleFormat::Int, 8) => Dtype::I8,
        (SampleFormat::Int, 16) => Dtype::I16,
        (SampleFormat::Int, 32) => Dtype::I32,
        (SampleFormat::Int, 64) => Dtype::I64,
        (SampleFormat::IEEEFP, 32) => Dtype::F32,
        (SampleFormat::IEEEFP, 64) => Dtype::F64,
        (format, bits) => {
            return Err(format!("pixels are {format:?} of {bits} bits, wanted 8, 16, 32 or 64"));
        }
    })
}

/// Joins strips that follow each other, up to `most` bytes in all.
fn join(at: &[u64], sizes: &[u64], most: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut left = most;
    for (offset, bytes) in at.iter().zip(sizes) {
        let bytes = (*bytes).min(left);
        left -= bytes;
        match runs.last_mut() {
            Some(run) if run.offset.checked_add(run.bytes) == Some(*offset) => {
                run.bytes = run.bytes.saturating_add(bytes);
            }
            _ if bytes > 0 => runs.push(Run { offset: *offset, bytes }),
            _ => {}
        }
    }
    runs
}
