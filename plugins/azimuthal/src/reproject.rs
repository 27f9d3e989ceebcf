//! From curves back to images: what a frame would be if it had nothing but rings.

use isard_core::error::Result;

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
    /// Between the middles of two bins the curve is a straight line, outside the axis it stays as at its end.
    pub fn new(camera: &Camera, unit: &Unit, axis: &[f64]) -> Result<Reprojection> {
        let last = axis.len() - 1;
        let step = if last > 0 { (axis[last] - axis[0]) / last as f64 } else { 1.0 };
        let place = |value: f64| {
            let place = ((value * unit.scale - axis[0]) / step).clamp(0.0, last as f64);
            let bin = (place as usize).min(last.saturating_sub(1));
            (bin as u32, if last > 0 { (place - bin as f64) as f32 } else { 0.0 })
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
            known: None,
        };
        let unit = Unit::named("r_mm").unwrap();
        let back = Reprojection::new(&camera, &unit, &[1.0, 2.0]).unwrap();
        let fixed = Fixed { norm: vec![1.0, 2.0, 0.0], dark: Some(vec![1.0; 3]), dummy: None };
        let mut out = [0.0; 3];
        back.image(&[10.0, 20.0], &fixed, 1.0, -1.0, &mut out);
        assert!((out[0] - 11.0).abs() < 1e-5 && (out[1] - 31.0).abs() < 1e-5 && out[2] == -1.0, "{out:?}");
    }
}
