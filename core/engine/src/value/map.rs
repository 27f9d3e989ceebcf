//! Read-only mappings of closed files.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps a whole file read-only.
///
/// Only for files that nobody changes any more: a mapped file that another process truncates ends this one.
/// Whatever may still grow is read with `pread`.
pub fn map_file(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io("cannot open", path, &e))?;
    // SAFETY: the caller vouches that the file is closed for writing; the map is only ever read.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io("cannot map", path, &e))
}
