//! `hedm.split` and `hedm.merge`: voxels that must be tried again, and the better of two maps.

use isard_core::prelude::*;

use super::table::{fitted_of, fitted_table, voxels_table};
use crate::files::Fitted;
use crate::model::Voxel;

/// Gives the voxels of a map that are not explained well.
///
/// Voxels without an orientation are among them.
///
/// Gives one table; without such a voxel it is empty. Costs nothing worth a number.
///
/// Source: the multi-resolution driver of the MIDAS near-field programs, which leaves voxels without an orientation out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Voxels of a lower confidence are given.
    #[serde(default = "half")]
    #[schemars(range(min = 0, max = 1))]
    below: f64,
}

fn half() -> f64 {
    0.5
}

/// A map.
#[derive(Ports)]
pub struct MapIn {
    /// The voxels with their orientations.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    pub(crate) voxels: Table,
}

/// The output of [`Split`].
#[derive(Ports)]
pub struct SplitOut {
    /// The voxels to be tried again: centroid, edge, and whether the apex points to +y.
    #[port(columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8")]
    voxels: Table,
    /// How many there are.
    count: i64,
}

/// A map of three voxels, for examples.
pub(crate) fn three(confidences: [f64; 3]) -> Table {
    let all = [0.0, 5.0, 10.0].into_iter().zip(confidences).map(|(x, confidence)| Fitted {
        euler: [0.3, 0.7 + 1e-3 * x, 1.1],
        confidence,
        ..Fitted::unsolved(Voxel { x, y: 0.0, edge: 5.0, up: true })
    });
    fitted_table(&all.collect::<Vec<_>>()).expect("columns of equal length")
}

impl Stage for Split {
    type In = MapIn;
    type Out = SplitOut;

    fn example() -> Example {
        Example::new("below = 0.6").fixed("voxels", three([0.9, 0.0, 0.5]))
    }

    fn check(&self, faults: &mut Faults) {
        if !(0.0..=1.0).contains(&self.below) {
            faults.add("below", format!("found {}, wanted a share from 0 to 1", self.below));
        }
    }
}

impl Task for Split {
    fn run(&mut self, _: &Cx, input: MapIn) -> Result<SplitOut> {
        let voxels: Vec<Voxel> = fitted_of(&input.voxels)?
            .into_iter()
            .filter(|v| v.confidence < self.below || v.confidence == 0.0)
            .map(|v| v.voxel)
            .collect();
        Ok(SplitOut { count: voxels.len() as i64, voxels: voxels_table(&voxels)? })
    }
}
declare!(Task, "hedm.split", Kind::Tool, Split);

/// Puts the better of two orientations at every voxel.
///
/// A voxel of the second map takes the place of that of the first where its confidence is higher, never where it is lower.
///
/// Gives one table. Costs nothing worth a number.
///
/// Source: the multi-resolution driver of the MIDAS near-field programs, which lets worse replace better.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {}

/// The input of [`Merge`].
#[derive(Ports)]
pub struct MergeIn {
    /// The map of all voxels.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    voxels: Table,
    /// The map of those that were tried again.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    again: Option<Table>,
}

/// The output of [`Merge`].
#[derive(Ports)]
pub struct MergeOut {
    /// The voxels with the better orientations.
    #[port(
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    voxels: Table,
    /// How many voxels were replaced.
    replaced: i64,
    /// The mean confidence of voxels with an orientation.
    confidence: f64,
}

impl Stage for Merge {
    type In = MergeIn;
    type Out = MergeOut;

    fn example() -> Example {
        Example::new("").fixed("voxels", three([0.9, 0.0, 0.5])).fixed("again", three([0.8, 0.3, 0.5]))
    }
}

impl Task for Merge {
    fn run(&mut self, _: &Cx, input: MergeIn) -> Result<MergeOut> {
        let mut voxels = fitted_of(&input.voxels)?;
        let again = input.again.as_ref().map(fitted_of).transpose()?.unwrap_or_default();
        let key = |v: &Voxel| [v.x.to_bits(), v.y.to_bits(), u64::from(v.up)];
        let place: std::collections::HashMap<_, usize> =
            voxels.iter().enumerate().map(|(k, v)| (key(&v.voxel), k)).collect();
        let mut replaced = 0;
        for new in again {
            let at = place.get(&key(&new.voxel)).ok_or_else(|| {
                let v = new.voxel;
                Error::data(format!("the voxel at ({}, {}) of the second map is not in the first", v.x, v.y))
            })?;
            if new.confidence > voxels[*at].confidence {
                voxels[*at] = new;
                replaced += 1;
            }
        }
        let solved: Vec<f64> = voxels.iter().map(|v| v.confidence).filter(|c| *c > 0.0).collect();
        let confidence =
            if solved.is_empty() { 0.0 } else { solved.iter().sum::<f64>() / solved.len() as f64 };
        Ok(MergeOut { voxels: fitted_table(&voxels)?, replaced, confidence })
    }
}
declare!(Task, "hedm.merge", Kind::Tool, Merge);

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn worse_never_replaces_better_and_unsolved_voxels_are_tried_again() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "it");
        let first = three([0.9, 0.0, 0.5]);
        let out = Merge {}
            .run(&cx, MergeIn { voxels: first.clone(), again: Some(three([0.8, 0.3, 0.6])) })
            .unwrap();
        assert_eq!(out.voxels.numbers::<f64>("confidence").unwrap(), [0.9, 0.3, 0.6]);
        assert_eq!(out.replaced, 2);
        let split = Split { below: 0.5 }.run(&cx, MapIn { voxels: first }).unwrap();
        assert_eq!(split.voxels.numbers::<f64>("x").unwrap(), [5.0]);
    }
}
