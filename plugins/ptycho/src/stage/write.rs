//! `ptyd.write`: scan data for other programs.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;

use super::experiment::{Given, pair};
use super::read::check_ending;
use crate::file::info::Making;
use crate::file::ptyd::{self, Chunk, Chunks, Meta};
use crate::file::tree::{Block, asctime};

/// Writes prepared frames of a scan to a `.ptyd` file.
///
/// With `save = "link"` every chunk is a file of its own, written whole before the master links to it by its bare name:
/// the folder may be moved, and readers may follow the scan. `append` puts all chunks into one file, `merge` all frames
/// into one chunk; both keep the frames in memory and write the file at checkpoints and at the end. At the end the master
/// says so under `info/end_of_scan`, which others ignore. Chunks are in the order of the frames.
///
/// Changes neither order nor count. Deflating takes some 50 ns a pixel.
///
/// Source: the PtyScan file format of PtyPy (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PtydWrite {
    /// The file, relative to the run's folder; must end in `.ptyd`.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// Chunks as files of their own, in one file, or as one.
    #[serde(default)]
    save: Save,
    /// Frames of a chunk.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    frames: usize,
    /// What the names of chunk files end in, with the chunk's number for `%03d`.
    #[serde(default = "part")]
    #[schemars(extend("x-level" = "expert"))]
    chunk_format: String,
    /// A name of the scan, unless the input gives one.
    #[serde(default)]
    label: Option<String>,
    /// The photon energy, unless the input gives it.
    #[serde(default)]
    #[schemars(extend("x-unit" = "keV"))]
    energy: Option<f64>,
    /// From the sample to the detector, unless the input gives it.
    #[serde(default)]
    #[schemars(extend("x-unit" = "m"))]
    distance: Option<f64>,
    /// The edge of a pixel, unless the input gives it.
    #[serde(default)]
    #[schemars(extend("x-unit" = "m"))]
    psize: Option<f64>,
    /// The optical axis, row and column, unless the input gives it; else the middle.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    center: Option<[f64; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

/// How chunks are saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Save {
    /// Each as a file of its own.
    #[default]
    Link,
    /// The same as `link`.
    Extlink,
    /// All in one file.
    Append,
    /// All frames as one chunk.
    Merge,
}

fn sixteen() -> usize {
    16
}

fn part() -> String {
    ".part%03d".into()
}

#[derive(Default)]
struct State {
    meta: Option<Meta>,
    /// Names of chunk files.
    files: Vec<String>,
    /// Chunks that are in no file of their own.
    held: Vec<Rows>,
    waiting: Rows,
    /// Positions of all frames.
    places: Vec<[f64; 2]>,
    count: u64,
}

/// Frames with their places.
#[derive(Clone, Default)]
struct Rows {
    index: Vec<i64>,
    position: Vec<f64>,
    image: Vec<Array>,
    mask: Vec<Array>,
}

/// The input of [`PtydWrite`].
#[derive(Ports)]
pub struct PtydIn {
    /// Prepared frames.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// Where each frame was taken, row and column.
    #[port(dtype = "float", axes = "axis", unit = "m")]
    position: Array,
    /// Bad pixels of each frame: 0 is good, anything else bad.
    #[port(dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// The photon energy.
    #[port(unit = "keV")]
    energy: Option<f64>,
    /// From the sample to the detector.
    #[port(unit = "m")]
    distance: Option<f64>,
    /// The edge of a pixel.
    #[port(unit = "m")]
    psize: Option<f64>,
    /// The optical axis, row and column; else the middle.
    #[port(fixed, dtype = "float")]
    center: Option<Array>,
    /// The optical axis that prepared frames bring with them.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    axis: Option<Array>,
    /// The edge of the pixels of prepared frames.
    #[port(dtype = "f64", axes = "", unit = "m")]
    pixel: Option<Array>,
    /// Frames of the whole scan.
    #[port(unit = "frame")]
    num_frames: Option<i64>,
    /// A name of the scan.
    label: Option<String>,
}

impl Stage for PtydWrite {
    type In = PtydIn;
    type Out = ();

    fn example() -> Example {
        let image: Vec<u16> = (0..5 * 64).map(|k| k * 13 % 50).collect();
        let position: Vec<f64> = (0..10).map(|k| 1e-6 * f64::from(k)).collect();
        Example::new("path = \"scan.ptyd\"\nframes = 2")
            .frames("image", Array::of(&[5, 8, 8], &image).expect("five frames"))
            .frames("position", Array::of(&[5, 2], &position).expect("five pairs"))
            .fixed("energy", 6.2)
            .fixed("distance", 7.0)
            .fixed("psize", 172e-6)
            .fixed("num_frames", 5i64)
    }

    fn check(&self, faults: &mut Faults) {
        check_ending(&self.path, ".ptyd", faults);
        if self.frames == 0 {
            faults.add("frames", "found 0, wanted 1 or more");
        }
        let same = numbered(&self.chunk_format, 0) == numbered(&self.chunk_format, 1);
        if same || self.chunk_format.contains('/') {
            let found = &self.chunk_format;
            faults.add_with_help(
                "chunk_format",
                format!("`{found}` names all chunks alike"),
                "write `.part%03d`",
            );
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        Cost {
            memory: 4 * bytes * self.frames as u64,
            disk_per_record: bytes,
            seconds_per_record: 2e-8 * bytes as f64,
            seconds: 0.0,
        }
    }
}

/// A number in a format of C's `printf`: `%03d`.
fn numbered(format: &str, number: u64) -> String {
    let Some((before, rest)) = format.split_once('%') else { return format.to_owned() };
    let Some((width, after)) = rest.split_once('d') else { return format.to_owned() };
    let width = width.parse::<usize>().unwrap_or(0);
    format!("{before}{number:0width$}{after}")
}

impl Writer for PtydWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        self.state = committed.map(|d| State::load(&d)).transpose()?.unwrap_or_default();
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: PtydIn) -> Result<()> {
        let &[n, rows, columns] = input.image.shape() else {
            let found = input.image.shape();
            return Err(Error::data(format!("found images of shape {found:?}, wanted frames [n y x]")));
        };
        let own =
            Given { energy: self.energy, distance: self.distance, psize: self.psize, center: self.center };
        let wired = Given {
            energy: input.energy,
            distance: input.distance,
            psize: input.psize,
            center: pair(&input.center)?,
        };
        let given = own.or(wired.with_frames(&input.axis, &input.pixel)?);
        let geometry = given.geometry(rows, crate::geometry::Propagation::Farfield)?;
        let meta = Meta {
            version: 0.1,
            num_frames: input.num_frames.map(|n| n as u64),
            label: self.label.clone().or(input.label),
            shape: [rows, columns],
            psize: [geometry.psize; 2],
            energy: geometry.energy,
            distance: geometry.distance,
            center: given.center.unwrap_or([(rows / 2) as f64, (columns / 2) as f64]),
        };
        let known = self.state.meta.get_or_insert_with(|| meta.clone());
        if known.shape != meta.shape {
            let (a, b) = (meta.shape, known.shape);
            return Err(Error::data(format!("{span}: frames of {a:?} pixels, wanted {b:?} as before")));
        }
        let positions = input.position.to_f64()?;
        for k in 0..n {
            let waiting = &mut self.state.waiting;
            waiting.index.push((span.start + k as u64) as i64);
            waiting.position.extend_from_slice(&positions[2 * k..2 * k + 2]);
            self.state.places.push([positions[2 * k], positions[2 * k + 1]]);
            waiting.image.push(input.image.record(k)?.detach()?);
            if let Some(mask) = &input.mask {
                waiting.mask.push(mask.record(k)?.detach()?);
            }
            self.state.count += 1;
            if self.state.waiting.index.len() >= self.frames && self.save != Save::Merge {
                self.close()?;
            }
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Every frame carries its index: one that did not come is simply not there.
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        if !self.links() && self.state.count > 0 {
            self.master(false)?;
        }
        self.state.save()
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        if !self.state.waiting.index.is_empty() {
            self.close()?;
        }
        self.master(true)
    }
}
declare!(Writer, "ptyd.write", Kind::Writer, PtydWrite);

impl PtydWrite {
    fn links(&self) -> bool {
        matches!(self.save, Save::Link | Save::Extlink)
    }

    fn output(&self) -> Result<&Arc<dyn Output>> {
        self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    /// Makes a chunk of the frames that wait.
    fn close(&mut self) -> Result<()> {
        if !self.links() {
            let rows = std::mem::take(&mut self.state.waiting);
            self.state.held.push(rows);
            return Ok(());
        }
        let number = self.state.files.len() as u64;
        let file = format!("{}{}", self.path, numbered(&self.chunk_format, number));
        let bytes = ptyd::part(&self.state.waiting.chunk()?, &asctime())?;
        // The chunk is on disk before anything links to it.
        self.output()?.seal(&file, &bytes)?;
        self.state.waiting = Rows::default();
        let name = file.rsplit('/').next().unwrap_or(&file).to_owned();
        self.state.files.push(name);
        self.master(false)
    }

    fn master(&self, last: bool) -> Result<()> {
        let state = &self.state;
        let save = match self.save {
            Save::Link | Save::Extlink => "link",
            Save::Append => "append",
            Save::Merge => "merge",
        };
        let making = Making {
            file: &self.path,
            save,
            chunk_format: &self.chunk_format,
            meta: state.meta.as_ref(),
            positions: if last { &state.places } else { &[] },
            frames: last.then_some(state.count),
        };
        let info = making.members();
        let held;
        let chunks = if self.links() {
            Chunks::Linked(&state.files)
        } else {
            let mut all = state.held.clone();
            if !state.waiting.index.is_empty() {
                all.push(state.waiting.clone());
            }
            held = all.iter().map(Rows::chunk).collect::<Result<Vec<Chunk>>>()?;
            Chunks::Held(&held)
        };
        let bytes = ptyd::master(state.meta.as_ref(), &info, chunks, &asctime())?;
        self.output()?.replace(&self.path, &bytes)
    }
}

impl Rows {
    fn chunk(&self) -> Result<Chunk> {
        let n = self.index.len();
        let first = self.image.first().ok_or_else(|| Error::internal("a chunk without frames"))?;
        let shape = [&[n], first.shape()].concat();
        let image: Vec<u8> = self.image.iter().flat_map(|a| a.bytes().iter().copied()).collect();
        let mut weights = vec![1.0; shape.iter().product()];
        for (mask, out) in self.mask.iter().zip(weights.chunks_exact_mut(first.len())) {
            for (m, w) in mask.to_f64()?.into_iter().zip(out) {
                *w = f64::from(u8::from(m == 0.0));
            }
        }
        Ok(Chunk {
            indices: self.index.clone(),
            positions: self.position.chunks_exact(2).map(|p| [p[0], p[1]]).collect(),
            data: Block::of(first.dtype().into(), &shape, &image),
            weights: Block::floats(&shape, &weights),
        })
    }

    fn save(&self) -> Result<Dict> {
        let list =
            |arrays: &[Array]| Value::from(arrays.iter().cloned().map(Value::from).collect::<Vec<Value>>());
        Ok(Dict::new()
            .with("index", Array::from_slice(&self.index))
            .with("position", Array::from_slice(&self.position))
            .with("image", list(&self.image))
            .with("mask", list(&self.mask)))
    }

    fn load(state: &Value) -> Result<Rows> {
        let Value::Dict(state) = state else {
            return Err(Error::data(format!("kept frames are {}, wanted a dict", state.describe())));
        };
        let list = |key: &str| -> Result<Vec<Array>> {
            match state.need(key)? {
                Value::List(list) => list
                    .iter()
                    .map(|v| match v {
                        Value::Array(a) => a.detach(),
                        other => Err(Error::data(format!("kept `{key}` has {}", other.describe()))),
                    })
                    .collect(),
                other => Err(Error::data(format!("kept `{key}` is {}", other.describe()))),
            }
        };
        let array = |key: &str| match state.need(key)? {
            Value::Array(a) => Ok(a.clone()),
            other => Err(Error::data(format!("kept `{key}` is {}", other.describe()))),
        };
        Ok(Rows {
            index: array("index")?.as_slice::<i64>()?.to_vec(),
            position: array("position")?.as_slice::<f64>()?.to_vec(),
            image: list("image")?,
            mask: list("mask")?,
        })
    }
}

impl State {
    fn save(&self) -> Result<Dict> {
        let held = self.held.iter().map(|r| Ok(Value::from(r.save()?))).collect::<Result<Vec<Value>>>()?;
        let files: Vec<Value> = self.files.iter().map(|f| Value::from(f.as_str())).collect();
        let mut state = Dict::new()
            .with("files", files)
            .with("held", held)
            .with("waiting", self.waiting.save()?)
            .with("places", Array::from_slice(self.places.as_flattened()))
            .with("count", self.count as i64);
        if let Some(m) = &self.meta {
            let frames = m.num_frames.map_or(-1.0, |n| n as f64);
            let numbers = [
                m.version,
                frames,
                m.shape[0] as f64,
                m.shape[1] as f64,
                m.psize[0],
                m.psize[1],
                m.energy,
                m.distance,
                m.center[0],
                m.center[1],
            ];
            state.set("meta", Array::from_slice(&numbers));
            if let Some(label) = &m.label {
                state.set("label", label.as_str());
            }
        }
        Ok(state)
    }

    fn load(state: &Dict) -> Result<State> {
        let list = |key: &str| match state.need(key)? {
            Value::List(list) => Ok(list.to_vec()),
            other => Err(Error::data(format!("kept `{key}` is {}", other.describe()))),
        };
        let meta = match state.get("meta") {
            Some(Value::Array(a)) => {
                let v = a.as_slice::<f64>()?;
                Some(Meta {
                    version: v[0],
                    num_frames: (v[1] >= 0.0).then_some(v[1] as u64),
                    label: state.get("label").and_then(Value::text).map(str::to_owned),
                    shape: [v[2] as usize, v[3] as usize],
                    psize: [v[4], v[5]],
                    energy: v[6],
                    distance: v[7],
                    center: [v[8], v[9]],
                })
            }
            _ => None,
        };
        Ok(State {
            meta,
            files: list("files")?.iter().filter_map(|f| f.text().map(str::to_owned)).collect(),
            held: list("held")?.iter().map(Rows::load).collect::<Result<_>>()?,
            waiting: Rows::load(state.need("waiting")?)?,
            places: match state.need("places")? {
                Value::Array(a) => a.as_slice::<f64>()?.as_chunks().0.to_vec(),
                other => return Err(Error::data(format!("kept `places` is {}", other.describe()))),
            },
            count: state.need("count")?.number().unwrap_or(0.0) as u64,
        })
    }
}
