//! `difspots.h5`: all spots and their summary in one file.

use isard_core::prelude::*;
use isard_h5::{Image, Spec};

use super::number::h5;
use super::spots::Row;

/// One spot of the summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    /// The provisional number.
    pub(super) draft: u64,
    /// The numbers of the row, as [`Row::names`] says.
    pub(super) numbers: Vec<f64>,
    /// A digest of the box and the mask: equal for the very same voxels.
    pub(super) voxels: u64,
    /// Where the number of the spot stands in its file.
    pub(super) number_at: u64,
    /// How long its file is.
    pub(super) bytes: u64,
}

impl Summary {
    /// A number by name.
    pub(super) fn get(&self, name: &str) -> f64 {
        Row::names().position(|(n, _)| n == name).map_or(f64::NAN, |k| self.numbers[k])
    }

    /// The place of the maximum: what the final numbers are given by.
    pub(super) fn place(&self) -> [i64; 3] {
        ["peak_frame", "peak_row", "peak_column"].map(|name| self.get(name) as i64)
    }
}

/// Writes the table `/summary`, one row a spot in the order of their numbers.
pub(super) fn write_summary(image: &mut Image, spots: &[Summary]) -> Result<()> {
    let numbers = spots.len() as u64;
    image.group("/summary").map_err(h5)?;
    let mut column = |name: &str, dtype: isard_h5::Dtype, bytes: &[u8]| {
        let slot = image.dataset(&format!("/summary/{name}"), &Spec::new(dtype, &[])).map_err(h5)?;
        image.append(slot, bytes, numbers).map_err(h5)
    };
    let ids: Vec<i64> = (0..spots.len() as i64).collect();
    column("difspotID", isard_h5::Dtype::I64, bytemuck::cast_slice(&ids))?;
    column("same_as", isard_h5::Dtype::I64, bytemuck::cast_slice(&twins(spots)))?;
    for (k, (name, whole)) in Row::names().enumerate() {
        let values: Vec<f64> = spots.iter().map(|s| s.numbers[k]).collect();
        match whole {
            false => column(name, isard_h5::Dtype::F64, bytemuck::cast_slice(&values))?,
            true => {
                let values: Vec<i64> = values.iter().map(|v| *v as i64).collect();
                column(name, isard_h5::Dtype::I64, bytemuck::cast_slice(&values))?;
            }
        }
    }
    image.attribute("/summary", "counts_from", "0, but for difspots, which count from 1").map_err(h5)
}

/// The number of the best-ranked spot with the very same voxels, or -1.
fn twins(spots: &[Summary]) -> Vec<i64> {
    let mut best: std::collections::HashMap<u64, usize> = Default::default();
    let rank = |k: usize| (std::cmp::Reverse(ordered(spots[k].get("peak"))), spots[k].place());
    for (k, spot) in spots.iter().enumerate() {
        let held = best.entry(spot.voxels).or_insert(k);
        if rank(k) < rank(*held) {
            *held = k;
        }
    }
    let twin = |(k, spot): (usize, &Summary)| match best[&spot.voxels] {
        other if other == k => -1,
        other => other as i64,
    };
    spots.iter().enumerate().map(twin).collect()
}

fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) & i64::MAX)
}
