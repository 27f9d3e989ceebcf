//! Writing of pages, each as one strip.

use isard_h5::Dtype;
use tiff::encoder::compression::{CompressionAlgorithm, Deflate, DeflateLevel};

use crate::format::{FormatError, Result};

/// Pixels begin at multiples of this, so that a mapped page is aligned.
const ALIGN: usize = 16;

/// Builds a TIFF file of equal pages in memory.
///
/// Each page is one strip in the byte order of this machine.
#[derive(Debug)]
pub struct Writer {
    dtype: Dtype,
    shape: [usize; 2],
    big: bool,
    deflate: bool,
    bytes: Vec<u8>,
    /// Where the offset of the next directory belongs.
    link: usize,
}

impl Writer {
    /// A file for pages of `shape` (rows, columns).
    ///
    /// `big` gives offsets of 64 bits, needed beyond 4 GiB.
    pub fn new(dtype: Dtype, shape: [usize; 2], big: bool) -> Result<Self> {
        let fault = |text| Err(FormatError::new("tiff", text));
        if matches!(dtype, Dtype::C32 | Dtype::C64) {
            return fault(format!("cannot hold {dtype}"));
        }
        let fits = |n: usize| n > 0 && u32::try_from(n).is_ok();
        if !shape.iter().all(|n| fits(*n)) {
            return fault(format!("pages of shape {shape:?} are not possible"));
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(if cfg!(target_endian = "little") { b"II" } else { b"MM" });
        if big {
            bytes.extend_from_slice(&43_u16.to_ne_bytes());
            // Bytes of an offset, and a constant zero.
            bytes.extend_from_slice(&8_u16.to_ne_bytes());
            bytes.extend_from_slice(&[0; 2]);
        } else {
            bytes.extend_from_slice(&42_u16.to_ne_bytes());
        }
        let link = bytes.len();
        bytes.resize(ALIGN, 0);
        Ok(Self { dtype, shape, big, deflate: false, bytes, link })
    }

    /// Compresses the pages that follow, quickly.
    pub fn deflate(mut self) -> Self {
        self.deflate = true;
        self
    }

    /// Adds a page of pixels in native byte order.
    pub fn page(&mut self, pixels: &[u8]) -> Result<()> {
        let fault = |text| Err(FormatError::new("tiff", text));
        let wanted = self.shape[0] * self.shape[1] * self.dtype.size();
        if pixels.len() != wanted {
            return fault(format!("a page has {} bytes, wanted {wanted}", pixels.len()));
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        let at = self.bytes.len();
        if self.deflate {
            let done = Deflate::with_level(DeflateLevel::Fast).write_to(&mut self.bytes, pixels);
            done.map_err(|e| FormatError::new("tiff", e))?;
        } else {
            self.bytes.extend_from_slice(pixels);
        }
        let stored = self.bytes.len() - at;
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        if !self.big && self.bytes.len() + 256 > u32::MAX as usize {
            return fault("the file passes 4 GiB, wanted the big form".into());
        }
        self.directory(at, stored);
        Ok(())
    }

    /// The finished file.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        if self.bytes.len() == ALIGN {
            return Err(FormatError::new("tiff", "a file needs at least one page"));
        }
        Ok(self.bytes)
    }

    fn directory(&mut self, at: usize, stored: usize) {
        let format = match self.dtype {
            Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => 2,
            Dtype::F32 | Dtype::F64 => 3,
            _ => 1,
        };
        let [height, width] = self.shape.map(|n| n as u64);
        let bits = self.dtype.size() as u64 * 8;
        let method = if self.deflate { 8 } else { 1 };
        // Tag, whether it is of 16 bits, value; in order of tag.
        let tags = [
            (256, false, width),
            (257, false, height),
            (258, true, bits),
            (259, true, method),
            (262, true, 1),
            (273, false, at as u64),
            (277, true, 1),
            (278, false, height),
            (279, false, stored as u64),
            (339, true, format),
        ];
        let begin = self.bytes.len() as u64;
        let link = self.link;
        if self.big {
            self.bytes[link..link + 8].copy_from_slice(&begin.to_ne_bytes());
            self.bytes.extend_from_slice(&(tags.len() as u64).to_ne_bytes());
        } else {
            self.bytes[link..link + 4].copy_from_slice(&(begin as u32).to_ne_bytes());
            self.bytes.extend_from_slice(&(tags.len() as u16).to_ne_bytes());
        }
        for (tag, short, value) in tags {
            let kind: u16 = match (short, self.big) {
                (true, _) => 3,
                (false, false) => 4,
                (false, true) => 16,
            };
            self.bytes.extend_from_slice(&(tag as u16).to_ne_bytes());
            self.bytes.extend_from_slice(&kind.to_ne_bytes());
            let mut field = [0_u8; 8];
            match kind {
                3 => field[..2].copy_from_slice(&(value as u16).to_ne_bytes()),
                4 => field[..4].copy_from_slice(&(value as u32).to_ne_bytes()),
                _ => field.copy_from_slice(&value.to_ne_bytes()),
            }
            if self.big {
                self.bytes.extend_from_slice(&1_u64.to_ne_bytes());
                self.bytes.extend_from_slice(&field);
            } else {
                self.bytes.extend_from_slice(&1_u32.to_ne_bytes());
                self.bytes.extend_from_slice(&field[..4]);
            }
        }
        self.link = self.bytes.len();
        let end = if self.big { 8 } else { 4 };
        self.bytes.resize(self.link + end, 0);
    }
}
