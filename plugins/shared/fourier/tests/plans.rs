//! Transforms of a few numbers, against sums by hand.

use isard_fourier::{FftDirection, Planned};
use rustfft::num_complex::Complex;

/// By hand: one wave over four points is one number of the spectrum, four times as large, and comes back so.
fn check<T: Planned + From<f32>>() {
    let [zero, one] = [T::from(0.0), T::from(1.0)];
    let wave = [[one, zero], [zero, one], [-one, zero], [zero, -one]].map(|[re, im]| Complex { re, im });
    let mut data = wave;
    T::plan(4, FftDirection::Forward).process(&mut data);
    let expected = [zero, T::from(4.0), zero, zero].map(|re| Complex { re, im: zero });
    assert_eq!(data, expected);
    T::plan(4, FftDirection::Inverse).process(&mut data);
    assert_eq!(data, wave.map(|z| Complex { re: z.re * T::from(4.0), im: z.im * T::from(4.0) }));
}

#[test]
fn a_wave_is_one_number_of_its_spectrum() {
    check::<f32>();
    check::<f64>();
}
