//! Reading of files and datasets.

use std::path::{Path, PathBuf};

use crate::image::absolute;
use crate::near::nearest;
use crate::pieces::{Sources, beside, beyond, has_pattern, mapped, named};
use crate::{Address, Attr, Dtype, Element, Error, Kind, Result, Storage, ffi};

/// Virtual datasets of virtual datasets are followed this deep.
pub(crate) const DEEPEST: usize = 8;

/// A file opened for reading, without locks.
#[derive(Debug)]
pub struct File {
    pub(crate) id: ffi::Id,
    name: String,
    /// Somebody may be writing to it.
    growing: bool,
}

/// Where a name of a file leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To something in this file.
    Here,
    /// To a file, as the link names it, and a path there.
    Elsewhere {
        /// The file, relative to the folder of this one.
        file: String,
        /// The path in it.
        path: String,
    },
}

/// A dataset opened for reading.
#[derive(Debug)]
pub struct Dataset {
    pub(crate) id: ffi::Id,
    /// `file::/path`, for messages.
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) parts: ffi::Parts,
}

impl File {
    /// Opens a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        if let Err(e) = std::fs::metadata(path) {
            return Err(Error::new(Kind::Absent, format!("{name}: {e}")));
        }
        let id = ffi::open_file(path).map_err(|e| advised(e).at(&name))?;
        Ok(Self { id, name, growing: false })
    }

    /// Opens a file that somebody may be writing to, in the mode made for that (SWMR) or out of it.
    ///
    /// A file that cannot be read at this moment is an error like any other: ask again later. What was read stays as
    /// it was until every handle of the file is dropped and it is opened anew.
    pub fn open_growing(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        if let Err(e) = std::fs::metadata(path) {
            return Err(Error::new(Kind::Absent, format!("{name}: {e}")));
        }
        let plain = ffi::open_file(path);
        // Files of this format say in their head that a writer has them, and are refused then.
        let closed = plain.is_ok() && superblock(path).is_some_and(|version| version >= 3);
        let id = plain.or_else(|_| ffi::open_growing(path)).map_err(|e| e.at(&name))?;
        Ok(Self { id, name, growing: !closed })
    }

    /// Whether somebody may be writing to it.
    pub fn growing(&self) -> bool {
        self.growing
    }

    /// Opens another file in the same way.
    pub(crate) fn like(&self, path: &Path) -> Result<Self> {
        if self.growing { Self::open_growing(path) } else { Self::open(path) }
    }

    /// Opens bytes as a file; `name` is for messages.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::new(Kind::Library, format!("{name}: is empty")));
        }
        let id = ffi::open_image(bytes).map_err(|e| e.at(name))?;
        Ok(Self { id, name: name.into(), growing: false })
    }

    /// The name the file was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a dataset.
    ///
    /// Sources of a virtual dataset are looked for here: the library itself
    /// would show a missing file as zeros.
    pub fn dataset(&self, path: &str) -> Result<Dataset> {
        self.dataset_within(path, DEEPEST)
    }

    pub(crate) fn dataset_within(&self, path: &str, depth: usize) -> Result<Dataset> {
        let path = absolute(path)?;
        let name = format!("{}::{path}", self.name);
        let id = ffi::open_object(&self.id, &path).map_err(|e| self.absent(&path, e))?;
        if ffi::object_kind(&id) != ffi::Object::Dataset {
            return Err(Error::new(Kind::Mismatch, format!("{name}: is a group, wanted a dataset")));
        }
        let parts = ffi::open_parts(&id).map_err(|e| e.at(&name))?;
        if let Some(stage) = parts.filters.iter().find(|stage| !stage.there) {
            let (number, filter) = (stage.filter.number, &stage.name);
            let text =
                format!("{name}: filter {number} `{filter}` is not built in, try `h5repack -f GZIP=1`");
            return Err(Error::new(Kind::Unsupported, text));
        }
        if parts.storage == Storage::Virtual {
            self.sources(&id, depth).map_err(|e| e.at(&name))?;
        }
        let Some(shape) = parts.shape.clone() else {
            return Err(Error::new(Kind::Mismatch, format!("{name}: is an empty dataset without a shape")));
        };
        Ok(Dataset { id, name, shape, parts })
    }

    /// Names of what a group holds, in order of name.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        let path = absolute(path)?;
        let group = ffi::open_object(&self.id, &path).map_err(|e| self.absent(&path, e))?;
        if ffi::object_kind(&group) != ffi::Object::Group {
            let text = format!("{}::{path}: is a dataset, wanted a group", self.name);
            return Err(Error::new(Kind::Mismatch, text));
        }
        ffi::link_names(&group).map_err(|e| e.at(&format!("{}::{path}", self.name)))
    }

    /// Where the name at a path leads, whether that is there or not.
    pub fn target(&self, path: &str) -> Result<Target> {
        let path = absolute(path)?;
        match ffi::link(&self.id, &path).map_err(|e| self.absent(&path, e))? {
            ffi::Link::External { file, path } => Ok(Target::Elsewhere { file, path }),
            _ => Ok(Target::Here),
        }
    }

    /// Reads all strings of a dataset; a scalar gives one.
    pub fn texts(&self, path: &str) -> Result<Vec<String>> {
        let dataset = self.dataset(path)?;
        if dataset.parts.stored.element != Element::Text {
            return Err(dataset.wrong("text"));
        }
        let n = dataset.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
        let n = n.ok_or_else(|| dataset.fault(Kind::Range, "has too many strings"))?;
        ffi::read_text(&dataset.id, &dataset.parts.stored.memory, n).map_err(|e| e.at(&dataset.name))
    }

    /// Reads the attributes of a group or dataset, in order of name.
    pub fn attributes(&self, path: &str) -> Result<Vec<(String, Attr)>> {
        let path = absolute(path)?;
        let object = ffi::open_object(&self.id, &path).map_err(|e| self.absent(&path, e))?;
        attributes(&object).map_err(|e| e.at(&format!("{}::{path}", self.name)))
    }

    /// Reads one attribute, or nothing if it is not there.
    pub fn attribute(&self, path: &str, name: &str) -> Result<Option<Attr>> {
        Ok(self.attributes(path)?.into_iter().find(|(n, _)| n == name).map(|(_, value)| value))
    }

    /// Why `path` did not open.
    fn absent(&self, path: &str, reason: Error) -> Error {
        let mut walked = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            walked = format!("{walked}/{part}");
            let opened = ffi::open_object(&self.id, &walked).is_ok();
            match ffi::link(&self.id, &walked) {
                Ok(_) if opened => {}
                Ok(ffi::Link::External { file, path: inside }) => {
                    let text =
                        format!("{}::{walked}: link to {file}::{inside} leads nowhere: {reason}", self.name);
                    return Error::new(Kind::Absent, text);
                }
                Ok(ffi::Link::Soft) => {
                    let text = format!("{}::{walked}: soft link leads nowhere", self.name);
                    return Error::new(Kind::Absent, text);
                }
                Ok(_) => break,
                Err(_) => return self.nearest(path),
            }
        }
        reason.at(&format!("{}::{path}", self.name))
    }

    fn nearest(&self, path: &str) -> Error {
        let mut text = format!("{}::{path}: no such dataset", self.name);
        // A listing that fails leaves the message without a hint, no more.
        if let Ok(listing) = self.list() {
            let names = || listing.datasets.iter().map(|info| info.path.as_str());
            let near = nearest(path, names());
            let (label, shown) = if near.is_empty() {
                ("there are", names().take(3).collect::<Vec<_>>())
            } else {
                ("similar names", near)
            };
            if !shown.is_empty() {
                text.push_str(&format!(", {label}: `{}`", shown.join("`, `")));
            }
        }
        Error::new(Kind::Absent, text)
    }

    /// Checks that each source of a virtual dataset is there and long enough.
    fn sources(&self, dataset: &ffi::Id, depth: usize) -> Result<()> {
        if depth == 0 {
            return Err(Error::new(Kind::Unsupported, "virtual datasets are nested too deep"));
        }
        let holder = PathBuf::from(ffi::file_name(dataset)?);
        let folder = holder.parent().unwrap_or(Path::new(""));
        let rows = ffi::open_parts(dataset)?.shape.and_then(|s| s.first().copied()).unwrap_or(1);
        let mut open = Sources::default();
        for source in ffi::virtual_sources(dataset)? {
            let blocks = match (&source.shown, has_pattern(&source)) {
                (Some(slab), true) => mapped(slab, rows, true).into_iter().map(|(n, ..)| n).collect(),
                // A pattern without blocks to count has one source.
                _ => vec![0],
            };
            for number in &blocks {
                self.source(&source, *number, folder, &mut open, depth)?;
            }
            // The library takes the first source that is missing for the end.
            let next = blocks.last().map_or(0, |n| n + 1);
            if !self.growing
                && has_pattern(&source)
                && let Some(later) = beyond(folder, &source.file, next)
            {
                let gone = named(&source.file, Some(next))?;
                let text = format!("missing source: {gone} is not there or empty, though {later} is");
                return Err(Error::new(Kind::Absent, text));
            }
        }
        Ok(())
    }

    /// Checks that one source of a mapping is there and long enough.
    fn source(
        &self,
        source: &ffi::Source,
        number: u64,
        folder: &Path,
        open: &mut Sources,
        depth: usize,
    ) -> Result<()> {
        let (file, path) = (named(&source.file, Some(number))?, named(&source.dataset, Some(number))?);
        let own;
        let found = if file == "." {
            own = self.dataset_within(&path, depth - 1).map_err(|e| e.at("missing source"))?;
            &own
        } else {
            open.dataset(self, &beside(folder, &file), &path, depth - 1)?
        };
        let enough = match &source.reach {
            None => found.shape.iter().product::<u64>() == source.points || source.points == ffi::UNLIMITED,
            Some(reach) => {
                found.shape.len() == reach.len()
                    && found.shape.iter().zip(reach).all(|(has, wants)| has >= wants)
            }
        };
        if enough {
            return Ok(());
        }
        let text = format!("shape {:?} is not what {} mapped elements want", found.shape, source.points);
        Err(found.fault(Kind::Range, &text).at("wrong source"))
    }
}

/// The version of the head of a file that begins with it.
fn superblock(path: &Path) -> Option<u8> {
    let mut head = [0; 9];
    std::io::Read::read_exact(&mut std::fs::File::open(path).ok()?, &mut head).ok()?;
    head.starts_with(b"\x89HDF\r\n\x1a\n").then_some(head[8])
}

/// Adds what to try to a refusal that the library gives for files that are open elsewhere.
fn advised(error: Error) -> Error {
    if !error.to_string().contains("already open") {
        return error;
    }
    let text = format!(
        "{error}; it is still being written (then follow it), or its writer died (then `h5clear -s`)"
    );
    Error::new(error.kind(), text)
}

impl Dataset {
    /// Opens a dataset by its address.
    pub fn open(address: &Address) -> Result<Self> {
        File::open(&address.file)?.dataset(&address.dataset)
    }

    /// Lengths of the axes, none of a scalar.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// What the elements are.
    pub fn element(&self) -> &Element {
        &self.parts.stored.element
    }

    /// The type of the elements, if they are numbers.
    pub fn dtype(&self) -> Result<Dtype> {
        match self.parts.stored.element {
            Element::Number(dtype) => Ok(dtype),
            _ => Err(self.wrong("numbers")),
        }
    }

    /// Fails unless the elements are of this type.
    pub fn expect(&self, dtype: Dtype) -> Result<()> {
        if self.dtype()? == dtype { Ok(()) } else { Err(self.wrong(dtype.name())) }
    }

    /// Lengths of a chunk, if the dataset is chunked.
    pub fn chunk(&self) -> Option<&[u64]> {
        self.parts.chunk.as_deref()
    }

    /// The attributes, in order of name.
    pub fn attributes(&self) -> Result<Vec<(String, Attr)>> {
        attributes(&self.id).map_err(|e| e.at(&self.name))
    }

    /// Number of records when the last `axes` axes make up one, leading ones flattened.
    pub fn records(&self, axes: usize) -> Result<u64> {
        let leading = self.shape.len().checked_sub(axes).ok_or_else(|| {
            let text = format!("has shape {:?}, wanted at least {axes} axes", self.shape);
            self.fault(Kind::Mismatch, &text)
        })?;
        let n = self.shape[..leading].iter().try_fold(1_u64, |n, d| n.checked_mul(*d));
        n.ok_or_else(|| self.fault(Kind::Range, "has more records than 2^64"))
    }

    /// Bytes of one record made up of the last `axes` axes.
    pub fn record_bytes(&self, axes: usize) -> Result<usize> {
        self.records(axes)?;
        let record = &self.shape[self.shape.len() - axes..];
        let size = self.dtype()?.size() as u64;
        let n = record.iter().try_fold(size, |n, d| n.checked_mul(*d));
        let n = n.filter(|n| isize::try_from(*n).is_ok()).and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| self.fault(Kind::Range, "has records that do not fit in memory"))
    }

    /// Reads records `first .. first + count` into `out`, which they must fill.
    ///
    /// The last `axes` axes make up a record and the leading ones are
    /// flattened: 2 of a 4-D scan gives frames, 1 of a 2-D dataset gives rows.
    pub fn read(&self, axes: usize, first: u64, count: u64, out: &mut [u8]) -> Result<()> {
        let (records, bytes) = (self.records(axes)?, self.record_bytes(axes)?);
        if first.checked_add(count).is_none_or(|end| end > records) {
            let text = format!("records {first} to {} of {records}", first.saturating_add(count));
            return Err(self.fault(Kind::Range, &text));
        }
        if (bytes as u64).checked_mul(count) != Some(out.len() as u64) {
            let text = format!("{count} records of {bytes} bytes do not fill a buffer of {}", out.len());
            return Err(self.fault(Kind::Range, &text));
        }
        let (leading, record) = self.shape.split_at(self.shape.len() - axes);
        let element = self.dtype()?.size();
        let mut rest = out;
        for (mut start, mut size) in blocks(leading, first, count) {
            start.resize(self.shape.len(), 0);
            size.extend_from_slice(record);
            let n = size.iter().product::<u64>() as usize * element;
            let (now, later) = rest.split_at_mut(n);
            ffi::read_block(&self.id, &self.parts.stored.memory, element, &start, &size, now)
                .map_err(|e| e.at(&self.name))?;
            rest = later;
        }
        Ok(())
    }

    /// Reads everything.
    pub fn read_all(&self) -> Result<Vec<u8>> {
        let n = self.record_bytes(self.shape.len())?;
        let mut out = Vec::new();
        out.try_reserve_exact(n)
            .map_err(|_| self.fault(Kind::Range, &format!("{n} bytes do not fit in memory")))?;
        out.resize(n, 0);
        self.read(self.shape.len(), 0, 1, &mut out)?;
        Ok(out)
    }

    pub(crate) fn fault(&self, kind: Kind, text: &str) -> Error {
        Error::new(kind, format!("{}: {text}", self.name))
    }

    fn wrong(&self, wanted: &str) -> Error {
        let found = &self.parts.stored.element;
        self.fault(Kind::Mismatch, &format!("element type is {found}, wanted {wanted}"))
    }
}

pub(crate) fn attributes(object: &ffi::Id) -> Result<Vec<(String, Attr)>> {
    let read = |name: String| ffi::read_attribute(object, &name).map(|value| (name, value));
    ffi::attribute_names(object)?.into_iter().map(read).collect()
}

/// Cuts a range of flattened indices into blocks of the axes `dims`.
fn blocks(dims: &[u64], first: u64, count: u64) -> Vec<(Vec<u64>, Vec<u64>)> {
    if count == 0 {
        return Vec::new();
    }
    let Some((_, inner)) = dims.split_first() else {
        return vec![(vec![], vec![])];
    };
    let row: u64 = inner.iter().product();
    let (mut at, end, mut out) = (first, first + count, Vec::new());
    while at < end {
        let (index, offset) = (at / row, at % row);
        let whole = (end - at) / row;
        if offset == 0 && whole > 0 {
            let mut start = vec![index];
            start.resize(dims.len(), 0);
            out.push((start, [&[whole], inner].concat()));
            at += whole * row;
        } else {
            let n = (row - offset).min(end - at);
            for (start, size) in blocks(inner, offset, n) {
                out.push(([&[index], start.as_slice()].concat(), [&[1], size.as_slice()].concat()));
            }
            at += n;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_ranges_once_and_in_order() {
        let dims = [3_u64, 4, 5];
        for first in 0..60 {
            for count in 0..=60 - first {
                let mut seen = Vec::new();
                for (start, size) in blocks(&dims, first, count) {
                    for i in 0..size.iter().product::<u64>() {
                        let (a, b, c) = (i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]);
                        seen.push((start[0] + a) * 20 + (start[1] + b) * 5 + start[2] + c);
                    }
                }
                assert_eq!(seen, (first..first + count).collect::<Vec<_>>());
            }
        }
        assert_eq!(blocks(&dims, 20, 40).len(), 1);
    }
}
