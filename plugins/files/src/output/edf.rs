//! `edf.write`: images for the programs of the ESRF.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;

use crate::edf::{block, holds};
use crate::output::name;
use crate::output::plain::{FrameFiles, fits, not_held};
use crate::output::run::{ImageIn, Run};

/// Endings of the files it writes.
const ENDINGS: [&str; 1] = [".edf"];

/// Writes images to EDF files.
///
/// Frames go to `NAME.parts/000000000.edf`, ..., each file named by its first frame, so a gap shifts nothing. A file holds
/// `frames` of them, fewer before a gap and at a checkpoint. `edf.sequence` reads the folder back. Of snapshots the last
/// one is `NAME.edf`.
///
/// Changes neither order nor count. One copy.
///
/// Source: the ESRF data format as fabio reads and writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdfWrite {
    /// The file, relative to the run's folder; must end in `.edf`.
    #[schemars(extend("x-path" = "output", "x-endings" = ENDINGS))]
    path: String,
    /// Frames in one file.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-per-file" = true))]
    frames: u64,
    /// Further keys of every header, with their values.
    #[serde(default)]
    header: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    files: FrameFiles,
}

fn one() -> u64 {
    1
}

impl Stage for EdfWrite {
    type In = ImageIn;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<u16> = (0..12).collect();
        Example::new("path = \"frames.edf\"\nheader = { Title = \"a scan\" }")
            .frames("image", Array::of(&[2, 2, 3], &pixels).expect("twelve pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &ENDINGS, faults);
        if self.frames == 0 {
            faults.add("frames", "is 0, wanted at least 1");
        }
        for (key, value) in &self.header {
            if key.trim().is_empty() || key.contains(['=', ';', '{', '}', '\n']) {
                faults.add("header", format!("`{key}` cannot be a key of an EDF header"));
            }
            if value.contains([';', '{', '}', '\n']) {
                faults.add("header", format!("the value of `{key}` holds one of `; {{ }}` or a line break"));
            }
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        fits(input, holds, "EDF").map(|()| Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        let memory = bytes.saturating_mul(self.frames).saturating_mul(2);
        Cost { memory, disk_per_record: bytes + 512, ..Cost::default() }
    }
}

impl Writer for EdfWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.files.open(out, committed.as_ref());
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        self.files.write(&self.path, self.frames, span, &input.image, |run| file(run, &self.header))
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.files.commit(&self.path, |run| file(run, &self.header))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        self.commit(cx).map(|_| ())
    }
}
declare!(Writer, "edf.write", Kind::Writer, EdfWrite);

fn file(run: &Run, header: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let (rows, columns) = (run.dims[0], run.dims[1]);
    let lines: Vec<(&str, &str)> = header.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut bytes = vec![];
    for (i, pixels) in run.bytes.chunks(rows * columns * run.dtype.size()).enumerate() {
        let block =
            block(isard_h5::Dtype::from(run.dtype), [rows, columns], pixels, run.first + i as u64, &lines);
        bytes.extend(block.ok_or_else(|| not_held(run.dtype, "EDF"))?);
    }
    Ok(bytes)
}
