//! Scan data in `.ptyd` files.

use std::collections::BTreeMap;
use std::path::Path;

use isard_core::{Error, Result};
use isard_h5::{Dataset, Dtype, Element, File, Image};

use super::tree::{self, Block, Node, h5};

/// What every reader needs to know of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Version of the format.
    pub version: f64,
    /// Frames of the whole scan, if known.
    pub num_frames: Option<u64>,
    /// A name.
    pub label: Option<String>,
    /// Rows and columns of frames.
    pub shape: [usize; 2],
    /// The edge of a pixel, m.
    pub psize: [f64; 2],
    /// keV.
    pub energy: f64,
    /// From the sample to the detector, m.
    pub distance: f64,
    /// The optical axis, row and column.
    pub center: [f64; 2],
}

impl Meta {
    fn node(&self) -> Vec<(String, Node)> {
        let shape = self.shape.map(|n| n as i64);
        let Node::Dict(members) = Node::dict(vec![
            ("version", Node::float(self.version)),
            ("num_frames", self.num_frames.map_or(Node::None, |n| Node::int(n as i64))),
            ("label", Node::text(self.label.as_deref())),
            ("shape", Node::ints(&shape)),
            ("psize", Node::floats(&self.psize)),
            ("energy", Node::float(self.energy)),
            ("distance", Node::float(self.distance)),
            ("center", Node::floats(&self.center)),
        ]) else {
            return vec![];
        };
        members
    }
}

/// Some frames with their places.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Numbers of the frames.
    pub indices: Vec<i64>,
    /// Positions, m.
    pub positions: Vec<[f64; 2]>,
    /// Frames, `[n, rows, columns]`.
    pub data: Block,
    /// Weights of the same shape; positive where a pixel counts.
    pub weights: Block,
}

impl Chunk {
    fn members(&self) -> Vec<(String, Node)> {
        let n = self.indices.len();
        let positions: Vec<f64> = self.positions.iter().flatten().copied().collect();
        let Node::Dict(members) = Node::dict(vec![
            ("indices", Node::ArrayList(Block::ints(&[n], &self.indices))),
            ("data", Node::Array(self.data.clone())),
            ("positions", Node::Array(Block::floats(&[n, 2], &positions))),
            ("weights", Node::Array(self.weights.clone())),
        ]) else {
            return vec![];
        };
        members
    }
}

/// What stands in `chunks`.
pub enum Chunks<'a> {
    /// The chunks themselves.
    Held(&'a [Chunk]),
    /// Links to files of the same folder, one for each chunk.
    Linked(&'a [String]),
}

/// The bytes of a scan file; `meta` stands in it once there is a chunk.
pub fn master(meta: Option<&Meta>, info: &[(String, Node)], chunks: Chunks, time: &str) -> Result<Vec<u8>> {
    let mut image = Image::new().map_err(h5)?;
    tree::stamp(&mut image, time)?;
    for (name, members) in [("meta", meta.map(Meta::node).unwrap_or_default()), ("info", info.to_vec())] {
        tree::write(&mut image, &format!("/{name}"), &Node::Dict(members))?;
    }
    tree::write(&mut image, "/chunks", &Node::Dict(vec![]))?;
    match chunks {
        Chunks::Held(chunks) => {
            for (k, chunk) in chunks.iter().enumerate() {
                tree::write(&mut image, &format!("/chunks/{k}"), &Node::Dict(chunk.members()))?;
            }
        }
        Chunks::Linked(files) => {
            for (k, file) in files.iter().enumerate() {
                image.link(&format!("/chunks/{k}"), file, "/").map_err(h5)?;
            }
        }
    }
    image.into_bytes().map_err(h5)
}

/// The bytes of a file that holds one chunk.
pub fn part(chunk: &Chunk, time: &str) -> Result<Vec<u8>> {
    let mut image = Image::sized(chunk.data.bytes.len()).map_err(h5)?;
    tree::stamp(&mut image, time)?;
    tree::write_members(&mut image, "", &chunk.members())?;
    image.into_bytes().map_err(h5)
}

/// A scan file opened for reading.
pub struct Ptyd {
    file: File,
    /// What every reader needs.
    pub meta: Meta,
    /// The chunks that can be read, by number.
    pub chunks: Vec<Live>,
    /// Links that lead nowhere, by chunk number.
    pub dead: Vec<(u64, String)>,
    /// Whether the writer said that no more frames come.
    pub ended: bool,
}

/// A chunk that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Its number.
    pub number: u64,
    /// Numbers of its frames.
    pub indices: Vec<u64>,
    /// Positions, m.
    pub positions: Vec<[f64; 2]>,
    /// What its pixels are.
    pub dtype: Dtype,
    /// Whether it has weights.
    pub weighted: bool,
}

impl Ptyd {
    /// Reads the head of a scan file, through its links.
    pub fn open(path: &Path) -> Result<Ptyd> {
        let file = File::open(path)
            .map_err(|e| h5(e).help("a scan file is HDF5: `isard info FILE` tells what this one is"))?;
        let listing = file.list().map_err(h5)?;
        let wrong =
            |chunk: u64, what: String| Error::data(format!("{}: chunk {chunk}: {what}", path.display()));
        let meta = read_meta(&file, &listing.datasets.iter().map(|d| d.path.as_str()).collect::<Vec<_>>())?;
        let number = |path: &str| path.strip_prefix("/chunks/")?.split('/').next()?.parse::<u64>().ok();
        let mut found: BTreeMap<u64, Vec<&isard_h5::Info>> = BTreeMap::new();
        for info in &listing.datasets {
            if let Some(k) = number(&info.path) {
                found.entry(k).or_default().push(info);
            }
        }
        let dead = listing.broken.iter().filter_map(|b| Some((number(&b.path)?, b.reason.clone()))).collect();
        let mut chunks = vec![];
        let mut next = 0;
        for (k, infos) in found {
            let at = |name: &str| infos.iter().find(|i| i.path.ends_with(&format!("/{name}")));
            let data = at("data").ok_or_else(|| wrong(k, "it holds no data".into()))?;
            let [n, rows, columns] = *data.shape.as_slice() else {
                let found = &data.shape;
                return Err(wrong(k, format!("data have the shape {found:?}, wanted [n, rows, columns]")));
            };
            if [rows as usize, columns as usize] != meta.shape {
                let [r, c] = meta.shape;
                let found = format!("frames of {rows} x {columns} pixels, wanted {r} x {c} as meta says");
                return Err(wrong(k, found)
                    .help("all frames of a scan have one shape: prepare them with one `shape`"));
            }
            let Element::Number(dtype) = data.element else {
                return Err(wrong(k, format!("data are {}, wanted numbers", data.element)));
            };
            let indices = match at("indices") {
                Some(_) => integers(&file, &format!("/chunks/{k}/indices"))?,
                // Written by hand: frames follow each other.
                None => (next..next + n as i64).collect(),
            };
            let positions = match at("positions") {
                Some(_) => pairs(&floats(&file, &format!("/chunks/{k}/positions"))?),
                None => vec![],
            };
            if indices.len() as u64 != n || !(positions.is_empty() || positions.len() as u64 == n) {
                let (i, p) = (indices.len(), positions.len());
                return Err(wrong(k, format!("{n} frames with {i} indices and {p} positions"))
                    .help("every frame needs its index and its position"));
            }
            if let Some(index) = indices.iter().find(|i| **i < 0) {
                return Err(wrong(k, format!("found the index {index}, wanted 0 or more")));
            }
            next = indices.last().map_or(next, |i| i + 1);
            let indices = indices.into_iter().map(|i| i as u64).collect();
            chunks.push(Live { number: k, indices, positions, dtype, weighted: at("weights").is_some() });
        }
        let ended = listing.datasets.iter().any(|d| d.path == "/info/end_of_scan")
            && integers(&file, "/info/end_of_scan")?.first() == Some(&1);
        Ok(Ptyd { file, meta, chunks, dead, ended })
    }

    /// Pixels of some frames of a chunk, in their own type.
    pub fn data(&self, chunk: &Live, first: usize, count: usize) -> Result<Vec<u8>> {
        let set = self.file.dataset(&format!("/chunks/{}/data", chunk.number)).map_err(h5)?;
        let mut out = vec![0; set.record_bytes(2).map_err(h5)? * count];
        set.read(2, first as u64, count as u64, &mut out).map_err(h5)?;
        Ok(out)
    }

    /// Which pixels of some frames of a chunk count: 1, or 0.
    pub fn mask(&self, chunk: &Live, first: usize, count: usize) -> Result<Vec<u8>> {
        let pixels = self.meta.shape[0] * self.meta.shape[1];
        if !chunk.weighted {
            return Ok(vec![1; pixels * count]);
        }
        let set = self.file.dataset(&format!("/chunks/{}/weights", chunk.number)).map_err(h5)?;
        let mut bytes = vec![0; set.record_bytes(2).map_err(h5)? * count];
        set.read(2, first as u64, count as u64, &mut bytes).map_err(h5)?;
        Ok(numbers(&set, &bytes)?.into_iter().map(|w| u8::from(w > 0.0)).collect())
    }
}

fn read_meta(file: &File, paths: &[&str]) -> Result<Meta> {
    let there = |name: &str| {
        let path = format!("/meta/{name}");
        paths.contains(&path.as_str()).then_some(path).filter(
            |p| !matches!(file.attribute(p, "type"), Ok(Some(isard_h5::Attr::Text(t))) if t == "None"),
        )
    };
    let row = |name: &str| there(name).map(|p| floats(file, &p)).transpose();
    let need = |name: &str| -> Result<Vec<f64>> {
        row(name)?.filter(|v| !v.is_empty()).ok_or_else(|| {
            Error::data(format!("{} has no `meta/{name}`", file.name()))
                .help("the file holds no scan data, or its writer has not begun")
        })
    };
    let two = |v: Vec<f64>| [v[0], *v.get(1).unwrap_or(&v[0])];
    let label = there("label").map(|p| file.texts(&p).map_err(h5)).transpose()?;
    Ok(Meta {
        version: row("version")?.map_or(0.1, |v| v[0]),
        num_frames: row("num_frames")?.map(|v| v[0] as u64),
        label: label.and_then(|l| l.into_iter().next()),
        shape: two(need("shape")?).map(|n| n as usize),
        psize: two(need("psize")?),
        energy: need("energy")?[0],
        distance: need("distance")?[0],
        center: two(need("center")?),
    })
}

fn pairs(values: &[f64]) -> Vec<[f64; 2]> {
    values.chunks_exact(2).map(|p| [p[0], p[1]]).collect()
}

/// A dataset of numbers in double precision.
pub fn floats(file: &File, path: &str) -> Result<Vec<f64>> {
    let set = file.dataset(path).map_err(h5)?;
    let bytes = set.read_all().map_err(h5)?;
    numbers(&set, &bytes)
}

fn integers(file: &File, path: &str) -> Result<Vec<i64>> {
    Ok(floats(file, path)?.into_iter().map(|x| x as i64).collect())
}

fn numbers(set: &Dataset, bytes: &[u8]) -> Result<Vec<f64>> {
    macro_rules! cast {
        ($t:ty) => {
            bytes
                .as_chunks::<{ size_of::<$t>() }>()
                .0
                .iter()
                .map(|b| <$t>::from_ne_bytes(*b) as f64)
                .collect()
        };
    }
    Ok(match set.dtype().map_err(h5)? {
        Dtype::U8 => cast!(u8),
        Dtype::U16 => cast!(u16),
        Dtype::U32 => cast!(u32),
        Dtype::U64 => cast!(u64),
        Dtype::I8 => cast!(i8),
        Dtype::I16 => cast!(i16),
        Dtype::I32 => cast!(i32),
        Dtype::I64 => cast!(i64),
        Dtype::F32 => cast!(f32),
        Dtype::F64 => cast!(f64),
        other => return Err(Error::data(format!("found values of {other}, wanted real numbers"))),
    })
}
