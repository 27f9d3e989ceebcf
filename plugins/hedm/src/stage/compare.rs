//! `hedm.compare`: how far a map is from the truth.

use std::collections::HashMap;

use isard_core::prelude::*;
use isard_orientation::Quat;

use super::experiment::{Experiment, example};
use super::merge::three;
use super::table::fitted_of;
use crate::files::{Fitted, read_text_mic};

/// Misorientations in degrees below which voxels are counted.
const BELOW: [f64; 5] = [0.05, 0.1, 0.25, 1.0, 5.0];

/// Compares a map with the true orientations, or with another map, voxel by voxel.
///
/// Every voxel of the truth is looked up in the map by its place; one that is not there, or has no orientation, is half a
/// turn away. Misorientations regard the crystal's symmetry.
///
/// Gives numbers and one table. About 2 us a voxel.
///
/// Source: the closed-loop test of the MIDAS near-field programs, which shrinks every angle by a factor of 57.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// A text mic with the truth, in place of the input `truth`.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    file: Option<String>,
    /// Voxels of the truth with a lower confidence do not count.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    above: f64,
    /// How far apart the two places of a voxel may be.
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0), extend("x-unit" = "um"))]
    within: f64,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
}

fn hundredth() -> f64 {
    0.01
}

/// The input of [`Compare`].
#[derive(Ports)]
pub struct CompareIn {
    /// The map.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    voxels: Table,
    /// The truth.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    truth: Option<Table>,
}

/// The output of [`Compare`].
#[derive(Ports)]
pub struct CompareOut {
    /// Each voxel of the truth with its misorientation.
    #[port(columns = "x: f64 um, y: f64 um, confidence: f64, angle: f64 degree")]
    voxels: Table,
    /// How many voxels the truth has.
    count: i64,
    /// The share of them that have an orientation.
    solved: f64,
    /// The mean confidence.
    confidence: f64,
    /// The misorientation that half of them do not exceed.
    #[port(unit = "degree")]
    median: f64,
    /// The misorientation that 95 % of them do not exceed.
    #[port(unit = "degree")]
    p95: f64,
    /// The shares below 0.05, 0.1, 0.25, 1 and 5 degrees.
    #[port(dtype = "f64", axes = "limit")]
    below: Array,
    /// How many are 5 degrees away or more.
    wrong: i64,
}

impl Stage for Compare {
    type In = CompareIn;
    type Out = CompareOut;

    fn example() -> Example {
        Example::new(example(""))
            .fixed("voxels", three([0.9, 0.0, 0.5]))
            .fixed("truth", three([1.0, 1.0, 1.0]))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        if !(self.within.is_finite() && self.within >= 0.0) {
            faults.add("within", format!("found {}, wanted 0 or more", self.within));
        }
        if !(0.0..=1.0).contains(&self.above) {
            faults.add("above", format!("found {}, wanted a share from 0 to 1", self.above));
        }
    }
}

impl Task for Compare {
    fn run(&mut self, _: &Cx, input: CompareIn) -> Result<CompareOut> {
        let mut truth = match (&self.file, &input.truth) {
            (Some(file), None) => {
                let path = std::path::Path::new(file);
                let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
                read_text_mic(&text).map_err(|e| e.at(file.clone()))?.1
            }
            (None, Some(table)) => fitted_of(table)?,
            (found, _) => {
                let found = if found.is_some() { "both" } else { "neither" };
                return Err(Error::recipe(format!(
                    "found {found} of `file` and the input `truth`, wanted one of them"
                )));
            }
        };
        truth.retain(|t| t.confidence >= self.above);
        if truth.is_empty() {
            return Err(Error::data(format!("no voxel of the truth has a confidence of {}", self.above)));
        }
        let (_, _, symmetry) = self.experiment.crystal()?;
        let map = Places::new(fitted_of(&input.voxels)?, self.within);
        let found: Vec<Option<&Fitted>> = truth.iter().map(|t| map.at(t.voxel.x, t.voxel.y)).collect();
        let angle = |(t, f): (&Fitted, &Option<&Fitted>)| match f {
            Some(f) => {
                let [a, b] = [f.euler, t.euler].map(Quat::from_euler);
                symmetry.misorientation(&a, &b).to_degrees()
            }
            None => 180.0,
        };
        let angles: Vec<f64> = truth.iter().zip(&found).map(angle).collect();
        let confidences: Vec<f64> = found.iter().map(|f| f.map_or(0.0, |f| f.confidence)).collect();
        let n = truth.len();
        let share = |limit: f64| angles.iter().filter(|a| **a < limit).count() as f64 / n as f64;
        let mut sorted = angles.clone();
        sorted.sort_by(f64::total_cmp);
        let column = |of: fn(&Fitted) -> f64| truth.iter().map(of).collect::<Vec<f64>>();
        Ok(CompareOut {
            voxels: Table::new(n)
                .with("x", &column(|t| t.voxel.x))?
                .with("y", &column(|t| t.voxel.y))?
                .with("confidence", &confidences)?
                .with("angle", &angles)?,
            count: n as i64,
            solved: found.iter().flatten().count() as f64 / n as f64,
            confidence: confidences.iter().sum::<f64>() / n as f64,
            median: sorted[n / 2],
            p95: sorted[n * 95 / 100],
            below: Array::from_slice(&BELOW.map(share)),
            wrong: angles.iter().filter(|a| **a >= 5.0).count() as i64,
        })
    }
}
declare!(Task, "hedm.compare", Kind::Tool, Compare);

/// The voxels of a map by their places; those without an orientation are left out.
struct Places {
    voxels: Vec<Fitted>,
    bins: HashMap<(i64, i64), Vec<u32>>,
    within: f64,
}

impl Places {
    fn new(mut voxels: Vec<Fitted>, within: f64) -> Places {
        voxels.retain(|v| v.confidence > 0.0);
        let mut bins: HashMap<(i64, i64), Vec<u32>> = HashMap::new();
        for (k, v) in voxels.iter().enumerate() {
            bins.entry(bin(v.voxel.x, v.voxel.y, within)).or_default().push(k as u32);
        }
        Places { voxels, bins, within }
    }

    /// The nearest voxel.
    fn at(&self, x: f64, y: f64) -> Option<&Fitted> {
        let (bx, by) = bin(x, y, self.within);
        let near = (0..9).filter_map(|k| self.bins.get(&(bx + k % 3 - 1, by + k / 3 - 1)));
        let away = |k: u32| (self.voxels[k as usize].voxel.x - x).hypot(self.voxels[k as usize].voxel.y - y);
        let all = near.flatten().map(|k| (away(*k), *k)).filter(|(d, _)| *d <= self.within);
        all.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, k)| &self.voxels[k as usize])
    }
}

fn bin(x: f64, y: f64, within: f64) -> (i64, i64) {
    let edge = within.max(1e-6);
    ((x / edge).floor() as i64, (y / edge).floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::super::experiment::small;
    use super::super::table::fitted_table;
    use super::*;
    use crate::model::Voxel;
    use isard_core::stage::RunCx;

    #[test]
    fn angles_are_those_by_which_voxels_were_turned() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "it");
        let voxel = |k: usize| Voxel { x: 2.0 * k as f64, y: -1.0, edge: 2.0, up: true };
        let q = Quat::from_euler([0.3, 0.7, 1.1]);
        let map = |turns: &[f64], shift: f64| {
            let all = turns.iter().enumerate().map(|(k, degrees)| {
                // A quarter of a turn about an axis of the crystal changes nothing.
                let equal = Quat::from_rotation_vector([0.0, 0.0, std::f64::consts::FRAC_PI_2]);
                let turn = Quat::from_rotation_vector([degrees.to_radians(), 0.0, 0.0]);
                let mut v = voxel(k);
                v.x += shift;
                let confidence = if *degrees < 0.0 { 0.0 } else { 0.5 };
                Fitted { euler: turn.times(&q).times(&equal).euler(), confidence, ..Fitted::unsolved(v) }
            });
            fitted_table(&all.collect::<Vec<_>>()).unwrap()
        };
        let truth = map(&[0.0; 5], 0.0);
        let mut stage = Compare { file: None, above: 0.0, within: 0.01, experiment: small() };
        // The fourth has no orientation, the fifth is not there.
        let input = CompareIn { voxels: map(&[0.02, 0.2, 3.0, -1.0], 0.004), truth: Some(truth) };
        let out = stage.run(&cx, input).unwrap();
        let angles = out.voxels.numbers::<f64>("angle").unwrap();
        let wanted = [0.02, 0.2, 3.0, 180.0, 180.0];
        assert!(angles.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{angles:?}");
        assert_eq!(out.below.as_slice::<f64>().unwrap(), [0.2, 0.2, 0.4, 0.4, 0.6]);
        assert_eq!((out.count, out.wrong, out.solved), (5, 2, 0.6));
        assert!((out.median - 3.0).abs() < 1e-6 && (out.confidence - 0.3).abs() < 1e-12);
    }
}
