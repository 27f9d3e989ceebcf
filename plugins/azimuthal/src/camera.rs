//! A detector in its place: positions, units and normalisation of every pixel.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, FRAC_PI_8, PI};

use isard_core::error::{Error, Result};
use isard_core::prelude::{Deserialize, JsonSchema};
use isard_geometry::{Grid, Known, Lab, Poni, Pose, known_detector, polarisation};

use crate::field::{
    Azimuth, By, Field, Incidence, Polarised, Radius, Scattered, Single, Solid, Vector, extents,
};
use crate::unit::{Space, Unit};

/// Twice pi.
pub(crate) const TURN: f64 = 2.0 * PI;

/// A flat detector in its place, and the beam.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// The pixels.
    pub grid: Grid,
    /// Distance, point of normal incidence and rotations.
    pub pose: Pose,
    /// Wavelength in metres.
    pub wavelength: Option<f64>,
    /// Azimuths run over [0, 2 pi) instead of (-pi, pi].
    pub cut_at_zero: bool,
    /// How pixels' places are rounded.
    pub places: Places,
    /// Mirrored detectors are mirrored once more behind the rotation, as programs did before the middle of 2026.
    pub mirrored_twice: bool,
    /// Azimuths beside a unit with a table of corners are found from that table, as the reference finds them.
    pub table_azimuths: bool,
    /// The detector, where its name says which.
    pub known: Option<Known>,
}

/// How the places of pixels on the detector are rounded before anything is made of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Places {
    /// Not at all, but the corners of units other than q, 2theta and r come from single precision.
    ///
    /// The reference has a way of its own for those three units, and takes all others from a table of corners.
    #[default]
    Usual,
    /// Everything comes from the table of corners in single precision.
    ///
    /// The reference does so once it has made that table for an earlier unit.
    Single,
}

/// Values at the corners of all pixels, in single precision: one row and one column more than there are pixels.
pub struct Corners {
    /// Radial values in the unit's space.
    pub radial: Vec<f32>,
    /// Azimuths.
    pub chi: Vec<f32>,
    /// Corners in a row.
    pub width: usize,
}

impl Camera {
    /// The camera of a geometry file, for frames of this shape if the file does not know it.
    pub fn new(poni: &Poni, frame: Option<[usize; 2]>) -> Result<Camera> {
        undistorted(poni)?;
        let pixel = poni.pixel.ok_or_else(|| {
            let error = Error::data(format!("the detector `{}` has no pixel size", poni.detector));
            error.help("add a `Detector_config` with `pixel1` and `pixel2` to the geometry file")
        })?;
        let shape = match (poni.shape, frame) {
            (Some(known), Some(frame)) if known != frame => {
                return Err(Error::data(format!(
                    "frames of {frame:?}, the detector `{}` of the geometry file has {known:?} pixels",
                    poni.detector
                ))
                .help("take the geometry of this detector, or correct `max_shape` in it"));
            }
            (Some(shape), _) | (None, Some(shape)) => shape,
            (None, None) => return Err(Error::data("neither the geometry file nor a frame gives a shape")),
        };
        Ok(Camera {
            grid: Grid { shape, pixel, orientation: poni.orientation },
            pose: poni.pose,
            wavelength: poni.wavelength,
            cut_at_zero: false,
            places: Places::Usual,
            mirrored_twice: false,
            table_azimuths: !has_offsets(&poni.detector),
            known: known_detector(&poni.detector).map(|known| of_shape(known, poni, shape)),
        })
    }

    /// A point of the detector in the laboratory.
    #[inline(always)]
    pub fn lab(&self, matrix: &[[f64; 3]; 3], d1: f64, d2: f64) -> Lab {
        let mut lab = self.pose.lab_with(matrix, d1, d2);
        if self.mirrored_twice {
            let orientation = self.grid.orientation.number();
            if [1, 2].contains(&orientation) {
                lab.y = -lab.y;
            }
            if [1, 4].contains(&orientation) {
                lab.x = -lab.x;
            }
        }
        lab
    }

    /// Pixels.
    pub fn pixels(&self) -> usize {
        self.grid.shape[0] * self.grid.shape[1]
    }

    /// The wavelength for a unit: an error where it needs one and there is none.
    pub(crate) fn wavelength_for(&self, unit: &Unit) -> Result<f64> {
        match self.wavelength {
            Some(wavelength) => Ok(wavelength),
            None if unit.needs_wavelength() => {
                Err(Error::data(format!("`{unit}` needs a wavelength, and the geometry has none"))
                    .help("add `Wavelength: 1e-10` (metres) to the geometry file, or use `2th_deg`"))
            }
            None => Ok(f64::NAN),
        }
    }

    /// An azimuth, moved to where the cut is.
    fn cut(&self, chi: f64) -> f64 {
        if self.cut_at_zero && chi < 0.0 { chi + TURN } else { chi }
    }

    /// Values of a space at the pixels' centres.
    pub fn centres(&self, unit: &Unit) -> Result<Vec<f64>> {
        let wavelength = self.wavelength_for(unit)?;
        let field = Field::centres(self);
        Ok(match unit.space {
            // What is asked for most has loops in wide registers.
            Space::Q => field.each(Vector(wavelength)),
            Space::Radius => field.each(Radius),
            Space::Chi => self.azimuths(),
            space => field.each(By(|lab: Lab| space.at(&lab, wavelength))),
        })
    }

    /// Azimuths of the pixels' centres.
    pub fn azimuths(&self) -> Vec<f64> {
        Field::centres(self).each(By(|lab: Lab| self.cut(lab.chi())))
    }

    /// A corner, as products of single precision.
    pub(crate) fn single(&self, row: usize, column: usize) -> [f32; 2] {
        let grid = self.grid.mirrored(row as f64, column as f64);
        [grid[0] as f32 * self.grid.pixel[0] as f32, grid[1] as f32 * self.grid.pixel[1] as f32]
    }

    /// The mean of a pixel's corners, in single precision.
    pub(crate) fn single_centre(&self, row: usize, column: usize) -> [f64; 2] {
        let around = [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(r, c)| self.single(row + r, column + c));
        [0, 1].map(|axis| f64::from((0.25 * around.iter().map(|p| f64::from(p[axis])).sum::<f64>()) as f32))
    }

    /// Radial values and, where wanted, azimuths at all corners.
    pub fn corners(&self, unit: &Unit, chi: bool) -> Result<Corners> {
        let wavelength = self.wavelength_for(unit)?;
        let field = Field::corners(self, unit.is_straight() && self.places == Places::Usual);
        let radial = match unit.space {
            Space::Q => field.each(Single(Vector(wavelength))),
            Space::Radius => field.each(Single(Radius)),
            Space::Tth => field.each(Single(Scattered)),
            Space::Chi => field.each(By(|lab: Lab| self.cut(lab.chi()) as f32)),
            space => field.each(By(|lab: Lab| space.at(&lab, wavelength) as f32)),
        };
        let below = if self.cut_at_zero { 0.0 } else { f64::NEG_INFINITY };
        let chi = if chi { field.each(Single(Azimuth(below))) } else { vec![] };
        Ok(Corners { radial, chi, width: self.grid.shape[1] + 1 })
    }

    /// Relative solid angles: the cube of the cosine of the angle of incidence.
    pub fn solid_angle(&self) -> Vec<f64> {
        self.usual_centres().each(Solid(self.pose.dist))
    }

    /// Multiplies factors of all pixels by their relative solid angles, from places in single precision.
    pub fn times_solid_angle(&self, factors: &mut [f32]) {
        Field::single(self).times(Single(Solid(self.pose.dist)), factors);
    }

    /// What an absorbing screen of this transmission at normal incidence takes up, relative to normal incidence.
    pub fn screen(&self, transmission: f64) -> Vec<f64> {
        let (ln, taken) = (transmission.ln(), 1.0 - transmission);
        self.incidence().into_iter().map(|cos| (1.0 - (ln / cos).exp()) / taken).collect()
    }

    /// Cosines of the angle of incidence at every pixel.
    fn incidence(&self) -> Vec<f64> {
        self.usual_centres().each(Incidence(self.pose.dist))
    }

    /// The centres as corrections have them: not rounded.
    fn usual_centres(&self) -> Field {
        Field::centres(&Camera { places: Places::Usual, ..self.clone() })
    }

    /// Polarisation factors in single precision, for a factor and an axis turned by `offset` radians.
    pub fn polarisation(&self, factor: f64, offset: f64) -> Vec<f32> {
        let field = self.usual_centres();
        if offset != 0.0 {
            return field.each(By(|lab: Lab| polarisation(lab.tth(), lab.chi(), factor, offset) as f32));
        }
        field.each(Single(Polarised(factor)))
    }

    /// Multiplies factors of all pixels by their polarisation, as [`Camera::polarisation`] has it.
    pub fn times_polarisation(&self, factor: f64, offset: f64, factors: &mut [f32]) {
        let field = self.usual_centres();
        if offset != 0.0 {
            let of = |lab: Lab| polarisation(lab.tth(), lab.chi(), factor, offset) as f32;
            return field.times(By(of), factors);
        }
        field.times(Single(Polarised(factor)), factors);
    }
}

/// Whether a detector is of those that the reference gives offsets of pixels: it never looks up a table of corners then.
fn has_offsets(detector: &str) -> bool {
    let name = detector.to_lowercase();
    name.starts_with("pilatus") && !name.starts_with("pilatus4") && !name.starts_with("pilatus 4")
}

/// A known detector whose geometry file has another shape, or other modules.
fn of_shape(known: Known, poni: &Poni, shape: [usize; 2]) -> Known {
    let module = poni.config.get("module_size").and_then(|m| serde_json::from_value(m.clone()).ok());
    Known { shape, module: module.unwrap_or(known.module), ..known }
}

/// An error where the geometry asks for what would move pixels from their regular places.
fn undistorted(poni: &Poni) -> Result<()> {
    if poni.parallax == Some(true) {
        return Err(Error::data("the geometry asks for a correction of parallax, which is not known")
            .help("set `Parallax: False` in the geometry file"));
    }
    for key in ["splineFile", "filename", "x_offset_file", "y_offset_file"] {
        if let Some(found) = poni.config.get(key).filter(|v| !v.is_null() && *v != "") {
            let detector = &poni.detector;
            let error = Error::data(format!(
                "`{key}` of the detector `{detector}` is {found}; distorted detectors are not known"
            ));
            return Err(error.help("correct the frames before, and take the file out of the geometry"));
        }
    }
    if let Some(found) =
        poni.config.get("binning").filter(|b| !["null", "1", "[1,1]"].contains(&b.to_string().as_str()))
    {
        let error =
            Error::data(format!("`binning` of the detector `{}` is {found}, wanted none", poni.detector));
        return Err(error.help("give `pixel1`, `pixel2` and `max_shape` of the binned pixels instead"));
    }
    Ok(())
}

/// The angle of a point, to some 1e-16: what is rounded to single precision after it comes out as from the library.
///
/// The library's own takes three times as long, and it would be a third of the set-up of splitting by outlines.
#[inline(always)]
pub(crate) fn quick_angle(y: f64, x: f64) -> f64 {
    // Tangents of one, two and three sixteenths of pi.
    const FIRST: f64 = 0.198_912_367_379_658;
    const SECOND: f64 = 0.414_213_562_373_095_03;
    const THIRD: f64 = 0.668_178_637_919_298_9;
    let (a, b) = (x.abs(), y.abs());
    let (large, small) = (a.max(b), a.min(b));
    // Turned back by none, one or two eighths of pi: the tangent is at most that of a sixteenth then.
    let (one, two) = (small > FIRST * large, small > THIRD * large);
    let tangent = if two { 1.0 } else { SECOND };
    let turned = if two { FRAC_PI_4 } else { FRAC_PI_8 };
    let (tangent, turned) = if one { (tangent, turned) } else { (0.0, 0.0) };
    let (top, bottom) = (small - large * tangent, large + small * tangent);
    let ratio = top / bottom;
    let t = if bottom > 0.0 { ratio } else { 0.0 };
    let z = t * t;
    // The series of the arc tangent; what is left out is below 1e-16 here.
    const SERIES: [f64; 11] = {
        let (mut series, mut k) = ([0.0; 11], 0);
        while k < 11 {
            series[k] = 1.0 / (2 * k + 1) as f64;
            k += 1;
        }
        series
    };
    let sum = SERIES.iter().rev().fold(0.0, |sum, term| term - z * sum);
    let mut angle = turned + t * sum;
    if b > a {
        angle = FRAC_PI_2 - angle;
    }
    if x < 0.0 || (x == 0.0 && x.is_sign_negative()) {
        angle = PI - angle;
    }
    angle.copysign(y)
}

impl Corners {
    /// The four corners of a pixel, in the order (i, j), (i+1, j), (i+1, j+1), (i, j+1).
    pub fn around(&self, row: usize, column: usize) -> [usize; 4] {
        let a = row * self.width + column;
        [a, a + self.width, a + self.width + 1, a + 1]
    }

    /// How far the corners of each pixel are from its centre, at most, in the unit's space.
    pub fn extents(&self, centres: &[f64], angle: bool) -> Vec<f64> {
        extents(&self.radial, self.width, centres, if angle { TURN } else { f64::INFINITY })
    }

    /// How far the corners of each pixel are from its centre in azimuth, at most.
    pub fn spreads(&self, azimuths: &[f64]) -> Vec<f64> {
        extents(&self.chi, self.width, azimuths, TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_angle_is_the_librarys() {
        for k in 0..4000 {
            let angle = f64::from(k) * 0.001_571 - PI;
            let (y, x) = ((3.0 * angle.sin()), 3.0 * angle.cos());
            assert!((quick_angle(y, x) - y.atan2(x)).abs() < 9e-16, "{angle}");
        }
        for (y, x) in
            [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 0.0), (-0.0, -1.0), (-0.0, 1.0)]
        {
            assert_eq!(quick_angle(y, x), f64::atan2(y, x), "{y} {x}");
        }
    }
}
