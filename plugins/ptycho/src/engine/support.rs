//! Where the probe may be, and keeping it in the middle.

use crate::fft::Fft2;
use crate::geometry::{Centre, grid};
use crate::model::{Layers, Model};
use crate::num::{Complex, Real};
use crate::overlap::Lit;

type C<T> = Complex<T>;

/// Discs that the probe is cut to.
#[derive(Clone, Debug, Default)]
pub struct Support {
    /// In the sample plane.
    real: Option<Vec<bool>>,
    /// In its Fourier transform, in the transposed FFT order.
    fourier: Option<Vec<bool>>,
}

/// A disc that fills part of a square, around its middle.
fn disc(n: usize, part: f64) -> Vec<bool> {
    let x = grid(n, Centre::Geometric);
    let pixels = (n * n) as f64;
    let inside = |k: usize| std::f64::consts::PI * (x[k / n].powi(2) + x[k % n].powi(2)) < part * pixels;
    (0..n * n).map(inside).collect()
}

impl Support {
    /// Discs by the part of the frame that they fill.
    pub fn new(n: usize, real: Option<f64>, fourier: Option<f64>) -> Support {
        let shifted = |part| {
            let disc = disc(n, part);
            // In FFT order the middle, between pixels, lies before the first one.
            (0..n * n).map(|k| disc[(k / n + n / 2) % n * n + (k % n + n / 2) % n]).collect()
        };
        Support {
            real: real.filter(|p| *p > 0.0).map(|p| disc(n, p)),
            fourier: fourier.filter(|p| *p > 0.0).map(shifted),
        }
    }

    /// The part of each row that [`Support::apply`] looks at: what lies outside is cut off whatever it holds.
    pub fn seen(&self, n: usize) -> Lit {
        match (&self.real, &self.fourier) {
            (Some(disc), None) => Lit::where_any(n, |k| disc[k]),
            // Each pixel of the transform is made of all of them.
            _ => Lit::whole(n),
        }
    }

    /// Cuts a probe, or a probe's gradient.
    pub fn apply<T: Real>(&self, model: &Model<T>, layers: &mut Layers<T>) {
        if let Some(disc) = &self.fourier {
            let n = layers.rows;
            let fft = Fft2::<f64>::new(n);
            let mut space = fft.space();
            let lights = model.lights().max(1);
            for probes in layers.modes.chunks_mut(lights) {
                // The phase of the propagation belongs to the probe here, as in other programs.
                let mut modes = model.bare(probes);
                for f in &mut modes {
                    fft.forward(f, &mut space);
                    f.iter_mut()
                        .zip(disc)
                        .filter(|(_, inside)| !**inside)
                        .for_each(|(z, _)| *z = Complex::default());
                    fft.backward(f, &mut space);
                    let over = 1.0 / (n * n) as f64;
                    f.iter_mut().for_each(|z| *z *= over);
                }
                let energies = model.camera.as_ref().map_or(1, |c| c.energies());
                probes.iter_mut().zip(model.dressed(&modes, lights / energies)).for_each(|(p, new)| *p = new);
            }
        }
        if let Some(disc) = &self.real {
            for mode in &mut layers.modes {
                mode.iter_mut()
                    .zip(disc)
                    .filter(|(_, inside)| !**inside)
                    .for_each(|(z, _)| *z = Complex::default());
            }
        }
    }
}

/// How many pixels the probe has to be moved to have its mass in the middle; none while it is near enough.
pub fn off_centre<T: Real>(model: &Model<T>, tolerance: f64) -> Option<[i64; 2]> {
    let n = model.n();
    let (mut sum, mut at) = (0.0, [0.0; 2]);
    for (k, x) in model.probe.intensity().into_iter().enumerate() {
        let x = x.wide();
        sum += x;
        at[0] += (k / n) as f64 * x;
        at[1] += (k % n) as f64 * x;
    }
    if !(sum > 0.0 && sum.is_finite()) {
        return None;
    }
    let off = at.map(|a| (n / 2) as f64 - a / sum);
    let shift = off.map(|o| o.round() as i64);
    (off[0].hypot(off[1]) >= tolerance && shift != [0, 0]).then_some(shift)
}

/// Moves an image by whole pixels; what comes in holds `fill`.
pub fn moved<X: Copy>(image: &[X], columns: usize, shift: [i64; 2], fill: X) -> Vec<X> {
    let rows = image.len() / columns;
    let at = |k: usize| {
        let (y, x) = ((k / columns) as i64 - shift[0], (k % columns) as i64 - shift[1]);
        let inside = y >= 0 && x >= 0 && y < rows as i64 && x < columns as i64;
        if inside { image[y as usize * columns + x as usize] } else { fill }
    };
    (0..image.len()).map(at).collect()
}

/// Moves probe and object together by whole pixels, so that their products stay what they are up to the shift.
pub fn recentre<T: Real>(model: &mut Model<T>, shift: [i64; 2]) {
    // A shift of the whole wave is a phase on the detector, which no count shows.
    let mut probes = std::mem::take(&mut model.probe.modes);
    move_probes(model, &mut probes, shift);
    model.probe.modes = probes;
    let fill = model.fill;
    for mode in &mut model.object.modes {
        *mode = moved(mode, model.object.columns, shift, fill);
    }
}

/// Moves probes by whole pixels.
pub fn move_probes<T: Real>(model: &Model<T>, probes: &mut [Vec<C<T>>], shift: [i64; 2]) {
    // Frames may have probes of their own: the number of energies tells which is whose.
    let energies = model.camera.as_ref().map_or(1, |c| c.energies());
    let lights = model.own.unwrap_or(probes.len()).max(1);
    for (k, mode) in probes.iter_mut().enumerate() {
        move_wave(model, k % lights * energies / lights, mode, shift);
    }
}

/// Moves exit waves by whole pixels; they lie frame by frame, or all share one.
pub fn move_exits<T: Real>(model: &Model<T>, exits: &mut [Vec<C<T>>], shift: [i64; 2]) {
    let pixels = model.n() * model.n();
    for (frame, exit) in exits.iter_mut().enumerate() {
        for (pod, wave) in model.pods(frame).zip(exit.chunks_exact_mut(pixels)) {
            move_wave(model, pod.energy, wave, shift);
        }
    }
}

/// Moves a wave of an energy. Phases of the propagation are not the same for all energies: where there are several, they
/// stay where they are.
fn move_wave<T: Real>(model: &Model<T>, energy: usize, wave: &mut [C<T>], shift: [i64; 2]) {
    let n = model.n();
    if let Some(camera) = &model.camera {
        camera.undress(energy, wave, true);
    }
    wave.copy_from_slice(&moved(wave, n, shift, C::default()));
    if let Some(camera) = &model.camera {
        camera.undress(energy, wave, false);
    }
}
