//! Connected components of lit pixels, found by runs and union-find.

use crate::pixel::Pixel;

/// Lit pixels side by side in one row.
#[derive(Clone, Copy, Debug)]
struct Run {
    row: u32,
    /// First column, and the one after the last.
    from: u32,
    to: u32,
    /// An earlier run of the same component, or itself; in the end a component.
    parent: u32,
}

/// One component: what its pixels come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Component {
    /// Pixels.
    pub(crate) pixels: u32,
    /// Sum of values.
    pub(crate) sum: f64,
    /// Largest value.
    pub(crate) max: f64,
    /// Sums of value times row and column.
    pub(crate) moments: (f64, f64),
    /// First and last row and column.
    pub(crate) rows: (u32, u32),
    pub(crate) columns: (u32, u32),
}

/// Room for the labelling of one frame after the other.
#[derive(Default)]
pub(crate) struct Labels {
    runs: Vec<Run>,
    /// The components of the last frame, in the order of their first pixels.
    pub(crate) components: Vec<Component>,
}

impl Labels {
    /// Finds the components of lit pixels in a frame of rows of `columns` pixels.
    ///
    /// `reach` is 1 when pixels that touch at a corner belong together, 0 when they must share a side.
    pub(crate) fn find<T: Pixel>(
        &mut self,
        frame: &[T],
        mask: Option<&[u8]>,
        columns: usize,
        lit: impl Fn(T) -> bool + Copy,
        reach: u32,
    ) {
        self.runs.clear();
        self.components.clear();
        if columns == 0 {
            return;
        }
        let mut above = 0..0;
        for (row, values) in frame.chunks_exact(columns).enumerate() {
            let here = self.runs.len();
            let mask = mask.map(|m| &m[row * columns..(row + 1) * columns]);
            self.runs_of(row as u32, values, mask, lit);
            self.join(above.clone(), here..self.runs.len(), reach);
            above = here..self.runs.len();
        }
        self.measure(frame, columns);
    }

    /// Adds the runs of one row.
    fn runs_of<T: Pixel>(
        &mut self,
        row: u32,
        values: &[T],
        mask: Option<&[u8]>,
        lit: impl Fn(T) -> bool + Copy,
    ) {
        const BLOCK: usize = 64;
        let mut open = None;
        for (block, part) in values.chunks(BLOCK).enumerate() {
            // Most of a frame is dark: a block without a lit pixel is passed without looking at each.
            if open.is_none() && !part.iter().fold(false, |any, x| any | lit(*x)) {
                continue;
            }
            for (i, x) in part.iter().enumerate() {
                let column = block * BLOCK + i;
                let on = lit(*x) && mask.is_none_or(|m| m[column] == 0);
                match (on, open) {
                    (true, None) => open = Some(column as u32),
                    (false, Some(from)) => {
                        self.end(row, from, column as u32);
                        open = None;
                    }
                    _ => (),
                }
            }
        }
        if let Some(from) = open {
            self.end(row, from, values.len() as u32);
        }
    }

    fn end(&mut self, row: u32, from: u32, to: u32) {
        let parent = self.runs.len() as u32;
        self.runs.push(Run { row, from, to, parent });
    }

    /// Joins the runs of a row with those of the row before that they touch.
    fn join(&mut self, above: std::ops::Range<usize>, here: std::ops::Range<usize>, reach: u32) {
        let mut first = above.start;
        for at in here {
            let (from, to) = (self.runs[at].from, self.runs[at].to);
            while first < above.end && self.runs[first].to + reach <= from {
                first += 1;
            }
            let mut other = first;
            while other < above.end && self.runs[other].from < to + reach {
                let (a, b) = (self.root(other as u32), self.root(at as u32));
                // The earlier run becomes the root, so components keep the order of their first pixels.
                self.runs[a.max(b) as usize].parent = a.min(b);
                other += 1;
            }
        }
    }

    fn root(&mut self, mut at: u32) -> u32 {
        while self.runs[at as usize].parent != at {
            let up = self.runs[at as usize].parent;
            // Halving the way up keeps later walks short.
            let further = self.runs[up as usize].parent;
            self.runs[at as usize].parent = further;
            at = further;
        }
        at
    }

    /// Adds every run to its component.
    fn measure<T: Pixel>(&mut self, frame: &[T], columns: usize) {
        for at in 0..self.runs.len() {
            let run = self.runs[at];
            // A parent stands before its children, so it has its component already.
            let component = if run.parent as usize == at {
                self.components.push(Component {
                    pixels: 0,
                    sum: 0.0,
                    max: f64::NEG_INFINITY,
                    moments: (0.0, 0.0),
                    rows: (run.row, run.row),
                    columns: (run.from, run.to - 1),
                });
                self.components.len() as u32 - 1
            } else {
                self.runs[run.parent as usize].parent
            };
            self.runs[at].parent = component;
            let sums = &mut self.components[component as usize];
            let start = run.row as usize * columns;
            let mut sum = 0.0;
            for column in run.from..run.to {
                let x = frame[start + column as usize].float();
                sum += x;
                sums.moments.1 += x * f64::from(column);
                sums.max = sums.max.max(x);
            }
            sums.pixels += run.to - run.from;
            sums.sum += sum;
            sums.moments.0 += sum * f64::from(run.row);
            sums.rows.1 = run.row;
            sums.columns = (sums.columns.0.min(run.from), sums.columns.1.max(run.to - 1));
        }
    }
}
