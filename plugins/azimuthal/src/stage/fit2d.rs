//! `poni.fit2d`: a geometry as FIT2D or a detector's header gives it, as a PONI file.

use isard_core::prelude::*;
use isard_core::schemars;
use isard_geometry::{Fit2d, Grid, Orientation, Poni, wavelength_of};

/// Metres in an angstrom.
const ANGSTROM: f64 = 1e-10;

/// Makes a geometry file's text of FIT2D's distance, beam centre and tilt.
///
/// Without a tilt these are the distance and the beam centre of a detector's header. `Rot3` is 0: rings do not show it.
/// `azimuthal.geometry` goes the other way.
///
/// Runs once, before the first frame, at no cost.
///
/// Source: the equations of pyFAI's `setFit2D`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FromFit2d {
    /// The distance along the beam.
    #[schemars(extend("x-unit" = "mm"))]
    distance: f64,
    /// The column the direct beam hits, from the outer edge of the first.
    #[schemars(extend("x-unit" = "pixel"))]
    centre_x: f64,
    /// The row the direct beam hits, from the outer edge of the first.
    #[schemars(extend("x-unit" = "pixel"))]
    centre_y: f64,
    /// The angle between the beam and the detector's normal.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    tilt: f64,
    /// The direction of the tilt in the plane of the detector.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    tilt_plan_rotation: f64,
    /// The height and the width of a pixel; without them those of the `detector`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    pixel: Option<[f64; 2]>,
    /// Rows and columns; without them those of the `detector`.
    #[serde(default)]
    shape: Option<[usize; 2]>,
    /// The name of the detector, such as `Pilatus2M`.
    #[serde(default)]
    detector: Option<String>,
    /// Which corner holds pixel (0, 0), 1 to 4 as in geometry files.
    #[serde(default = "native")]
    #[schemars(range(min = 1, max = 4))]
    orientation: u64,
    /// The photon energy, or give `wavelength`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "keV", "x-shared" = "experiment.energy"))]
    energy: Option<f64>,
    /// The wavelength, or give `energy`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "angstrom"))]
    wavelength: Option<f64>,
}

fn native() -> u64 {
    3
}

/// The output of [`FromFit2d`].
#[derive(Ports)]
pub struct FromFit2dOut {
    /// The geometry as the text of a PONI file.
    poni: String,
}

impl Stage for FromFit2d {
    type In = ();
    type Out = FromFit2dOut;

    fn example() -> Example {
        Example::new(
            "distance = 200.5\ncentre_x = 730.2\ncentre_y = 850.1\ntilt = 1.5\ntilt_plan_rotation = 30.0\n\
             detector = \"Pilatus2M\"\nenergy = 12.4",
        )
    }

    fn check(&self, faults: &mut Faults) {
        let mut positive = |name: &str, value: f64| {
            if !(value.is_finite() && value > 0.0) {
                faults.add(name, format!("found {value}, wanted more than 0"));
            }
        };
        positive("distance", self.distance);
        self.pixel.iter().flatten().for_each(|p| positive("pixel", *p));
        self.energy.into_iter().for_each(|e| positive("energy", e));
        self.wavelength.into_iter().for_each(|w| positive("wavelength", w));
        if !(self.tilt > -90.0 && self.tilt < 90.0) {
            faults.add("tilt", format!("found {} degrees, wanted less than a right angle", self.tilt));
        }
        if self.energy.is_some() && self.wavelength.is_some() {
            faults.add_with_help(
                "wavelength",
                "is given beside `energy`, wanted one of them",
                "leave one out",
            );
        }
        let known = self.detector.as_deref().and_then(isard_geometry::known_detector);
        if self.pixel.is_none() && known.is_none() {
            let help = "give `pixel`, or the name of a detector that is known, such as `Pilatus2M`";
            faults.add_with_help("pixel", "is not given, and no `detector` says it", help);
        }
        if Orientation::from_number(self.orientation).is_none() {
            faults.add("orientation", format!("is {}, wanted 1 to 4", self.orientation));
        }
    }
}

impl Task for FromFit2d {
    fn run(&mut self, _: &Cx, (): ()) -> Result<FromFit2dOut> {
        let known = self.detector.as_deref().and_then(isard_geometry::known_detector);
        let own = self.pixel.map(|p| p.map(|p| p * 1e-6)).or(known.map(|k| [k.height, k.pixel]));
        let pixel = own.ok_or_else(|| Error::internal("a detector without pixels passed its check"))?;
        let fit2d = Fit2d {
            direct_dist: self.distance,
            centre_x: self.centre_x,
            centre_y: self.centre_y,
            tilt: self.tilt,
            tilt_plan_rotation: self.tilt_plan_rotation,
        };
        let wavelength = self.wavelength.map(|w| w * ANGSTROM).or(self.energy.map(wavelength_of));
        let shape = self.shape.or(known.map(|k| k.shape).filter(|s| *s != [0, 0]));
        let mut grid = Grid::new(shape.unwrap_or([0, 0]), pixel);
        grid.orientation = Orientation::from_number(self.orientation)
            .ok_or_else(|| Error::internal("an orientation passed its check"))?;
        let mut poni = Poni::new(&grid, fit2d.to_pose(pixel), wavelength);
        poni.shape = shape;
        if let Some(detector) = &self.detector {
            poni.detector.clone_from(detector);
        }
        Ok(FromFit2dOut { poni: poni.write(&["made of distance, beam centre and tilt by isard"]) })
    }
}
declare!(Task, "poni.fit2d", Kind::Tool, FromFit2d);

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    // pyFAI 2026.9.0, Geometry.getFit2D() of a pose with Rot1 0.05, Rot2 0.1 and pixels of 100 micrometres.
    #[test]
    fn a_tilt_becomes_two_rotations() {
        let set = "distance = 60.37671027007348\ncentre_x = -21.025025025323274\ncentre_y = 65.27613272157075\n\
                   tilt = 6.403725466362358\ntilt_plan_rotation = 116.47902510308731\npixel = [100.0, 100.0]";
        let mut stage: FromFit2d = toml::from_str(set).unwrap();
        let run = RunCx::default();
        let text = stage.run(&Cx::new(&run, "geometry"), ()).unwrap().poni;
        let poni = Poni::parse(&text).unwrap();
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        close(poni.pose.dist, 0.06);
        close(poni.pose.poni1, 5e-4);
        close(poni.pose.poni2, 9e-4);
        close(poni.pose.rot1, 0.05);
        close(poni.pose.rot2, 0.1);
        assert_eq!((poni.shape, poni.wavelength), (None, None));
    }
}
