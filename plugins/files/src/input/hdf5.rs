//! HDF5 datasets as frames.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_h5::{Address, Attr, Dataset, Element as Kept, File};

use crate::convert::{core, extents, h5};
use crate::input::folder::missing;
use crate::input::series::{FileFrames, Form, Places, Series, example_file};
use crate::input::tiff::put;
use crate::verdict;

/// Frames from an HDF5 dataset, with constants and columns of the same file.
///
/// The last `frame_axes` axes of the dataset make up a frame, the leading ones are flattened into the frame number; with
/// `scan` they are named and every frame knows its place. `head` gives constants of the series, `columns` one value (or
/// array) for each frame as outputs of their own. The file must be closed: it is mapped, not read again.
///
/// Frames that a recording marks as damaged are corrupt here too: stages see a gap.
///
/// Keeps order and count. Frames that lie in the file as they do in memory (contiguous, or unfiltered chunks of whole
/// frames) are handed out without a copy; compressed, virtual and foreign ones are read through the HDF5 library, which
/// serves one reader at a time.
///
/// Source: the HDF5 file format, through the HDF5 library.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hdf5Dataset {
    /// The file and the dataset in it, as `file.h5::/path/of/dataset`.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    /// How many of the last axes make up one frame.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 7))]
    frame_axes: usize,
    /// Names of the leading axes, slowest first; without it they count as one.
    #[serde(default)]
    scan: Vec<String>,
    /// Constants of the series by name.
    ///
    /// Each is a dataset `/entry/mask`, or an attribute `/entry/data@units`.
    #[serde(default)]
    head: BTreeMap<String, String>,
    /// Outputs that hold one value for each frame, by name.
    ///
    /// They are datasets with as many records as there are frames.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<State>,
}

fn two() -> usize {
    2
}

/// What [`Hdf5Dataset`] gives.
#[derive(Ports)]
pub struct Hdf5Out {
    /// Images, or whatever `frame_axes` makes of the dataset.
    #[port(dtype = "any")]
    image: Array,
    /// The columns, each under its name.
    #[port(open)]
    columns: Dict,
}

/// An open dataset.
struct State {
    frames: u64,
    next: u64,
    body: Body,
    columns: Vec<(Key, Array)>,
    /// Frames that are marked as damaged.
    corrupt: Vec<u64>,
    /// The file, for messages.
    name: String,
}

/// How the frames are read.
enum Body {
    /// As they lie in the file.
    Plain(Series),
    /// Through the library.
    Library { dataset: Dataset, dtype: Dtype, dims: Vec<usize> },
}

impl Stage for Hdf5Dataset {
    type In = ();
    type Out = Hdf5Out;

    fn example() -> Example {
        let path = example_file("scan.h5", &small().expect("a file of four frames can be built"));
        Example::new(format!(
            "path = {:?}\nhead = {{ mask = \"/entry/mask\" }}\ncolumns = {{ omega = \"/entry/omega\" }}",
            format!("{path}::/entry/data")
        ))
    }

    fn check(&self, faults: &mut Faults) {
        if let Err(error) = Address::parse(&self.path) {
            faults.add("path", error.to_string());
        }
        for name in self.columns.keys().filter(|name| *name == "image") {
            faults.add_with_help(
                "columns",
                format!("`{name}` is the frames' own name"),
                "choose another name",
            );
        }
        if let Some(name) = self.scan.iter().enumerate().find(|(i, n)| self.scan[..*i].contains(n)) {
            faults.add("scan", format!("`{}` stands there twice, wanted different names", name.1));
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for Hdf5Dataset {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let address = Address::parse(&self.path).map_err(|e| Error::recipe(e.to_string()))?;
        if !address.file.exists() {
            return Err(missing(&address.file));
        }
        let file = File::open(&address.file).map_err(h5)?;
        let dataset = file.dataset(&address.dataset).map_err(h5)?;
        let dtype = core(dataset.dtype().map_err(h5)?);
        let shape = extents(dataset.shape());
        let frames = dataset.records(self.frame_axes).map_err(h5)?;
        let (leading, dims) = shape.split_at(shape.len() - self.frame_axes);
        let scan = self.axes(leading)?;
        let mut head = Dict::new();
        for (name, path) in &self.head {
            cx.check()?;
            head.set(name.clone(), constant(&file, path).map_err(|e| e.at(format!("head `{name}`")))?);
        }
        let mut columns = vec![];
        for (name, path) in &self.columns {
            cx.check()?;
            let column =
                self.column(&file, path, frames, leading).map_err(|e| e.at(format!("column `{name}`")))?;
            columns.push((Key::from(name.clone()), column));
        }
        let mut shapes = Shapes::default().with("image", Shape::array(dtype, dims));
        for (name, column) in &columns {
            shapes = shapes.with(name.as_str(), Shape::array(column.dtype(), &column.shape()[1..]));
        }
        let next = from.next.min(frames);
        let body = match dataset.layout(self.frame_axes).map_err(h5)? {
            Some(layout) => {
                let each = Places::Each(layout.records.iter().map(|r| r.offset).collect());
                let form = Form::Plain { places: each, swap: 0 };
                Body::Plain(Series::new(
                    dtype,
                    dims,
                    vec![FileFrames { path: layout.file, frames, form }],
                    next,
                )?)
            }
            None => Body::Library { dataset, dtype, dims: dims.to_vec() },
        };
        let corrupt = verdict::read(&file, &address.dataset)?;
        if let Some(strange) = corrupt.last().filter(|last| **last >= frames) {
            let path = &self.path;
            return Err(Error::data(format!("{path}: frame {strange} of {frames} is marked as corrupt")));
        }
        let name = address.file.display().to_string();
        self.state = Some(State { frames, next, body, columns, corrupt, name });
        Ok(Opened { frames: Some(frames), head, shapes, live: false, scan })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Hdf5Out>) -> Result<Pull> {
        let runs = self.next_frames(cx, slots.room())?;
        let Some(state) = self.state.as_ref().filter(|state| !state.corrupt.is_empty()) else {
            return put(runs, slots);
        };
        let ends = runs.is_empty();
        for (first, out) in runs {
            state.give(first, out, slots)?;
        }
        Ok(if ends { Pull::End } else { Pull::Ready })
    }
}
declare!(Source, "hdf5.dataset", Kind::Source, Hdf5Dataset);

impl State {
    /// Puts a run of frames, those that are marked as damaged apart from the others.
    fn give(&self, first: u64, out: Hdf5Out, slots: &mut Slots<Hdf5Out>) -> Result<()> {
        let end = first + out.image.shape()[0] as u64;
        let mut at = first;
        while at < end {
            let next = self.corrupt.partition_point(|n| *n < at);
            let bad = self.corrupt.get(next).copied().filter(|n| *n < end);
            let to = bad.unwrap_or(end);
            if at < to {
                slots.put(at, out.part(first, at, to)?)?;
            }
            if let Some(bad) = bad {
                let why = format!("marked as corrupt in {}", self.name);
                slots.corrupt(bad, why, Some(out.part(first, bad, bad + 1)?));
            }
            at = to + 1;
        }
        Ok(())
    }
}

impl Hdf5Out {
    /// Frames `from..to` of a run that begins with `first`.
    fn part(&self, first: u64, from: u64, to: u64) -> Result<Hdf5Out> {
        let range = (from - first) as usize..(to - first) as usize;
        let mut columns = Dict::with_capacity(self.columns.len());
        for (name, column) in self.columns.iter() {
            columns.push(name.clone(), column.cut(first, from, to)?);
        }
        Ok(Hdf5Out { image: self.image.records(range)?, columns })
    }
}

impl Hdf5Dataset {
    /// The next frames after `open`, for whoever has no engine: runs with the number of their first; none at the end.
    ///
    /// Frames that are marked as damaged stand among them.
    pub fn next_frames(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, Hdf5Out)>> {
        let state = self.state.as_mut();
        let state = state.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let left = state.frames - state.next;
        if left == 0 {
            return Ok(vec![]);
        }
        let runs = match &mut state.body {
            Body::Plain(series) => series.pull(cx, room)?,
            Body::Library { dataset, dtype, dims } => {
                let n = room.clamp(1, left);
                let mut out = cx.array(*dtype, &[&[n as usize], dims.as_slice()].concat())?;
                dataset.read(dims.len(), state.next, n, out.bytes_mut()).map_err(h5)?;
                vec![(state.next, out.freeze())]
            }
        };
        let mut given = vec![];
        for (first, image) in runs {
            let end = first + image.shape()[0] as u64;
            let mut columns = Dict::with_capacity(state.columns.len());
            for (name, column) in &state.columns {
                columns.push(name.clone(), column.records(first as usize..end as usize)?.into());
            }
            state.next = end;
            given.push((first, Hdf5Out { image, columns }));
        }
        Ok(given)
    }

    /// The named leading axes.
    fn axes(&self, leading: &[usize]) -> Result<Vec<(String, u64)>> {
        if self.scan.is_empty() {
            return Ok(vec![]);
        }
        if self.scan.len() != leading.len() {
            let (found, wanted) = (self.scan.len(), leading.len());
            return Err(Error::recipe(format!(
                "`scan` names {found} axes, the dataset has {wanted} before the frame's {}: {leading:?}",
                self.frame_axes
            )));
        }
        Ok(self.scan.iter().cloned().zip(leading.iter().map(|n| *n as u64)).collect())
    }

    /// One record for each frame.
    fn column(&self, file: &File, path: &str, frames: u64, leading: &[usize]) -> Result<Array> {
        let dataset = file.dataset(path).map_err(h5)?;
        let shape = extents(dataset.shape());
        let flat = shape.first().is_some_and(|n| *n as u64 == frames);
        let rest = match (flat, shape.starts_with(leading)) {
            (true, _) => &shape[1..],
            (_, true) if !leading.is_empty() => &shape[leading.len()..],
            _ => {
                return Err(Error::data(format!("{path}: has shape {shape:?}, wanted {frames} records"))
                    .help("a value for the whole series belongs under `head`"));
            }
        };
        let array = whole(&dataset)?;
        array.reshape(&[&[frames as usize], rest].concat())
    }
}

/// All elements of a dataset.
pub(crate) fn whole(dataset: &Dataset) -> Result<Array> {
    let dtype = core(dataset.dtype().map_err(h5)?);
    let shape = extents(dataset.shape());
    let mut out = isard_core::Pool::unpooled().take(dtype, &shape)?;
    if !out.bytes_mut().is_empty() {
        dataset.read(shape.len(), 0, 1, out.bytes_mut()).map_err(h5)?;
    }
    Ok(out.freeze())
}

/// What a dataset `/a/b` or an attribute `/a/b@c` holds; a scalar gives a number, strings give texts.
pub(crate) fn constant(file: &File, path: &str) -> Result<Value> {
    if let Some((object, name)) = path.split_once('@') {
        let found = file.attribute(object, name).map_err(h5)?;
        return match found {
            Some(attr) => value(attr, path),
            None => {
                let names: Vec<String> =
                    file.attributes(object).map_err(h5)?.into_iter().map(|(n, _)| format!("`{n}`")).collect();
                let error = Error::data(format!("{}::{path}: no such attribute", file.name()));
                Err(error.help(format!("there are: {}", names.join(", "))))
            }
        };
    }
    let dataset = file.dataset(path).map_err(h5)?;
    match dataset.element() {
        Kept::Text => {
            let texts = file.texts(path).map_err(h5)?;
            match (dataset.shape().is_empty(), texts.as_slice()) {
                (true, [one]) => Ok(Value::from(one.as_str())),
                _ => Ok(texts.into_iter().map(Value::from).collect::<Vec<_>>().into()),
            }
        }
        _ => {
            let corrupt = verdict::read(file, path)?;
            if !corrupt.is_empty() && dataset.shape().len() > 1 {
                let (name, n) = (file.name(), corrupt.len());
                return Err(Error::data(format!("{name}::{path}: {n} frames are marked as corrupt"))
                    .help("read it by `hdf5.dataset`, which leaves them out"));
            }
            let array = whole(&dataset)?;
            if array.shape().is_empty() && !array.dtype().is_complex() {
                array.scalar(0)
            } else {
                Ok(array.into())
            }
        }
    }
}

fn value(attr: Attr, path: &str) -> Result<Value> {
    Ok(match attr {
        Attr::Text(text) => Value::from(text),
        Attr::Texts(texts) => texts.into_iter().map(Value::from).collect::<Vec<_>>().into(),
        Attr::Int(x) => Value::Int(x),
        Attr::Ints(list) => Array::from_slice(&list).into(),
        Attr::Float(x) => Value::Float(x),
        Attr::Floats(list) => Array::from_slice(&list).into(),
        Attr::Other(what) => {
            return Err(Error::data(format!("{path}: is {what}, wanted numbers or text")));
        }
    })
}

/// The file of the example: four frames of 2 x 3 pixels, a mask, an angle for each frame.
fn small() -> isard_h5::Result<Vec<u8>> {
    use isard_h5::{Dtype as H5, Image, Spec};
    let mut image = Image::new()?;
    let data = image.dataset("/entry/data", &Spec::new(H5::U16, &[2, 3]))?;
    image.append(data, &(0..24u16).flat_map(u16::to_ne_bytes).collect::<Vec<_>>(), 4)?;
    let mask = image.dataset("/entry/mask", &Spec::new(H5::U8, &[3]))?;
    image.append(mask, &[0, 0, 1, 0, 0, 0], 2)?;
    let omega = image.dataset("/entry/omega", &Spec::new(H5::F64, &[]))?;
    image.append(omega, &[0.0f64, 0.5, 1.0, 1.5].map(f64::to_ne_bytes).concat(), 4)?;
    image.attribute("/entry/omega", "units", "degree")?;
    image.into_bytes()
}

/// A file, opened for a static input.
pub(crate) fn open(path: &str) -> Result<(File, Arc<str>)> {
    let address = Address::parse(path).map_err(|e| Error::recipe(e.to_string()))?;
    if !address.file.exists() {
        return Err(missing(&address.file));
    }
    Ok((File::open(&address.file).map_err(h5)?, address.dataset.into()))
}
