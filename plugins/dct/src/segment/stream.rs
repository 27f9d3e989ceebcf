//! The stream: frames in, decided blobs out, and no more frames kept than undecided blobs need.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use isard_core::prelude::*;

use super::grow::{Around, Blob};
use super::label::{Labels, Region};
use super::plane::{Area, Pixels, Plane};
use super::rules::{Overlap, Rules};
use super::spill::Spill;

/// What became of the regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regions that ended.
    pub regions: u64,
    /// Those of too few voxels.
    pub small: u64,
    /// Those whose maximum lies in a brighter blob.
    pub suppressed: u64,
    /// Those whose maximum does not reach its own threshold.
    pub below: u64,
}

/// Segments a stream of frames.
///
/// Frames come in the order of the ring: rising numbers, and with `wrap` from the end on to the first.
pub struct Segmenter {
    pub(crate) rules: Rules,
    pub(crate) detector: [usize; 2],
    pub(crate) exclude: Option<Area>,
    /// The frames that may still be needed, by their place in the stream.
    pub(crate) planes: BTreeMap<i64, Plane>,
    pub(crate) labels: Labels,
    /// Regions that ended and wait, best first.
    pub(crate) waiting: Vec<Region>,
    /// The place of the next frame.
    pub(crate) next: i64,
    /// The numbers of the first and of the newest frame.
    pub(crate) ends: Option<[u64; 2]>,
    /// The numbers heard of go up to here.
    pub(crate) extent: u64,
    /// The angle of the newest frame, and the step before it.
    pub(crate) angle: [f64; 2],
    pub(crate) serial: u32,
    pub(crate) counts: Counts,
    /// Frames before this place have been let go or cut down.
    pub(crate) cropped: i64,
    /// Where whole frames go that are too many.
    pub(crate) spill: Option<Arc<Spill>>,
}

impl Segmenter {
    /// A stream that has not begun.
    pub fn new(rules: Rules, detector: [usize; 2], exclude: Option<Area>) -> Segmenter {
        Segmenter {
            rules,
            detector,
            exclude,
            planes: BTreeMap::new(),
            labels: Labels::default(),
            waiting: vec![],
            next: 0,
            ends: None,
            extent: 0,
            angle: [f64::NAN; 2],
            serial: 0,
            counts: Counts::default(),
            cropped: 0,
            spill: None,
        }
    }

    /// Puts whole frames that are too many for the rules into a file, from where they are read when they are wanted.
    #[must_use]
    pub fn with_spill(mut self, spill: Option<Arc<Spill>>) -> Segmenter {
        self.spill = spill;
        self
    }

    /// Takes the next frame; gives the blobs that are decided.
    pub fn push(&mut self, mut plane: Plane) -> Result<Vec<Blob>> {
        let number = plane.number;
        self.extent = self.extent.max(number + 1);
        let mut ended = vec![];
        plane.linked = false;
        if let Some([first, last]) = self.ends {
            let missing = self.missing(first, last, number)?;
            // That a ring closes is said by `wrap`; the angle of its seam may be off by a step.
            let jump = number > last && self.jumps(plane.omega, missing);
            if !jump && number > last {
                self.angle[1] = self.turned(plane.omega - self.angle[0]) / (missing + 1) as f64;
            }
            plane.linked = !jump && (missing == 0 || self.rules.bridge);
            if !self.rules.bridge {
                self.next += missing as i64;
            }
            if !plane.linked {
                ended = self.labels.interrupt();
            }
        }
        self.angle[0] = plane.omega;
        self.ends = Some([self.ends.map_or(number, |e| e[0]), number]);
        ended.extend(self.labels.push(&plane, self.next, &self.rules));
        self.planes.insert(self.next, plane);
        self.next += 1;
        self.queue(ended);
        let blobs = self.settle(None)?;
        self.evict()?;
        Ok(blobs)
    }

    /// Hears of frames that will not come, as far as the number of frames is concerned.
    pub fn missing_until(&mut self, end: u64) {
        self.extent = self.extent.max(end);
    }

    /// Ends the stream of so many frames; gives the blobs that are left.
    pub fn finish(&mut self, frames: u64) -> Result<Vec<Blob>> {
        let Some([first, last]) = self.ends else { return Ok(vec![]) };
        let frames = frames.max(self.extent);
        // With `split` missing frames at either end are part of the ring, or of the scan, all the same.
        let lead = if self.rules.wrap || self.rules.bridge { 0 } else { first as i64 };
        let length = match (self.rules.bridge, self.rules.wrap) {
            (true, _) => self.next,
            (false, true) => frames as i64,
            (false, false) => frames as i64 - lead,
        };
        let joined = self.rules.bridge || (last + 1) % frames == first;
        let ring = self.rules.wrap && length > 1 && joined;
        if let Some(plane) = self.planes.get_mut(&0) {
            plane.linked = ring;
        }
        let ended = self.labels.finish(ring, &self.rules);
        self.queue(ended);
        self.settle(Some(length))
    }

    /// What became of the regions so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many frames are kept.
    pub fn resident(&self) -> usize {
        self.planes.len()
    }

    /// How many regions have lasted for longer than four times the longest blob.
    pub fn lasting(&self) -> usize {
        let most = 4 * self.rules.limit[0] as i64;
        let seam = |r: &&Region| !self.rules.wrap || r.first > 0;
        self.labels.open().iter().filter(seam).filter(|r| self.next - r.first > most).count()
    }

    /// How many frames are missing between the newest frame and another.
    fn missing(&self, first: u64, last: u64, number: u64) -> Result<u64> {
        let turned = last < first;
        match number > last {
            true if !turned || number < first => Ok(number - last - 1),
            // The ring goes on at its beginning: what is missing stands at the end and before this frame.
            false if !turned && self.rules.wrap && number < first => Ok(self.extent - last - 1 + number),
            _ => Err(self.order(last, number)),
        }
    }

    fn order(&self, last: u64, number: u64) -> Error {
        let error = Error::data(format!("found frame {number} after frame {last}"));
        error.help(match self.rules.wrap {
            true => "a ring takes frames in rising order, once around",
            false => "frames that go on from the end to the beginning need `wrap = true`",
        })
    }

    /// Whether the angle makes a jump that no missing frame explains.
    fn jumps(&self, omega: f64, missing: u64) -> bool {
        let found = self.turned(omega - self.angle[0]).abs();
        let step = self.angle[1].abs();
        // Without angles, and before the first step, nothing is known to jump.
        step > 0.0 && found > 1.5 * step * (missing + 1) as f64
    }

    /// A difference of angles; on a ring the short way round.
    fn turned(&self, difference: f64) -> f64 {
        if self.rules.wrap { (difference + 180.0).rem_euclid(360.0) - 180.0 } else { difference }
    }

    fn queue(&mut self, ended: Vec<Region>) {
        self.counts.regions += ended.len() as u64;
        let before = self.waiting.len();
        self.waiting.extend(ended.iter().filter(|r| r.voxels >= self.rules.least));
        self.counts.small += (before + ended.len() - self.waiting.len()) as u64;
        self.waiting.sort_by(Region::rank);
    }

    /// Decides what can be decided; everything, when the length of the stream is given.
    fn settle(&mut self, length: Option<i64>) -> Result<Vec<Blob>> {
        let [frames, ..] = self.rules.reach();
        let (newest, wrap) = (self.next - 1, self.rules.wrap);
        // Without a ring the end of the scan is an edge, so one frame more has to be there.
        let after = frames + i64::from(!wrap);
        let whole = |r: &Region| r.position + after <= newest && (!wrap || r.position >= frames);
        let delay = self.rules.delay.map_or(i64::MAX, |n| n as i64);
        let due = |r: &Region| newest - r.position >= delay;
        if length.is_none() && !self.waiting.iter().any(|r| whole(r) || due(r)) {
            return Ok(vec![]);
        }
        let alone = self.rules.overlap == Overlap::Keep;
        let mut blockers = Near::new(self.rules.reach());
        if !alone && length.is_none() {
            self.labels.open().iter().for_each(|r| blockers.add(r));
        }
        let (mut left, mut blobs) = (vec![], vec![]);
        for region in std::mem::take(&mut self.waiting) {
            if length.is_some() || (whole(&region) && (alone || !blockers.any_better(&region))) {
                blobs.extend(self.decide(&region, length)?);
            } else if due(&region) {
                let blob = self.decide(&region, length)?;
                blobs.extend(blob.map(|blob| Blob { provisional: true, ..blob }));
            } else {
                if !alone {
                    blockers.add(&region);
                }
                left.push(region);
            }
        }
        self.waiting = left;
        Ok(blobs)
    }

    fn decide(&mut self, region: &Region, length: Option<i64>) -> Result<Option<Blob>> {
        let limit = self.rules.limit[0] as i64;
        let ring = length.filter(|_| self.rules.wrap);
        let before = ring.map_or(limit, |n| limit.min((n - 1) / 2));
        let place = |k: i64| ring.map_or(k, |n| k.rem_euclid(n));
        let around: Vec<i64> = (region.position - before..=region.position + before).map(place).collect();
        let mut planes: Vec<Option<Plane>> = around.iter().map(|k| self.planes.remove(k)).collect();
        self.serial += 1;
        let mut local = Around {
            rules: &self.rules,
            planes: &mut planes,
            before,
            detector: self.detector,
            exclude: self.exclude.as_ref(),
            serial: self.serial,
        };
        let keep = self.rules.overlap == Overlap::Keep;
        let mut grown = Ok(None);
        if !keep && local.owned(region) {
            self.counts.suppressed += 1;
        } else {
            grown = local.grow(region);
            match &grown {
                Ok(Some(blob)) if !keep => local.own(blob),
                Ok(None) => self.counts.below += 1,
                _ => (),
            }
        }
        for (k, plane) in around.into_iter().zip(planes) {
            if let Some(plane) = plane {
                self.planes.insert(k, plane);
            }
        }
        let mut blob = grown?;
        if let Some(blob) = blob.as_mut().filter(|_| !self.rules.wrap) {
            let first = region.position + blob.origin[0];
            let lead = if self.rules.bridge { 0 } else { self.ends.map_or(0, |e| e[0] as i64) };
            blob.edge |= first + lead == 0 || Some(first + blob.size[0] as i64) == length;
        }
        Ok(blob)
    }

    /// Lets go of frames that no blob can need any more, and of most of those that few can need.
    fn evict(&mut self) -> Result<()> {
        let limit = self.rules.limit[0] as i64;
        let head = if self.rules.wrap { limit } else { 0 };
        let old = self.next - 1 - limit;
        let [_, rows, columns] = self.rules.limit;
        let detector = self.detector;
        let area = |r: &Region| {
            let (row, column) = (r.row as usize, r.column as usize);
            Area {
                rows: [row.saturating_sub(rows), (row + rows + 1).min(detector[0])],
                columns: [column.saturating_sub(columns), (column + columns + 1).min(detector[1])],
            }
        };
        let needs: Vec<(i64, Area)> = self
            .waiting
            .iter()
            .chain(self.labels.open())
            .filter(|r| r.position < old + limit)
            .map(|r| (r.position, area(r)))
            .collect();
        let gone: Vec<i64> = self.planes.range(head..old.max(head)).map(|(k, _)| *k).collect();
        for k in gone {
            let areas: Vec<Area> =
                needs.iter().filter(|(p, _)| (p - k).abs() <= limit).map(|(_, a)| *a).collect();
            if areas.is_empty() {
                self.planes.remove(&k);
            } else if let Some(plane) = self.planes.get_mut(&k)
                // Where spots are many and boxes wide, most of a frame is needed at first and little of it later.
                && (k >= self.cropped || plane.is_whole() && (old - k) % limit.max(1) == 0)
            {
                plane.crop(&areas)?;
            }
        }
        self.cropped = self.cropped.max(old);
        let Some(most) = self.rules.dense else { return Ok(()) };
        let many = self.planes.values().filter(|p| p.is_whole()).count().saturating_sub(most);
        for plane in self.planes.values_mut().filter(|p| p.is_whole()).take(many) {
            match &self.spill {
                Some(spill) => plane.put_away(spill)?,
                None => plane.pixels = Pixels::Sparse,
            }
        }
        Ok(())
    }
}

/// Regions by where they are on the detector, to find those near another.
struct Near {
    reach: [i64; 3],
    cells: HashMap<(i64, i64), Vec<Region>>,
}

impl Near {
    fn new(reach: [i64; 3]) -> Near {
        Near { reach, cells: HashMap::new() }
    }

    fn cell(&self, region: &Region) -> (i64, i64) {
        (i64::from(region.row) / (self.reach[1] + 1), i64::from(region.column) / (self.reach[2] + 1))
    }

    fn add(&mut self, region: &Region) {
        self.cells.entry(self.cell(region)).or_default().push(*region);
    }

    /// Whether a better region is within reach.
    fn any_better(&self, region: &Region) -> bool {
        let (row, column) = self.cell(region);
        let near = |other: &Region| {
            (other.position - region.position).abs() <= self.reach[0]
                && (i64::from(other.row) - i64::from(region.row)).abs() <= self.reach[1]
                && (i64::from(other.column) - i64::from(region.column)).abs() <= self.reach[2]
                && other.rank(region).is_lt()
        };
        (row - 1..=row + 1)
            .flat_map(|r| (column - 1..=column + 1).filter_map(move |c| self.cells.get(&(r, c))))
            .any(|cell| cell.iter().any(near))
    }
}
