//! A whole HDF5 file in memory.

use std::collections::HashMap;

use isard_codec::fletcher32;

use crate::pack::{Each, Packer, alone};
use crate::{Attr, Dtype, Error, Kind, Result, Spec, ffi};

/// A file being built in memory; its bytes are the caller's to write.
///
/// Nothing touches the disk. [`Image::into_bytes`] gives a complete file.
#[derive(Debug)]
pub struct Image {
    file: ffi::Id,
    columns: Vec<Column>,
    names: HashMap<String, Slot>,
    scratch: Vec<u8>,
    packer: Packer,
}

/// A dataset of an [`Image`] that takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

/// A dataset, made when its first chunk is full or the file is finished.
#[derive(Debug)]
struct Column {
    path: String,
    spec: Spec,
    record_bytes: usize,
    chunk: u64,
    made: Option<ffi::Id>,
    written: u64,
    /// Records that do not fill a chunk yet.
    pending: Vec<u8>,
    /// Attributes given before the dataset was made.
    attributes: Vec<(String, Attr)>,
}

impl Image {
    /// An empty file, meant to hold some megabytes.
    pub fn new() -> Result<Self> {
        Self::sized(4 << 20)
    }

    /// An empty file, meant to hold about `bytes`.
    pub fn sized(bytes: usize) -> Result<Self> {
        Self::within(Vec::new(), bytes)
    }

    /// An empty file, meant to hold about `bytes`, that may lie in the memory of an earlier one.
    ///
    /// Memory that was written to before is quicker than new memory. What `spare` holds is lost.
    pub fn within(spare: Vec<u8>, bytes: usize) -> Result<Self> {
        // Memory grows by this step at least; small files stay small.
        let step = (bytes / 4).clamp(64 << 10, 64 << 20);
        let file = ffi::create_image(step, spare)?;
        Ok(Self {
            file,
            columns: Vec::new(),
            names: HashMap::new(),
            scratch: Vec::new(),
            packer: Packer::default(),
        })
    }

    /// Makes a group, and those above it, unless it is there.
    pub fn group(&mut self, path: &str) -> Result<()> {
        let path = absolute(path)?;
        match ffi::open_object(&self.file, &path) {
            Ok(found) if ffi::object_kind(&found) == ffi::Object::Group => Ok(()),
            Ok(_) => Err(Error::new(Kind::Mismatch, format!("{path}: is a dataset, wanted a group"))),
            Err(_) => ffi::create_group(&self.file, &path).map(|_| ()).map_err(|e| e.at(&path)),
        }
    }

    /// Makes a dataset that grows by [`Image::append`].
    pub fn dataset(&mut self, path: &str, spec: &Spec) -> Result<Slot> {
        let path = absolute(path)?;
        let slot = Slot(self.columns.len());
        let record_bytes = spec.record_bytes().map_err(|e| e.at(&path))?;
        let chunk = spec.chunk_records(None).map_err(|e| e.at(&path))?;
        if self.names.insert(path.clone(), slot).is_some() || ffi::open_object(&self.file, &path).is_ok() {
            return Err(Error::new(Kind::Mismatch, format!("{path}: exists already")));
        }
        // The dataset comes later, but its group may be given attributes now.
        if let Some((above, _)) = path.rsplit_once('/') {
            self.group(above)?;
        }
        self.columns.push(Column {
            path,
            spec: spec.clone(),
            record_bytes,
            chunk,
            made: None,
            written: 0,
            pending: Vec::new(),
            attributes: Vec::new(),
        });
        Ok(slot)
    }

    /// Adds records, given in native byte order.
    pub fn append(&mut self, slot: Slot, bytes: &[u8], records: u64) -> Result<()> {
        self.append_on(slot, bytes, records, &alone)
    }

    /// Adds records; chunks are compressed by `each`, which may use several threads.
    pub fn append_on(&mut self, slot: Slot, bytes: &[u8], records: u64, each: Each) -> Result<()> {
        let column = &mut self.columns[slot.0];
        if (column.record_bytes as u64).checked_mul(records) != Some(bytes.len() as u64) {
            let text = format!(
                "{}: {records} records of {} bytes do not make {} bytes",
                column.path,
                column.record_bytes,
                bytes.len()
            );
            return Err(Error::new(Kind::Mismatch, text));
        }
        let whole = column.chunk as usize * column.record_bytes;
        let mut tools =
            Tools { file: &self.file, scratch: &mut self.scratch, packer: &mut self.packer, each };
        let mut rest = bytes;
        while column.pending.len() + rest.len() >= whole {
            if column.pending.is_empty() {
                let chunks = (rest.len() / whole).min(Packer::batch(whole));
                let (chunks, later) = rest.split_at(chunks * whole);
                column.full(&mut tools, chunks)?;
                rest = later;
            } else {
                let (more, later) = rest.split_at(whole - column.pending.len());
                column.pending.extend_from_slice(more);
                rest = later;
                let chunk = std::mem::take(&mut column.pending);
                column.full(&mut tools, &chunk)?;
            }
        }
        column.pending.extend_from_slice(rest);
        Ok(())
    }

    /// Writes one number in native byte order.
    pub fn scalar(&mut self, path: &str, dtype: Dtype, bytes: &[u8]) -> Result<()> {
        let path = absolute(path)?;
        let made = ffi::create_dataset(&self.file, &path, &Spec::new(dtype, &[]), None)
            .and_then(|made| ffi::write_block(&made, dtype, &[], &[], bytes));
        made.map_err(|e| e.at(&path))
    }

    /// Writes one truth value, as numpy has it.
    pub fn boolean(&mut self, path: &str, value: bool) -> Result<()> {
        let path = absolute(path)?;
        let made = ffi::create_dataset(&self.file, &path, &Spec::boolean(&[]), None)
            .and_then(|made| ffi::write_block(&made, Dtype::I8, &[], &[], &[u8::from(value)]));
        made.map_err(|e| e.at(&path))
    }

    /// Writes one string.
    pub fn text(&mut self, path: &str, text: &str) -> Result<()> {
        let path = absolute(path)?;
        ffi::write_texts(&self.file, &path, &[text], true, None).map_err(|e| e.at(&path))?;
        Ok(())
    }

    /// Writes a column of strings of any length.
    pub fn texts(&mut self, path: &str, texts: &[&str]) -> Result<()> {
        let path = absolute(path)?;
        ffi::write_texts(&self.file, &path, texts, false, None).map_err(|e| e.at(&path))?;
        Ok(())
    }

    /// Writes a column of strings, each with the room of the longest.
    pub fn fixed_texts(&mut self, path: &str, texts: &[&str]) -> Result<()> {
        let path = absolute(path)?;
        let size = texts.iter().map(|text| text.len()).max().unwrap_or(1).max(1);
        ffi::write_texts(&self.file, &path, texts, false, Some(size)).map_err(|e| e.at(&path))?;
        Ok(())
    }

    /// Sets an attribute of a group or dataset; `/` is the file itself.
    pub fn attribute(&mut self, path: &str, name: &str, value: impl Into<Attr>) -> Result<()> {
        let (path, value) = (absolute(path)?, value.into());
        if let Some(Slot(index)) = self.names.get(&path) {
            let column = &mut self.columns[*index];
            if column.made.is_none() {
                column.attributes.push((name.into(), value));
                return Ok(());
            }
        }
        ffi::open_object(&self.file, &path)
            .and_then(|object| ffi::write_attribute(&object, name, &value))
            .map_err(|e| e.at(&path))
    }

    /// Copies everything below the root of another file, given as its bytes, into a new group.
    pub fn adopt(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = absolute(path)?;
        let from = ffi::open_image(bytes).map_err(|e| e.at(&path))?;
        ffi::copy(&from, ".", &self.file, &path).map_err(|e| e.at(&path))
    }

    /// Copies what stands directly below the root of another file, given as its bytes, each under its own name.
    pub fn adopt_all(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        let from = ffi::open_image(bytes)?;
        let names = ffi::link_names(&ffi::open_object(&from, "/")?)?;
        for name in &names {
            let path = absolute(name)?;
            ffi::copy(&from, &path, &self.file, &path).map_err(|e| e.at(&path))?;
        }
        Ok(names)
    }

    /// Finishes the file and gives its bytes.
    pub fn into_bytes(mut self) -> Result<Vec<u8>> {
        let Self { file, columns, scratch, packer, .. } = &mut self;
        let mut tools = Tools { file, scratch, packer, each: &alone };
        for column in columns {
            column.finish(&mut tools).map_err(|e| e.at(&column.path))?;
        }
        // Chunks are filtered here. Closing datasets first would lose the error.
        ffi::flush(&self.file)?;
        // A file is only closed when nothing in it is open.
        drop(self.columns);
        ffi::close_image(self.file)
    }

    pub(crate) fn file(&self) -> &ffi::Id {
        &self.file
    }
}

/// What chunks are written with.
struct Tools<'a> {
    file: &'a ffi::Id,
    scratch: &'a mut Vec<u8>,
    packer: &'a mut Packer,
    each: Each<'a>,
}

impl Column {
    fn make(&mut self, file: &ffi::Id) -> Result<()> {
        if self.made.is_none() {
            let made = ffi::create_dataset(file, &self.path, &self.spec, Some(self.chunk))?;
            for (name, value) in self.attributes.drain(..) {
                ffi::write_attribute(&made, &name, &value)?;
            }
            self.made = Some(made);
        }
        Ok(())
    }

    /// Writes full chunks.
    fn full(&mut self, tools: &mut Tools, bytes: &[u8]) -> Result<()> {
        let path = self.path.clone();
        let records = (bytes.len() / self.record_bytes) as u64;
        let end = self.written + records;
        self.make(tools.file).and_then(|()| self.chunks(tools, bytes, end)).map_err(|e| e.at(&path))
    }

    /// Writes full chunks into a dataset that then ends with record `end`.
    fn chunks(&mut self, tools: &mut Tools, bytes: &[u8], end: u64) -> Result<()> {
        let whole = self.chunk as usize * self.record_bytes;
        let made = self.made.as_ref().expect("the dataset was made before its chunks");
        ffi::set_extent(made, &self.size(end))?;
        let (records, dtype, one) = (self.chunk, self.spec.dtype, self.size(self.chunk));
        let mut start = vec![0; one.len()];
        start[0] = self.written;
        if Packer::knows(&self.spec) {
            tools.packer.pack(&self.spec, bytes, whole, tools.each, |packed| {
                ffi::write_chunk(made, &start, packed)?;
                start[0] += records;
                Ok(())
            })?;
        } else {
            for chunk in bytes.chunks_exact(whole) {
                // Uncompressed chunks go past the filter pipeline and its copies,
                // and the checksum is the same four bytes the filter would append.
                if self.spec.plain() && self.spec.fletcher32 {
                    tools.scratch.clear();
                    tools.scratch.extend_from_slice(chunk);
                    tools.scratch.extend_from_slice(&fletcher32(chunk).to_le_bytes());
                    ffi::write_chunk(made, &start, tools.scratch)?;
                } else if self.spec.plain() {
                    ffi::write_chunk(made, &start, chunk)?;
                } else {
                    ffi::write_block(made, dtype, &start, &one, chunk)?;
                }
                start[0] += records;
            }
        }
        self.written = end;
        Ok(())
    }

    /// Writes what does not fill a chunk.
    fn finish(&mut self, tools: &mut Tools) -> Result<()> {
        let records = (self.pending.len() / self.record_bytes) as u64;
        if self.made.is_none() {
            self.chunk = self.spec.chunk_records(Some(records))?;
        }
        self.make(tools.file)?;
        if records == 0 {
            return Ok(());
        }
        let (first, mut pending) = (self.written, std::mem::take(&mut self.pending));
        if Packer::knows(&self.spec) {
            // A chunk is stored in full; what is beyond the end is never seen.
            pending.resize(self.chunk as usize * self.record_bytes, 0);
            return self.chunks(tools, &pending, first + records);
        }
        let end = self.size(first + records);
        let (size, dtype) = (self.size(records), self.spec.dtype);
        let made = self.made.as_ref().expect("the dataset was made above");
        ffi::set_extent(made, &end)?;
        let mut start = vec![0; size.len()];
        start[0] = first;
        ffi::write_block(made, dtype, &start, &size, &pending)?;
        self.written += records;
        Ok(())
    }

    fn size(&self, records: u64) -> Vec<u64> {
        [&[records], self.spec.record.as_slice()].concat()
    }
}

/// Begins with one slash, ends with none.
pub(crate) fn absolute(path: &str) -> Result<String> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| *part == "." || *part == "..") {
        return Err(Error::new(Kind::Mismatch, format!("path `{path}` has `.` or `..`, wanted plain names")));
    }
    Ok(format!("/{}", parts.join("/")))
}
