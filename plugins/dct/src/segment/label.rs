//! Regions above the threshold, joined from frame to frame.

use isard_core::prelude::*;

use super::plane::{BRIDGE, Plane};
use super::rules::{Connectivity, Rules};

/// A connected set of voxels above the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// The largest value.
    pub max: f32,
    /// The frame of the maximum,
    pub number: u64,
    /// its row,
    pub row: u32,
    /// and its column: the first of equals.
    pub column: u32,
    /// How many voxels there are.
    pub voxels: u64,
    /// Where the maximum is in the stream.
    pub(crate) position: i64,
    /// Where the region begins in the stream.
    pub(crate) first: i64,
}

impl Region {
    /// The order in which regions are decided: brightest first, then the first in frames, rows and columns.
    pub fn rank(&self, other: &Region) -> std::cmp::Ordering {
        let place = |r: &Region| (r.number, r.row, r.column);
        other.max.total_cmp(&self.max).then_with(|| place(self).cmp(&place(other)))
    }

    fn join(&mut self, other: &Region) {
        let (voxels, first) = (self.voxels + other.voxels, self.first.min(other.first));
        if other.rank(self).is_lt() {
            *self = *other;
        }
        (self.voxels, self.first) = (voxels, first);
    }
}

/// Neighbouring voxels of a row above the threshold, and the region they belong to.
#[derive(Clone, Copy, Debug)]
struct Seed {
    row: u32,
    from: u32,
    to: u32,
    region: u32,
}

/// The regions that the next frame may still go on with.
#[derive(Default)]
pub(crate) struct Labels {
    regions: Vec<Region>,
    parents: Vec<u32>,
    /// The voxels of the newest frame.
    last: Vec<Seed>,
    /// The voxels of the first frame, when the last one is its neighbour.
    seam: Vec<Seed>,
    begun: bool,
}

impl Labels {
    /// Takes the next frame; gives the regions that it does not touch.
    pub(crate) fn push(&mut self, plane: &Plane, position: i64, rules: &Rules) -> Vec<Region> {
        let seeds = self.seeds(plane, position, rules.seed());
        let before = std::mem::take(&mut self.last);
        self.connect(&seeds, &seeds, 0, -1..=-1, rules.connectivity);
        if plane.linked {
            self.connect(&before, &seeds, 1, -1..=1, rules.connectivity);
        }
        self.last = seeds;
        if !self.begun && rules.wrap {
            self.seam = self.last.clone();
        }
        self.begun = true;
        self.sweep()
    }

    /// Hears that the next frame is no neighbour; gives the regions that end here.
    pub(crate) fn interrupt(&mut self) -> Vec<Region> {
        self.last.clear();
        self.sweep()
    }

    /// Ends the stream; `ring` says that the last frame is followed by the first.
    pub(crate) fn finish(&mut self, ring: bool, rules: &Rules) -> Vec<Region> {
        let (last, seam) = (std::mem::take(&mut self.last), std::mem::take(&mut self.seam));
        if ring {
            self.connect(&last, &seam, 1, -1..=1, rules.connectivity);
        }
        self.sweep()
    }

    /// The regions that have not ended, as they are now.
    pub(crate) fn open(&self) -> &[Region] {
        &self.regions
    }

    fn seeds(&mut self, plane: &Plane, position: i64, threshold: f32) -> Vec<Seed> {
        let mut seeds = vec![];
        for row in 0..plane.rows.len() - 1 {
            for run in plane.row(row) {
                let values = &plane.values[run.at as usize..][..(run.to - run.from) as usize];
                let mut at = 0;
                while at < values.len() {
                    if values[at] > threshold {
                        let end = at + values[at..].iter().take_while(|v| **v > threshold).count();
                        let seed = (row as u32, run.from + at as u32, run.from + end as u32);
                        let marks = &plane.marks[run.at as usize + at..run.at as usize + end];
                        let own = |k: &usize| !plane.bridged || marks[*k] & BRIDGE == 0;
                        let region = self.region(plane.number, position, seed, &values[at..end], own);
                        seeds.push(Seed { row: seed.0, from: seed.1, to: seed.2, region });
                        at = end;
                    } else {
                        at += 1;
                    }
                }
            }
        }
        seeds
    }

    /// A region of its own; `own` says which of the values are more than a bridge.
    fn region(
        &mut self,
        number: u64,
        position: i64,
        (row, from, _): (u32, u32, u32),
        values: &[f32],
        own: impl Fn(&usize) -> bool,
    ) -> u32 {
        let (mut best, mut max, mut voxels) = (0, f32::NEG_INFINITY, 0);
        for k in (0..values.len()).filter(own) {
            voxels += 1;
            if values[k] > max {
                (best, max) = (k, values[k]);
            }
        }
        let id = self.regions.len() as u32;
        self.parents.push(id);
        self.regions.push(Region {
            max,
            number,
            row,
            column: from + best as u32,
            voxels,
            position,
            first: position,
        });
        id
    }

    fn root(&mut self, mut id: u32) -> u32 {
        while self.parents[id as usize] != id {
            let above = self.parents[self.parents[id as usize] as usize];
            self.parents[id as usize] = above;
            id = above;
        }
        id
    }

    fn union(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            let (low, high) = (a.min(b), a.max(b));
            self.parents[high as usize] = low;
            let other = self.regions[high as usize];
            self.regions[low as usize].join(&other);
        }
    }

    /// Joins voxels that touch: those of `b` with those of `a`, `step` frames and some of `rows` rows before.
    fn connect(
        &mut self,
        a: &[Seed],
        b: &[Seed],
        step: i64,
        rows: std::ops::RangeInclusive<i64>,
        connectivity: Connectivity,
    ) {
        for rows in rows {
            let Some(slack) = connectivity.slack(step, rows) else { continue };
            // Both lists are sorted by row and column, so one walk over both finds every pair.
            let mut at = 0;
            for seed in b {
                let row = i64::from(seed.row) + rows;
                let ends = |other: &Seed| (i64::from(other.row), i64::from(other.to) + slack);
                while at < a.len() && ends(&a[at]) <= (row, i64::from(seed.from)) {
                    at += 1;
                }
                let mut next = at;
                while next < a.len()
                    && i64::from(a[next].row) == row
                    && i64::from(a[next].from) < i64::from(seed.to) + slack
                {
                    self.union(a[next].region, seed.region);
                    next += 1;
                }
            }
        }
    }

    /// Lets go of regions that nothing can go on with.
    fn sweep(&mut self) -> Vec<Region> {
        let roots: Vec<u32> = (0..self.parents.len() as u32).map(|id| self.root(id)).collect();
        let mut fresh = vec![u32::MAX; roots.len()];
        let mut regions = vec![];
        for seed in self.last.iter_mut().chain(self.seam.iter_mut()) {
            let root = roots[seed.region as usize] as usize;
            if fresh[root] == u32::MAX {
                fresh[root] = regions.len() as u32;
                regions.push(self.regions[root]);
            }
            seed.region = fresh[root];
        }
        let ended = (0..roots.len())
            .filter(|id| roots[*id] as usize == *id && fresh[*id] == u32::MAX)
            .map(|id| self.regions[id])
            .collect();
        self.parents = (0..regions.len() as u32).collect();
        self.regions = regions;
        ended
    }
}

impl Labels {
    /// The state at a mark.
    pub(crate) fn save(&self) -> Dict {
        let seeds = |list: &[Seed]| {
            let flat: Vec<u32> = list.iter().flat_map(|s| [s.row, s.from, s.to, s.region]).collect();
            Array::from_slice(&flat)
        };
        Dict::new()
            .with("regions", save_regions(&self.regions))
            .with("last", seeds(&self.last))
            .with("seam", seeds(&self.seam))
            .with("begun", self.begun)
    }

    /// Takes a saved state back.
    pub(crate) fn load(state: &Dict) -> Result<Labels> {
        let seeds = |key: &str| -> Result<Vec<Seed>> {
            let flat = super::state::array(state, key)?;
            let four = flat.as_slice::<u32>()?.chunks_exact(4);
            Ok(four.map(|s| Seed { row: s[0], from: s[1], to: s[2], region: s[3] }).collect())
        };
        let regions = load_regions(state.need("regions")?)?;
        Ok(Labels {
            parents: (0..regions.len() as u32).collect(),
            regions,
            last: seeds("last")?,
            seam: seeds("seam")?,
            begun: state.need("begun")? == &Value::Bool(true),
        })
    }
}

/// Regions as a state keeps them.
pub(crate) fn save_regions(regions: &[Region]) -> Dict {
    let whole = |r: &Region| {
        [r.number as i64, i64::from(r.row), i64::from(r.column), r.voxels as i64, r.position, r.first]
    };
    let max: Vec<f32> = regions.iter().map(|r| r.max).collect();
    let rest: Vec<i64> = regions.iter().flat_map(whole).collect();
    Dict::new().with("max", Array::from_slice(&max)).with("rest", Array::from_slice(&rest))
}

/// Regions from a state.
pub(crate) fn load_regions(state: &Value) -> Result<Vec<Region>> {
    let Value::Dict(state) = state else {
        return Err(Error::internal("regions were saved as another value"));
    };
    let (max, rest) = (super::state::array(state, "max")?, super::state::array(state, "rest")?);
    let rows = max.as_slice::<f32>()?.iter().zip(rest.as_slice::<i64>()?.chunks_exact(6));
    let region = |(max, r): (&f32, &[i64])| Region {
        max: *max,
        number: r[0] as u64,
        row: r[1] as u32,
        column: r[2] as u32,
        voxels: r[3] as u64,
        position: r[4],
        first: r[5],
    };
    Ok(rows.map(region).collect())
}
