//! HDF5 datasets as frames.

mod frames;
mod reader;
mod value;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_h5::{Address, File, Piece, Slice};

use crate::convert::{extents, h5};
use crate::input::folder::{fits, missing, natural};
use crate::input::follow::Follow;
use crate::input::series::Given;
use crate::verdict;

pub(crate) use frames::Frames;
pub use frames::Unwritten;
pub(crate) use reader::{Found, Look, Reader};
use value::whole;
pub(crate) use value::{constant, read};

/// Frames from an HDF5 dataset, with constants and columns of the same file.
///
/// The last `frame_axes` axes of the dataset make up a frame, the leading ones are flattened into the frame number; with
/// `scan` they are named and every frame knows its place. `head` gives constants of the series, `columns` one value (or
/// array) for each frame as outputs of their own. Virtual datasets and links are followed; a source that is missing is
/// an error. Frames that were never written are gaps unless `unwritten` says otherwise. A closed file is mapped, so it
/// must not be cut while it is read.
///
/// With `follow` the file may still be written (SWMR or not), may not be there yet, and a virtual dataset may get more
/// sources: frames whose chunks are not written are not there yet. A chunk of several frames is read once the next
/// chunk has begun; a dataset without chunks does not tell what is written and is read when the series has ended.
///
/// Frames that a recording marks as damaged are corrupt here too: stages see a gap.
///
/// Floats of 16 bits are given in single precision, which holds each of them exactly.
///
/// Keeps order and count. Frames that lie in the file as they do in memory (contiguous, or unfiltered chunks of whole
/// frames) are handed out without a copy. Compressed chunks (deflate, LZF, LZ4, zstd, blosc, bitshuffle; shuffle and
/// checksums) are read and decoded on all cores, about 1 ms for a megapixel, and no plug-in is needed; chunks of several
/// frames are kept decoded, up to 512 MiB, until their last frame is given. Other byte orders go through the HDF5
/// library, which serves one reader at a time.
///
/// Source: the HDF5 file format and its registered filters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hdf5Dataset {
    /// The file and the dataset in it, as `file.h5::/path/of/dataset`.
    ///
    /// With `[20:100]` behind it that part of the first axis is a series of its own. The form of silx is taken too:
    /// `silx:file.h5?path=/path/of/dataset&slice=20:100`.
    #[schemars(extend("x-path" = "input", "x-endings" = crate::input::HDF5, "x-series" = true))]
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
    /// What frames are that were never written.
    #[serde(default)]
    unwritten: Unwritten,
    /// Reads on while the file is still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<State>,
}

fn two() -> usize {
    2
}

/// The datasets that `file.h5::/pattern` fits, as `file.h5::/path`, in natural order; each name of the path may be a pattern.
///
/// A path without a pattern is given as it is.
pub fn datasets(path: &str) -> Result<Vec<String>> {
    let address = Address::parse(path).map_err(|e| Error::recipe(e.to_string()))?;
    if !address.dataset.contains(['*', '?', '#']) {
        return Ok(vec![path.to_owned()]);
    }
    let wanted: Vec<&str> = address.dataset.split('/').collect();
    let fit = |found: &str| {
        let names: Vec<&str> = found.split('/').collect();
        names.len() == wanted.len() && wanted.iter().zip(names).all(|(pattern, name)| fits(pattern, name))
    };
    let listing = File::open(&address.file).and_then(|file| file.list()).map_err(h5)?;
    let mut found: Vec<String> = listing.datasets.into_iter().map(|d| d.path).filter(|p| fit(p)).collect();
    found.sort_by(|a, b| natural(a, b));
    let whole = |found: String| Address { dataset: found, ..address.clone() }.to_string();
    Ok(found.into_iter().map(whole).collect())
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
    reader: Reader,
    columns: Vec<(Key, Array)>,
    /// Frames that are marked as damaged.
    corrupt: Vec<u64>,
    /// The file, for messages.
    name: String,
}

impl Stage for Hdf5Dataset {
    type In = ();
    type Out = Hdf5Out;

    fn example() -> Example {
        let path = Example::file("scan.h5", &small().expect("a file of four frames can be built"));
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
        if let Some(follow) = &self.follow {
            follow.check(faults);
            if !self.columns.is_empty() {
                faults.add_with_help(
                    "columns",
                    "cannot be read while the file grows",
                    "read them with `table.rows` and join them",
                );
            }
            if self.unwritten == Unwritten::Fill {
                faults.add("unwritten", "is `fill`, which would be zeros in a file that grows");
            }
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for Hdf5Dataset {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let address = Address::parse(&self.path).map_err(|e| Error::recipe(e.to_string()))?;
        if self.follow.is_none() && !address.file.exists() {
            return Err(missing(&address.file));
        }
        let (axes, unwritten) = (self.frame_axes, self.unwritten);
        let (place, wanted) = (address.clone(), address.dataset.clone());
        let pieces = move |growing: bool| -> Result<Found> {
            let file = if growing { File::open_growing(&place.file) } else { File::open(&place.file) };
            let (dataset, pieces) = file.and_then(|f| f.pieces(&wanted, axes)).map_err(h5)?;
            let dtype = Dtype::from(dataset.dtype().map_err(h5)?);
            let shape = extents(dataset.shape());
            let watched = watched(&place.file, &pieces);
            let part = part(&place, &shape[..shape.len() - axes], growing)?;
            let first = part.start;
            let pieces = Piece::cut(pieces, part);
            let frames = Frames::new(dtype, &shape[shape.len() - axes..], pieces, unwritten, growing);
            Ok(Found {
                frames: frames.shown_by(place.file.clone(), &wanted, first),
                watched,
                announced: None,
            })
        };
        let beside = address.file.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(cx, Box::new(pieces), self.follow.as_ref(), beside, from.next)?;
        let growing = self.follow.is_some();
        let file = if growing { File::open_growing(&address.file) } else { File::open(&address.file) };
        let file = file.map_err(h5)?;
        let shape = extents(file.dataset(&address.dataset).map_err(h5)?.shape());
        let leading = &shape[..shape.len() - axes];
        let part = part(&address, leading, growing)?;
        let scan = self.axes(&address, leading)?;
        let mut head = Dict::new();
        for (name, path) in &self.head {
            cx.check()?;
            head.set(name.clone(), constant(&file, path).map_err(|e| e.at(format!("head `{name}`")))?);
        }
        let found = reader.found()?;
        let (frames, dtype, dims) = (found.frames.frames, found.frames.dtype, found.frames.dims.clone());
        let mut columns = vec![];
        for (name, path) in &self.columns {
            cx.check()?;
            let column =
                self.column(&file, path, leading, &part).map_err(|e| e.at(format!("column `{name}`")))?;
            columns.push((Key::from(name.clone()), column));
        }
        let mut shapes = Shapes::default().with("image", Shape::array(dtype, &dims));
        for (name, column) in &columns {
            shapes = shapes.with(name.as_str(), Shape::array(column.dtype(), &column.shape()[1..]));
        }
        // A recording that still grows gets its marks when it is closed.
        let corrupt = if growing { vec![] } else { verdict::read(&file, &address.dataset)? };
        let corrupt: Vec<u64> = match address.slice {
            Some(_) => corrupt.into_iter().filter(|n| part.contains(n)).map(|n| n - part.start).collect(),
            None => corrupt,
        };
        if let Some(strange) = corrupt.last().filter(|last| **last >= frames) {
            let path = &self.path;
            return Err(Error::data(format!("{path}: frame {strange} of {frames} is marked as corrupt")));
        }
        let frames = reader.total();
        let name = address.file.display().to_string();
        self.state = Some(State { reader, columns, corrupt, name });
        // Axes that still grow have no extent to state.
        let scan = if growing { vec![] } else { scan };
        Ok(Opened { frames, head, shapes, live: false, scan })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Hdf5Out>) -> Result<Pull> {
        let state = self.state.as_mut();
        let state = state.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let look = state.reader.look(cx, slots.room())?;
        let state = &*state;
        let made = |first: u64, image: Array| {
            let end = first as usize + image.shape()[0];
            let mut each = Dict::with_capacity(state.columns.len());
            for (name, column) in &state.columns {
                each.push(name.clone(), column.records(first as usize..end)?.into());
            }
            Ok(Hdf5Out { image, columns: each })
        };
        match look {
            Look::Given(given) if !state.corrupt.is_empty() => {
                for one in given {
                    match one {
                        Given::Frames(first, image) => state.give(first, made(first, image)?, slots)?,
                        lost => drop(put(Look::Given(vec![lost]), slots, made)?),
                    }
                }
                Ok(Pull::Ready)
            }
            look => put(look, slots, made),
        }
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

/// Puts what a look brought.
pub(crate) fn put<O: Ports>(
    look: Look,
    slots: &mut Slots<O>,
    made: impl Fn(u64, Array) -> Result<O>,
) -> Result<Pull> {
    let given = match look {
        Look::End => return Ok(Pull::End),
        Look::Wait(pause) => return Ok(Pull::Wait(pause)),
        Look::Given(given) => given,
    };
    for one in given {
        match one {
            Given::Frames(first, image) => slots.put(first, made(first, image)?)?,
            Given::Lost(number, Reason::Missing, why) => slots.missing(number, why),
            Given::Lost(number, _, why) => slots.corrupt(number, why, None),
        }
    }
    Ok(Pull::Ready)
}

/// The files that change when a series grows: the one that was named, and the last that holds frames.
pub(crate) fn watched(file: &Path, pieces: &[Piece]) -> Vec<std::path::PathBuf> {
    let mut files = vec![file.to_owned()];
    let last = pieces.iter().rev().find_map(|piece| piece.source.as_ref());
    files.extend(last.map(|source| source.file.clone()).filter(|last| *last != file));
    files
}

/// The frames that an address means: all, or those of its slice; of a file that grows those that are there.
fn part(address: &Address, leading: &[usize], growing: bool) -> Result<Range<u64>> {
    let frames = leading.iter().product::<usize>() as u64;
    let Some(slice) = address.slice else { return Ok(0..frames) };
    let [first, rest @ ..] = leading else {
        return Err(Error::recipe(format!("{address}: the dataset is a single frame, which has no slices")));
    };
    let there = *first as u64;
    let slice = match growing {
        true => Slice { from: slice.from.min(there), to: slice.to.map(|to| to.min(there)) },
        false => slice,
    };
    let range = match growing && slice.from == slice.to.unwrap_or(there) {
        true => slice.from..slice.from,
        false => slice.within(there).map_err(|error| Error::recipe(format!("{address}: {error}")))?,
    };
    let each = rest.iter().product::<usize>() as u64;
    Ok(range.start * each..range.end * each)
}

impl Hdf5Dataset {
    /// The named leading axes.
    fn axes(&self, address: &Address, leading: &[usize]) -> Result<Vec<(String, u64)>> {
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
        let mut extents: Vec<u64> = leading.iter().map(|n| *n as u64).collect();
        if let (Some(slice), Some(first)) = (address.slice, extents.first_mut()) {
            let part = slice.within(*first).map_err(h5)?;
            *first = part.end - part.start;
        }
        Ok(self.scan.iter().cloned().zip(extents).collect())
    }

    /// One record for each frame of a part of the dataset.
    fn column(&self, file: &File, path: &str, leading: &[usize], part: &Range<u64>) -> Result<Array> {
        let frames = leading.iter().product::<usize>() as u64;
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
        let array = whole(&dataset)?.reshape(&[&[frames as usize], rest].concat())?;
        array.records(part.start as usize..part.end as usize)
    }
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
