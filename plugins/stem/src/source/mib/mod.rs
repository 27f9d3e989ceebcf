//! Merlin MIB files as frames.

mod hdr;
mod series;

use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::{Follow, listed};

use crate::source::axes::Axes;
use crate::source::feed::{Files, Held, ScanOut};
use crate::source::frames::{Found, Frames as _};
use crate::source::mib::hdr::{Pairs, beside, head, read_pairs, said};
use crate::source::mib::series::Series;
use crate::source::placed::Placed;

/// Frames of Merlin MIB files: one, several, or the HDR beside them.
///
/// Reads every pixel type and depth, single chips and quads, as they were processed or raw. Files of a folder or a pattern
/// are put in order by the sequence numbers of their frames, never by name. A number that is left out is a frame that was
/// lost: it is a gap, and later frames stay at their own scan points. A file that ends within a frame is an error, or with
/// `cut = "gap"` that frame is one.
///
/// The size of the scan is `scan`, else that of the HDR: `ScanX` and `ScanY`, or the frames of a trigger where they are
/// more than one. The head holds `axes` (for stages and writers behind), `exposure`, `thresholds`, `time`,
/// `flip_y` (1: the stored order is upside down to the usual picture, and is kept), the pairs of the HDR under `hdr`, and
/// `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. One copy of each frame, in which bytes and chips are put in order. With `follow` files may still appear and
/// grow: a frame is given once it is whole, a number that is left out is waited for as long as `follow.patience` says
/// where a file that is still to come may hold it, and what stays half written is a corrupt frame.
///
/// Source: the Merlin manual, file format appendix.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MibFiles {
    /// A MIB file, a folder or pattern of them, or the HDR.
    ///
    /// Without `follow` the files must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".mib", ".hdr"]))]
    path: String,
    /// What a frame is within which a file ends.
    #[serde(default)]
    cut: Cut,
    /// Reads on while frames and files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    feed: Held,
}

/// What a frame is within which a file ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// An error.
    #[default]
    Error,
    /// A gap: told and counted.
    Gap,
}

impl Stage for MibFiles {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let mut bytes = vec![];
        for number in 1..=6u8 {
            let mut header =
                format!("MQ1,{number:06},00384,01,0003,0002,U08,   1x1,0F,2020-05-18 16:51:49.971626,");
            header.push_str("0.000555,0,0,0,5.0,0,0,0,0,0,0,0,");
            header = format!("{header:\0<384}");
            bytes.extend(header.as_bytes());
            bytes.extend([number; 6]);
        }
        Example::new(format!("path = {:?}\nscan = [2, 3]", Example::file("scan.mib", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check_growing(&self.path, self.follow.as_ref(), faults);
    }
}

impl Source for MibFiles {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let files = Files { path: &self.path, follow: self.follow.as_ref(), placed: self.placed };
        let mut series = files.follow.map(|f| Series::growing(&self.path, f.patience()));
        let growing = |last: bool| {
            let Some(held) = &mut series else { return Ok(None) };
            if held.look(cx, last)?.count == 0 {
                return Ok(None);
            }
            let pairs = pairs_of(&self.path, &files_of(&self.path)?)?;
            series.take().map(|series| found(series, &pairs, None)).transpose()
        };
        self.feed.open_growing(cx, files, from, || closed(cx, &self.path, self.cut), growing)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        self.feed.pull(cx, slots)
    }
}
declare!(Source, "stem.mib", Kind::Source, MibFiles);

/// The frames of closed files.
fn closed(cx: &Cx, path: &str, cut: Cut) -> Result<Found> {
    let paths = files_of(path)?;
    let pairs = pairs_of(path, &paths)?;
    let mut series = Series::closed(cx, path, &paths, cut == Cut::Gap)?;
    let count = series.look(cx, true)?.count;
    found(series, &pairs, Some(count))
}

fn found(series: Series, pairs: &Pairs, count: Option<u64>) -> Result<Found> {
    let header = series.header()?;
    let (dtype, dims, head) = (header.dtype(), header.shape(), head(header, pairs));
    let (scan, count) = (said(pairs, count), series.count());
    Ok(Found { dtype, dims, count, scan, axes: Axes::default(), head, frames: Box::new(series) })
}

fn is_hdr(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("hdr"))
}

/// The MIB files of a path: itself, those of a folder or a pattern, or those of an HDR.
fn files_of(path: &str) -> Result<Vec<PathBuf>> {
    // A folder holds the HDR too, and perhaps other things.
    let mut paths = match Path::new(path).is_dir() {
        true => listed(&format!("{path}/*.mib"))?,
        false => listed(path)?,
    };
    if let [one] = &paths[..]
        && is_hdr(one)
    {
        return beside(one);
    }
    paths.retain(|p| !is_hdr(p));
    Ok(paths)
}

/// What the HDR says: the path itself, or the one beside its first file; nothing where there is none.
fn pairs_of(path: &str, files: &[PathBuf]) -> Result<Pairs> {
    let path = Path::new(path);
    if is_hdr(path) && path.is_file() {
        return read_pairs(path);
    }
    match files.first().map(|p| p.with_extension("hdr")).filter(|p| p.exists()) {
        Some(hdr) => read_pairs(&hdr),
        None => Ok(vec![]),
    }
}
