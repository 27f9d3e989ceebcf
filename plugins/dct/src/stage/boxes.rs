//! Boxes on the detector as users write them.

use isard_core::prelude::*;

use crate::segment::Area;

/// A box: columns and rows, the ends not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Box {
    // First, because a list of two pairs would pass for the fields of the other.
    /// Two corners as (x, y), the upper one not in it.
    Corners([[usize; 2]; 2]),
    /// First column and column after the last, first row and row after the last.
    Named(Named),
}

/// A box by the names of its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// The first column and the column after the last.
    pub(crate) x: [usize; 2],
    /// The first row and the row after the last.
    pub(crate) y: [usize; 2],
}

impl Box {
    /// Its rows and columns.
    pub(crate) fn area(self) -> Area {
        match self {
            Box::Named(Named { x, y }) => Area { rows: y, columns: x },
            Box::Corners([[x0, y0], [x1, y1]]) => Area { rows: [y0, y1], columns: [x0, x1] },
        }
    }

    /// A fault unless there is something in it.
    pub(crate) fn check(self, parameter: &str, faults: &mut Faults) {
        let Area { rows, columns } = self.area();
        if rows[0] >= rows[1] || columns[0] >= columns[1] {
            faults.add_with_help(
                parameter,
                format!("found a box of rows {rows:?} and columns {columns:?}, which is empty"),
                "the second number is the row or column after the last",
            );
        }
    }

    /// An error unless it lies on the detector.
    pub(crate) fn within(self, parameter: &str, rows: usize, columns: usize) -> Result<()> {
        let area = self.area();
        if area.rows[1] <= rows && area.columns[1] <= columns {
            return Ok(());
        }
        let Area { rows: y, columns: x } = area;
        let text =
            format!("`{parameter}`: found a box of rows {y:?} and columns {x:?} on frames of {rows} x {columns}");
        Err(Error::recipe(text).help("boxes are given as (x, y): columns first"))
    }
}
