//! The parameters that place frames in a scan, which all sources of this family share.

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::Follow;

use crate::source::grid::{Grid, grid};

/// Where the frames of a file belong in a scan.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Placed {
    /// Lines and points of the scan; else what the file says of it.
    ///
    /// Where nothing says it, frames stand alone.
    #[serde(default)]
    pub scan: Option<[u64; 2]>,
    /// Frames before the first scan point; below 0, points before the first frame.
    #[serde(default)]
    pub offset: i64,
    /// Frames before the points of each line that belong to none.
    #[serde(default)]
    pub line_skip: u64,
    /// Frames after the points of each line that belong to none.
    #[serde(default)]
    pub flyback: u64,
}

impl Placed {
    /// Faults of these parameters, and of the path beside them.
    pub fn check(&self, path: &str, faults: &mut Faults) {
        if path.is_empty() {
            faults.add("path", "is empty, wanted a file");
        }
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
        if self.scan.is_some_and(|[rows, columns]| rows.checked_mul(columns).is_none_or(|n| n > 1 << 48)) {
            faults.add("scan", format!("has too many points, wanted at most {}", 1u64 << 48));
        }
        for (name, n) in [("line_skip", self.line_skip), ("flyback", self.flyback)] {
            if n > 1 << 32 {
                faults.add(name, format!("is {n}, wanted at most {}", 1u64 << 32));
            }
        }
        if self.offset.unsigned_abs() > 1 << 48 {
            faults.add("offset", format!("is {}, wanted at most {} either way", self.offset, 1u64 << 48));
        }
    }

    /// Faults of these parameters, of the path, and of how files that may still grow are followed.
    pub fn check_growing(&self, path: &str, follow: Option<&Follow>, faults: &mut Faults) {
        self.check(path, faults);
        if let Some(follow) = follow {
            follow.check(faults);
        }
    }

    /// The grid of these parameters, with what the file says of the scan; none where frames stand alone.
    pub fn grid(&self, said: Option<[u64; 2]>) -> Result<Option<Grid>> {
        grid(self.scan, said, [self.offset, self.line_skip as i64, self.flyback as i64])
    }
}
