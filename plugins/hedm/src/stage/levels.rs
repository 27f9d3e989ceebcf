//! `hedm.levels`: the maps of a coarse-to-fine run, kept together.

use isard_core::prelude::*;

use super::merge::three;
use super::table::{fitted_of, fitted_table};
use crate::files::{Fitted, Level, Trial};
use crate::fit::pitch;

/// Keeps the maps of a coarse-to-fine run together.
///
/// Each turn adds its maps to those `before`; a turn without any begins anew as turn 0. `hedm.mic` writes them into one
/// file. A map of no voxels is left out.
///
/// Gives one table that grows by the voxels of each turn. Costs nothing worth a number.
///
/// Source: the consolidated files of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Levels {}

/// The input of [`Levels`].
#[derive(Ports)]
pub struct LevelsIn {
    /// The maps of the turns before.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32, turn: u32, trial: u8, size: f64 um"
    )]
    before: Option<Table>,
    /// The map of this turn, seeded by the grains of the one before.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    seeded: Option<Table>,
    /// The map of this turn that owes nothing to the one before.
    ///
    /// Of all voxels, or of those that were tried again.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    unseeded: Option<Table>,
    /// The better of the two.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    merged: Option<Table>,
}

/// The output of [`Levels`].
#[derive(Ports)]
pub struct LevelsOut {
    /// All voxels of all maps.
    ///
    /// With the turn, how it was made (0 seeded, 1 unseeded, 2 merged), and the edge of the grid's triangles.
    #[port(
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32, turn: u32, trial: u8, size: f64 um"
    )]
    voxels: Table,
    /// How many maps there are.
    count: i64,
}

impl Stage for Levels {
    type In = LevelsIn;
    type Out = LevelsOut;

    fn example() -> Example {
        let first = Level { turn: 0, trial: Trial::Unseeded, size: 10.0, voxels: vec![] };
        let voxels = fitted_of(&three([0.9, 0.0, 0.5])).expect("columns of a map");
        let before = levels_table(&[Level { voxels, ..first }]).expect("columns of equal length");
        Example::new("")
            .fixed("before", before)
            .fixed("seeded", three([0.8, 0.3, 0.5]))
            .fixed("merged", three([0.9, 0.3, 0.5]))
    }
}

impl Task for Levels {
    fn run(&mut self, _: &Cx, input: LevelsIn) -> Result<LevelsOut> {
        let mut levels = input.before.as_ref().map(levels_of).transpose()?.unwrap_or_default();
        let turn = levels.iter().map(|l| l.turn + 1).max().unwrap_or(0);
        let mut new = vec![];
        for (trial, table) in Trial::ALL.into_iter().zip([&input.seeded, &input.unseeded, &input.merged]) {
            if let Some(voxels) = table.as_ref().map(fitted_of).transpose()?.filter(|v| !v.is_empty()) {
                new.push(Level { turn, trial, size: 0.0, voxels });
            }
        }
        // Of voxels that were tried again few are neighbours: the largest map says how they lie.
        let largest = new.iter().max_by_key(|l| l.voxels.len());
        let size = largest.map_or(0.0, |l| {
            let voxels: Vec<_> = l.voxels.iter().map(|v| v.voxel).collect();
            // Centroids of neighbouring triangles are an edge over the root of three apart.
            pitch(&voxels).map_or(voxels[0].edge, |pitch| pitch * 3f64.sqrt())
        });
        new.iter_mut().for_each(|l| l.size = size);
        levels.extend(new);
        Ok(LevelsOut { voxels: levels_table(&levels)?, count: levels.len() as i64 })
    }
}
declare!(Task, "hedm.levels", Kind::Tool, Levels);

fn levels_table(levels: &[Level]) -> Result<Table> {
    let voxels: Vec<Fitted> = levels.iter().flat_map(|l| l.voxels.clone()).collect();
    let each = || levels.iter().flat_map(|l| l.voxels.iter().map(move |_| l));
    fitted_table(&voxels)?
        .with("turn", &each().map(|l| l.turn).collect::<Vec<u32>>())?
        .with("trial", &each().map(|l| l.trial as u8).collect::<Vec<u8>>())?
        .with("size", &each().map(|l| l.size).collect::<Vec<f64>>())
}

/// The maps of a table.
pub(super) fn levels_of(table: &Table) -> Result<Vec<Level>> {
    let voxels = fitted_of(table)?;
    let (turn, trial) = (table.numbers::<u32>("turn")?, table.numbers::<u8>("trial")?);
    let size = table.numbers::<f64>("size")?;
    let mut out: Vec<Level> = vec![];
    for (k, voxel) in voxels.into_iter().enumerate() {
        let made = Trial::ALL.get(usize::from(trial[k])).copied();
        let made = made.ok_or_else(|| {
            Error::data(format!(
                "row {k}: found the trial {}, wanted 0 to {}",
                trial[k],
                Trial::ALL.len() - 1
            ))
        })?;
        match out.last_mut() {
            Some(level) if level.turn == turn[k] && level.trial == made => level.voxels.push(voxel),
            _ => out.push(Level { turn: turn[k], trial: made, size: size[k], voxels: vec![voxel] }),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Grid, Layout};
    use isard_core::stage::RunCx;

    fn turn(before: Option<Table>, maps: [Option<Table>; 3]) -> LevelsOut {
        let run = RunCx::default();
        let [seeded, unseeded, merged] = maps;
        Levels {}.run(&Cx::new(&run, "levels"), LevelsIn { before, seeded, unseeded, merged }).unwrap()
    }

    #[test]
    fn turns_follow_each_other_and_know_their_grids() {
        let grid = |size: f64, layout| {
            let voxels = Grid { radius: 40.0, size, edge: 3.0, layout }.voxels();
            let fitted = |v| Fitted { confidence: 0.5, ..Fitted::unsolved(v) };
            fitted_table(&voxels.into_iter().map(fitted).collect::<Vec<_>>()).unwrap()
        };
        let nothing = fitted_table(&[]).unwrap();
        let first = turn(None, [None, Some(grid(10.0, Layout::Midas)), None]);
        let fine = grid(5.0, Layout::Tiling);
        let second = turn(Some(first.voxels), [Some(fine.clone()), Some(nothing), Some(fine.clone())]);
        let third = turn(Some(second.voxels), [Some(fine.clone()), Some(three([0.1; 3])), Some(fine)]);
        assert_eq!((first.count, second.count, third.count), (1, 3, 6));
        let levels = levels_of(&third.voxels).unwrap();
        let labels: Vec<String> = levels.iter().map(Level::label).collect();
        let wanted = [
            "loop_0_unseeded",
            "loop_1_seeded",
            "loop_1_merged",
            "loop_2_seeded",
            "loop_2_unseeded",
            "loop_2_merged",
        ];
        assert_eq!(labels, wanted);
        for (level, size) in levels.iter().zip([10.0, 5.0, 5.0, 5.0, 5.0, 5.0]) {
            assert!((level.size - size).abs() < 1e-9, "{}: {}", level.label(), level.size);
        }
        assert_eq!(levels[4].voxels.len(), 3);
    }
}
