//! What a file holds.

use crate::read::attributes;
use crate::{Attr, Element, Error, File, Kind, Result, ffi};

/// Groups nested deeper than this are taken for a loop of links.
const DEEPEST: usize = 32;
/// More names than this are taken for a loop of links.
const MOST: usize = 100_000;

/// How the elements of a dataset are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In the header.
    Compact,
    /// In one run.
    Contiguous,
    /// In chunks.
    Chunked,
    /// In other datasets.
    Virtual,
}

/// A dataset as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The path in the file.
    pub path: String,
    /// Lengths of the axes; none of a scalar.
    pub shape: Vec<u64>,
    /// What the elements are.
    pub element: Element,
    /// How they are kept.
    pub storage: Storage,
    /// Lengths of a chunk.
    pub chunk: Option<Vec<u64>>,
    /// Names of the filters, in order of writing.
    pub filters: Vec<String>,
    /// The attributes, in order of name.
    pub attributes: Vec<(String, Attr)>,
}

/// A link that does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The path of the link.
    pub path: String,
    /// Where it leads and why it does not open.
    pub reason: String,
}

/// Everything found below the root of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listing {
    /// Datasets, in order of path.
    pub datasets: Vec<Info>,
    /// Links that do not open.
    pub broken: Vec<Broken>,
}

impl File {
    /// Lists all datasets, through links as well.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        let root = ffi::open_object(&self.id, "/").map_err(|e| e.at(self.name()))?;
        let mut todo = vec![(String::new(), root, 0)];
        let mut seen = 0;
        while let Some((path, group, depth)) = todo.pop() {
            for name in ffi::link_names(&group).map_err(|e| e.at(self.name()))? {
                let path = format!("{path}/{name}");
                seen += 1;
                if depth >= DEEPEST || seen > MOST {
                    let text = format!("{}::{path}: links seem to run in a circle", self.name());
                    return Err(Error::new(Kind::Unsupported, text));
                }
                let object = match ffi::open_object(&group, &name) {
                    Ok(object) => object,
                    Err(e) => {
                        let reason = match ffi::link(&group, &name) {
                            Ok(ffi::Link::External { file, path }) => format!("to {file}::{path}: {e}"),
                            _ => e.to_string(),
                        };
                        listing.broken.push(Broken { path, reason });
                        continue;
                    }
                };
                match ffi::object_kind(&object) {
                    ffi::Object::Group => todo.push((path, object, depth + 1)),
                    ffi::Object::Other => {}
                    ffi::Object::Dataset => match info(&path, &object) {
                        Ok(info) => listing.datasets.push(info),
                        Err(e) => listing.broken.push(Broken { path, reason: e.to_string() }),
                    },
                }
            }
        }
        listing.datasets.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listing)
    }
}

fn info(path: &str, dataset: &ffi::Id) -> Result<Info> {
    let parts = ffi::open_parts(dataset)?;
    Ok(Info {
        path: path.into(),
        shape: parts.shape.unwrap_or_default(),
        element: parts.stored.element,
        storage: parts.storage,
        chunk: parts.chunk,
        filters: parts.filters.into_iter().map(|stage| stage.name).collect(),
        attributes: attributes(dataset)?,
    })
}
