//! Regions that ended: what they grow to, when they are decided, and which frames are kept for them.

use isard_core::prelude::*;

use super::grow::{Around, Blob};
use super::label::Region;
use super::plane::{Area, Pixels, Plane};
use super::rules::{Overlap, Rules};
use super::stream::Segmenter;
use super::wait::{Bounds, Near, Spot, Waiting, around};

impl Segmenter {
    /// Takes regions that ended, but for those of too few voxels.
    pub(super) fn queue(&mut self, ended: Vec<Region>) {
        self.counts.regions += ended.len() as u64;
        let before = self.waiting.len();
        self.waiting.extend(ended.iter().filter(|r| r.voxels >= self.rules.least).map(|r| Waiting::new(*r)));
        self.counts.small += (before + ended.len() - self.waiting.len()) as u64;
        self.waiting.sort_by(|a, b| a.region.rank(&b.region));
    }

    /// Finds what waiting regions grow to, where frames to come cannot add to it.
    pub(super) fn grow(&mut self) -> Result<()> {
        let newest = self.next - 1;
        let mut left = Vec::with_capacity(self.waiting.len());
        for mut waiting in std::mem::take(&mut self.waiting) {
            if !waiting.is_due(newest) || self.try_to_grow(&mut waiting)? {
                left.push(waiting);
            }
        }
        self.waiting = left;
        Ok(())
    }

    /// Grows a region in the frames that have come; false when its maximum is taken, so that it has no spot.
    fn try_to_grow(&mut self, waiting: &mut Waiting) -> Result<bool> {
        let (region, Spot::Open { step, .. }) = (waiting.region, &waiting.spot) else { return Ok(true) };
        let (step, newest, overlap) = (*step, self.next - 1, self.rules.overlap);
        let grown = self.within(&region, None, |local| {
            if overlap != Overlap::Keep && local.owned(&region) {
                return Ok(None);
            }
            let flood = local.flood(&region);
            let bounds = local.bounds(&region, &flood);
            let all = is_all(local.rules, newest, &region, &bounds);
            // What it loses to others is not known where they exclude each other, so it is then grown once more.
            let blob = match all {
                Some(true) if overlap != Overlap::Exclusive => local.blob_of(&region, flood)?.map(Box::new),
                _ => None,
            };
            Ok(Some((all, bounds, blob)))
        })?;
        // Who owns a maximum is better than its region, whatever else may come.
        let Some((all, bounds, blob)) = grown else {
            self.counts.suppressed += 1;
            return Ok(false);
        };
        waiting.spot = match all {
            Some(true) => Spot::Known { bounds, blob },
            // With steps that double, what is tried in vain comes to no more than what it grows to in the end.
            Some(false) => {
                let whole = region.position + after(&self.rules);
                Spot::Open { at: (newest + step).min(whole.max(newest + 1)), step: 2 * step }
            }
            None => Spot::Open { at: i64::MAX, step },
        };
        Ok(true)
    }

    /// Decides what can be decided; everything, when the length of the stream is given.
    pub(super) fn settle(&mut self, length: Option<i64>) -> Result<Vec<Blob>> {
        let [frames, ..] = self.rules.reach();
        let (newest, wrap) = (self.next - 1, self.rules.wrap);
        let alone = self.rules.overlap == Overlap::Keep;
        let after = frames + i64::from(!wrap);
        let ready = |w: &Waiting| match (alone, &w.spot) {
            (true, spot) => matches!(spot, Spot::Known { .. }),
            (false, _) => w.region.position + after <= newest && (!wrap || w.region.position >= frames),
        };
        let delay = self.rules.delay.map_or(i64::MAX, |n| n as i64);
        let due = |w: &Waiting| newest - w.region.position >= delay;
        if length.is_none() && !self.waiting.iter().any(|w| ready(w) || due(w)) {
            return Ok(vec![]);
        }
        let mut blockers = Near::new(&self.rules);
        if !alone && length.is_none() {
            self.labels.open().iter().for_each(|r| blockers.add(r));
        }
        let (mut left, mut blobs) = (vec![], vec![]);
        for waiting in std::mem::take(&mut self.waiting) {
            if length.is_some() || (ready(&waiting) && (alone || !blockers.any_better(&waiting))) {
                blobs.extend(self.decide(waiting, length)?);
            } else if due(&waiting) {
                let blob = self.decide(waiting, length)?;
                blobs.extend(blob.map(|blob| Blob { provisional: true, ..blob }));
            } else {
                if !alone {
                    blockers.add_waiting(&waiting);
                }
                left.push(waiting);
            }
        }
        self.waiting = left;
        Ok(blobs)
    }

    /// Works on the frames around a maximum.
    fn within<T>(
        &mut self,
        region: &Region,
        length: Option<i64>,
        work: impl FnOnce(&mut Around) -> Result<T>,
    ) -> Result<T> {
        let limit = self.rules.limit[0] as i64;
        let ring = length.filter(|_| self.rules.wrap);
        let before = ring.map_or(limit, |n| limit.min((n - 1) / 2));
        let first = region.position - before;
        let mut planes: Vec<Option<&mut Plane>> = (0..=2 * before).map(|_| None).collect();
        let mut put = |at: i64, plane| {
            if let Some(slot) = planes.get_mut(at as usize) {
                *slot = Some(plane);
            }
        };
        match ring {
            None => self.planes.range_mut(first..=first + 2 * before).for_each(|(k, p)| put(k - first, p)),
            Some(n) => self.planes.iter_mut().for_each(|(k, p)| put((k - first).rem_euclid(n), p)),
        }
        self.serial += 1;
        work(&mut Around {
            rules: &self.rules,
            planes,
            before,
            detector: self.detector,
            exclude: self.exclude.as_ref(),
            serial: self.serial,
        })
    }

    /// Decides a region; none when it has no spot.
    fn decide(&mut self, waiting: Waiting, length: Option<i64>) -> Result<Option<Blob>> {
        let (region, overlap) = (waiting.region, self.rules.overlap);
        let keep = overlap == Overlap::Keep;
        let known = match waiting.spot {
            Spot::Known { blob, .. } if overlap != Overlap::Exclusive => Some(blob.map(|b| *b)),
            _ => None,
        };
        let owned_or_grown = self.within(&region, length, |local| {
            if !keep && local.owned(&region) {
                return Ok(None);
            }
            let blob = match known {
                Some(blob) => blob,
                None => {
                    let flood = local.flood(&region);
                    local.blob_of(&region, flood)?
                }
            };
            if let Some(blob) = blob.as_ref().filter(|_| !keep) {
                local.own(blob);
            }
            Ok(Some(blob))
        })?;
        let mut blob = match owned_or_grown {
            None => {
                self.counts.suppressed += 1;
                None
            }
            Some(None) => {
                self.counts.below += 1;
                None
            }
            Some(blob) => blob,
        };
        if let Some(blob) = blob.as_mut().filter(|_| !self.rules.wrap) {
            let first = region.position + blob.origin[0];
            let lead = if self.rules.bridge { 0 } else { self.ends.map_or(0, |e| e[0] as i64) };
            blob.edge |= first + lead == 0 || Some(first + blob.size[0] as i64) == length;
        }
        Ok(blob)
    }

    /// Lets go of frames that no blob can need any more, and of most of those that few can need.
    pub(super) fn evict(&mut self) -> Result<()> {
        let limit = self.rules.limit[0] as i64;
        let head = if self.rules.wrap { limit } else { 0 };
        // The next maximum is in the next frame at the earliest.
        let old = self.next - limit;
        let waiting = self.waiting.iter().map(|w| w.needs(&self.rules, self.detector));
        let open = self.labels.open().iter().map(|r| around(r, &self.rules, self.detector));
        let needs: Vec<_> = waiting.chain(open).filter(|(frames, _)| *frames.start() < old).collect();
        let gone: Vec<i64> = self.planes.range(head..old.max(head)).map(|(k, _)| *k).collect();
        for k in gone {
            let areas: Vec<Area> =
                needs.iter().filter(|(frames, _)| frames.contains(&k)).map(|(_, a)| *a).collect();
            if areas.is_empty() {
                self.planes.remove(&k);
            } else if let Some(plane) = self.planes.get_mut(&k) {
                plane.crop(&areas)?;
            }
        }
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

/// How many frames after a maximum its box is whole.
fn after(rules: &Rules) -> i64 {
    // Without a ring the end of the scan is an edge, so one frame more has to be there.
    rules.limit[0] as i64 + i64::from(!rules.wrap)
}

/// Whether what a region grew to in the frames up to the newest is all of it; none when only the end can tell.
fn is_all(rules: &Rules, newest: i64, region: &Region, bounds: &Bounds) -> Option<bool> {
    let limit = rules.limit[0] as i64;
    let (first, last) = (bounds.first[0], bounds.first[0] + bounds.size[0] - 1);
    if !rules.wrap {
        return Some(last < newest);
    }
    // On a ring frames come before the first, too.
    if first == 0 && region.position < limit {
        return None;
    }
    // No frame is in the box of a short ring twice, so the box may yet be cut.
    let far = (region.position - first).max(last - region.position);
    Some(far <= newest / 2 && (last < newest || region.position + limit <= newest))
}
