//! Plans of Fourier transforms, compiled once for all families.
//!
//! A crate that plans with rustfft itself has all its algorithms compiled into it again, for half a minute.

use std::sync::Arc;

use rustfft::FftPlanner;
pub use rustfft::{Fft, FftDirection, FftNum, num_traits};

/// A precision in which transforms are planned.
pub trait Planned: FftNum {
    /// The fastest transform of `n` numbers on this machine, without scale.
    fn plan(n: usize, direction: FftDirection) -> Arc<dyn Fft<Self>>;
}

impl Planned for f32 {
    #[inline(never)]
    fn plan(n: usize, direction: FftDirection) -> Arc<dyn Fft<f32>> {
        FftPlanner::new().plan_fft(n, direction)
    }
}

impl Planned for f64 {
    #[inline(never)]
    fn plan(n: usize, direction: FftDirection) -> Arc<dyn Fft<f64>> {
        FftPlanner::new().plan_fft(n, direction)
    }
}
