//! One frame: background, spatial median, and which pixels are lit.

use crate::reduce::blobs::blobs;
use crate::reduce::edges::Edges;
use crate::reduce::matched::Matched;
use crate::simd::{median_3x3, subtract};

/// How frames are reduced.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Counts that are taken off beside the background.
    pub blanket: u16,
    /// Pixels around each that its median is taken of: 0, 1 or 2.
    pub radius: usize,
    /// The edge filters whose blobs are kept; none keeps every pixel that is left.
    pub edges: Vec<Edges>,
    /// Blobs of fewer pixels are left out.
    pub min_pixels: usize,
    /// The width in pixels of a Gaussian that spots are looked for with, in place of the spatial median.
    pub matched: Option<f64>,
}

/// Reduces the frames of one distance.
#[derive(Clone, Debug)]
pub struct Cleaner {
    settings: Settings,
    columns: usize,
    /// Background and blanket, pixel by pixel.
    floor: Vec<u16>,
    matched: Option<Matched>,
}

/// Buffers of one worker.
#[derive(Default)]
pub struct Worker {
    rows: Vec<Vec<u16>>,
    sorted: [Vec<u16>; 3],
    clean: Vec<u16>,
    response: Vec<i64>,
}

impl Cleaner {
    /// A cleaner over a background of rows of `columns` pixels.
    pub fn new(settings: Settings, background: &[u16], columns: usize) -> Cleaner {
        let floor = background.iter().map(|b| b.saturating_add(settings.blanket)).collect();
        let matched = settings.matched.map(|sigma| Matched::new(sigma, settings.blanket, background));
        Cleaner { settings, columns, floor, matched }
    }

    /// The lit pixels of a frame as (row, column, counts above the background), row by row.
    pub fn lit(&self, frame: &[u16], worker: &mut Worker) -> Vec<(u32, u32, u16)> {
        let mut lit = vec![];
        if self.columns == 0 || frame.is_empty() {
            return lit;
        }
        // The clean picture is kept for the edge filters alone: it is as large as the frame.
        let whole = !self.settings.edges.is_empty();
        let mut clean = std::mem::take(&mut worker.clean);
        clean.resize(if whole { frame.len() } else { self.columns }, 0);
        let found = |row: usize, values: &[u16]| {
            for (k, chunk) in values.chunks(64).enumerate() {
                if chunk.iter().fold(0, |all, v| all | v) != 0 {
                    let found = chunk.iter().enumerate().filter(|(_, v)| **v != 0);
                    lit.extend(found.map(|(c, v)| (row as u32, (k * 64 + c) as u32, *v)));
                }
            }
        };
        match (&self.matched, self.settings.radius) {
            (Some(matched), _) => matched.each_row(frame, self.columns, &mut clean, found),
            (None, 0) => self.each_row(
                frame,
                worker,
                0,
                &mut clean,
                |rows, _, out| out.copy_from_slice(rows[0]),
                found,
            ),
            (None, 1) => self.each_row(
                frame,
                worker,
                1,
                &mut clean,
                |rows, sorted, out| median_3x3([rows[0], rows[1], rows[2]], sorted, out),
                found,
            ),
            _ => self.each_row(frame, worker, 2, &mut clean, |rows, _, out| median_5x5(rows, out), found),
        }
        worker.clean = clean;
        if !self.settings.edges.is_empty() {
            let mut inside = vec![false; lit.len()];
            for edges in &self.settings.edges {
                edges.mark(&lit, &worker.clean, self.columns, &mut worker.response, &mut inside);
            }
            let mut keep = inside.iter();
            lit.retain(|_| *keep.next().expect("one mark for each pixel"));
        }
        if self.settings.min_pixels > 1 {
            let found = blobs(lit.iter().map(|p| [p.0, p.1]));
            let mut of = found.of.iter();
            lit.retain(|_| {
                found.sizes[*of.next().expect("one blob for each pixel") as usize] as usize
                    >= self.settings.min_pixels
            });
        }
        lit
    }

    /// Cleans row by row and tells of each; the outer rows and columns are copied.
    ///
    /// `clean` has room for a row, or for the whole picture, which it holds then.
    fn each_row(
        &self,
        frame: &[u16],
        worker: &mut Worker,
        radius: usize,
        clean: &mut [u16],
        filter: impl Fn(&[&[u16]], &mut [Vec<u16>; 3], &mut [u16]),
        mut told: impl FnMut(usize, &[u16]),
    ) {
        let columns = self.columns;
        let count = frame.len() / columns;
        let depth = 2 * radius + 1;
        worker.rows.resize(depth, vec![]);
        worker.rows.iter_mut().chain(&mut worker.sorted).for_each(|r| r.resize(columns, 0));
        let whole = clean.len() == frame.len();
        let load = |row: usize, to: &mut [u16]| {
            let at = row * columns..(row + 1) * columns;
            subtract(&frame[at.clone()], &self.floor[at], to);
        };
        for row in 0..count.min(depth - 1) {
            load(row, &mut worker.rows[row % depth]);
        }
        for row in 0..count {
            if row + radius < count && row + radius >= depth - 1 {
                load(row + radius, &mut worker.rows[(row + radius) % depth]);
            }
            let at = if whole { row * columns } else { 0 };
            let out = &mut clean[at..at + columns];
            out.copy_from_slice(&worker.rows[row % depth]);
            if row >= radius && row + radius < count && columns > 2 * radius {
                let rows: [&[u16]; 5] =
                    std::array::from_fn(|k| &worker.rows[(row + k.min(depth - 1) - radius) % depth][..]);
                filter(&rows[..depth], &mut worker.sorted, out);
            }
            told(row, out);
        }
    }
}

/// The medians of 5 x 5 pixels in the inner columns.
fn median_5x5(rows: &[&[u16]], out: &mut [u16]) {
    let n = out.len();
    for i in 2..n.saturating_sub(2) {
        let mut all = [0u16; 25];
        let mut some = 0;
        for (k, row) in rows.iter().enumerate() {
            for j in 0..5 {
                let v = row[i + j - 2];
                all[5 * k + j] = v;
                some += usize::from(v != 0);
            }
        }
        // Fewer than thirteen pixels above the background leave a median of nothing.
        out[i] = if some < 13 { 0 } else { *all.select_nth_unstable(12).1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_any_radius_are_those_of_sorting() {
        let (rows, columns) = (9, 13);
        let mut state = 3u32;
        let frame: Vec<u16> = (0..rows * columns)
            .map(|_| {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                ((state >> 10) % 9) as u16
            })
            .collect();
        for radius in 0..3 {
            let settings = Settings { blanket: 2, radius, min_pixels: 1, ..Settings::default() };
            let cleaner = Cleaner::new(settings, &vec![1; frame.len()], columns);
            let lit = cleaner.lit(&frame, &mut Worker::default());
            let left = |r: usize, c: usize| frame[r * columns + c].saturating_sub(3);
            let mut wanted = vec![];
            for r in 0..rows {
                for c in 0..columns {
                    let inner = r >= radius && r + radius < rows && c >= radius && c + radius < columns;
                    let mut all = vec![left(r, c)];
                    if inner {
                        all = (r - radius..=r + radius)
                            .flat_map(|r| (c - radius..=c + radius).map(move |c| (r, c)))
                            .map(|(r, c)| left(r, c))
                            .collect();
                    }
                    all.sort_unstable();
                    if all[all.len() / 2] > 0 {
                        wanted.push((r as u32, c as u32, all[all.len() / 2]));
                    }
                }
            }
            assert_eq!(lit, wanted, "radius {radius}");
        }
    }
}
