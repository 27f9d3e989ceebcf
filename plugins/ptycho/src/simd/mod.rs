//! The loops over pixels, chosen at run time: wide instructions where the processor has them.
//!
//! Both forms come from one body, so that they give the same bits; a test compares them.

mod plain;

use crate::num::{Complex, Real};

type C<T> = Complex<T>;

/// Whether the processor has 256-bit instructions.
#[inline(always)]
fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx2")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?;)*) => {
        $(
            $(#[$doc])*
            pub fn $name<T: Real>($($arg: $type),*) $(-> $out)? {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx2")]
                    fn with_avx2<T: Real>($($arg: $type),*) $(-> $out)? {
                        plain::$name($($arg),*)
                    }
                    if wide() {
                        // SAFETY: the processor has the instructions the function was compiled for.
                        return unsafe { with_avx2($($arg),*) };
                    }
                }
                plain::$name($($arg),*)
            }
        )*
    };
}

kernels! {
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
    /// Moves an exit wave by `w0 f + w1 a b + w2 psi`; gives the sum of squared moves.
    relax(psi: &mut [C<T>], f: &[C<T>], a: &[C<T>], b: &[C<T>], weights: [T; 3]) -> f64;
    /// `out += a`.
    add(out: &mut [T], a: &[T]);
    /// `out += conj(a) b`.
    add_conj(out: &mut [C<T>], a: &[C<T>], b: &[C<T>]);
    /// `out += k conj(a) b`.
    add_conj_scaled(out: &mut [C<T>], a: &[C<T>], b: &[C<T>], k: T);
    /// `out += k conj(a) b / (base + share norm)`, with `[k, base, share]`.
    add_conj_over(out: &mut [C<T>], a: &[C<T>], b: &[C<T>], norm: &[T], weights: [T; 3]);
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
    /// Writes rows `first ..` as columns of `out`, which is `n` by `n`.
    transpose_rows(rows: &[C<T>], first: usize, out: &mut [C<T>], n: usize);
}

#[cfg(test)]
mod tests;
