//! `hedm.frames`: the camera frames of a scan, by their numbers.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Arrival;
use isard_files::input::{Hdf5Dataset, Hdf5Out};
use isard_files::tiff::Tiff;

use super::experiment::{Experiment, example, small};
use super::simulate::Frame;

/// How long it pauses before it looks again for a file that is not there.
const PAUSE: Duration = Duration::from_millis(50);

/// Gives the camera frames of a scan by the numbers of their files.
///
/// Frame j of distance l (both from 0) of layer n is the file with number
/// `first` + (n - 1) * distances * frames + l * (frames + `white`) + j, which stands in the name where `path` has `#`,
/// one for each digit. So a missing file is a missing frame and shifts no other. A file that cannot be read, or
/// whose picture is not 16 bits of the detector's size, is a corrupt frame. With `wait` files may still appear.
/// Instead of single files `stacks` names one HDF5 dataset [frame, row, column] for each distance.
///
/// Gives every frame of every distance once, in order. About a nanosecond a pixel, more for compressed files.
///
/// Source: the file names of the MIDAS near-field programs; TIFF revision 6.0.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frames {
    /// The files, such as `raw/gold_######.tif`.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    path: Option<String>,
    /// HDF5 datasets, one for each distance, such as `first.h5::/exchange/data`.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    stacks: Vec<String>,
    /// The number of the first file of the first layer.
    #[serde(default)]
    first: u64,
    /// Files with pictures of the bare beam behind the frames of each distance.
    #[serde(default)]
    white: u64,
    /// The layer, from 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    layer: u64,
    /// How long to wait for a file that is not there yet.
    ///
    /// 0 takes it for missing at once.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86400), extend("x-unit" = "s"))]
    wait: f64,
    /// Whether to go on although no file of a distance is there.
    ///
    /// A map rests on the other distances then, and says so.
    #[serde(default)]
    partial: bool,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<State>,
}

fn one() -> u64 {
    1
}

/// How far the frames have been given.
struct State {
    next: u64,
    /// When the last frame was found.
    seen: Instant,
    /// The dataset that is open, and its distance.
    stack: Option<(usize, Box<Hdf5Dataset>)>,
}

impl Stage for Frames {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        let [columns, rows] = small().size;
        let bytes = |number: u16| {
            let mut writer = isard_files::tiff::Writer::new(isard_h5::Dtype::U16, [rows, columns], false)?;
            let pixels: Vec<u8> =
                (0..rows * columns).flat_map(|k| (number + (k % 7) as u16).to_ne_bytes()).collect();
            writer.page(&pixels)?;
            writer.into_bytes()
        };
        let mut path = String::new();
        for number in 3..7 {
            let bytes = bytes(number).expect("a picture fits a file");
            path = Example::file(&format!("gold_{number:06}.tif"), &bytes);
        }
        let path = path.replace("000006", "######");
        // Three frames of the layer are there, the others are missing.
        Example::new(example(&format!("path = {path:?}\nfirst = 4\npartial = true\n")))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        let distances = self.experiment.distances.len();
        match &self.path {
            Some(path) if self.pattern().is_none() => {
                let text = format!("found `{path}`, wanted one run of `#` where the number stands");
                faults.add_with_help("path", text, "such as `raw/gold_######.tif`");
            }
            Some(_) if !self.stacks.is_empty() => {
                faults.add("stacks", "found files and stacks, wanted one of them");
            }
            None if self.stacks.len() != distances => {
                let found = self.stacks.len();
                let text = format!(
                    "found {found} stacks and no `path`, wanted one for each of {distances} distances"
                );
                faults.add("stacks", text);
            }
            _ => (),
        }
        if !(0.0..=86_400.0).contains(&self.wait) {
            faults.add("wait", format!("found {}, wanted 0 to 86400 seconds", self.wait));
        }
        if self.layer == 0 {
            faults.add("layer", "found 0, layers count from 1");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let [columns, rows] = self.experiment.size;
        Ok(Shapes::default().with("image", Shape::array(Dtype::U16, &[rows, columns])))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let pixels = self.experiment.size.iter().product::<usize>() as u64;
        Cost { memory: 8 * pixels, seconds_per_record: 1e-9 * pixels as f64, ..Cost::default() }
    }
}

impl Source for Frames {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        let e = &self.experiment;
        let total = (e.distances.len() * e.frames) as u64;
        if self.wait == 0.0 && self.path.is_some() && !self.partial {
            for (l, lsd) in e.distances.iter().enumerate() {
                let (begin, frames) = ((l * e.frames) as u64, e.frames as u64);
                if (begin..begin + frames).any(|n| self.file(n).exists()) {
                    continue;
                }
                let [first, last] = [begin, begin + frames - 1].map(|n| self.file(n).display().to_string());
                return Err(Error::data(format!(
                    "distance {} ({lsd} um): found none of the files {first} to {last}",
                    l + 1
                ))
                .help("check `first`, `white` and `layer`, or say `partial = true` for a map that rests on the others"));
            }
        }
        if self.wait == 0.0 && self.path.is_some() {
            self.fits(total)?;
        }
        self.state = Some(State { next: from.next, seen: Instant::now(), stack: None });
        Ok(Opened {
            frames: Some(total),
            head: Dict::new(),
            shapes: self.shapes(&Shapes::default())?,
            live: self.wait > 0.0,
            scan: vec![("distance".into(), e.distances.len() as u64), ("omega".into(), e.frames as u64)],
        })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let mut state =
            self.state.take().ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let total = (self.experiment.distances.len() * self.experiment.frames) as u64;
        let pulled = match state.next {
            next if next >= total => Ok(Pull::End),
            _ if self.path.is_some() => self.files(cx, &mut state, slots, total),
            _ => self.stack(cx, &mut state, slots),
        };
        self.state = Some(state);
        pulled
    }
}
declare!(Source, "hedm.frames", Kind::Source, Frames);

impl Frames {
    /// The name before and behind the number, and its digits.
    fn pattern(&self) -> Option<(&str, &str, usize)> {
        let path = self.path.as_deref()?;
        let (begin, end) = (path.find('#')?, path.rfind('#')? + 1);
        path[begin..end].bytes().all(|b| b == b'#').then(|| (&path[..begin], &path[end..], end - begin))
    }

    /// The file of a frame.
    fn file(&self, frame: u64) -> PathBuf {
        let frames = self.experiment.frames as u64;
        let layer = (self.layer - 1) * self.experiment.distances.len() as u64 * frames;
        let number = self.first + layer + frame / frames * (frames + self.white) + frame % frames;
        let (before, after, digits) = self.pattern().unwrap_or(("", "", 1));
        PathBuf::from(format!("{before}{number:0digits$}{after}"))
    }

    /// Whether pictures are those of the experiment.
    ///
    /// One that differs is a corrupt frame; where several from end to end do and none fits, the experiment is wrong.
    fn fits(&self, total: u64) -> Result<()> {
        let [columns, rows] = self.experiment.size;
        let mut pixels = vec![0; 2 * rows * columns];
        let mut told = vec![];
        for number in [0, total / 2, total - 1] {
            match read(&self.file(number), [rows, columns], &mut pixels) {
                Err(Lack::Bad(why)) => told.push(why),
                Err(Lack::Missing) => (),
                Ok(()) => return Ok(()),
            }
        }
        match &told[..] {
            [why, _, ..] => Err(Error::data(format!("no picture can be taken: {why}"))
                .help("`size` of the experiment is columns, rows; pictures have 16 bits")),
            _ => Ok(()),
        }
    }

    /// Gives the next files that are there.
    fn files(&self, cx: &Cx, state: &mut State, slots: &mut Slots<Frame>, total: u64) -> Result<Pull> {
        let [columns, rows] = self.experiment.size;
        let pixels = rows * columns;
        let most = slots.room().clamp(1, ((1 << 22) / pixels).max(1) as u64);
        let count = most.min(total - state.next);
        let mut image = cx.array(Dtype::U16, &[count as usize, rows, columns])?;
        let parts: Vec<Mutex<&mut [u8]>> = image.bytes_mut().chunks_mut(2 * pixels).map(Mutex::new).collect();
        let states: Vec<Mutex<Option<Lack>>> = parts.iter().map(|_| Mutex::default()).collect();
        let paths: Vec<PathBuf> = (state.next..state.next + count).map(|n| self.file(n)).collect();
        cx.par(parts.len(), |k| {
            let mut part = parts[k].lock().map_err(|_| twice())?;
            let lack = read(&paths[k], [rows, columns], &mut part).err();
            *states[k].lock().map_err(|_| twice())? = lack;
            Ok(())
        })?;
        drop(parts);
        let image = image.freeze();
        let waits = state.seen.elapsed().as_secs_f64() < self.wait;
        let first = state.next;
        let mut good = 0;
        let put = |slots: &mut Slots<Frame>, range: std::ops::Range<usize>| match range.is_empty() {
            true => Ok(()),
            false => slots.put(first + range.start as u64, Frame { image: image.records(range)? }),
        };
        let (mut end, mut lost) = (count as usize, 0);
        for (k, lack) in states.into_iter().enumerate() {
            match lack.into_inner().map_err(|_| twice())? {
                None => continue,
                // A file that is being written looks like a bad one.
                Some(_) if waits => {
                    end = k;
                    break;
                }
                Some(lack) => {
                    put(slots, good..k)?;
                    lost += 1;
                    good = k + 1;
                    let number = first + k as u64;
                    match lack {
                        Lack::Missing => {
                            slots.missing(number, format!("no file {}", self.file(number).display()));
                        }
                        Lack::Bad(why) => slots.corrupt(number, why, None),
                    }
                }
            }
        }
        put(slots, good..end)?;
        if end == 0 {
            return Ok(Pull::Wait(PAUSE));
        }
        state.next += end as u64;
        // Frames that were given up do not show that more are to come.
        if end > lost {
            state.seen = Instant::now();
        }
        Ok(Pull::Ready)
    }

    /// Gives the next frames of the dataset of their distance.
    fn stack(&self, cx: &Cx, state: &mut State, slots: &mut Slots<Frame>) -> Result<Pull> {
        let frames = self.experiment.frames as u64;
        let l = (state.next / frames) as usize;
        let (begin, name) = (l as u64 * frames, &self.stacks[l]);
        let mut inner = match state.stack.take().filter(|s| s.0 == l) {
            Some((_, inner)) => inner,
            None => {
                let set = serde_json::json!({ "path": name, "scan": ["frame"] });
                let mut inner = Hdf5Dataset::deserialize(set)
                    .map_err(|e| Error::internal(format!("the parameters of a dataset: {e}")))?;
                let opened = inner.open(cx, (), Position { next: state.next - begin })?;
                let [columns, rows] = self.experiment.size;
                let wanted = Shape::array(Dtype::U16, &[rows, columns]);
                let found = opened.shapes.get("image");
                if found.dims != wanted.dims || opened.frames.is_some_and(|n| n != frames) {
                    let (found, n) = (found.dims.unwrap_or_default(), opened.frames.unwrap_or_default());
                    return Err(Error::data(format!(
                        "{name}: found {n} frames of {found:?} pixels, wanted {frames} of [{rows}, {columns}]"
                    ))
                    .help("`frames` and `size` (columns, rows) of the experiment say what is wanted"));
                }
                Box::new(inner)
            }
        };
        let mut own = Slots::<Hdf5Out>::new(slots.room(), state.next - begin);
        let pull = inner.pull(cx, &mut own)?;
        for arrival in own.take() {
            match arrival {
                Arrival::Frames { first, count, mut data } => {
                    let Some(Value::Array(image)) = data.take("image") else {
                        return Err(Error::internal("frames of a dataset without an image"));
                    };
                    if image.dtype() != Dtype::U16 {
                        let found = image.dtype();
                        return Err(Error::data(format!(
                            "{name}: found numbers of type {found:?}, wanted u16"
                        )));
                    }
                    slots.put(begin + first, Frame { image })?;
                    state.next = state.next.max(begin + first + count);
                }
                Arrival::Lost { number, reason, why, .. } => {
                    match reason {
                        Reason::Missing => slots.missing(begin + number, why),
                        _ => slots.corrupt(begin + number, why, None),
                    }
                    state.next = state.next.max(begin + number + 1);
                }
            }
        }
        match pull {
            Pull::End => state.next = state.next.max(begin + frames),
            _ => state.stack = Some((l, inner)),
        }
        Ok(Pull::Ready)
    }
}

/// Why there is no frame.
enum Lack {
    Missing,
    Bad(String),
}

/// Reads the picture of a file.
fn read(path: &Path, [rows, columns]: [usize; 2], out: &mut [u8]) -> std::result::Result<(), Lack> {
    let name = path.display().to_string();
    let bad = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Lack::Missing,
        _ => Lack::Bad(format!("cannot read {name}: {e}")),
    };
    let told = |e: isard_files::format::FormatError| Lack::Bad(e.to_string());
    let mut file = File::open(path).map_err(bad)?;
    let tiff = Tiff::scan(BufReader::new(&file), &name).map_err(told)?;
    let page = tiff.uniform().map_err(told)?;
    if (page.height, page.width, page.dtype) != (rows, columns, isard_h5::Dtype::U16) {
        let (h, w, dtype) = (page.height, page.width, page.dtype);
        let wanted = format!("wanted [{rows}, {columns}] of uint16");
        return Err(Lack::Bad(format!("{name}: found [{h}, {w}] of {dtype}, {wanted}")));
    }
    let Some(runs) = &page.runs else {
        let bytes = std::fs::read(path).map_err(bad)?;
        return tiff.read(&bytes, 0, out).map_err(told);
    };
    // Plain pictures are read to where they belong.
    let mut rest = &mut *out;
    for run in runs {
        let (now, later) = rest.split_at_mut((run.bytes as usize).min(rest.len()));
        file.seek(SeekFrom::Start(run.offset)).and_then(|_| file.read_exact(now)).map_err(bad)?;
        rest = later;
    }
    tiff.arrange(0, out).map_err(told)
}

fn twice() -> Error {
    Error::internal("a frame was read twice")
}
