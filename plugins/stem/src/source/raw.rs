//! Files without a header as the frames of a scan.

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::{Follow, RawStack};

use crate::source::axes::Axes;
use crate::source::feed::ScanOut;
use crate::source::hdf5::follow_of;
use crate::source::placed::Placed;
use crate::source::through::Through;

/// Frames of a scan in raw files, whose layout the recipe states.
///
/// A file is `header` bytes, then frames with `gap` bytes between them, then `footer` bytes. Files of a folder or a pattern
/// come in natural order (`a2` before `a10`). A file whose length does not fit is an error that states the excess. The
/// head holds `axes` (the sizes, for stages and writers behind) and `unused_frames`, the frames that belong to no point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Reads as `raw.stack` does; with `follow` files may still appear and grow.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawScan {
    /// One file, a folder, or a pattern such as `scan/*.raw`.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    /// The type of the pixels.
    #[schemars(extend("enum" = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64"]))]
    dtype: String,
    /// Rows and columns of a frame.
    shape: [usize; 2],
    /// The order of the bytes of a pixel.
    #[serde(default = "little")]
    #[schemars(extend("enum" = ["little", "big"]))]
    order: String,
    /// What stands before the first frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "byte"))]
    header: u64,
    /// What stands between two frames.
    #[serde(default)]
    #[schemars(extend("x-unit" = "byte"))]
    gap: u64,
    /// What stands after the last frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "byte"))]
    footer: u64,
    /// Reads on while frames and files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    inner: Option<Box<Through<RawStack>>>,
}

fn little() -> String {
    "little".into()
}

impl Stage for RawScan {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let bytes: Vec<u8> = (0..24u16).flat_map(u16::to_be_bytes).collect();
        let path = Example::file("scan.raw", &[&[0; 16], &bytes[..]].concat());
        let layout = "dtype = \"u16\"\norder = \"big\"\nshape = [2, 2]\nheader = 16";
        Example::new(format!("path = {path:?}\n{layout}\nscan = [2, 2]\nline_skip = 1"))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check_growing(&self.path, self.follow.as_ref(), faults);
        if self.shape.contains(&0) {
            faults.add("shape", "has no pixels, wanted at least 1 x 1");
        }
    }
}

impl Source for RawScan {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let mut set = serde_json::json!({
            "path": self.path, "dtype": self.dtype, "shape": self.shape, "order": self.order, "offset": self.header,
            "gap": self.gap, "footer": self.footer,
        });
        if let Some(follow) = &self.follow {
            set["follow"] = follow_of(follow);
        }
        let files = RawStack::deserialize(set)
            .map_err(|e| Error::internal(format!("the parameters of raw files: {e}")))?;
        let (inner, opened) = Through::open(files, cx, &self.path, self.placed, Axes::default(), from)?;
        self.inner = Some(Box::new(inner));
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        let inner = self.inner.as_mut();
        inner.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "stem.raw", Kind::Source, RawScan);
