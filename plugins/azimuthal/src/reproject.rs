//! From curves back to images: what a frame would be if it had nothing but rings.

use std::cmp::Ordering;

use isard_core::error::{Error, Result};

use crate::camera::Camera;
use crate::prepare::Fixed;
use crate::unit::Unit;

/// Where a curve is read for every pixel: the bin before it, and how far it is to the next.
pub struct Reprojection {
    at: Vec<(u32, f32)>,
}

impl Reprojection {
    /// Looks the pixels of a camera up on a radial axis, as it is reported.
    ///
    /// Between the middles of two bins the curve is a straight line, outside the axis it stays as at its end. The axis
    /// rises; its steps need not be equal.
    pub fn new(camera: &Camera, unit: &Unit, axis: &[f64]) -> Result<Reprojection> {
        let Some(last) = axis.len().checked_sub(1) else {
            return Err(Error::data("a curve has no points, wanted at least one"));
        };
        if let Some(k) = (0..last).find(|k| axis[*k].partial_cmp(&axis[k + 1]) != Some(Ordering::Less)) {
            let found = format!("the radial axis goes from {} to {} at point {k}", axis[k], axis[k + 1]);
            return Err(Error::data(found).help("give a curve whose radii rise"));
        }
        let step = if last > 0 { (axis[last] - axis[0]) / last as f64 } else { 1.0 };
        let place = |value: f64| {
            if last == 0 {
                return (0, 0.0);
            }
            let value = (value * unit.scale).clamp(axis[0], axis[last]);
            // Where equal steps would have it, and from there to where it is.
            let mut bin = (((value - axis[0]) / step) as usize).min(last - 1);
            while bin > 0 && axis[bin] > value {
                bin -= 1;
            }
            while bin + 1 < last && axis[bin + 1] < value {
                bin += 1;
            }
            (bin as u32, ((value - axis[bin]) / (axis[bin + 1] - axis[bin])) as f32)
        };
        Ok(Reprojection { at: camera.centres(unit)?.into_iter().map(place).collect() })
    }

    /// The image of a curve: its value at each pixel, times the normalisation, plus the dark.
    ///
    /// Pixels that count nowhere get `empty`.
    pub fn image(&self, curve: &[f32], fixed: &Fixed, factor: f64, empty: f32, out: &mut [f32]) {
        let next = usize::from(curve.len() > 1);
        for (pixel, (out, (bin, part))) in out.iter_mut().zip(&self.at).enumerate() {
            let norm = fixed.norm[pixel];
            if norm == 0.0 {
                *out = empty;
                continue;
            }
            let (a, b) = (curve[*bin as usize], curve[*bin as usize + next]);
            let value = f64::from(a) + f64::from(*part) * f64::from(b - a);
            let dark = fixed.dark.as_ref().map_or(0.0, |d| d[pixel]);
            *out = (value * f64::from(norm) * factor) as f32 + dark;
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        8 * self.at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_geometry::{Grid, Pose};

    // By hand: pixels of 1 mm at 0.5, 1.5, 2.5 mm from the beam; the curve is 10 at 1 mm and 20 at 2 mm.
    #[test]
    fn a_curve_is_a_straight_line_between_bins() {
        let camera = Camera {
            grid: Grid::new([1, 3], [1e-3, 1e-3]),
            pose: Pose::straight(1.0, 0.5e-3, 0.0),
            wavelength: None,
            cut_at_zero: false,
            places: Default::default(),
            mirrored_twice: false,
            table_azimuths: false,
            known: None,
        };
        let unit = Unit::named("r_mm").unwrap();
        let back = Reprojection::new(&camera, &unit, &[1.0, 2.0]).unwrap();
        let fixed = Fixed { norm: vec![1.0, 2.0, 0.0], dark: Some(vec![1.0; 3]), ..Fixed::default() };
        let mut out = [0.0; 3];
        back.image(&[10.0, 20.0], &fixed, 1.0, -1.0, &mut out);
        assert!((out[0] - 11.0).abs() < 1e-5 && (out[1] - 31.0).abs() < 1e-5 && out[2] == -1.0, "{out:?}");
        // Steps of 1, 0.2 and 1 mm: 1.5 mm lies half way from 1.1 to 1.9 of the third.
        let back = Reprojection::new(&camera, &unit, &[0.1, 0.9, 1.1, 1.9]).unwrap();
        back.image(&[0.0, 8.0, 10.0, 18.0], &fixed, 1.0, -1.0, &mut out);
        assert!((out[0] - 5.0).abs() < 1e-5 && (out[1] - 29.0).abs() < 1e-5, "{out:?}");
        assert!(Reprojection::new(&camera, &unit, &[1.0, 1.0]).is_err());
    }
}
