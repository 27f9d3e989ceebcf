//! Reading of pages out of the bytes of a file.

use std::io::{self, Read, Seek, SeekFrom};

use tiff::decoder::Decoder;

use super::scan::limits;
use super::{Page, Tiff};
use crate::format::{Result, swap};

impl Tiff {
    /// Reads a page into `out`, in the byte order of this machine.
    ///
    /// `file` holds the whole file that was scanned, as read or mapped.
    pub fn read(&self, file: &[u8], index: usize, out: &mut [u8]) -> Result<()> {
        let page = self.page(index)?;
        if out.len() != page.bytes() {
            let text = format!("is {} bytes, the buffer has {}", page.bytes(), out.len());
            return Err(self.fault(index, text));
        }
        let Some(runs) = &page.runs else {
            return self.decode(file, index, page, out);
        };
        let mut rest = &mut *out;
        for run in runs {
            let from = file.get(run.offset as usize..(run.offset + run.bytes) as usize);
            let from = from.ok_or_else(|| self.fault(index, "the file has become shorter"))?;
            let (now, later) = rest.split_at_mut(from.len());
            now.copy_from_slice(from);
            rest = later;
        }
        self.arrange(index, out)
    }

    /// Puts bytes that were read from the runs of a page into native order.
    pub fn arrange(&self, index: usize, bytes: &mut [u8]) -> Result<()> {
        let page = self.page(index)?;
        if !page.native {
            swap(bytes, page.dtype.size());
        }
        Ok(())
    }

    fn decode(&self, file: &[u8], index: usize, page: &Page, out: &mut [u8]) -> Result<()> {
        let bad = |e: tiff::TiffError| self.fault(index, format!("{} data: {e}", page.compression));
        let reader = From::new(file, page.directory, self.big);
        let mut decoder = Decoder::new(reader).map_err(bad)?.with_limits(limits(file.len() as u64));
        let layout = decoder.image_buffer_layout().map_err(bad)?;
        if layout.complete_len != out.len() {
            let text = format!("decodes to {} bytes, wanted {}", layout.complete_len, out.len());
            return Err(self.fault(index, text));
        }
        decoder.read_image_bytes(out).map_err(bad)
    }
}

/// A file whose header points at one directory.
///
/// The decoder walks from the first page to the one wanted. Pointing the
/// header at the wanted page makes each page as cheap as the first.
struct From<'a> {
    header: [u8; 16],
    file: &'a [u8],
    at: u64,
}

impl<'a> From<'a> {
    fn new(file: &'a [u8], directory: u64, big: bool) -> Self {
        let mut header = [0; 16];
        let held = file.len().min(16);
        header[..held].copy_from_slice(&file[..held]);
        let little = header[0] == b'I';
        let bytes = if little { directory.to_le_bytes() } else { directory.to_be_bytes() };
        match (big, little) {
            (true, _) => header[8..].copy_from_slice(&bytes),
            (false, true) => header[4..8].copy_from_slice(&bytes[..4]),
            (false, false) => header[4..8].copy_from_slice(&bytes[4..]),
        }
        Self { header, file, at: 0 }
    }
}

impl Read for From<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let from = match usize::try_from(self.at) {
            Ok(at) if at < 16 => &self.header[at..self.file.len().clamp(at, 16)],
            Ok(at) => self.file.get(at..).unwrap_or_default(),
            Err(_) => &[],
        };
        let n = from.len().min(out.len());
        out[..n].copy_from_slice(&from[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for From<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => (self.file.len() as u64).checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
