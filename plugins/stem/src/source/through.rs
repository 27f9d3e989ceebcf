//! Frames of another source, put at the points of a scan.

use isard_core::prelude::*;
use isard_core::stage::Arrival;

use crate::source::axes::Axes;
use crate::source::feed::ScanOut;
use crate::source::grid::Grid;
use crate::source::placed::Placed;

/// Points that are said to have no frame at once: a short file of a large scan has millions of them.
const SOME: u64 = 1024;

/// A source whose frames get the numbers of scan points.
pub(crate) struct Through<S> {
    inner: S,
    grid: Option<Grid>,
    path: String,
    /// The next point without a frame that is told: those before the first frame, then those behind the last.
    told: u64,
    /// Frames that have come, once all have.
    ended: Option<u64>,
    /// One more than the last frame that came.
    seen: u64,
}

impl<S: Source<In = ()>> Through<S> {
    /// Opens a source, which counts its frames from 0, from a point of the scan on.
    pub fn open(
        mut inner: S,
        cx: &Cx,
        path: &str,
        placed: Placed,
        mut axes: Axes,
        from: Position,
    ) -> Result<(Through<S>, Opened)> {
        let grid = placed.grid(axes.scan).map_err(|e| e.at(path.to_owned()))?;
        let frame = |point: u64| match grid {
            Some(grid) => u64::try_from(grid.frame(point.min(grid.points())).max(0)).unwrap_or(u64::MAX),
            None => point,
        };
        let mut opened = inner.open(cx, (), Position { next: frame(from.next) })?;
        if let Some(g) = grid {
            if let Some(frames) = opened.frames {
                opened.head.set("unused_frames", g.unused(frames) as i64);
            }
            opened.frames = Some(g.points());
            opened.scan = vec![("y".to_owned(), g.rows), ("x".to_owned(), g.columns)];
            axes.scan = Some([g.rows, g.columns]);
        }
        opened.head.set("axes", axes.to_dict());
        let seen = frame(from.next);
        let path = path.to_owned();
        Ok((Through { inner, grid, path, told: from.next, ended: None, seen }, opened))
    }

    /// Puts the next frames, or says how long to wait for them.
    pub fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        if self.tell(slots) {
            return Ok(Pull::Ready);
        }
        if self.ended.is_some() {
            return Ok(Pull::End);
        }
        let mut own = Slots::<S::Out>::new(slots.room(), self.seen);
        let pull = self.inner.pull(cx, &mut own)?;
        for arrival in own.take() {
            match arrival {
                Arrival::Frames { first, count, mut data } => {
                    let Some(Value::Array(image)) = data.take("image") else {
                        return Err(Error::internal(format!("frames came as {data:?}")));
                    };
                    self.seen = self.seen.max(first + count);
                    self.put(slots, first, &image)?;
                }
                Arrival::Lost { number, reason, why, .. } => {
                    self.seen = self.seen.max(number + 1);
                    let Some(point) = self.point(number) else { continue };
                    match reason {
                        Reason::Missing => slots.missing(point, why),
                        Reason::Skipped => slots.skipped(point, why),
                        _ => slots.corrupt(point, why, None),
                    }
                }
            }
        }
        if pull != Pull::End || self.grid.is_none() {
            return Ok(pull);
        }
        self.ended = Some(self.seen);
        Ok(Pull::Ready)
    }

    fn point(&self, frame: u64) -> Option<u64> {
        match self.grid {
            Some(grid) => grid.point(frame),
            None => Some(frame),
        }
    }

    /// Puts frames at their points; those between lines are left out.
    fn put(&self, slots: &mut Slots<ScanOut>, first: u64, image: &Array) -> Result<()> {
        let count = image.shape()[0];
        let mut at = 0;
        while at < count {
            let Some(point) = self.point(first + at as u64) else {
                at += 1;
                continue;
            };
            let follows = |n: &usize| self.point(first + *n as u64) == Some(point + (*n - at) as u64);
            let end = (at + 1..count).take_while(follows).last().map_or(at + 1, |n| n + 1);
            slots.put(point, ScanOut { image: image.records(at..end)? })?;
            at = end;
        }
        Ok(())
    }

    /// Tells some points that have no frame; false when there is none to be told now.
    fn tell(&mut self, slots: &mut Slots<ScanOut>) -> bool {
        let Some(grid) = self.grid else { return false };
        let mut told = 0;
        while told < SOME && self.told < grid.points() {
            let why = match (grid.frame(self.told), self.ended) {
                (frame, _) if frame < 0 => "the scan begins before the first frame",
                (frame, Some(ended)) if frame >= i128::from(ended) => "the file ends before this scan point",
                // It has a frame, or may yet get one.
                (_, None) => break,
                _ => {
                    self.told += 1;
                    continue;
                }
            };
            slots.missing(self.told, format!("{}: {why}", self.path));
            self.told += 1;
            told += 1;
        }
        told > 0
    }
}
