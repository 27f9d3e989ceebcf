//! `hedm.spots`: where the spots of orientations fall.

use isard_core::prelude::*;
use isard_orientation::Quat;

use super::experiment::{Experiment, example};
use super::table::{orientations, quaternions};

/// Predicts the spots of orientations.
///
/// For a grain on the axis: the point on the ideal plane at the first distance, the rotation, the frame after the tilt of
/// the axis, and the pixel at each distance. Spots out of the windows or the scan are left out, those beside the detector
/// are not.
///
/// Gives one table. Some 20 microseconds a seed with 258 reflections.
///
/// Source: the simulator of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spots {
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
}

/// The input of [`Spots`].
#[derive(Ports)]
pub struct SpotsIn {
    /// The orientations as quaternions w x y z.
    #[port(fixed, dtype = "f64", axes = "seed component")]
    seeds: Array,
}

/// The output of [`Spots`].
#[derive(Ports)]
pub struct SpotsOut {
    /// The spots, seed by seed, in the order of the reflections.
    #[port(
        columns = "seed: u32, h: i32, k: i32, l: i32, ring: u32, y: f64 um, z: f64 um, omega: f64 degree, frame: u32"
    )]
    spots: Table,
    /// The pixel (Y, Z) of each spot at each distance.
    #[port(dtype = "f64", axes = "spot distance axis", unit = "pixel")]
    pixels: Array,
    /// How many there are.
    count: i64,
}

impl Stage for Spots {
    type In = SpotsIn;
    type Out = SpotsOut;

    fn example() -> Example {
        let seeds = [Quat::IDENTITY, Quat::from_euler([0.3, 0.7, 1.1])];
        Example::new(example("")).fixed("seeds", quaternions(&seeds).expect("four numbers"))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        self.experiment.check_reach(faults);
    }
}

impl Task for Spots {
    fn run(&mut self, cx: &Cx, input: SpotsIn) -> Result<SpotsOut> {
        let projector = self.experiment.projector()?;
        let (scan, detector) = (projector.predictor.scan(), &projector.detector);
        let (mut seed, mut frame, mut reflection) = (vec![], vec![], vec![]);
        let (mut y, mut z, mut turn, mut pixels) = (vec![], vec![], vec![], vec![]);
        let mut found = vec![];
        for (k, q) in orientations(&input.seeds)?.iter().enumerate() {
            cx.check()?;
            projector.predictor.spots_into(&q.matrix(), &mut found);
            for spot in &found {
                let omega = scan.tilted(spot.y, spot.z, spot.omega, detector.lsd[0], projector.wavelength);
                let Some(f) = scan.frame(omega).filter(|_| scan.wedge == 0.0 || scan.in_range(omega)) else {
                    continue;
                };
                seed.push(k as u32);
                frame.push(f as u32);
                reflection.push(&projector.predictor.reflections()[spot.reflection]);
                y.push(spot.y);
                z.push(spot.z);
                turn.push(omega);
                let first = detector.project(spot.y, spot.z);
                pixels.extend((0..detector.distances()).flat_map(|l| detector.at_distance(first, l)));
            }
        }
        let index = |k: usize| reflection.iter().map(|r| r.hkl[k]).collect::<Vec<i32>>();
        let rings: Vec<u32> = reflection.iter().map(|r| r.ring).collect();
        let spots = Table::new(seed.len())
            .with("seed", &seed)?
            .with("h", &index(0))?
            .with("k", &index(1))?
            .with("l", &index(2))?
            .with("ring", &rings)?
            .with("y", &y)?
            .with("z", &z)?
            .with("omega", &turn)?
            .with("frame", &frame)?;
        let pixels = Array::of(&[seed.len(), detector.distances(), 2], &pixels)?;
        Ok(SpotsOut { spots, pixels, count: seed.len() as i64 })
    }
}
declare!(Task, "hedm.spots", Kind::Tool, Spots);

/// The gold example's experiment, of which the specification of the format works out numbers.
#[cfg(test)]
pub(super) fn gold() -> Experiment {
    Experiment {
        distances: vec![8289.154576, 10290.724494],
        beam: vec![[985.415831, 17.510494], [985.161497, 24.511210]],
        tilt: [0.536238, 0.557035, 0.474936],
        pixel: 1.48,
        size: [2048, 2048],
        wavelength: 0.172979,
        ring_radius: 2800.0,
        ring_distance: Some(10290.724494),
        omega_start: 180.0,
        omega_step: -0.25,
        frames: 1440,
        windows: vec![[-180.0, 180.0, -1200.0, 1200.0, 100.0, 2500.0]],
        ..super::experiment::small()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn spots_fall_where_the_specification_says() {
        // Three spots of the first seed of the gold example, from the specification of the format.
        let seed = Quat::new([0.866537, -0.080783, -0.367319, 0.328124]).unwrap();
        let run = RunCx::default();
        let out = Spots { experiment: gold() }
            .run(&Cx::new(&run, "spots"), SpotsIn { seeds: quaternions(&[seed]).unwrap() })
            .unwrap();
        let column = |name: &str| out.spots.numbers::<f64>(name).unwrap();
        let (y, z, omega) = (column("y"), column("z"), column("omega"));
        let frames = out.spots.numbers::<u32>("frame").unwrap();
        let pixels = out.pixels.as_slice::<f64>().unwrap();
        let wanted = [
            (516.726012, 324.060428, -25.297236, 821, [1332.546841, 239.739208], [1416.0, 300.0]),
            (-516.726012, 324.060428, 149.736147, 121, [634.544361, 233.038840], [549.0, 292.0]),
            (-144.316800, 592.615891, -62.647211, 970, [884.243107, 416.686893], [859.0, 520.0]),
        ];
        for (wy, wz, wo, frame, first, second) in wanted {
            let at = (0..y.len()).find(|k| (y[*k] - wy).abs() < 0.05 && (z[*k] - wz).abs() < 0.05);
            let at = at.unwrap_or_else(|| panic!("no spot near {wy}, {wz}"));
            assert!((omega[at] - wo).abs() < 1e-3 && frames[at] == frame, "{} {}", omega[at], frames[at]);
            assert!((0..2).all(|k| (pixels[4 * at + k] - first[k]).abs() < 0.05));
            assert_eq!([pixels[4 * at + 2].floor(), pixels[4 * at + 3].floor()], second);
        }
        assert_eq!(out.count, 98);
    }
}
