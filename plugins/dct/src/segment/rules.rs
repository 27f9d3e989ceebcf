//! The rules of the double threshold.

use isard_core::prelude::*;

/// Which voxels touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Those that share a face.
    Faces,
    /// Those that share an edge or a face.
    Edges,
    /// Those that share a corner, an edge or a face.
    Corners,
}

impl Connectivity {
    /// The connectivity with 6, 18 or 26 neighbours.
    pub fn of(neighbours: u8) -> Option<Connectivity> {
        match neighbours {
            6 => Some(Connectivity::Faces),
            18 => Some(Connectivity::Edges),
            26 => Some(Connectivity::Corners),
            _ => None,
        }
    }

    /// How far runs of two rows may miss each other and still touch; none when these rows never touch.
    pub fn slack(self, frames: i64, rows: i64) -> Option<i64> {
        let steps = frames.abs() + rows.abs();
        let most = match self {
            Connectivity::Faces => 1,
            Connectivity::Edges => 2,
            Connectivity::Corners => 3,
        };
        match most - steps {
            left if left < 0 => None,
            0 => Some(0),
            _ => Some(1),
        }
    }
}

/// What happens where blobs meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Every region gives a blob, and blobs may share voxels.
    Keep,
    /// Brightest first; a region whose maximum lies in a blob gives none.
    #[default]
    Suppress,
    /// As suppress, and every voxel belongs to one blob at most.
    Exclusive,
}

/// Everything that decides which blobs there are.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Seeds are voxels above this.
    pub threshold: f64,
    /// A blob is what reaches this share of its maximum.
    pub tolerance: f64,
    /// The local threshold is not lower than this.
    pub low: Option<f64>,
    /// The local threshold is not higher than this.
    pub high: Option<f64>,
    /// The largest blob expected: frames, rows, columns.
    pub limit: [usize; 3],
    /// Which voxels touch.
    pub connectivity: Connectivity,
    /// What happens where blobs meet.
    pub overlap: Overlap,
    /// Regions of fewer voxels above the threshold are dropped.
    pub least: u64,
    /// The last frame is followed by the first.
    pub wrap: bool,
    /// Missing frames are passed over instead of breaking what they cut.
    pub bridge: bool,
    /// A region that ended is decided so many frames after its maximum, whatever may still come; none waits.
    pub delay: Option<usize>,
    /// Frames whose pixels below the floor are kept; none keeps those of all that blobs may need.
    pub dense: Option<usize>,
}

impl Rules {
    /// The threshold that a blob with this maximum is grown with.
    pub fn local(&self, max: f64) -> f32 {
        let share = self.tolerance * max;
        let below = self.high.map_or(share, |high| share.min(high));
        self.low.map_or(below, |low| below.max(low)) as f32
    }

    /// The threshold of seeds as it is compared.
    pub fn seed(&self) -> f32 {
        self.threshold as f32
    }

    /// The lowest value that can matter: the start of seeds or of the weakest blob.
    pub fn floor(&self) -> f32 {
        // No maximum is lower than this, and the local threshold does not fall when the maximum rises.
        let least = self.seed().next_up();
        self.local(f64::from(least)).min(least)
    }

    /// How far from its maximum a blob depends on others, in frames, rows and columns.
    pub(crate) fn reach(&self) -> [i64; 3] {
        let times = if self.overlap == Overlap::Exclusive { 2 } else { 1 };
        self.limit.map(|n| times * n as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_counts_what_is_shared() {
        let all = |c: Connectivity| [c.slack(0, 1), c.slack(-1, 0), c.slack(1, -1)];
        assert_eq!(all(Connectivity::Faces), [Some(0), Some(0), None]);
        assert_eq!(all(Connectivity::Edges), [Some(1), Some(1), Some(0)]);
        assert_eq!(all(Connectivity::Corners), [Some(1), Some(1), Some(1)]);
    }
}
