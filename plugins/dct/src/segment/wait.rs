//! Regions that ended, and what is known of their spots until they are decided.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use isard_core::prelude::*;

use super::grow::Blob;
use super::label::{Region, load_regions, save_regions};
use super::plane::Area;
use super::rules::{Overlap, Rules};
use super::state::array;

/// A region that ended and is not decided.
///
/// What it grows to is found as soon as the frames that have come hold all of it: then a few numbers and its own voxels
/// wait for the decision, and not the frames around it.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) region: Region,
    pub(crate) spot: Spot,
}

/// What is known of a spot.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    /// Frames that have not come may add to it: the newest frame of the next try, and how far the one after is.
    Open { at: i64, step: i64 },
    /// All of it has come.
    Known {
        /// Where it lies at most.
        bounds: Bounds,
        /// What it is unless another takes a part of it; none where its maximum does not reach its own threshold.
        blob: Option<Box<Blob>>,
    },
}

/// Where voxels lie: the first place in the stream, row and column, and how many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) first: [i64; 3],
    pub(crate) size: [i64; 3],
}

impl Bounds {
    /// The voxel of a maximum.
    pub(crate) fn seed(region: &Region) -> Bounds {
        Bounds { first: [region.position, region.row.into(), region.column.into()], size: [1; 3] }
    }

    fn meets(&self, other: &Bounds) -> bool {
        (0..3).all(|k| {
            self.first[k] < other.first[k] + other.size[k] && other.first[k] < self.first[k] + self.size[k]
        })
    }
}

impl Waiting {
    pub(crate) fn new(region: Region) -> Waiting {
        Waiting { region, spot: Spot::Open { at: i64::MIN, step: 1 } }
    }

    /// Whether it should be grown when so many frames have come.
    pub(crate) fn is_due(&self, newest: i64) -> bool {
        matches!(self.spot, Spot::Open { at, .. } if at <= newest)
    }

    /// The frames and the area of them that it still needs.
    pub(crate) fn needs(&self, rules: &Rules, detector: [usize; 2]) -> (RangeInclusive<i64>, Area) {
        let Spot::Known { bounds, .. } = &self.spot else { return around(&self.region, rules, detector) };
        // What takes a part of it is not known yet; otherwise only whether its maximum is taken.
        let bounds = match rules.overlap {
            Overlap::Exclusive => *bounds,
            Overlap::Keep | Overlap::Suppress => Bounds::seed(&self.region),
        };
        let [frames, rows, columns] = [0, 1, 2].map(|k| [bounds.first[k], bounds.first[k] + bounds.size[k]]);
        let area = Area { rows: rows.map(|n| n as usize), columns: columns.map(|n| n as usize) };
        (frames[0]..=frames[1] - 1, area)
    }
}

/// The box that a region may grow in: its frames, and the area of them.
pub(crate) fn around(region: &Region, rules: &Rules, detector: [usize; 2]) -> (RangeInclusive<i64>, Area) {
    let [frames, rows, columns] = rules.limit;
    let (row, column) = (region.row as usize, region.column as usize);
    let area = Area {
        rows: [row.saturating_sub(rows), (row + rows + 1).min(detector[0])],
        columns: [column.saturating_sub(columns), (column + columns + 1).min(detector[1])],
    };
    (region.position - frames as i64..=region.position + frames as i64, area)
}

/// Undecided regions by where they are on the detector, to find those that another must wait for.
pub(crate) struct Near {
    reach: [i64; 3],
    overlap: Overlap,
    cells: HashMap<(i64, i64), Cell>,
}

/// The regions of a part of the detector, and where they lie at most when that is known.
type Cell = Vec<(Region, Option<Bounds>)>;

impl Near {
    pub(crate) fn new(rules: &Rules) -> Near {
        Near { reach: rules.reach(), overlap: rules.overlap, cells: HashMap::new() }
    }

    fn cell(&self, region: &Region) -> (i64, i64) {
        (i64::from(region.row) / (self.reach[1] + 1), i64::from(region.column) / (self.reach[2] + 1))
    }

    /// Adds a region of which nothing is known but where its maximum is.
    pub(crate) fn add(&mut self, region: &Region) {
        self.cells.entry(self.cell(region)).or_default().push((*region, None));
    }

    /// Adds a region that waits.
    pub(crate) fn add_waiting(&mut self, waiting: &Waiting) {
        let bounds = match &waiting.spot {
            Spot::Open { .. } => None,
            Spot::Known { bounds, .. } => Some(*bounds),
        };
        self.cells.entry(self.cell(&waiting.region)).or_default().push((waiting.region, bounds));
    }

    /// Whether a region of a better rank may take a part of a spot, or the spot its maximum.
    ///
    /// Then the better one is decided first. Who owns a voxel of a region is then always better than the region.
    pub(crate) fn any_better(&self, waiting: &Waiting) -> bool {
        let region = &waiting.region;
        let own = match &waiting.spot {
            Spot::Open { .. } => None,
            Spot::Known { bounds, .. } => Some(bounds),
        };
        let close = |other: &Region| {
            (other.position - region.position).abs() <= self.reach[0]
                && (i64::from(other.row) - i64::from(region.row)).abs() <= self.reach[1]
                && (i64::from(other.column) - i64::from(region.column)).abs() <= self.reach[2]
        };
        let touch = |other: &Region, bounds: &Option<Bounds>| match (own, bounds) {
            (Some(own), Some(bounds)) if self.overlap == Overlap::Exclusive => own.meets(bounds),
            (Some(own), Some(bounds)) => {
                own.meets(&Bounds::seed(other)) || bounds.meets(&Bounds::seed(region))
            }
            _ => close(other),
        };
        let (row, column) = self.cell(region);
        (row - 1..=row + 1)
            .flat_map(|r| (column - 1..=column + 1).filter_map(move |c| self.cells.get(&(r, c))))
            .any(|cell| cell.iter().any(|(other, bounds)| other.rank(region).is_lt() && touch(other, bounds)))
    }
}

/// Waiting regions as a state keeps them.
pub(crate) fn save_waiting(all: &[Waiting]) -> Dict {
    let regions: Vec<Region> = all.iter().map(|w| w.region).collect();
    let spots: Vec<Value> = all.iter().map(|w| Value::Dict(save_spot(&w.spot))).collect();
    Dict::new().with("regions", save_regions(&regions)).with("spots", spots)
}

fn save_spot(spot: &Spot) -> Dict {
    match spot {
        Spot::Open { at, step } => Dict::new().with("open", Array::from_slice(&[*at, *step])),
        Spot::Known { bounds, blob } => {
            let state = Dict::new().with("bounds", Array::from_slice(&[bounds.first, bounds.size].concat()));
            match blob {
                None => state,
                Some(blob) => state.with("blob", save_blob(blob)),
            }
        }
    }
}

/// Waiting regions from a state.
pub(crate) fn load_waiting(state: &Value) -> Result<Vec<Waiting>> {
    let odd = || Error::internal("regions that wait were saved as another value");
    let Value::Dict(state) = state else { return Err(odd()) };
    let (regions, Value::List(spots)) = (load_regions(state.need("regions")?)?, state.need("spots")?) else {
        return Err(odd());
    };
    let pairs = regions.into_iter().zip(spots.iter());
    let each = pairs.map(|(region, spot)| {
        let Value::Dict(spot) = spot else { return Err(odd()) };
        Ok(Waiting { region, spot: load_spot(&region, spot)? })
    });
    each.collect()
}

fn load_spot(region: &Region, state: &Dict) -> Result<Spot> {
    if state.get("open").is_some()
        && let [at, step] = *array(state, "open")?.as_slice::<i64>()?
    {
        return Ok(Spot::Open { at, step });
    }
    let &[a, b, c, d, e, f] = array(state, "bounds")?.as_slice::<i64>()? else {
        return Err(Error::internal("the bounds of a spot were saved as other values"));
    };
    let blob = match state.get("blob") {
        Some(Value::Dict(blob)) => Some(Box::new(load_blob(region, blob)?)),
        _ => None,
    };
    Ok(Spot::Known { bounds: Bounds { first: [a, b, c], size: [d, e, f] }, blob })
}

fn save_blob(blob: &Blob) -> Dict {
    let flags = [blob.edge, blob.oversize, blob.wraps, blob.whole, blob.provisional, blob.long];
    let numbers = [blob.first_frame, blob.last_frame, blob.voxels, blob.area].map(|n| n as i64);
    let saturated = blob.saturated.map_or(-1, |n| n as i64);
    let size = blob.size.map(|n| n as i64);
    let [a, b, c] = blob.centroid;
    Dict::new()
        .with("numbers", Array::from_slice(&[&numbers[..], &[saturated], &blob.origin, &size].concat()))
        .with("sums", Array::from_slice(&[blob.integral, a, b, c, blob.omega]))
        .with("threshold", Array::from_slice(&[blob.threshold]))
        .with("flags", Array::from_slice(&flags.map(u8::from)))
        .with("data", Array::from_slice(&blob.data))
        .with("mask", Array::from_slice(&blob.mask))
}

fn load_blob(region: &Region, state: &Dict) -> Result<Blob> {
    let odd = || Error::internal("a spot that waits was saved as other values");
    let &[first, last, voxels, area, saturated, a, b, c, frames, rows, columns] =
        array(state, "numbers")?.as_slice::<i64>()?
    else {
        return Err(odd());
    };
    let &[integral, x, y, z, omega] = array(state, "sums")?.as_slice::<f64>()? else { return Err(odd()) };
    let &[threshold] = array(state, "threshold")?.as_slice::<f32>()? else { return Err(odd()) };
    let &[edge, oversize, wraps, all, provisional, long] = array(state, "flags")?.as_slice::<u8>()? else {
        return Err(odd());
    };
    Ok(Blob {
        seed: *region,
        threshold,
        first_frame: first as u64,
        last_frame: last as u64,
        origin: [a, b, c],
        size: [frames, rows, columns].map(|n| n as usize),
        voxels: voxels as u64,
        area: area as u64,
        saturated: u64::try_from(saturated).ok(),
        integral,
        centroid: [x, y, z],
        omega,
        edge: edge != 0,
        oversize: oversize != 0,
        wraps: wraps != 0,
        whole: all != 0,
        provisional: provisional != 0,
        long: long != 0,
        data: array(state, "data")?.as_slice::<f32>()?.to_vec(),
        mask: array(state, "mask")?.as_slice::<u8>()?.to_vec(),
    })
}
