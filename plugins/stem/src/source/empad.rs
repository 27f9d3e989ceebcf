//! EMPAD files as frames.

use crate::source::axes::Axes;
use crate::source::feed::{Feed, Found, Placed, ScanOut, mapped, plain, pulled};
use isard_core::prelude::*;
use isard_core::schemars;

/// Rows that are pixels, rows in all, and columns.
const ROWS: [usize; 3] = [128, 130, 128];

/// Frames of an EMPAD detector: a raw file, or the XML beside it.
///
/// A frame is 130 rows of 128 floats, of which the last two rows are no pixels and are left out. `path` is the raw file, or
/// the XML of the acquisition, which names the raw file and the size of the scan. The head holds `axes` (sizes, steps and
/// units, for stages and writers behind) and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. One copy of each frame.
///
/// Source: M. W. Tate et al., Microsc. Microanal. 22 (2016) 237, and files of the detector.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empad {
    /// The raw file, or the XML; both must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".xml"]))]
    path: String,
    /// Lines and points of the scan; else what the XML says.
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
        self.placed().check(&self.path, faults);
    }
}

impl Source for Empad {
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
declare!(Source, "stem.empad", Kind::Source, Empad);

impl Empad {
    fn placed(&self) -> Placed {
        Placed { scan: self.scan, offset: self.offset, line_skip: self.line_skip, flyback: self.flyback }
    }
}

fn find(path: &str) -> Result<Found> {
    let (mut raw, mut scan) = (path.to_owned(), None);
    if path.to_lowercase().ends_with(".xml") {
        let read =
            std::fs::read(path).map_err(|e| Error::io("cannot read", std::path::Path::new(path), &e))?;
        let text = String::from_utf8_lossy(&read);
        let file = attribute(&text, "raw_file", "filename").ok_or_else(|| {
            Error::data(format!("{path}: names no `raw_file`")).help("give the raw file as `path`")
        })?;
        // The file was written elsewhere: only its last name holds here.
        let last = file.rsplit(['/', '\\']).next().unwrap_or(&file);
        raw = std::path::Path::new(path).with_file_name(last).display().to_string();
        let number = |names: [&str; 2]| names.iter().find_map(|n| element(&text, n));
        scan = number(["pix_y", "scan_resolution_y"]).zip(number(["pix_x", "scan_resolution_x"]));
    }
    let map = mapped(&raw)?;
    let [rows, all, columns] = ROWS;
    let step = all * columns * 4;
    let (count, excess) = (map.len() / step, map.len() % step);
    if count == 0 || excess > 0 {
        let text = format!(
            "{raw}: is {} bytes long, which is {count} frames of {step} and {excess} bytes",
            map.len()
        );
        return Err(Error::data(text).help("the file was cut short, or is of another detector"));
    }
    let swap = if cfg!(target_endian = "big") { 4 } else { 0 };
    let frames = plain(map, [0, step, swap], Dtype::F32, [count, rows, columns])?;
    let (scan, axes) = (scan.map(|(y, x)| [y, x]), Axes::default());
    Ok(Found {
        frames,
        dtype: Dtype::F32,
        dims: [rows, columns],
        count: count as u64,
        scan,
        axes,
        head: Dict::new(),
    })
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
