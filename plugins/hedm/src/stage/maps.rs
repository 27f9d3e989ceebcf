//! `hedm.maps`: a map in pixels of a micrometre, with local misorientation and grains.

use isard_core::prelude::*;

use super::experiment::{Compat, Experiment, example};
use super::merge::{MapIn, three};
use super::table::fitted_of;
use crate::map::Pixels;

/// Turns voxels into pixels of a micrometre, with misorientations and grains.
///
/// A pixel takes the nearest voxel with an orientation, not further away along x or y than the voxel's edge and 5
/// micrometres. `kam` is the mean misorientation to the pixels around (kernel average), `grain` numbers the grains
/// that hang together with steps of at most `angle` between pixels, `grod` is the misorientation to the grain's most
/// confident pixel (grain reference orientation deviation). Symmetry is that of the experiment's space group.
///
/// Gives one record of each map. Some microseconds a pixel.
///
/// Source: the map files of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Maps {
    /// The largest misorientation of two neighbours of one grain.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 180), extend("x-unit" = "degree"))]
    angle: f64,
    /// Voxels of a lower confidence are left out.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    above: f64,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
}

pub(crate) fn five() -> f64 {
    5.0
}

/// The output of [`Maps`].
#[derive(Ports)]
pub struct MapsOut {
    /// What was found for the nearest voxel; -15 where there is none.
    ///
    /// Confidence, the three Euler angles in radians, seed, phase and distance to the voxel.
    #[port(dtype = "f64", axes = "plane y x", fixed)]
    orientation: Array,
    /// Mean misorientation to the eight pixels around; 0 where there is no voxel.
    #[port(dtype = "f64", axes = "y x", fixed, unit = "radian")]
    kam: Array,
    /// The grain of each pixel, from 1; 0 where there is no voxel.
    #[port(dtype = "u32", axes = "y x", fixed)]
    grain: Array,
    /// Misorientation to the most confident pixel of the grain.
    ///
    /// It is 0 where there is no voxel.
    #[port(dtype = "f64", axes = "y x", fixed, unit = "radian")]
    grod: Array,
    /// Where the pixels of a column lie.
    #[port(dtype = "f64", axes = "x", fixed, unit = "um")]
    x: Array,
    /// Where the pixels of a row lie.
    #[port(dtype = "f64", axes = "y", fixed, unit = "um")]
    y: Array,
    /// How many grains there are.
    grains: i64,
}

impl Stage for Maps {
    type In = MapIn;
    type Out = MapsOut;

    fn example() -> Example {
        Example::new(example("above = 0.1\n")).fixed("voxels", three([0.9, 0.0, 0.7]))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        if !(0.0..=180.0).contains(&self.angle) {
            faults.add("angle", format!("found {}, wanted 0 to 180 degrees", self.angle));
        }
        if !(0.0..=1.0).contains(&self.above) {
            faults.add("above", format!("found {}, wanted a share from 0 to 1", self.above));
        }
    }
}

impl Task for Maps {
    fn run(&mut self, _: &Cx, input: MapIn) -> Result<MapsOut> {
        let mut voxels = fitted_of(&input.voxels)?;
        voxels.retain(|v| v.confidence >= self.above);
        let (_, _, symmetry) = self.experiment.crystal()?;
        let pixels = Pixels::new(&voxels, self.experiment.compat == Compat::Midas);
        let texture = pixels.texture(&voxels, &symmetry, self.angle.to_radians());
        let [rows, columns] = pixels.shape;
        let places = |n: usize, first: f64| (0..n).map(|k| first + k as f64).collect::<Vec<f64>>();
        let plane = |values: &[f64]| Array::of(&[rows, columns], values);
        Ok(MapsOut {
            orientation: Array::of(&[7, rows, columns], &pixels.planes(&voxels, 1))?,
            kam: plane(&texture.kam)?,
            grain: Array::of(&[rows, columns], &texture.grain)?,
            grod: plane(&texture.grod)?,
            x: Array::from_slice(&places(columns, pixels.origin[0])),
            y: Array::from_slice(&places(rows, pixels.origin[1])),
            grains: i64::from(texture.grains),
        })
    }
}
declare!(Task, "hedm.maps", Kind::Tool, Maps);
