//! Waves from the sample to the detector and back.
//!
//! Reconstructions see only intensities, so the phase on the detector is left out, and the phase on the sample is
//! taken into the probe once: [`Propagator::plain`] gives it. What is left in the far field is a bare Fourier transform
//! of probe times object.

use crate::fft::{Fft2, FftSpace, Way};
use crate::geometry::{Centre, Geometry, Propagation, grid};
use crate::num::{Complex, Real, cis, narrow};
use crate::simd;

mod round;

type C<T> = Complex<T>;

/// Propagation of square waves, forward and backward.
pub struct Propagator<T> {
    fft: Fft2<T>,
    kind: Kind<T>,
    /// Unitary scale of a transform that [`Propagator::forward`] leaves out.
    scale: f64,
}

enum Kind<T> {
    Far {
        pre: Vec<C<f64>>,
        post: Vec<C<f64>>,
    },
    /// The kernel over the transposed spectrum, with the scale of both transforms.
    Near {
        kernel: Vec<C<T>>,
        inverse: Vec<C<T>>,
    },
}

impl<T: Real> Propagator<T> {
    /// The propagator of an experiment.
    pub fn new(geometry: &Geometry) -> Propagator<T> {
        let n = geometry.n;
        let fft = Fft2::new(n);
        match geometry.propagation {
            Propagation::Farfield => {
                let (pre, post) = far(geometry);
                Propagator { fft, kind: Kind::Far { pre, post }, scale: 1.0 / n as f64 }
            }
            Propagation::Nearfield => {
                let all = near(n, geometry.resolution(), geometry.wavelength(), geometry.distance);
                let over = 1.0 / (n * n) as f64;
                let kernel = all.iter().map(|k| narrow(k * over)).collect();
                let inverse = all.iter().map(|k| narrow(k.conj() * over)).collect();
                Propagator { fft, kind: Kind::Near { kernel, inverse }, scale: 1.0 }
            }
        }
    }

    /// Rows and columns.
    pub fn n(&self) -> usize {
        self.fft.n()
    }

    /// Room to work in.
    pub fn space(&self) -> FftSpace<T> {
        self.fft.space()
    }

    /// What the amplitude of a wave from [`Propagator::forward`] is multiplied by to be right.
    pub fn scale(&self) -> T {
        T::of(self.scale)
    }

    /// Whether waves on the detector have rows and columns exchanged.
    pub fn transposed(&self) -> bool {
        matches!(self.kind, Kind::Far { .. })
    }

    /// To the detector, without the scale.
    pub fn forward(&self, wave: &mut [C<T>], space: &mut FftSpace<T>) {
        match &self.kind {
            Kind::Far { .. } => self.fft.forward(wave, space),
            Kind::Near { kernel, .. } => self.travelled(kernel, wave, space),
        }
    }

    /// Back to the sample, without the scale.
    pub fn backward(&self, wave: &mut [C<T>], space: &mut FftSpace<T>) {
        match &self.kind {
            Kind::Far { .. } => self.fft.backward(wave, space),
            Kind::Near { inverse, .. } => self.travelled(inverse, wave, space),
        }
    }

    fn travelled(&self, kernel: &[C<T>], wave: &mut [C<T>], space: &mut FftSpace<T>) {
        self.fft.forward(wave, space);
        simd::product_in_place(wave, kernel);
        self.fft.backward(wave, space);
    }

    /// To the detector what `fill` writes into some rows, given the number of the first; `done` gets rows as they come.
    pub fn forward_with(
        &self,
        wave: &mut [C<T>],
        space: &mut FftSpace<T>,
        fill: impl FnMut(usize, &mut [C<T>]),
        done: impl FnMut(usize, &mut [C<T>]),
    ) {
        let way = self.out(wave, space, fill);
        self.fft.rows_out(way, space, wave, done);
    }

    /// The same without keeping the wave: only `done` sees its rows. In the near field `wave` holds what is between.
    pub fn forward_through(
        &self,
        wave: &mut [C<T>],
        space: &mut FftSpace<T>,
        fill: impl FnMut(usize, &mut [C<T>]),
        done: impl FnMut(usize, &mut [C<T>]),
    ) {
        let way = self.out(wave, space, fill);
        self.fft.rows_through(way, space, done);
    }

    /// All of the way to the detector but the last half of a transform; gives which one that is.
    fn out(&self, wave: &mut [C<T>], space: &mut FftSpace<T>, fill: impl FnMut(usize, &mut [C<T>])) -> Way {
        self.fft.rows_in(Way::Forward, space, fill);
        match &self.kind {
            Kind::Far { .. } => Way::Forward,
            Kind::Near { kernel, .. } => {
                self.filtered(kernel, wave, space);
                Way::Backward
            }
        }
    }

    /// Back to the sample what `fill` makes of some rows of the wave; `done` gets rows as they come.
    pub fn backward_with(
        &self,
        wave: &mut [C<T>],
        space: &mut FftSpace<T>,
        fill: impl FnMut(usize, &[C<T>], &mut [C<T>]),
        done: impl FnMut(usize, &mut [C<T>]),
    ) {
        self.back(wave, space, fill);
        self.fft.rows_out(Way::Backward, space, wave, done);
    }

    /// The same without keeping the wave: only `done` sees its rows.
    pub fn backward_through(
        &self,
        wave: &mut [C<T>],
        space: &mut FftSpace<T>,
        fill: impl FnMut(usize, &[C<T>], &mut [C<T>]),
        done: impl FnMut(usize, &mut [C<T>]),
    ) {
        self.back(wave, space, fill);
        self.fft.rows_through(Way::Backward, space, done);
    }

    /// All of the way back but the last half of a transform.
    fn back(
        &self,
        wave: &mut [C<T>],
        space: &mut FftSpace<T>,
        mut fill: impl FnMut(usize, &[C<T>], &mut [C<T>]),
    ) {
        let n = self.n();
        let from = |first: usize, rows: &mut [C<T>]| {
            let end = first * n + rows.len();
            fill(first, &wave[first * n..end], rows);
        };
        match &self.kind {
            Kind::Far { .. } => self.fft.rows_in(Way::Backward, space, from),
            Kind::Near { inverse, .. } => {
                self.fft.rows_in(Way::Forward, space, from);
                self.filtered(inverse, wave, space);
            }
        }
    }

    /// The two halves of transforms around a kernel of frequencies.
    fn filtered(&self, kernel: &[C<T>], wave: &mut [C<T>], space: &mut FftSpace<T>) {
        let n = self.n();
        self.fft.rows_out(Way::Forward, space, wave, |first, rows| {
            simd::product_in_place(rows, &kernel[first * n..first * n + rows.len()]);
        });
        self.fft.rows_in(Way::Backward, space, |first, rows| {
            let end = first * n + rows.len();
            rows.copy_from_slice(&wave[first * n..end]);
        });
    }

    /// A probe without the phase that belongs to the propagation, as reconstructions keep it.
    pub fn plain(&self, probe: &[C<f64>]) -> Vec<C<f64>> {
        self.with_phase(probe, |f| f)
    }

    /// A probe with that phase, as files hold it.
    pub fn dressed(&self, probe: &[C<f64>]) -> Vec<C<f64>> {
        self.with_phase(probe, |f| f.conj())
    }

    fn with_phase(&self, probe: &[C<f64>], turned: impl Fn(C<f64>) -> C<f64>) -> Vec<C<f64>> {
        match &self.kind {
            Kind::Far { pre, .. } => probe.iter().zip(pre).map(|(p, f)| p * turned(*f)).collect(),
            Kind::Near { .. } => probe.to_vec(),
        }
    }

    /// A whole wave to the detector with all its phases, rows as rows.
    pub fn to_detector(&self, wave: &[C<f64>]) -> Vec<C<f64>> {
        let mut f: Vec<C<T>> = self.plain(wave).into_iter().map(narrow).collect();
        self.forward(&mut f, &mut self.space());
        let f = self.in_rows(&f);
        let scaled = f.into_iter().map(|z| crate::num::wide(z) * self.scale);
        match &self.kind {
            Kind::Far { post, .. } => scaled.zip(post).map(|(z, p)| z * p).collect(),
            Kind::Near { .. } => scaled.collect(),
        }
    }

    /// A whole wave from the detector with all its phases.
    pub fn to_sample(&self, wave: &[C<f64>]) -> Vec<C<f64>> {
        let bare: Vec<C<T>> = match &self.kind {
            Kind::Far { post, .. } => wave.iter().zip(post).map(|(z, p)| narrow(z * p.conj())).collect(),
            Kind::Near { .. } => wave.iter().map(|z| narrow(*z)).collect(),
        };
        let mut f = self.in_rows(&bare);
        self.backward(&mut f, &mut self.space());
        let scaled: Vec<C<f64>> = f.into_iter().map(|z| crate::num::wide(z) * self.scale).collect();
        self.dressed(&scaled)
    }

    /// Something on the detector from its own order to rows, or from rows to its own order.
    pub fn in_rows<X: Copy>(&self, values: &[X]) -> Vec<X> {
        let n = self.n();
        if !self.transposed() {
            return values.to_vec();
        }
        (0..n * n).map(|k| values[k % n * n + k / n]).collect()
    }
}

/// The phases before and behind the Fourier transform.
fn far(geometry: &Geometry) -> (Vec<C<f64>>, Vec<C<f64>>) {
    let n = geometry.n;
    // Where pixels at the sample were given the distance makes up for what they are off by: a transform needs it whole.
    let reach = match geometry.pixel {
        Some(pixel) => pixel * n as f64 * geometry.psize,
        None => geometry.reach(),
    };
    let over = 1.0 / reach;
    let scaled = |centre, pixel: f64| grid(n, centre).into_iter().map(|x| x * pixel).collect::<Vec<f64>>();
    let x = scaled(Centre::Fftshift, geometry.resolution());
    let v = geometry.centre.map(|c| scaled(c, geometry.psize));
    let pi = std::f64::consts::PI;
    let mut pre = Vec::with_capacity(n * n);
    let mut post = Vec::with_capacity(n * n);
    // Operations stand in the order of other programs: where a model is dark, even their rounding shows.
    for i in 0..n {
        for j in 0..n {
            let curve = pi * (x[i] * x[i] + x[j] * x[j]) * over;
            let shift = -2.0 * pi * ((x[i] - x[0]) * v[0][0] + (x[j] - x[0]) * v[1][0]) * over;
            pre.push(cis(curve) * cis(shift));
            let curve = pi * (v[0][i] * v[0][i] + v[1][j] * v[1][j]) * over;
            let shift = -2.0 * pi * (x[0] * v[0][i] + x[0] * v[1][j]) * over;
            post.push(cis(curve) * cis(shift));
        }
    }
    (pre, post)
}

/// The phase on a far detector that a point of the sample makes; none on a near one.
pub(crate) fn curve(geometry: &Geometry) -> Vec<C<f64>> {
    let n = geometry.n;
    if geometry.propagation == Propagation::Nearfield {
        return vec![C::new(1.0, 0.0); n * n];
    }
    let pi = std::f64::consts::PI / geometry.reach();
    let v = geometry.centre.map(|c| grid(n, c).into_iter().map(|x| x * geometry.psize).collect::<Vec<f64>>());
    (0..n * n).map(|k| cis(pi * (v[0][k / n].powi(2) + v[1][k % n].powi(2)))).collect()
}

/// The kernel of free space over frequencies in FFT order; it is symmetric in rows and columns.
pub(crate) fn near(n: usize, pixel: f64, wavelength: f64, distance: f64) -> Vec<C<f64>> {
    let f: Vec<f64> =
        grid(n, Centre::Fft).into_iter().map(|k| (wavelength * k / (n as f64 * pixel)).powi(2)).collect();
    let one = |k: usize| {
        let a2 = f[k / n] + f[k % n];
        // Beyond the wavelength waves do not travel.
        if a2 > 1.0 {
            C::default()
        } else {
            cis(std::f64::consts::TAU * distance / wavelength * ((1.0 - a2).sqrt() - 1.0))
        }
    };
    (0..n * n).map(one).collect()
}
