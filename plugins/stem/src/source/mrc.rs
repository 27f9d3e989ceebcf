//! MRC stacks as frames.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::value::map_file;
use isard_files::input::Follow;

use crate::format::mrc::{HEADER, Mrc};
use crate::source::axes::{Axes, Axis};
use crate::source::feed::{Files, Held, ScanOut};
use crate::source::frames::{Bytes, Even, Found, Frames, plain};
use crate::source::growing::Appended;
use crate::source::placed::Placed;

/// Frames of an MRC stack, one for each section.
///
/// Reads modes 0, 1, 2, 3, 4, 6, 12 and 101 in both byte orders; 16-bit floats become f32, nibbles u8. Sections are the
/// frames of a scan line by line, whose size the file does not know: `scan` gives it. The head holds `axes` (sizes, steps
/// and units, for stages and writers behind), `labels` and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Sections in this machine's order are handed out as they lie in the file without a copy. With `follow` the file
/// may still grow: a section is given once all its bytes are there, and a header that says 0 sections does not know yet.
///
/// Source: A. Cheng et al., J. Struct. Biol. 192 (2015) 146.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MrcStack {
    /// The file; without `follow` it must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".mrc", ".mrcs"]))]
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

impl Stage for MrcStack {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let mut bytes = vec![0u8; HEADER];
        for (at, word) in [(0, 3i32), (4, 2), (8, 6), (12, 6)] {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[208..214].copy_from_slice(b"MAP DD");
        bytes.extend((0..36u16).flat_map(u16::to_le_bytes));
        Example::new(format!("path = {:?}\nscan = [2, 3]", Example::file("stack.mrc", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check_growing(&self.path, self.follow.as_ref(), faults);
    }
}

impl Source for MrcStack {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let path = Path::new(&self.path);
        let files = Files { path: &self.path, follow: self.follow.as_ref(), placed: self.placed };
        self.feed.open_growing(cx, files, from, || closed(path), |_| growing(path))
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        self.feed.pull(cx, slots)
    }
}
declare!(Source, "stem.mrc", Kind::Source, MrcStack);

/// The sections of a closed file.
fn closed(path: &Path) -> Result<Found> {
    let map = map_file(path)?;
    let mrc = Mrc::parse(&map, map.len() as u64, &path.display().to_string())?;
    let [count, rows, columns] = mrc.shape.map(|n| n as usize);
    let (dtype, offset, step) = (mrc.dtype(), mrc.offset as usize, mrc.section() as usize);
    let frames = match mrc.plain() {
        true => plain(map, [offset, step, 0], dtype, [count, rows, columns])?,
        false => Box::new(sections(Bytes::Closed(map), &mrc)) as Box<dyn Frames>,
    };
    Ok(found(&mrc, frames, count as u64))
}

/// The sections of a file that may still grow; none while its header is not there.
fn growing(path: &Path) -> Result<Option<Found>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = Bytes::open(path, true)?;
    let header = bytes.first(HEADER)?;
    if header.len() < HEADER {
        return Ok(None);
    }
    let name = path.display().to_string();
    let mrc = Mrc::growing(&header, &name)?;
    let said = Box::new(move |even: &Even| {
        let n = Mrc::growing(&even.bytes.first(HEADER)?, &name)?.shape[0];
        Ok((n > 0).then_some(n))
    });
    let frames = Appended::new(sections(bytes, &mrc), path, said);
    Ok(Some(found(&mrc, Box::new(frames), 0)))
}

fn found(mrc: &Mrc, frames: Box<dyn Frames>, count: u64) -> Found {
    let [_, rows, columns] = mrc.shape.map(|n| n as usize);
    let mut axes = Axes::default();
    for (axis, (cell, n)) in axes.axes[2..].iter_mut().zip([(mrc.cell[1], rows), (mrc.cell[2], columns)]) {
        // Cells of no size stand for steps that were not given.
        if cell > 0.0 {
            *axis = Axis { step: cell / n as f64, start: 0.0, unit: "angstrom".into() };
        }
    }
    let mut head = Dict::new();
    if mrc.labels.iter().any(|l| !l.is_empty()) {
        head.set("labels", mrc.labels.join("\n"));
    }
    Found { frames, dtype: mrc.dtype(), dims: [rows, columns], count, scan: None, axes, head }
}

/// Sections that are decoded one by one.
fn sections(bytes: Bytes, mrc: &Mrc) -> Even {
    let (offset, step) = (mrc.offset, mrc.section());
    let mrc = mrc.clone();
    let decode = Box::new(move |stored: &[u8], out: &mut [u8]| mrc.decode(stored, out));
    Even { bytes, offset, step, length: step as usize, decode }
}
