//! Frames of a file, handed out at their scan points.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use isard_core::prelude::*;

use crate::source::axes::Axes;
use crate::source::grid::{Grid, grid};

/// What the sources of this family give.
#[derive(Ports)]
pub struct ScanOut {
    /// Diffraction patterns.
    #[port(dtype = "any", axes = "y x", unit = "count")]
    pub(crate) image: Array,
}

/// The frames of closed files, counted from 0.
pub(crate) trait Frames: Send + Sync {
    /// Reads one frame, in this machine's order.
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()>;
    /// All frames as they lie in the file, when that is as they lie in memory.
    fn mapped(&self) -> Option<&Array> {
        None
    }
    /// Why a frame is not there.
    fn lost(&self, _frame: u64) -> Option<String> {
        None
    }
}

/// What looking at a file found.
pub(crate) struct Found {
    /// The frames.
    pub frames: Box<dyn Frames>,
    /// Type of the pixels.
    pub dtype: Dtype,
    /// Rows and columns of a frame.
    pub dims: [usize; 2],
    /// How many frames there are.
    pub count: u64,
    /// What the file says of the scan.
    pub scan: Option<[u64; 2]>,
    /// Steps and units of scan and detector.
    pub axes: Axes,
    /// What else the file says.
    pub head: Dict,
}

/// The parameters that place frames in a scan.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub scan: Option<[u64; 2]>,
    pub offset: i64,
    pub line_skip: u64,
    pub flyback: u64,
}

impl Placed {
    /// Faults of these parameters.
    pub fn check(&self, path: &str, faults: &mut Faults) {
        if path.is_empty() {
            faults.add("path", "is empty, wanted a file");
        }
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
        for (name, n) in [("line_skip", self.line_skip), ("flyback", self.flyback)] {
            if n > 1 << 32 {
                faults.add(name, format!("is {n}, wanted at most {}", 1u64 << 32));
            }
        }
    }
}

/// A source that has been opened.
pub(crate) struct Feed {
    found: Found,
    grid: Option<Grid>,
    /// The next frame number to be given: a scan point, or a frame where no scan is known.
    next: u64,
    path: String,
}

impl Feed {
    /// Opens what was found, from a position on.
    pub fn open(path: &str, mut found: Found, placed: Placed, from: Position) -> Result<(Feed, Opened)> {
        let said = found.scan;
        let grid = grid(placed.scan, said, [placed.offset, placed.line_skip as i64, placed.flyback as i64])
            .map_err(|e| e.at(path.to_owned()))?;
        let mut head = std::mem::take(&mut found.head);
        let frames = grid.map_or(found.count, |g| g.points());
        let mut scan = vec![];
        if let Some(g) = grid {
            scan = vec![("y".to_owned(), g.rows), ("x".to_owned(), g.columns)];
            head.set("unused_frames", g.unused(found.count) as i64);
            found.axes.scan = Some([g.rows, g.columns]);
        }
        head.set("axes", found.axes.to_dict());
        let shapes = Shapes::default().with("image", Shape::array(found.dtype, &found.dims));
        let opened = Opened { frames: Some(frames), head, shapes, live: false, scan };
        Ok((Feed { found, grid, next: from.next, path: path.to_owned() }, opened))
    }

    /// Puts the next frames.
    pub fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        let total = self.grid.map_or(self.found.count, |g| g.points());
        if self.next >= total {
            return Ok(Pull::End);
        }
        let room = slots.room().max(1);
        let run = match self.grid {
            Some(grid) => grid.run(self.next, self.found.count, room),
            None => Some(crate::source::grid::Run {
                frame: self.next,
                point: self.next,
                count: room.min(total - self.next),
            }),
        };
        let until = run.map_or(total, |run| run.point);
        if until > self.next {
            // Some at a time: a short file of a large scan has millions of them.
            let end = until.min(self.next + room.max(1024));
            for point in self.next..end {
                let why = match run {
                    Some(_) => "the scan begins before the first frame",
                    None => "the file ends before this scan point",
                };
                slots.missing(point, format!("{}: {why}", self.path));
            }
            self.next = end;
            return Ok(Pull::Ready);
        }
        let Some(run) = run else { return Ok(Pull::End) };
        self.give(cx, slots, run.frame, run.point, run.count)?;
        self.next = run.point + run.count;
        Ok(Pull::Ready)
    }

    fn give(&self, cx: &Cx, slots: &mut Slots<ScanOut>, frame: u64, point: u64, count: u64) -> Result<()> {
        if let Some(all) = self.found.frames.mapped() {
            let image = all.records(frame as usize..(frame + count) as usize)?;
            return slots.put(point, ScanOut { image });
        }
        let frames = &*self.found.frames;
        let [rows, columns] = self.found.dims;
        let bytes = rows * columns * self.found.dtype.size();
        let mut out = cx.array(self.found.dtype, &[count as usize, rows, columns])?;
        let cells: Vec<Mutex<(&mut [u8], Option<String>)>> =
            out.bytes_mut().chunks_mut(bytes).map(|cell| Mutex::new((cell, None))).collect();
        cx.par(cells.len(), |i| {
            let mut cell = cells[i].lock().unwrap_or_else(PoisonError::into_inner);
            let number = frame + i as u64;
            match frames.lost(number) {
                Some(why) => cell.1 = Some(why),
                None => match frames.read(number, cell.0) {
                    Err(error) if error.blame() == Blame::Data => cell.1 = Some(error.to_string()),
                    other => return other,
                },
            }
            Ok(())
        })?;
        let lost: Vec<Option<String>> =
            cells.into_iter().map(|c| c.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect();
        let all = out.freeze();
        let mut at = 0;
        while at < lost.len() {
            if let Some(why) = &lost[at] {
                match frames.lost(frame + at as u64) {
                    Some(_) => slots.missing(point + at as u64, why.clone()),
                    None => slots.corrupt(point + at as u64, why.clone(), None),
                }
                at += 1;
                continue;
            }
            let n = lost[at..].iter().take_while(|l| l.is_none()).count();
            slots.put(point + at as u64, ScanOut { image: all.records(at..at + n)? })?;
            at += n;
        }
        Ok(())
    }
}

/// The feed of a source that is pulled.
pub(crate) fn pulled(feed: Option<&mut Feed>) -> Result<&mut Feed> {
    feed.ok_or_else(|| Error::internal("a source was pulled before it was opened"))
}

/// Frames that lie at equal distances in one mapped file.
pub(crate) struct Even {
    pub map: memmap2::Mmap,
    pub offset: usize,
    /// From one frame to the next.
    pub step: usize,
    /// Bytes of a frame.
    pub bytes: usize,
    /// Bytes of a number that stand in reverse; 0 where they stand right.
    pub swap: usize,
}

impl Frames for Even {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        let at = self.offset + frame as usize * self.step;
        out.copy_from_slice(&self.map[at..at + self.bytes]);
        if self.swap > 1 {
            out.chunks_exact_mut(self.swap).for_each(<[u8]>::reverse);
        }
        Ok(())
    }
}

/// Frames that lie in the file as in memory.
pub(crate) struct Whole(pub Array);

impl Frames for Whole {
    fn read(&self, frame: u64, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(self.0.record(frame as usize)?.bytes());
        Ok(())
    }
    fn mapped(&self) -> Option<&Array> {
        Some(&self.0)
    }
}

/// Frames of plain numbers in a mapped file: as they lie there when that can be, else copied.
pub(crate) fn plain(
    map: memmap2::Mmap,
    [offset, step, swap]: [usize; 3],
    dtype: Dtype,
    [count, rows, columns]: [usize; 3],
) -> Result<Box<dyn Frames>> {
    let bytes = rows * columns * dtype.size();
    if swap == 0 && step == bytes && offset.is_multiple_of(dtype.size().min(8)) {
        // Only a hint, and refused on some file systems: pages come in ahead of being read.
        let _ = map.advise(memmap2::Advice::Sequential);
        return Ok(Box::new(Whole(Array::over_map(map, offset, dtype, &[count, rows, columns])?)));
    }
    let end = offset.saturating_add(count.saturating_sub(1).saturating_mul(step)).saturating_add(bytes);
    if count > 0 && end > map.len() {
        return Err(Error::data(format!("is {} bytes long, wanted {end}", map.len())));
    }
    Ok(Box::new(Even { map, offset, step, bytes, swap }))
}

/// The name of a file for messages, and its bytes.
pub(crate) fn mapped(path: &str) -> Result<memmap2::Mmap> {
    isard_core::value::map_file(Path::new(path))
}
