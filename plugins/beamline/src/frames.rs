//! The frames of one file, whatever its format.

use std::path::Path;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::stage::RunCx;
use isard_files::input::read_path;
use isard_h5::{Dataset, File};

/// Where detectors put their frames in HDF5 files, the most usual first.
const PLACES: [&str; 3] = ["/entry_0000/measurement/data", "/entry/data/data", "/entry/data"];

/// The frames of one file.
pub(crate) struct Frames {
    /// How many.
    pub count: usize,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The type of the pixels.
    pub dtype: Dtype,
    kind: Kind,
}

enum Kind {
    /// All of them in memory: `[n y x]`.
    Whole(Array),
    /// Datasets of HDF5, each with the number of its first frame.
    Stacks(Vec<(usize, Arc<Dataset>)>),
}

/// An error of a file as one of the job.
pub(crate) fn h5(error: isard_h5::Error) -> Error {
    Error::new(Blame::Data, error.to_string())
}

impl Frames {
    /// Opens a file: an image of any format, `file.h5::/path`, or an HDF5 file as detectors write them.
    pub(crate) fn open(path: &str) -> Result<Frames> {
        let file = path.split("::").next().unwrap_or(path).to_lowercase();
        if [".h5", ".hdf5", ".nxs"].iter().any(|ending| file.ends_with(ending)) {
            return Frames::stacks(path);
        }
        let array = match read_path(&RunCx::default(), path)? {
            Value::Array(array) if array.shape().len() == 2 => array.lead(),
            Value::Array(array) if array.shape().len() == 3 => array,
            other => {
                return Err(Error::data(format!("{path}: found {}, wanted frames", other.describe())));
            }
        };
        let shape = [array.shape()[1], array.shape()[2]];
        Ok(Frames { count: array.shape()[0], shape, dtype: array.dtype(), kind: Kind::Whole(array) })
    }

    fn stacks(path: &str) -> Result<Frames> {
        let (name, inside) =
            path.split_once("::").map_or((path, None), |(file, inside)| (file, Some(inside)));
        let file = File::open(Path::new(name)).map_err(h5)?;
        let found = match inside {
            Some(inside) => vec![file.dataset(inside).map_err(h5)?],
            None => find(&file, name)?,
        };
        let (mut stacks, mut count, mut like) = (vec![], 0, None);
        for dataset in found {
            let [.., rows, columns] = *dataset.shape() else {
                return Err(Error::data(format!("{path}: found shape {:?}, wanted frames", dataset.shape())));
            };
            let this = ([rows as usize, columns as usize], Dtype::from(dataset.dtype().map_err(h5)?));
            if like.is_some_and(|like| like != this) {
                return Err(Error::data(format!("{path}: its parts have frames of different kinds")));
            }
            like = Some(this);
            let n = dataset.records(2).map_err(h5)? as usize;
            stacks.push((count, Arc::new(dataset)));
            count += n;
        }
        let (shape, dtype) = like.ok_or_else(|| Error::data(format!("{path}: holds no frames")))?;
        Ok(Frames { count, shape, dtype, kind: Kind::Stacks(stacks) })
    }

    /// Frames `first .. first + count` as `[count y x]`.
    pub(crate) fn read(&self, cx: &Cx, first: usize, count: usize) -> Result<Array> {
        let [rows, columns] = self.shape;
        let each = rows * columns * self.dtype.size();
        let mut out = cx.array(self.dtype, &[count, rows, columns])?;
        match &self.kind {
            Kind::Whole(array) => {
                out.bytes_mut().copy_from_slice(&array.bytes()[first * each..(first + count) * each]);
            }
            Kind::Stacks(stacks) => {
                for (k, bytes) in out.bytes_mut().chunks_exact_mut(each).enumerate() {
                    let frame = first + k;
                    let (begin, dataset) = stacks
                        .iter()
                        .rfind(|(begin, _)| *begin <= frame)
                        .ok_or_else(|| Error::internal("a frame before the first part was asked for"))?;
                    dataset.read(2, (frame - begin) as u64, 1, bytes).map_err(h5)?;
                }
            }
        }
        Ok(out.freeze())
    }
}

/// The datasets that hold the frames of a file: one, or the numbered parts of a master.
fn find(file: &File, name: &str) -> Result<Vec<Dataset>> {
    let frames = |dataset: &Dataset| dataset.shape().len() >= 2 && dataset.dtype().is_ok();
    for place in PLACES {
        if let Ok(dataset) = file.dataset(place)
            && frames(&dataset)
        {
            return Ok(vec![dataset]);
        }
    }
    if let Ok(mut names) = file.names("/entry/data") {
        names.retain(|n| n.starts_with("data_"));
        names.sort();
        if !names.is_empty() {
            return names.iter().map(|n| file.dataset(&format!("/entry/data/{n}")).map_err(h5)).collect();
        }
    }
    let all = file.list().map_err(h5)?;
    let stacks: Vec<&str> =
        all.datasets.iter().filter(|d| d.shape.len() == 3).map(|d| d.path.as_str()).collect();
    match stacks[..] {
        [one] => Ok(vec![file.dataset(one).map_err(h5)?]),
        [] => Err(Error::data(format!("{name}: holds no stack of frames"))
            .help("name the dataset: `file.h5::/entry/data`")),
        _ => Err(Error::data(format!("{name}: {} datasets may be the frames", stacks.len()))
            .help(format!("name one of {}", stacks.join(", ")))),
    }
}

/// One image `[y x]` of a file.
pub(crate) fn single(path: &str) -> Result<Array> {
    image(read_path(&RunCx::default(), path)?, path)
}

/// One image `[y x]` of what was read from a file, such as a mask.
pub(crate) fn image(value: Value, path: &str) -> Result<Array> {
    match value {
        Value::Array(array) if array.shape().len() == 2 => Ok(array),
        Value::Array(array) if array.shape().len() == 3 && array.shape()[0] == 1 => array.record(0),
        other => Err(Error::data(format!("{path}: found {}, wanted one image", other.describe()))),
    }
}
