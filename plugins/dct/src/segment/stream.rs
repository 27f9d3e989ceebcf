//! The stream: frames in, decided blobs out, and no more frames kept than undecided blobs need.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;

use super::grow::Blob;
use super::label::{Labels, Region};
use super::plane::{Area, Plane};
use super::rules::Rules;
use super::spill::Spill;
use super::wait::Waiting;

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
    pub(crate) waiting: Vec<Waiting>,
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
        self.grow()?;
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
}
