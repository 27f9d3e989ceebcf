//! What maximum likelihood asks of one frame: what is left of it, and how its likelihood goes along a direction.

use super::noise::{self, Terms};
use super::settings::Noise;
use crate::model::{Corner, Layers, Model, Pod, Room, exit_wave, rows};
use crate::num::{Complex, Real};
use crate::simd;

type C<T> = Complex<T>;

/// What is left of a frame, taken back to the sample, twice; gives the likelihood and the frame's brightness.
pub(super) fn residual<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    out: &mut [C<T>],
    terms: &Terms,
) -> (f64, f64) {
    if model.camera.is_some() {
        return residual_through_camera(model, frame, corner, out, terms);
    }
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let (pixels, scale) = (n * n, propagator.scale());
    let amplitude = &model.frames[frame].amplitude;
    let (square, from) = (scale * scale, corner.y * columns + corner.x);
    let outer = (T::one() + T::one()) * square;
    let at = |pod: Pod| (&model.probe.modes[pod.probe], &model.object.modes[pod.object][from..]);
    if model.pod_count() == 1 && terms.noise == Noise::Gaussian && !terms.floats {
        // One mode under Gaussian noise: what is left is worked out on the way.
        let (probe, object) = at(model.pods(frame).next().expect("there is one product"));
        let (mut told, renorm) = (0.0, T::of(terms.renorm));
        model.room(0, 0, |room| {
            let fft = &mut room.fft;
            propagator.depart(fft, |first, rows| {
                let at = first * n..first * n + rows.len();
                simd::window_product(rows, &probe[at], &object[first * columns..], columns, n);
            });
            propagator.turn(fft, |first, rows| {
                let at = first * n..first * n + rows.len();
                simd::ahead(&amplitude[at.end..(at.end + rows.len()).min(pixels)]);
                told += simd::gaussian_scale(rows, &amplitude[at], renorm, square, outer);
            });
            propagator.arrive_in(out, fft, |_, _| ());
        });
        return (told, 1.0);
    }
    model.room(0, 1, |room| {
        let Room { fft, reals, .. } = room;
        let power = &mut reals[0];
        for (k, (pod, wave)) in model.pods(frame).zip(out.chunks_exact_mut(pixels)).enumerate() {
            let (probe, object) = at(pod);
            let fill = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                simd::window_product(rows, &probe[at], &object[first * columns..], columns, n);
            };
            let done = |first: usize, rows: &mut [C<T>]| {
                let power = &mut power[first * n..first * n + rows.len()];
                match k {
                    0 => simd::intensity(power, rows, square),
                    _ => simd::intensity_add(power, rows, square),
                }
            };
            propagator.forward_with(wave, fft, fill, done);
        }
        let told = noise::residual(power, amplitude, terms, outer);
        for wave in out.chunks_exact_mut(pixels) {
            let fill = |first: usize, from: &[C<T>], rows: &mut [C<T>]| {
                simd::scaled(rows, from, &power[first * n..first * n + rows.len()]);
            };
            propagator.backward_with(wave, fft, fill, |_, _| ());
        }
        told
    })
}

/// The same where waves come to the camera through transforms of their own.
fn residual_through_camera<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    out: &mut [C<T>],
    terms: &Terms,
) -> (f64, f64) {
    let (count, pixels) = (model.pod_count(), model.n() * model.n());
    model.room(count, 1, |room| {
        let Room { fft, dark, waves, reals } = room;
        let power = &mut reals[0];
        power.clear();
        power.resize(model.pixels(), T::zero());
        for (pod, wave) in model.pods(frame).zip(waves.iter_mut()) {
            model.exit(pod, corner, wave);
            model.forward(pod, wave, fft, dark);
            model.add_power(pod, wave, power);
        }
        let outer = (T::one() + T::one()) * model.square();
        let told = noise::residual(power, &model.frames[frame].amplitude, terms, outer);
        for ((pod, wave), out) in model.pods(frame).zip(waves.iter_mut()).zip(out.chunks_exact_mut(pixels)) {
            model.scale_by(pod, wave, power, T::zero());
            model.backward(pod, wave, fft, dark);
            out.copy_from_slice(wave);
        }
        told
    })
}

/// Coefficients of a frame's likelihood along directions.
#[allow(clippy::too_many_arguments)]
pub(super) fn ray<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    [step_o, step_p]: [&Layers<T>; 2],
    probe_too: bool,
    terms: &Terms,
    float: f64,
    all: bool,
) -> [f64; 9] {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let amplitude = &model.frames[frame].amplitude;
    let simple = model.camera.is_none() && model.pod_count() == 1;
    if simple && terms.noise == Noise::Gaussian && probe_too && !all {
        let scale = propagator.scale() * propagator.scale() * T::of(float);
        let pod = model.pods(frame).next().expect("there is one product");
        let objects = [&model.object.modes[pod.object], &step_o.modes[pod.object]];
        let probes = [&model.probe.modes[pod.probe], &step_p.modes[pod.probe]];
        let [b1, b2] = fused_ray(model, corner, objects, probes, amplitude, [T::of(terms.renorm), scale]);
        return [0.0, b1, b2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    }
    model.room(3, 5, |room| {
        let Room { fft, dark, waves, reals } = room;
        for real in reals.iter_mut() {
            real.clear();
            real.resize(model.pixels(), T::zero());
        }
        let [f, a, b] = waves.first_chunk_mut().expect("three waves were asked for");
        let at = |pod: Pod| (&model.probe.modes[pod.probe], &model.object.modes[pod.object]);
        for pod in model.pods(frame) {
            let (probe, object) = at(pod);
            let (more_p, more_o) = (&step_p.modes[pod.probe], &step_o.modes[pod.object]);
            [&mut *f, &mut *a, &mut *b].into_iter().for_each(|w| w.resize(n * n, C::default()));
            exit_wave(f, probe, object, columns, corner);
            exit_wave(a, probe, more_o, columns, corner);
            if probe_too {
                for (here, there) in rows(n, corner, columns) {
                    simd::product_add(&mut a[here.clone()], &more_p[here], &object[there]);
                }
                exit_wave(b, more_p, more_o, columns, corner);
            } else {
                b.fill(C::default());
            }
            for wave in [&mut *f, &mut *a, &mut *b] {
                model.forward(pod, wave, fft, dark);
            }
            let power = reals.first_chunk_mut().expect("five images were asked for");
            model.add_ray(pod, [&f[..], &a[..], &b[..]], power, T::of(float), all);
        }
        let [a0, a1, a2, a3, a4] = reals.first_chunk_mut().expect("five images were asked for");
        if all {
            return noise::whole_ray([a0, a1, a2, a3, a4], amplitude, T::of(terms.renorm));
        }
        let [b1, b2] = match terms.noise {
            Noise::Gaussian => simd::gaussian_ray([a0, a1, a2], amplitude, T::of(terms.renorm)),
            other => noise::ray([a0, a1, a2], amplitude, other),
        };
        [0.0, b1, b2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    })
}

/// The parabola of one mode under Gaussian noise; products and coefficients are worked out as rows come and go.
fn fused_ray<T: Real>(
    model: &Model<T>,
    corner: Corner,
    objects: [&Vec<C<T>>; 2],
    [probe, step]: [&Vec<C<T>>; 2],
    amplitude: &[T],
    [renorm, scale]: [T; 2],
) -> [f64; 2] {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let [object, step_o] = objects.map(|o| &o[corner.y * columns + corner.x..]);
    let mut sums = [0.0; 2];
    model.room(3, 0, |room| {
        let Room { fft, waves, .. } = room;
        let [f, a, b] = waves.first_chunk_mut().expect("three waves were asked for");
        let at = |first: usize, rows: &[C<T>]| (first * n..first * n + rows.len(), first * columns);
        let fill = |first: usize, rows: &mut [C<T>]| {
            let (at, from) = at(first, rows);
            simd::window_product(rows, &probe[at], &object[from..], columns, n);
        };
        propagator.forward_with(f, fft, fill, |_, _| ());
        let fill = |first: usize, rows: &mut [C<T>]| {
            let (at, from) = at(first, rows);
            let (probes, wide) = ([&probe[at.clone()], &step[at]], [&step_o[from..], &object[from..]]);
            simd::window_products(rows, probes, wide, columns, n);
        };
        propagator.forward_with(a, fft, fill, |_, _| ());
        let fill = |first: usize, rows: &mut [C<T>]| {
            let (at, from) = at(first, rows);
            simd::window_product(rows, &step[at], &step_o[from..], columns, n);
        };
        let done = |first: usize, rows: &mut [C<T>]| {
            let (at, _) = at(first, rows);
            let of = [&f[at.clone()], &a[at.clone()], &*rows];
            let [b1, b2] = simd::wave_ray(of, &amplitude[at], renorm, scale);
            sums = [sums[0] + b1, sums[1] + b2];
        };
        propagator.forward_through(b, fft, fill, done);
    });
    sums
}
