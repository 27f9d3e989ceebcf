//! Waves to the detector and back in one go, without anything of them being kept on the way.

use super::{C, FftSpace, Kind, Propagator, Real, Way, simd};

impl<T: Real> Propagator<T> {
    /// Begins the way to the detector with what `fill` writes into some rows, given the number of the first.
    ///
    /// The wave is in `space` until [`Propagator::arrive`].
    pub fn depart(&self, space: &mut FftSpace<T>, fill: impl FnMut(usize, &mut [C<T>])) {
        self.fft.rows_begin(Way::Forward, space, fill);
        if let Kind::Near { kernel, .. } = &self.kind {
            self.through(kernel, space);
        }
    }

    /// Lets the wave be changed on the detector, some rows in the detector's order at a time, and begins its way back.
    ///
    /// Neither way has its scale: the square of [`Propagator::scale`] makes up for both.
    pub fn turn(&self, space: &mut FftSpace<T>, change: impl FnMut(usize, &mut [C<T>])) {
        match &self.kind {
            Kind::Far { .. } => self.fft.columns([Way::Forward, Way::Backward], space, change),
            Kind::Near { inverse, .. } => {
                self.fft.rows_turned([Way::Backward, Way::Forward], space, change);
                self.through(inverse, space);
            }
        }
    }

    /// Ends the way back; only `done` sees the rows.
    pub fn arrive(&self, space: &mut FftSpace<T>, done: impl FnMut(usize, &mut [C<T>])) {
        self.fft.rows_through(Way::Backward, space, done);
    }

    /// Ends the way back in a wave that is kept; `done` sees its rows as they come.
    pub fn arrive_in(
        &self,
        wave: &mut [C<T>],
        space: &mut FftSpace<T>,
        done: impl FnMut(usize, &mut [C<T>]),
    ) {
        self.fft.rows_out(Way::Backward, space, wave, done);
    }

    /// Shows rows of no wave at all, as [`Propagator::arrive`] shows those of one.
    pub fn nothing(&self, space: &mut FftSpace<T>, done: impl FnMut(usize, &mut [C<T>])) {
        self.fft.rows_empty(space, done);
    }

    /// Free space between two halves of transforms.
    fn through(&self, kernel: &[C<T>], space: &mut FftSpace<T>) {
        let n = self.n();
        self.fft.columns([Way::Forward, Way::Backward], space, |first, rows| {
            simd::product_in_place(rows, &kernel[first * n..first * n + rows.len()]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn a_wave_comes_back_from_either_field_as_by_whole_transforms() {
        for (propagation, distance) in [(Propagation::Farfield, 7.0), (Propagation::Nearfield, 1e-3)] {
            let geometry = Geometry {
                energy: 6.2,
                distance,
                psize: if propagation == Propagation::Farfield { 172e-6 } else { 1e-7 },
                n: 16,
                propagation,
                centre: [Centre::Fftshift; 2],
                pixel: None,
            };
            let propagator = Propagator::<f64>::new(&geometry);
            let mut space = propagator.space();
            let wave: Vec<C<f64>> = (0..256).map(|k| cis(f64::from(k * k % 17)) * f64::from(k % 7)).collect();
            let factor = |k: usize| (k % 5) as f64;
            let mut wanted = wave.clone();
            propagator.forward(&mut wanted, &mut space);
            wanted.iter_mut().enumerate().for_each(|(k, z)| *z *= factor(k));
            propagator.backward(&mut wanted, &mut space);
            let mut rows_seen = vec![];
            propagator.depart(&mut space, |first, rows| {
                rows.copy_from_slice(&wave[first * 16..first * 16 + rows.len()]);
            });
            propagator.turn(&mut space, |first, rows| {
                rows.iter_mut().enumerate().for_each(|(k, z)| *z *= factor(first * 16 + k));
            });
            propagator.arrive(&mut space, |_, rows| rows_seen.extend_from_slice(rows));
            let size: f64 = wanted.iter().map(|z| z.norm()).fold(0.0, f64::max);
            assert!(size > 1.0 && rows_seen.len() == 256);
            for (a, b) in rows_seen.iter().zip(&wanted) {
                assert!((a - b).norm() < 1e-12 * size, "{propagation:?}: {a}, {b}");
            }
        }
    }
}
