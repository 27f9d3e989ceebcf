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
    mut onto: Option<&mut Sums<T>>,
    lit: &Lit,
) -> [f64; 4] {
    if model.camera.is_some() {
        return through_camera(model, frame, corner, exit, terms);
    }
    let (n, columns, propagator) = (model.n(), model.object.columns, &model.propagator);
    let (pods, scale) = (model.pod_count(), propagator.scale());
    let Frame { amplitude, good, .. } = &model.frames[frame];
    let (part, square) = (|k: usize| k * n * n..(k + 1) * n * n, scale * scale);
    let from = corner.y * columns + corner.x;
    let at = |pod: Pod| (&model.probe.modes[pod.probe], &model.object.modes[pod.object][from..]);
    model.room(pods, 1, |room| {
        let Room { fft, waves, reals, .. } = room;
        let power = &mut reals[0];
        let mut photons = 0.0;
        if terms.photons {
            for (k, pod) in model.pods(frame).enumerate() {
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
                propagator.forward_through(&mut waves[0], fft, fill, done);
            }
            photons = simd::photon_error(power, amplitude) / (n * n) as f64;
        }
        let mut error = 0.0;
        for (k, pod) in model.pods(frame).enumerate() {
            let (probe, object) = at(pod);
            let psi = &exit[part(k)];
            let fill = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let object = &object[first * columns..];
                // Exit waves and amplitudes come from far away: the next rows are on their way while these are transformed.
                let next = at.end..(at.end + rows.len()).min(n * n);
                simd::ahead(&psi[next.clone()]);
                simd::ahead(&amplitude[next]);
                let lit = lit.from(first);
                simd::window_mixed(rows, &psi[at.clone()], &probe[at], object, columns, n, terms.c, lit);
            };
            let done = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let power = &mut power[at.clone()];
                match k {
                    0 if pods == 1 => error += simd::wave_error(rows, &amplitude[at], square),
                    0 => simd::intensity(power, rows, square),
                    _ => simd::intensity_add(power, rows, square),
                }
            };
            propagator.forward_with(&mut waves[k], fft, fill, done);
        }
        if pods > 1 {
            error = simd::amplitude_error(power, amplitude);
        }
        let error = error / (*good).max(1) as f64;
        let outside = error > terms.bound;
        let slack = T::of((terms.bound / error).sqrt());
        let weights = match outside {
            true => terms.outside,
            false => [T::zero(), terms.within, -terms.within],
        };
        if outside && pods > 1 {
            simd::factor(power, amplitude, slack, square);
        }
        let mut moved = 0.0;
        for (k, pod) in model.pods(frame).enumerate() {
            let (probe, object) = at(pod);
            let psi = &mut exit[part(k)];
            let mut done = |first: usize, rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                let object = &object[first * columns..];
                let (psi, probe) = (&mut psi[at.clone()], &probe[at]);
                let Some(sums) = &mut onto else {
                    let lit = lit.from(first);
                    moved += simd::window_relax(psi, rows, probe, object, columns, n, weights, lit);
                    return;
                };
                let there = from + first * columns;
                let norm = (pod.object == 0).then(|| &mut sums.norm[there..]);
                let (sum, lit) = ((&mut sums.waves[pod.object][there..], norm), lit.from(first));
                moved += simd::window_relax_onto(psi, rows, probe, object, columns, n, weights, sum, lit);
            };
            if !outside {
                done(0, &mut waves[k]);
                continue;
            }
            let fill = |first: usize, wave: &[C<T>], rows: &mut [C<T>]| {
                let at = first * n..first * n + rows.len();
                match pods {
                    1 => simd::factor_scale(rows, wave, &amplitude[at], slack, square),
                    _ => simd::scaled(rows, wave, &power[at]),
                }
            };
            propagator.backward_through(&mut waves[k], fft, fill, done);
        }
        [error, photons, moved / (n * n) as f64, f64::from(u8::from(!outside))]
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
