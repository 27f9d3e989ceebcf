//! `ptyd.read`: scan data from `.ptyd` files, also while they grow.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;

use crate::file::ptyd::{self, Chunk, Chunks, Live, Meta, Ptyd};
use crate::file::tree::Block;

/// Bytes that are read at once.
const ROOM: usize = 32 << 20;
/// From one look at a growing file to the next.
const POLL: Duration = Duration::from_millis(50);

/// Reads prepared frames of a scan from a `.ptyd` file.
///
/// Frames carry the numbers that the file gives them, so a link that leads nowhere shifts nothing: its frames are
/// missing. With `follow` the file may still grow: dead links are looked at again until all frames are there, the
/// writer says that no more come, or nothing came for `idle_s`. The file is opened without locks and only for the time
/// of a look, so that its writer is never kept waiting.
///
/// Gives every frame once, in the order of the chunks. The head holds energy, distance, pixel size, centre, label and the
/// number of frames. Inflating takes some 10 ns a pixel.
///
/// Source: the PtyScan file format of PtyPy (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PtydRead {
    /// The file.
    #[schemars(extend("x-path" = "input"))]
    path: PathBuf,
    /// Whether the file may still grow.
    #[serde(default)]
    follow: bool,
    /// A growing file that brings nothing for this long has ended.
    #[serde(default = "idle")]
    #[schemars(range(min = 0), extend("x-unit" = "s"))]
    idle_s: f64,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<State>,
}

fn idle() -> f64 {
    600.0
}

/// What a frame of [`PtydRead`] holds.
#[derive(Ports)]
pub struct PtydOut {
    /// Diffraction images in the type of the file.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// Bad pixels: 0 is good, 1 bad.
    #[port(dtype = "u8", axes = "y x")]
    mask: Array,
    /// Where the frame was taken, row and column.
    #[port(dtype = "f64", axes = "axis", unit = "m")]
    position: Array,
}

struct State {
    file: Ptyd,
    frames: Option<u64>,
    /// Chunks that were given, and how far the one at hand is.
    given: Vec<u64>,
    at: usize,
    from: u64,
    seen: std::collections::BTreeSet<u64>,
    looked: Instant,
    news: Instant,
}

impl Stage for PtydRead {
    type In = ();
    type Out = PtydOut;

    fn example() -> Example {
        let bytes = small().expect("a scan of a few frames can be built");
        Example::new(format!("path = {:?}", Example::file("scan.ptyd", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        if !(self.idle_s.is_finite() && self.idle_s >= 0.0) {
            faults.add("idle_s", format!("found {}, wanted 0 or more", self.idle_s));
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost { memory: 3 * ROOM as u64, ..Cost::default() }
    }
}

/// A file of four small frames.
fn small() -> Result<Vec<u8>> {
    let meta = Meta {
        version: 0.1,
        num_frames: Some(4),
        label: Some("example".into()),
        shape: [8, 8],
        psize: [172e-6; 2],
        energy: 6.2,
        distance: 7.0,
        center: [4.0; 2],
    };
    let data: Vec<i32> = (0..256).map(|k| k * 7 % 31).collect();
    let chunk = Chunk {
        indices: vec![0, 1, 2, 3],
        positions: (0..4).map(|k| [1e-6 * f64::from(k), 2e-6]).collect(),
        data: Block::of(isard_h5::Dtype::I32, &[4, 8, 8], bytemuck::cast_slice(&data)),
        weights: Block::floats(&[4, 8, 8], &[1.0; 256]),
    };
    ptyd::master(Some(&meta), &[], Chunks::Held(&[chunk]), "Thu Jan  1 00:00:00 1970")
}

impl Source for PtydRead {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let path = self.path.clone();
        let begun = Instant::now();
        let file = loop {
            cx.check()?;
            match Ptyd::open(&path) {
                Ok(file) if !file.chunks.is_empty() => break file,
                // A writer that has not begun yet has no first chunk.
                _ if self.follow && begun.elapsed().as_secs_f64() < self.idle_s => std::thread::sleep(POLL),
                Ok(_) => {
                    return Err(Error::data(format!("{}: no chunk can be read", path.display()))
                        .help("check that the files of its chunks lie beside it, or set `follow = true`"));
                }
                Err(error) => return Err(error),
            }
        };
        let counted = file.chunks.iter().flat_map(|c| &c.indices).max().map_or(0, |m| m + 1);
        let frames = match (file.meta.num_frames, self.follow) {
            (Some(n), _) => Some(n.max(counted)),
            (None, false) => Some(counted),
            (None, true) => None,
        };
        let m = &file.meta;
        let [high, wide] = m.psize;
        if (high - wide).abs() > 1e-6 * high.abs() {
            return Err(Error::data(format!(
                "{}: pixels of {high} m x {wide} m, wanted squares",
                path.display()
            ))
            .help("resample the frames to square pixels first"));
        }
        let mut head = Dict::new()
            .with("energy", m.energy)
            .with("distance", m.distance)
            .with("psize", m.psize[0])
            .with("center", Array::from_slice(&m.center));
        if let Some(label) = &m.label {
            head.set("label", label.clone());
        }
        if let Some(frames) = frames {
            head.set("num_frames", frames as i64);
        }
        let dtype = Dtype::from(file.chunks[0].dtype);
        let shapes = Shapes::default()
            .with("image", Shape::array(dtype, &m.shape))
            .with("mask", Shape::array(Dtype::U8, &m.shape))
            .with("position", Shape::array(Dtype::F64, &[2]));
        let now = Instant::now();
        self.state = Some(State {
            file,
            frames,
            given: vec![],
            at: 0,
            from: from.next,
            seen: Default::default(),
            looked: now,
            news: now,
        });
        Ok(Opened { frames, head, shapes, live: self.follow, scan: vec![] })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<PtydOut>) -> Result<Pull> {
        let (path, follow, idle) = (self.path.clone(), self.follow, self.idle_s);
        let state = self.state.as_mut();
        let state = state.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let next = state.file.chunks.iter().find(|c| !state.given.contains(&c.number)).cloned();
        if let Some(chunk) = next {
            state.news = Instant::now();
            state.give(&chunk, slots)?;
            return Ok(Pull::Ready);
        }
        let whole = state.frames.is_some_and(|n| state.seen.len() as u64 >= n);
        if whole || !follow || state.file.ended || state.news.elapsed().as_secs_f64() > idle {
            state.lost(slots);
            return Ok(Pull::End);
        }
        if state.looked.elapsed() < POLL {
            return Ok(Pull::Wait(POLL));
        }
        state.looked = Instant::now();
        // A master that is being replaced, or a chunk that is half there, is looked at again.
        if let Ok(file) = Ptyd::open(&path) {
            if file.meta.shape != state.file.meta.shape {
                let (a, b) = (file.meta.shape, state.file.meta.shape);
                return Err(Error::data(format!("{}: frames are {a:?} now and were {b:?}", path.display())));
            }
            state.file = file;
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "ptyd.read", Kind::Source, PtydRead);

impl State {
    fn give(&mut self, chunk: &Live, slots: &mut Slots<PtydOut>) -> Result<()> {
        let [rows, columns] = self.file.meta.shape;
        let pixels = rows * columns;
        let most = (ROOM / (pixels * chunk.dtype.size().max(8))).max(1).min(slots.room().max(1) as usize);
        let first = self.at;
        // Frames whose numbers follow each other.
        let run = (first..chunk.indices.len())
            .take_while(|k| chunk.indices[*k] == chunk.indices[first] + (*k - first) as u64)
            .take(most)
            .count();
        if run > 0 && chunk.indices[first] + run as u64 > self.from {
            let image = typed(chunk.dtype, &[run, rows, columns], &self.file.data(chunk, first, run)?)?;
            let mask: Vec<u8> = self.file.mask(chunk, first, run)?.into_iter().map(|m| 1 - m).collect();
            let unknown = [f64::NAN; 2];
            let positions: Vec<f64> = (first..first + run)
                .flat_map(|k| chunk.positions.get(k).copied().unwrap_or(unknown))
                .collect();
            let out = PtydOut {
                image,
                mask: Array::of(&[run, rows, columns], &mask)?,
                position: Array::of(&[run, 2], &positions)?,
            };
            slots.put(chunk.indices[first], out)?;
        }
        self.seen.extend(&chunk.indices[first..first + run]);
        self.at += run;
        if self.at >= chunk.indices.len() {
            self.given.push(chunk.number);
            self.at = 0;
        }
        Ok(())
    }

    /// Reports frames that are announced and not there.
    fn lost(&self, slots: &mut Slots<PtydOut>) {
        let mut told = None;
        for number in (self.from..self.frames.unwrap_or(0)).filter(|n| !self.seen.contains(n)) {
            // Chunks hold frames in order: it was in one behind the last that has only earlier ones.
            let earlier = self.file.chunks.iter().filter(|c| c.indices.iter().all(|i| *i < number));
            let last = earlier.map(|c| c.number).max();
            let why = match self.file.dead.iter().find(|(chunk, _)| last.is_none_or(|l| *chunk > l)) {
                Some((chunk, reason)) => format!("chunk {chunk} cannot be read: {reason}"),
                None => "announced, but in no chunk".into(),
            };
            if told.as_ref() != Some(&why) {
                tracing::warn!(first = number, why, "Frames of the scan are missing.");
                told = Some(why.clone());
            }
            slots.missing(number, why);
        }
    }
}

fn typed(dtype: isard_h5::Dtype, shape: &[usize], bytes: &[u8]) -> Result<Array> {
    let mut out = isard_core::Pool::unpooled().take(dtype.into(), shape)?;
    out.bytes_mut().copy_from_slice(bytes);
    Ok(out.freeze())
}

/// Whether a path ends as it must.
pub(crate) fn check_ending(path: &str, ending: &str, faults: &mut Faults) {
    let name = Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if !name.ends_with(ending) || name.len() == ending.len() {
        let help = format!("write `scan{ending}`");
        faults.add_with_help("path", format!("`{path}` does not end in {ending}"), help);
    }
}
