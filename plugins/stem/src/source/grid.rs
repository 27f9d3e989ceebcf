//! Where the frames of a file belong in a scan: offset, flyback and skipped frames of lines.

use isard_core::prelude::*;

/// How frames follow each other over a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Lines of the scan.
    pub rows: u64,
    /// Points of a line.
    pub columns: u64,
    /// Frames before the first point; below 0 points that have no frame.
    pub offset: i64,
    /// Frames before the points of each line.
    pub skip: u64,
    /// Frames after the points of each line.
    pub flyback: u64,
}

/// Where a run of frames goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first frame, as the file counts.
    pub frame: u64,
    /// Its scan point.
    pub point: u64,
    /// How many frames and points.
    pub count: u64,
}

impl Grid {
    /// Scan points.
    pub fn points(&self) -> u64 {
        self.rows.saturating_mul(self.columns)
    }

    /// Frames of one line, those that are no points included.
    fn line(&self) -> u64 {
        self.skip.saturating_add(self.columns).saturating_add(self.flyback)
    }

    /// The frame of a scan point; below 0 where it has none.
    pub fn frame(&self, point: u64) -> i128 {
        let (row, column) = (point / self.columns, point % self.columns);
        i128::from(row) * i128::from(self.line())
            + i128::from(self.skip)
            + i128::from(column)
            + i128::from(self.offset)
    }

    /// The scan point of a frame; none where it belongs to none.
    pub fn point(&self, frame: u64) -> Option<u64> {
        let at = u128::try_from(i128::from(frame) - i128::from(self.offset)).ok()?;
        let (row, inside) = (at / u128::from(self.line()), at % u128::from(self.line()));
        let column = inside.checked_sub(u128::from(self.skip))?;
        if row >= u128::from(self.rows) || column >= u128::from(self.columns) {
            return None;
        }
        u64::try_from(row * u128::from(self.columns) + column).ok()
    }

    /// The next run of points from `point` on, of at most `room` frames out of `frames`; none at the end.
    pub fn run(&self, point: u64, frames: u64, room: u64) -> Option<Run> {
        let mut point = point;
        // Points before the first frame of the file.
        while point < self.points() && self.frame(point) < 0 {
            let line_end = (point / self.columns + 1) * self.columns;
            let lacking = u64::try_from(-self.frame(point)).unwrap_or(u64::MAX);
            point = point.saturating_add(lacking).min(line_end);
        }
        let frame = u64::try_from(self.frame(point)).ok()?;
        if point >= self.points() || frame >= frames {
            return None;
        }
        // Without frames between lines the whole scan is one run.
        let whole = self.line() == self.columns;
        let end = if whole { self.points() } else { (point / self.columns + 1) * self.columns };
        Some(Run { frame, point, count: (end - point).min(frames - frame).min(room.max(1)) })
    }

    /// Frames of a file of `frames` that belong to no point.
    pub fn unused(&self, frames: u64) -> u64 {
        let (mut used, mut at) = (0, 0);
        while let Some(run) = self.run(at, frames, u64::MAX) {
            used += run.count;
            at = run.point + run.count;
        }
        frames - used
    }
}

/// The grid of a source's parameters, with what the file says of the scan.
pub(crate) fn grid(
    scan: Option<[u64; 2]>,
    said: Option<[u64; 2]>,
    [offset, skip, flyback]: [i64; 3],
) -> Result<Option<Grid>> {
    let whole = |n: i64| u64::try_from(n).map_err(|_| Error::internal("a checked parameter is below 0"));
    match scan.or(said) {
        Some([rows, columns]) if rows > 0 && columns > 0 => {
            Ok(Some(Grid { rows, columns, offset, skip: whole(skip)?, flyback: whole(flyback)? }))
        }
        _ if offset != 0 || skip != 0 || flyback != 0 => Err(Error::recipe(
            "`offset`, `line_skip` and `flyback` place frames in a scan, whose size is not known",
        )
        .help("give `scan = [lines, points]`")),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(grid: &Grid, frames: u64) -> Vec<(u64, u64)> {
        let (mut out, mut at) = (vec![], 0);
        while let Some(run) = grid.run(at, frames, 2) {
            out.extend((0..run.count).map(|i| (run.frame + i, run.point + i)));
            at = run.point + run.count;
        }
        out
    }

    #[test]
    fn frames_between_lines_belong_to_no_point() {
        let grid = Grid { rows: 2, columns: 3, offset: 1, skip: 1, flyback: 2 };
        // By hand: frame 0 is skipped; a line is one skipped frame, three points, two of flyback.
        assert_eq!(placed(&grid, 20), [(2, 0), (3, 1), (4, 2), (8, 3), (9, 4), (10, 5)]);
        assert_eq!((grid.unused(20), grid.unused(10)), (14, 5));
        let points: Vec<Option<u64>> = (0..12).map(|frame| grid.point(frame)).collect();
        let wanted = [9, 9, 0, 1, 2, 9, 9, 9, 3, 4, 5, 9].map(|p| (p < 9).then_some(p));
        assert_eq!(points, wanted);
        assert_eq!(placed(&grid, 10), [(2, 0), (3, 1), (4, 2), (8, 3), (9, 4)]);
    }

    #[test]
    fn blank_points_come_before_the_first_frame() {
        let grid = Grid { rows: 2, columns: 3, offset: -2, skip: 0, flyback: 0 };
        assert_eq!(placed(&grid, 10), [(0, 2), (1, 3), (2, 4), (3, 5)]);
        let lines = Grid { flyback: 1, ..grid };
        assert_eq!(placed(&lines, 10), [(0, 2), (2, 3), (3, 4), (4, 5)]);
        assert_eq!(
            (0..6).map(|f| lines.point(f)).collect::<Vec<_>>(),
            [2, 9, 3, 4, 5, 9].map(|p| (p < 9).then_some(p))
        );
    }

    #[test]
    fn a_grid_wants_a_size_when_frames_are_placed() {
        assert_eq!(grid(None, None, [0; 3]).unwrap(), None);
        assert!(grid(None, None, [0, 0, 1]).unwrap_err().message().contains("`flyback`"));
        assert_eq!(grid(None, Some([4, 5]), [0; 3]).unwrap().map(|g| g.points()), Some(20));
    }
}
