//! One frame as runs of pixels above the floor.

use std::sync::Arc;

use isard_core::Pool;
use isard_core::dispatch;
use isard_core::prelude::*;

use super::bridge::Bridges;
use super::bytes::Bytes;
use super::spill::{Away, Spill};
use super::strips::Strips;
use crate::pixel::Pixel;

/// An area of the detector: rows and columns, the ends not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first row and the row after the last.
    pub rows: [usize; 2],
    /// The first column and the column after the last.
    pub columns: [usize; 2],
}

impl Area {
    /// How many pixels it has.
    pub(crate) fn pixels(&self) -> usize {
        (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])
    }

    /// Whether a pixel lies in it.
    pub fn has(&self, row: usize, column: usize) -> bool {
        (self.rows[0]..self.rows[1]).contains(&row) && (self.columns[0]..self.columns[1]).contains(&column)
    }
}

/// Neighbouring pixels of a row that have the largest value of their dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The row,
    pub row: u32,
    /// the first column,
    pub from: u32,
    /// and the column after the last.
    pub to: u32,
}

/// Neighbouring pixels of a row that are all above the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first column.
    pub(crate) from: u32,
    /// The column after the last.
    pub(crate) to: u32,
    /// Where its values begin.
    pub(crate) at: u32,
}

/// The pixels of a frame, also those below the floor.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// Not kept: what is below the floor counts as 0.
    Sparse,
    /// The whole frame.
    Whole(Array),
    /// The whole frame in half the memory.
    Bytes(Bytes),
    /// The whole frame, on disk.
    Away(Away),
    /// What undecided blobs may need of it.
    Strips(Strips),
}

/// A frame, its pixels above the floor, and how it follows the one before.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The number of the frame.
    pub number: u64,
    /// The angle, where known.
    pub omega: f64,
    /// Whether the frame before is its neighbour.
    pub(crate) linked: bool,
    /// The first run of each row, and the number of runs.
    pub(crate) rows: Vec<u32>,
    pub(crate) runs: Vec<Run>,
    pub(crate) values: Vec<f32>,
    /// Who has been at a voxel: a serial number, and a bit that says whether a blob owns it.
    pub(crate) marks: Vec<u32>,
    pub(crate) pixels: Pixels,
    /// Saturated pixels in the order of rows and columns, where known.
    pub(crate) full: Option<Vec<Full>>,
    /// Whether a mark may say that a voxel is a bridge.
    pub(crate) bridged: bool,
    /// How much of it was wanted when it was cut down last: pixels of areas, those in two areas twice.
    pub(crate) wanted: usize,
}

/// Set in a mark when an accepted blob owns the voxel.
pub(crate) const OWNED: u32 = 1 << 31;
/// Set in a mark when the voxel connects its two sides, and is no part of anything.
pub(crate) const BRIDGE: u32 = 1 << 30;
/// The serial number in a mark.
pub(crate) const SERIAL: u32 = BRIDGE - 1;

impl Plane {
    fn empty(number: u64, rows: usize) -> Plane {
        Plane {
            number,
            omega: f64::NAN,
            linked: true,
            rows: Vec::with_capacity(rows + 1),
            runs: vec![],
            values: vec![],
            marks: vec![],
            pixels: Pixels::Sparse,
            full: None,
            bridged: false,
            wanted: usize::MAX,
        }
    }

    /// The runs of an image `[y x]` at or above the floor; what is excluded or no number counts as 0.
    pub fn of_image(number: u64, image: &Array, floor: f32, exclude: Option<&Area>) -> Result<Plane> {
        Self::of_bridged(number, image, floor, exclude, None)
    }

    /// The same with invalid pixels that connect what lies on either side.
    pub fn of_bridged(
        number: u64,
        image: &Array,
        floor: f32,
        exclude: Option<&Area>,
        bridges: Option<&Bridges>,
    ) -> Result<Plane> {
        let &[rows, columns] = image.shape() else {
            return Err(Error::data(format!("found an image of shape {:?}, wanted [y x]", image.shape())));
        };
        let mut plane = Plane::empty(number, rows);
        let mut words = vec![0u64; columns.div_ceil(64)];
        dispatch!(image.dtype(), T => {
            let pixels = image.as_slice::<T>()?;
            let struts = bridges.map(|b| b.lit(|at| pixels[at].as_f32(), floor, exclude)).unwrap_or_default();
            let mut next = &struts[..];
            for row in 0..rows {
                plane.rows.push(plane.runs.len() as u32);
                let line = &pixels[row * columns..(row + 1) * columns];
                T::lit(line, floor, &mut words);
                if let Some(area) = exclude.filter(|a| (a.rows[0]..a.rows[1]).contains(&row)) {
                    let zero = 0.0 >= floor;
                    for column in area.columns[0]..area.columns[1].min(columns) {
                        set(&mut words, column, zero);
                    }
                }
                let excluded = |column: usize| exclude.is_some_and(|a| a.has(row, column));
                let own = |column: usize| if excluded(column) { 0.0 } else { line[column].as_f32() };
                let (here, later) = next.split_at(next.partition_point(|s| s.0 as usize <= row));
                next = later;
                if here.is_empty() {
                    plane.take_row(&words, own);
                    continue;
                }
                here.iter().for_each(|(_, column, _)| set(&mut words, *column as usize, true));
                let strut = |column: usize| here.binary_search_by_key(&column, |s| s.1 as usize).ok();
                plane.take_row(&words, |column| strut(column).map_or_else(|| own(column), |k| here[k].2));
            }
            plane.rows.push(plane.runs.len() as u32);
            plane.marks = vec![0; plane.values.len()];
            plane.bridged = !struts.is_empty();
            for (row, column, _) in struts {
                if let Some(at) = plane.find(row as usize, column) {
                    plane.marks[at] = BRIDGE;
                }
            }
        }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
        Ok(plane)
    }

    /// The runs of lit pixels given one by one as row, column and value; all others are 0.
    pub fn of_pixels(
        number: u64,
        shape: [usize; 2],
        mut lit: Vec<(u32, u32, f32)>,
        floor: f32,
    ) -> Result<Plane> {
        lit.retain(|(.., value)| *value >= floor && value.is_finite());
        lit.sort_unstable_by_key(|(row, column, _)| (*row, *column));
        if let Some((row, column, _)) =
            lit.iter().find(|(row, column, _)| *row as usize >= shape[0] || *column as usize >= shape[1])
        {
            let [rows, columns] = shape;
            return Err(Error::data(format!(
                "frame {number}: found a pixel at row {row}, column {column} of a detector of {rows} x {columns}"
            )));
        }
        if let Some(pair) = lit.windows(2).find(|p| (p[0].0, p[0].1) == (p[1].0, p[1].1)) {
            let (row, column, _) = pair[0];
            return Err(Error::data(format!(
                "frame {number}: found the pixel at row {row}, column {column} twice"
            )));
        }
        let mut plane = Plane::empty(number, shape[0]);
        for (row, column, value) in lit {
            let fresh = plane.rows.len() <= row as usize;
            while plane.rows.len() <= row as usize {
                plane.rows.push(plane.runs.len() as u32);
            }
            match plane.runs.last_mut() {
                Some(run) if !fresh && run.to == column => run.to += 1,
                _ => plane.runs.push(Run { from: column, to: column + 1, at: plane.values.len() as u32 }),
            }
            plane.values.push(value);
        }
        while plane.rows.len() <= shape[0] {
            plane.rows.push(plane.runs.len() as u32);
        }
        plane.marks = vec![0; plane.values.len()];
        Ok(plane)
    }

    /// Keeps the frame's pixels below the floor too.
    #[must_use]
    pub fn with_pixels(mut self, image: Array) -> Plane {
        self.pixels = Pixels::Whole(image);
        self
    }

    /// Keeps the frame's pixels below the floor too, 16-bit differences in half their memory.
    pub fn with_bytes(self, image: Array, exclude: Option<&Area>, pool: &Pool) -> Result<Plane> {
        Ok(match Bytes::of(&image, exclude, pool)? {
            Some(bytes) => Plane { pixels: Pixels::Bytes(bytes), ..self },
            None => self.with_pixels(image),
        })
    }

    /// How many pixels are kept, lit or not.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        match &self.pixels {
            Pixels::Sparse | Pixels::Away(_) => 0,
            Pixels::Whole(image) => image.len(),
            Pixels::Bytes(bytes) => bytes.near.len(),
            Pixels::Strips(strips) => strips.values.len(),
        }
    }

    /// Whether all pixels are kept.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.pixels, Pixels::Whole(_) | Pixels::Bytes(_))
    }

    /// Says which pixels are saturated.
    #[must_use]
    pub fn with_full(mut self, full: Vec<Full>) -> Plane {
        self.full = Some(full);
        self
    }

    /// How many pixels of a row are saturated, from one column to before another; none when that is not known.
    pub(crate) fn saturated(&self, row: usize, from: u32, to: u32) -> Option<u64> {
        let full = self.full.as_ref()?;
        let first = full.partition_point(|f| (f.row as usize, f.to) <= (row, from));
        let here = full[first..].iter().take_while(|f| f.row as usize == row && f.from < to);
        Some(here.map(|f| u64::from(f.to.min(to) - f.from.max(from))).sum())
    }

    /// Says which angle the frame has.
    #[must_use]
    pub fn with_omega(mut self, omega: f64) -> Plane {
        self.omega = omega;
        self
    }

    /// Puts the pixels of a whole frame away.
    pub(crate) fn put_away(&mut self, spill: &Arc<Spill>) -> Result<()> {
        self.pixels = match &self.pixels {
            Pixels::Whole(image) => Pixels::Away(spill.put(image)?),
            Pixels::Bytes(bytes) => Pixels::Away(spill.put_bytes(bytes)?),
            _ => return Ok(()),
        };
        Ok(())
    }

    fn take_row(&mut self, words: &[u64], value: impl Fn(usize) -> f32) {
        let mut open: Option<u32> = None;
        for (w, word) in words.iter().enumerate() {
            let mut left = *word;
            if left == 0 && open.is_none() {
                continue;
            }
            let base = 64 * w as u32;
            let mut bit = 0;
            while bit < 64 {
                match open {
                    None if left == 0 => break,
                    None => {
                        bit = left.trailing_zeros();
                        open = Some(base + bit);
                    }
                    Some(from) => {
                        let dark = !left & (u64::MAX << bit);
                        if dark == 0 {
                            break;
                        }
                        bit = dark.trailing_zeros();
                        self.close(from, base + bit, &value);
                        open = None;
                        left &= u64::MAX << bit;
                    }
                }
            }
        }
        if let Some(from) = open {
            self.close(from, 64 * words.len() as u32, &value);
        }
    }

    fn close(&mut self, from: u32, to: u32, value: &impl Fn(usize) -> f32) {
        self.runs.push(Run { from, to, at: self.values.len() as u32 });
        self.values.extend((from..to).map(|column| value(column as usize)));
    }

    /// How many voxels are kept.
    pub fn lit(&self) -> usize {
        self.values.len()
    }

    /// The runs of a row.
    pub(crate) fn row(&self, row: usize) -> &[Run] {
        &self.runs[self.rows[row] as usize..self.rows[row + 1] as usize]
    }

    /// Where the value of a voxel stands.
    pub(crate) fn find(&self, row: usize, column: u32) -> Option<usize> {
        let runs = self.row(row);
        let run = runs.get(runs.partition_point(|r| r.to <= column))?;
        (run.from <= column).then(|| (run.at + column - run.from) as usize)
    }

    /// The pixels of an area, when they were kept.
    pub(crate) fn patch(&self, area: &Area, exclude: Option<&Area>) -> Result<Option<Vec<f32>>> {
        let [rows, columns] = [area.rows, area.columns];
        if let Pixels::Away(away) = &self.pixels {
            // As a frame of the rows alone, whose first is row 0.
            let (part, bytes) = away.rows(area)?;
            let pixels = bytes.map_or(Pixels::Whole(part), Pixels::Bytes);
            let near = Plane { pixels, ..Plane::empty(self.number, 0) };
            let moved = Area { rows: [0, rows[1] - rows[0]], columns };
            let mut out = near.patch(&moved, None)?;
            out.iter_mut().for_each(|out| blank(out, area, exclude));
            return Ok(out);
        }
        let width = columns[1] - columns[0];
        let mut out = Vec::with_capacity((rows[1] - rows[0]) * width);
        match &self.pixels {
            Pixels::Sparse | Pixels::Away(_) => return Ok(None),
            Pixels::Whole(image) => {
                let all = image.shape()[1];
                dispatch!(image.dtype(), T => {
                    let pixels = image.as_slice::<T>()?;
                    for row in rows[0]..rows[1] {
                        let line = &pixels[row * all + columns[0]..row * all + columns[1]];
                        out.extend(line.iter().map(|v| v.as_f32()));
                    }
                }, complex => return Ok(None));
            }
            Pixels::Bytes(bytes) => bytes.patch(area, &mut out)?,
            Pixels::Strips(strips) => {
                if !strips.patch(area, &mut out)? {
                    return Ok(None);
                }
            }
        }
        blank(&mut out, area, exclude);
        Ok(Some(out))
    }

    /// Lets go of what lies in none of the areas, once that is much less than before.
    ///
    /// What is wanted of a frame only shrinks; at each cut by a quarter at least, so cuts together cost little.
    pub(crate) fn crop(&mut self, areas: &[Area]) -> Result<()> {
        let wanted = areas.iter().map(Area::pixels).sum::<usize>();
        if wanted > self.wanted / 4 * 3 {
            return Ok(());
        }
        self.wanted = wanted;
        // Boxes of many spots overlap, so that what they need of a frame may be most of it.
        let strips = match &self.pixels {
            Pixels::Whole(image) => Strips::of(image, areas)?,
            Pixels::Bytes(bytes) => Strips::of_bytes(bytes, areas)?,
            Pixels::Strips(strips) => strips.part(areas)?,
            Pixels::Sparse | Pixels::Away(_) => None,
        };
        match strips {
            Some(strips) => self.pixels = Pixels::Strips(strips),
            None if self.is_whole() => return Ok(()),
            None => (),
        }
        let lit = areas.len() * 8;
        let (mut rows, mut runs) = (Vec::with_capacity(self.rows.len()), Vec::with_capacity(lit));
        let (mut values, mut marks) = (Vec::with_capacity(lit), Vec::with_capacity(lit));
        let mut across: Vec<&Area> = vec![];
        for row in 0..self.rows.len() - 1 {
            rows.push(runs.len() as u32);
            let here = self.row(row);
            across.clear();
            if !here.is_empty() {
                across.extend(areas.iter().filter(|a| (a.rows[0]..a.rows[1]).contains(&row)));
            }
            for run in here {
                let [from, to] = [run.from as usize, run.to as usize];
                if across.iter().any(|a| from < a.columns[1] && to > a.columns[0]) {
                    let all = run.at as usize..run.at as usize + to - from;
                    runs.push(Run { at: values.len() as u32, ..*run });
                    values.extend_from_slice(&self.values[all.clone()]);
                    marks.extend_from_slice(&self.marks[all]);
                }
            }
        }
        rows.push(runs.len() as u32);
        (self.rows, self.runs, self.values, self.marks) = (rows, runs, values, marks);
        Ok(())
    }
}

/// Sets the pixels of an area that are excluded to 0.
fn blank(pixels: &mut [f32], area: &Area, exclude: Option<&Area>) {
    let (Some(exclude), width) = (exclude, area.columns[1] - area.columns[0]) else { return };
    for (i, value) in pixels.iter_mut().enumerate() {
        if exclude.has(area.rows[0] + i / width, area.columns[0] + i % width) {
            *value = 0.0;
        }
    }
}

fn set(words: &mut [u64], bit: usize, on: bool) {
    let mask = 1u64 << (bit % 64);
    if on {
        words[bit / 64] |= mask;
    } else {
        words[bit / 64] &= !mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_frames_give_the_same_runs() {
        // 130 columns: runs at the start, across the words of 64 bits, and at the end of a row.
        let mut image = vec![0f32; 3 * 130];
        let lit = [(0, 0), (0, 1), (0, 63), (0, 64), (0, 65), (0, 129), (2, 127), (2, 128)];
        for (k, (row, column)) in lit.iter().enumerate() {
            image[row * 130 + column] = 5.0 + k as f32;
        }
        image[130] = f32::NAN;
        image[131] = f32::INFINITY;
        let dense = Plane::of_image(7, &Array::of(&[3, 130], &image).unwrap(), 5.0, None).unwrap();
        let list = lit.iter().enumerate().map(|(k, (r, c))| (*r as u32, *c as u32, 5.0 + k as f32)).collect();
        let sparse = Plane::of_pixels(7, [3, 130], list, 5.0).unwrap();
        assert_eq!((&dense.rows, &dense.runs), (&sparse.rows, &sparse.runs));
        assert_eq!(dense.values, sparse.values);
        assert_eq!(dense.runs.len(), 4);
        assert_eq!((dense.find(2, 128), dense.find(2, 129)), (Some(7), None));
    }

    #[test]
    fn pixels_outside_or_twice_are_refused() {
        assert!(Plane::of_pixels(0, [2, 2], vec![(0, 2, 1.0)], 0.5).is_err());
        assert!(Plane::of_pixels(0, [2, 2], vec![(0, 1, 1.0), (0, 1, 1.0)], 0.5).is_err());
    }

    #[test]
    fn excluded_pixels_count_as_zero() {
        let area = Area { rows: [0, 1], columns: [1, 3] };
        let image = Array::of(&[1, 4], &[3i16, 9, 9, 3]).unwrap();
        let plane = Plane::of_image(0, &image, 2.0, Some(&area)).unwrap();
        assert_eq!(plane.values, [3.0, 3.0]);
        let plane = Plane::of_image(0, &image, 0.0, Some(&area)).unwrap();
        assert_eq!(plane.values, [3.0, 0.0, 0.0, 3.0]);
    }
}
