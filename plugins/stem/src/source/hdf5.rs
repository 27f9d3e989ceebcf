//! Any HDF5 dataset as the frames of a scan.

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::{Follow, Hdf5Dataset};

use crate::source::axes::Axes;
use crate::source::feed::ScanOut;
use crate::source::placed::Placed;
use crate::source::through::Through;

/// Frames of a scan in any HDF5 dataset of three or four axes.
///
/// It may be of a NeXus file, of a DECTRIS detector, or what another program wrote. The last two axes are the detector; two before them are the scan, one counts frames, whose scan `scan` gives. The head
/// holds `axes` (the sizes, for stages and writers behind) and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Reads as `hdf5.dataset` does, with all its filters, virtual datasets and links; with `follow` the file may
/// still be written.
///
/// Source: the HDF5 file format and its registered filters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hdf5Scan {
    /// The file and the dataset in it, as `file.h5::/path/of/dataset`.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    /// Reads on while the file is still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    inner: Option<Box<Through<Hdf5Dataset>>>,
}

impl Stage for Hdf5Scan {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let bytes = super::emd::small().expect("a file of six frames can be built");
        let path = format!("{}::/root/scan/data", Example::file("any.h5", &bytes));
        Example::new(format!("path = {path:?}\nscan = [2, 2]\nflyback = 1"))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check_growing(&self.path, self.follow.as_ref(), faults);
    }
}

impl Source for Hdf5Scan {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let mut set = serde_json::json!({ "path": self.path });
        if let Some(follow) = &self.follow {
            set["follow"] = follow_of(follow);
        }
        let axes = Axes { scan: self.said(), ..Axes::default() };
        let (inner, opened) = Through::open(dataset(set)?, cx, &self.path, self.placed, axes, from)?;
        self.inner = Some(Box::new(inner));
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        let inner = self.inner.as_mut();
        inner.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "stem.hdf5", Kind::Source, Hdf5Scan);

impl Hdf5Scan {
    /// The scan of a dataset of four axes; none where it cannot be looked at yet.
    fn said(&self) -> Option<[u64; 2]> {
        let (file, dataset) = self.path.split_once("::")?;
        let file = isard_h5::File::open(file).ok()?;
        match *file.dataset(dataset).ok()?.shape() {
            [rows, columns, _, _] => Some([rows, columns]),
            _ => None,
        }
    }
}

/// The reader of a dataset.
pub(super) fn dataset(set: serde_json::Value) -> Result<Hdf5Dataset> {
    Hdf5Dataset::deserialize(set).map_err(|e| Error::internal(format!("the parameters of a dataset: {e}")))
}

/// How growing files are followed, as a parameter.
pub(super) fn follow_of(follow: &Follow) -> serde_json::Value {
    let Follow { frames, marker, silence, poll, patience } = follow;
    let mut set = serde_json::json!({ "poll": poll, "patience": patience });
    for (name, value) in [
        ("frames", frames.map(serde_json::Value::from)),
        ("marker", marker.as_deref().map(serde_json::Value::from)),
        ("silence", silence.map(serde_json::Value::from)),
    ] {
        if let Some(value) = value {
            set[name] = value;
        }
    }
    set
}
