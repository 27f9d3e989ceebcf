//! NPY arrays as the frames of a scan.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::value::map_file;
use isard_files::npy::Npy;

use crate::source::axes::Axes;
use crate::source::feed::{Held, ScanOut};
use crate::source::frames::{Found, plain};
use crate::source::placed::Placed;

/// Frames of an NPY array of three or four axes.
///
/// The last two axes are the detector; two before them are the scan, one counts frames, whose scan `scan` gives. The head
/// holds `axes` (the sizes, for stages and writers behind) and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Frames in this machine's order are handed out as they lie in the file without a copy.
///
/// Source: the NPY format, versions 1.0 to 3.0, as numpy documents it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NpyScan {
    /// The file; it must be closed.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    feed: Held,
}

impl Stage for NpyScan {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3, 2, 2), }";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(118u16.to_le_bytes());
        bytes.extend(format!("{header:<117}\n").as_bytes());
        bytes.extend((0..24u16).flat_map(u16::to_le_bytes));
        Example::new(format!("path = {:?}", Example::file("scan.npy", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check(&self.path, faults);
    }
}

impl Source for NpyScan {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        self.feed.open(&self.path, (find(&self.path)?, None), self.placed, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        self.feed.pull(cx, slots)
    }
}
declare!(Source, "stem.npy", Kind::Source, NpyScan);

fn find(path: &str) -> Result<Found> {
    let map = map_file(Path::new(path))?;
    let npy = Npy::parse(&map, path).map_err(|e| Error::data(e.to_string()))?;
    let wanted = npy.offset.saturating_add(npy.len());
    if map.len() < wanted {
        return Err(Error::data(format!(
            "{path}: is {} bytes long, wanted {wanted} for {:?}",
            map.len(),
            npy.shape
        ))
        .help("the file was cut short, or is still being written; copy it again"));
    }
    let (count, scan, dims) = match npy.shape[..] {
        [sy, sx, y, x] => (sy * sx, Some([sy, sx]), [y as usize, x as usize]),
        [n, y, x] => (n, None, [y as usize, x as usize]),
        _ => {
            let shape = &npy.shape;
            let text = format!("{path}: has {} axes {shape:?}, wanted [scan y, scan x, y, x]", shape.len());
            return Err(Error::data(text).help("reshape it with numpy"));
        }
    };
    let dtype = Dtype::from(npy.dtype);
    let part = dtype.size() / if dtype.is_complex() { 2 } else { 1 };
    let swap = if npy.native { 0 } else { part };
    let step = dims[0] * dims[1] * dtype.size();
    let frames = plain(map, [npy.offset, step, swap], dtype, [count as usize, dims[0], dims[1]])?;
    Ok(Found { frames, dtype, dims, count, scan, axes: Axes::default(), head: Dict::new() })
}
