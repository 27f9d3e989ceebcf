//! EMPAD files as frames.

use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::Follow;

use crate::source::axes::Axes;
use crate::source::feed::{Files, Held, ScanOut};
use crate::source::frames::{Bytes, Even, Found, Frames, copied, swap};
use crate::source::growing::Appended;
use crate::source::placed::Placed;

/// Rows that are pixels, rows in all, and columns.
const ROWS: [usize; 3] = [128, 130, 128];

/// Frames of an EMPAD detector: a raw file, or the XML beside it.
///
/// A frame is 130 rows of 128 floats, of which the last two rows are no pixels and are left out. `path` is the raw file, or
/// the XML of the acquisition, which names the raw file and the size of the scan. The head holds `axes` (sizes, steps and
/// units, for stages and writers behind) and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. One copy of each frame. With `follow` the raw file may still grow: a frame is given once all its pixels are
/// there.
///
/// Source: M. W. Tate et al., Microsc. Microanal. 22 (2016) 237, and files of the detector.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empad {
    /// The raw file, or the XML; without `follow` both must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".xml"]))]
    path: String,
    /// Reads on while frames are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    feed: Held,
}

impl Stage for Empad {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let bytes: Vec<u8> = (0..4 * 130 * 128).flat_map(|i| (i as f32).to_le_bytes()).collect();
        Example::file("scan_x2_y2.raw", &bytes);
        let xml = "<root><raw_file filename='scan_x2_y2.raw'/><pix_x>2</pix_x><pix_y>2</pix_y></root>";
        Example::new(format!("path = {:?}", Example::file("empad.xml", xml.as_bytes())))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check_growing(&self.path, self.follow.as_ref(), faults);
    }
}

impl Source for Empad {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let path = Path::new(&self.path);
        let files = Files { path: &self.path, follow: self.follow.as_ref(), placed: self.placed };
        self.feed.open_growing(cx, files, from, || closed(path), |_| growing(path))
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        self.feed.pull(cx, slots)
    }
}
declare!(Source, "stem.empad", Kind::Source, Empad);

/// The frames of closed files.
fn closed(path: &Path) -> Result<Found> {
    let (raw, scan) = named(path)?;
    let even = frames(Bytes::open(&raw, false)?);
    let length = even.bytes.len()?;
    let (count, excess) = (length / even.step, length % even.step);
    if count == 0 || excess > 0 {
        let text = format!(
            "{}: is {length} bytes long, which is {count} frames of {} and {excess} bytes",
            raw.display(),
            even.step
        );
        return Err(Error::data(text).help("the file was cut short, or is of another detector"));
    }
    Ok(found(Box::new(even), count, scan))
}

/// The frames of files that may still grow; none while they are not there.
fn growing(path: &Path) -> Result<Option<Found>> {
    if !path.exists() {
        return Ok(None);
    }
    let (raw, scan) = named(path)?;
    if !raw.exists() {
        return Ok(None);
    }
    let even = frames(Bytes::open(&raw, true)?);
    Ok(Some(found(Box::new(Appended::new(even, &raw, Box::new(|_| Ok(None)))), 0, scan)))
}

fn found(frames: Box<dyn Frames>, count: u64, scan: Option<[u64; 2]>) -> Found {
    let [rows, _, columns] = ROWS;
    let (axes, head) = (Axes::default(), Dict::new());
    Found { frames, dtype: Dtype::F32, dims: [rows, columns], count, scan, axes, head }
}

fn frames(bytes: Bytes) -> Even {
    let [rows, all, columns] = ROWS;
    let (step, length) = ((all * columns * 4) as u64, rows * columns * 4);
    Even { bytes, offset: 0, step, length, decode: copied(swap(Dtype::F32, false)) }
}

/// The raw file of a path, and the scan where the XML says it.
fn named(path: &Path) -> Result<(PathBuf, Option<[u64; 2]>)> {
    if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("xml")) {
        return Ok((path.to_owned(), None));
    }
    let read = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let text = String::from_utf8_lossy(&read);
    let file = attribute(&text, "raw_file", "filename").ok_or_else(|| {
        Error::data(format!("{}: names no `raw_file`", path.display())).help("give the raw file as `path`")
    })?;
    // The file was written elsewhere: only its last name holds here.
    let last = file.rsplit(['/', '\\']).next().unwrap_or(&file);
    let number = |names: [&str; 2]| names.iter().find_map(|n| element(&text, n));
    let scan = number(["pix_y", "scan_resolution_y"]).zip(number(["pix_x", "scan_resolution_x"]));
    Ok((path.with_file_name(last), scan.map(|(y, x)| [y, x])))
}

/// The whole number in an element of that name.
fn element(text: &str, name: &str) -> Option<u64> {
    let at = text.find(&format!("<{name}"))?;
    let inner = text[at..].split_once('>')?.1;
    inner.split('<').next()?.trim().parse().ok()
}

/// An attribute of the first element of that name.
fn attribute(text: &str, element: &str, name: &str) -> Option<String> {
    let at = text.find(&format!("<{element}"))?;
    let tag = text[at..].split('>').next()?;
    let value = tag.split_once(&format!("{name}="))?.1;
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c))?;
    value[1..].split(quote).next().map(str::to_owned)
}
