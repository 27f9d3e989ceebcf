//! MRC stacks as frames.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::format::mrc::{HEADER, Mrc};
use crate::source::axes::{Axes, Axis};
use crate::source::feed::{Feed, Found, Frames, Placed, ScanOut, mapped, plain, pulled};

/// Frames of an MRC stack, one for each section.
///
/// Reads modes 0, 1, 2, 3, 4, 6, 12 and 101 in both byte orders; 16-bit floats become f32, nibbles u8. Sections are the
/// frames of a scan line by line, whose size the file does not know: `scan` gives it. The head holds `axes` (sizes, steps
/// and units, for stages and writers behind), `labels` and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Sections in this machine's order are handed out as they lie in the file without a copy.
///
/// Source: A. Cheng et al., J. Struct. Biol. 192 (2015) 146.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MrcStack {
    /// The file; it must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".mrc", ".mrcs"]))]
    path: String,
    /// Lines and points of the scan; else frames stand alone.
    #[serde(default)]
    scan: Option<[u64; 2]>,
    /// Frames before the first scan point; below 0, points before the first frame.
    #[serde(default)]
    offset: i64,
    /// Frames before the points of each line that belong to none.
    #[serde(default)]
    line_skip: u64,
    /// Frames after the points of each line that belong to none.
    #[serde(default)]
    flyback: u64,
    #[serde(skip)]
    #[schemars(skip)]
    feed: Option<Feed>,
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
        self.placed().check(&self.path, faults);
    }
}

impl Source for MrcStack {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        let found = find(&self.path)?;
        let (feed, opened) = Feed::open(&self.path, found, self.placed(), from)?;
        self.feed = Some(feed);
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        pulled(self.feed.as_mut())?.pull(cx, slots)
    }
}
declare!(Source, "stem.mrc", Kind::Source, MrcStack);

impl MrcStack {
    fn placed(&self) -> Placed {
        Placed { scan: self.scan, offset: self.offset, line_skip: self.line_skip, flyback: self.flyback }
    }
}

fn find(path: &str) -> Result<Found> {
    let map = mapped(path)?;
    let mrc = Mrc::parse(&map, map.len() as u64, path)?;
    let [count, rows, columns] = mrc.shape.map(|n| n as usize);
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
    let (dtype, offset, step) = (mrc.dtype(), mrc.offset as usize, mrc.section() as usize);
    let frames: Box<dyn Frames> = match mrc.plain() {
        true => plain(map, [offset, step, 0], dtype, [count, rows, columns])?,
        false => Box::new(Sections { map, mrc }),
    };
    Ok(Found { frames, dtype, dims: [rows, columns], count: count as u64, scan: None, axes, head })
}

/// Sections that must be decoded.
struct Sections {
    map: memmap2::Mmap,
    mrc: Mrc,
}

impl Frames for Sections {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        let step = self.mrc.section() as usize;
        let at = self.mrc.offset as usize + frame as usize * step;
        self.mrc.decode(&self.map[at..at + step], out);
        Ok(())
    }
}
