//! EMD 1.0 files, as py4DSTEM and emdfile read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;
use isard_h5::{Dtype as H5, Image, Spec};

use crate::source::{Axes, Axis};

/// Writes maps and scans to an EMD file, version 1.0.
///
/// Each array that is wired becomes a node of its name with its axes: those of the scan and the detector have the steps and
/// units of `axes`, which a source of this family has in its head, all others count. Numbers and texts go into the
/// metadata of the root. Of a stream of frames the whole array is one node, a data cube where `axes` (or a constant `head`
/// that holds them) tells the scan; points without a frame are NaN or 0, and `valid` is 0 there. Of results that are
/// revised the last one is written.
///
/// Changes neither order nor count. All is kept in memory until the end, and more than `most` is an error.
///
/// Source: the EMD specification 1.0 (emdfile).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmdWrite {
    /// The file, relative to the run's folder; must end in `.emd`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".emd"]))]
    path: String,
    /// The name of the root; else that of the file.
    #[serde(default)]
    root: Option<String>,
    /// Units by name; others are those of the ports that are written.
    #[serde(default)]
    units: BTreeMap<String, String>,
    /// What is kept in memory at most.
    #[serde(default = "most")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    most: u64,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    #[serde(skip)]
    #[schemars(skip)]
    known: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    kept: Kept,
}

fn most() -> u64 {
    4 << 30
}

/// What came.
#[derive(Default)]
struct Kept {
    /// The last result, or the constants beside frames.
    single: Dict,
    /// Frames: the number of the first of each piece, and the piece, by name.
    frames: Vec<(u64, Dict)>,
    bytes: u64,
}

impl Stage for EmdWrite {
    type In = Dict;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<u16> = (0..36).collect();
        let axes = Axes { scan: Some([2, 3]), ..Axes::default() };
        Example::new("path = \"scan.emd\"")
            .frames("image", Array::of(&[6, 2, 3], &pixels).expect("36 pixels"))
            .fixed("axes", axes.to_dict())
    }

    fn check(&self, faults: &mut Faults) {
        if !self.path.to_lowercase().ends_with(".emd") {
            faults.add("path", format!("`{}` does not end in `.emd`", self.path));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        let all = bytes.saturating_mul(input.records().unwrap_or(1)).min(self.most);
        Cost { memory: 2 * all, disk_per_record: bytes, ..Cost::default() }
    }
}

impl Writer for EmdWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.kept = committed.map_or(Ok(Kept::default()), load)?;
        self.known = out.units();
        self.known.extend(self.units.clone());
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
        if !span.is_frames() {
            let mut single = Dict::new();
            for (key, value) in input.iter() {
                let value = if fixed(key.as_str(), value) {
                    value.clone()
                } else {
                    value.unlead(span.len as usize - 1)?
                };
                single.set(key.clone(), detached(value)?);
            }
            self.kept.single = single;
            return Ok(());
        }
        let mut piece = Dict::new();
        for (key, value) in input.into_iter() {
            match &value {
                Value::Array(_) => {
                    self.kept.bytes += value.bytes() as u64;
                    piece.set(key, detached(value)?);
                }
                _ => self.kept.single.set(key, value),
            }
        }
        if self.kept.bytes > self.most {
            let (found, most) = (self.kept.bytes, self.most);
            return Err(Error::new(
                Blame::Resources,
                format!("{found} bytes of frames, at most {most} are kept"),
            )
            .help("`hdf5.write` writes frames of any number; or raise `most`"));
        }
        self.kept.frames.push((span.start, piece));
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // What did not come is not in `frames`; `finish` marks its points.
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        let pieces =
            self.kept.frames.iter().map(|(first, piece)| {
                Value::from(vec![Value::Int(*first as i64), Value::Dict(piece.clone())])
            });
        Ok(Dict::new()
            .with("single", self.kept.single.clone())
            .with("frames", pieces.collect::<Vec<_>>())
            .with("bytes", self.kept.bytes as i64))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        let bytes = self.file(cx)?;
        let out =
            self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        out.replace(&self.path, &bytes)
    }
}
declare!(Writer, "emd.write", Kind::Writer, EmdWrite);

/// Whether a value stands for the whole run.
fn fixed(key: &str, value: &Value) -> bool {
    key == "axes" || key == "head" || value.records().is_none()
}

/// A value that holds no buffer of the pool.
fn detached(value: Value) -> Result<Value> {
    match value {
        Value::Array(array) => Ok(Value::Array(array.detach()?)),
        other => Ok(other),
    }
}

fn load(state: Dict) -> Result<Kept> {
    let damaged = || Error::data("a damaged state of a writer");
    let (Value::Dict(single), Value::List(list)) = (state.need("single")?, state.need("frames")?) else {
        return Err(damaged());
    };
    let mut frames = vec![];
    for entry in list.iter() {
        match entry {
            Value::List(pair) => match &**pair {
                [Value::Int(first), Value::Dict(piece)] => frames.push((*first as u64, piece.clone())),
                _ => return Err(damaged()),
            },
            _ => return Err(damaged()),
        }
    }
    let bytes = state.need("bytes")?.number().unwrap_or(0.0) as u64;
    Ok(Kept { single: single.clone(), frames, bytes })
}

fn h5(error: isard_h5::Error) -> Error {
    Error::data(error.to_string())
}

impl EmdWrite {
    fn axes(&self) -> Result<Axes> {
        let single = &self.kept.single;
        let own = match (single.get("axes"), single.get("head")) {
            (Some(Value::Dict(axes)), _) => Some(axes),
            (_, Some(Value::Dict(head))) => match head.get("axes") {
                Some(Value::Dict(axes)) => Some(axes),
                _ => None,
            },
            _ => None,
        };
        own.map_or_else(|| Ok(Axes::default()), Axes::of)
    }

    fn file(&self, cx: &Cx) -> Result<Vec<u8>> {
        let axes = self.axes()?;
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let name =
            self.root.clone().unwrap_or_else(|| last.rsplit_once('.').map_or(last, |(s, _)| s).to_owned());
        let root = format!("/{name}");
        let mut image = Image::new().map_err(h5)?;
        head(&mut image, cx).map_err(h5)?;
        image.group(&root).map_err(h5)?;
        for (name, value) in [("emd_group_type", "root"), ("python_class", "Root")] {
            image.attribute(&root, name, value).map_err(h5)?;
        }
        let mut metadata = vec![];
        for (key, value) in self.kept.single.iter().filter(|(k, _)| !["axes", "head"].contains(&k.as_str())) {
            match value {
                Value::Array(array) if !array.shape().is_empty() => {
                    self.node(&mut image, &format!("{root}/{key}"), key.as_str(), array, &axes)?;
                }
                other => metadata.push((key.clone(), other.clone())),
            }
        }
        for key in self.kept.frames.first().map_or(vec![], |(_, p)| p.keys().cloned().collect()) {
            let (array, valid) = self.cube(key.as_str(), &axes)?;
            self.node(&mut image, &format!("{root}/{key}"), key.as_str(), &array, &axes)?;
            let marked = format!("{root}/{key}_valid");
            if valid.as_slice::<u8>()?.contains(&0) {
                self.node(&mut image, &marked, "valid", &valid, &axes)?;
            }
        }
        if !metadata.is_empty() {
            self.metadata(&mut image, &root, &metadata)?;
        }
        image.into_bytes().map_err(h5)
    }

    /// All frames of a name as one array, at their scan points where the scan is known.
    fn cube(&self, key: &str, axes: &Axes) -> Result<(Array, Array)> {
        let pieces: Vec<(u64, &Array)> = self
            .kept
            .frames
            .iter()
            .filter_map(|(first, piece)| match piece.get(key) {
                Some(Value::Array(array)) => Some((*first, array)),
                _ => None,
            })
            .collect();
        let like = pieces.first().ok_or_else(|| Error::internal("a name without frames"))?.1;
        let end = pieces.iter().map(|(first, a)| first + a.shape()[0] as u64).max().unwrap_or(0);
        let leading: Vec<usize> = match axes.scan {
            Some([y, x]) if y * x >= end => vec![y as usize, x as usize],
            _ => vec![end as usize],
        };
        let points: usize = leading.iter().product();
        let shape = [&leading[..], &like.shape()[1..]].concat();
        let mut out = isard_core::Pool::unpooled().take(like.dtype(), &shape)?;
        match like.dtype() {
            Dtype::F32 => out.as_slice_mut::<f32>()?.fill(f32::NAN),
            Dtype::F64 => out.as_slice_mut::<f64>()?.fill(f64::NAN),
            _ => out.bytes_mut().fill(0),
        }
        let mut valid = vec![0u8; points];
        let step = out.bytes_mut().len() / points.max(1);
        for (first, piece) in pieces {
            if piece.dtype() != like.dtype() || piece.shape()[1..] != like.shape()[1..] {
                return Err(Error::data(format!("`{key}` changes its dtype or shape at frame {first}")));
            }
            let at = first as usize;
            valid[at..at + piece.shape()[0]].fill(1);
            out.bytes_mut()[at * step..at * step + piece.bytes().len()].copy_from_slice(piece.bytes());
        }
        Ok((out.freeze(), Array::of(&leading, &valid)?))
    }

    /// An array with its axes.
    fn node(&self, image: &mut Image, path: &str, key: &str, array: &Array, axes: &Axes) -> Result<()> {
        let shape = array.shape();
        let scan = axes.scan.map(|s| s.map(|n| n as usize));
        let leads = scan.is_some_and(|s| shape.starts_with(&s));
        let ends = scan.is_some_and(|s| shape.ends_with(&s)) && !leads;
        let cube = leads && shape.len() == 4;
        image.group(path).map_err(h5)?;
        let class = if cube { "DataCube" } else { "Array" };
        for (name, value) in [("emd_group_type", "array"), ("python_class", class)] {
            image.attribute(path, name, value).map_err(h5)?;
        }
        let data = format!("{path}/data");
        let (records, rest) = (shape[0] as u64, shape[1..].iter().map(|n| *n as u64).collect::<Vec<_>>());
        if array.is_empty() {
            return Err(Error::data(format!("`{key}` of shape {shape:?} holds nothing")));
        }
        let slot = image.dataset(&data, &Spec::new(stored(array.dtype()), &rest)).map_err(h5)?;
        image.append(slot, array.bytes(), records).map_err(h5)?;
        let unit = self.known.get(key).map_or("", String::as_str);
        image.attribute(&data, "units", unit).map_err(h5)?;
        for i in 0..shape.len() {
            let from_end = shape.len() - i;
            let (name, axis) = match () {
                () if leads && i < 2 => (["scan_y", "scan_x"][i], axes.axes[i].clone()),
                () if ends && from_end <= 2 => {
                    (["scan_y", "scan_x"][2 - from_end], axes.axes[2 - from_end].clone())
                }
                () if cube => (["detector_y", "detector_x"][i - 2], axes.axes[i].clone()),
                () => ("index", Axis { step: 1.0, start: 0.0, unit: String::new() }),
            };
            let dim = format!("{path}/dim{i}");
            let slot = image.dataset(&dim, &Spec::new(H5::F64, &[])).map_err(h5)?;
            let pair = [axis.start, axis.start + axis.step].map(f64::to_ne_bytes).concat();
            image.append(slot, &pair, 2).map_err(h5)?;
            image.attribute(&dim, "name", name).map_err(h5)?;
            image.attribute(&dim, "units", axis.unit.as_str()).map_err(h5)?;
        }
        Ok(())
    }

    /// Numbers and texts of the root.
    fn metadata(&self, image: &mut Image, root: &str, values: &[(Key, Value)]) -> Result<()> {
        let bundle = format!("{root}/metadatabundle");
        let group = format!("{bundle}/results");
        image.group(&group).map_err(h5)?;
        image.attribute(&bundle, "emd_group_type", "metadatabundle").map_err(h5)?;
        image.attribute(&group, "emd_group_type", "metadata").map_err(h5)?;
        image.attribute(&group, "python_class", "Metadata").map_err(h5)?;
        for (key, value) in values {
            let path = format!("{group}/{key}");
            let kind = match value {
                Value::Int(n) => {
                    image.scalar(&path, H5::I64, &n.to_ne_bytes()).map_err(h5)?;
                    "number"
                }
                Value::Bool(b) => {
                    image.boolean(&path, *b).map_err(h5)?;
                    "bool"
                }
                other => match other.number() {
                    Some(x) => {
                        image.scalar(&path, H5::F64, &x.to_ne_bytes()).map_err(h5)?;
                        "number"
                    }
                    None => {
                        let text = other.text().map_or_else(|| other.to_json().to_string(), str::to_owned);
                        image.text(&path, &text).map_err(h5)?;
                        "string"
                    }
                },
            };
            image.attribute(&path, "type", kind).map_err(h5)?;
        }
        Ok(())
    }
}

/// The attributes of the file.
fn head(image: &mut Image, cx: &Cx) -> isard_h5::Result<()> {
    image.attribute("/", "emd_group_type", "file")?;
    image.attribute("/", "version_major", 1i64)?;
    image.attribute("/", "version_minor", 0i64)?;
    image.attribute("/", "authoring_program", "isard")?;
    image.attribute("/", "authoring_user", "")?;
    // From the run's own random numbers, so that the same run gives the same file.
    let mut seed = cx.rng(0).get_seed();
    (seed[6], seed[8]) = (seed[6] & 0x0f | 0x40, seed[8] & 0x3f | 0x80);
    let hex: Vec<String> = seed[..16].iter().map(|b| format!("{b:02x}")).collect();
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex[range].concat());
    image.attribute("/", "UUID", parts.join("-"))
}

/// The formats' name of a dtype.
fn stored(dtype: Dtype) -> H5 {
    match dtype {
        Dtype::U8 => H5::U8,
        Dtype::U16 => H5::U16,
        Dtype::U32 => H5::U32,
        Dtype::U64 => H5::U64,
        Dtype::I8 => H5::I8,
        Dtype::I16 => H5::I16,
        Dtype::I32 => H5::I32,
        Dtype::I64 => H5::I64,
        Dtype::F32 => H5::F32,
        Dtype::F64 => H5::F64,
        Dtype::C32 => H5::C32,
        Dtype::C64 => H5::C64,
    }
}
