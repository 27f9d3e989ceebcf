//! Spots as a table: one row each, with their voxels.

use isard_core::prelude::*;

use crate::segment::Blob;

/// Touches the edge of the detector or an end of the scan.
pub(super) const EDGE: u32 = 1;
/// Larger than the largest blob expected.
pub(super) const OVERSIZE: u32 = 2;
/// Goes on from the last frame to the first.
pub(super) const WRAPS: u32 = 4;
/// Values outside the mask are not kept.
pub(super) const MASKED: u32 = 8;

/// Decided before all that could change it had come.
pub(super) const PROVISIONAL: u32 = 16;
/// Longer than half the window of the background, which took a part of it.
pub(super) const LONG: u32 = 32;

/// A column and what it holds.
type Of<T> = (&'static str, fn(&Blob) -> T);

/// The columns of whole numbers.
const WHOLE: [Of<i64>; 16] = [
    ("first_frame", |b| b.first_frame as i64),
    ("last_frame", |b| b.last_frame as i64),
    ("frames", |b| b.size[0] as i64),
    ("row", |b| b.origin[1]),
    ("rows", |b| b.size[1] as i64),
    ("column", |b| b.origin[2]),
    ("columns", |b| b.size[2] as i64),
    ("voxels", |b| b.voxels as i64),
    ("area", |b| b.area as i64),
    ("peak_frame", |b| b.seed.number as i64),
    ("peak_slice", |b| -b.origin[0]),
    ("peak_row", |b| i64::from(b.seed.row)),
    ("peak_column", |b| i64::from(b.seed.column)),
    ("seed_voxels", |b| b.seed.voxels as i64),
    // -1 where it is not known.
    ("saturated_voxels", |b| b.saturated.map_or(-1, |n| n as i64)),
    ("flags", |b| i64::from(flags(b))),
];

/// The columns of numbers.
const REAL: [Of<f64>; 7] = [
    ("integral", |b| b.integral),
    ("centroid_frame", |b| b.centroid[0]),
    ("centroid_row", |b| b.centroid[1]),
    ("centroid_column", |b| b.centroid[2]),
    ("omega", |b| b.omega),
    ("peak", |b| f64::from(b.seed.max)),
    ("threshold", |b| f64::from(b.threshold)),
];

fn flags(blob: &Blob) -> u32 {
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    flag(blob.edge, EDGE)
        | flag(blob.oversize, OVERSIZE)
        | flag(blob.wraps, WRAPS)
        | flag(!blob.whole, MASKED)
        | flag(blob.provisional, PROVISIONAL)
        | flag(blob.long, LONG)
}

/// The table of some blobs, one record each.
pub(super) fn table(blobs: &[Blob]) -> Result<Table> {
    let records: Vec<u64> = (0..blobs.len() as u64).collect();
    let mut table = Table::new(blobs.len());
    for (name, of) in WHOLE {
        table = table.with(name, &blobs.iter().map(of).collect::<Vec<i64>>())?;
    }
    for (name, of) in REAL {
        table = table.with(name, &blobs.iter().map(of).collect::<Vec<f64>>())?;
    }
    let ends: Vec<u64> = blobs
        .iter()
        .scan(0, |end, b| {
            *end += b.data.len() as u64;
            Some(*end)
        })
        .collect();
    let ragged = |values| Column::Ragged { ends: ends.clone().into(), values };
    let data: Vec<f32> = blobs.iter().flat_map(|b| &b.data).copied().collect();
    let mask: Vec<u8> = blobs.iter().flat_map(|b| &b.mask).copied().collect();
    table
        .with_column("data", ragged(Array::from_slice(&data)))?
        .with_column("mask", ragged(Array::from_slice(&mask)))?
        .with_records(&records)
}

/// One row of a table of spots.
pub(super) struct Row<'a> {
    table: &'a Table,
    row: usize,
}

impl<'a> Row<'a> {
    /// The rows of a table.
    pub(super) fn all(table: &'a Table) -> impl Iterator<Item = Row<'a>> {
        (0..table.rows()).map(move |row| Row { table, row })
    }

    /// A whole number.
    pub(super) fn whole(&self, name: &str) -> Result<i64> {
        Ok(self.table.numbers::<i64>(name)?[self.row])
    }

    /// A number.
    pub(super) fn real(&self, name: &str) -> Result<f64> {
        Ok(self.table.numbers::<f64>(name)?[self.row])
    }

    /// The size of the box in frames, rows and columns.
    pub(super) fn size(&self) -> Result<[usize; 3]> {
        Ok([self.whole("frames")?, self.whole("rows")?, self.whole("columns")?].map(|n| n as usize))
    }

    /// The voxels of a ragged column.
    pub(super) fn voxels<T: Element>(&self, name: &str) -> Result<&'a [T]> {
        match self.table.column(name)? {
            Column::Ragged { ends, values } => {
                let from = if self.row == 0 { 0 } else { ends[self.row - 1] };
                Ok(&values.as_slice::<T>()?[from as usize..ends[self.row] as usize])
            }
            _ => Err(Error::data(format!("column `{name}` of the spots is not ragged"))),
        }
    }

    /// The numbers of all columns but the voxels, in a fixed order.
    pub(super) fn numbers(&self) -> Result<Vec<f64>> {
        let whole = WHOLE.iter().map(|(name, _)| Ok(self.whole(name)? as f64));
        whole.chain(REAL.iter().map(|(name, _)| self.real(name))).collect()
    }

    /// The names of [`Row::numbers`], and whether each is a whole number.
    pub(super) fn names() -> impl Iterator<Item = (&'static str, bool)> {
        WHOLE.iter().map(|(n, _)| (*n, true)).chain(REAL.iter().map(|(n, _)| (*n, false)))
    }
}
