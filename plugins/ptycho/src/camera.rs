//! Light of several energies, pixels of the object that were asked for, and waves on a finer grid than the camera's: how
//! they come to its pixels.
//!
//! The object has one grid for all energies. A wave of another energy then reaches the detector's pixels through a
//! transform of another size: its exit wave is padded or cut before, and the detector's wave cut or padded behind. What
//! falls beside the camera counts as masked, and so do pixels that no wave reaches.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::fft::FftSpace;
use crate::geometry::{Centre, Geometry, Propagation};
use crate::model::Layers;
use crate::num::{Complex, Real, narrow, wide};
use crate::propagate::Propagator;
use crate::simd;

type C<T> = Complex<T>;

/// Whether energies share a probe or an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dispersion {
    /// All energies have the same.
    #[default]
    Achromatic,
    /// Each energy has one of its own, in no relation to the others.
    Irregular,
}

/// The energies of the light.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Coherence {
    /// Photon energies as parts of the experiment's: 1 is that itself.
    pub energies: Vec<f64>,
    /// How much of the light each energy has, in any scale; else all have the same.
    pub spectrum: Vec<f64>,
    /// Whether all energies meet one object.
    pub object_dispersion: Dispersion,
    /// Whether all energies have one probe.
    pub probe_dispersion: Dispersion,
}

impl Default for Coherence {
    fn default() -> Self {
        let one = Dispersion::Achromatic;
        Coherence { energies: vec![1.0], spectrum: vec![], object_dispersion: one, probe_dispersion: one }
    }
}

impl Coherence {
    /// What makes no sense.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        let sound = |x: &f64| x.is_finite() && *x > 0.0;
        if !(1..=64).contains(&self.energies.len()) {
            faults.push(format!("`energies` has {} entries, wanted 1 to 64", self.energies.len()));
        }
        if let Some(found) = self.energies.iter().find(|e| !(0.5..=2.0).contains(*e)) {
            faults.push(format!("`energies` has {found}, wanted parts of the experiment's energy, 0.5 to 2"));
        }
        if let Some(found) = self.spectrum.iter().find(|s| !sound(s)) {
            faults.push(format!("`spectrum` has {found}, wanted more than 0"));
        }
        if !self.spectrum.is_empty() && self.spectrum.len() != self.energies.len() {
            let (found, wanted) = (self.spectrum.len(), self.energies.len());
            faults.push(format!("`spectrum` has {found} entries, wanted one for each of {wanted} energies"));
        }
        faults
    }

    /// Whether all light has the experiment's energy.
    pub fn single(&self) -> bool {
        self.energies == [1.0]
    }

    /// What the amplitude of each energy is multiplied by; their squares sum up to 1.
    pub fn weights(&self) -> Vec<f64> {
        let even = vec![1.0; self.energies.len()];
        let spectrum = if self.spectrum.is_empty() { &even } else { &self.spectrum };
        let total: f64 = spectrum.iter().sum();
        spectrum.iter().map(|s| (s / total).sqrt()).collect()
    }
}

/// The geometry of waves that are `bin` times finer on the detector than the camera: their window is so much larger.
pub fn finer(geometry: &Geometry, bin: usize) -> Geometry {
    let centre = geometry.centre.map(|c| match c {
        Centre::At(pixel) => Centre::At(pixel * bin as f64),
        named => named,
    });
    Geometry { n: geometry.n * bin, psize: geometry.psize / bin as f64, centre, ..geometry.clone() }
}

/// One energy on its way.
struct Path<T> {
    propagator: Propagator<T>,
    /// What its amplitude is multiplied by.
    weight: f64,
    /// The phases on the sample that belong to the propagation, in a window.
    phases: Vec<C<f64>>,
    /// The camera's row, or column, that one of the transform falls on.
    seen: Vec<Option<usize>>,
}

/// How the waves of several energies come to a camera.
pub struct Camera<T> {
    paths: Vec<Path<T>>,
    /// Rows and columns of a window of the object.
    n: usize,
    /// Rows and columns of the camera.
    frame: usize,
    tied: bool,
    split: bool,
}

/// What one thread transforms in.
#[derive(Default)]
pub struct Darkroom<T> {
    spaces: Vec<FftSpace<T>>,
    spare: Vec<C<T>>,
}

impl<T: Real> Camera<T> {
    /// A camera of an experiment's geometry, unless waves of one energy come to it pixel by pixel.
    pub fn new(geometry: &Geometry, coherence: &Coherence, bin: usize) -> Option<Camera<T>> {
        let window = finer(geometry, bin);
        if coherence.single() && bin == 1 && whole(&window, 1.0).n == window.n {
            return None;
        }
        let weights = coherence.weights().into_iter();
        let path = |(energy, weight): (&f64, f64)| Path::new(&window, *energy, weight, bin);
        Some(Camera {
            paths: coherence.energies.iter().zip(weights).map(path).collect(),
            n: window.n,
            frame: geometry.n,
            tied: coherence.probe_dispersion == Dispersion::Achromatic,
            split: coherence.object_dispersion == Dispersion::Irregular,
        })
    }

    /// Rows and columns of a window of the object.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many energies there are.
    pub fn energies(&self) -> usize {
        self.paths.len()
    }

    /// How many sets of probes there are in files: one, or one for each energy.
    pub fn lights(&self) -> usize {
        if self.tied { 1 } else { self.paths.len() }
    }

    /// How many sets of objects there are: one, or one for each energy.
    pub fn objects(&self) -> usize {
        if self.split { self.paths.len() } else { 1 }
    }

    /// Which rows of the camera, and columns, waves of some energy reach.
    pub fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.frame];
        self.paths.iter().flat_map(|p| p.seen.iter().flatten()).for_each(|at| reached[*at] = true);
        reached
    }

    /// How much of the light an energy has.
    pub fn share(&self, energy: usize) -> f64 {
        self.paths[energy].weight.powi(2)
    }

    /// Room to transform in.
    pub fn room(&self) -> Darkroom<T> {
        Darkroom { spaces: self.paths.iter().map(|p| p.propagator.space()).collect(), spare: vec![] }
    }

    /// Takes an exit wave to the detector; it gets the size of its transform.
    pub fn forward(&self, energy: usize, wave: &mut Vec<C<T>>, room: &mut Darkroom<T>) {
        let path = &self.paths[energy];
        resized(wave, &mut room.spare, [self.n, path.propagator.n()]);
        path.propagator.forward(wave, &mut room.spaces[energy]);
    }

    /// Takes a wave on the detector back to the sample, where it fills a window.
    pub fn backward(&self, energy: usize, wave: &mut Vec<C<T>>, room: &mut Darkroom<T>) {
        let path = &self.paths[energy];
        path.propagator.backward(wave, &mut room.spaces[energy]);
        resized(wave, &mut room.spare, [path.propagator.n(), self.n]);
    }

    /// Calls for each pixel of a wave on the detector that falls on the camera: with its place, the camera's pixel, and
    /// what intensities are multiplied by.
    pub fn pixels(&self, energy: usize, count: usize, mut with: impl FnMut(usize, usize, T)) {
        let path = &self.paths[energy];
        let (size, square) = (path.propagator.n(), path.propagator.scale() * path.propagator.scale());
        for (first, y) in (0..count).step_by(size).zip(&path.seen) {
            let Some(y) = y else { continue };
            for (at, x) in (first..).zip(&path.seen) {
                if let Some(x) = x {
                    with(at, y * self.frame + x, square);
                }
            }
        }
    }

    /// Adds the intensity of a wave on the detector to that of the camera's pixels.
    pub fn add_power(&self, energy: usize, wave: &[C<T>], power: &mut [T]) {
        self.pixels(energy, wave.len(), |at, to, square| {
            let z = wave[at];
            power[to] += square * (z.re * z.re + z.im * z.im);
        });
    }

    /// Multiplies a wave on the detector by factors of the camera's pixels, beside it by `outside`, and by the scale of a
    /// transform there and back.
    pub fn scale_by(&self, energy: usize, wave: &mut [C<T>], factor: &[T], outside: T) {
        let path = &self.paths[energy];
        let (size, scale) = (path.propagator.n(), path.propagator.scale() * path.propagator.scale());
        let mut factors = vec![scale * outside; size];
        for (row, y) in wave.chunks_exact_mut(size).zip(&path.seen) {
            for (f, x) in factors.iter_mut().zip(&path.seen) {
                let here = y.zip(*x).map_or(outside, |(y, x)| factor[y * self.frame + x]);
                *f = scale * here;
            }
            simd::scale_by(row, &factors);
        }
    }

    /// The probes of all energies out of modes as files hold them, energy by energy.
    ///
    /// As many modes as probes of all energies are taken for those.
    pub fn probes(&self, modes: &[Vec<C<f64>>], each: usize) -> Vec<Vec<C<T>>> {
        let whole = !self.tied && each > 0 && modes.len() == each * self.paths.len();
        let dressed = |path: &Path<T>, mode: &Vec<C<f64>>, weight: f64| {
            mode.iter().zip(&path.phases).map(|(z, f)| narrow(z * f * weight)).collect()
        };
        if whole {
            let paths = self.paths.iter().flat_map(|p| std::iter::repeat_n(p, each));
            return paths.zip(modes).map(|(path, mode)| dressed(path, mode, 1.0)).collect();
        }
        self.paths.iter().flat_map(|path| modes.iter().map(|mode| dressed(path, mode, path.weight))).collect()
    }

    /// Modes as files hold them: those that all energies share, or those of one energy behind those of another.
    pub fn modes(&self, probes: &[Vec<C<T>>]) -> Vec<Vec<C<f64>>> {
        let each = probes.len() / self.paths.len();
        if self.tied {
            return (0..each).map(|p| self.shared(probes, p)).collect();
        }
        let bare = |(k, mode): (usize, &Vec<C<T>>)| {
            let phases = &self.paths[k / each].phases;
            mode.iter().zip(phases).map(|(z, f)| wide(*z) * f.conj()).collect()
        };
        probes.iter().enumerate().map(bare).collect()
    }

    /// What all energies have in common of a mode: the nearest to what each of them says.
    fn shared(&self, probes: &[Vec<C<T>>], mode: usize) -> Vec<C<f64>> {
        let each = probes.len() / self.paths.len();
        let mut sum = vec![C::default(); self.n * self.n];
        for (path, probes) in self.paths.iter().zip(probes.chunks_exact(each)) {
            for ((sum, z), f) in sum.iter_mut().zip(&probes[mode]).zip(&path.phases) {
                *sum += wide(*z) * f.conj() * path.weight;
            }
        }
        sum
    }

    /// Makes the probes of all energies one again, or their gradients or steps, where they are to be one.
    ///
    /// Weights are of unit length: this is a projection, so products of tied gradients are those of what they share.
    pub fn tie(&self, layers: &mut Layers<T>, each: usize) {
        if !self.tied || self.paths.len() == 1 {
            return;
        }
        for probes in layers.modes.chunks_exact_mut(each) {
            let modes: Vec<_> = (0..each / self.paths.len()).map(|p| self.shared(probes, p)).collect();
            for (probe, tied) in probes.iter_mut().zip(self.probes(&modes, 0)) {
                *probe = tied;
            }
        }
    }

    /// Whether all energies have one probe.
    pub fn tied(&self) -> bool {
        self.tied && self.paths.len() > 1
    }

    /// Takes the phases of an energy away from a wave in a window, or puts them on again.
    pub fn undress(&self, energy: usize, wave: &mut [C<T>], away: bool) {
        for (z, f) in wave.iter_mut().zip(&self.paths[energy].phases) {
            *z = narrow(wide(*z) * if away { f.conj() } else { *f });
        }
    }
}

impl<T: Real> Path<T> {
    fn new(window: &Geometry, energy: f64, weight: f64, bin: usize) -> Path<T> {
        let (n, geometry) = (window.n, whole(window, energy));
        let propagator = Propagator::<T>::new(&geometry);
        let size = geometry.n;
        let ones = propagator.plain(&vec![C::new(1.0, 0.0); size * size]);
        let mut phases = vec![C::new(1.0, 0.0); n * n];
        copy_middle(&ones, size, &mut phases, n);
        // The pixel of a window that one of the transform is, if it is in it.
        let inside = |i: usize| (i + n / 2).checked_sub(size / 2).filter(|i| *i < n);
        let seen = (0..size).map(|i| inside(i).map(|i| i / bin)).collect();
        Path { propagator, weight, phases, seen }
    }
}

/// The geometry of the transform that takes a part of the energy from a window of the object to detector pixels.
pub(crate) fn whole(window: &Geometry, energy: f64) -> Geometry {
    let n = window.n;
    let bare = Geometry { energy: window.energy * energy, ..window.clone() };
    if window.propagation == Propagation::Nearfield {
        return bare;
    }
    let misfit = bare.reach() / (window.resolution() * window.psize) - n as f64;
    let size = (n as i64 + 2 * (misfit / 2.0).round_ties_even() as i64) as usize;
    let more = (size as f64 - n as f64) / 2.0;
    let centre = window.centre.map(|c| Centre::At(c.pixel(n) + more));
    // Pixels on the sample stay what they are: what rounding takes is made up for by the distance.
    let distance = window.resolution() * size as f64 * window.psize / bare.wavelength();
    Geometry { n: size, centre, distance, pixel: None, ..bare }
}

/// Pads or cuts a square wave around its middle.
fn resized<T: Real>(wave: &mut Vec<C<T>>, spare: &mut Vec<C<T>>, [from, to]: [usize; 2]) {
    if from == to {
        return;
    }
    spare.clear();
    spare.resize(to * to, C::default());
    copy_middle(wave, from, spare, to);
    std::mem::swap(wave, spare);
}

/// Copies what two squares have in common, middle upon middle.
pub(crate) fn copy_middle<X: Copy>(from: &[X], size: usize, to: &mut [X], other: usize) {
    let common = size.min(other);
    let (skip, pad) = (size / 2 - common / 2, other / 2 - common / 2);
    for y in 0..common {
        let (here, there) = ((y + skip) * size + skip, (y + pad) * other + pad);
        to[there..there + common].copy_from_slice(&from[here..here + common]);
    }
}

#[cfg(test)]
#[path = "camera_tests.rs"]
mod tests;
