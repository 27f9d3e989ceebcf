//! `cbf.write`: images as Pilatus detectors write them.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;

use crate::cbf::{file, holds};
use crate::output::name;
use crate::output::plain::{FrameFiles, fits, not_held};
use crate::output::run::{ImageIn, Run};

/// Endings of the files it writes.
const ENDINGS: [&str; 1] = [".cbf"];

/// Writes images of integers to CBF files, one frame in each.
///
/// Frames go to `NAME.parts/000000000.cbf`, ..., each file named by its frame, so a gap shifts nothing. `cbf.sequence` reads
/// the folder back. Of snapshots the last one is `NAME.cbf`. Every file carries the MD5 digest of its pixels.
///
/// Changes neither order nor count. Images of floats and of integers of 64 bits are refused: the format does not hold
/// them. Some 3 ns for each pixel.
///
/// Source: the crystallographic binary format with byte offsets, and the PILATUS_1.2 header.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CbfWrite {
    /// The file, relative to the run's folder; must end in `.cbf`.
    #[schemars(extend("x-path" = "output", "x-endings" = ENDINGS))]
    path: String,
    /// Lines `# key value` of every header, such as `Exposure_time = "0.1 s"`.
    #[serde(default)]
    header: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    files: FrameFiles,
}

impl Stage for CbfWrite {
    type In = ImageIn;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<i32> = (0..12).map(|i| i * 1000 - 2).collect();
        Example::new("path = \"frames.cbf\"\nheader = { Exposure_time = \"0.1 s\" }")
            .frames("image", Array::of(&[2, 2, 3], &pixels).expect("twelve pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &ENDINGS, faults);
        for key in self.header.keys().filter(|key| key.is_empty() || key.contains(char::is_whitespace)) {
            faults.add("header", format!("`{key}` is no single word"));
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        fits(input, holds, "CBF").map(|()| Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        let seconds_per_record = 1e-9 * bytes as f64;
        Cost { memory: 3 * bytes, disk_per_record: bytes / 2, seconds_per_record, ..Cost::default() }
    }
}

impl Writer for CbfWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.files.open(out, committed.as_ref());
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        self.files.write(&self.path, 1, span, &input.image, |run| bytes(&self.path, &self.header, run))
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.files.commit(&self.path, |run| bytes(&self.path, &self.header, run))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        self.commit(cx).map(|_| ())
    }
}
declare!(Writer, "cbf.write", Kind::Writer, CbfWrite);

fn bytes(path: &str, header: &BTreeMap<String, String>, run: &Run) -> Result<Vec<u8>> {
    let lines: Vec<(&str, &str)> = header.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let name = name::last(name::stem(path));
    let shape = [run.dims[0], run.dims[1]];
    file(isard_h5::Dtype::from(run.dtype), shape, &run.bytes, name, &lines)
        .ok_or_else(|| not_held(run.dtype, "CBF"))
}
