//! `hedm.grains`: voxels of like orientation.

use isard_core::prelude::*;

use super::experiment::{Experiment, example};
use super::merge::{MapIn, three};
use super::table::{fitted_of, quaternions};
use crate::map::{GrainSearch, find_grains, write_grains};

/// Puts voxels of like orientation together as grains.
///
/// The best voxel that belongs to no grain begins one; all within `angle` of it join, with `connected` only those that
/// hang together. `seeds` are the orientations of the grains, to begin the next map with; `mean` takes the mean over
/// the grain instead of its best voxel.
///
/// Gives one table, one array and one text. Some microseconds a voxel and grain.
///
/// Source: the clustering of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grains {
    /// The largest misorientation to the first voxel of a grain.
    #[serde(default = "one")]
    #[schemars(range(min = 0), extend("x-unit" = "degree"))]
    angle: f64,
    /// Voxels of a lower confidence belong to no grain.
    #[serde(default = "high")]
    #[schemars(range(min = 0, max = 1))]
    confidence: f64,
    /// Whether a grain must hang together.
    #[serde(default)]
    connected: bool,
    /// The edge of the cell that a voxel stands for; without it that of the voxel.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    size: Option<f64>,
    /// Grains of fewer voxels are left out.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    min_voxels: usize,
    /// Whether seeds are means over grains.
    #[serde(default)]
    mean: bool,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
}

fn one() -> f64 {
    1.0
}
fn high() -> f64 {
    0.6
}
fn first() -> usize {
    1
}

/// The output of [`Grains`].
#[derive(Ports)]
pub struct GrainsOut {
    /// The grains with their best voxels.
    ///
    /// How many voxels they have, the radius of a circle of that area, and the orientation.
    #[port(
        columns = "grain: u32, x: f64 um, y: f64 um, voxels: u32, radius: f64 um, confidence: f64, phi1: f64 radian, phi: f64 radian, phi2: f64 radian"
    )]
    grains: Table,
    /// The orientations as quaternions w x y z, crystal to sample.
    #[port(dtype = "f64", axes = "seed component", fixed)]
    seeds: Array,
    /// The list as the text of `Grains.csv`.
    text: String,
    /// How many grains there are.
    count: i64,
}

impl Stage for Grains {
    type In = MapIn;
    type Out = GrainsOut;

    fn example() -> Example {
        Example::new(example("connected = true\n")).fixed("voxels", three([0.9, 0.0, 0.7]))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        if !(self.angle.is_finite() && self.angle > 0.0) {
            faults.add("angle", format!("found {}, wanted more than 0", self.angle));
        }
        if !(0.0..=1.0).contains(&self.confidence) {
            faults.add("confidence", format!("found {}, wanted a share from 0 to 1", self.confidence));
        }
    }
}

impl Task for Grains {
    fn run(&mut self, _: &Cx, input: MapIn) -> Result<GrainsOut> {
        let voxels = fitted_of(&input.voxels)?;
        let (cell, group, symmetry) = self.experiment.crystal()?;
        let edge = self.size.or(voxels.first().map(|v| v.voxel.edge)).unwrap_or(1.0);
        let search =
            GrainSearch { angle: self.angle, confidence: self.confidence, connected: self.connected, edge };
        let mut grains = find_grains(&voxels, &symmetry, &search);
        grains.retain(|g| g.members.len() >= self.min_voxels);
        if self.mean {
            for g in &mut grains {
                let all: Vec<_> =
                    g.members.iter().map(|k| isard_orientation::Quat::from_euler(voxels[*k].euler)).collect();
                g.orientation = symmetry.mean(&all).unwrap_or(g.orientation);
            }
        }
        let text = write_grains(&grains, &voxels, &cell, group.number(), &search, edge, "isard");
        let column = |of: &dyn Fn(&crate::map::Grain) -> f64| grains.iter().map(of).collect::<Vec<f64>>();
        let area = 0.25 * 3f64.sqrt() * edge * edge;
        let table = Table::new(grains.len())
            .with("grain", &(1..=grains.len() as u32).collect::<Vec<u32>>())?
            .with("x", &column(&|g| voxels[g.voxel].voxel.x))?
            .with("y", &column(&|g| voxels[g.voxel].voxel.y))?
            .with("voxels", &grains.iter().map(|g| g.members.len() as u32).collect::<Vec<u32>>())?
            .with("radius", &column(&|g| (g.members.len() as f64 * area / std::f64::consts::PI).sqrt()))?
            .with("confidence", &column(&|g| voxels[g.voxel].confidence))?
            .with("phi1", &column(&|g| g.orientation.euler()[0]))?
            .with("phi", &column(&|g| g.orientation.euler()[1]))?
            .with("phi2", &column(&|g| g.orientation.euler()[2]))?;
        let seeds: Vec<_> = grains.iter().map(|g| g.orientation).collect();
        Ok(GrainsOut { grains: table, seeds: quaternions(&seeds)?, text, count: seeds.len() as i64 })
    }
}
declare!(Task, "hedm.grains", Kind::Tool, Grains);
