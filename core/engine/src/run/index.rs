//! What stands beside a kept stream: its files with their digests, its keys, and what the sources behind it said.
//!
//! With it a stream can be played where its sources are not: in a merge of parts, in a later run that reuses it.
//! The file is the SHA-256 of all that follows, then a dictionary in the binary form of values.

use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};
use crate::run::per::{keep_axes, kept_axes};
use crate::stage::{Opened, Shape, Shapes};
use crate::store::{Files, sha256};
use crate::value::{Array, Dict, Dtype, Key, Value, decode, encode};

/// The name of the file, in the folder of the stream.
pub const INDEX: &str = "index";

/// What stands beside a kept stream, or in place of one for the parts of a reduction.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The stage that gave it.
    pub stage: String,
    /// The SHA-256 of each file, in order; the files are called `00000000`, `00000001` ...
    pub files: Vec<String>,
    /// The keys that it carries; `stage.*` is every output of a stage.
    pub keys: Vec<Key>,
    /// The digest of what it means, whatever its chunks.
    pub content: String,
    /// What the sources behind it said when they were opened.
    pub sources: Vec<(String, Opened)>,
    /// The frames that it covers, in a part of a run.
    pub range: Option<Range<u64>>,
    /// The unmerged nodes of a reduction's tree, in a part of a run.
    pub tree: Option<Dict>,
}

impl Index {
    /// The bytes of the file.
    pub fn pack(&self) -> Vec<u8> {
        let texts = |list: &[String]| list.iter().map(|t| Value::from(t.as_str())).collect::<Vec<_>>();
        let keys: Vec<String> = self.keys.iter().map(Key::to_string).collect();
        let sources: Dict =
            self.sources.iter().map(|(n, o)| (Key::from(n.clone()), Value::Dict(opened_dict(o)))).collect();
        let range = self.range.as_ref().map_or(Value::None, |r| Array::from_slice(&[r.start, r.end]).into());
        let dict = Dict::new()
            .with("stage", self.stage.as_str())
            .with("files", texts(&self.files))
            .with("keys", texts(&keys))
            .with("content", self.content.as_str())
            .with("sources", sources)
            .with("range", range)
            .with("tree", self.tree.clone().map_or(Value::None, Value::Dict));
        seal(&dict)
    }

    /// Reads the file in the folder of a stream.
    pub fn read(files: &dyn Files, folder: &Path) -> Result<Index> {
        let path = folder.join(INDEX);
        let dict = open(files, &path)?;
        Index::of(&dict).at(|| path.display().to_string())
    }

    fn of(dict: &Dict) -> Result<Index> {
        let text = |key: &str| dict.need(key).map(|v| v.text().unwrap_or_default().to_owned());
        let texts = |key: &str| -> Result<Vec<String>> {
            let Value::List(list) = dict.need(key)? else { return Err(unlike(key, dict)) };
            Ok(list.iter().filter_map(|v| v.text().map(str::to_owned)).collect())
        };
        let Value::Dict(sources) = dict.need("sources")? else { return Err(unlike("sources", dict)) };
        let mut opened = vec![];
        for (name, value) in sources.iter() {
            let Value::Dict(saved) = value else { return Err(unlike("sources", dict)) };
            opened.push((name.to_string(), opened_of(saved)?));
        }
        let range = match dict.need("range")? {
            Value::Array(bounds) => match *bounds.as_slice::<u64>()? {
                [start, end] => Some(start..end),
                _ => return Err(unlike("range", dict)),
            },
            _ => None,
        };
        let tree = match dict.need("tree")? {
            Value::Dict(tree) => Some(tree.clone()),
            _ => None,
        };
        Ok(Index {
            stage: text("stage")?,
            files: texts("files")?,
            keys: texts("keys")?.into_iter().map(Key::from).collect(),
            content: text("content")?,
            sources: opened,
            range,
            tree,
        })
    }

    /// Reads the files of the stream again and compares them with their digests.
    pub fn verify(&self, files: &dyn Files, folder: &Path) -> Result<()> {
        for (n, wanted) in self.files.iter().enumerate() {
            let path = file(folder, n as u64);
            let bytes = files.read(&path).map_err(|e| Error::io("read a kept stream from", &path, &e))?;
            let found = sha256(&bytes);
            if found != *wanted {
                return Err(Error::data(format!(
                    "{} is damaged: found SHA-256 {found}, wanted {wanted}",
                    path.display()
                ))
                .help("`isard verify` tells what else is damaged there"));
            }
        }
        Ok(())
    }
}

/// A file of a kept stream.
pub fn file(folder: &Path, n: u64) -> PathBuf {
    folder.join(format!("{n:08}"))
}

/// The bytes of a dictionary with its digest in front.
pub fn seal(dict: &Dict) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    encode(&Value::Dict(dict.clone()), &mut bytes);
    let digest = Sha256::digest(&bytes[32..]);
    bytes[..32].copy_from_slice(&digest);
    bytes
}

/// The dictionary of a file that [`seal`] made.
pub fn open(files: &dyn Files, path: &Path) -> Result<Dict> {
    let bytes = files.read(path).map_err(|e| Error::io("read", path, &e))?;
    let damaged =
        || Error::data(format!("{} is damaged: its bytes do not match their SHA-256", path.display()));
    let (digest, body) = bytes.split_at_checked(32).ok_or_else(damaged)?;
    if *digest != *Sha256::digest(body) {
        return Err(damaged().help("`isard verify` tells what else is damaged there"));
    }
    match decode(body)? {
        Value::Dict(dict) => Ok(dict),
        _ => Err(damaged()),
    }
}

fn unlike(key: &str, dict: &Dict) -> Error {
    let found = dict.get(key).map_or_else(|| "absent".to_owned(), Value::describe);
    Error::data(format!("`{key}` is {found}"))
}

fn opened_dict(opened: &Opened) -> Dict {
    let shape = |(port, shape): (&str, &Shape)| {
        let dims = shape.dims.as_ref().map_or(Value::None, |dims| {
            Array::from_slice(&dims.iter().map(|n| *n as u64).collect::<Vec<_>>()).into()
        });
        let dtype = shape.dtype.map_or(Value::None, |d| Value::from(d.name()));
        Value::from(vec![Value::from(port), dtype, dims])
    };
    Dict::new()
        .with("frames", opened.frames.map_or(Value::None, |n| Value::Int(n as i64)))
        .with("head", opened.head.clone())
        .with("shapes", opened.shapes.iter().map(shape).collect::<Vec<_>>())
        .with("live", opened.live)
        .with("scan", keep_axes(&opened.scan))
}

fn opened_of(dict: &Dict) -> Result<Opened> {
    let (Value::Dict(head), Value::List(list)) = (dict.need("head")?, dict.need("shapes")?) else {
        return Err(unlike("head", dict));
    };
    let mut shapes = Shapes::default();
    for entry in list.iter() {
        let Value::List(entry) = entry else { return Err(unlike("shapes", dict)) };
        let [Value::Text(port), dtype, dims] = &**entry else { return Err(unlike("shapes", dict)) };
        let dims = match dims {
            Value::Array(dims) => Some(dims.as_slice::<u64>()?.iter().map(|n| *n as usize).collect()),
            _ => None,
        };
        shapes = shapes.with(port, Shape { dtype: dtype.text().and_then(Dtype::named), dims });
    }
    Ok(Opened {
        frames: dict.get("frames").and_then(Value::number).map(|n| n as u64),
        head: head.clone(),
        shapes,
        live: *dict.need("live")? == Value::Bool(true),
        scan: kept_axes(dict.get("scan").cloned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RealFiles;

    #[test]
    fn an_index_comes_back_and_every_flipped_byte_of_it_is_found() {
        let opened = Opened {
            frames: Some(65),
            head: Dict::new().with("energy", 61.3),
            shapes: Shapes::default()
                .with("image", Shape::array(Dtype::U16, &[3, 4]))
                .with("note", Shape::default()),
            live: true,
            scan: vec![("omega".into(), 13), ("y".into(), 5)],
        };
        let index = Index {
            stage: "clean".into(),
            files: vec!["ab".into()],
            keys: vec!["clean.image".into()],
            content: "cd".into(),
            sources: vec![("detector".into(), opened.clone())],
            range: Some(0..64),
            tree: Some(Dict::new().with("next", 1)),
        };
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = (folder.path().join(INDEX), index.pack());
        std::fs::write(&path, &bytes).unwrap();
        let back = Index::read(&RealFiles, folder.path()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{index:?}"));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            assert!(Index::read(&RealFiles, folder.path()).is_err(), "byte {at}");
        }
    }
}
