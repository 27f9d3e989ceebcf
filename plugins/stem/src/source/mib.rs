//! Merlin MIB files as frames.

use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::value::map_file;
use isard_files::input::listed;
use memmap2::Mmap;

use crate::format::mib::{Header, sidecar};
use crate::source::axes::Axes;
use crate::source::feed::{Feed, Found, Frames, Placed, ScanOut, pulled};

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
/// are gaps. One copy of each frame, in which bytes and chips are put in order.
///
/// Source: the Merlin manual, file format appendix.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MibFiles {
    /// A MIB file, a folder or pattern of them, or the HDR; they must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".mib", ".hdr"]))]
    path: String,
    /// What a frame is within which a file ends.
    #[serde(default)]
    cut: Cut,
    /// Lines and points of the scan; else what the HDR says, else frames stand alone.
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
        self.placed().check(&self.path, faults);
    }
}

impl Source for MibFiles {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let found = find(cx, &self.path, self.cut)?;
        let (feed, opened) = Feed::open(&self.path, found, self.placed(), from)?;
        self.feed = Some(feed);
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        pulled(self.feed.as_mut())?.pull(cx, slots)
    }
}
declare!(Source, "stem.mib", Kind::Source, MibFiles);

impl MibFiles {
    fn placed(&self) -> Placed {
        Placed { scan: self.scan, offset: self.offset, line_skip: self.line_skip, flyback: self.flyback }
    }
}

/// One file of a series.
struct MibFile {
    path: PathBuf,
    map: Mmap,
    /// The header of its first frame.
    header: Header,
    /// Whole frames.
    frames: u64,
    /// It ends within a frame.
    cut: bool,
}

impl MibFile {
    fn open(path: &Path) -> Result<MibFile> {
        let map = map_file(path)?;
        let header = Header::parse(&map, &path.display().to_string())?;
        let step = header.step();
        let (frames, cut) = ((map.len() / step) as u64, !map.len().is_multiple_of(step));
        Ok(MibFile { path: path.to_owned(), map, header, frames, cut })
    }

    /// The sequence number of a whole frame.
    fn sequence(&self, frame: u64) -> Result<u64> {
        let at = frame as usize * self.header.step();
        let what = format!("{}: frame {frame}", self.path.display());
        let header = Header::parse(&self.map[at..], &what)?;
        if !header.alike(&self.header) {
            return Err(Error::data(format!("{what}: is not like the first frame of the file")));
        }
        Ok(header.sequence)
    }
}

fn find(cx: &Cx, path: &str, cut: Cut) -> Result<Found> {
    let mut pairs = vec![];
    // A folder holds the HDR too, and perhaps other things.
    let mut paths = match Path::new(path).is_dir() {
        true => listed(&format!("{path}/*.mib"))?,
        false => listed(path)?,
    };
    let is = |path: &Path, ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    if let [one] = &paths[..]
        && is(one, "hdr")
    {
        let one = one.clone();
        pairs = read_pairs(&one)?;
        paths = beside(&one)?;
    } else {
        paths.retain(|p| !is(p, "hdr"));
        if let Some(hdr) = paths.first().map(|p| p.with_extension("hdr")).filter(|p| p.exists()) {
            pairs = read_pairs(&hdr)?;
        }
    }
    let mut files = vec![];
    for path in &paths {
        cx.check()?;
        files.push(MibFile::open(path)?);
    }
    files.sort_by_key(|f| f.header.sequence);
    let first = files.first().ok_or_else(|| Error::data(format!("{path}: no MIB file")))?;
    for file in &files {
        if !file.header.alike(&first.header) {
            let (name, like) = (file.path.display(), first.path.display());
            return Err(Error::data(format!("{name}: its frames are not like those of {like}"))
                .help("give each acquisition its own folder or pattern"));
        }
        if file.cut && cut == Cut::Error {
            let (length, step, n) = (file.map.len(), file.header.step(), file.frames);
            let text =
                format!("{}: is {length} bytes long, wanted a multiple of {step}", file.path.display());
            return Err(Error::data(format!("{text}: it ends within frame {n}"))
                .help("`cut = \"gap\"` makes a gap of that frame"));
        }
    }
    let header = first.header.clone();
    let (places, lost) = places(cx, &files)?;
    let head = head(&header, &pairs);
    let count = places.len() as u64;
    Ok(Found {
        dtype: header.dtype(),
        dims: header.shape(),
        count,
        scan: said(&pairs, count),
        axes: Axes::default(),
        head,
        frames: Box::new(MibFrames { files, places, lost }),
    })
}

/// For each number of the series: the file and the frame in it, and why one is not there.
type Places = (Vec<Option<(u32, u32)>>, Vec<(u64, String)>);

fn places(cx: &Cx, files: &[MibFile]) -> Result<Places> {
    let begin = files.first().map_or(1, |f| f.header.sequence);
    let (mut places, mut lost) = (vec![], vec![]);
    for (index, file) in files.iter().enumerate() {
        let name = file.path.display();
        let same = |what: String| {
            Error::data(what).help("files of two acquisitions, perhaps: give each its own folder or pattern")
        };
        // The numbers of whole files are those between their first and last, unless some were lost.
        let last = match file.frames {
            0 => None,
            n => Some(file.sequence(n - 1)?),
        };
        let even = last.is_none_or(|last| last.checked_sub(file.header.sequence) == Some(file.frames - 1));
        for frame in 0..file.frames {
            let sequence = match even {
                true => file.header.sequence + frame,
                false => {
                    cx.check()?;
                    file.sequence(frame)?
                }
            };
            let at = sequence.checked_sub(begin).filter(|at| *at >= places.len() as u64);
            let Some(at) = at else {
                let wanted = begin + places.len() as u64;
                return Err(same(format!("{name}: frame {frame} has number {sequence}, wanted {wanted}")));
            };
            if at - places.len() as u64 > 1 << 28 {
                return Err(same(format!("{name}: {} frames before number {sequence} are missing", at)));
            }
            while (places.len() as u64) < at {
                let number = begin + places.len() as u64;
                lost.push((places.len() as u64, format!("{name}: no frame has sequence number {number}")));
                places.push(None);
            }
            places.push(Some((index as u32, frame as u32)));
        }
        if file.cut {
            let why = format!("{name}: ends within frame {}", file.frames);
            // A later file that begins with the next number shows that this one is lost.
            lost.push((places.len() as u64, why));
            places.push(None);
        }
    }
    Ok((places, lost))
}

struct MibFrames {
    files: Vec<MibFile>,
    places: Vec<Option<(u32, u32)>>,
    lost: Vec<(u64, String)>,
}

impl Frames for MibFrames {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        let place = self.places.get(frame as usize).copied().flatten();
        let (file, inside) = place.ok_or_else(|| Error::internal("a lost frame was read"))?;
        let file = &self.files[file as usize];
        let header = &file.header;
        let at = inside as usize * header.step();
        let own = &file.map[at..at + header.step()];
        if !own.starts_with(b"MQ1,") {
            let name = file.path.display();
            return Err(Error::data(format!("{name}: frame {inside} does not begin with a Merlin header")));
        }
        header.decode(&own[header.offset..], out);
        Ok(())
    }

    fn lost(&self, frame: u64) -> Option<String> {
        let at = self.lost.binary_search_by_key(&frame, |(n, _)| *n).ok()?;
        Some(self.lost[at].1.clone())
    }
}

/// The size of the scan as the HDR has it.
fn said(pairs: &[(String, String)], frames: u64) -> Option<[u64; 2]> {
    let number = |name: &str| {
        let (_, text) = pairs.iter().find(|(key, _)| key == name)?;
        text.trim().parse::<u64>().ok().filter(|n| *n > 0)
    };
    if let (Some(y), Some(x)) = (number("ScanY"), number("ScanX")) {
        return Some([y, x]);
    }
    let columns = number("Frames per Trigger (Number)").filter(|n| *n > 1)?;
    let all = number("Frames in Acquisition (Number)").unwrap_or(frames);
    all.is_multiple_of(columns).then(|| [all / columns, columns])
}

fn head(header: &Header, pairs: &[(String, String)]) -> Dict {
    let mut head = Dict::new().with("time", header.time.as_str()).with("flip_y", 1i64);
    if header.exposure.is_finite() {
        head.set("exposure", header.exposure);
    }
    if !header.thresholds.is_empty() {
        head.set("thresholds", Array::from_slice(&header.thresholds));
    }
    if !pairs.is_empty() {
        let pairs = pairs.iter().map(|(k, v)| (Key::from(k.replace('/', "_")), Value::from(v.as_str())));
        head.set("hdr", pairs.collect::<Dict>());
    }
    head
}

fn read_pairs(path: &Path) -> Result<Vec<(String, String)>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
    if !bytes.starts_with(b"HDR") {
        return Err(Error::data(format!("{}: does not begin with `HDR`", path.display())));
    }
    Ok(sidecar(&bytes))
}

/// The MIB files of an HDR: of the same name, or of that name with a running number.
fn beside(hdr: &Path) -> Result<Vec<PathBuf>> {
    let one = hdr.with_extension("mib");
    if one.exists() {
        return Ok(vec![one]);
    }
    let stem = hdr.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let above = hdr.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let listed = std::fs::read_dir(above).map_err(|e| Error::io("cannot list", above, &e))?;
    let fits = |name: &str| {
        let number = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(".mib"));
        number.is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit() || c == '_'))
    };
    let files: Vec<PathBuf> = listed
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().is_some_and(|n| fits(&n.to_string_lossy())))
        .collect();
    match files.is_empty() {
        true => Err(Error::data(format!("{}: no MIB file of this name is beside it", hdr.display()))),
        false => Ok(files),
    }
}
