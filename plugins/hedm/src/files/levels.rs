//! The maps of a coarse-to-fine run, by the names of the MIDAS multi-resolution driver.

use crate::files::Fitted;

/// How the map of a turn was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// From the grains of the turn before.
    Seeded,
    /// From orientations that owe nothing to it.
    Unseeded,
    /// The better of the two, voxel by voxel.
    Merged,
}

impl Trial {
    /// All, in the order in which a turn makes them.
    pub const ALL: [Trial; 3] = [Trial::Seeded, Trial::Unseeded, Trial::Merged];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Trial::Seeded => "seeded",
            Trial::Unseeded => "unseeded",
            Trial::Merged => "merged",
        }
    }
}

/// One map of a coarse-to-fine run.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The turn, 0 for the coarse map that all begins with.
    pub turn: u32,
    /// How it was made.
    pub trial: Trial,
    /// The edge of the grid's triangles in micrometres.
    pub size: f64,
    /// The voxels with their orientations.
    pub voxels: Vec<Fitted>,
}

impl Level {
    /// Its name in the consolidated file.
    pub fn label(&self) -> String {
        format!("loop_{}_{}", self.turn, self.trial.name())
    }
}

/// The stages of the driver that a run with these maps has behind it.
///
/// A turn in which nothing was left to be tried again is whole all the same.
pub(super) fn completed(levels: &[Level]) -> Vec<String> {
    let last = levels.iter().map(|l| l.turn).max();
    let mut out = vec![];
    for turn in last.map_or(0..0, |last| 0..last + 1) {
        let has = |trial: Trial| levels.iter().any(|l| l.turn == turn && l.trial == trial);
        match turn {
            0 => out.push("loop_0_initial".to_owned()),
            _ if has(Trial::Merged) => {
                out.extend(["seeded", "unseeded", "merge"].map(|s| format!("loop_{turn}_{s}")));
            }
            _ if has(Trial::Unseeded) => {
                out.extend(["seeded", "unseeded"].map(|s| format!("loop_{turn}_{s}")));
            }
            _ => out.push(format!("loop_{turn}_seeded")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_driver() {
        let level = |turn, trial| Level { turn, trial, size: 10.0, voxels: vec![] };
        let mut all = vec![level(0, Trial::Unseeded)];
        assert_eq!(all[0].label(), "loop_0_unseeded");
        assert_eq!(completed(&all), ["loop_0_initial"]);
        all.extend([level(1, Trial::Seeded), level(1, Trial::Merged), level(2, Trial::Seeded)]);
        assert_eq!(all[2].label(), "loop_1_merged");
        // The list of stages that the driver goes through, from its description; the first turn had nothing to retry.
        let wanted = ["loop_0_initial", "loop_1_seeded", "loop_1_unseeded", "loop_1_merge", "loop_2_seeded"];
        assert_eq!(completed(&all), wanted);
        assert!(completed(&[]).is_empty());
    }
}
