//! The Fourier update of one frame: its exit waves against what was measured.

use crate::model::{Corner, Frame, Model, Pod, Room, rows};
use crate::num::{Complex, Real};
use crate::overlap::{Lit, Sums};
use crate::simd;

type C<T> = Complex<T>;

/// What the Fourier update needs to know.
pub(super) struct Terms<T> {
    /// What the exit wave is mixed with its product by.
    pub c: T,
    /// The weights of a step out of the projection, the product and the wave.
    pub outside: [T; 3],
    /// The same for frames within the bound.
    pub within: T,
    pub bound: f64,
    pub photons: bool,
}

/// Moves the exit waves of a frame and adds them `onto` sums over the object, where the probe is `lit`.
///
/// Gives three errors and whether the frame was within the bound.
pub(super) fn fourier<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    exit: &mut [C<T>],
    terms: &Terms<T>,
    onto: Option<&mut Sums<T>>,
    lit: &Lit,
) -> [f64; 4] {
    if model.camera.is_some() {
        return through_camera(model, frame, corner, exit, terms);
    }
    let photons = if terms.photons { photons(model, frame, corner) } else { 0.0 };
    let (error, outside, moved) = match model.pod_count() {
        1 => one(model, frame, corner, exit, terms, onto, lit),
        _ => several(model, frame, corner, exit, terms, onto, lit),
    };
    [error, photons, moved / model.pixels() as f64, f64::from(u8::from(!outside))]
}

/// What the products of a frame differ from it, in counts.
fn photons<T: Real>(model: &Model<T>, frame: usize, corner: Corner) -> f64 {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let (square, from) = (propagator.scale() * propagator.scale(), corner.y * columns + corner.x);
    model.room(1, 1, |room| {
        let Room { fft, waves, reals, .. } = room;
        let power = &mut reals[0];
        for (k, pod) in model.pods(frame).enumerate() {
            let (probe, object) = (&model.probe.modes[pod.probe], &model.object.modes[pod.object][from..]);
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
            propagator.forward_through(&mut waves[0], fft, fill, done);
        }
        simd::photon_error(power, &model.frames[frame].amplitude) / (n * n) as f64
    })
}

/// A frame of one product: its wave goes to the detector and back in one go.
///
/// The measured amplitudes are reached up to a part `s` that only the whole frame tells. Being so far from them is being
/// with `1 - s` at them and with `s` where the wave came from, and that holds on the sample as well: `s` enters the
/// weights of the step, and the wave need not wait for it on the detector.
fn one<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    psi: &mut [C<T>],
    terms: &Terms<T>,
    mut onto: Option<&mut Sums<T>>,
    lit: &Lit,
) -> (f64, bool, f64) {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let (square, from) = (propagator.scale() * propagator.scale(), corner.y * columns + corner.x);
    let pod = model.pods(frame).next().expect("there is one product");
    let (probe, object) = (&model.probe.modes[pod.probe], &model.object.modes[pod.object][from..]);
    model.room(0, 0, |room| {
        let fft = &mut room.fft;
        propagator.depart(fft, |first, rows| {
            let at = first * n..first * n + rows.len();
            // Exit waves and amplitudes come from far away: the next rows are on their way while these are transformed.
            simd::ahead(&psi[at.end..(at.end + rows.len()).min(n * n)]);
            if first == 0 {
                simd::ahead(&amplitude[at.clone()]);
            }
            let (object, lit) = (&object[first * columns..], lit.from(first));
            simd::window_mixed(rows, &psi[at.clone()], &probe[at], object, columns, n, terms.c, lit);
        });
        let mut error = 0.0;
        propagator.turn(fft, |first, rows| {
            let at = first * n..first * n + rows.len();
            simd::ahead(&amplitude[at.end..(at.end + rows.len()).min(n * n)]);
            error += simd::measured(rows, &amplitude[at], square);
        });
        let error = error / (*good).max(1) as f64;
        let outside = error > terms.bound;
        let slack = T::of((terms.bound / error).sqrt());
        let ([b, a, rest], c, unit) = (terms.outside, terms.c, T::one());
        let weights = match outside {
            true => [b * (unit - slack), a + b * slack * c, rest + b * slack * (unit - c)],
            false => [T::zero(), terms.within, -terms.within],
        };
        let mut moved = 0.0;
        let mut done = |first: usize, rows: &mut [C<T>]| {
            let at = first * n..first * n + rows.len();
            let object = &object[first * columns..];
            let (psi, probe, lit) = (&mut psi[at.clone()], &probe[at], lit.from(first));
            let Some(sums) = &mut onto else {
                moved += simd::window_relax(psi, rows, probe, object, columns, n, weights, lit);
                return;
            };
            let there = from + first * columns;
            let sum = (&mut sums.waves[pod.object][there..], Some(&mut sums.norm[there..]));
            moved += simd::window_relax_onto(psi, rows, probe, object, columns, n, weights, sum, lit);
        };
        if outside {
            propagator.arrive(fft, done);
        } else {
            // The step is one from wave to product alone.
            propagator.nothing(fft, &mut done);
        }
        (error, outside, moved)
    })
}

/// A frame of several products: what they are multiplied by on the detector is known when all are there.
fn several<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    exit: &mut [C<T>],
    terms: &Terms<T>,
    mut onto: Option<&mut Sums<T>>,
    lit: &Lit,
) -> (f64, bool, f64) {
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let (pods, scale) = (model.pod_count(), propagator.scale());
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let (part, square) = (|k: usize| k * n * n..(k + 1) * n * n, scale * scale);
    let from = corner.y * columns + corner.x;
    let at = |pod: Pod| (&model.probe.modes[pod.probe], &model.object.modes[pod.object][from..]);
    model.room(pods, 1, |room| {
        let Room { fft, waves, reals, .. } = room;
        let power = &mut reals[0];
        for (k, pod) in model.pods(frame).enumerate() {
            let (probe, object) = at(pod);
            let psi = &exit[part(k)];
            let fill = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let (object, lit) = (&object[first * columns..], lit.from(first));
                simd::ahead(&psi[at.end..(at.end + rows.len()).min(n * n)]);
                simd::window_mixed(rows, &psi[at.clone()], &probe[at], object, columns, n, terms.c, lit);
            };
            let done = |first: usize, rows: &mut [C<T>]| {
                let power = &mut power[first * n..first * n + rows.len()];
                match k {
                    0 => simd::intensity(power, rows, square),
                    _ => simd::intensity_add(power, rows, square),
                }
            };
            propagator.forward_with(&mut waves[k], fft, fill, done);
        }
        let error = simd::amplitude_error(power, amplitude) / (*good).max(1) as f64;
        let outside = error > terms.bound;
        let weights = match outside {
            true => terms.outside,
            false => [T::zero(), terms.within, -terms.within],
        };
        if outside {
            simd::factor(power, amplitude, T::of((terms.bound / error).sqrt()), square);
        }
        let mut moved = 0.0;
        for (k, pod) in model.pods(frame).enumerate() {
            let (probe, object) = at(pod);
            let psi = &mut exit[part(k)];
            let mut done = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let object = &object[first * columns..];
                let (psi, probe, lit) = (&mut psi[at.clone()], &probe[at], lit.from(first));
                let Some(sums) = &mut onto else {
                    moved += simd::window_relax(psi, rows, probe, object, columns, n, weights, lit);
                    return;
                };
                let there = from + first * columns;
                let norm = (pod.object == 0).then(|| &mut sums.norm[there..]);
                let sum = (&mut sums.waves[pod.object][there..], norm);
                moved += simd::window_relax_onto(psi, rows, probe, object, columns, n, weights, sum, lit);
            };
            if !outside {
                done(0, &mut waves[k]);
                continue;
            }
            let fill = |first: usize, wave: &[C<T>], rows: &mut [C<T>]| {
                simd::scaled(rows, wave, &power[first * n..first * n + rows.len()]);
            };
            propagator.backward_through(&mut waves[k], fft, fill, done);
        }
        (error, outside, moved)
    })
}

/// The same where waves come to the camera through transforms of their own.
fn through_camera<T: Real>(
    model: &Model<T>,
    frame: usize,
    corner: Corner,
    exit: &mut [C<T>],
    terms: &Terms<T>,
) -> [f64; 4] {
    let (n, columns, pods) = (model.n(), model.object.columns, model.pod_count());
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let at = |pod: Pod| (&model.probe.modes[pod.probe], &model.object.modes[pod.object]);
    model.room(pods, 1, |room| {
        let mut photons = 0.0;
        if terms.photons {
            model.expect(frame, corner, room);
            photons = simd::photon_error(&room.reals[0], amplitude) / model.pixels() as f64;
        }
        let Room { fft, dark, waves, reals } = room;
        let power = &mut reals[0];
        power.clear();
        power.resize(model.pixels(), T::zero());
        for ((pod, psi), wave) in model.pods(frame).zip(exit.chunks_exact(n * n)).zip(waves.iter_mut()) {
            let (probe, object) = at(pod);
            wave.resize(n * n, C::default());
            for (here, there) in rows(n, corner, columns) {
                let (out, psi) = (&mut wave[here.clone()], &psi[here.clone()]);
                simd::mixed(out, psi, &probe[here], &object[there], terms.c);
            }
            model.forward(pod, wave, fft, dark);
            model.add_power(pod, wave, power);
        }
        let error = simd::amplitude_error(power, amplitude) / (*good).max(1) as f64;
        let outside = error > terms.bound;
        let weights = match outside {
            true => terms.outside,
            false => [T::zero(), terms.within, -terms.within],
        };
        simd::factor(power, amplitude, T::of((terms.bound / error).sqrt()), model.square());
        let mut moved = 0.0;
        for ((pod, psi), wave) in model.pods(frame).zip(exit.chunks_exact_mut(n * n)).zip(waves.iter_mut()) {
            let (probe, object) = at(pod);
            if outside {
                model.scale_by(pod, wave, power, T::one());
                model.backward(pod, wave, fft, dark);
            }
            wave.resize(n * n, C::default());
            for (here, there) in rows(n, corner, columns) {
                let f = &wave[here.clone()];
                moved += simd::relax(&mut psi[here.clone()], f, &probe[here], &object[there], weights);
            }
        }
        [error, photons, moved / (n * n) as f64, f64::from(u8::from(!outside))]
    })
}

#[cfg(test)]
#[path = "fourier_tests.rs"]
mod tests;
