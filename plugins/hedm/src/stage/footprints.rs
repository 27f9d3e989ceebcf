//! `hedm.footprints`: which pixels the voxels of a map light.

use isard_core::prelude::*;
use isard_orientation::Quat;

use super::experiment::{Experiment, example};
use super::merge::{MapIn, three};
use super::table::fitted_of;
use crate::bits::light;

/// Lists the pixels that each voxel of a map lights, spot by spot.
///
/// One row for each voxel, spot, pixel of its triangle and distance: the pixel counts against the stored image, rotation
/// and ideal point are those of a grain on the axis before its tilt. A pixel that leaves the detector at a distance stays
/// away at those beyond. `hedm.files` writes the rows as text.
///
/// Gives one table of some hundred rows a voxel and distance, more where voxels cover more than a pixel; 20 microseconds a
/// voxel.
///
/// Source: the simulator of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Footprints {
    /// Voxels of a lower confidence are left out.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    above: f64,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
}

/// The output of [`Footprints`].
#[derive(Ports)]
pub struct FootprintsOut {
    /// The pixels, voxel by voxel.
    ///
    /// The voxel by its row, the distance and the frame from 0, and the ideal point at the first distance.
    #[port(
        columns = "voxel: u32, distance: u32, frame: u32, y: u32 pixel, z: u32 pixel, omega: f64 degree, ideal_y: f64 um, ideal_z: f64 um"
    )]
    pixels: Table,
    /// How many rows there are.
    count: i64,
}

impl Stage for Footprints {
    type In = MapIn;
    type Out = FootprintsOut;

    fn example() -> Example {
        Example::new(example("above = 0.4\n")).fixed("voxels", three([0.9, 0.0, 0.5]))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        self.experiment.check_reach(faults);
        if !(0.0..=1.0).contains(&self.above) {
            faults.add("above", format!("found {}, wanted a share from 0 to 1", self.above));
        }
    }
}

impl Task for Footprints {
    fn run(&mut self, cx: &Cx, input: MapIn) -> Result<FootprintsOut> {
        let projector = self.experiment.projector()?;
        let (mut voxel, mut distance, mut frame) = (vec![], vec![], vec![]);
        let (mut y, mut z) = (vec![], vec![]);
        let (mut omega, mut ideal_y, mut ideal_z) = (vec![], vec![], vec![]);
        for (k, v) in fitted_of(&input.voxels)?.iter().enumerate() {
            cx.check()?;
            // Without an orientation there is nothing to light, however low the bar.
            if v.confidence < self.above || v.confidence == 0.0 {
                continue;
            }
            light(&projector, &v.voxel, &Quat::from_euler(v.euler), |spot, l, f, pixel| {
                voxel.push(k as u32);
                distance.push(l as u32);
                frame.push(f as u32);
                y.push(pixel[0]);
                z.push(pixel[1]);
                omega.push(spot.omega);
                ideal_y.push(spot.y);
                ideal_z.push(spot.z);
            });
        }
        let pixels = Table::new(voxel.len())
            .with("voxel", &voxel)?
            .with("distance", &distance)?
            .with("frame", &frame)?
            .with("y", &y)?
            .with("z", &z)?
            .with("omega", &omega)?
            .with("ideal_y", &ideal_y)?
            .with("ideal_z", &ideal_z)?;
        Ok(FootprintsOut { pixels, count: voxel.len() as i64 })
    }
}
declare!(Task, "hedm.footprints", Kind::Tool, Footprints);

#[cfg(test)]
mod tests {
    use super::super::spots::gold;
    use super::super::table::fitted_table;
    use super::*;
    use crate::files::{Fitted, write_spot_table};
    use crate::model::Voxel;
    use isard_core::stage::RunCx;

    #[test]
    fn a_voxel_lights_the_pixels_that_the_specification_works_out() {
        // The first seed of the gold example and three of its spots, from the worked numbers of the format: the centre's
        // pixel at the first distance as real numbers, its whole pixel at the second, and the frame.
        let cases = [
            (516.726012, 324.060428, -25.297236, 821, [1332, 239], [1416, 300]),
            (-516.726012, 324.060428, 149.736147, 121, [634, 233], [549, 292]),
            (-144.316800, 592.615891, -62.647211, 970, [884, 416], [859, 520]),
        ];
        let orientation = Quat::new([0.866537, -0.080783, -0.367319, 0.328124]).unwrap();
        let at = |x: f64, y: f64| Fitted {
            euler: orientation.euler(),
            confidence: 0.5,
            ..Fitted::unsolved(Voxel { x, y, edge: 1.0, up: true })
        };
        // A voxel on the axis, one that has no orientation, and one beside the axis.
        let voxels = [at(0.0, 0.0), Fitted { confidence: 0.0, ..at(5.0, 0.0) }, at(20.0, -10.0)];
        let run = RunCx::default();
        let out = Footprints { above: 0.0, experiment: gold() }
            .run(&Cx::new(&run, "pixels"), MapIn { voxels: fitted_table(&voxels).unwrap() })
            .unwrap();
        let whole = |name: &str| out.pixels.numbers::<u32>(name).unwrap();
        let (voxel, distance, frame, y, z) =
            (whole("voxel"), whole("distance"), whole("frame"), whole("y"), whole("z"));
        let real = |name: &str| out.pixels.numbers::<f64>(name).unwrap();
        let (omega, ideal_y, ideal_z) = (real("omega"), real("ideal_y"), real("ideal_z"));
        // 98 spots at two distances for each of two voxels; where they leave the detector there are fewer.
        assert!(out.count as usize == voxel.len() && (380..=392).contains(&out.count), "{}", out.count);
        assert!(!voxel.contains(&1));
        for (py, pz, turn, number, first, second) in cases {
            let rows = |of: u32, l: u32| {
                (0..voxel.len()).filter(move |k| voxel[*k] == of && distance[*k] == l).find(|k| {
                    (ideal_y[*k] - py).abs() < 1e-3
                        && (ideal_z[*k] - pz).abs() < 1e-3
                        && (omega[*k] - turn).abs() < 1e-3
                })
            };
            let (a, b) = (rows(0, 0).unwrap(), rows(0, 1).unwrap());
            assert_eq!((frame[a], frame[b]), (number, number));
            assert_eq!(([y[a], z[a]], [y[b], z[b]]), (first, second));
        }
        // The voxel beside the axis, at the corner that is worked out: 12.47, 0.48 pixels before the first spot's centre.
        let beside = (0..voxel.len())
            .find(|k| voxel[*k] == 2 && distance[*k] == 0 && (omega[*k] + 25.297236).abs() < 1e-3)
            .unwrap();
        assert_eq!([y[beside], z[beside]], [1332 - 12, 239]);
        let text = write_spot_table(&out.pixels).unwrap();
        assert_eq!(
            text.lines().next(),
            Some("VoxRowNr\tDistanceNr\tFrameNr\tHorPx\tVerPx\tOmegaRaw\tYRaw\tZRaw")
        );
        let row: Vec<&str> = text.lines().nth(1).unwrap().split('\t').collect();
        assert!(row.len() == 8 && row[0] == "0" && text.lines().count() == 1 + voxel.len(), "{row:?}");
    }
}
