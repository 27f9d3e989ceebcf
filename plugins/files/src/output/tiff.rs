//! `tiff.write`: images for every viewer.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;

use crate::convert::format;
use crate::output::name;
use crate::output::plain::{FrameFiles, fits, not_an_image};
use crate::output::run::{ImageIn, Run};
use crate::tiff::Writer as Pages;

/// Endings of the files it writes.
const ENDINGS: [&str; 2] = [".tif", ".tiff"];

/// Writes images to TIFF files.
///
/// Frames go to `NAME.parts/000000000.tif`, ..., each file named by its first frame, so a gap shifts nothing. A file holds
/// `pages` frames, fewer before a gap and at a checkpoint. `tiff.sequence` reads the folder back. Of snapshots the last
/// one is `NAME.tif`.
///
/// Changes neither order nor count. One copy, and deflate at its quickest level when asked for.
///
/// Source: TIFF revision 6.0 (1992); BigTIFF where a file passes 4 GiB.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TiffWrite {
    /// The file, relative to the run's folder; must end in `.tif` or `.tiff`.
    #[schemars(extend("x-path" = "output", "x-endings" = ENDINGS))]
    path: String,
    /// Frames in one file.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-per-file" = true))]
    pages: u64,
    /// Whether pages are compressed with deflate.
    #[serde(default)]
    compress: bool,
    #[serde(skip)]
    #[schemars(skip)]
    files: FrameFiles,
}

fn one() -> u64 {
    1
}

impl Stage for TiffWrite {
    type In = ImageIn;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<u16> = (0..12).collect();
        Example::new("path = \"frames.tif\"")
            .frames("image", Array::of(&[2, 2, 3], &pixels).expect("twelve pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &ENDINGS, faults);
        if self.pages == 0 {
            faults.add("pages", "is 0, wanted at least 1");
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let real = |dtype| !matches!(dtype, isard_h5::Dtype::C32 | isard_h5::Dtype::C64);
        fits(input, real, "TIFF").map(|()| Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        let memory = bytes.saturating_mul(self.pages).saturating_mul(2);
        Cost { memory, disk_per_record: bytes, ..Cost::default() }
    }
}

impl Writer for TiffWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.files.open(out, committed.as_ref());
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        self.files.write(&self.path, self.pages, span, &input.image, |run| file(run, self.compress))
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.files.commit(&self.path, |run| file(run, self.compress))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        self.commit(cx).map(|_| ())
    }
}
declare!(Writer, "tiff.write", Kind::Writer, TiffWrite);

fn file(run: &Run, compress: bool) -> Result<Vec<u8>> {
    let big = run.bytes.len() as u64 + 4096 * run.frames > u64::from(u32::MAX) - 65536;
    let [rows, columns] = run.dims[..] else { return Err(not_an_image(&run.dims)) };
    let mut pages = Pages::new(isard_h5::Dtype::from(run.dtype), [rows, columns], big).map_err(format)?;
    if compress {
        pages = pages.deflate();
    }
    for page in run.bytes.chunks(rows * columns * run.dtype.size()) {
        pages.page(page).map_err(format)?;
    }
    pages.into_bytes().map_err(format)
}
