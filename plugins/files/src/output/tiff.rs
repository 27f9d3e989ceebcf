//! `tiff.write`: images for every viewer.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::{Ranges, SNAPSHOT};

use crate::convert::{format, stored};
use crate::output::name;
use crate::output::run::{ImageIn, Pending, Run, next};
use crate::tiff::Writer as Pages;

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
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// Frames in one file.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pages: u64,
    /// Whether pages are compressed with deflate.
    #[serde(default)]
    compress: bool,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    #[serde(skip)]
    #[schemars(skip)]
    pending: Pending,
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
        name::check(&self.path, &[".tif", ".tiff"], faults);
        if self.pages == 0 {
            faults.add("pages", "is 0, wanted at least 1");
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let shape = input.get("image");
        if let Some(dims) = shape.dims.filter(|dims| dims.len() != 2) {
            return Err(not_an_image(&dims));
        }
        Ok(Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        let memory = bytes.saturating_mul(self.pages).saturating_mul(2);
        Cost { memory, disk_per_record: bytes, ..Cost::default() }
    }
}

impl Writer for TiffWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.pending = Pending::from(next(committed.as_ref()));
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        let image = &input.image;
        let dims = image.shape().get(1..).unwrap_or_default();
        if dims.len() != 2 {
            return Err(not_an_image(dims));
        }
        let job = self.job()?;
        if span.axis == SNAPSHOT {
            let last = image.record(image.shape()[0] - 1)?;
            let run = Run {
                first: 0,
                frames: 1,
                dtype: last.dtype(),
                dims: dims.to_vec(),
                bytes: last.bytes().to_vec(),
            };
            return job.out.replace(&self.path, &job.file(&run)?);
        }
        self.pending.take(span, image, self.pages, |run| job.seal(run))
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        let job = self.job()?;
        self.pending.close(|run| job.seal(run))?;
        Ok(Dict::new().with("next", self.pending.next as i64))
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        let job = self.job()?;
        self.pending.close(|run| job.seal(run))
    }
}
declare!(Writer, "tiff.write", Kind::Writer, TiffWrite);

impl TiffWrite {
    fn job(&self) -> Result<Job> {
        let out = self.out.clone();
        let out = out.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        Ok(Job { out, path: self.path.clone(), compress: self.compress })
    }
}

/// What it takes to write a file.
struct Job {
    out: Arc<dyn Output>,
    path: String,
    compress: bool,
}

impl Job {
    fn seal(&self, run: &Run) -> Result<()> {
        let ending = self.path.rsplit('.').next().unwrap_or("tif");
        let part = format!("{}.parts/{:09}.{ending}", name::stem(&self.path), run.first);
        self.out.seal(&part, &self.file(run)?)
    }

    fn file(&self, run: &Run) -> Result<Vec<u8>> {
        let big = run.bytes.len() as u64 + 4096 * run.frames > u64::from(u32::MAX) - 65536;
        let [rows, columns] = run.dims[..] else { return Err(not_an_image(&run.dims)) };
        let mut pages = Pages::new(stored(run.dtype), [rows, columns], big).map_err(format)?;
        if self.compress {
            pages = pages.deflate();
        }
        for page in run.bytes.chunks(rows * columns * run.dtype.size()) {
            pages.page(page).map_err(format)?;
        }
        pages.into_bytes().map_err(format)
    }
}

fn not_an_image(dims: &[usize]) -> Error {
    Error::data(format!("found records of shape {dims:?}, wanted images [y x]"))
        .help("`npy.write` and `hdf5.write` take any shape")
}
