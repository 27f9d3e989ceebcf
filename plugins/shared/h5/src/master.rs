//! Masters: links to parts, stacks of parts, NeXus attributes.

use crate::image::absolute;
use crate::{Attr, Dtype, Error, Image, Kind, Result, ffi};

/// A part of a stack: all records of one dataset of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stacked {
    /// The file, relative to the master's folder.
    pub file: String,
    /// The dataset in it.
    pub dataset: String,
    /// The number of its records.
    pub records: u64,
}

impl Image {
    /// Links to an object of another file, relative to this file's folder.
    pub fn link(&mut self, path: &str, file: &str, target: &str) -> Result<()> {
        let path = absolute(path)?;
        ffi::external_link(self.file(), &path, &relative(file)?, target).map_err(|e| e.at(&path))
    }

    /// Gives an object of this file a second name.
    pub fn alias(&mut self, path: &str, target: &str) -> Result<()> {
        let path = absolute(path)?;
        ffi::soft_link(self.file(), &path, target).map_err(|e| e.at(&path))
    }

    /// Makes a dataset that shows parts one after the other.
    pub fn stack(&mut self, path: &str, dtype: Dtype, record: &[u64], parts: &[Stacked]) -> Result<()> {
        let path = absolute(path)?;
        let parts: Vec<_> = parts.iter().filter(|part| part.records > 0).collect();
        if parts.is_empty() || record.contains(&0) {
            return Err(Error::new(Kind::Mismatch, format!("{path}: a stack needs at least one record")));
        }
        let files = parts.iter().map(|part| relative(&part.file)).collect::<Result<Vec<_>>>()?;
        let sources: Vec<_> = parts
            .iter()
            .zip(&files)
            .map(|(part, file)| (file.as_str(), part.dataset.as_str(), part.records))
            .collect();
        ffi::create_virtual(self.file(), &path, dtype, record, &sources).map_err(|e| e.at(&path))?;
        Ok(())
    }

    /// Makes a group with its `NX_class`.
    pub fn nexus(&mut self, path: &str, class: &str) -> Result<()> {
        self.group(path)?;
        self.attribute(path, "NX_class", class)
    }

    /// Makes an `NXdata` group that plots `signal` over `axes`.
    pub fn nexus_data(&mut self, path: &str, signal: &str, axes: &[&str]) -> Result<()> {
        self.nexus(path, "NXdata")?;
        self.attribute(path, "signal", signal)?;
        if axes.is_empty() { Ok(()) } else { self.attribute(path, "axes", axes) }
    }

    /// Marks the way from the root to `path` as what to show first.
    pub fn nexus_default(&mut self, path: &str) -> Result<()> {
        let path = absolute(path)?;
        let mut above = String::from("/");
        for name in path.split('/').filter(|name| !name.is_empty()) {
            self.attribute(&above, "default", Attr::from(name))?;
            above = absolute(&format!("{above}/{name}"))?;
        }
        Ok(())
    }
}

/// Refuses names that would break when the folder moves.
fn relative(file: &str) -> Result<String> {
    if file.is_empty() || file.starts_with('/') || file.contains('%') {
        let text = format!("part `{file}`: wanted a name relative to the master's folder, without `%`");
        return Err(Error::new(Kind::Mismatch, text));
    }
    Ok(file.into())
}
