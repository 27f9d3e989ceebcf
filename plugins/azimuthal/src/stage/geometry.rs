//! `azimuthal.geometry`: where the pixels of a detector are.

use isard_core::prelude::*;
use isard_core::schemars;
use isard_geometry::Fit2d;

use crate::camera::Places;
use crate::integrator::Integrator;
use crate::stage::made::{camera, geometry};
use crate::stage::request::Request;
use crate::unit::{self, Unit};

/// Tells where each pixel of a detector is and what it sees, and FIT2D's numbers.
///
/// Positions, radii, azimuths, how far a pixel reaches in both, its corners, and what its intensity is divided by. The
/// conversion to FIT2D leaves the orientation and `Rot3` out, as that program has neither.
///
/// Runs once, before the first frame. Some hundred nanoseconds a pixel; gives 120 bytes a pixel.
///
/// Source: the PONI convention; the equations of pyFAI's `getFit2D`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Geometry {
    /// The geometry file (PONI), unless the input `poni` gives it.
    #[schemars(extend("x-path" = "input", "x-endings" = [".poni"]))]
    geometry: Option<String>,
    /// The text of a geometry file, in place of `geometry`.
    poni: Option<String>,
    /// Rows and columns, where the geometry does not know them.
    shape: Option<[usize; 2]>,
    /// The radial unit.
    unit: String,
    /// Azimuths run over 0 to 360 degrees instead of -180 to 180.
    cut_at_zero: bool,
    /// The beam's polarisation: 1 horizontal, -1 vertical.
    #[schemars(range(min = -1, max = 1))]
    polarisation: f64,
    /// How far the axis of polarisation is turned.
    #[schemars(extend("x-unit" = "degree", "x-level" = "expert"))]
    polarisation_turn: f64,
    /// Transmission of a phosphor screen at normal incidence.
    #[schemars(extend("x-level" = "expert"))]
    screen: Option<f64>,
    /// How places of pixels are rounded, as in `azimuthal.integrate1d`.
    #[schemars(extend("x-level" = "expert"))]
    places: Places,
    /// Azimuths of orientations 1, 2 and 4 as pyFAI gave them before mid-2026.
    #[schemars(extend("x-level" = "expert"))]
    mirrored_twice: bool,
}

impl Default for Geometry {
    fn default() -> Self {
        Geometry {
            geometry: None,
            poni: None,
            shape: None,
            unit: Request::default().unit,
            cut_at_zero: false,
            polarisation: 0.0,
            polarisation_turn: 0.0,
            screen: None,
            places: Places::Usual,
            mirrored_twice: false,
        }
    }
}

/// The input of [`Geometry`].
#[derive(Ports)]
pub struct GeometryIn {
    /// The text of a geometry file, in place of `geometry`.
    #[port(fixed)]
    poni: Option<Value>,
}

/// The output of [`Geometry`].
#[derive(Ports)]
pub struct GeometryOut {
    /// Centres in the laboratory: z along the beam, y up, x to the ring's centre.
    #[port(dtype = "f64", axes = "y x zyx", unit = "m")]
    positions: Array,
    /// Radii of the centres in `unit`.
    #[port(dtype = "f64", axes = "y x")]
    radial: Array,
    /// Azimuths of the centres.
    #[port(dtype = "f64", axes = "y x", unit = "rad")]
    azimuth: Array,
    /// How far corners are from the centre along the radius at most, in `unit`.
    #[port(dtype = "f64", axes = "y x")]
    extent: Array,
    /// How far corners are from the centre along the azimuth at most.
    #[port(dtype = "f64", axes = "y x", unit = "rad")]
    spread: Array,
    /// Radius in `unit` and azimuth in radians of the corners.
    ///
    /// In the order (i, j), (i+1, j), (i+1, j+1), (i, j+1).
    #[port(dtype = "f32", axes = "y x corner place")]
    corners: Array,
    /// Solid angles relative to that of a pixel at normal incidence.
    #[port(dtype = "f64", axes = "y x")]
    solid_angle: Array,
    /// The solid angle of a pixel at normal incidence.
    solid_angle_unit: f64,
    /// Factors of the polarisation.
    #[port(dtype = "f32", axes = "y x")]
    polarisation: Array,
    /// What the screen takes up relative to normal incidence, with `screen`.
    #[port(dtype = "f64", axes = "y x")]
    absorption: Option<Array>,
    /// The detector's own mask: 1 in gaps.
    #[port(dtype = "u8", axes = "y x")]
    mask: Array,
    /// FIT2D: the distance along the beam.
    #[port(unit = "mm")]
    direct_distance: f64,
    /// FIT2D: the column of the direct beam, from the outer edge of the first.
    #[port(unit = "pixel")]
    centre_x: f64,
    /// FIT2D: the row of the direct beam, from the outer edge of the first.
    #[port(unit = "pixel")]
    centre_y: f64,
    /// FIT2D: the angle between the beam and the detector's normal.
    #[port(unit = "degree")]
    tilt: f64,
    /// FIT2D: the direction of the tilt in the plane of the detector.
    #[port(unit = "degree")]
    tilt_plan_rotation: f64,
}

impl Stage for Geometry {
    type In = GeometryIn;
    type Out = GeometryOut;

    fn example() -> Example {
        Example::new("unit = \"2th_rad\"\npolarisation = 0.95\nscreen = 0.7")
            .fixed("poni", super::curve::PONI)
    }

    fn check(&self, faults: &mut Faults) {
        if Unit::named(&self.unit).is_none() {
            let help = format!("known: {}", unit::names());
            faults.add_with_help("unit", format!("`{}` is not known", self.unit), help);
        }
        if !(-1.0..=1.0).contains(&self.polarisation) {
            faults.add("polarisation", format!("is {}, wanted -1 to 1", self.polarisation));
        }
        Request { screen: self.screen, ..Request::default() }.check_beam(faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let pixels = self.shape.map_or(4 << 20, |[rows, columns]| rows * columns);
        Cost { memory: 200 * pixels as u64, seconds: 2e-7 * pixels as f64, ..Cost::default() }
    }
}

impl Task for Geometry {
    fn run(&mut self, _: &Cx, input: GeometryIn) -> Result<GeometryOut> {
        let request = Request {
            geometry: self.geometry.clone(),
            poni: self.poni.clone(),
            unit: self.unit.clone(),
            cut_at_zero: self.cut_at_zero,
            places: self.places,
            mirrored_twice: self.mirrored_twice,
            ..Request::default()
        };
        let given = input.poni.filter(|p| *p != Value::None);
        let text = geometry(&request, given.as_ref())?;
        let camera = camera(&request, &text, self.shape)?;
        let unit = request.unit()?;
        let shape = camera.grid.shape;
        let [rows, columns] = shape;
        let each = |values: &[f64]| Array::of(&shape, values);
        let scaled = |values: &[f64]| values.iter().map(|v| v * unit.scale).collect::<Vec<_>>();
        let corners = camera.corners(&unit, true)?;
        let (centres, azimuths) = (camera.centres(&unit)?, camera.azimuths());
        let matrix = camera.pose.rotation();
        let (mut positions, mut around) = (vec![], vec![]);
        for pixel in 0..rows * columns {
            let (row, column) = (pixel / columns, pixel % columns);
            let [d1, d2] = camera.grid.centre(row, column);
            let lab = camera.lab(&matrix, d1, d2);
            positions.extend([lab.z, lab.y, lab.x]);
            for at in corners.around(row, column) {
                around.extend([(f64::from(corners.radial[at]) * unit.scale) as f32, corners.chi[at]]);
            }
        }
        let fit2d = Fit2d::from_pose(&camera.pose, camera.grid.pixel);
        let turn = self.polarisation_turn.to_radians();
        let [p1, p2] = camera.grid.pixel;
        Ok(GeometryOut {
            positions: Array::of(&[rows, columns, 3], &positions)?,
            radial: each(&scaled(&centres))?,
            azimuth: each(&azimuths)?,
            extent: each(&scaled(&corners.extents(&centres, unit.is_angle())))?,
            spread: each(&corners.spreads(&azimuths))?,
            corners: Array::of(&[rows, columns, 4, 2], &around)?,
            solid_angle: each(&camera.solid_angle())?,
            solid_angle_unit: p1 * p2 / (camera.pose.dist * camera.pose.dist),
            polarisation: Array::of(&shape, &camera.polarisation(self.polarisation, turn))?,
            absorption: self.screen.map(|t| each(&camera.screen(t))).transpose()?,
            mask: Array::of(&shape, &Integrator::own_mask(&camera))?,
            direct_distance: fit2d.direct_dist,
            centre_x: fit2d.centre_x,
            centre_y: fit2d.centre_y,
            tilt: fit2d.tilt,
            tilt_plan_rotation: fit2d.tilt_plan_rotation,
        })
    }
}
declare!(Task, "azimuthal.geometry", Kind::Tool, Geometry);
