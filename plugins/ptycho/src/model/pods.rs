//! The products of probe and object that make up a frame, and their way to the detector.

use std::ops::Range;

use super::{C, Corner, Layers, Model, exit_wave};
use crate::camera::{Camera, Darkroom};
use crate::fft::FftSpace;
use crate::num::Real;
use crate::simd;

/// One product of a frame: they add up in intensity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The probe's layer.
    pub probe: usize,
    /// The object's layer.
    pub object: usize,
    /// The energy.
    pub energy: usize,
}

/// Probes of a frame and objects that meet each other, all with all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Layers of the probe, among those of one frame.
    pub probes: Range<usize>,
    /// Layers of the object.
    pub objects: Range<usize>,
    /// The first of their waves among those of a frame.
    pub first: usize,
}

impl<T: Real> Model<T> {
    fn energies(&self) -> usize {
        self.camera.as_ref().map_or(1, Camera::energies)
    }

    fn sets(&self) -> usize {
        self.camera.as_ref().map_or(1, Camera::objects)
    }

    /// Layers of the probe that light one frame.
    pub fn lights(&self) -> usize {
        self.own.unwrap_or(self.probe.modes.len())
    }

    /// The products of a frame, probe by probe.
    pub fn pods(&self, frame: usize) -> impl Iterator<Item = Pod> + Clone + use<T> {
        let (lights, energies, sets) = (self.lights(), self.energies(), self.sets());
        let (first, objects) = (self.own.map_or(0, |lights| frame * lights), self.object.modes.len() / sets);
        (0..lights).flat_map(move |p| {
            // Probes of one energy lie together, and so do objects where each energy has its own.
            let (energy, set) = (p * energies / lights, p * sets / lights);
            (0..objects).map(move |o| Pod { probe: first + p, object: set * objects + o, energy })
        })
    }

    /// How many products a frame has.
    pub fn pod_count(&self) -> usize {
        self.lights() * self.object.modes.len() / self.sets()
    }

    /// Which probes of a frame meet which objects.
    pub fn blocks(&self) -> Vec<Block> {
        let sets = self.sets();
        let (lights, objects) = (self.lights() / sets, self.object.modes.len() / sets);
        let block = |k: usize| Block {
            probes: k * lights..(k + 1) * lights,
            objects: k * objects..(k + 1) * objects,
            first: k * lights * objects,
        };
        (0..sets).map(block).collect()
    }

    /// Frames that have their probes in common, and the first layer of those.
    pub fn shares(&self) -> Vec<(usize, Range<usize>)> {
        let count = self.frames.len();
        match self.own {
            Some(lights) => (0..count).map(|k| (k * lights, k..k + 1)).collect(),
            None => vec![(0, 0..count)],
        }
    }

    /// Makes probes of all energies one again, or what changes them, where they are to be one.
    pub fn tie(&self, layers: &mut Layers<T>) {
        if let Some(camera) = &self.camera {
            camera.tie(layers, self.lights());
        }
    }

    /// The exit wave of a product.
    pub(crate) fn exit(&self, pod: Pod, corner: Corner, wave: &mut Vec<C<T>>) {
        wave.resize(self.n() * self.n(), C::default());
        let object = &self.object;
        exit_wave(wave, &self.probe.modes[pod.probe], &object.modes[pod.object], object.columns, corner);
    }

    /// Takes the wave of a product to the detector.
    pub(crate) fn forward(
        &self,
        pod: Pod,
        wave: &mut Vec<C<T>>,
        fft: &mut FftSpace<T>,
        dark: &mut Darkroom<T>,
    ) {
        match &self.camera {
            Some(camera) => camera.forward(pod.energy, wave, dark),
            None => self.propagator.forward(wave, fft),
        }
    }

    /// Takes it back.
    pub(crate) fn backward(
        &self,
        pod: Pod,
        wave: &mut Vec<C<T>>,
        fft: &mut FftSpace<T>,
        dark: &mut Darkroom<T>,
    ) {
        match &self.camera {
            Some(camera) => camera.backward(pod.energy, wave, dark),
            None => self.propagator.backward(wave, fft),
        }
    }

    /// Adds the intensity of a wave on the detector, in counts.
    pub(crate) fn add_power(&self, pod: Pod, wave: &[C<T>], power: &mut [T]) {
        match &self.camera {
            Some(camera) => camera.add_power(pod.energy, wave, power),
            None => simd::intensity_add(power, wave, self.propagator.scale() * self.propagator.scale()),
        }
    }

    /// Adds what the intensity is along a ray from a wave: `|f + t a + t² b|²`, up to the square of `t`, or all of it.
    pub(crate) fn add_ray(
        &self,
        pod: Pod,
        [f, a, b]: [&[C<T>]; 3],
        powers: &mut [Vec<T>; 5],
        scale: T,
        all: bool,
    ) {
        let [a0, a1, a2, a3, a4] = powers;
        let Some(camera) = &self.camera else {
            let scale = scale * self.propagator.scale() * self.propagator.scale();
            simd::ray([a0, a1, a2], f, a, b, scale);
            if all {
                let two = T::one() + T::one();
                for i in 0..f.len() {
                    a3[i] += scale * two * (a[i].re * b[i].re + a[i].im * b[i].im);
                    a4[i] += scale * (b[i].re * b[i].re + b[i].im * b[i].im);
                }
            }
            return;
        };
        let two = T::one() + T::one();
        camera.pixels(pod.energy, f.len(), |i, to, square| {
            let product = |a: C<T>, b: C<T>| square * scale * (a.re * b.re + a.im * b.im);
            a0[to] += product(f[i], f[i]);
            a1[to] += two * product(f[i], a[i]);
            a2[to] += two * product(f[i], b[i]) + product(a[i], a[i]);
            a3[to] += two * product(a[i], b[i]);
            a4[to] += product(b[i], b[i]);
        });
    }

    /// The scale that factors of pixels must have for [`Model::scale_by`].
    pub(crate) fn square(&self) -> T {
        match &self.camera {
            Some(_) => T::one(),
            None => self.propagator.scale() * self.propagator.scale(),
        }
    }

    /// Multiplies a wave on the detector by factors of pixels; beside the camera, if it reaches further, by `outside`.
    pub(crate) fn scale_by(&self, pod: Pod, wave: &mut [C<T>], factor: &[T], outside: T) {
        match &self.camera {
            Some(camera) => camera.scale_by(pod.energy, wave, factor, outside),
            None => simd::scale_by(wave, factor),
        }
    }
}
