//! A blob: what is connected to a maximum with a threshold of its own, inside a box.

use isard_core::prelude::*;

use super::label::Region;
use super::plane::{Area, BRIDGE, OWNED, Plane, SERIAL};
use super::rules::{Overlap, Rules};
use super::wait::{Bounds, around};

/// A spot in frames, rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob {
    /// The region it was grown from.
    pub seed: Region,
    /// The threshold it was grown with.
    pub threshold: f32,
    /// The number of its first frame,
    pub first_frame: u64,
    /// and of its last.
    pub last_frame: u64,
    /// Where it begins: the first frame counted from the maximum's, the first row, the first column.
    pub origin: [i64; 3],
    /// Its size in frames, rows and columns.
    pub size: [usize; 3],
    /// Its voxels.
    pub voxels: u64,
    /// The pixels that it covers in any frame.
    pub area: u64,
    /// How many of its voxels are saturated; none when that is not known of all its frames.
    pub saturated: Option<u64>,
    /// The sum of its values.
    pub integral: f64,
    /// The mean index of its voxels in the box, weighted by their values.
    pub centroid: [f64; 3],
    /// The angle of the centroid.
    pub omega: f64,
    /// Whether it touches the edge of the detector or an end of the scan.
    pub edge: bool,
    /// Whether it is larger than the largest blob expected, so that it may have been cut.
    pub oversize: bool,
    /// Whether it goes on from the last frame to the first.
    pub wraps: bool,
    /// Whether the values outside the mask are kept.
    pub whole: bool,
    /// Whether it was decided before all that could change it had come.
    pub provisional: bool,
    /// Whether it is so long that the background took a part of it.
    pub long: bool,
    /// The values in the box.
    pub data: Vec<f32>,
    /// 1 where a voxel belongs to the blob.
    pub mask: Vec<u8>,
}

/// What a blob grows in: the frames around its maximum, and the detector.
pub(crate) struct Around<'a> {
    pub(crate) rules: &'a Rules,
    /// Frames from `before` before the maximum; none where there is no frame.
    pub(crate) planes: Vec<Option<&'a mut Plane>>,
    pub(crate) before: i64,
    pub(crate) detector: [usize; 2],
    pub(crate) exclude: Option<&'a Area>,
    /// Marks of this number are not yet taken.
    pub(crate) serial: u32,
}

/// What is connected to a maximum.
pub(crate) struct Flood {
    threshold: f32,
    taken: Vec<Taken>,
}

/// Voxels of one row that were taken.
#[derive(Clone, Copy)]
struct Taken {
    plane: usize,
    row: usize,
    from: u32,
    to: u32,
}

impl Around<'_> {
    /// Whether a blob owns the voxel of the maximum.
    pub(crate) fn owned(&self, seed: &Region) -> bool {
        let plane = self.planes[self.before as usize].as_ref();
        plane.is_some_and(|p| {
            p.find(seed.row as usize, seed.column).is_some_and(|at| p.marks[at] & OWNED != 0)
        })
    }

    /// What is connected to the maximum of a region and reaches its own threshold; nothing when the maximum does not.
    pub(crate) fn flood(&mut self, seed: &Region) -> Flood {
        let threshold = self.rules.local(f64::from(seed.max));
        let (_, bounds) = around(seed, self.rules, self.detector);
        let start = self.before as usize;
        let mut taken = vec![];
        self.take(start, seed.row as usize, seed.column..seed.column + 1, &bounds, threshold, &mut taken);
        let mut done = 0;
        while done < taken.len() {
            let at = taken[done];
            done += 1;
            for frames in -1..=1i64 {
                let Some(plane) = self.neighbour(at.plane, frames) else { continue };
                for step in -1..=1i64 {
                    if (frames, step) == (0, 0) {
                        continue;
                    }
                    let Some(slack) = self.rules.connectivity.slack(frames, step) else { continue };
                    let row = at.row as i64 + step;
                    if row < bounds.rows[0] as i64 || row >= bounds.rows[1] as i64 {
                        continue;
                    }
                    let from = at.from.saturating_sub(slack as u32);
                    let to = at.to + slack as u32;
                    self.take(plane, row as usize, from..to, &bounds, threshold, &mut taken);
                }
            }
        }
        Flood { threshold, taken }
    }

    /// The blob of what was flooded; none when nothing was.
    pub(crate) fn blob_of(&self, seed: &Region, mut flood: Flood) -> Result<Option<Blob>> {
        self.without_bridges(&mut flood.taken);
        if flood.taken.is_empty() {
            return Ok(None);
        }
        self.blob(seed, flood.threshold, &mut flood.taken).map(Some)
    }

    /// Where what was flooded lies in the stream; the maximum alone when that is nothing.
    pub(crate) fn bounds(&self, seed: &Region, flood: &Flood) -> Bounds {
        let place = |t: &Taken| [t.plane as i64 - self.before + seed.position, t.row as i64, t.from as i64];
        let Some(start) = flood.taken.first() else { return Bounds::seed(seed) };
        let (mut first, mut last) = (place(start), place(start));
        for taken in &flood.taken {
            let at = place(taken);
            let end = [at[0], at[1], i64::from(taken.to) - 1];
            first = [0, 1, 2].map(|k| first[k].min(at[k]));
            last = [0, 1, 2].map(|k| last[k].max(end[k]));
        }
        Bounds { first, size: [0, 1, 2].map(|k| last[k] - first[k] + 1) }
    }

    /// Makes a blob the owner of its voxels.
    pub(crate) fn own(&mut self, blob: &Blob) {
        let [frames, rows, columns] = blob.size;
        for frame in 0..frames {
            let plane = (self.before + blob.origin[0]) as usize + frame;
            let Some(plane) = self.planes[plane].as_deref_mut() else { continue };
            for row in 0..rows {
                for column in 0..columns {
                    if blob.mask[(frame * rows + row) * columns + column] != 0 {
                        let (y, x) = (blob.origin[1] as usize + row, blob.origin[2] as usize + column);
                        if let Some(at) = plane.find(y, x as u32) {
                            plane.marks[at] |= OWNED;
                        }
                    }
                }
            }
        }
    }

    /// Takes out the voxels that only connect.
    fn without_bridges(&self, taken: &mut Vec<Taken>) {
        if !self.planes.iter().flatten().any(|p| p.bridged) {
            return;
        }
        let mut parts = vec![];
        for t in taken.iter() {
            let Some(plane) = &self.planes[t.plane] else { continue };
            let own = |x: &u32| plane.find(t.row, *x).is_some_and(|at| plane.marks[at] & BRIDGE == 0);
            let mut from = t.from;
            while let Some(first) = (from..t.to).find(own) {
                let to = (first..t.to).find(|x| !own(x)).unwrap_or(t.to);
                parts.push(Taken { from: first, to, ..*t });
                from = to;
            }
        }
        *taken = parts;
    }

    fn neighbour(&self, plane: usize, frames: i64) -> Option<usize> {
        let to = usize::try_from(plane as i64 + frames).ok()?;
        let later = self.planes.get(plane.max(to))?.as_ref()?;
        self.planes[to].as_ref()?;
        (frames == 0 || later.linked).then_some(to)
    }

    /// Takes the runs of a row that meet some columns and are not taken yet.
    fn take(
        &mut self,
        number: usize,
        row: usize,
        columns: std::ops::Range<u32>,
        bounds: &Area,
        threshold: f32,
        taken: &mut Vec<Taken>,
    ) {
        let (serial, exclusive) = (self.serial, self.rules.overlap == Overlap::Exclusive);
        let Some(plane) = self.planes[number].as_deref_mut() else { return };
        let all = plane.rows[row] as usize..plane.rows[row + 1] as usize;
        let (low, high) = (bounds.columns[0] as u32, bounds.columns[1] as u32);
        let mut k = all.start + plane.runs[all.clone()].partition_point(|r| r.to <= columns.start);
        while k < all.end && plane.runs[k].from < columns.end {
            let run = plane.runs[k];
            k += 1;
            let (first, end) = (run.from.max(low), run.to.min(high));
            let free = |marks: &[u32], x: u32| {
                let at = (run.at + x - run.from) as usize;
                plane.values[at] >= threshold
                    && marks[at] & SERIAL != serial
                    && !(exclusive && marks[at] & OWNED != 0)
            };
            let mut x = first.max(columns.start);
            while x < end.min(columns.end) {
                if !free(&plane.marks, x) {
                    x += 1;
                    continue;
                }
                let (mut from, mut to) = (x, x + 1);
                while from > first && free(&plane.marks, from - 1) {
                    from -= 1;
                }
                while to < end && free(&plane.marks, to) {
                    to += 1;
                }
                for mark in &mut plane.marks[(run.at + from - run.from) as usize..][..(to - from) as usize] {
                    *mark = (*mark & !SERIAL) | serial;
                }
                taken.push(Taken { plane: number, row, from, to });
                x = to + 1;
            }
        }
    }

    fn blob(&self, seed: &Region, threshold: f32, taken: &mut [Taken]) -> Result<Blob> {
        taken.sort_unstable_by_key(|t| (t.plane, t.row, t.from));
        let least = |of: fn(&Taken) -> usize| taken.iter().map(of).min().unwrap_or(0);
        let most = |of: fn(&Taken) -> usize| taken.iter().map(of).max().unwrap_or(0);
        let first = [least(|t| t.plane), least(|t| t.row), least(|t| t.from as usize)];
        let last = [most(|t| t.plane), most(|t| t.row), most(|t| t.to as usize - 1)];
        let size = [0, 1, 2].map(|k| last[k] - first[k] + 1);
        let [_, rows, columns] = size;
        let (mut data, mut mask) = (vec![0f32; size.iter().product()], vec![0u8; size.iter().product()]);
        let mut covered = vec![false; rows * columns];
        let area = Area { rows: [first[1], last[1] + 1], columns: [first[2], last[2] + 1] };
        let mut whole = true;
        for (k, plane) in self.planes[first[0]..=last[0]].iter().enumerate() {
            let slice = &mut data[k * rows * columns..(k + 1) * rows * columns];
            match plane.as_ref().map(|p| p.patch(&area, self.exclude)).transpose()?.flatten() {
                Some(patch) => slice.copy_from_slice(&patch),
                None => whole = false,
            }
        }
        // Sums run in the order of frames, rows and columns: the order in which voxels were found must not matter.
        let (mut voxels, mut integral, mut moments, mut turned, mut weight) = (0, 0.0, [0.0; 3], 0.0, 0.0);
        let mut saturated = Some(0);
        let angle = |plane: usize| self.planes[plane].as_ref().map_or(f64::NAN, |p| p.omega);
        let start = angle(first[0]);
        for t in taken.iter() {
            let Some(plane) = &self.planes[t.plane] else { continue };
            let [z, y] = [t.plane - first[0], t.row - first[1]];
            let turn = turn(angle(t.plane) - start);
            saturated = saturated.zip(plane.saturated(t.row, t.from, t.to)).map(|(all, here)| all + here);
            for column in t.from..t.to {
                let x = column as usize - first[2];
                let Some(at) = plane.find(t.row, column) else { continue };
                let value = plane.values[at];
                let to = (z * rows + y) * columns + x;
                (data[to], mask[to], covered[y * columns + x]) = (value, 1, true);
                let value = f64::from(value);
                voxels += 1;
                integral += value;
                for (moment, index) in moments.iter_mut().zip([z, y, x]) {
                    *moment += index as f64 * value;
                }
                turned += turn * value;
                weight += value;
            }
        }
        let number = |plane: usize| self.planes[plane].as_ref().map_or(0, |p| p.number);
        let edge = first[1] == 0
            || first[2] == 0
            || last[1] + 1 == self.detector[0]
            || last[2] + 1 == self.detector[1];
        let oversize = size.iter().zip(self.rules.limit).any(|(size, limit)| *size > limit);
        let omega = start + turned / weight;
        Ok(Blob {
            seed: *seed,
            threshold,
            first_frame: number(first[0]),
            last_frame: number(last[0]),
            origin: [first[0] as i64 - self.before, first[1] as i64, first[2] as i64],
            size,
            voxels,
            area: covered.iter().filter(|c| **c).count() as u64,
            saturated,
            integral,
            centroid: moments.map(|m| m / integral),
            omega: if self.rules.wrap { omega.rem_euclid(360.0) } else { omega },
            edge,
            oversize,
            wraps: number(first[0]) > number(last[0]),
            whole,
            provisional: false,
            long: false,
            data,
            mask,
        })
    }
}

/// A difference of angles, the short way round.
fn turn(degrees: f64) -> f64 {
    (degrees + 180.0).rem_euclid(360.0) - 180.0
}
