//! Kernels chosen at run time, each with a scalar twin that it is tested against.

mod eight;
mod floats;
mod lanes;
mod less;
mod lit;
mod reals;
mod sorted;
mod words;

use std::sync::OnceLock;

pub(crate) use floats::floats;
pub(crate) use less::{EVEN, even, less, times};
pub(crate) use lit::{lit_f32, lit_i16, lit_plain, lit_u16};
pub(crate) use sorted::{Job, NONE, Step};
pub(crate) use words::{Out, words};

/// What the processor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing that is used here.
    Plain,
    /// 256 bits.
    Avx2,
    /// 512 bits, with words and bytes.
    Avx512,
}

impl Level {
    /// The best level of this machine, or what `ISARD_SIMD` allows of it: `plain`, `avx2`.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Level::there().min(Level::allowed()))
    }

    /// What the environment allows: every level gives the same bits, so this is for measurements.
    fn allowed() -> Level {
        match std::env::var("ISARD_SIMD").as_deref() {
            Ok("plain") => Level::Plain,
            Ok("avx2") => Level::Avx2,
            Ok("avx512") | Err(_) => Level::Avx512,
            Ok(found) => {
                tracing::warn!(
                    found,
                    "`ISARD_SIMD` is none of `plain`, `avx2` and `avx512`: nothing is held back."
                );
                Level::Avx512
            }
        }
    }

    fn there() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Level::Avx2;
            }
        }
        Level::Plain
    }

    /// The levels of this machine, worst first.
    #[cfg(test)]
    pub fn all() -> Vec<Level> {
        [Level::Plain, Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= Level::best()).collect()
    }
}

/// A float as a whole number of the same order; what is not finite is above every other.
#[inline(always)]
fn key_of(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if value.is_finite() { bits ^ ((bits >> 31) & 0x7fff_ffff) } else { i32::MAX }
}

/// The float of a key.
#[inline(always)]
fn of_key(key: i32) -> f32 {
    if key == i32::MAX { f32::NAN } else { f32::from_bits((key ^ ((key >> 31) & 0x7fff_ffff)) as u32) }
}
