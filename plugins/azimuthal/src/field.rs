//! Values at all pixels or all corners, row after row in wide registers.

use std::ops::Mul;

use isard_geometry::Lab;

use crate::camera::{Camera, Places, TURN, quick_angle};
use crate::simd::{Work, widest};
use crate::unit::Space;

/// Points of a detector that lie on rows and columns, and how they come to the laboratory.
pub(crate) struct Field {
    /// From the point of normal incidence to each row, in metres.
    rows: Vec<f64>,
    /// The same to each column.
    columns: Vec<f64>,
    matrix: [[f64; 3]; 3],
    dist: f64,
    /// Signs of x and y behind the rotation.
    signs: [f64; 2],
}

impl Field {
    /// The centres of all pixels.
    pub(crate) fn centres(camera: &Camera) -> Field {
        let [rows, columns] = camera.grid.shape;
        let at = |row: usize, column: usize| match camera.places {
            Places::Usual => camera.grid.centre(row, column),
            Places::Single => camera.single_centre(row, column),
        };
        Field::new(camera, [rows, columns], at)
    }

    /// The centres of all pixels from the point of normal incidence, in single precision throughout.
    ///
    /// The reference has the solid angle from these alone: near grazing incidence that is some parts in ten millions.
    pub(crate) fn single(camera: &Camera) -> Field {
        let [rows, columns] = camera.grid.shape;
        let pose = camera.pose;
        let at = |row: usize, column: usize| camera.grid.mirrored(row as f64 + 0.5, column as f64 + 0.5);
        let off = |axis: usize, index: f64, poni: f64| {
            f64::from(index as f32 * camera.grid.pixel[axis] as f32 - poni as f32)
        };
        Field {
            rows: (0..rows).map(|row| off(0, at(row, 0)[0], pose.poni1)).collect(),
            columns: (0..columns).map(|column| off(1, at(0, column)[1], pose.poni2)).collect(),
            ..Field::centres(camera)
        }
    }

    /// The corners of all pixels; `exact` or as products of single precision.
    pub(crate) fn corners(camera: &Camera, exact: bool) -> Field {
        let [rows, columns] = camera.grid.shape.map(|n| n + 1);
        let at = |row: usize, column: usize| match exact {
            true => camera.grid.at(row as f64, column as f64),
            false => camera.single(row, column).map(f64::from),
        };
        Field::new(camera, [rows, columns], at)
    }

    /// Rows do not depend on columns, nor columns on rows: mirrors turn each around by itself.
    fn new(camera: &Camera, [rows, columns]: [usize; 2], at: impl Fn(usize, usize) -> [f64; 2]) -> Field {
        let mut signs = [1.0, 1.0];
        if camera.mirrored_twice {
            let orientation = camera.grid.orientation.number();
            signs = [[1, 4], [1, 2]].map(|of| if of.contains(&orientation) { -1.0 } else { 1.0 });
        }
        Field {
            rows: (0..rows).map(|row| at(row, 0)[0] - camera.pose.poni1).collect(),
            columns: (0..columns).map(|column| at(0, column)[1] - camera.pose.poni2).collect(),
            matrix: camera.pose.rotation(),
            dist: camera.pose.dist,
            signs,
        }
    }

    /// A value at every point.
    pub(crate) fn each<V: Copy + Default + Mul<Output = V>>(&self, value: impl At<V>) -> Vec<V> {
        let mut out = vec![V::default(); self.rows.len() * self.columns.len()];
        widest(Each::<_, _, false> { field: self, out: &mut out, value });
        out
    }

    /// Multiplies what there is for every point by a value.
    ///
    /// Fresh memory costs more than most values, so factors are not laid out on their own first.
    pub(crate) fn times(&self, value: impl At<f32>, onto: &mut [f32]) {
        widest(Each::<_, _, true> { field: self, out: onto, value });
    }
}

/// A value at a point: of its place on the detector, seen from the point of normal incidence, and in the laboratory.
///
/// Not a closure: what is to run in wide registers has to be inlined whatever its length.
pub(crate) trait At<V> {
    fn at(&self, place: [f64; 2], lab: Lab) -> V;
}

/// A value that no loop in wide registers is worth.
pub(crate) struct By<F>(pub(crate) F);

impl<V, F: Fn(Lab) -> V> At<V> for By<F> {
    #[inline(always)]
    fn at(&self, _: [f64; 2], lab: Lab) -> V {
        self.0(lab)
    }
}

/// The scattering vector, for a wavelength.
pub(crate) struct Vector(pub(crate) f64);

impl At<f64> for Vector {
    #[inline(always)]
    fn at(&self, _: [f64; 2], lab: Lab) -> f64 {
        Space::Q.at(&lab, self.0)
    }
}

/// The distance from the beam.
pub(crate) struct Radius;

impl At<f64> for Radius {
    #[inline(always)]
    fn at(&self, _: [f64; 2], lab: Lab) -> f64 {
        Space::Radius.at(&lab, f64::NAN)
    }
}

/// The scattering angle.
pub(crate) struct Scattered;

impl At<f64> for Scattered {
    #[inline(always)]
    fn at(&self, _: [f64; 2], lab: Lab) -> f64 {
        quick_angle(Space::Radius.at(&lab, f64::NAN), lab.z)
    }
}

/// The azimuth; angles below the number stand a turn further.
pub(crate) struct Azimuth(pub(crate) f64);

impl At<f64> for Azimuth {
    #[inline(always)]
    fn at(&self, _: [f64; 2], lab: Lab) -> f64 {
        let chi = quick_angle(lab.y, lab.x);
        if chi < self.0 { chi + TURN } else { chi }
    }
}

/// The cosine of the angle of incidence, for a distance.
pub(crate) struct Incidence(pub(crate) f64);

impl At<f64> for Incidence {
    #[inline(always)]
    fn at(&self, [a, b]: [f64; 2], _: Lab) -> f64 {
        self.0 / (self.0 * self.0 + a * a + b * b).sqrt()
    }
}

/// The relative solid angle, for a distance: the cube of the cosine of the angle of incidence.
pub(crate) struct Solid(pub(crate) f64);

impl At<f64> for Solid {
    #[inline(always)]
    fn at(&self, place: [f64; 2], lab: Lab) -> f64 {
        let cos = Incidence(self.0).at(place, lab);
        cos * cos * cos
    }
}

/// The polarisation for a factor, about an axis that is not turned.
pub(crate) struct Polarised(pub(crate) f64);

impl At<f64> for Polarised {
    #[inline(always)]
    fn at(&self, _: [f64; 2], lab: Lab) -> f64 {
        // cos^2 2theta = z^2 / R^2 and cos 2chi (1 - cos^2 2theta) = (x^2 - y^2) / R^2: no angle is needed.
        let (x, y, z) = (lab.x * lab.x, lab.y * lab.y, lab.z * lab.z);
        0.5 * (1.0 + (z - self.0 * (x - y)) / (x + y + z))
    }
}

/// A value in single precision.
pub(crate) struct Single<T>(pub(crate) T);

impl<T: At<f64>> At<f32> for Single<T> {
    #[inline(always)]
    fn at(&self, place: [f64; 2], lab: Lab) -> f32 {
        self.0.at(place, lab) as f32
    }
}

/// Sets values at all points, or multiplies what is there by them.
struct Each<'a, V, F, const TIMES: bool> {
    field: &'a Field,
    out: &'a mut [V],
    value: F,
}

impl<V: Copy + Mul<Output = V>, F: At<V>, const TIMES: bool> Work for Each<'_, V, F, TIMES> {
    #[inline(always)]
    fn run(self) {
        let Each { field, out, value } = self;
        let (m, [mirror_x, mirror_y]) = (field.matrix, field.signs);
        for (a, line) in field.rows.iter().zip(out.chunks_exact_mut(field.columns.len())) {
            let (y, x) = (m[0][0] * a + m[0][2] * field.dist, m[1][0] * a + m[1][2] * field.dist);
            let z = m[2][0] * a + m[2][2] * field.dist;
            for (b, out) in field.columns.iter().zip(line) {
                let lab = Lab {
                    y: mirror_y * (y + m[0][1] * b),
                    x: mirror_x * (x + m[1][1] * b),
                    z: z + m[2][1] * b,
                };
                let value = value.at([*a, *b], lab);
                *out = if TIMES { *out * value } else { value };
            }
        }
    }
}

/// How far the corners of each pixel are from its centre, at most.
///
/// `turn` is what angles are the same after: infinite for what is no angle.
pub(crate) fn extents(values: &[f32], width: usize, centres: &[f64], turn: f64) -> Vec<f64> {
    let mut out = vec![0.0; centres.len()];
    widest(Extents { values, width, centres, turn, out: &mut out });
    out
}

struct Extents<'a> {
    values: &'a [f32],
    width: usize,
    centres: &'a [f64],
    turn: f64,
    out: &'a mut [f64],
}

impl Work for Extents<'_> {
    #[inline(always)]
    fn run(self) {
        let columns = self.width - 1;
        let lines = self.centres.chunks_exact(columns).zip(self.out.chunks_exact_mut(columns));
        let rows =
            self.values.chunks_exact(self.width).zip(self.values[self.width..].chunks_exact(self.width));
        for ((centres, out), (top, bottom)) in lines.zip(rows) {
            for column in 0..columns {
                let far = |corner: f32| {
                    let distance = (f64::from(corner) - centres[column]).abs();
                    distance.min(self.turn - distance)
                };
                let left = far(top[column]).max(far(bottom[column]));
                let right = far(top[column + 1]).max(far(bottom[column + 1]));
                out[column] = left.max(right).max(0.0);
            }
        }
    }
}
