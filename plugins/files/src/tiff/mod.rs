//! TIFF: pages and where they lie, decoding, writing.
//!
//! [`Tiff::scan`] walks the directories once. A raw page is then a short list
//! of runs of the file, to be copied or read in place; a compressed page is
//! decoded from the bytes of the file, any page by any thread.

mod decode;
mod scan;
mod walk;
mod write;

pub use write::Writer;

use isard_h5::Dtype;

use crate::format::{FormatError, Result};

/// The pages of a TIFF file.
#[derive(Debug, Clone)]
pub struct Tiff {
    name: String,
    big: bool,
    pages: Vec<Page>,
}

/// One page: an image of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Type of the pixels.
    pub dtype: Dtype,
    /// Whether bytes on disk are in the order of this machine.
    pub native: bool,
    /// Where the pixels lie, if they are neither compressed nor tiled.
    pub runs: Option<Vec<Run>>,
    /// Name of the compression.
    pub compression: &'static str,
    /// Where the directory lies.
    directory: u64,
}

/// A run of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Page {
    /// Bytes of the decoded page.
    pub fn bytes(&self) -> usize {
        // The scan refuses pages whose size does not fit.
        self.height * self.width * self.dtype.size()
    }
}

impl Tiff {
    /// The pages, in order of the file.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Whether offsets are of 64 bits.
    pub fn big(&self) -> bool {
        self.big
    }

    /// The one form of all pages, or an error that names the first other one.
    pub fn uniform(&self) -> Result<&Page> {
        let first = &self.pages[0];
        let same = |p: &Page| (p.height, p.width, p.dtype) == (first.height, first.width, first.dtype);
        match self.pages.iter().position(|page| !same(page)) {
            None => Ok(first),
            Some(index) => {
                let page = &self.pages[index];
                let text = format!(
                    "is {} x {} {}, wanted {} x {} {} as page 0",
                    page.height, page.width, page.dtype, first.height, first.width, first.dtype
                );
                Err(self.fault(index, text))
            }
        }
    }

    fn page(&self, index: usize) -> Result<&Page> {
        let n = self.pages.len();
        self.pages.get(index).ok_or_else(|| self.fault(index, format!("no such page, there are {n}")))
    }

    fn fault(&self, page: usize, text: impl std::fmt::Display) -> FormatError {
        FormatError::new(&format!("{}: page {page}", self.name), text)
    }
}
