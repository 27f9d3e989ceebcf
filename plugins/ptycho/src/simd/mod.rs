//! The loops over pixels, chosen at run time: wide instructions where the processor has them.
//!
//! Both forms come from one body, so that they give the same bits; a test compares them.

mod ahead;
mod plain;
mod turn;
mod window;

use crate::num::{Complex, Real};

pub use ahead::ahead;
pub use plain::LANES;
pub use turn::{transpose_columns, transpose_rows};

type C<T> = Complex<T>;

/// What instructions loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Those that every processor has.
    Plain,
    /// 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The same width, with permutations of two registers, which waves of real and imaginary parts need much.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[cfg(test)]
thread_local! {
    /// The highest level that tests want.
    static MOST: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// The best that the processor has.
#[inline(always)]
fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = MOST.get() {
        return level;
    }
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
            return Level::Avx512;
        }
        if has!("avx2") {
            return Level::Avx2;
        }
    }
    Level::Plain
}

macro_rules! kernels {
    ($from:ident: $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?;)*) => {
        $(
            $(#[$doc])*
            pub fn $name<T: Real>($($arg: $type),*) $(-> $out)? {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx2")]
                    fn with_avx2<T: Real>($($arg: $type),*) $(-> $out)? {
                        $from::$name($($arg),*)
                    }
                    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                    fn with_avx512<T: Real>($($arg: $type),*) $(-> $out)? {
                        $from::$name($($arg),*)
                    }
                    match level() {
                        // SAFETY: the processor has the instructions the function was compiled for.
                        Level::Avx512 => return unsafe { with_avx512($($arg),*) },
                        // SAFETY: the processor has the instructions the function was compiled for.
                        Level::Avx2 => return unsafe { with_avx2($($arg),*) },
                        Level::Plain => (),
                    }
                }
                $from::$name($($arg),*)
            }
        )*
    };
}

kernels! { plain:
    /// `out = a b`.
    product(out: &mut [C<T>], a: &[C<T>], b: &[C<T>]);
    /// `out = out a`.
    product_in_place(out: &mut [C<T>], a: &[C<T>]);
    /// `out += a b`.
    product_add(out: &mut [C<T>], a: &[C<T>], b: &[C<T>]);
    /// `out = (1 - c) psi + c a b`.
    mixed(out: &mut [C<T>], psi: &[C<T>], a: &[C<T>], b: &[C<T>], c: T);
    /// `out = scale |f|²`.
    intensity(out: &mut [T], f: &[C<T>], scale: T);
    /// `out += scale |f|²`.
    intensity_add(out: &mut [T], f: &[C<T>], scale: T);
    /// Turns intensities into amplitudes; gives the sum of squared differences to the measured ones.
    amplitude_error(model: &mut [T], amp: &[T]) -> f64;
    /// The sum of squared differences in counts over the measured counts and one.
    photon_error(model: &[T], amp: &[T]) -> f64;
    /// Both errors at once; intensities become amplitudes.
    both_errors(model: &mut [T], amp: &[T]) -> [f64; 2];
    /// Turns amplitudes into what waves are multiplied by to have the measured ones.
    factor(model: &mut [T], amp: &[T], slack: T, scale: T);
    /// `f = f g`.
    scale_by(f: &mut [C<T>], g: &[T]);
    /// `out = f g`.
    scaled(out: &mut [C<T>], f: &[C<T>], g: &[T]);
    /// Moves an exit wave by `w0 f + w1 a b + w2 psi`; gives the sum of squared moves.
    relax(psi: &mut [C<T>], f: &[C<T>], a: &[C<T>], b: &[C<T>], weights: [T; 3]) -> f64;
    /// `out += a`.
    add(out: &mut [T], a: &[T]);
    /// `out += k conj(a) b`.
    add_conj_scaled(out: &mut [C<T>], a: &[C<T>], b: &[C<T>], k: T);
    /// `out += k conj(a) b / (base + share norm)`, with `[k, base, share]`.
    add_conj_over(out: &mut [C<T>], a: &[C<T>], b: &[C<T>], norm: &[T], weights: [T; 3]);
    /// `out += length sum / max(floor, norm)`, with `[floor, length]`; nothing where that is no number.
    add_over(out: &mut [C<T>], sum: &[C<T>], norm: &[T], weights: [T; 2]);
    /// `out = (inertia out + sum) / (inertia + norm)`; nothing where that is no number.
    settle(out: &mut [C<T>], sum: &[C<T>], norm: &[T], inertia: T);
    /// `out += a`.
    add_waves(out: &mut [C<T>], a: &[C<T>]);
    /// `out += k a`, with real and imaginary part of `k`.
    add_times(out: &mut [C<T>], a: &[C<T>], k: [T; 2]);
    /// The sum of `conj(a) b`, real and imaginary part.
    inner(a: &[C<T>], b: &[C<T>]) -> [f64; 2];
    /// `out -= a b`; gives the sum of squares of what is left.
    minus_product(out: &mut [C<T>], a: &[C<T>], b: &[C<T>]) -> f64;
    /// The largest value, at least 0.
    largest(values: &[T]) -> T;
    /// The largest `|z|²`.
    largest_abs2(values: &[C<T>]) -> T;
    /// The Gaussian likelihood; intensities become residual factors.
    gaussian(model: &mut [T], amp: &[T], renorm: T, scale: T) -> f64;
    /// Adds the coefficients of the intensity along a ray.
    ray(out: [&mut [T]; 3], f: &[C<T>], a: &[C<T>], b: &[C<T>], scale: T);
    /// First and second coefficient of the Gaussian likelihood along a ray.
    gaussian_ray(of: [&[T]; 3], amp: &[T], renorm: T) -> [f64; 2];
}

kernels! { window:
    /// `out = a window`.
    window_product(out: &mut [C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize);
    /// `out = a0 window0 + a1 window1`.
    window_products(out: &mut [C<T>], a: [&[C<T>]; 2], wide: [&[C<T>]; 2], columns: usize, n: usize);
    /// `out = (1 - c) psi + c a window`; of each row `a` is 0 outside of the part that `lit` names.
    #[allow(clippy::too_many_arguments)]
    window_mixed(out: &mut [C<T>], psi: &[C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize, c: T, lit: &[[usize; 2]]);
    /// Moves an exit wave by `w0 f + w1 a window + w2 psi`; gives the sum of squared moves.
    ///
    /// Of each row `a` is 0 outside of the part that `lit` names.
    #[allow(clippy::too_many_arguments)]
    window_relax(psi: &mut [C<T>], f: &[C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize, weights: [T; 3], lit: &[[usize; 2]]) -> f64;
    /// Gives waves the measured amplitudes; the sum of squared differences before.
    measured(f: &mut [C<T>], amp: &[T], scale: T) -> f64;
    /// The same with the sum of squared differences in counts.
    measured_counts(f: &mut [C<T>], amp: &[T], scale: T) -> [f64; 2];
    /// `f -= a window`; gives the sum of squares of what is left.
    window_minus(f: &mut [C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize) -> f64;
    /// `f -= a window`, then `window += k conj(a) f`; gives the sum of `|f|²` and the window's largest `|z|²`.
    window_step(f: &mut [C<T>], a: &[C<T>], wide: &mut [C<T>], columns: usize, n: usize, k: T) -> [f64; 2];
    /// `out += k conj(window) f`; gives the largest `|out|²`.
    window_probe_step(out: &mut [C<T>], wide: &[C<T>], f: &[C<T>], columns: usize, n: usize, k: T) -> f64;
    /// `window += conj(a) b`, and `norm += |a|²` over the same window; of each row only the part that `lit` names.
    onto_window(wide: &mut [C<T>], norm: Option<&mut [T]>, columns: usize, a: &[C<T>], b: &[C<T>], n: usize, lit: &[[usize; 2]]);
    /// [`window_relax`], then [`onto_window`] of what came out of it.
    #[allow(clippy::too_many_arguments)]
    window_relax_onto(psi: &mut [C<T>], f: &[C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize, weights: [T; 3], onto: (&mut [C<T>], Option<&mut [T]>), lit: &[[usize; 2]]) -> f64;
    /// `out += conj(window) b`, and `norm += |window|²`; of each row only the part that `lit` names.
    from_window(out: &mut [C<T>], norm: Option<&mut [T]>, wide: &[C<T>], columns: usize, b: &[C<T>], n: usize, lit: &[[usize; 2]]);
    /// [`from_window`] of four windows, one after the other.
    #[allow(clippy::too_many_arguments)]
    from_windows(out: &mut [C<T>], norm: Option<&mut [T]>, wide: [&[C<T>]; 4], columns: usize, b: [&[C<T>]; 4], n: usize, lit: &[[usize; 2]]);
    /// The Gaussian likelihood of waves, which become their residuals.
    gaussian_scale(f: &mut [C<T>], amp: &[T], renorm: T, scale: T, outer: T) -> f64;
    /// First and second coefficient of the Gaussian likelihood along a ray, from waves.
    wave_ray(of: [&[C<T>]; 3], amp: &[T], renorm: T, scale: T) -> [f64; 2];
}

#[cfg(test)]
mod tests;
