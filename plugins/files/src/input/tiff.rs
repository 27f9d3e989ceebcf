//! TIFF files as frames.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Mutex;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::{core, format};
use crate::input::folder::files;
use crate::input::series::{FileFrames, Form, FramesOut, Places, Series, alike, example_file};
use crate::tiff::{Tiff, Writer};

/// Endings of TIFF files.
pub(crate) const ENDINGS: [&str; 2] = [".tif", ".tiff"];

/// Frames from TIFF files: the pages of one file, or the files of a folder.
///
/// Every page is one frame; files come in natural order (`a2` before `a10`), their pages in the order of the file. All
/// pages must have the same shape and dtype. The files must be closed: they are mapped, not read again.
///
/// Keeps order and count. Raw pages of this machine's byte order are handed out as they lie in the file without a
/// copy; other raw pages are copied once; compressed ones (packbits, LZW, deflate) are decoded on all cores.
///
/// Source: TIFF revision 6.0 (1992) and BigTIFF.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TiffSequence {
    /// One file, a folder, or a pattern such as `scan/frame_*.tif`.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    #[serde(skip)]
    #[schemars(skip)]
    series: Option<Series>,
}

impl Stage for TiffSequence {
    type In = ();
    type Out = FramesOut;

    fn example() -> Example {
        let bytes = Writer::new(isard_h5::Dtype::U16, [2, 3], false).and_then(|mut writer| {
            for page in 0..4u16 {
                let pixels: Vec<u8> = (0..6).flat_map(|i| (page * 6 + i).to_ne_bytes()).collect();
                writer.page(&pixels)?;
            }
            writer.into_bytes()
        });
        let path = example_file("frames.tif", &bytes.expect("four pages of six pixels fit a file"));
        Example::new(format!("path = {path:?}"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.path.is_empty() {
            faults.add("path", "is empty, wanted a file, a folder or a pattern");
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for TiffSequence {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let paths = files(&self.path, &ENDINGS)?;
        let cells: Vec<Mutex<Option<Tiff>>> = paths.iter().map(|_| Mutex::new(None)).collect();
        cx.par(paths.len(), |i| {
            let found = scan(&paths[i])?;
            *cells[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found);
            Ok(())
        })?;
        let scanned = cells.into_iter().filter_map(|c| c.into_inner().ok().flatten());
        let series = series(paths.iter().cloned().zip(scanned), from.next)?;
        let opened = series.opened();
        self.series = Some(series);
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<FramesOut>) -> Result<Pull> {
        put(self.next_frames(cx, slots.room())?, slots)
    }
}
declare!(Source, "tiff.sequence", Kind::Source, TiffSequence);

impl TiffSequence {
    /// The next frames after `open`, for whoever has no engine: runs with the number of their first; none at the end.
    pub fn next_frames(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, FramesOut)>> {
        next(self.series.as_mut(), cx, room)
    }
}

/// The next frames of an open series.
pub(crate) fn next(series: Option<&mut Series>, cx: &Cx, room: u64) -> Result<Vec<(u64, FramesOut)>> {
    let series = series.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
    Ok(series.pull(cx, room)?.into_iter().map(|(first, image)| (first, FramesOut { image })).collect())
}

/// Puts what there is; nothing is the end.
pub(crate) fn put<O: Ports>(runs: Vec<(u64, O)>, slots: &mut Slots<O>) -> Result<Pull> {
    if runs.is_empty() {
        return Ok(Pull::End);
    }
    for (first, frames) in runs {
        slots.put(first, frames)?;
    }
    Ok(Pull::Ready)
}

/// Walks the directories of a file.
pub(crate) fn scan(path: &PathBuf) -> Result<Tiff> {
    let file = File::open(path).map_err(|e| Error::io("cannot open", path, &e))?;
    Tiff::scan(BufReader::new(file), &path.display().to_string()).map_err(format)
}

/// The frames of scanned files.
pub(crate) fn series(scanned: impl Iterator<Item = (PathBuf, Tiff)>, next: u64) -> Result<Series> {
    let mut like: Option<(PathBuf, Dtype, Vec<usize>)> = None;
    let mut files = vec![];
    for (path, tiff) in scanned {
        let page = tiff.uniform().map_err(format)?;
        let (dtype, dims) = (core(page.dtype), vec![page.height, page.width]);
        let (first, wanted, shape) = like.get_or_insert_with(|| (path.clone(), dtype, dims.clone()));
        alike(first, (*wanted, shape), &path, (dtype, &dims))?;
        let frames = tiff.pages().len() as u64;
        let form = plain(&tiff).unwrap_or(Form::Tiff(tiff));
        files.push(FileFrames { path, frames, form });
    }
    let (_, dtype, dims) = like.ok_or_else(|| Error::data("no tiff file was found"))?;
    Series::new(dtype, &dims, files, next)
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
