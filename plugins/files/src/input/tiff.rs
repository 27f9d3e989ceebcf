//! TIFF files as frames.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::format;
use crate::format::FormatError;
use crate::input::follow::Follow;
use crate::input::scan::{Anew, Growing, Scan, Scanned};
use crate::input::sequence::{Held, check, ramp};
use crate::input::series::{Decode, Form, FramesOut, Places};
use crate::tiff::{Tiff, Writer};

/// Endings of TIFF files.
pub(crate) const ENDINGS: [&str; 2] = [".tif", ".tiff"];

/// Frames from TIFF files: the pages of one file, or the files of a folder.
///
/// Every page is one frame; files come in natural order (`a2` before `a10`), their pages in the order of the file. All
/// pages must have the same shape and dtype. The files must be closed, for they are mapped; with `follow` they may still
/// appear and grow: a page is given once it is whole, and the next name is predicted from the number in it.
///
/// Keeps order and count; a page that cannot be decoded is a corrupt frame. Raw pages of this machine's byte order are
/// handed out as they lie in the file without a copy; other raw pages are copied once; compressed ones (packbits, LZW,
/// deflate) are decoded on all cores.
///
/// Source: TIFF revision 6.0 (1992) and BigTIFF.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TiffSequence {
    /// One file, a folder, or a pattern such as `scan/frame_*.tif`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// Reads on while pages and files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    sequence: Held,
}

impl Stage for TiffSequence {
    type In = ();
    type Out = FramesOut;

    fn example() -> Example {
        let bytes = Writer::new(isard_h5::Dtype::U16, [2, 3], false).and_then(|mut writer| {
            ramp(u16::to_ne_bytes).chunks(12).try_for_each(|page| writer.page(page))?;
            writer.into_bytes()
        });
        let path = Example::file("frames.tif", &bytes.expect("four pages of six pixels fit a file"));
        Example::new(format!("path = {path:?}"))
    }

    fn check(&self, faults: &mut Faults) {
        check(&self.path, &self.follow, faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for TiffSequence {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        self.sequence.open(cx, &self.path, TiffFiles, &self.follow, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<FramesOut>) -> Result<Pull> {
        self.sequence.pull(cx, slots)
    }
}
declare!(Source, "tiff.sequence", Kind::Source, TiffSequence);

/// Walks the directories of a file.
pub(crate) fn scan(path: &Path) -> Result<Tiff> {
    let file = File::open(path).map_err(|e| Error::io("cannot open", path, &e))?;
    Tiff::scan(BufReader::new(file), &path.display().to_string()).map_err(format)
}

/// TIFF files as a kind.
pub(crate) struct TiffFiles;

impl Scan for TiffFiles {
    fn endings(&self) -> &'static [&'static str] {
        &ENDINGS
    }

    fn scan(&self, path: &Path) -> Result<Scanned> {
        scanned(scan(path)?)
    }

    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing> {
        Box::new(Anew(self, path.to_owned()))
    }
}

fn scanned(tiff: Tiff) -> Result<Scanned> {
    let page = tiff.uniform().map_err(format)?;
    let (dtype, dims) = (Dtype::from(page.dtype), [page.height, page.width]);
    let head = Dict::new().with("compression", page.compression);
    let frames = tiff.pages().len() as u64;
    let form = plain(&tiff).unwrap_or_else(|| Form::Decoded(Arc::new(tiff)));
    Ok(Scanned { head, ..Scanned::bare(dtype, &dims, frames, form) })
}

impl Decode for Tiff {
    fn read(
        &self,
        _: &Path,
        file: &[u8],
        frame: u64,
        out: &mut [u8],
    ) -> std::result::Result<(), FormatError> {
        Tiff::read(self, file, frame as usize, out)
    }
}

/// The pages as plain frames, when each one is a single run.
fn plain(tiff: &Tiff) -> Option<Form> {
    let native = tiff.pages().first()?.native;
    let mut offsets = vec![];
    let mut block = true;
    for page in tiff.pages() {
        let [run] = page.runs.as_deref()? else { return None };
        if page.native != native {
            return None;
        }
        block &= offsets.last().is_none_or(|last| last + page.bytes() as u64 == run.offset);
        offsets.push(run.offset);
    }
    let swap = if native { 0 } else { tiff.pages().first()?.dtype.size() };
    let places = if block { Places::Block(*offsets.first()?) } else { Places::Each(offsets) };
    Some(Form::Plain { places, swap })
}
