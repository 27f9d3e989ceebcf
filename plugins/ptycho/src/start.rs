//! The object that a reconstruction begins with.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::camera::{copy_middle, whole};
use crate::geometry::Geometry;
use crate::metrics::Field;
use crate::model::Model;
use crate::num::{Complex, narrow};
use crate::propagate::{Propagator, curve};

type C = Complex<f64>;

/// What the object is before the first iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The same everywhere.
    #[default]
    Flat,
    /// Transmission and phase as the sums and the centres of the first frames have them.
    Stxm,
}

/// An object of an earlier reconstruction.
#[derive(Clone, Debug)]
pub struct GivenObject {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The modes, row by row.
    pub modes: Vec<Vec<C>>,
    /// The pixel where position 0 lies.
    pub center: [f64; 2],
}

impl GivenObject {
    /// Puts it where it lies in a model, whose object grows around it.
    pub fn place(&self, model: &mut Model<f32>) {
        let shift = [0, 1].map(|k| (model.centre[k] - self.center[k]).round() as i64);
        let size = [model.object.rows as i64, model.object.columns as i64];
        let before = shift.map(|s| (-s).max(0) as usize);
        let after = [0, 1].map(|k| (shift[k] + self.shape[k] as i64 - size[k]).max(0) as usize);
        model.object.pad(before, after, model.fill);
        model.centre = [0, 1].map(|k| model.centre[k] + before[k] as f64);
        let at = [0, 1].map(|k| (shift[k] + before[k] as i64) as usize);
        let columns = model.object.columns;
        for (mode, given) in model.object.modes.iter_mut().zip(&self.modes) {
            for (y, row) in given.chunks_exact(self.shape[1]).enumerate() {
                let to = (at[0] + y) * columns + at[1];
                let out = &mut mode[to..to + row.len()];
                out.iter_mut().zip(row).for_each(|(out, z)| *out = narrow(*z));
            }
        }
    }
}

/// The wave on the sample that has the mean of all frames on the detector, as if it came from a point there.
///
/// The geometry is that of the waves, which may be finer than the camera.
pub fn mean_wave(model: &Model<f32>, geometry: &Geometry) -> Vec<C> {
    let pixels = model.pixels();
    let (mut sum, mut count) = (vec![0.0; pixels], vec![0usize; pixels]);
    for frame in &model.frames {
        for ((sum, count), a) in
            sum.iter_mut().zip(&mut count).zip(&frame.amplitude).filter(|(_, a)| **a >= 0.0)
        {
            *sum += f64::from(*a).powi(2);
            *count += 1;
        }
    }
    let mean: Vec<f64> = sum.into_iter().zip(count).map(|(s, n)| (s / n.max(1) as f64).sqrt()).collect();
    let mean = model.propagator.in_rows(&mean);
    let (n, side) = (geometry.n, model.propagator.n());
    let bin = n / side;
    // The light of a pixel falls on all waves in it.
    let amplitude = |k: usize| mean[k / n / bin * side + k % n / bin] / bin as f64;
    // Where pixels at the sample were given a transform has not as many as the camera.
    let wave: Vec<C> = (0..n * n).map(|k| C::new(amplitude(k), 0.0)).collect();
    let all = whole(geometry, 1.0);
    let mut padded = vec![C::default(); all.n * all.n];
    copy_middle(&wave, n, &mut padded, all.n);
    padded.iter_mut().zip(curve(&all)).for_each(|(z, c)| *z *= c);
    let mut there = vec![C::default(); n * n];
    copy_middle(&Propagator::<f32>::new(&all).to_sample(&padded), all.n, &mut there, n);
    there
}

/// Makes the object out of how much light each frame has and where its centre lies.
///
/// Where no light falls it keeps what it has. Each frame gives one number, spread as wide as the probe: the object is smooth.
pub fn stxm(model: &mut Model<f32>, geometry: &Geometry) {
    let (n, columns, rows) = (model.n(), model.object.columns, model.object.rows);
    let brightest = model.powers().most;
    // The camera's pixels may hold several of the waves.
    let side = model.propagator.n();
    let axis = geometry.centre.map(|c| c.pixel(n) * side as f64 / n as f64);
    // A detector pixel off the axis is a phase of a full turn over the transform.
    let slope = std::f64::consts::TAU / (geometry.span() * side as f64 / n as f64);
    let light: Vec<f64> = model.probe.intensity().into_iter().map(|x| f64::from(x).sqrt()).collect();
    let mut sums = vec![[0.0; 4]; rows * columns];
    for (k, frame) in model.frames.iter().enumerate() {
        let (mut at, mut sum) = ([0.0; 2], 0.0);
        for (i, a) in
            model.propagator.in_rows(&frame.amplitude).into_iter().enumerate().filter(|(_, a)| *a > 0.0)
        {
            let counts = f64::from(a) * f64::from(a);
            sum += counts;
            at = [at[0] + (i / side) as f64 * counts, at[1] + (i % side) as f64 * counts];
        }
        if sum <= 0.0 {
            continue;
        }
        let gradient = [0, 1].map(|a| (at[a] / sum - axis[a]) * slope);
        let (through, corner) = ((sum / brightest).sqrt(), model.corner(k));
        for (i, w) in light.iter().enumerate() {
            let here = &mut sums[(corner.y + i / n) * columns + corner.x + i % n];
            let more = [*w, w * through, w * gradient[0], w * gradient[1]];
            here.iter_mut().zip(more).for_each(|(s, m)| *s += m);
        }
    }
    let most = sums.iter().map(|s| s[0]).fold(0.0, f64::max);
    let lit = |s: &[f64; 4]| s[0] > 1e-3 * most;
    let gradients: Vec<[f64; 2]> =
        sums.iter().map(|s| if lit(s) { [s[2] / s[0], s[3] / s[0]] } else { [0.0; 2] }).collect();
    let phase = integrated([rows, columns], &gradients);
    let Some(object) = model.object.modes.first_mut() else { return };
    for ((z, s), phase) in object.iter_mut().zip(&sums).zip(phase) {
        if lit(s) {
            *z = narrow(C::from_polar(s[1] / s[0], phase));
        }
    }
}

/// The image whose slopes are nearest to given ones, along rows and along columns, mirrored so that its ends meet.
fn integrated([rows, columns]: [usize; 2], gradients: &[[f64; 2]]) -> Vec<f64> {
    let shape = [2 * rows, 2 * columns];
    let mirrored = |axis: usize| {
        let one = |k: usize| {
            let (y, x) = (k / shape[1], k % shape[1]);
            let (back_y, back_x) = (y >= rows, x >= columns);
            let y = if back_y { shape[0] - 1 - y } else { y };
            let x = if back_x { shape[1] - 1 - x } else { x };
            // A slope changes its sign where its axis runs backwards.
            let turned = if axis == 0 { back_y } else { back_x };
            C::new(
                if turned { -gradients[y * columns + x][axis] } else { gradients[y * columns + x][axis] },
                0.0,
            )
        };
        let mut field = Field { shape, data: (0..shape[0] * shape[1]).map(one).collect() };
        field.transform(true);
        field
    };
    let (y, x) = (mirrored(0), mirrored(1));
    let frequency = |k: usize, n: usize| {
        let k = if k < n.div_ceil(2) { k as f64 } else { k as f64 - n as f64 };
        std::f64::consts::TAU * k / n as f64
    };
    let mut sum = Field::filled(shape, C::default());
    for (k, out) in sum.data.iter_mut().enumerate().skip(1) {
        let (v, u) = (frequency(k / shape[1], shape[0]), frequency(k % shape[1], shape[1]));
        *out = (y.data[k] * v + x.data[k] * u) * C::new(0.0, -1.0) / (u * u + v * v);
    }
    sum.transform(false);
    (0..rows * columns).map(|k| sum.data[k / columns * shape[1] + k % columns].re).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Centre, Propagation};
    use crate::illumination::Illumination;
    use crate::metrics::{compare, covered};
    use crate::model::Frame;
    use crate::scan::pattern::round;
    use crate::simulate::Truth;

    #[test]
    fn even_frames_come_from_a_point() {
        for axis in [Centre::Fftshift, Centre::At(13.25)] {
            let geometry = Geometry {
                energy: 6.2,
                distance: 7.0,
                psize: 344e-6,
                n: 32,
                propagation: Propagation::Farfield,
                centre: [axis; 2],
                pixel: None,
            };
            let propagator = Propagator::<f32>::new(&geometry);
            // Bad pixels of one frame are good ones of the other: the mean is even.
            let frames =
                (0..2).map(|k| Frame::new(&propagator, k, [0.0; 2], |_| 4.0, |i| i as u64 % 5 != k).0);
            let frames = frames.collect();
            let mut model = Model::new(propagator, vec![], 1, Complex::new(1.0, 0.0));
            model.add(frames).unwrap();
            let wave = mean_wave(&model, &geometry);
            // 32² plane waves of amplitude 2, all in phase at position 0, over a unitary transform's 32.
            for (k, z) in wave.iter().enumerate() {
                let wanted = if k == 16 * 32 + 16 { 64.0 } else { 0.0 };
                assert!((z.norm() - wanted).abs() < 1e-3, "{k}: {z}");
            }
        }
    }

    #[test]
    fn sums_and_centres_of_frames_tell_the_object_better_than_nothing() {
        let geometry = Geometry {
            energy: 6.2,
            distance: 7.0,
            psize: 344e-6,
            n: 64,
            propagation: Propagation::Farfield,
            centre: [Centre::Fftshift; 2],
            pixel: None,
        };
        let d = geometry.resolution();
        let whole = |p: [f64; 2]| p.map(|x: f64| (x / d).round() * d);
        let positions: Vec<[f64; 2]> = round(3.0 * d, 6).into_iter().map(whole).collect();
        let light = Illumination { size: Some(10.0 * d), photons: Some(1e7), ..Illumination::default() };
        let truth = Truth::new(geometry.clone(), &light, &positions, 2);
        let propagator = Propagator::<f32>::new(&geometry);
        let frames = (0..positions.len())
            .map(|k| {
                let counts = truth.expected(k);
                Frame::new(&propagator, k as u64, positions[k].map(|x| x / d), |i| counts[i], |_| true).0
            })
            .collect();
        let probe = propagator.plain(&truth.probe[0]).into_iter().map(narrow).collect();
        let mut model = Model::new(propagator, vec![probe], 1, Complex::new(1.0, 0.0));
        model.add(frames).unwrap();
        let corner = model.corner(0);
        let low = [truth.corners[0][0] - corner.y, truth.corners[0][1] - corner.x];
        let shape = [model.object.rows, model.object.columns];
        let light = Field {
            shape: truth.object.shape,
            data: truth.light().into_iter().map(|x| C::new(x, 0.0)).collect(),
        };
        let light: Vec<f64> = light.cut(low, shape).data.iter().map(|z| z.re).collect();
        let judged = |model: &Model<f32>| {
            let data = model.object.modes[0].iter().map(|z| crate::num::wide(*z)).collect();
            compare(&Field { shape, data }, &truth.object.cut(low, shape), &covered(&light, 0.15)).unwrap()
        };
        let flat = judged(&model);
        stxm(&mut model, &geometry);
        let found = judged(&model);
        assert!(found.phase < 0.75 * flat.phase, "{} of {}", found.phase, flat.phase);
        assert!(found.rms < 0.8 * flat.rms, "{} of {}", found.rms, flat.rms);
    }

    #[test]
    fn a_given_object_lies_where_it_was() {
        let geometry = Geometry {
            energy: 6.2,
            distance: 7.0,
            psize: 172e-6,
            n: 16,
            propagation: Propagation::Farfield,
            centre: [Centre::Fftshift; 2],
            pixel: None,
        };
        let propagator = Propagator::<f32>::new(&geometry);
        let frame = |k: u64, at: [f64; 2]| Frame::new(&propagator, k, at, |_| 1.0, |_| true).0;
        let frames = vec![frame(0, [0.0, 0.0]), frame(1, [5.0, 3.0])];
        let mut model = Model::new(
            Propagator::new(&geometry),
            vec![vec![Complex::new(1.0, 0.0); 256]],
            1,
            Complex::new(1.0, 0.0),
        );
        model.add(frames).unwrap();
        assert_eq!((model.object.rows, model.object.columns, model.centre), (21, 19, [8.0, 8.0]));
        // Its pixel (10, 4) is position 0, so it begins two rows before the model's object and four columns in it.
        let modes = vec![(0..30 * 6).map(|k| C::new(k as f64, 1.0)).collect()];
        GivenObject { shape: [30, 6], modes, center: [10.0, 4.0] }.place(&mut model);
        assert_eq!((model.object.rows, model.object.columns, model.centre), (30, 19, [10.0, 8.0]));
        let z = model.object.modes[0][10 * 19 + 8];
        assert_eq!((z.re, z.im), (64.0, 1.0));
        assert_eq!(model.object.modes[0][10 * 19 + 3], Complex::new(1.0, 0.0));
        assert_eq!(model.window(model.frames[0].at), [2, 0]);
    }

    #[test]
    fn an_image_comes_back_from_its_slopes() {
        // cos(pi (y + 1/2) 2 / 24) + cos(pi (x + 1/2) 3 / 40): waves that the mirrored array holds exactly.
        let (a, b) = (std::f64::consts::PI * 2.0 / 24.0, std::f64::consts::PI * 3.0 / 40.0);
        let place = |k: usize| ((k / 40) as f64 + 0.5, (k % 40) as f64 + 0.5);
        let slopes: Vec<[f64; 2]> =
            (0..960).map(place).map(|(y, x)| [-a * (a * y).sin(), -b * (b * x).sin()]).collect();
        let found = integrated([24, 40], &slopes);
        for (k, found) in found.into_iter().enumerate() {
            let (y, x) = place(k);
            let wanted = (a * y).cos() + (b * x).cos();
            assert!((found - wanted).abs() < 1e-10, "{k}: {found}, {wanted}");
        }
    }
}
